//! The page's style and its few lines of script, inside the binary and inside each page, and the policy that lets a browser use
//! nothing else.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

pub(super) const STYLE: &str = include_str!("assets/page.css");
pub(super) const SCRIPT: &str = include_str!("assets/page.js");

/// The policy of a page that is served: this style and this script by their hashes, and connections to where it came from.
pub(super) fn served() -> String {
    format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// The policy of a page in a file: the style alone. (`frame-ancestors` counts in a header only.)
pub(super) fn in_a_file() -> String {
    format!("default-src 'none'; style-src {}; form-action 'none'; base-uri 'none'", hash(STYLE))
}

fn hash(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}
