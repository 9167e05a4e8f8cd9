//! What a run leaves in the records: that a command passed on its inputs, and that a hook passed as a whole. Both are written
//! here and asked for here; how records are stored is `record.rs`'s.

use super::{
    Context, Coverage, Error, Kind,
    outcome::{Outcome, Reported},
    place::Place,
    plan::{Action, Decision, Plan, SkipReason},
    record::{Found, Key, KeyBuilder, Record, Records},
};
use crate::{
    config::{Condition, Step},
    git::Repository,
    values::{Globs, HookName, Oid},
};
use std::time::Duration;

/// Records each command that passed and, where all did, the hook as a whole.
pub(super) fn record(
    plan: &Plan,
    entries: &mut [Reported],
    place: Option<&Place>,
    context: &Context<'_>,
) -> Result<(), Error> {
    if !context.judges() {
        return Ok(());
    }
    let records = Records::of(context.repository);
    let new = |step: Option<String>, command: Option<String>, duration: Duration| Record {
        hook: context.hook.to_string(),
        step,
        command,
        tree: context.snapshot.tree.clone(),
        commit: match &context.snapshot.kind {
            Kind::Commit(commit) => Some(commit.clone()),
            Kind::Index => None,
        },
        place: place.map(|place| place.name().to_owned()),
        passed_at: jiff::Timestamp::now(),
        seconds: duration.as_secs_f64(),
    };
    let mut kept = Vec::new();
    for (planned, ended) in plan.entries.iter().zip(entries.iter_mut()) {
        if let (Outcome::Passed, Some(key), Action::Command { written, .. }) =
            (&ended.outcome, &planned.key, &planned.action)
        {
            kept.push((key.clone(), new(Some(planned.label.clone()), Some(written.clone()), ended.duration)));
            ended.record = Some(key.clone());
        }
    }
    let proven = plan.entries.iter().zip(entries.iter()).all(|(planned, ended)| {
        let left_out = matches!(planned.decision, Decision::Skip(SkipReason::LeftOut(_)));
        planned.action == Action::Work || (!left_out && !ended.outcome.is_unmet())
    });
    // Only of a push is it asked whether its hook has passed (`passed`).
    if context.hook == HookName::PrePush
        && context.coverage == Coverage::Whole
        && proven
        && matches!(records.find(&plan.whole), Found::Nothing | Found::Unreadable(_))
    {
        kept.push((plan.whole.clone(), new(None, None, entries.iter().map(|entry| entry.duration).sum())));
    }
    records.keep(&kept)
}

/// Whether the records say that every command of a hook passed, or had no need to run, on this commit's tree with these
/// steps as they are written.
///
/// # Errors
/// A commit that cannot be read.
pub fn passed(repository: &Repository, hook: HookName, steps: &[Step], commit: &Oid) -> Result<bool, Error> {
    let key = whole(hook, steps, &repository.tree_of(commit)?);
    Ok(matches!(Records::of(repository).find(&key), Found::Record(_)))
}

/// What a hook's passing as a whole is called: its commands with all that decides whether and how they run, and the tree.
pub(super) fn whole(hook: HookName, steps: &[Step], tree: &Oid) -> Key {
    let mut key = KeyBuilder::new("hook");
    key.field("hook", hook.as_str().as_bytes());
    key.field("tree", tree.as_str().as_bytes());
    for step in steps {
        let Some(run) = &step.run else { continue };
        for (name, value) in [("run", run.written()), ("shell", &step.shell), ("root", step.root.as_str())] {
            key.field(name, value.as_bytes());
        }
        for (name, value) in &step.env {
            key.field("env", name.as_bytes());
            key.field("value", value.as_bytes());
        }
        for tool in &step.tools {
            key.field("tool", tool.as_bytes());
        }
        for (name, globs) in [("files", &step.files), ("exclude", &step.exclude), ("inputs", &step.inputs)] {
            patterns(&mut key, name, globs.as_ref());
        }
        for (name, condition) in [("only", &step.only), ("skip", &step.skip)] {
            asked(&mut key, name, condition);
        }
        key.field("stdin", &[u8::from(step.stdin), u8::from(step.interactive)]);
    }
    key.finish()
}

fn patterns(key: &mut KeyBuilder, name: &str, globs: Option<&Globs>) {
    // No patterns choose otherwise than an empty list of them.
    key.field(name, &[u8::from(globs.is_some())]);
    for pattern in globs.into_iter().flat_map(Globs::written) {
        key.field("pattern", pattern.as_bytes());
    }
}

fn asked(key: &mut KeyBuilder, name: &str, condition: &Condition) {
    let conditions = match condition {
        Condition::Always => return key.field(name, b"always"),
        Condition::Never => return key.field(name, b"never"),
        Condition::When(conditions) => conditions,
    };
    key.field(name, b"when");
    patterns(key, "branch", conditions.branch.as_ref());
    patterns(key, "paths", conditions.paths.as_ref());
    for state in &conditions.state {
        key.field("state", state.to_string().as_bytes());
    }
    for (name, values) in [("run", conditions.run.as_slice()), ("env", &conditions.env)] {
        for value in values {
            key.field(name, value.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_step_that_says_anything_else_makes_another_whole() {
        let of = |step: &str| {
            let config = config::parse("c.yaml", &format!("hooks: {{ pre-push: [{{ run: {step} }}] }}")).unwrap();
            let tree = "a".repeat(40).parse().unwrap();
            whole(HookName::PrePush, &config.hooks[&HookName::PrePush], &tree).to_string()
        };
        let said = [
            "t, name: a",
            "u",
            "t, env: {A: b}",
            "t, tools: [a]",
            "t, shell: bash",
            "t, root: src",
            "t, files: [a]",
            "t, exclude: [a]",
            "t, inputs: [a]",
            "t, stdin: true",
            "t, interactive: true",
            "t, skip: true",
            "t, only: false",
            "t, only: {branch: [a]}",
            "t, skip: {branch: [a]}",
            "t, skip: {paths: [a]}",
            "t, skip: {env: [a]}",
            "t, skip: {run: a}",
            "t, skip: {state: [merge]}",
        ];
        let keys: std::collections::HashSet<String> = said.iter().map(|step| of(step)).collect();
        assert_eq!(keys.len(), said.len());
        assert_eq!(of("t, name: a"), of("t, name: b, timeout: 1m"), "what people call it decides nothing");
    }
}
