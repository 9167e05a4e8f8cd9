//! What is left in a clone, and what is noted there: nothing without need.

use crate::{context::TestContext, testbed::skipped};

/// A clone that delivers `main`, with its remote.
fn delivering() -> TestContext {
    let context = TestContext::new();
    let remote = context.beside("remote.git");
    context.git(&["init", "-q", "--bare", "-b", "main", remote.to_str().unwrap()]);
    context.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
    context.write(
        ".gitops-hooks.yaml",
        "images:\n  web: { repository: registry.invalid/web }\nenvironments:\n  staging:\n    branch: main\n    manifests: { url: 'https://git.invalid/m.git', branch: main, path: staging }\n    images: [web]\n",
    );
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "x"]);
    context.git(&["push", "-q", "-u", "origin", "main"]);
    context.must(&["install", "--yes"]);
    context
}

fn noted(context: &TestContext) -> bool {
    context.work.join(".git/gitops-hooks/outbox/staging.json").exists()
}

#[test]
fn packing_references_notes_nothing_and_a_fetch_does() {
    let context = delivering();
    context.git(&["pack-refs", "--all"]);
    context.git(&["gc", "-q"]);
    assert!(!noted(&context));
    let other = context.beside("other");
    let remote = context.beside("remote.git");
    context.git(&["clone", "-q", remote.to_str().unwrap(), other.to_str().unwrap()]);
    for args in [&["commit", "-q", "--allow-empty", "-m", "theirs"][..], &["push", "-q"]] {
        let done = TestContext::run(context.command("git").args(args).current_dir(&other));
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    context.git(&["fetch", "-q"]);
    assert!(noted(&context));
}

#[test]
fn an_uninstallation_leaves_nothing_but_what_still_waits_to_be_delivered() {
    let context = delivering();
    let state = context.work.join(".git/gitops-hooks");
    // It cannot be reached: a log and a note are left.
    assert_eq!(context.hooks(&["deliver"]).code, Some(3));
    assert!(noted(&context));
    let said = context.must(&["uninstall"]);
    assert!(said.contains("staging still waits to be delivered") && noted(&context), "{said}");
    std::fs::remove_file(state.join("outbox/staging.json")).unwrap();
    context.must(&["install", "--yes"]);
    let said = context.must(&["uninstall"]);
    assert!(!state.exists() && !said.contains("stays"), "{said}");
}

#[test]
fn what_belongs_to_somebody_else_is_not_run_until_the_user_trusts_it() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", "hooks:\n  pre-commit:\n    - { name: step, run: 'true' }\n");
    context.git(&["add", "."]);
    context.must(&["run", "pre-commit"]);
    let given = std::process::Command::new("chown").args(["-R", "12345"]).arg(&context.work).output().unwrap();
    if !given.status.success() {
        skipped("only root gives a repository to somebody else");
        return;
    }
    for args in [&["run", "pre-commit"][..], &["install", "--yes"], &["status"]] {
        let done = context.hooks(args);
        assert!(done.code == Some(3) && done.stderr.contains("belongs to another user"), "{args:?}: {done:?}");
        assert!(done.stderr.contains("git config --global --add safe.directory"), "{done:?}");
    }
    context.git(&["config", "--global", "--add", "safe.directory", context.work.to_str().unwrap()]);
    context.must(&["run", "pre-commit"]);
    context.must(&["install", "--yes"]);
    context.git(&["commit", "-q", "-m", "x"]);
}
