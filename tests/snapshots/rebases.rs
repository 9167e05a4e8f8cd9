//! Many commits at once: what must judge them does, what acts on the work tree stays out, and it costs little.

use super::seen::lines;
use crate::context::TestContext;

/// Puts a program in the hooks' way that writes down each start of ours and by which hook.
fn counting(context: &TestContext) {
    let copy = context.beside("gitops-hooks");
    std::fs::copy(assert_cmd::cargo::cargo_bin!("gitops-hooks"), &copy).unwrap();
    let install = TestContext::run(context.command(&copy).args(["install", "--yes"]));
    assert_eq!(install.code, Some(0), "{install:?}");
    let text = format!(
        "#!/bin/sh\necho \"$2\" >> '{}'\nexec '{}' \"$@\"\n",
        context.beside("starts").display(),
        assert_cmd::cargo::cargo_bin!("gitops-hooks").display()
    );
    std::fs::remove_file(&copy).unwrap();
    TestContext::script(&copy, &text);
}

fn starts(context: &TestContext) -> Vec<String> {
    let text = std::fs::read_to_string(context.beside("starts")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// `side` grew by `count` commits on `f`, `main` by one on `g`.
fn grown(context: &TestContext, count: usize) {
    context.git(&["checkout", "-q", "-b", "side"]);
    for at in 1..=count {
        context.write("f", &lines(&[(at, " side")]));
        context.git(&["commit", "-q", "--no-verify", "-a", "-m", &format!("side {at}")]);
    }
    context.git(&["checkout", "-q", "main"]);
    context.write("g", &lines(&[(1, " main")]));
    context.git(&["commit", "-q", "--no-verify", "-a", "-m", "main"]);
    context.git(&["checkout", "-q", "side"]);
    let _ = std::fs::remove_file(context.log());
}

#[test]
fn a_reworded_commit_is_judged_at_its_new_place() {
    let context = TestContext::seeing(&["pre-commit"]);
    grown(&context, 3);
    let mut rebase = context.logging(&["rebase", "-q", "-i", "main"]);
    rebase.env("GIT_SEQUENCE_EDITOR", "sed -i 's/^pick/reword/'").env("GIT_EDITOR", "sed -i 1s/side/reworded/");
    let done = TestContext::run(&mut rebase);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(context.git(&["log", "--format=%s", "main..side"]), "reworded 3\nreworded 2\nreworded 1\n");
    let held = ["side~2", "side~1", "side"].map(|commit| context.held(commit));
    assert_eq!(context.seen(), held);
    context.agrees();
}

#[test]
fn what_only_judges_is_not_even_started_by_a_rebase() {
    let context = TestContext::seeing(&["pre-commit", "pre-push", "commit-msg"]);
    counting(&context);
    grown(&context, 20);
    let before = starts(&context).len();
    context.user_must(&["rebase", "-q", "main"]);
    assert_eq!(context.git(&["rev-list", "--count", "main..side"]), "20\n");
    assert_eq!(&starts(&context)[before..], [""; 0]);
    assert!(context.seen().is_empty());
}

#[test]
fn what_acts_on_the_work_tree_stays_out_of_a_rebase_unless_it_asks_for_it() {
    let context = TestContext::new();
    let step = |name: &str, more: &str| format!("    - {{ name: {name}, run: 'echo {name} >> \"$LOG\"'{more} }}\n");
    context.configured(&format!(
        "hooks:\n  post-commit:\n{}{}  post-checkout:\n{}  post-rewrite:\n{}",
        step("commit", ""),
        step("asked", ", only: { state: [rebase] }"),
        step("checkout", ""),
        step("rewrite", "")
    ));
    counting(&context);
    grown(&context, 20);
    let before = starts(&context).len();
    for backend in ["--merge", "--apply"] {
        let _ = std::fs::remove_file(context.log());
        context.user_must(&["rebase", "-q", "--force-rebase", backend, "main"]);
        let log = std::fs::read_to_string(context.log()).unwrap();
        let count = |name: &str| log.lines().filter(|line| *line == name).count();
        // With `--apply` git checks the base out before it says anywhere that this is a rebase.
        let checkouts = usize::from(backend == "--apply");
        assert_eq!((count("commit"), count("checkout"), count("rewrite")), (0, checkouts, 1), "{backend}: {log}");
        if backend == "--merge" {
            assert_eq!(count("asked"), 20, "{log}");
        }
    }
    // A start for each commit of the first, where something asks for it; the second calls no post-commit.
    let started = &starts(&context)[before..];
    assert!(started.len() <= 20 + 2 * 3, "{}: {started:?}", started.len());
    context.user_must(&["checkout", "-q", "main"]);
    context.user_must(&["commit", "-q", "--allow-empty", "-m", "x"]);
    let log = std::fs::read_to_string(context.log()).unwrap();
    assert!(log.ends_with("checkout\ncommit\n"), "{log}");
}

#[test]
fn what_waits_for_the_end_of_a_rebase_is_not_even_started_in_it() {
    let context = TestContext::new();
    context.configured(
        "hooks:\n  post-commit:\n    - { name: commit, run: 'echo commit >> \"$LOG\"' }\n  post-checkout:\n    - { name: checkout, run: 'echo checkout >> \"$LOG\"' }\n",
    );
    counting(&context);
    grown(&context, 20);
    let before = starts(&context).len();
    context.user_must(&["rebase", "-q", "main"]);
    assert_eq!(context.git(&["rev-list", "--count", "main..side"]), "20\n");
    assert_eq!(&starts(&context)[before..], [""; 0]);
    context.user_must(&["commit", "-q", "--allow-empty", "-m", "x"]);
    assert_eq!(&starts(&context)[before..], ["post-commit"]);
    assert_eq!(std::fs::read_to_string(context.log()).unwrap(), "commit\n");
}

#[test]
fn a_patch_series_is_followed_by_each_of_its_own_steps() {
    let context = TestContext::new();
    context
        .configured("hooks:\n  post-applypatch:\n    - { name: applied, run: 'git log -1 --format=%s >> \"$LOG\"' }\n");
    grown(&context, 3);
    let series = context.git(&["format-patch", "--stdout", "main~1"]);
    std::fs::write(context.beside("series"), series).unwrap();
    context.git(&["checkout", "-q", "main"]);
    context.user_must(&["am", "-q", context.beside("series").to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(context.log()).unwrap_or_default(), "side 1\nside 2\nside 3\n");
}
