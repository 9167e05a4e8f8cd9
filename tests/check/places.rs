//! Which tree a step sees.

use crate::context::TestContext;
use std::os::unix::fs::symlink;

const CHECK: &str = "    - { name: check, run: \"test \\\"$(cat f)\\\" = good\" }";
const MAIN: &str = "    - { name: main, run: sh main.sh }";
const WHERE: &str = "    - { name: where, run: 'pwd >> $LOG' }";

#[test]
fn bad_staged_content_fails_though_the_work_tree_is_mended() {
    let context = TestContext::new();
    context.write("f", "bad");
    context.git(&["add", "."]);
    context.write("f", "good");
    let done = context.check("pre-commit", CHECK).fails();
    assert!(done.stderr.contains("f has unstaged changes"), "{}", done.stderr);
    assert_eq!(context.read("f"), "good");
}

#[test]
fn good_staged_content_passes_though_the_work_tree_is_bad() {
    let context = TestContext::new();
    context.write("f", "good");
    context.git(&["add", "."]);
    context.write("f", "bad");
    context.check("pre-commit", CHECK).passes();
    assert_eq!(context.read("f"), "bad");
}

#[test]
fn a_forgotten_git_add_fails() {
    let context = TestContext::new();
    context.write("main.sh", ". ./lib.sh");
    context.git(&["add", "."]);
    context.write("lib.sh", "true");
    context.check("pre-commit", MAIN).fails();
    context.git(&["add", "."]);
    context.check("pre-commit", MAIN).passes();
}

#[test]
fn a_work_tree_that_is_the_snapshot_is_used_itself() {
    let context = TestContext::new();
    context.seed();
    context.write("f", "staged");
    context.write(".gitignore", "ignored");
    context.write("ignored", "x");
    context.git(&["add", "."]);
    context.check("pre-commit", WHERE).env("LOG", context.log()).passes();
    assert_eq!(context.logged(), [context.work.to_str().unwrap()]);
}

#[test]
fn what_git_was_told_not_to_look_at_is_not_trusted() {
    let context = TestContext::new();
    context.write("f", "bad");
    context.git(&["add", "."]);
    context.git(&["update-index", "--assume-unchanged", "f"]);
    context.write("f", "good");
    context.check("pre-commit", CHECK).fails();
}

#[test]
fn a_commit_that_is_not_checked_out_is_judged_as_it_is() {
    let context = TestContext::new();
    context.write("f", "bad");
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "bad"]);
    context.git(&["branch", "other"]);
    context.write("f", "good");
    context.git(&["commit", "-q", "-a", "-m", "good"]);
    context.check("pre-push", CHECK).env("CHECK_COMMIT", "other").fails();
    context.check("pre-push", CHECK).env("CHECK_COMMIT", "HEAD").passes();
    context.write("f", "staged after");
    context.git(&["add", "."]);
    context.check("pre-push", CHECK).env("CHECK_ANEW", "1").env("CHECK_COMMIT", "HEAD").passes();
}

#[test]
fn a_hook_that_acts_runs_in_the_users_work_tree_every_time() {
    let context = TestContext::new();
    context.seed();
    context.write("main.sh", "unstaged");
    for _ in 0..2 {
        context.check("post-merge", WHERE).env("LOG", context.log()).passes();
    }
    assert_eq!(context.logged(), [context.work.to_str().unwrap(); 2]);
}

