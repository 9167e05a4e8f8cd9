//! Which files are worth parsing at all: of ten thousand manifests a handful names an image that is delivered. A file is let
//! go only where no reading of its bytes could hold one.

use super::mark;
use crate::values::Repository;
use memchr::{memchr, memchr_iter, memmem::Finder};
use std::collections::BTreeSet;

/// What to look for in a file's bytes.
#[derive(Debug)]
pub(super) struct Candidates {
    /// The last part of each repository, which stands in one piece however the rest of it is written.
    names: Vec<Finder<'static>>,
    mark: Finder<'static>,
}

impl Candidates {
    pub(super) fn of<'r>(repositories: impl Iterator<Item = &'r Repository>) -> Self {
        let paths = repositories.map(Repository::path);
        let names: BTreeSet<&str> = paths.map(|path| path.rsplit('/').next().unwrap_or(path)).collect();
        let names = names.into_iter().map(|name| Finder::new(name).into_owned()).collect();
        Self { names, mark: Finder::new(mark::PREFIX) }
    }

    pub(super) fn may_be_in(&self, bytes: &[u8]) -> bool {
        let named = self.names.iter().any(|name| name.find(bytes).is_some());
        // A zero is UTF-16, whose letters do not stand side by side.
        named || self.mark.find(bytes).is_some() || memchr(0, bytes).is_some() || has_escape(bytes)
    }
}

/// Whether letters may be written as something else: `\x66`, `\u0066`, `\U00000066`, or a line that goes on.
fn has_escape(bytes: &[u8]) -> bool {
    memchr_iter(b'\\', bytes).any(|at| matches!(bytes.get(at + 1), Some(b'x' | b'u' | b'U' | b'\n' | b'\r')))
}
