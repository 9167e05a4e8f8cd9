//! What the rivals are put through in `tests/bench/safety`: ours passes all of it.

use crate::{context::TestContext, testbed::skipped};
use std::process::Command;

#[test]
fn ours_passes_every_trial_that_rivals_are_put_through() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/safety");
    if Command::new("python3").arg("--version").output().is_err() {
        skipped("the trials need python3");
        return;
    }
    let context = TestContext::new();
    let mut command = context.command("python3");
    let done = TestContext::run(command.arg(script).arg(assert_cmd::cargo::cargo_bin!("gitops-hooks")).arg("ours"));
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let passed = done.stdout.lines().filter(|line| line.ends_with(" yes")).count();
    assert!(passed >= 9, "{}", done.stdout);
}
