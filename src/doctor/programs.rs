//! The programs that everything rests on: git, the shell, and this one, which hooks call by its path.

use super::{
    Finding, PATIENCE,
    finding::word,
    hooks::Hooks,
    side_by_side::{Job, within},
};
use crate::{git::Version, values};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// What this program answers to `--version`.
fn this_program() -> String {
    format!("gitops-hooks {}", values::Version::long())
}

pub(super) fn git() -> Vec<Finding> {
    vec![match Version::of_git() {
        Ok(version) => judge_git(&version),
        Err(error) => Finding::error("git", &error, "install git 2.30 or newer and see that it is on the PATH"),
    }]
}

fn judge_git(version: &Version) -> Finding {
    if version.number >= Version::OLDEST {
        return Finding::fine("git", &version.shown);
    }
    Finding::environment("git", format!("{} is too old", version.shown), "install git 2.30 or newer")
}

pub(super) fn shell() -> Vec<Finding> {
    vec![match which::which("sh") {
        Ok(path) => Finding::fine("shell", path.display().to_string()),
        Err(_) => Finding::environment(
            "shell",
            "there is no `sh` on the PATH, so that no step can run",
            "put the folder of `sh` on the PATH, usually /bin",
        ),
    }]
}

/// This program, the one on the `PATH`, and those that hooks call.
pub(super) fn ours(program: &Path, hooks: &Hooks) -> Vec<Job> {
    let on_path = which::which("gitops-hooks").ok();
    let mut jobs = vec![Job::known(judge_path(program, on_path.as_deref()))];
    for called in hooks.programs() {
        if same(&called, program) {
            continue;
        }
        let late = judge_called(&called, program, None);
        jobs.push(Job::new(late, {
            let program = program.to_owned();
            move || {
                let said = within(PATIENCE, version(called.clone())).flatten();
                Some(vec![judge_called(&called, &program, said.as_deref())])
            }
        }));
    }
    jobs
}

/// What a program says when it is asked for its version.
async fn version(program: PathBuf) -> Option<String> {
    let mut command = tokio::process::Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn judge_path(program: &Path, on_path: Option<&Path>) -> Finding {
    let (shown, ours) = (program.display(), this_program());
    match on_path {
        Some(found) if same(found, program) => Finding::fine("program", format!("{ours}, {shown}")),
        Some(found) => Finding::warning(
            "program",
            format!("this is {shown}, and the one on the PATH is {}", found.display()),
            format!("keep one of them; `{} install` lets hooks call this one", word(program)),
        ),
        None => Finding::warning(
            "program",
            format!("{ours}, {shown}, is not on the PATH"),
            format!("add {} to the PATH; hooks find it without", word(program.parent().unwrap_or(program))),
        ),
    }
}

/// A program that hooks call and that is not the one that runs. `said` is its answer to `--version`.
fn judge_called(called: &Path, program: &Path, said: Option<&str>) -> Finding {
    let (shown, ours) = (called.display(), this_program());
    let next = format!("`{} install` lets hooks call this program, {ours}", word(program));
    match said {
        Some(said) if said == ours => Finding::fine("program of the hooks", format!("{ours}, {shown}")),
        Some(other) if other.starts_with("gitops-hooks ") => {
            let other: String = other.chars().take(60).collect();
            Finding::warning("program of the hooks", format!("{shown} is {other}; this is {ours}"), next)
        }
        _ => Finding::environment("program of the hooks", format!("{shown} does not say its version"), next),
    }
}

/// Whether two paths are one file.
fn same(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_git_from_before_2_30_is_too_old() {
        let state = |number| judge_git(&Version { shown: String::new(), number }).state;
        assert_eq!(state((2, 29)), State::Environment);
        assert_eq!(state((2, 30)), State::Fine);
        assert_eq!(state((3, 0)), State::Fine);
    }

    #[test]
    fn another_program_on_the_path_is_told_and_none_at_all_too() {
        let program = Path::new("/opt/gitops-hooks");
        assert_eq!(judge_path(program, Some(program)).state, State::Fine);
        let none = judge_path(program, None);
        assert_eq!((none.state, none.next.unwrap().contains("add /opt to the PATH")), (State::Warning, true));
        let other = judge_path(program, Some(Path::new("/usr/bin/gitops-hooks")));
        assert!(other.state == State::Warning && other.message.contains("/usr/bin/gitops-hooks"));
    }

    #[test]
    fn a_program_of_another_version_is_worth_a_look_and_one_that_is_none_is_wrong() {
        let state = |said| judge_called(Path::new("/a"), Path::new("/b"), said).state;
        let ours = this_program();
        assert_eq!(state(Some(&ours)), State::Fine);
        assert_eq!(state(Some("gitops-hooks 0.0.1")), State::Warning);
        assert_eq!(state(Some("hello")), State::Environment);
        assert_eq!(state(None), State::Environment);
    }
}
