//! Everything that touches a repository. gix reads, the `git` program writes and is the network; this room knows nothing
//! of steps, images or manifests.

mod ancestry;
mod changes;
mod environment;
mod index;
mod linked_tree;
mod program;
mod repository;
mod tree;
mod upstream;
mod work_tree;

pub use ancestry::Ancestry;
pub use changes::{Change, ChangeKind};
pub use environment::{is_private, scrub};
pub use index::{Index, Trust};
pub use linked_tree::LinkedTree;
pub use program::{Git, Output};
pub use repository::Repository;
pub use tree::{EntryKind, TreeEntry};
pub use upstream::Upstream;
pub use work_tree::WorkTreeState;

use miette::Diagnostic;

/// What can go wrong with a repository.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum Error {
    /// Not in a repository.
    #[error("there is no git repository here: {path}")]
    #[diagnostic(code(usage), help("change into a repository, or make one with `git init`"))]
    NoRepository {
        /// Where it was looked for.
        path: String,
    },

    /// Something that should be in the repository could not be read.
    #[error("cannot read {what}")]
    #[diagnostic(code(environment), help("`git fsck` tells whether the repository is sound"))]
    Read {
        /// What was read.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The git program is not there, or could not be started.
    #[error("cannot run git")]
    #[diagnostic(code(environment), help("install git 2.30 or newer and see that it is on the PATH"))]
    Start(#[source] std::io::Error),

    /// git ended with an error.
    #[error("git {command} failed: {message}")]
    #[diagnostic(code(environment))]
    Failed {
        /// The subcommand.
        command: String,
        /// What git said, without secrets.
        message: String,
    },

    /// A file of ours beside the repository.
    #[error("cannot use {path}")]
    #[diagnostic(code(environment))]
    File {
        /// Which one.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn read(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Read { what: what.into(), source: source.into() }
    }
}
