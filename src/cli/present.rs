//! What `init` and `import` say where a configuration stands already: neither ever overwrites one.

use crate::config;
use std::path::Path;

/// A configuration that stands where one was to be written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{path} is there already")]
#[diagnostic(code(usage), help("{next}"))]
pub(super) struct Present {
    path: &'static str,
    next: &'static str,
}

impl Present {
    /// Refuses where there is one; `next` says what to do then.
    pub(super) fn refuse(root: &Path, next: &'static str) -> Result<(), Self> {
        match config::PATHS.iter().find(|path| root.join(path).exists()) {
            Some(path) => Err(Self { path, next }),
            None => Ok(()),
        }
    }
}
