//! Hooks as their users meet them: installed, chained, taken away, and run by the real git.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod context;
#[path = "context/testbed.rs"]
mod testbed;
mod hooks {
    mod installed;
    mod traces;
}

use context::TestContext;

const PASSES: &str = "hooks:\n  pre-commit:\n    - name: check\n      run: test ! -e bad\n";

#[test]
fn a_failing_step_stops_the_commit_and_a_passing_one_does_not() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", PASSES);
    context.must(&["install", "--yes"]);
    context.write("bad", "x");
    context.git(&["add", "."]);
    let stopped = context.try_git(&["commit", "-m", "bad"]);
    assert_eq!(stopped.code, Some(1), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("✗ check"), "{}", stopped.stderr);
    assert!(context.try_git(&["rev-parse", "HEAD"]).code != Some(0));
    context.git(&["rm", "-q", "-f", "bad"]);
    context.git(&["commit", "-q", "-m", "good"]);
}

#[test]
fn a_hook_that_was_there_is_kept_run_first_and_restored_byte_for_byte() {
    let context = TestContext::new();
    let hooks = context.work.join(".git/hooks");
    TestContext::script(&hooks.join("pre-commit"), "#!/bin/sh\necho kept ran\n");
    TestContext::script(&hooks.join("pre-push"), "#!/bin/sh\ncat\n");
    let before = TestContext::tree(&hooks);
    context.write(".gitops-hooks.yaml", PASSES);
    context.must(&["install", "--yes"]);
    context.must(&["install", "--yes"]);
    context.git(&["add", "."]);
    let done = context.try_git(&["commit", "-m", "x"]);
    assert!(done.code == Some(0) && (done.stdout.clone() + &done.stderr).contains("kept ran"), "{done:?}");
    context.must(&["uninstall"]);
    assert_eq!(TestContext::tree(&hooks), before);
}

#[test]
fn a_kept_hook_that_fails_stops_git() {
    let context = TestContext::new();
    TestContext::script(&context.work.join(".git/hooks/pre-commit"), "#!/bin/sh\nexit 3\n");
    context.write(".gitops-hooks.yaml", PASSES);
    context.must(&["install", "--yes"]);
    context.git(&["add", "."]);
    let done = context.try_git(&["commit", "-m", "x"]);
    assert!(done.code == Some(1) && done.stderr.contains("before-gitops-hooks"), "{done:?}");
}

#[test]
fn a_hooks_folder_of_the_users_is_left_alone_and_passed_through() {
    let context = TestContext::new();
    let theirs = context.beside("their-hooks");
    TestContext::script(&theirs.join("pre-commit"), "#!/bin/sh\necho theirs ran\n");
    TestContext::script(&theirs.join("post-commit"), "#!/bin/sh\necho theirs after >&2\n");
    context.git(&["config", "core.hooksPath", theirs.to_str().unwrap()]);
    let before = TestContext::tree(&theirs);
    let config = context.read(".git/config");
    context.write(".gitops-hooks.yaml", PASSES);
    context.must(&["install", "--yes"]);
    context.git(&["add", "."]);
    let done = context.try_git(&["commit", "-m", "x"]);
    let said = done.stdout.clone() + &done.stderr;
    assert!(said.contains("theirs ran") && said.contains("theirs after") && said.contains("✓ check"), "{done:?}");
    assert_eq!(TestContext::tree(&theirs), before);
    context.must(&["uninstall"]);
    assert_eq!(context.read(".git/config"), config);
    assert_eq!(TestContext::tree(&theirs), before);
}

#[test]
fn a_linked_work_tree_shares_the_hooks() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", PASSES);
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "x"]);
    let linked = context.beside("linked");
    context.git(&["worktree", "add", "-q", linked.to_str().unwrap(), "-b", "other"]);
    let install = TestContext::run(
        context.command(assert_cmd::cargo::cargo_bin!("gitops-hooks")).args(["install", "--yes"]).current_dir(&linked),
    );
    assert_eq!(install.code, Some(0), "{install:?}");
    std::fs::write(linked.join("bad"), "x").unwrap();
    let add = TestContext::run(context.command("git").args(["add", "."]).current_dir(&linked));
    assert_eq!(add.code, Some(0));
    let done = TestContext::run(context.command("git").args(["commit", "-m", "bad"]).current_dir(&linked));
    assert_eq!(done.code, Some(1), "{done:?}");
}

