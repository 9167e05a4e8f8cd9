//! Steps that may change files: they run first, on the snapshot in a scratch tree, so that nothing of the user's is half
//! changed when something goes wrong. What they changed joins the index and the work tree only when all of them passed.

use super::{
    Context, Error, Kind, Report, Work,
    groups::Groups,
    place::Place,
    plan::{Decision, Plan, SkipReason},
    run,
};
use crate::{git, ui, values::Oid};
use std::time::{Duration, SystemTime};

/// The clock of a file system may be this much behind.
const TICK: Duration = Duration::from_millis(10);
/// How many files are named that fixers made.
const TOLD: usize = 3;

impl Plan {
    /// The steps that may change files, as a plan of their own; `None` where none of them runs.
    #[must_use]
    pub fn fixers(&self) -> Option<Self> {
        let mut fixers = self.clone();
        fixers.entries.retain(|entry| entry.fixes);
        fixers.runs().then_some(fixers)
    }

    /// This plan after its fixers have had their turn: they have no other.
    pub fn fixed(&mut self) {
        for entry in self.entries.iter_mut().filter(|entry| entry.fixes) {
            entry.decision = Decision::Skip(SkipReason::Ran);
        }
    }
}

/// What fixers did.
#[derive(Debug)]
pub struct Fixed {
    /// How each of them ended.
    pub report: Report,
    /// The tree that they made of the snapshot; `None` where they changed nothing.
    pub tree: Option<Oid>,
}

/// Runs the fixers of a plan and carries what they changed into the index and the work tree.
///
/// # Errors
/// As [`super::run`], and when what they changed cannot be carried.
pub fn fix(fixers: &Plan, context: &Context<'_>) -> Result<Fixed, Error> {
    let place = Place::scratch(context)?;
    let began = SystemTime::now();
    let mut report = run::execute(fixers, Work::new(), context, Some(&place), Groups::default())?;
    if super::verdict(context.hook, &report.entries).is_err() {
        return Ok(Fixed { report, tree: None });
    }
    if let Some(signal) = context.interrupt.signal() {
        return Err(Error::Interrupted { signal });
    }
    let (repository, before) = (context.repository, &context.snapshot.tree);
    let after = git::Repository::tree_of_work_tree(place.folder())?;
    for path in made(&place, context, began)?.iter().take(TOLD) {
        context.progress.line(&format!(
            "{}: a `fix` step made it, and it is left out: only tracked files are fixed",
            ui::clean(path)
        ));
    }
    if after == *before {
        super::passed::record(fixers, &mut report.entries, Some(&place), context)?;
        return Ok(Fixed { report, tree: None });
    }
    if let Kind::Commit(commit) = &context.snapshot.kind {
        let changes = repository.changes(Some(before), &after)?;
        let path = changes.first().map_or_else(String::new, |change| change.path.to_string());
        return Err(Error::WouldFix { path, more: changes.len().saturating_sub(1), commit: commit.clone() });
    }
    let carried = repository.carry(before, &after, place.folder())?;
    for (path, _) in carried.iter().filter(|(_, carried)| *carried == git::Carried::LeftAlone) {
        context.progress.line(&format!(
            "{}: the commit has the fix; your file keeps its unstaged edit of the same lines",
            ui::clean(&path.to_string())
        ));
    }
    let files = if carried.len() == 1 { "1 file".to_owned() } else { format!("{} files", carried.len()) };
    context.progress.line(&format!("{files} changed by `fix` steps: the change will be part of the commit"));
    Ok(Fixed { report, tree: Some(after) })
}

/// What fixers made and git does not track: not what the scratch tree borrows, and not what its setup left before.
fn made(place: &Place, context: &Context<'_>, began: SystemTime) -> Result<Vec<String>, Error> {
    let mut paths = Vec::new();
    for path in git::Repository::untracked(place.folder())? {
        let path = path.to_string();
        let is_borrowed = context.scratch.link.iter().any(|link| link.as_str() == path.trim_end_matches('/'));
        let found = std::fs::symlink_metadata(place.folder().join(&path)).and_then(|found| found.modified());
        if !is_borrowed && found.is_ok_and(|at| at + TICK >= began) {
            paths.push(path);
        }
    }
    Ok(paths)
}
