//! Which steps will run and which will not, each with its reason, as plain data, before anything runs.

use super::record::Key;
use crate::values::{OperationState, RelativePath};
use gix::bstr::BString;
use jiff::Timestamp;
use std::{collections::BTreeMap, ffi::OsString, fmt, time::Duration};

/// What will be done, in an order in which every step stands behind those that it needs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The steps.
    pub entries: Vec<Planned>,
    /// What a record of the whole hook's passing would be called.
    pub(super) whole: Key,
}

/// One step of a plan.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Its place in the configuration's list for the hook.
    pub step: usize,
    /// What people call it.
    pub label: String,
    /// What there is to do.
    pub action: Action,
    /// Whether it will be done, and why.
    pub decision: Decision,
    /// The places in the configuration's list of the steps that must have passed before.
    pub needs: Vec<usize>,
    /// Steps with a lower number have ended before it begins.
    pub priority: u16,
    /// Whether it may change files.
    pub fixes: bool,
    /// The paths that it may change; none for a step that only looks.
    pub writes: Vec<BString>,
    /// What to tell people when it fails.
    pub fail_text: Option<String>,
    /// The longest that it may take.
    pub timeout: Duration,
    /// What a record of its passing would be called; none where no record is made.
    pub key: Option<Key>,
}

/// What there is to do for a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Scripts for the shell, one after the other.
    Command {
        /// The command as it was written.
        written: String,
        /// The scripts, with everything filled in.
        scripts: Vec<OsString>,
        /// The environment that the step declares.
        env: BTreeMap<String, String>,
        /// The program that runs the scripts, with its options.
        shell: String,
        /// The folder of the snapshot that it runs in.
        root: RelativePath,
        /// What its standard input is.
        input: Input,
    },
    /// Work that is handed in, such as the build of an image.
    Work,
}

/// What a step's standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Nothing.
    Nothing,
    /// What git gave the hook.
    Hook,
    /// The terminal, as its output is.
    Terminal,
}

/// Whether a step will run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It will.
    Run(RunReason),
    /// It will not.
    Skip(SkipReason),
}

/// Why a step runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunReason {
    /// Nothing says that it passed on these inputs.
    NoRecord,
    /// There is a record, and it cannot be read.
    UnreadableRecord(String),
    /// Records were not to be used.
    CacheIgnored,
    /// The hook acts on the work tree: what it did before says nothing.
    Acts,
    /// It decides by itself what is to be done.
    Work,
    /// It may change files.
    Fixes,
}

/// Why a step does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SkipReason {
    /// No changed path matches `files` and `exclude`, or lies below `root`.
    NoFileMatches,
    /// `only` or `skip` keeps it from running, with what is the case.
    Condition(String),
    /// The hook acts on the work tree, and git is moving it about.
    StaysOut(OperationState),
    /// It takes files, and no changed path that matches is one: it is gone, or a link or submodule.
    NothingToHandOver,
    /// It passed on these inputs.
    Passed {
        /// When.
        at: Timestamp,
        /// The record that says so.
        record: Key,
    },
    /// It ran before the others, and does not again: it may change files, or saw nothing of the work tree that changed.
    Ran,
    /// Whoever asked for the plan left it out.
    LeftOut(String),
}

impl fmt::Display for RunReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecord => f.write_str("it has not passed on these inputs yet"),
            Self::UnreadableRecord(why) => write!(f, "its record cannot be read ({why})"),
            Self::CacheIgnored => f.write_str("records were not to be used"),
            Self::Acts => f.write_str("this hook acts on the work tree"),
            Self::Work => f.write_str("it finds out itself what there is to do"),
            Self::Fixes => f.write_str("it may change files"),
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFileMatches => f.write_str("no changed file matches"),
            Self::NothingToHandOver => f.write_str("what matches was deleted, or is a link"),
            Self::Passed { at, record } => {
                write!(f, "passed on these inputs at {at:.0} (record {})", record.short())
            }
            Self::Condition(why) | Self::LeftOut(why) => f.write_str(why),
            Self::Ran => f.write_str("it ran before the others"),
            Self::StaysOut(state) => write!(f, "stays out of a {state}"),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(reason) => write!(f, "runs: {reason}"),
            Self::Skip(reason) => write!(f, "skipped: {reason}"),
        }
    }
}

impl Planned {
    pub(super) fn needs_the_terminal(&self) -> bool {
        matches!(self.action, Action::Command { input: Input::Terminal, .. })
    }
}

impl Plan {
    /// Leaves a step out, by its place in the configuration's list. Steps that need it run as if it had passed.
    pub fn leave_out(&mut self, step: usize, why: impl Into<String>) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.step == step) {
            entry.decision = Decision::Skip(SkipReason::LeftOut(why.into()));
        }
    }

    /// Whether anything will run.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.decision, Decision::Run(_)))
    }
}