#[test]
fn a_scratch_tree_is_updated_from_one_tree_to_the_next() {
    let context = TestContext::new();
    context.seed();
    let list = "    - { name: list, run: 'git ls-files -o; cat f; ls; git rev-parse HEAD; git status --porcelain' }";
    context.write("untracked", "x");
    for (content, leftover) in [("one", "left"), ("two", "left")] {
        context.write("f", content);
        context.write("sub/only-in-one", content);
        context.git(&["add", "f", "sub"]);
        if content == "two" {
            context.git(&["rm", "-q", "-f", "sub/only-in-one"]);
        }
        let done = context.check("pre-commit", list).passes();
        assert!(done.stderr.contains(content) && !done.stderr.contains(leftover), "{}", done.stderr);
        assert!(done.stderr.contains(&context.git(&["rev-parse", "HEAD"])), "{}", done.stderr);
        context
            .check("pre-commit", "    - { name: litter, run: 'echo > left; echo changed > main.sh; rm lib.sh' }")
            .passes();
    }
}

#[test]
fn a_repository_without_a_commit_has_scratch_trees_too() {
    let context = TestContext::new();
    context.write("f", "good");
    context.git(&["add", "."]);
    context.write("untracked", "x");
    context.check("pre-commit", CHECK).passes();
    assert_ne!(context.try_git(&["rev-parse", "HEAD"]).code, Some(0));
}

#[test]
fn a_repository_with_sha256_ids_is_judged() {
    let context = TestContext::new();
    std::fs::remove_dir_all(context.work.join(".git")).unwrap();
    context.git(&["init", "-q", "--object-format=sha256"]);
    context.write("f", "bad");
    context.git(&["add", "."]);
    context.write("f", "good");
    context.check("pre-commit", CHECK).fails();
}

#[test]
fn ignored_folders_are_borrowed_and_stay_out_of_the_status() {
    let context = TestContext::new();
    context.write(".gitignore", "node_modules/\n.venv/\n");
    context.seed();
    context.write("node_modules/pad/index.js", "pad");
    context.write(".venv/bin/tool", "tool");
    symlink("tool", context.work.join(".venv/bin/other")).unwrap();
    context.write("main.sh", "unstaged");
    let steps =
        "    - { name: s, run: 'cat node_modules/pad/index.js .venv/bin/other; git status --porcelain; pwd >> $LOG' }";
    for _ in 0..2 {
        let run = context.check("pre-commit", steps).env("CHECK_ANEW", "1").env("LOG", context.log());
        let done = run.configured("pre-commit", steps, "scratch: { link: [node_modules, .venv, missing] }").passes();
        assert!(done.stderr.contains("padtool") && !done.stderr.contains("??"), "{}", done.stderr);
    }
    assert!(context.logged().iter().all(|folder| folder.contains("gitops-hooks/scratch")), "{:?}", context.logged());
    assert_eq!(context.read("node_modules/pad/index.js"), "pad");
}

#[test]
fn setup_runs_again_only_when_its_inputs_change() {
    let context = TestContext::new();
    context.seed();
    context.write("lock", "1");
    context.git(&["add", "."]);
    context.write("untracked", "x");
    let steps = "    - { name: s, run: test -e made }";
    let more = "scratch: { setup: { run: 'echo set up >> $LOG; echo made > made', inputs: [lock] } }";
    let run = |context: &TestContext| {
        context.write(".git/info/exclude", "made\n");
        let run = context.check("pre-commit", steps).env("CHECK_ANEW", "1").env("LOG", context.log());
        run.configured("pre-commit", steps, more).passes();
    };
    run(&context);
    context.write("main.sh", "another");
    context.git(&["add", "main.sh"]);
    run(&context);
    assert_eq!(context.logged().len(), 1);
    context.write("lock", "2");
    context.git(&["add", "lock"]);
    run(&context);
    assert_eq!(context.logged().len(), 2);
}

#[test]
fn a_setup_that_fails_stops_the_run() {
    let context = TestContext::new();
    context.seed();
    context.write("untracked", "x");
    let more = "scratch: { setup: { run: 'echo broken; exit 1', inputs: [lock] } }";
    let done = context.check("pre-commit", MAIN).configured("pre-commit", MAIN, more).fails();
    assert!(done.stderr.contains("broken") && done.stderr.contains("setup of the scratch tree"), "{}", done.stderr);
}
