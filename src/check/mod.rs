//! Plans, runs and times steps on a snapshot. A step runs in the work tree only where that provably is the snapshot, else
//! in a scratch tree; what passed on the same inputs before is not run again. This room knows nothing of images,
//! manifests or clusters: work that is no command is handed in.

mod command;
mod condition;
mod fix;
mod groups;
mod interrupt;
mod links;
pub mod log;
mod outcome;
mod passed;
mod place;
mod plan;
mod planner;
mod process;
mod record;
mod run;
mod scratch;
mod snapshot;
mod stock;
mod strays;
mod why;

pub use fix::{Fixed, fix};
pub use interrupt::Interrupt;
pub use outcome::{Outcome, Report, Reported, verdict};
pub use passed::passed;
pub use plan::{Action, Decision, Input, Plan, Planned, RunReason, SkipReason};
pub use planner::plan;
pub use record::Key;
pub use run::{Work, run};
pub use scratch::{cache_folder, is_scratch};
pub use snapshot::{Kind, Snapshot};
pub use stock::{Hold, ScratchFolder, Tree, forget, left_behind, records, scratch_folders};
pub use why::{Why, why};

use crate::{
    config, git, ui,
    values::{HookName, Oid},
};
use miette::Diagnostic;
use std::{ffi::OsString, io, path::Path};

/// All that a run of steps is about.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The repository as the hook sees it.
    pub repository: &'a git::Repository,
    /// The hook whose steps these are.
    pub hook: HookName,
    /// What is judged.
    pub snapshot: &'a Snapshot,
    /// The branches that it is for; none for the one that is checked out.
    pub branches: &'a [&'a str],
    /// How a scratch tree gets what git does not track.
    pub scratch: &'a config::Scratch,
    /// The arguments that git gave the hook.
    pub arguments: &'a [OsString],
    /// The file of the commit message, where the hook has one.
    pub message_file: Option<&'a Path>,
    /// What git gave the hook on its standard input.
    pub input: &'a [u8],
    /// Where steps are shown.
    pub progress: &'a ui::Progress,
    /// Whether records of earlier runs count.
    pub cache: CachePolicy,
    /// Where steps that judge may run.
    pub places: Places,
    /// What a failure means for steps that have not begun.
    pub failures: Failures,
    /// What passing says of the hook as a whole.
    pub coverage: Coverage,
    /// The folder for scratch trees; `None` for the user's own, below `XDG_CACHE_HOME`.
    pub cache_folder: Option<&'a Path>,
    /// What ends the run early.
    pub interrupt: &'a Interrupt,
}

/// Whether records of earlier runs count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CachePolicy {
    /// A step that passed on the same inputs is not run again.
    #[default]
    Use,
    /// Every step runs; records are still made.
    Ignore,
}

/// Where steps that judge may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Places {
    /// In the work tree where that is the snapshot, else in a scratch tree.
    #[default]
    Any,
    /// In a scratch tree: the work tree is somebody's while they run.
    Scratch,
}

/// What a failure means for steps that have not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Failures {
    /// Nothing: people see every failure at once.
    #[default]
    Gather,
    /// They do not begin.
    StopAtFirst,
}

/// How much of what a hook asks of a snapshot was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// All of it: everybody's steps, on every path that nothing has judged yet.
    Whole,
    /// Somebody left out steps or paths: that the rest passed says nothing of the whole.
    Part,
}

impl Context<'_> {
    fn judges(&self) -> bool {
        judges(self.hook)
    }
}

/// Whether a hook's steps judge a snapshot. The others act on the user's work tree (an `npm ci` after a checkout): they run
/// there, every time.
#[must_use]
pub fn judges(hook: HookName) -> bool {
    use HookName::{ApplypatchMsg, CommitMsg, PreApplypatch, PreCommit, PreMergeCommit, PrePush};
    matches!(hook, PreCommit | PreMergeCommit | CommitMsg | ApplypatchMsg | PreApplypatch | PrePush)
}

