//! A test that runs once more in a process of its own with other variables: those of a running process are not changed.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::process::Command;

const INSIDE: &str = "GITOPS_HOOKS_TEST_INSIDE";

/// Runs one test of this file again with these variables, and gives `true` in that process.
pub fn inside(test: &str, variables: &[(&str, Option<&str>)]) -> bool {
    if std::env::var(INSIDE).as_deref() == Ok(test) {
        return true;
    }
    passes_again(test, variables);
    false
}

/// Runs one test again with these variables, which must pass.
pub fn passes_again(test: &str, variables: &[(&str, Option<&str>)]) {
    let output = again(test, variables).output().unwrap();
    assert!(output.status.success(), "{variables:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The process in which [`inside`] says `true`, not yet started.
pub fn again(test: &str, variables: &[(&str, Option<&str>)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(INSIDE, test);
    for (name, value) in variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}
