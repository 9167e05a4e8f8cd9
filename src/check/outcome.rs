//! What became of a run: how each step ended, and what that means for the hook. Plain data, which the runner makes, records
//! are made of, and the rooms above show.

use super::{Error, process::End, record::Key};
use crate::{ui, values::HookName};
use std::time::Duration;

/// What became of a plan.
#[derive(Debug)]
pub struct Report {
    /// Each step, in the plan's order.
    pub entries: Vec<Reported>,
}

/// What became of a step.
#[derive(Debug, Clone)]
pub struct Reported {
    /// Its place in the configuration's list for the hook.
    pub step: usize,
    /// What people call it.
    pub label: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it ran.
    pub duration: Duration,
    /// The record that says that it passed.
    pub record: Option<Key>,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should.
    Passed,
    /// It failed, and why.
    Failed(String),
    /// It was not run, and had no need to.
    Skipped(String),
    /// It was not run because another step failed or the run was ended.
    Withheld(String),
}

/// Nothing where every step passed or had no need to run.
///
/// # Errors
/// [`Error::Failed`] with the steps that failed.
pub fn verdict(hook: HookName, entries: &[Reported]) -> Result<(), Error> {
    let failed = entries.iter().filter(|entry| matches!(entry.outcome, Outcome::Failed(_)));
    let steps: Vec<String> = failed.map(|entry| entry.label.clone()).collect();
    if steps.is_empty() { Ok(()) } else { Err(Error::Failed { hook, steps, by_hand: Some(String::new()) }) }
}

impl Outcome {
    /// Whether what needs this step cannot run.
    pub(super) fn is_unmet(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Withheld(_))
    }
}

impl End {
    /// Why it did not pass, if so.
    pub(super) fn failure(self, limit: Duration) -> Option<String> {
        match self {
            Self::Exited(0) => None,
            Self::Exited(code) => Some(format!("exit code {code}")),
            Self::Signalled(signal) => Some(format!("killed by signal {signal}")),
            Self::TimedOut => Some(format!("stopped after its time limit of {}", ui::seconds(limit))),
            Self::Interrupted => Some("interrupted".to_owned()),
        }
    }
}
