//! Whether a step's `only` and `skip` hold, with the reason in words. Looked at while the plan is made.

use super::{
    Context, Error,
    plan::SkipReason,
    process::{self, End, Shell},
};
use crate::{
    config::{Condition, Conditions, Step},
    git::Change,
    values::Globs,
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    time::{Duration, Instant},
};

/// How long a command may take that a plan waits for.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a step's conditions keep it from running, if they do.
pub(super) fn excluded(step: &Step, context: &Context<'_>) -> Result<Option<SkipReason>, Error> {
    let only = match &step.only {
        Condition::Always => None,
        Condition::Never => Some("`only` is false".to_owned()),
        Condition::When(conditions) => {
            each(conditions, context)?.into_iter().find(|(holds, _)| !holds).map(|(_, what)| format!("`only`: {what}"))
        }
    };
    if let Some(why) = only {
        return Ok(Some(SkipReason::Condition(why)));
    }
    let skip = match &step.skip {
        Condition::Never => None,
        Condition::Always => Some("`skip` is true".to_owned()),
        Condition::When(conditions) => {
            each(conditions, context)?.into_iter().find(|(holds, _)| *holds).map(|(_, what)| format!("`skip`: {what}"))
        }
    };
    Ok(skip.map(SkipReason::Condition))
}

/// Each condition that is written: whether it holds, and what is the case.
fn each(conditions: &Conditions, context: &Context<'_>) -> Result<Vec<(bool, String)>, Error> {
    let mut found = Vec::new();
    if let Some(branches) = &conditions.branch {
        let branch = context.branch.map(str::to_owned).or_else(|| context.repository.branch());
        let holds = branch.as_ref().is_some_and(|branch| branches.matches(Path::new(branch)));
        found.push((
            holds,
            branch.map_or("no branch is checked out".to_owned(), |name| format!("the branch is {name}")),
        ));
    }
    if !conditions.state.is_empty() {
        let state = context.repository.operation();
        let holds = state.is_some_and(|state| conditions.state.contains(&state));
        found.push((holds, state.map_or("nothing is under way".to_owned(), |state| format!("a {state} is under way"))));
    }
    for wanted in &conditions.env {
        let (name, value) = wanted.split_once('=').map_or((wanted.as_str(), None), |(name, value)| (name, Some(value)));
        let actual = std::env::var_os(name).unwrap_or_default();
        let holds = value.map_or(!actual.is_empty(), |value| actual == value);
        found.push((holds, format!("{wanted} is {}", if holds { "set" } else { "not set" })));
    }
    if let Some(paths) = &conditions.paths {
        let holds = any_matches(paths, &context.snapshot.changed);
        found.push((holds, format!("{} changed path matches", if holds { "a" } else { "no" })));
    }
    if let Some(command) = &conditions.run {
        let (end, _) = ask(command, context)?;
        let holds = end == End::Exited(0);
        found.push((holds, format!("`{command}` {}", if holds { "succeeds" } else { "does not succeed" })));
    }
    Ok(found)
}

fn any_matches(globs: &Globs, changed: &[Change]) -> bool {
    changed.iter().any(|change| globs.matches(OsStr::from_bytes(&change.path).as_ref()))
}

/// Runs a short command in the user's work tree, and gives how it ended and what it said.
pub(super) fn ask(command: &str, context: &Context<'_>) -> Result<(End, Vec<u8>), Error> {
    let said = std::cell::RefCell::new(Vec::new());
    let shell = Shell {
        program: "sh",
        script: command.as_ref(),
        folder: context.repository.work_dir().unwrap_or_else(|| context.repository.git_dir()),
        env: &BTreeMap::new(),
        stdin: b"",
        deadline: Instant::now() + LIMIT,
        groups: &super::groups::Groups::default(),
    };
    let end = process::run(shell, context.interrupt, &|bytes| said.borrow_mut().extend_from_slice(bytes))
        .map_err(|source| Error::Process { step: command.to_owned(), source })?;
    Ok((end, said.into_inner()))
}
