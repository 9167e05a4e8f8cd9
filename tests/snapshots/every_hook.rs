//! Each of git's hooks with its arguments and its standard input, driven by git itself. The expectations are those of
//! githooks(5).

use crate::context::TestContext;
use gitops_hooks::values::HookName;
use std::fmt::Write as _;

/// A step for each of these hooks that writes down its hook, the arguments and what it reads.
fn config<'h>(hooks: impl Iterator<Item = &'h HookName>) -> String {
    hooks.fold("hooks:\n".to_owned(), |mut text, hook| {
        let _ = writeln!(
            text,
            "  {hook}:\n    - name: note\n      stdin: true\n      run: |\n        in=$(cat | tr '\\n' ';')\n        printf '%s\\n' \"{hook}|\"{{1}}\"|\"{{2}}\"|\"{{3}}\"|$in\" >> \"$LOG\""
        );
        text
    })
}

struct Driven {
    context: TestContext,
}

impl Driven {
    /// Does something and gives the lines that hooks wrote meanwhile.
    #[track_caller]
    fn by(&self, args: &[&str]) -> Vec<String> {
        let _ = std::fs::remove_file(self.context.log());
        let done = self.context.user(args);
        assert_eq!(done.code, Some(0), "git {args:?}: {done:?}");
        assert!(!done.stderr.contains("error"), "git {args:?}: {done:?}");
        let log = std::fs::read_to_string(self.context.log()).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    fn id(&self, revision: &str) -> String {
        self.context.git(&["rev-parse", revision]).trim().to_owned()
    }
}

/// The lines of one hook.
fn of<'l>(lines: &'l [String], hook: &str) -> Vec<&'l str> {
    lines.iter().filter_map(|line| line.strip_prefix(hook)?.strip_prefix('|')).collect()
}

#[test]
fn each_hook_gets_what_githooks_promises() {
    let context = TestContext::new();
    // That of references is called too often to be among the others.
    context.configured(&config(HookName::ALL.iter().filter(|hook| **hook != HookName::ReferenceTransaction)));
    let message = context.work.join(".git/COMMIT_EDITMSG").display().to_string();
    let git = Driven { context };
    let first = git.id("HEAD");
    let zero = "0".repeat(40);

    git.context.write("f", "two");
    let lines = git.by(&["commit", "-q", "-a", "-m", "two"]);
    let second = git.id("HEAD");
    assert_eq!(of(&lines, "pre-commit"), ["|||"]);
    assert_eq!(of(&lines, "prepare-commit-msg"), [format!("{message}|message||")]);
    assert_eq!(of(&lines, "commit-msg"), [format!("{message}|||")]);
    assert_eq!(of(&lines, "post-commit"), ["|||"]);
    assert_eq!(of(&lines, "post-index-change"), ["0|0||"]);

    let lines = git.by(&["commit", "-q", "--amend", "-m", "two, amended"]);
    let amended = git.id("HEAD");
    assert_eq!(of(&lines, "prepare-commit-msg"), [format!("{message}|message||")]);
    assert_eq!(of(&lines, "post-rewrite"), [format!("amend|||{second} {amended};")]);
    let lines = git.by(&["-c", "core.editor=true", "commit", "-q", "--allow-empty", "-c", "HEAD"]);
    assert_eq!(of(&lines, "prepare-commit-msg"), [format!("{message}|commit|HEAD|")]);
    let top = git.id("HEAD");

    let lines = git.by(&["checkout", "-q", "-b", "side", &first]);
    assert_eq!(of(&lines, "post-checkout"), [format!("{top}|{first}|1|")]);
    assert_eq!(of(&lines, "post-index-change"), ["1|0||"]);
    let lines = git.by(&["checkout", "-q", "main", "--", "f"]);
    assert_eq!(of(&lines, "post-checkout"), [format!("{first}|{first}|0|")]);
    git.by(&["reset", "-q", "--hard"]);
    git.context.write("g", "side");
    git.by(&["commit", "-q", "-a", "-m", "side"]);

    let lines = git.by(&["-c", "merge.log=0", "merge", "-q", "--no-edit", "main"]);
    let merge_message = git.context.work.join(".git/MERGE_MSG").display().to_string();
    assert_eq!(of(&lines, "pre-merge-commit"), ["|||"]);
    assert_eq!(of(&lines, "prepare-commit-msg"), [format!("{merge_message}|merge||")]);
    assert_eq!(of(&lines, "commit-msg"), [format!("{merge_message}|||")]);
    assert_eq!(of(&lines, "post-merge"), ["0|||"]);
    git.by(&["reset", "-q", "--hard", "HEAD~1"]);
    let old = git.id("HEAD");
    let lines = git.by(&["rebase", "-q", "main"]);
    assert_eq!(of(&lines, "pre-rebase"), ["main|||"]);
    assert_eq!(of(&lines, "post-rewrite"), [format!("rebase|||{old} {};", git.id("HEAD"))]);
    git.by(&["checkout", "-q", "main"]);
    assert_eq!(of(&git.by(&["rebase", "-q", "--force-rebase", "main", "side"]), "pre-rebase"), ["main|side||"]);
    git.by(&["branch", "-q", "to-squash"]);
    git.by(&["reset", "-q", "--hard", "main"]);
    assert_eq!(of(&git.by(&["merge", "-q", "--squash", "to-squash"]), "post-merge"), ["1|||"]);
    git.by(&["reset", "-q", "--hard", "to-squash"]);

    let remote = git.context.beside("remote.git");
    git.context.git(&["init", "-q", "--bare", remote.to_str().unwrap()]);
    git.context.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
    let lines = git.by(&["push", "-q", "origin", "side:there"]);
    let side = git.id("side");
    assert_eq!(
        of(&lines, "pre-push"),
        [format!("origin|{}||refs/heads/side {side} refs/heads/there {zero};", remote.display())]
    );
    let lines = git.by(&["push", "-q", "origin", ":there"]);
    assert_eq!(of(&lines, "pre-push"), [""; 0], "a deletion has nothing to judge");

    git.context.write("h", "by mail");
    git.by(&["commit", "-q", "-a", "-m", "by mail"]);
    let patch = git.context.git(&["format-patch", "-1", "--stdout"]);
    std::fs::write(git.context.beside("patch"), patch).unwrap();
    git.by(&["reset", "-q", "--hard", "HEAD~1"]);
    let lines = git.by(&["am", "-q", git.context.beside("patch").to_str().unwrap()]);
    let final_commit = git.context.work.join(".git/rebase-apply/final-commit").display().to_string();
    assert_eq!(of(&lines, "applypatch-msg"), [format!("{final_commit}|||")]);
    assert_eq!(of(&lines, "pre-applypatch"), ["|||"]);
    assert_eq!(of(&lines, "post-applypatch"), ["|||"]);

    for message in ["one", "two"] {
        git.context.user_must(&["commit", "-q", "--allow-empty", "-m", message]);
        git.context.user_must(&["repack", "-q", "-d"]);
    }
    let lines = git.by(&["-c", "gc.autoPackLimit=1", "-c", "gc.autoDetach=false", "gc", "--auto", "-q"]);
    assert_eq!(of(&lines, "pre-auto-gc"), ["|||"]);
}

