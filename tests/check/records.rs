//! What is not run again, and what is.

use crate::context::TestContext;

fn counting(more: &str) -> String {
    format!("    - {{ name: count, run: 'echo ran >> $LOG'{more} }}")
}

impl TestContext {
    fn counted(&self, hook: &str, steps: &str) -> usize {
        self.check(hook, steps).env("LOG", self.log()).passes();
        self.logged().len()
    }
}

#[test]
fn the_same_tree_is_not_judged_twice() {
    let context = TestContext::new();
    context.seed();
    let steps = counting("");
    assert_eq!(context.counted("pre-commit", &steps), 1);
    let done = context.check("pre-commit", &steps).env("LOG", context.log()).passes();
    assert!(done.stdout.contains("count: skipped: passed on these inputs at 20"), "{}", done.stdout);
    assert_eq!(context.counted("pre-commit", &steps), 1);
    context.write("f", "x");
    context.git(&["add", "."]);
    assert_eq!(context.counted("pre-commit", &steps), 2);
    context.check("pre-commit", &steps).env("LOG", context.log()).env("CHECK_ANEW", "1").passes();
    assert_eq!(context.logged().len(), 3);
}

#[test]
fn what_passed_before_the_commit_is_known_at_the_push() {
    let context = TestContext::new();
    context.seed();
    context.write("f", "x");
    context.git(&["add", "."]);
    let steps = counting("");
    assert_eq!(context.counted("pre-commit", &steps), 1);
    context.git(&["commit", "-q", "-m", "x"]);
    context.check("pre-push", &steps).env("LOG", context.log()).env("CHECK_COMMIT", "HEAD").passes();
    assert_eq!(context.logged().len(), 1);
}

#[test]
fn only_the_inputs_count_where_they_are_declared() {
    let context = TestContext::new();
    context.seed();
    let steps = counting(", inputs: ['*.sh']");
    assert_eq!(context.counted("pre-commit", &steps), 1);
    context.write("sub/deep.txt", "other");
    context.git(&["add", "."]);
    assert_eq!(context.counted("pre-commit", &steps), 1);
    context.git(&["update-index", "--chmod=+x", "lib.sh"]);
    assert_eq!(context.counted("pre-commit", &steps), 2, "the mode is part of an input");
}

#[test]
fn another_command_or_environment_is_another_step() {
    let context = TestContext::new();
    context.seed();
    assert_eq!(context.counted("pre-commit", &counting(", env: { A: '1' }")), 1);
    assert_eq!(context.counted("pre-commit", &counting(", env: { A: '2' }")), 2);
    assert_eq!(context.counted("pre-commit", &counting(", env: { A: '1' }")), 2);
    assert_eq!(context.counted("pre-commit", &counting("").replace("ran", "other")), 3);
}

#[test]
fn another_message_is_judged_anew() {
    let context = TestContext::new();
    context.seed();
    let steps = "    - { name: subject, run: 'grep -q ^Add {message_file}' }";
    let message = context.beside("MSG");
    for (text, code) in [("Add x", 0), ("oops", 1), ("Add y", 0)] {
        std::fs::write(&message, text).unwrap();
        let done = context.check("commit-msg", steps).env("CHECK_MESSAGE", &message).done();
        assert_eq!(done.code, Some(code), "{}", done.stderr);
    }
}

#[test]
fn a_step_that_changes_what_is_judged_makes_no_record() {
    let context = TestContext::new();
    context.seed();
    let steps = "    - { name: s, run: 'echo ran >> $LOG; echo more >> main.sh' }";
    // In the work tree, where a person may have done it, and again in a scratch tree.
    for ran in [2, 3] {
        let done = context.check("pre-commit", steps).env("LOG", context.log()).passes();
        assert!(done.stderr.contains("not recorded: main.sh"), "{}", done.stderr);
        assert_eq!(context.logged().len(), ran);
    }
}

#[test]
fn a_failure_is_never_a_record() {
    let context = TestContext::new();
    context.seed();
    let steps = "    - { name: s, run: 'echo ran >> $LOG; exit 1' }";
    for ran in 1..=2 {
        context.check("pre-commit", steps).env("LOG", context.log()).fails();
        assert_eq!(context.logged().len(), ran);
    }
}

#[test]
fn an_unreadable_record_is_told_and_judged_anew() {
    let context = TestContext::new();
    context.seed();
    let steps = counting("");
    context.counted("pre-commit", &steps);
    let records = context.work.join(".git/gitops-hooks/records");
    for entry in std::fs::read_dir(records).unwrap() {
        std::fs::write(entry.unwrap().path(), "{").unwrap();
    }
    let done = context.check("pre-commit", &steps).env("LOG", context.log()).passes();
    assert!(done.stderr.contains("its record cannot be read"), "{}", done.stderr);
    assert_eq!(context.logged().len(), 2);
}

#[test]
fn where_no_record_can_be_kept_the_verdict_stands() {
    let context = TestContext::new();
    context.seed();
    context.write(".git/gitops-hooks", "a file where the folder should be");
    let done = context.check("pre-commit", &counting("")).env("LOG", context.log()).passes();
    assert!(done.stderr.contains("not recorded"), "{}", done.stderr);
}
