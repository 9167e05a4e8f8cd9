//! Steps that misbehave.

use crate::context::TestContext;
use std::time::{Duration, Instant};

fn with(run: &str, more: &str) -> TestContext {
    TestContext::with(&format!("hooks:\n  pre-commit:\n    - name: step\n      run: |\n        {run}\n{more}"))
}

fn alive(pid: &str) -> bool {
    std::fs::read(format!("/proc/{}/cmdline", pid.trim())).is_ok_and(|line| !line.is_empty())
}

#[test]
fn a_gigabyte_of_output_is_kept_within_bounds() {
    let context = with("echo beginning; head -c 1000000000 /dev/zero | tr '\\\\0' x; echo; echo end; exit 1", "");
    let run = context.measured(&["run", "pre-commit"]);
    assert_eq!(run.done.code, Some(1));
    assert!(run.done.stderr.contains("beginning") && run.done.stderr.contains("│ end"));
    assert!(run.peak < 64, "{} MiB", run.peak);
    assert!(run.done.stderr.len() < 2 << 20, "{}", run.done.stderr.len());
}

#[test]
fn one_that_closes_its_output_and_lives_on_is_waited_for() {
    let context = with("exec >&- 2>&-; sleep 1; exit 3", "");
    let began = Instant::now();
    let done = context.try_git(&["commit", "-q", "-m", "x"]);
    assert!(done.code == Some(1) && done.stderr.contains("exit code 3"), "{done:?}");
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[test]
fn one_that_forks_and_exits_holds_nobody_up_and_leaves_nobody() {
    let context = with("sleep 60 & echo $! > \"$PIDS\"; echo done", "");
    let began = Instant::now();
    let mut command = context.command("git");
    let done = TestContext::run(command.args(["commit", "-q", "-m", "x"]).env("PIDS", context.beside("pids")));
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(!alive(&std::fs::read_to_string(context.beside("pids")).unwrap()));
}

#[test]
fn one_that_ignores_every_signal_ends_at_its_limit() {
    let context = with("trap '' TERM INT HUP; echo $$ > \"$PIDS\"; while :; do sleep 1; done", "      timeout: 1s\n");
    let began = Instant::now();
    let mut command = context.command("git");
    let done = TestContext::run(command.args(["commit", "-q", "-m", "x"]).env("PIDS", context.beside("pids")));
    assert!(done.code == Some(1) && done.stderr.contains("time limit"), "{done:?}");
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    assert!(!alive(&std::fs::read_to_string(context.beside("pids")).unwrap()));
}

#[test]
fn one_that_takes_its_own_folder_away_harms_nobody() {
    let context = with("rm -rf \"$PWD\"; cd ..; rm -rf .[a-z]* *; exit 0", "");
    // In a scratch tree: what is the user's is elsewhere.
    context.write("untracked", "mine");
    let before =
        TestContext::tree(&context.work).into_iter().filter(|(path, ..)| !path.starts_with(context.work.join(".git")));
    let before: Vec<_> = before.collect();
    let _ = context.try_git(&["commit", "-q", "-m", "x"]);
    let after =
        TestContext::tree(&context.work).into_iter().filter(|(path, ..)| !path.starts_with(context.work.join(".git")));
    assert_eq!(after.collect::<Vec<_>>(), before);
    context.write(".gitops-hooks.yaml", "hooks:\n  pre-commit:\n    - { name: step, run: test -e f }\n");
    context.git(&["add", ".gitops-hooks.yaml"]);
    context.git(&["commit", "-q", "-m", "y"]);
}

#[test]
fn two_hundred_steps_run_in_one_hook() {
    let steps: String =
        (0..200).map(|at| format!("    - {{ name: s{at}, run: 'true' }}\n")).collect::<Vec<_>>().concat();
    let context = TestContext::with(&format!("hooks:\n  pre-commit:\n{steps}"));
    let run = context.measured(&["run", "pre-commit"]);
    assert!(run.done.code == Some(0) && run.done.stderr.contains("200 passed"), "{}", run.done.stderr);
    assert!(run.peak < 64, "{} MiB", run.peak);
}
