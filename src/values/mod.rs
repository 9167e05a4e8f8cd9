//! The words of the design as types: ids, names, references, addresses. Each is parsed once, where it enters the
//! program, and never checked again. This room knows no other room; every other room may use it.

mod closest;
mod command;
mod digest;
mod duration;
mod globs;
mod hook_name;
mod http_status;
mod name;
mod oid;
mod operation;
mod platform;
mod quotes;
mod reference;
mod relative_path;
mod remote_url;
mod version;

pub use closest::closest;
pub use command::{Command, InvalidCommand, List, Piece};
pub use digest::Digest;
pub use duration::Span;
pub use globs::{Globs, InvalidGlob};
pub use hook_name::HookName;
pub use http_status::HttpStatus;
pub use name::{EnvironmentName, ImageName, InvalidName, Namespace};
pub use oid::Oid;
pub use operation::OperationState;
pub use platform::Platform;
pub use quotes::{Quotes, Within};
pub use reference::{ImageRef, Repository, Tag};
pub use relative_path::RelativePath;
pub use remote_url::RemoteUrl;
pub use version::Version;

use std::{borrow::Cow, fmt};

/// A value that does not have the form its type asks for. Shown as `EXPECTED, found "VALUE"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// What would have been right, as a phrase: `a commit id of 40 or 64 hexadecimal digits`.
    pub expected: &'static str,
    /// What stood there, cut to a length that fits a line.
    pub found: String,
}

impl Invalid {
    pub(crate) fn new(expected: &'static str, found: &str) -> Self {
        Self { expected, found: shown(found) }
    }
}

/// What stands somewhere, for people: cut to a length that fits a line, and of an address without what may be a secret.
#[must_use]
pub fn shown(found: &str) -> String {
    const LONGEST: usize = 80;
    let found = without_user(found);
    let mut shown: String = found.chars().take(LONGEST).collect();
    if shown.len() < found.len() {
        shown.push('…');
    }
    shown
}

/// `https://user:password@host` as `https://…@host`.
fn without_user(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else { return Cow::Borrowed(text) };
    let Some((_, host)) = rest.rsplit_once('@') else { return Cow::Borrowed(text) };
    Cow::Owned(format!("{scheme}://…@{host}"))
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {:?}", self.expected, self.found)
    }
}

impl std::error::Error for Invalid {}

/// Serde through `Display` and `FromStr`, so that files and JSON hold the same text that people read.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;
