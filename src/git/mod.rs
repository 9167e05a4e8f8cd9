//! Everything that touches a repository. gix reads, the `git` program writes and is the network; this room knows nothing
//! of steps, images or manifests.

mod advance;
mod ancestry;
mod attributes;
mod blobs;
mod carry;
mod changes;
mod environment;
mod filters;
mod folders;
mod index;
mod linked_tree;
mod log;
mod manifests;
mod mirror;
mod operation;
mod passed_on;
mod program;
mod publish;
mod remote;
mod repository;
mod stamp;
mod tree;
mod untracked;
mod upstream;
mod version;
mod walk;
mod work_tree;

pub use ancestry::Ancestry;
pub use blobs::Blobs;
pub use carry::Carried;
pub use changes::{Change, ChangeKind};
pub use environment::{is_private, scrub};
pub use index::{Index, Trust};
pub use linked_tree::LinkedTree;
pub use log::Logged;
pub use manifests::ManifestFiles;
pub use mirror::{Mirror, Prompts, Subtree};
pub use program::{Git, Output, Streamed, WITHOUT_PROMPTS, without_secrets};
pub use publish::{Merged, Push, Pushed};
pub use repository::{Repository, Setting};
pub use tree::{EntryKind, TreeEntry};
pub use upstream::Upstream;
pub use version::Version;
pub use walk::Sight;
pub use work_tree::{Difference, WorkTreeState};

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

    /// A repository that belongs to somebody else: whoever owns it says what runs in it (git-config(1), `safe.directory`).
    #[error("{path} belongs to another user, so nothing of it is run")]
    #[diagnostic(code(environment), help("if you trust it: `git config --global --add safe.directory {path}`"))]
    NotYours {
        /// Its work tree, or its folder of git.
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

    /// A merge, or the like, that stopped: the index holds several versions of a file, and no tree.
    #[error("conflicts are not resolved yet in {paths}")]
    #[diagnostic(code(usage), help("resolve and `git add` them; `git status` says how to go on or to give up"))]
    Unmerged {
        /// The files, from the root.
        paths: String,
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

    /// An object could not be written.
    #[error("cannot write {what}")]
    #[diagnostic(code(environment), help("see that the disk is not full and that the folder may be written to"))]
    Write {
        /// What was written.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A remote that could not be reached.
    #[error("cannot reach {url}: {message}")]
    #[diagnostic(code(environment), help("see that `git ls-remote {url}` works, then run `gitops-hooks deliver`"))]
    Unreachable {
        /// Its address, for people.
        url: String,
        /// What git said.
        message: String,
    },

    /// A remote that does not let us in.
    #[error("{url} does not let you in: {message}")]
    #[diagnostic(
        code(environment),
        help("see that `git ls-remote {url}` works without asking, then run `gitops-hooks deliver`")
    )]
    Denied {
        /// Its address, for people.
        url: String,
        /// What git said.
        message: String,
    },

    /// A host that shows another key than the one it is known by, or one that is not known yet.
    #[error("the SSH host key of {url} {how}, so nothing was sent to it")]
    #[diagnostic(
        code(environment),
        help(
            "ask its administrator whether the key is right; then `ssh-keygen -R HOST`, and connect once with ssh to accept it"
        )
    )]
    HostKey {
        /// Its address, for people.
        url: String,
        /// `has changed` or `is not known`.
        how: &'static str,
    },

    /// A remote without the branch.
    #[error("{url} {why}")]
    #[diagnostic(
        code(config),
        help("push a first commit to that branch, or name another branch in .gitops-hooks.yaml")
    )]
    NoBranch {
        /// Its address, for people.
        url: String,
        /// `has no branch "main"`, or `is empty …`.
        why: String,
    },

    /// A name that git does not accept for a branch.
    #[error("{0:?} is no name of a branch")]
    #[diagnostic(code(config))]
    BranchName(String),

    /// Another process of ours has been using a mirror for too long.
    #[error("another gitops-hooks has been using {path} for {seconds} s")]
    #[diagnostic(code(environment), help("wait for it, or end it if it hangs; then run `gitops-hooks deliver`"))]
    Busy {
        /// The mirror.
        path: String,
        /// How long we waited.
        seconds: u64,
    },

    /// git does not know who commits.
    #[error("git does not know who you are: {0}")]
    #[diagnostic(code(environment), help("`git config user.name NAME` and `git config user.email ADDRESS`"))]
    Identity(String),

    /// A commit that was to be signed could not be.
    #[error("cannot sign the commit: {0}")]
    #[diagnostic(
        code(environment),
        help(
            "unlock your signing key, for example with `git commit -S --allow-empty` on a scratch branch; then run `gitops-hooks deliver`"
        )
    )]
    Signing(String),
}

impl Error {
    /// The same for another who waited for the same remote.
    #[must_use]
    pub fn for_another(&self) -> Self {
        match self {
            Self::Unreachable { url, message } => Self::Unreachable { url: url.clone(), message: message.clone() },
            Self::Denied { url, message } => Self::Denied { url: url.clone(), message: message.clone() },
            Self::HostKey { url, how } => Self::HostKey { url: url.clone(), how },
            Self::NoBranch { url, why } => Self::NoBranch { url: url.clone(), why: why.clone() },
            Self::Busy { path, seconds } => Self::Busy { path: path.clone(), seconds: *seconds },
            Self::Identity(said) => Self::Identity(said.clone()),
            Self::Signing(said) => Self::Signing(said.clone()),
            other => Self::Failed { command: "on the manifest repository".to_owned(), message: other.to_string() },
        }
    }

    pub(crate) fn read(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Read { what: what.into(), source: source.into() }
    }

    pub(crate) fn write(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Write { what: what.into(), source: source.into() }
    }
}