#[test]
fn what_a_gone_program_may_stop_it_stops_with_one_sentence() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", PASSES);
    let copy = context.beside("gitops-hooks");
    std::fs::copy(assert_cmd::cargo::cargo_bin!("gitops-hooks"), &copy).unwrap();
    let done = TestContext::run(context.command(&copy).args(["install", "--yes"]));
    assert_eq!(done.code, Some(0), "{done:?}");
    std::fs::remove_file(&copy).unwrap();
    context.git(&["add", "."]);
    let done = context.try_git(&["commit", "-m", "x"]);
    assert!(done.code == Some(1) && done.stderr.contains("is gone from"), "{done:?}");
    assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
}

#[test]
fn nothing_is_installed_that_nobody_confirmed() {
    let context = TestContext::new();
    context.write(
        ".gitops-hooks.yaml",
        "images: {web: {repository: registry.example.com/web}}\nenvironments:\n  staging:\n    branch: main\n    manifests: {url: \"https://s3cret@git.example.com/m.git\"}\n    images: [web]\n",
    );
    let done = context.hooks(&["install"]);
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains("https://git.example.com/m.git") && !done.stderr.contains("s3cret"), "{done:?}");
    assert!(!context.work.join(".git/hooks/pre-push").exists());
    context.must(&["install", "--yes"]);
    assert!(!context.read(".git/config").contains("s3cret"));
}

#[test]
fn a_branch_cannot_aim_deliveries_elsewhere() {
    let context = TestContext::new();
    let remote = context.beside("remote.git");
    context.git(&["init", "-q", "--bare", remote.to_str().unwrap()]);
    context.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
    let config = |host: &str| {
        format!(
            "images: {{web: {{repository: registry.example.com/web}}}}\nenvironments:\n  staging:\n    branch: main\n    manifests: {{url: \"https://{host}/m.git\"}}\n    images: [web]\n"
        )
    };
    context.write(".gitops-hooks.yaml", &config("git.example.com"));
    context.must(&["install", "--yes"]);
    context.write(".gitops-hooks.yaml", &config("git.attacker.example"));
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "x"]);
    let done = context.try_git(&["push", "-q", "-u", "origin", "main"]);
    assert!(done.code == Some(1) && done.stderr.contains("git.attacker.example"), "{done:?}");
    assert!(done.stderr.contains("gitops-hooks install"), "{done:?}");
}

#[test]
fn a_broken_configuration_stops_the_commit_and_says_where() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", PASSES);
    context.must(&["install", "--yes"]);
    context.write(".gitops-hooks.yaml", "hooks:\n  pre-commit:\n    - runn: x\n      timeout: soon\n");
    context.git(&["add", "."]);
    let done = context.try_git(&["commit", "-m", "x"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains(".gitops-hooks.yaml:3:7: unknown key"), "{done:?}");
    assert!(done.stderr.contains(".gitops-hooks.yaml:4:16: expected a time"), "{done:?}");
    assert_eq!(context.hooks(&["config", "check"]).code, Some(2));
}

#[test]
fn init_writes_what_config_check_accepts() {
    let context = TestContext::new();
    context.write("requirements.txt", "flask\n");
    context.write("Dockerfile", "FROM x\nEXPOSE 5000\n");
    context.must(&["init"]);
    context.must(&["config", "check"]);
    let text = context.read(".gitops-hooks.yaml");
    assert!(text.contains("port: 5000") && text.contains("pytest"), "{text}");
    let again = context.hooks(&["init"]);
    assert_eq!((again.code, context.read(".gitops-hooks.yaml")), (Some(2), text));
}

#[test]
fn a_fetch_of_many_references_does_not_start_the_program() {
    let context = TestContext::new();
    let remote = context.beside("remote.git");
    context.git(&["init", "-q", "--bare", remote.to_str().unwrap()]);
    context.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
    context.write(
        ".gitops-hooks.yaml",
        "images: {web: {repository: registry.example.com/web}}\nenvironments:\n  staging:\n    branch: main\n    manifests: {url: \"https://git.example.com/m.git\"}\n    images: [web]\n",
    );
    let copy = context.beside("gitops-hooks");
    std::fs::copy(assert_cmd::cargo::cargo_bin!("gitops-hooks"), &copy).unwrap();
    TestContext::run(context.command(&copy).args(["install", "--yes"]));
    // Whoever calls the program now leaves a trace.
    let trace = context.beside("called");
    TestContext::script(&copy, &format!("#!/bin/sh\necho \"$@\" >> {}\n", trace.display()));
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "--no-verify", "-m", "x"]);
    for n in 0..50 {
        context.git(&["update-ref", &format!("refs/remotes/origin/topic-{n}"), "HEAD"]);
    }
    assert!(!trace.exists(), "{}", std::fs::read_to_string(&trace).unwrap_or_default());
    context.git(&["update-ref", "refs/remotes/origin/main", "HEAD"]);
    assert!(std::fs::read_to_string(&trace).unwrap().contains("reference-transaction committed"));
}

