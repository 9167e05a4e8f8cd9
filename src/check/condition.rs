//! Whether a step's `only` and `skip` hold, with the reason in words. Looked at while the plan is made.

use super::{
    Context, Error,
    place::{Place, is_checked_out},
    plan::SkipReason,
    process::{self, End, Shell},
};
use crate::{
    config::{Condition, Conditions, Step},
    git::Change,
    values::Globs,
};
use std::{
    cell::OnceCell,
    collections::BTreeMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    time::{Duration, Instant},
};

/// How long a command may take that a plan waits for.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a step's conditions keep it from running, if they do.
pub(super) fn excluded(step: &Step, context: &Context<'_>, place: &Questions) -> Result<Option<SkipReason>, Error> {
    let only = match &step.only {
        Condition::Always => None,
        Condition::Never => Some("`only` is false".to_owned()),
        Condition::When(conditions) => {
            let found = each(conditions, Many::One, context, place)?;
            found.into_iter().find(|(holds, _)| !holds).map(|(_, what)| format!("`only`: {what}"))
        }
    };
    if let Some(why) = only {
        return Ok(Some(SkipReason::Condition(why)));
    }
    let skip = match &step.skip {
        Condition::Never => None,
        Condition::Always => Some("`skip` is true".to_owned()),
        Condition::When(conditions) => {
            let found = each(conditions, Many::Each, context, place)?;
            found.into_iter().find(|(holds, _)| *holds).map(|(_, what)| format!("`skip`: {what}"))
        }
    };
    Ok(skip.map(SkipReason::Condition))
}

/// Of how many branches that get the same commit a condition must be true, to hold of all: a step that one of them asks
/// for runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Many {
    One,
    Each,
}

/// Each condition that is written: whether it holds, and what is the case.
fn each(
    conditions: &Conditions,
    many: Many,
    context: &Context<'_>,
    place: &Questions,
) -> Result<Vec<(bool, String)>, Error> {
    let mut found = Vec::new();
    if let Some(wanted) = &conditions.branch {
        let checked_out = context.repository.branch();
        let branches: Vec<&str> = match context.branches {
            [] => checked_out.as_deref().into_iter().collect(),
            branches => branches.to_vec(),
        };
        let is_wanted = |branch: &&str| wanted.matches(Path::new(branch));
        let holds = match many {
            Many::One => branches.iter().any(is_wanted),
            Many::Each => !branches.is_empty() && branches.iter().all(is_wanted),
        };
        let told = match branches.as_slice() {
            [] => "no branch is checked out".to_owned(),
            [branch] => format!("the branch is {branch}"),
            several => format!("the branches are {}", several.join(" and ")),
        };
        found.push((holds, told));
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
        let (end, _) = place.ask(command, context)?;
        let holds = end == End::Exited(0);
        found.push((holds, format!("`{command}` {}", if holds { "succeeds" } else { "does not succeed" })));
    }
    Ok(found)
}

fn any_matches(globs: &Globs, changed: &[Change]) -> bool {
    changed.iter().any(|change| globs.matches(OsStr::from_bytes(&change.path).as_ref()))
}

/// Where the short commands run that a plan asks: in the user's work tree, but where a commit is judged that is not checked
/// out, in a scratch tree that has it.
#[derive(Default)]
pub(super) struct Questions {
    scratch: OnceCell<Place>,
}

impl Questions {
    fn folder<'q>(&'q self, context: &'q Context<'_>) -> Result<&'q Path, Error> {
        match context.repository.work_dir() {
            Some(folder) if !context.judges() || is_checked_out(context)? => return Ok(folder),
            None if !context.judges() => return Ok(context.repository.git_dir()),
            _ => {}
        }
        if self.scratch.get().is_none() {
            let place = Place::scratch(context)?;
            let _ = self.scratch.set(place);
        }
        Ok(self.scratch.get().map_or_else(|| context.repository.git_dir(), Place::folder))
    }

    /// Runs a short command, and gives how it ended and what it said.
    pub(super) fn ask(&self, command: &str, context: &Context<'_>) -> Result<(End, Vec<u8>), Error> {
        let said = std::cell::RefCell::new(Vec::new());
        let shell = Shell {
            program: "sh",
            script: command.as_ref(),
            folder: self.folder(context)?,
            env: &BTreeMap::new(),
            stdin: b"",
            deadline: Instant::now() + LIMIT,
            groups: &super::groups::Groups::default(),
        };
        let end = process::run(shell, context.interrupt, &|bytes| said.borrow_mut().extend_from_slice(bytes))
            .map_err(|source| Error::Process { step: command.to_owned(), source })?;
        Ok((end, said.into_inner()))
    }
}
