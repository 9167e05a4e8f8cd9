//! lefthook's configuration: the file, what stands at its top, and each of its hooks. What a hook's jobs become is the
//! business of `lefthook_jobs`.

use super::{
    Error, Read, conditions,
    draft::{Draft, Names},
    foreign,
    globs::Dialect,
    lefthook_files,
    lefthook_jobs::{Beside, Flow, Jobs, Setting},
};
use crate::values::HookName;
use serde_json::Value;
use std::path::Path;

/// Keys at the top that are no hooks and change nothing of what runs.
const SILENT: &[&str] = &[
    "min_version",
    "colors",
    "output",
    "skip_output",
    "assert_lefthook_installed",
    "no_tty",
    "source_dir",
    "source_dir_local",
    "glob_matcher",
    "templates",
    "no_auto_install",
    "install_non_git_hooks",
    "ci",
    "$schema",
    "extends",
    "remotes",
    "remote",
    "skip_lfs",
];
/// Keys at the top that have no equal.
const WITHOUT_EQUAL: &[(&str, &str)] = &[
    ("rc", "lefthook read a file (`rc`) into the shell ahead of each command; set what it sets with `env`"),
    ("lefthook", "lefthook called itself as `lefthook` says; that has no meaning here"),
];

/// Where lefthook looks, in its order.
pub(super) fn file(root: &Path) -> Option<String> {
    lefthook_files::first(root, &["lefthook", ".lefthook", ".config/lefthook"])
}

/// The configuration below a folder, and what one person lays over it.
pub(super) fn read(root: &Path, common: &Path) -> Result<Read, Error> {
    let path = file(root).unwrap_or_else(|| "lefthook.yml".to_owned());
    let files = lefthook_files::read(root, common, &path)?;
    let mut draft = convert(&files.shared);
    for note in files.notes {
        draft.note(note);
    }
    let own = files.own.map(|(own, value)| {
        draft.note(format!("{own} is one person's; gitops-hooks.local.yaml is its equal here."));
        (own, convert(&value))
    });
    Ok(Read { path, draft, own })
}

/// A configuration's hooks.
fn convert(value: &Value) -> Draft {
    let mut draft = Draft::default();
    let dialect =
        if foreign::word(value, "glob_matcher") == "doublestar" { Dialect::WholePath } else { Dialect::Gobwas };
    let source_dir = Some(foreign::word(value, "source_dir")).filter(|folder| !folder.is_empty());
    let source_dir = source_dir.unwrap_or_else(|| ".lefthook".to_owned());
    let templates: Vec<(String, String)> = foreign::entries(value.get("templates"))
        .filter_map(|(name, text)| Some((name.to_owned(), foreign::scalar(text)?)))
        .collect();
    for (name, hook) in foreign::entries(Some(value)) {
        if let Some((_, note)) = WITHOUT_EQUAL.iter().find(|(key, _)| *key == name) {
            draft.note(*note);
        } else if let Ok(hook_name) = name.parse::<HookName>() {
            let jobs = Jobs {
                hook: hook_name,
                dialect,
                source_dir: source_dir.trim_end_matches('/'),
                templates: &templates,
                names: Names::default(),
                steps: Vec::new(),
                wave: 0,
                globs: false,
            };
            convert_hook(&mut draft, jobs, hook);
        } else if !SILENT.contains(&name) && ["jobs", "commands", "scripts"].iter().any(|key| hook.get(key).is_some()) {
            draft.note(format!("`{name}` is no hook of git's: what `lefthook run {name}` did has no equal here."));
        }
    }
    draft
}

fn convert_hook(draft: &mut Draft, mut jobs: Jobs<'_>, hook: &Value) {
    let mut notes = Vec::new();
    let setting = Setting {
        skip: conditions::skip(hook.get("skip"), &mut notes),
        only: conditions::only(hook.get("only"), &mut notes),
        exclude: hook.get("exclude").cloned().into_iter().collect(),
        excluded_tags: foreign::words(hook, "exclude_tags"),
        files: foreign::word(hook, "files"),
        ..Setting::default()
    };
    for (key, note) in [
        (
            "fail_on_changes",
            "lefthook failed when files had changed (`fail_on_changes`): `fix: true` takes a change into the commit",
        ),
        ("follow", "lefthook showed output as it came (`follow`): `--verbose` does"),
    ] {
        if hook.get(key).is_some_and(|value| value != &Value::Bool(false)) {
            notes.push(note.to_owned());
        }
    }
    let flow = Flow::of(hook);
    let setup: Vec<(String, &Value)> =
        foreign::items(hook.get("setup")).iter().map(|job| ("setup".to_owned(), job)).collect();
    let before = jobs.all(&setup, Flow::Piped, &setting, &[], Beside::Nothing);
    if flow == Flow::Parallel && !setup.is_empty() {
        jobs.wave += 1;
    }
    let mut commands: Vec<(String, &Value)> =
        foreign::entries(hook.get("commands")).map(|(name, command)| (name.to_owned(), command)).collect();
    // lefthook's own order: by `priority`, those without one last, then by name.
    let rank = |command: &Value| command.get("priority").and_then(Value::as_u64).filter(|rank| *rank > 0);
    commands.sort_by(|(name, command), (other, other_command)| {
        let key = |command| rank(command).unwrap_or(u64::MAX);
        (key(command), name).cmp(&(key(other_command), other))
    });
    let scripts = foreign::entries(hook.get("scripts")).map(|(name, script)| (name.to_owned(), script));
    let listed = foreign::items(hook.get("jobs")).iter().map(|job| (foreign::word(job, "name"), job));
    let all: Vec<(String, &Value)> = commands.into_iter().chain(scripts).chain(listed).collect();
    jobs.all(&all, flow, &setting, &before, Beside::Nothing);
    if jobs.globs && jobs.dialect == Dialect::Gobwas {
        draft.note("lefthook compared patterns without regard to case; ours do, so add `*.PY` beside `*.py` where you need it.");
    }
    if jobs.wave > 1 {
        notes.push(
            "One after the other, as lefthook did. Steps without `priority` run side by side, which is faster."
                .to_owned(),
        );
    }
    let drafted = draft.hook(jobs.hook);
    drafted.notes.extend(notes);
    drafted.steps.extend(jobs.steps);
}