#[test]
fn a_hook_that_the_configuration_gained_is_said_to_be_missing() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", PASSES);
    context.must(&["install", "--yes"]);
    context.write(".gitops-hooks.yaml", &format!("{PASSES}  commit-msg:\n    - run: \"true\"\n"));
    context.git(&["add", "."]);
    let done = context.try_git(&["commit", "-m", "x"]);
    assert!(done.code == Some(0) && done.stderr.contains("commit-msg is not installed"), "{done:?}");
}

#[test]
fn only_the_chosen_hooks_are_installed_and_the_others_are_not_missed() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", "hooks:\n  pre-commit:\n    - run: 'true'\n  pre-push:\n    - run: 'true'\n");
    let told = context.must(&["install", "--yes", "pre-commit"]);
    assert!(told.contains("installed pre-commit\n"), "{told}");
    context.git(&["add", "."]);
    let done = context.try_git(&["commit", "-q", "-m", "x"]);
    assert!(done.code == Some(0) && !done.stderr.contains("is not installed"), "{}", done.stderr);
    let done = context.hooks(&["install", "--yes", "post-merge"]);
    assert!(done.code == Some(2) && done.stderr.contains("nothing to run in post-merge"), "{}", done.stderr);
    let told = context.must(&["install", "--yes"]);
    assert!(told.contains("installed pre-commit, pre-push\n"), "{told}");
    context.must(&["install", "--yes", "pre-push"]);
    context.must(&["uninstall"]);
    assert!(!context.git(&["config", "--local", "--list"]).contains("gitops-hooks"));
}

#[test]
fn the_usual_hooks_folder_written_out_is_still_the_usual_one() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", PASSES);
    context.must(&["install", "--yes"]);
    context.git(&["config", "core.hooksPath", ".git/hooks"]);
    context.git(&["add", "."]);
    let done = context.try_git(&["commit", "-q", "-m", "x"]);
    assert!(done.code == Some(0) && done.stderr.matches("✓ check").count() == 1, "{}", done.stderr);
}

#[test]
fn a_hook_that_comes_later_into_the_users_folder_is_passed_on() {
    let context = TestContext::new();
    let theirs = context.beside("their-hooks");
    std::fs::create_dir(&theirs).unwrap();
    context.git(&["config", "core.hooksPath", theirs.to_str().unwrap()]);
    context.write(".gitops-hooks.yaml", PASSES);
    context.must(&["install", "--yes"]);
    TestContext::script(&theirs.join("commit-msg"), "#!/bin/sh\nexit 1\n");
    context.git(&["add", "."]);
    assert_ne!(context.try_git(&["commit", "-q", "-m", "x"]).code, Some(0));
}

#[test]
fn a_configuration_that_was_not_added_is_told_by_hand() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", PASSES);
    let done = context.hooks(&["run", "pre-commit"]);
    assert!(done.code == Some(2) && done.stderr.contains("git add .gitops-hooks.yaml"), "{}", done.stderr);
}

#[test]
fn an_uninstallation_leaves_no_scratch_tree_behind() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", PASSES);
    context.must(&["install", "--yes"]);
    context.git(&["add", "."]);
    context.write("untracked", "x");
    context.git(&["commit", "-q", "-m", "x"]);
    assert_eq!(context.git(&["worktree", "list"]).lines().count(), 2);
    context.must(&["uninstall"]);
    assert_eq!(context.git(&["worktree", "list"]).lines().count(), 1);
}

#[test]
fn a_full_standard_output_is_an_error_and_no_panic() {
    let context = TestContext::new();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = context.command(assert_cmd::cargo::cargo_bin!("gitops-hooks"));
    let output = command.args(["config", "schema"]).stdout(full).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && said.contains("cannot write to standard output"), "{said}");
}
