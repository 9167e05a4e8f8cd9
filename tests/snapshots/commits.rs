//! Every form of commit: the step sees what is committed, and the user's files stay as they are.

use super::seen::lines;
use crate::context::TestContext;

/// Commits, with an unstaged edit of `g` and an untracked file in the way, and compares.
#[track_caller]
fn committed(context: &TestContext, args: &[&str], typed: &str) {
    context.write("untracked", "mine");
    let before = context.files();
    let done = context.typing(args, typed);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(context.files(), before);
    context.saw("HEAD");
}

fn edited() -> TestContext {
    let context = TestContext::seeing(&["pre-commit", "pre-merge-commit"]);
    context.write("f", &lines(&[(1, " staged")]));
    context.git(&["add", "f"]);
    context.write("f", &lines(&[(1, " staged"), (20, " unstaged")]));
    context.write("g", &lines(&[(1, " first"), (20, " second")]));
    context
}

#[test]
fn a_plain_commit_is_judged_without_unstaged_edits() {
    let context = edited();
    committed(&context, &["commit", "-q", "-m", "x"], "");
    assert!(!context.git(&["show", "HEAD:f"]).contains("unstaged"));
}

#[test]
fn commit_all_is_judged_with_every_edit() {
    let context = edited();
    committed(&context, &["commit", "-q", "-a", "-m", "x"], "");
    assert!(context.git(&["show", "HEAD:f"]).contains("unstaged"));
}

#[test]
fn commit_patch_is_judged_with_the_chosen_hunks_alone() {
    let context = edited();
    // Of f: what is not staged yet is refused; of g: the first hunk is taken.
    committed(&context, &["commit", "-q", "-p", "-m", "x"], "n\ny\nn\n");
    let g = context.git(&["show", "HEAD:g"]);
    assert!(g.contains("first") && !g.contains("second"), "{g}");
}

#[test]
fn commit_only_is_judged_without_what_else_is_staged() {
    let context = edited();
    committed(&context, &["commit", "-q", "--only", "g", "-m", "x"], "");
    assert!(!context.git(&["show", "HEAD:f"]).contains("staged"));
    assert_eq!(context.git(&["diff", "--cached", "--name-only"]), "f\n");
}

#[test]
fn commit_include_is_judged_with_what_is_staged_and_the_file() {
    let context = edited();
    committed(&context, &["commit", "-q", "-i", "g", "-m", "x"], "");
    let (f, g) = (context.git(&["show", "HEAD:f"]), context.git(&["show", "HEAD:g"]));
    assert!(f.contains("staged") && !f.contains("unstaged") && g.contains("second"), "{f}{g}");
}

#[test]
fn an_amended_commit_is_judged_as_it_will_be() {
    let context = edited();
    committed(&context, &["commit", "-q", "--amend", "-m", "x"], "");
    committed(&context, &["commit", "-q", "--amend", "-a", "-m", "y"], "");
    assert_eq!(context.git(&["rev-list", "--count", "HEAD"]), "1\n");
}

/// Two branches that both changed `f`, at the same line or at others.
fn branches(context: &TestContext, line: usize) {
    context.git(&["reset", "-q", "--hard"]);
    context.git(&["checkout", "-q", "-b", "side"]);
    context.write("f", &lines(&[(line, " side")]));
    context.git(&["commit", "-q", "--no-verify", "-a", "-m", "side"]);
    context.git(&["checkout", "-q", "main"]);
    context.write("f", &lines(&[(1, " main")]));
    context.git(&["commit", "-q", "--no-verify", "-a", "-m", "main"]);
}

#[test]
fn a_merge_is_judged_as_it_is_merged() {
    let context = edited();
    branches(&context, 20);
    context.write("g", "edited meanwhile\n");
    context.write("untracked", "mine");
    context.user_must(&["merge", "-q", "-m", "x", "side"]);
    context.saw("HEAD");
    assert_eq!((context.read("g").as_str(), context.read("untracked").as_str()), ("edited meanwhile\n", "mine"));
    assert_eq!(context.git(&["rev-list", "--parents", "-1", "HEAD"]).split_whitespace().count(), 3);
}

#[test]
fn a_merge_with_a_conflict_is_judged_as_it_was_resolved() {
    let context = edited();
    branches(&context, 1);
    assert_eq!(context.user(&["merge", "-q", "side"]).code, Some(1));
    assert!(context.seen().is_empty(), "a conflict is nothing to judge");
    let done = context.user(&["commit", "-q", "-m", "too early"]);
    assert_ne!(done.code, Some(0), "{done:?}");
    context.write("f", &lines(&[(1, " both")]));
    context.git(&["add", "f"]);
    context.write("f", &lines(&[(1, " both"), (20, " after")]));
    committed(&context, &["commit", "-q", "-m", "x"], "");
    assert!(context.git(&["show", "HEAD:f"]).contains("both"));
}

#[test]
fn a_pick_or_a_revert_with_a_conflict_is_judged_as_it_was_resolved() {
    for verb in ["cherry-pick", "revert"] {
        let context = edited();
        branches(&context, 1);
        let target = if verb == "revert" {
            context.write("f", &lines(&[(1, " once more")]));
            context.git(&["commit", "-q", "--no-verify", "-a", "-m", "more"]);
            "HEAD~1"
        } else {
            "side"
        };
        assert_eq!(context.user(&[verb, target]).code, Some(1), "{verb}");
        context.write("f", &lines(&[(1, verb)]));
        context.git(&["add", "f"]);
        committed(&context, &["-c", "core.editor=true", verb, "--continue"], "");
        assert!(context.git(&["show", "HEAD:f"]).contains(verb));
    }
}

#[test]
fn a_patch_is_judged_once_it_is_applied() {
    let context = TestContext::seeing(&["pre-applypatch"]);
    context.write("f", &lines(&[(5, " by mail")]));
    context.git(&["commit", "-q", "-a", "-m", "by mail"]);
    let patch = context.git(&["format-patch", "-1", "--stdout"]);
    context.git(&["reset", "-q", "--hard", "HEAD~1"]);
    std::fs::write(context.beside("patch"), patch).unwrap();
    context.write("g", "edited meanwhile\n");
    context.user_must(&["am", "-q", context.beside("patch").to_str().unwrap()]);
    context.saw("HEAD");
    assert!(context.git(&["show", "HEAD:f"]).contains("by mail"));
    assert_eq!(context.read("g"), "edited meanwhile\n");
}

#[test]
fn a_message_is_judged_by_its_text_whatever_the_tree_passed_before() {
    let context = TestContext::new();
    // Three ways to name the file; each sees the text, in place and in a scratch tree.
    context.configured(
        "hooks:\n  commit-msg:\n    - { name: a, run: '! grep -q bad {1}' }\n    - { name: b, run: '! grep -q bad {message_file}' }\n    - { name: c, run: 'cd sub && grep -q . {1} && ! grep -q bad {1}' }\n",
    );
    context.write("sub/x", "x");
    context.git(&["add", "."]);
    for dirty in ["", "dirty"] {
        context.write("g", &format!("{}{dirty}", lines(&[])));
        context.user_must(&["commit", "-q", "--allow-empty", "-m", &format!("good {dirty}")]);
        let done = context.user(&["commit", "-q", "--allow-empty", "--amend", "-m", "bad"]);
        assert_eq!(done.code, Some(1), "{done:?}");
        for step in ["✗ a", "✗ b", "✗ c"] {
            assert!(done.stderr.contains(step), "{step} {dirty}: {}", done.stderr);
        }
    }
}
