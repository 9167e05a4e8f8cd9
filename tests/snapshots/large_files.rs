//! Git LFS: the repository has pointers, a step sees the files.

use crate::{context::TestContext, testbed::skipped};

/// A repository whose `*.big` files are stored by Git LFS; `None` where it is not installed.
fn with_lfs(config: &str) -> Option<TestContext> {
    let context = TestContext::new();
    if context.try_git(&["lfs", "version"]).code != Some(0) {
        skipped("git-lfs is not installed");
        return None;
    }
    context.git(&["lfs", "install", "--local"]);
    context.write(".gitattributes", "*.big filter=lfs diff=lfs merge=lfs -text\n");
    context.write("a.big", "first\n");
    context.configured(config);
    Some(context)
}

fn pointer(context: &TestContext, revision: &str) -> bool {
    context.git(&["show", revision]).starts_with("version https://git-lfs.github.com/spec/v1\n")
}

#[test]
fn large_files_are_judged_with_their_content_wherever_the_step_runs() {
    let judge = "hooks:\n  pre-commit:\n    - { name: judge, run: 'cat a.big >> \"$LOG\"; ! grep BAD a.big' }\n";
    let Some(context) = with_lfs(judge) else { return };
    context.write("a.big", "second\n");
    context.git(&["add", "."]);
    let done = context.user_must(&["commit", "-q", "-m", "in place"]);
    assert!(!done.stderr.contains("scratch"), "{done:?}");
    context.write("a.big", "third\n");
    context.git(&["add", "."]);
    context.write("a.big", "BAD and not staged\n");
    let done = context.user_must(&["commit", "-q", "-m", "in a scratch tree"]);
    assert!(done.stderr.contains("in a scratch tree: a.big has unstaged changes"), "{done:?}");
    assert!(pointer(&context, "HEAD:a.big"));
    assert_eq!(context.read("a.big"), "BAD and not staged\n");
    context.git(&["add", "."]);
    context.write("a.big", "mended, and not staged\n");
    assert_eq!(context.user(&["commit", "-q", "-m", "bad"]).code, Some(1));
    assert_eq!(std::fs::read_to_string(context.log()).unwrap(), "second\nthird\nBAD and not staged\n");
}

#[test]
fn what_a_fixer_makes_of_a_large_file_is_stored_as_one() {
    let fix =
        "hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'sed -i s/BAD/GOOD/ {files}', files: ['*.big'] }\n";
    let Some(context) = with_lfs(fix) else { return };
    context.write("a.big", "BAD\n2\n3\n4\n5\n");
    context.git(&["add", "."]);
    context.write("a.big", "BAD\n2\n3\n4\nmine\n");
    context.user_must(&["commit", "-q", "-m", "x"]);
    assert!(pointer(&context, "HEAD:a.big"));
    assert_eq!(context.read("a.big"), "GOOD\n2\n3\n4\nmine\n");
    context.user_must(&["commit", "-q", "-a", "-m", "y"]);
    context.agrees();
}

#[test]
fn a_push_judges_the_large_files_of_what_is_pushed() {
    let judge = "hooks:\n  pre-push:\n    - { name: judge, run: '! grep BAD a.big' }\n";
    let Some(context) = with_lfs(judge) else { return };
    let remote = context.beside("remote.git");
    context.git(&["init", "-q", "--bare", remote.to_str().unwrap()]);
    context.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
    context.user_must(&["push", "-q", "origin", "main"]);
    context.git(&["switch", "-q", "-c", "bad"]);
    context.write("a.big", "BAD\n");
    context.git(&["commit", "-q", "-a", "-m", "bad"]);
    context.git(&["switch", "-q", "main"]);
    assert_eq!(context.read("a.big"), "first\n");
    let done = context.user(&["push", "-q", "origin", "bad"]);
    assert!(done.code == Some(1) && done.stderr.contains("judge"), "{done:?}");
    assert_eq!(context.git(&["ls-remote", "origin", "bad"]), "");
    // The hook that Git LFS had put there still does its work.
    let objects = TestContext::tree(&remote.join("lfs/objects"));
    assert!(objects.iter().any(|(_, _, bytes)| bytes == b"first\n"), "{objects:?}");
}
