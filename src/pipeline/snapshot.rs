//! The hooks that judge the index or a message: pre-commit, commit-msg and their kin, and any hook run by hand.

use super::{
    Error, Pipeline, configuration,
    judge::{Call, judge},
};
use crate::{
    check::Snapshot,
    hook,
    image::Intent,
    values::{HookName, Oid},
};
use std::{ffi::OsString, path::Path};

/// Judges what is about to be committed. Images are built and tried, never published.
///
/// # Errors
/// When a step fails, or the configuration cannot be used.
pub fn commit(pipeline: &Pipeline<'_>, hook: HookName, arguments: &[OsString]) -> Result<(), Error> {
    on_index(pipeline, hook, Call { arguments, message_file: None })
}

/// Judges a commit message, beside the index that it describes.
///
/// # Errors
/// When a step fails, or the configuration cannot be used.
pub fn message(pipeline: &Pipeline<'_>, hook: HookName, arguments: &[OsString], file: &Path) -> Result<(), Error> {
    on_index(pipeline, hook, Call { arguments, message_file: Some(file) })
}

/// Runs the steps of a hook by hand: pre-push on `HEAD`, any other on the index. Nothing is published.
///
/// # Errors
/// When a step fails, or the configuration cannot be used.
pub fn by_hand(pipeline: &Pipeline<'_>, hook: HookName) -> Result<(), Error> {
    let head = pipeline.repository.commit("HEAD");
    match (hook, head) {
        (HookName::PrePush, Some(head)) => {
            let base = pipeline
                .repository
                .upstream("HEAD")
                .and_then(|upstream| pipeline.repository.commit(&upstream.tracking));
            let snapshot = Snapshot::of_commit(pipeline.repository, head.clone(), base.as_ref())?;
            on(pipeline, hook, &snapshot, &head, Call::default())
        }
        _ => on_index(pipeline, hook, Call::default()),
    }
}

fn on_index(pipeline: &Pipeline<'_>, hook: HookName, call: Call<'_>) -> Result<(), Error> {
    let snapshot = Snapshot::of_index(pipeline.repository)?;
    let tree = snapshot.tree.clone();
    on(pipeline, hook, &snapshot, &tree, call)
}

fn on(
    pipeline: &Pipeline<'_>,
    name: HookName,
    snapshot: &Snapshot,
    treeish: &Oid,
    call: Call<'_>,
) -> Result<(), Error> {
    let Some(config) = configuration(pipeline.repository, &snapshot.tree)? else {
        pipeline.progress.line("gitops-hooks: the snapshot has no .gitops-hooks.yaml, so nothing is checked");
        return Ok(());
    };
    for missing in hook::missing(pipeline.repository, &config) {
        pipeline
            .progress
            .line(&format!("gitops-hooks: {missing} is not installed; `gitops-hooks install` puts it in place"));
    }
    judge(pipeline, &config, name, snapshot, treeish, Intent::TrialOnly, call)?;
    Ok(())
}
