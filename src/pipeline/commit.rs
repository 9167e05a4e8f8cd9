//! The hooks that judge the index or a message: pre-commit, commit-msg and their kin.

use super::{
    Error, Pipeline, Whose, configuration,
    judge::{Call, Case, Judged, judge},
};
use crate::{
    check::{Coverage, Snapshot},
    hook,
    image::Intent,
    values::HookName,
};

/// Runs the steps of a hook on the index that git gave it. Images are built and tried, never published.
///
/// # Errors
/// When a step fails, or the configuration cannot be used.
pub fn commit(pipeline: &Pipeline<'_>, hook: HookName, call: Call<'_>) -> Result<(), Error> {
    let snapshot = Snapshot::of_index(pipeline.repository)?;
    let Some(mut judged) = on_index(pipeline, hook, &snapshot, call)? else { return Ok(()) };
    let (overtaken, undone) = (judged.overtaken.take(), judged.undone);
    judged.verdict()?;
    if undone && hook == HookName::PreCommit && pipeline.repository.operation().is_none() {
        return Err(Error::Undone);
    }
    match overtaken {
        // After these git reads the index anew. After the others it commits the one that it has read before.
        Some(path) if matches!(hook, HookName::PreCommit | HookName::PreMergeCommit) => {
            Err(Error::Overtaken { path: path.to_string() })
        }
        _ => Ok(()),
    }
}

/// As [`commit`], with what became of each step; `None` where the snapshot has no configuration.
pub(super) fn on_index(
    pipeline: &Pipeline<'_>,
    name: HookName,
    snapshot: &Snapshot,
    call: Call<'_>,
) -> Result<Option<Judged>, Error> {
    let Some(config) = configuration(pipeline.repository, &snapshot.tree, Whose::Mine)? else {
        pipeline.progress.line("gitops-hooks: the snapshot has no .gitops-hooks.yaml, so nothing is checked");
        return Ok(None);
    };
    for missing in hook::missing(pipeline.repository, &config) {
        pipeline
            .progress
            .line(&format!("gitops-hooks: {missing} is not installed; `gitops-hooks install` puts it in place"));
    }
    let (config, source, intent, coverage) = (&config, &snapshot.tree, Intent::TrialOnly, Coverage::Part);
    judge(pipeline, Case { config, hook: name, snapshot, branches: &[], source, intent, coverage, call }).map(Some)
}
