//! git's hook contract: names, arguments and standard input become an [`Event`]; shims are put in place and taken away
//! again. What a step does is none of this room's business.

mod confirmed;
mod contract;
mod event;
mod exclude;
mod inspect;
mod install;
mod kept;
mod manager;
mod places;
mod shim;

pub use confirmed::{Subject, confirm, confirmed, manifests_line, registry_line, unconfirmed};
pub use contract::{may_stop_git, most_arguments, needed, takes_lines};
pub use event::{Event, From, Movement, RefUpdate, input};
pub use inspect::{HookFile, HooksFolder, Kept, Standing, hooks, hooks_folder, kept};
pub use install::{Installed, Uninstalled, chosen, install, missing, uninstall};
pub use kept::run_kept;
pub use manager::{Manager, managed_by, recognise};

use crate::git;
use miette::Diagnostic;

/// What can go wrong with hooks themselves.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum Error {
    /// git called a hook in a way that `githooks(5)` does not describe.
    #[error("git called {hook} with {what}, which githooks(5) does not describe")]
    #[diagnostic(code(usage), help("hooks are called by git; to run one by hand use `gitops-hooks run {hook}`"))]
    Contract {
        /// The hook.
        hook: crate::values::HookName,
        /// What was wrong about the call.
        what: String,
    },

    /// A hook file that is neither ours nor can be kept.
    #[error("{path} stands in the way")]
    #[diagnostic(code(usage), help("two hooks were kept already; look at both and remove the one that is not needed"))]
    InTheWay {
        /// The file.
        path: String,
    },

    /// The configuration names addresses or commands that nobody confirmed in this clone.
    #[error("the configuration names what was not confirmed in this clone:\n{}", lines.join("\n"))]
    #[diagnostic(code(config), help("look at it, then confirm with `gitops-hooks install`"))]
    Unconfirmed {
        /// One line for each of them.
        lines: Vec<String>,
    },

    /// git would look for hooks elsewhere.
    #[error(
        "core.hooksPath is {path} in a configuration that comes after this clone's own, so git would not find the hooks"
    )]
    #[diagnostic(
        code(config),
        help(
            "`git config --show-origin --show-scope --get core.hooksPath` says where; take it out there, then install again"
        )
    )]
    Overridden {
        /// What it is.
        path: String,
    },

    /// A kept hook of the user's own stopped git.
    #[error("the {hook} hook that was here before gitops-hooks ended with {how}")]
    #[diagnostic(code(check), help("it is {path}"))]
    Kept {
        /// The hook.
        hook: crate::values::HookName,
        /// The kept file.
        path: String,
        /// Its exit code or signal.
        how: String,
    },

    /// A file that could not be read, written or run.
    #[error("cannot use {path}")]
    #[diagnostic(code(environment))]
    File {
        /// Which one.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },

    /// From the git room.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Git(#[from] git::Error),
}

impl Error {
    fn file(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::File { path: path.display().to_string(), source }
    }
}