/// What can go wrong with checks.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum Error {
    /// Steps failed; their output has been shown.
    #[error("{} failed: {}", counted(.steps.len()), .steps.join(", "))]
    #[diagnostic(code(check), help("mend it and try again{}", alone(*.hook, .steps, .by_hand.as_deref())))]
    Failed {
        /// The hook.
        hook: HookName,
        /// Their names.
        steps: Vec<String>,
        /// What `run` needs to be told, to judge the same by hand; `None` where it cannot.
        by_hand: Option<String>,
    },

    /// Fixers would change a commit, which nothing can.
    #[error("`fix` steps change {path}{}, and {} is a commit already", and_more(*.more), .commit.short())]
    #[diagnostic(
        code(check),
        help("check it out and fix it there: `gitops-hooks run pre-commit --all-files`, then commit")
    )]
    WouldFix {
        /// The first that they change.
        path: String,
        /// How many more.
        more: usize,
        /// The commit.
        commit: Oid,
    },

    /// A signal ended the run; every step has been stopped.
    #[error("stopped by a signal")]
    #[diagnostic(code(check))]
    Interrupted {
        /// The signal's number; a shell's exit code for it is 128 more.
        signal: i32,
    },

    /// A step names the message file in a hook that has none.
    #[error("step {step:?}: {hook} has no message file")]
    #[diagnostic(code(config), help("{{message_file}} is for commit-msg, prepare-commit-msg and applypatch-msg"))]
    NoMessageFile {
        /// The step.
        step: String,
        /// The hook.
        hook: HookName,
    },

    /// A step that is no command, and nothing was handed in for it.
    #[error("step {step:?} cannot be run here")]
    #[diagnostic(code(usage))]
    NoWork {
        /// The step.
        step: String,
    },

    /// A command could not be started, or not be watched.
    #[error("cannot run step {step:?}")]
    #[diagnostic(code(environment), help("see that `sh` is on the PATH and that processes can be started"))]
    Process {
        /// The step.
        step: String,
        /// Why.
        #[source]
        source: io::Error,
    },

    /// The signals could not be watched.
    #[error("cannot watch for signals")]
    #[diagnostic(code(environment))]
    Signals(#[source] io::Error),

    /// There is no folder for scratch trees.
    #[error("there is no cache folder for a scratch tree")]
    #[diagnostic(code(environment), help("set HOME or XDG_CACHE_HOME to a folder"))]
    NoCacheFolder,

    /// Every scratch tree is in use.
    #[error("all {count} scratch trees of this repository are in use")]
    #[diagnostic(code(environment), help("wait until other runs in this repository have ended"))]
    ScratchBusy {
        /// How many there may be.
        count: usize,
    },

    /// The commands of `scratch.setup` failed; their output has been shown.
    #[error("the setup of the scratch tree failed")]
    #[diagnostic(code(check), help("run the command of `scratch.setup` by hand to see what it needs"))]
    Setup,

    /// A file of ours.
    #[error("cannot use {path}")]
    #[diagnostic(code(environment))]
    File {
        /// Which one.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },

    /// The repository.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Git(#[from] git::Error),
}

impl Error {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.display().to_string(), source }
    }
}

/// The command that repeats the first step that failed, where there is one.
fn alone(hook: HookName, steps: &[String], by_hand: Option<&str>) -> String {
    let Some(by_hand) = by_hand else { return String::new() };
    let first = steps.first().map_or("", String::as_str);
    let plain = first.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:".contains(c));
    let quoted = if plain { first.to_owned() } else { format!("'{}'", first.replace('\'', r"'\''")) };
    format!("; one step alone: `gitops-hooks run {hook}{by_hand} --step {quoted}`")
}

fn and_more(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" and {count} more") }
}

fn counted(steps: usize) -> String {
    if steps == 1 { "1 step".to_owned() } else { format!("{steps} steps") }
}
