//! What somebody does in the work tree or the index while steps run: nothing goes through that they did not judge.

use crate::context::{Done, TestContext};

/// Judges `f`. The first time, somebody is at work in the user's folder before and after that.
const STEP: &str = r#"
    - name: judge
      run: |
        echo ran >> "$LOG"
        somebody() { test "$(wc -l < "$LOG")" -gt 1 || (cd "$WORK" && eval "$1") || exit 3; }
        somebody "$BEFORE"
        ! grep -q bad f; passed=$?
        somebody "$AFTER"
        exit $passed
"#;

fn configured() -> TestContext {
    let context = TestContext::new();
    let remote = context.beside("remote.git");
    context.git(&["init", "-q", "--bare", remote.to_str().unwrap()]);
    context.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
    context.configured(&format!("hooks:\n  pre-commit:{STEP}  pre-push:{STEP}"));
    context.git(&["branch", "other"]);
    context
}

fn with_somebody(context: &TestContext, args: &[&str], before: &str, after: &str) -> Done {
    let hands = [("BEFORE", before), ("AFTER", after)];
    TestContext::run(context.logging(args).envs(hands).env("WORK", &context.work))
}

/// How often the step has run.
fn runs(context: &TestContext) -> usize {
    std::fs::read_to_string(context.log()).unwrap_or_default().lines().count()
}

/// Pushes a bad commit from a clean work tree.
#[track_caller]
fn is_refused(before: &str, after: &str, told: &str) {
    let context = configured();
    context.write("f", "bad\n");
    context.git(&["commit", "-q", "-a", "--no-verify", "-m", "bad"]);
    let done = with_somebody(&context, &["push", "-q", "origin", "main"], before, after);
    assert!(done.code == Some(1) && done.stderr.contains("✗ judge"), "{done:?}");
    assert!(done.stderr.contains(&format!("again in a scratch tree: {told} while the steps ran")), "{done:?}");
    assert_eq!((runs(&context), context.git(&["ls-remote", "origin"]).as_str()), (2, ""), "{done:?}");
}

#[test]
fn a_fix_that_is_written_meanwhile_does_not_let_a_bad_commit_through() {
    is_refused("echo good > f", "", "f has unstaged changes");
}

#[test]
fn nor_one_that_is_taken_back() {
    // Of the same size, and with the time of before.
    is_refused("cp -p f ../f; echo fix > f", "cp -p ../f f", "f was written");
}

#[test]
fn nor_one_that_git_puts_away() {
    is_refused("git checkout -q other", "git checkout -q main", "f was written");
}

#[test]
fn what_was_touched_and_is_good_is_judged_twice_and_recorded() {
    let context = configured();
    let push = ["push", "-q", "origin", "main"];
    let done = with_somebody(&context, &push, "echo x > untracked", "");
    assert_eq!((done.code, runs(&context)), (Some(0), 2), "{done:?}");
    assert!(!done.stderr.contains("not recorded"), "{done:?}");
    context.git(&["push", "-q", "--no-verify", "origin", ":main"]);
    let done = with_somebody(&context, &push, "", "");
    assert_eq!((done.code, runs(&context)), (Some(0), 2), "{done:?}");
}

#[test]
fn what_is_staged_meanwhile_is_not_committed_unjudged() {
    let context = configured();
    context.write("g", "staged\n");
    context.git(&["add", "g"]);
    let done = with_somebody(&context, &["commit", "-q", "-m", "x"], "", "echo bad > f; git add f");
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("f was staged while the steps ran"), "{done:?}");
    assert_eq!(context.git(&["log", "--format=%s"]).trim(), "seed");
    assert_eq!(context.git(&["diff", "--cached", "--name-only"]), "f\ng\n", "nothing of it is lost");
    // The next commit judges both.
    let done = with_somebody(&context, &["commit", "-q", "-m", "x"], "", "");
    assert!(done.code == Some(1) && done.stderr.contains("✗ judge"), "{done:?}");
}

#[test]
fn what_is_staged_beside_a_scratch_tree_is_not_committed_unjudged_either() {
    let context = configured();
    context.write("untracked", "so that the steps run in a scratch tree");
    context.write("g", "staged\n");
    context.git(&["add", "g"]);
    let done = with_somebody(&context, &["commit", "-q", "-m", "x"], "", "echo bad > f; git add f");
    assert!(done.code == Some(1) && done.stderr.contains("f was staged while the steps ran"), "{done:?}");
    assert_eq!((runs(&context), context.git(&["log", "--format=%s"]).trim()), (1, "seed"));
}

#[test]
fn who_only_looks_disturbs_nothing() {
    let context = configured();
    context.write("g", "staged\n");
    context.git(&["add", "g"]);
    // Which writes the index anew.
    let looks = "git status > /dev/null && git update-index -q --force-write-index";
    let done = with_somebody(&context, &["commit", "-q", "-m", "x"], "", looks);
    assert_eq!((done.code, runs(&context)), (Some(0), 1), "{done:?}");
    std::fs::remove_file(context.log()).unwrap();
    context.write("g", "another\n");
    context.git(&["commit", "-q", "-a", "--no-verify", "-m", "y"]);
    let done =
        with_somebody(&context, &["push", "-q", "origin", "main"], "git log > /dev/null; git status", "git diff");
    assert_eq!((done.code, runs(&context)), (Some(0), 1), "{done:?}");
}

#[test]
fn what_is_staged_while_fixers_run_is_not_committed_without_them() {
    let context = TestContext::new();
    let fixer = "hooks:\n  pre-commit:\n    - name: fix\n      fix: true\n      run: 'sed -i s/BAD/GOOD/ {files}; (cd \"$WORK\" && eval \"$AFTER\")'\n      files: [f, g]\n";
    context.configured(fixer);
    context.write("f", "BAD\n");
    context.git(&["add", "f"]);
    let done = with_somebody(&context, &["commit", "-q", "-m", "x"], "", "echo BAD > g; git add g");
    assert!(done.code == Some(1) && done.stderr.contains("g was staged while the steps ran"), "{done:?}");
    assert_eq!(context.git(&["log", "--format=%s"]).trim(), "seed");
    let done = with_somebody(&context, &["commit", "-q", "-m", "x"], "", "");
    assert_eq!((done.code, context.git(&["show", "HEAD:g"]).as_str()), (Some(0), "GOOD\n"), "{done:?}");
}

#[test]
fn a_conflict_meanwhile_has_a_push_judged_elsewhere() {
    let context = configured();
    context.git(&["switch", "-q", "other"]);
    context.write("f", "theirs\n");
    context.git(&["commit", "-q", "-a", "--no-verify", "-m", "theirs"]);
    context.git(&["switch", "-q", "main"]);
    context.write("f", "ours\n");
    context.git(&["commit", "-q", "-a", "--no-verify", "-m", "ours"]);
    let merge = "git -c user.name=A -c user.email=a@example.com merge -q other || true";
    let done = with_somebody(&context, &["push", "-q", "origin", "main"], "", merge);
    assert!(context.git(&["status", "--porcelain"]).contains("UU f"), "{done:?}");
    assert_eq!((done.code, runs(&context)), (Some(0), 2), "{done:?}");
}