#[test]
fn every_movement_of_a_reference_is_told_in_each_state_and_never_stopped() {
    let context = TestContext::new();
    let kept = context.work.join(".git/hooks/reference-transaction");
    TestContext::script(&kept, "#!/bin/sh\ncat >> \"${LOG:-/dev/null}.kept\"\n");
    context.configured(&config([HookName::ReferenceTransaction].iter()));
    let git = Driven { context };
    let (first, zero) = (git.id("HEAD"), "0".repeat(40));
    let lines = git.by(&["branch", "side"]);
    let moved = format!("{zero} {first} refs/heads/side;");
    assert_eq!(of(&lines, "reference-transaction"), [format!("prepared|||{moved}"), format!("committed|||{moved}")]);
    let kept = std::fs::read_to_string(git.context.beside("log.kept")).unwrap();
    assert_eq!(kept.replace('\n', ";"), format!("{moved}{moved}"));
    // The user's own hook may stop a movement; a step of ours may not.
    git.context.write(".gitops-hooks.yaml", "hooks:\n  reference-transaction:\n    - run: exit 1\n");
    git.context.user_must(&["commit", "-q", "-a", "-m", "another"]);
    let done = git.context.user_must(&["branch", "other"]);
    assert!(done.stderr.contains("✗ exit"), "{done:?}");
}

#[test]
fn where_only_a_hook_of_the_users_watches_references_ours_is_quiet() {
    let context = TestContext::new();
    let theirs = context.beside("theirs");
    TestContext::script(&theirs.join("reference-transaction"), "#!/bin/sh\ncat >> \"${LOG:-/dev/null}\"\n");
    context.git(&["config", "core.hooksPath", theirs.to_str().unwrap()]);
    context.configured("hooks:\n  pre-commit:\n    - run: 'true'\n");
    let done = context.user_must(&["branch", "side"]);
    assert_eq!(done.stderr, "");
    assert_eq!(std::fs::read_to_string(context.log()).unwrap().lines().count(), 2);
}

#[test]
fn what_acts_is_not_stopped_by_an_unmerged_index() {
    let context = TestContext::new();
    context.configured("hooks:\n  post-index-change:\n    - { name: note, run: 'echo {1} >> \"$LOG\"' }\n  post-checkout:\n    - { name: note, run: 'echo checkout >> \"$LOG\"' }\n");
    context.git(&["checkout", "-q", "-b", "side"]);
    context.write("f", "side");
    context.git(&["commit", "-q", "-a", "-m", "side"]);
    context.git(&["checkout", "-q", "main"]);
    context.write("f", "main");
    context.git(&["commit", "-q", "-a", "-m", "main"]);
    let _ = std::fs::remove_file(context.log());
    let done = context.user(&["merge", "-q", "side"]);
    assert_eq!(done.code, Some(1));
    assert!(!done.stderr.contains("error:") && done.stderr.contains("✓ note"), "{done:?}");
    let done = context.user(&["checkout", "--ours", "--", "f"]);
    assert!(done.code == Some(0) && !done.stderr.contains("error:"), "{done:?}");
    assert!(std::fs::read_to_string(context.log()).unwrap().ends_with("checkout\n"));
}
