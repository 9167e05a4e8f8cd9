//! The hook files: whether git finds each that the configuration needs, whether it is ours and of today, and whether the
//! program that it calls is there.

use super::{Finding, finding::word};
use crate::{
    config::Config,
    git::Repository,
    hook::{self, HookFile, Kept, Standing},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The command that writes the hooks anew: all that are needed, or those that the user chose.
pub(super) fn install(repository: &Repository) -> String {
    let chosen = hook::chosen(repository).into_iter().map(|hook| format!(" {hook}"));
    format!("`gitops-hooks install{}`", chosen.collect::<String>())
}

/// What was found of a clone's hooks.
pub(super) struct Hooks {
    files: Result<Vec<HookFile>, hook::Error>,
    kept: Vec<Kept>,
    on_path: bool,
    install: String,
}

pub(super) fn gather(repository: &Repository, config: &Config) -> Hooks {
    Hooks {
        files: hook::hooks(repository, config),
        kept: hook::kept(repository),
        on_path: which::which("gitops-hooks").is_ok(),
        install: install(repository),
    }
}

impl Hooks {
    /// The programs that hooks call and that are there.
    pub(super) fn programs(&self) -> BTreeSet<PathBuf> {
        let files = self.files.iter().flatten();
        files
            .filter_map(|file| match &file.standing {
                Standing::Shim { binary, usable: true, .. } => Some(binary.clone()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = match &self.files {
            Ok(files) => judge(files, self.on_path, &self.install),
            Err(error) => vec![Finding::error("hooks", error, "see that the file is yours and can be read")],
        };
        findings.extend(self.kept.iter().filter(|kept| !kept.executable).map(idle));
        findings
    }
}

fn judge(files: &[HookFile], on_path: bool, install: &str) -> Vec<Finding> {
    let names = |which: &dyn Fn(&Standing) -> bool| {
        let names = files.iter().filter(|file| which(&file.standing)).map(|file| file.hook.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let mut findings = Vec::new();
    let mut tell = |names: String, what: &str, next: &str, tell: fn(String, String, String) -> Finding| {
        if !names.is_empty() {
            findings.push(tell("hooks".to_owned(), format!("{names}: {what}"), next.to_owned()));
        }
    };
    tell(
        names(&|standing| *standing == Standing::Absent),
        "not installed, so that git calls nothing",
        install,
        Finding::environment,
    );
    tell(
        names(&|standing| matches!(standing, Standing::Shim { executable: false, .. })),
        "not executable, so that git ignores it",
        &format!("{install} makes it executable again"),
        Finding::environment,
    );
    tell(
        names(&|standing| matches!(standing, Standing::Shim { current: false, .. })),
        "not what this version writes for this configuration",
        &format!("{install} writes it anew"),
        Finding::warning,
    );
    findings.extend(files.iter().filter_map(|file| match &file.standing {
        Standing::Foreign(text) => Some(foreign(file, text, install)),
        _ => None,
    }));
    findings.extend(gone(files, on_path, install));
    if findings.is_empty() {
        let names = names(&|_| true);
        let none = "the configuration needs none".to_owned();
        findings.push(Finding::fine("hooks", if names.is_empty() { none } else { names }));
    }
    findings
}

fn foreign(file: &HookFile, text: &str, install: &str) -> Finding {
    let folder = file.path.parent().unwrap_or(&file.path);
    let whose = hook::recognise(folder, text.as_bytes()).map_or_else(String::new, |name| format!(" of {name}"));
    Finding::environment(
        "hooks",
        format!("{}: another hook{whose} stands at {}, and ours is not called", file.hook, file.path.display()),
        format!("{install} keeps it beside ours and lets it run first"),
    )
}

/// Programs that hooks call and that are not there. The shim then looks at the `PATH`.
fn gone(files: &[HookFile], on_path: bool, install: &str) -> Vec<Finding> {
    let missing: BTreeSet<&Path> = files
        .iter()
        .filter_map(|file| match &file.standing {
            Standing::Shim { binary, usable: false, .. } => Some(binary.as_path()),
            _ => None,
        })
        .collect();
    let found = missing.into_iter().map(|binary| {
        let message = format!("the program that they call is gone: {}", binary.display());
        let next = format!("put it back, or let them call another: {install} with that one");
        if on_path {
            let message = format!("{message}; they call the one on the PATH");
            Finding::warning("hooks", message, next)
        } else {
            Finding::environment("hooks", message, next)
        }
    });
    found.collect()
}

/// A kept hook that git would not run, and neither do we.
fn idle(kept: &Kept) -> Finding {
    Finding::warning(
        "kept hook",
        format!("{} is not executable and therefore not run", kept.path.display()),
        format!("`chmod +x {}`, or remove it", word(&kept.path)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{doctor::State, values::HookName};

    fn file(standing: Standing) -> HookFile {
        HookFile { hook: HookName::PreCommit, path: "/c/.git/hooks/pre-commit".into(), standing }
    }

    fn shim() -> Standing {
        Standing::Shim { executable: true, current: true, binary: "/b".into(), usable: true }
    }

    fn only(standing: Standing, on_path: bool) -> Finding {
        let mut found = judge(&[file(standing)], on_path, "install");
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn a_shim_as_installed_is_fine() {
        assert_eq!(only(shim(), false), Finding::fine("hooks", "pre-commit"));
        assert_eq!(judge(&[], false, "")[0].state, State::Fine);
    }

    #[test]
    fn what_git_does_not_run_is_wrong() {
        assert_eq!(only(Standing::Absent, true).state, State::Environment);
        let idle = Standing::Shim { executable: false, current: true, binary: "/b".into(), usable: true };
        assert_eq!(only(idle, true).state, State::Environment);
        let foreign =
            only(Standing::Foreign("#!/bin/sh\n# File generated by pre-commit: https://pre-commit.com\n".into()), true);
        assert!(foreign.state == State::Environment && foreign.message.contains("of pre-commit"), "{foreign:?}");
    }

    #[test]
    fn an_older_text_still_works() {
        let older = Standing::Shim { executable: true, current: false, binary: "/b".into(), usable: true };
        assert_eq!(only(older, false).state, State::Warning);
    }

    #[test]
    fn a_gone_program_is_wrong_unless_the_path_has_one() {
        let gone = || Standing::Shim { executable: true, current: true, binary: "/b".into(), usable: false };
        assert_eq!(only(gone(), false).state, State::Environment);
        assert_eq!(only(gone(), true).state, State::Warning);
    }
}
