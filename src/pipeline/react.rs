//! The hooks that judge nothing: they act on the user's work tree when git has done something. Their configuration is that
//! of the commit that is checked out, and their changed paths are what git has just brought in.

use super::{
    Error, Pipeline, Whose, configuration,
    judge::{Call, Case, judge},
};
use crate::{
    check::{Coverage, Snapshot},
    image::Intent,
    values::HookName,
};

/// Runs the steps of a hook that acts.
///
/// # Errors
/// When a step fails, or the configuration cannot be used.
pub fn react(pipeline: &Pipeline<'_>, hook: HookName, call: Call<'_>) -> Result<(), Error> {
    let repository = pipeline.repository;
    let Some(head) = repository.commit("HEAD") else { return Ok(()) };
    let Some(config) = configuration(repository, &head, Whose::Mine)? else { return Ok(()) };
    if config.hooks.get(&hook).is_none_or(Vec::is_empty) {
        return Ok(());
    }
    let before = match hook {
        HookName::PostCheckout => call.arguments.first().and_then(|old| old.to_str()).map(str::to_owned),
        HookName::PostMerge | HookName::PostRewrite => Some("ORIG_HEAD".to_owned()),
        HookName::PostCommit | HookName::PostApplypatch => Some("HEAD~1".to_owned()),
        _ => Some(head.to_string()),
    };
    // A root commit, or a first checkout: everything is new.
    let before = before.and_then(|revision| repository.commit(&revision));
    let snapshot = Snapshot::of_commit(repository, head.clone(), before.as_ref())?;
    let case = Case {
        config: &config,
        hook,
        snapshot: &snapshot,
        branches: &[],
        source: &head,
        intent: Intent::TrialOnly,
        coverage: Coverage::Part,
        call,
    };
    judge(pipeline, case)?.verdict()?;
    Ok(())
}
