//! Where a configuration is found: at the first of its paths that is there. A file that has nearly its name is told rather
//! than left unread, as hooks that run nothing look like hooks that pass.

use super::{LOCAL_PATH, Layers, Source};
use std::fmt;

/// Where the configuration is looked for, from the root of a repository; the first that is there counts.
pub const PATHS: &[&str] = &[".gitops-hooks.yaml", ".config/gitops-hooks.yaml"];

/// Names that people give it, and the ones that are read.
const MISNAMED: &[(&str, &str)] = &[
    (".gitops-hooks.yml", PATHS[0]),
    (".config/gitops-hooks.yml", PATHS[1]),
    ("gitops-hooks.local.yml", LOCAL_PATH),
    (".gitops-hooks.local.yaml", LOCAL_PATH),
    (".gitops-hooks.local.yml", LOCAL_PATH),
];

/// A file that looks like a configuration and is never read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[diagnostic(code(config), help("`git mv {written} {meant}`"))]
pub struct Misnamed {
    /// The file.
    pub written: &'static str,
    /// The name that is read.
    pub meant: &'static str,
}

impl fmt::Display for Misnamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is never read: the name is {}", self.written, self.meant)
    }
}

/// The files of the configuration, and the path of the first; `None` where there is none. `read` gives the bytes of a file,
/// `own` what one person lays over it.
///
/// # Errors
/// When `read` or `own` fails, and where the only configuration has a name that is never read.
pub fn find<E: From<Misnamed>>(
    mut read: impl FnMut(&str) -> Result<Option<Vec<u8>>, E>,
    own: impl FnOnce() -> Result<Option<Source>, E>,
) -> Result<Option<(&'static str, Layers)>, E> {
    for path in PATHS {
        if let Some(bytes) = read(path)? {
            return Ok(Some((path, Layers::gather(Source::new(path, bytes), own()?, read)?)));
        }
    }
    for (written, meant) in MISNAMED.iter().filter(|(_, meant)| PATHS.contains(meant)) {
        if read(written)?.is_some() {
            return Err(Misnamed { written, meant }.into());
        }
    }
    Ok(None)
}

/// The files beside a configuration that look like one and are never read.
pub fn misnamed(there: impl Fn(&str) -> bool) -> impl Iterator<Item = Misnamed> {
    let found = MISNAMED.iter().filter(move |(written, _)| there(written));
    found.map(|(written, meant)| Misnamed { written, meant })
}
