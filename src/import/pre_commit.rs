//! pre-commit's configuration, which prek reads too: the file, what stands at its top, and the hooks of git that each of its
//! hooks runs in. What one of them becomes is the business of `pre_commit_hook`.

use super::{
    Error, Read, Runner,
    draft::{Draft, Names, Step},
    foreign,
    pre_commit_hook::{Context, Hook},
};
use crate::values::HookName;
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// Hooks whose own manifest gives them another stage than pre-commit, which the configuration does not show.
const OTHER_STAGES: &[(&str, HookName)] = &[
    ("commitizen", HookName::CommitMsg),
    ("commitizen-branch", HookName::PrePush),
    ("commitlint", HookName::CommitMsg),
    ("conventional-pre-commit", HookName::CommitMsg),
    ("gitlint", HookName::CommitMsg),
];

/// Where pre-commit and prek look.
pub(super) fn file(root: &Path) -> Option<String> {
    let names = [".pre-commit-config.yaml", ".pre-commit-config.yml", "prek.toml"];
    names.into_iter().find(|name| root.join(name).is_file()).map(str::to_owned)
}

/// The configuration below a folder.
pub(super) fn read(root: &Path, runner: Runner) -> Result<Read, Error> {
    let path = file(root).unwrap_or_else(|| ".pre-commit-config.yaml".to_owned());
    let value = foreign::value(root, &path)?.unwrap_or_default();
    let draft = convert(&value, &path, runner);
    Ok(Read { path, draft, own: None })
}

/// A configuration's hooks.
fn convert(value: &Value, path: &str, runner: Runner) -> Draft {
    let mut draft = Draft::default();
    let context = Context {
        program: if runner == Runner::Prek { "prek" } else { "pre-commit" },
        path,
        files: foreign::word(value, "files"),
        exclude: foreign::word(value, "exclude"),
    };
    let installed = stages(&foreign::words(value, "default_install_hook_types"));
    let installed = if installed.is_empty() { vec![HookName::PreCommit] } else { installed };
    let default_stages = stages(&foreign::words(value, "default_stages"));
    let mut names: BTreeMap<HookName, Names> = BTreeMap::new();
    let mut at = 0_u16;
    for repository in foreign::items(value.get("repos")) {
        let from = foreign::word(repository, "repo");
        for written in foreign::items(repository.get("hooks")) {
            at = at.saturating_add(1);
            let hook = Hook::new(&from, written);
            let own = foreign::words(written, "stages");
            let own_stages = stages(&own);
            if !own.is_empty() && own_stages.is_empty() {
                let (program, id) = (context.program, hook.called());
                draft.note(format!("Only by hand, as before: `{program} run --hook-stage manual {id}`"));
                continue;
            }
            let chosen =
                if own_stages.is_empty() { by_default(&hook, &installed, &default_stages) } else { own_stages };
            for stage in chosen {
                let mut step = hook.step(&context, stage);
                let steps = &mut draft.hook(stage).steps;
                // `run ID` runs every hook of this id: one step is enough, for the files of all of them.
                if let Some(first) = steps.iter_mut().find(|first| hook.is_asked(context.program, first)) {
                    (first.files, first.exclude) = (Vec::new(), Vec::new());
                    first.notes = vec![format!("{path} has {} more than once: each of them runs", hook.called())];
                    continue;
                }
                step.name = names.entry(stage).or_default().free(&hook.label());
                step.priority = prek_priority(written).unwrap_or(at);
                steps.push(step);
            }
        }
    }
    finish(&mut draft, value, &context, runner);
    draft
}

/// What a reader should know, and the order of the steps.
fn finish(draft: &mut Draft, value: &Value, context: &Context<'_>, runner: Runner) {
    let program = context.program;
    let calls = format!("{program} run ");
    let asks = |step: &Step| step.run.contains(&calls);
    if draft.hooks.iter().flat_map(|hook| &hook.steps).any(asks) {
        draft.note(format!(
            "Hooks of other repositories are still {program}'s: it installs them, and {} stays its configuration.",
            context.path
        ));
        match runner {
            Runner::Prek => {
                draft.note("prek was found here; everybody who commits needs it, or put `pre-commit` in its stead.");
            }
            Runner::PreCommit => {
                draft.note("Everybody who commits needs pre-commit; prek understands the same commands and is faster.");
            }
            Runner::Missing => draft.note("Neither prek nor pre-commit was found here: install one of them."),
        }
    }
    if draft.hooks.iter().flat_map(|hook| &hook.steps).any(|step| step.run.contains(" || ")) {
        draft.note("A hook that changes files fails when it does, and passes when it runs again: then its change joins the commit.");
    }
    let fail_fast = foreign::flag(value, "fail_fast") == Some(true);
    for hook in &mut draft.hooks {
        hook.steps.sort_by_key(|step| step.priority);
        let mut last = (0, 0);
        let mut before: Vec<String> = Vec::new();
        let mut wave: Vec<String> = Vec::new();
        for step in &mut hook.steps {
            // Small numbers, in the same order.
            if step.priority != last.0 || last.1 == 0 {
                last = (step.priority, last.1 + 1);
                before = std::mem::take(&mut wave);
            }
            step.priority = last.1;
            if fail_fast {
                step.needs.clone_from(&before);
            }
            wave.push(step.name.clone());
        }
        if last.1 > 1 {
            hook.notes.push(
                "One after the other, as before. Steps without `priority` run side by side, which is faster."
                    .to_owned(),
            );
        }
    }
}

/// The hooks of git that a hook without stages of its own runs in.
fn by_default(hook: &Hook<'_>, installed: &[HookName], default_stages: &[HookName]) -> Vec<HookName> {
    if let Some((_, stage)) = OTHER_STAGES.iter().find(|(id, _)| *id == hook.id && !hook.is_local()) {
        return vec![*stage];
    }
    if default_stages.is_empty() {
        // What checks files has nothing to do with a message, and most manifests say so.
        let judges =
            |stage: &HookName| matches!(stage, HookName::PreCommit | HookName::PrePush | HookName::PreMergeCommit);
        let judging: Vec<HookName> = installed.iter().copied().filter(judges).collect();
        return if judging.is_empty() { installed.to_vec() } else { judging };
    }
    let both: Vec<HookName> = default_stages.iter().copied().filter(|stage| installed.contains(stage)).collect();
    if both.is_empty() { default_stages.to_vec() } else { both }
}

/// pre-commit's stages as git's hooks, by their old names too; `manual` is none.
fn stages(written: &[String]) -> Vec<HookName> {
    let mut found = Vec::new();
    for stage in written {
        let name = match stage.as_str() {
            "commit" => "pre-commit",
            "push" => "pre-push",
            "merge-commit" => "pre-merge-commit",
            other => other,
        };
        if let Ok(hook) = name.parse::<HookName>()
            && !found.contains(&hook)
        {
            found.push(hook);
        }
    }
    found
}

/// prek's own key, which means what ours does.
fn prek_priority(hook: &Value) -> Option<u16> {
    hook.get("priority").and_then(Value::as_u64).and_then(|priority| u16::try_from(priority).ok())
}
