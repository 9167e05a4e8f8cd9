//! What is different from when a step last passed, in words: for people who ask why it runs again.

use super::{
    Context, Error,
    plan::{Action, Decision, Plan, RunReason},
    planner::chosen,
    record::{Record, Records},
};
use crate::{config::Step, git};
use gix::bstr::ByteSlice;
use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

/// The most paths that are named.
const NAMED: usize = 5;

/// Why a step runs again.
#[derive(Debug, Clone)]
pub struct Why {
    /// Its place in the configuration's list for the hook.
    pub step: usize,
    /// Each difference from when it last passed.
    pub differs: Vec<String>,
}

/// Compares each step that runs for want of a record with the newest record of its name.
///
/// # Errors
/// When the records or a tree cannot be read.
pub fn why(plan: &Plan, steps: &[Step], context: &Context<'_>) -> Result<Vec<Why>, Error> {
    let records = Records::of(context.repository).newest(context.hook)?;
    let mut found = Vec::new();
    for entry in &plan.entries {
        let runs = matches!(entry.decision, Decision::Run(RunReason::NoRecord | RunReason::Fixes));
        let (true, Some(step), Some(last)) = (runs, steps.get(entry.step), records.get(&entry.label)) else { continue };
        found.push(Why { step: entry.step, differs: differs(step, &entry.action, last, context) });
    }
    Ok(found)
}

fn differs(step: &Step, action: &Action, last: &Record, context: &Context<'_>) -> Vec<String> {
    let mut told = Vec::new();
    if let (Action::Command { written, .. }, Some(command)) = (action, &last.command)
        && written != command
    {
        told.push(format!("its command was `{command}`"));
    }
    // The tree that it passed on may have been collected as garbage since.
    let Ok(changed) = context.repository.changes(Some(&last.tree), &context.snapshot.tree) else {
        told.push(format!("it last passed on another tree, at {:.0}", last.passed_at));
        return told;
    };
    let read = |change: &&git::Change| match &step.inputs {
        Some(inputs) => inputs.matches(OsStr::from_bytes(&change.path).as_ref()) || chosen(step, change.path.as_bstr()),
        None => true,
    };
    let paths: Vec<String> = changed.iter().filter(read).map(|change| change.path.to_string()).collect();
    match paths.len() {
        0 if told.is_empty() => {
            told.push("its environment, arguments, files or tools are others than when it last passed".to_owned());
        }
        0 => {}
        count => {
            let more = if count > NAMED { format!(", and {} more", count - NAMED) } else { String::new() };
            let named = paths.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
            told.push(format!("changed since it passed at {:.0}: {named}{more}", last.passed_at));
        }
    }
    told
}
