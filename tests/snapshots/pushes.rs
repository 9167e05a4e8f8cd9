//! Pushes: exactly what the remote will have is judged, whatever is checked out.

use crate::context::{Done, TestContext};
use std::{fmt::Write as _, path::PathBuf};

const JUDGES: &str = "hooks:\n  pre-push:\n    - { name: judge, run: 'git rev-parse HEAD >> \"$LOG\"; ! grep bad f' }\n    - { name: scripts, run: 'echo {files} >> \"$LOG.scripts\"', files: ['*.sh'] }\n";

fn pushing() -> (TestContext, PathBuf) {
    pushing_in(&["init", "-q", "-b", "main"])
}

fn pushing_in(init: &[&str]) -> (TestContext, PathBuf) {
    let context = TestContext::new();
    std::fs::remove_dir_all(context.work.join(".git")).unwrap();
    context.git(init);
    let remote = context.beside("remote.git");
    let mut bare = init.to_vec();
    bare.extend(["--bare", remote.to_str().unwrap()]);
    context.git(&bare);
    context.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
    context.write(".gitops-hooks.yaml", JUDGES);
    context.write("f", "good\n");
    context.write("old.sh", "true\n");
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "seed"]);
    context.must(&["install", "--yes"]);
    (context, remote)
}

fn commit(context: &TestContext, text: &str) -> String {
    context.write("f", text);
    context.git(&["commit", "-q", "-a", "-m", text]);
    context.git(&["rev-parse", "HEAD"]).trim().to_owned()
}

/// What the remote has under a name.
fn there(context: &TestContext, remote: &std::path::Path, name: &str) -> String {
    let done = context.git_at(remote, &["rev-parse", "--verify", "-q", name]);
    done.stdout.trim().to_owned()
}

/// The commits that were judged so far.
fn judged(context: &TestContext) -> Vec<String> {
    let log = std::fs::read_to_string(context.log()).unwrap_or_default();
    log.lines().map(str::to_owned).collect()
}

/// The changed scripts of the push that was last judged.
fn scripts(context: &TestContext) -> String {
    let log = std::fs::read_to_string(context.beside("log.scripts")).unwrap_or_default();
    log.lines().last().unwrap_or_default().to_owned()
}

#[track_caller]
fn refused(done: &Done) {
    assert!(done.code == Some(1) && done.stderr.contains("✗ judge"), "{done:?}");
}

#[test]
fn a_bad_commit_is_refused_though_the_work_tree_has_the_fix() {
    let (context, remote) = pushing();
    commit(&context, "bad");
    context.write("f", "good\n");
    refused(&context.user(&["push", "-q", "origin", "main"]));
    context.git(&["add", "f"]);
    refused(&context.user(&["push", "-q", "origin", "main"]));
    assert_eq!(there(&context, &remote, "main"), "");
    // And a good commit goes through though the work tree is bad.
    let good = commit(&context, "good again");
    context.write("f", "bad");
    context.user_must(&["push", "-q", "origin", "main"]);
    assert_eq!(there(&context, &remote, "main"), good);
    assert_eq!(context.read("f"), "bad");
}

#[test]
fn a_branch_that_is_not_checked_out_is_judged_as_it_is() {
    let (context, remote) = pushing();
    context.git(&["checkout", "-q", "-b", "side"]);
    commit(&context, "bad");
    context.git(&["checkout", "-q", "main"]);
    refused(&context.user(&["push", "-q", "origin", "side"]));
    refused(&context.user(&["push", "-q", "origin", "main", "side"]));
    refused(&context.user(&["push", "-q", "--all", "origin"]));
    refused(&context.user(&["push", "-q", "origin", "side~0:refs/heads/elsewhere"]));
    assert_eq!(there(&context, &remote, "main") + &there(&context, &remote, "elsewhere"), "");
    context.user_must(&["push", "-q", "origin", "side~1:refs/heads/side"]);
    assert_eq!(there(&context, &remote, "side"), context.git(&["rev-parse", "main"]).trim());
}

#[test]
fn each_commit_is_judged_once_however_many_references_lead_to_it() {
    let (context, _) = pushing();
    context.git(&["branch", "same"]);
    context.git(&["tag", "light"]);
    context.git(&["tag", "-a", "-m", "x", "annotated"]);
    context.user_must(&["push", "-q", "origin", "main", "same", "light", "annotated"]);
    assert_eq!(judged(&context), [context.git(&["rev-parse", "HEAD"]).trim()]);
}

#[test]
fn a_tag_is_judged_by_the_commit_that_it_leads_to() {
    let (context, remote) = pushing();
    context.user_must(&["push", "-q", "origin", "main"]);
    commit(&context, "bad");
    context.git(&["tag", "light"]);
    context.git(&["tag", "-a", "-m", "x", "annotated"]);
    context.git(&["tag", "-a", "-m", "x", "of-a-tag", "annotated"]);
    context.git(&["reset", "-q", "--hard", "HEAD~1"]);
    for tag in ["light", "annotated", "of-a-tag"] {
        refused(&context.user(&["push", "-q", "origin", tag]));
        assert_eq!(there(&context, &remote, tag), "");
    }
    // What is no commit has nothing to judge.
    context.git(&["tag", "-a", "-m", "x", "blob", "HEAD:f"]);
    context.user_must(&["push", "-q", "origin", "blob"]);
}

#[test]
fn deletions_and_pushes_of_nothing_judge_nothing() {
    let (context, remote) = pushing();
    context.git(&["branch", "side"]);
    context.user_must(&["push", "-q", "origin", "main", "side"]);
    let before = judged(&context);
    context.user_must(&["push", "-q", "origin", "main"]);
    context.user_must(&["push", "-q", "origin", "--delete", "side"]);
    context.user_must(&["push", "-q", "--dry-run", "origin", ":main"]);
    assert_eq!(judged(&context), before);
    assert_eq!(there(&context, &remote, "side"), "");
    // A deletion beside a bad branch does not hide it.
    context.git(&["push", "-q", "--no-verify", "origin", "side"]);
    commit(&context, "bad");
    refused(&context.user(&["push", "-q", "origin", ":side", "main"]));
    assert_ne!(there(&context, &remote, "side"), "");
}

#[test]
fn a_forced_push_is_judged_by_its_tip_and_against_what_was_there() {
    let (context, remote) = pushing();
    context.user_must(&["push", "-q", "origin", "main"]);
    commit(&context, "good one");
    context.user_must(&["push", "-q", "origin", "main"]);
    context.git(&["reset", "-q", "--hard", "HEAD~1"]);
    commit(&context, "bad");
    refused(&context.user(&["push", "-q", "--force", "origin", "main"]));
    context.write("new.sh", "true");
    context.git(&["add", "."]);
    let good = commit(&context, "good two");
    context.user_must(&["push", "-q", "--force", "origin", "main"]);
    assert_eq!(there(&context, &remote, "main"), good);
    assert_eq!(scripts(&context), "new.sh");
}

#[test]
fn a_new_branch_is_compared_with_what_the_remote_has() {
    let (context, _) = pushing();
    context.user_must(&["push", "-q", "origin", "main"]);
    context.git(&["checkout", "-q", "-b", "new"]);
    context.write("new.sh", "true");
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "new"]);
    context.user_must(&["push", "-q", "-u", "origin", "new"]);
    assert_eq!(scripts(&context), "new.sh");
}

#[test]
fn the_first_of_very_many_new_commits_counts_too() {
    let (context, _) = pushing();
    context.user_must(&["push", "-q", "origin", "main"]);
    let mut stream = String::new();
    for at in 0..1100 {
        let (name, from) = if at == 0 { ("first.sh", "from refs/heads/main^0\n") } else { ("g", "") };
        let _ = write!(
            stream,
            "commit refs/heads/long\ncommitter A <a@example.com> {} +0000\ndata 1\nx\n{from}M 100644 inline {name}\ndata 5\n{at:05}\n",
            1_700_000_000 + at
        );
    }
    let done = context.typing(&["fast-import", "--quiet"], &stream);
    assert_eq!(done.code, Some(0), "{done:?}");
    context.user_must(&["push", "-q", "origin", "long"]);
    assert_eq!(scripts(&context), "first.sh");
}

#[test]
fn a_mirror_is_judged_reference_by_reference() {
    let (context, remote) = pushing();
    context.user_must(&["push", "-q", "--mirror", "origin"]);
    assert_ne!(there(&context, &remote, "main"), "");
    context.git(&["checkout", "-q", "-b", "side"]);
    commit(&context, "bad");
    context.git(&["checkout", "-q", "main"]);
    refused(&context.user(&["push", "-q", "--mirror", "origin"]));
    assert_eq!(there(&context, &remote, "side"), "");
}

#[test]
fn from_a_shallow_clone_it_is_judged_the_same() {
    let (context, remote) = pushing();
    commit(&context, "good two");
    commit(&context, "good three");
    context.user_must(&["push", "-q", "origin", "main"]);
    let shallow = context.beside("shallow");
    let url = format!("file://{}", remote.display());
    context.git(&["clone", "-q", "--depth", "1", "-b", "main", &url, shallow.to_str().unwrap()]);
    let binary = assert_cmd::cargo::cargo_bin!("gitops-hooks");
    let install = TestContext::run(context.command(binary).args(["install", "--yes"]).current_dir(&shallow));
    assert_eq!(install.code, Some(0), "{install:?}");
    let commit = |text: &str| {
        std::fs::write(shallow.join("f"), text).unwrap();
        std::fs::write(shallow.join("new.sh"), text).unwrap();
        assert_eq!(context.git_at(&shallow, &["add", "."]).code, Some(0));
        assert_eq!(context.git_at(&shallow, &["commit", "-q", "-m", text]).code, Some(0));
    };
    commit("bad");
    refused(&context.git_at(&shallow, &["push", "-q", "origin", "HEAD:refs/heads/side"]));
    refused(&context.git_at(&shallow, &["push", "-q", "origin", "main"]));
    commit("good four");
    let done = context.git_at(&shallow, &["push", "-q", "origin", "main"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(scripts(&context), "new.sh");
}

#[test]
fn a_repository_with_sha256_ids_is_judged_the_same() {
    let (context, remote) = pushing_in(&["init", "-q", "-b", "main", "--object-format=sha256"]);
    context.user_must(&["push", "-q", "origin", "main"]);
    commit(&context, "bad");
    context.git(&["tag", "-a", "-m", "x", "annotated"]);
    refused(&context.user(&["push", "-q", "origin", "annotated"]));
    context.write("f", "good");
    refused(&context.user(&["push", "-q", "origin", "main"]));
    let good = commit(&context, "good two");
    context.user_must(&["push", "-q", "origin", "main"]);
    assert_eq!(there(&context, &remote, "main"), good);
}

#[test]
fn whatever_the_remote_is_called_it_is_pushed_to() {
    let (context, remote) = pushing();
    let spaced = context.beside("a \"remote\" of\nours.git");
    std::fs::rename(&remote, &spaced).unwrap();
    context.user_must(&["push", "-q", ".", "HEAD:refs/heads/copy"]);
    context.user_must(&["push", "-q", spaced.to_str().unwrap(), "main"]);
    context.user_must(&["push", "-q", &format!("file://{}", spaced.display()), "main:two"]);
    // A helper of the user's own, as `codecommit::` is one.
    let helper = format!("ext::git %s {}", remote.display());
    std::fs::rename(&spaced, &remote).unwrap();
    context.user_must(&["-c", "protocol.ext.allow=always", "push", "-q", &helper, "main:three"]);
    assert_ne!(there(&context, &remote, "three"), "");
    commit(&context, "bad");
    refused(&context.user(&["-c", "protocol.ext.allow=always", "push", "-q", &helper, "main:three"]));
}

#[test]
fn from_a_bare_repository_what_is_pushed_is_judged_in_a_scratch_tree() {
    let (context, remote) = pushing();
    context.user_must(&["push", "-q", "origin", "main"]);
    commit(&context, "bad");
    let bare = context.beside("bare.git");
    context.git(&["clone", "-q", "--bare", context.work.to_str().unwrap(), bare.to_str().unwrap()]);
    let binary = assert_cmd::cargo::cargo_bin!("gitops-hooks");
    let install = TestContext::run(context.command(binary).args(["install", "--yes"]).current_dir(&bare));
    assert_eq!(install.code, Some(0), "{install:?}");
    refused(&context.git_at(&bare, &["push", "-q", remote.to_str().unwrap(), "main"]));
    let before = there(&context, &remote, "main");
    let good = commit(&context, "good two");
    context.git(&["push", "-q", "--no-verify", bare.to_str().unwrap(), "main"]);
    let done = context.git_at(&bare, &["push", "-q", remote.to_str().unwrap(), "main"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_ne!(before, good);
    assert_eq!(there(&context, &remote, "main"), good);
}

#[test]
fn of_branches_that_get_one_commit_each_has_its_conditions() {
    let (context, remote) = pushing();
    let steps = "hooks:\n  pre-push:\n    - { name: judge, run: '! grep bad f', only: { branch: main } }\n    - { name: other, run: 'exit 1', skip: { branch: [main, aaa] } }\n";
    context.write(".gitops-hooks.yaml", steps);
    context.git(&["add", "."]);
    commit(&context, "bad");
    context.git(&["branch", "aaa"]);
    refused(&context.user(&["push", "-q", "origin", "aaa", "main"]));
    assert_eq!(there(&context, &remote, "aaa"), "");
    let done = context.user_must(&["push", "-q", "origin", "aaa"]);
    assert!(done.stderr.contains("`only`: the branch is aaa"), "{done:?}");
    let done = context.user(&["push", "-q", "origin", "HEAD:main", "HEAD:bbb"]);
    assert!(done.code == Some(1) && done.stderr.contains("✗ other"), "one of them does not say skip: {done:?}");
}

#[test]
fn a_condition_is_asked_of_what_is_pushed() {
    let (context, remote) = pushing();
    let steps =
        "hooks:\n  pre-push:\n    - { name: judge, run: '! grep bad f', only: { run: test -e package.json } }\n";
    context.write(".gitops-hooks.yaml", steps);
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "steps"]);
    context.git(&["switch", "-q", "-c", "feature"]);
    context.write("package.json", "{}");
    context.git(&["add", "."]);
    commit(&context, "bad");
    context.git(&["switch", "-q", "main"]);
    refused(&context.user(&["push", "-q", "origin", "feature"]));
    assert_eq!(there(&context, &remote, "feature"), "");
    context.user_must(&["push", "-q", "origin", "main"]);
}

#[test]
fn the_command_that_is_told_repeats_what_failed() {
    let (context, _) = pushing();
    let steps = "hooks:\n  pre-push:\n    - { name: judge, run: '! grep bad f', only: { branch: feature } }\n  pre-commit:\n    - { name: judge, run: '! grep worse f' }\n  commit-msg:\n    - { name: subject, run: 'grep -q ^Good {message_file}' }\n";
    context.write(".gitops-hooks.yaml", steps);
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "--no-verify", "-m", "steps"]);
    context.must(&["install", "--yes"]);
    let told = |done: &Done| {
        let command = done.stderr.split("one step alone: `gitops-hooks ").nth(1)?.split('`').next()?;
        Some(command.split(' ').map(str::to_owned).collect::<Vec<_>>())
    };
    let again = |done: &Done| {
        let words = told(done).unwrap_or_else(|| panic!("{done:?}"));
        context.hooks(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let done = context.user(&["commit", "-q", "--allow-empty", "-m", "Bad"]);
    assert!(again(&done).stderr.contains("✗ subject"), "{done:?}");
    context.git(&["switch", "-q", "-c", "feature"]);
    context.write("f", "bad");
    context.git(&["commit", "-q", "-a", "-m", "Good"]);
    context.git(&["switch", "-q", "main"]);
    let done = context.user(&["push", "-q", "origin", "feature"]);
    assert!(again(&done).stderr.contains("✗ judge"), "{done:?}");
    // What `-a` judges is in no index afterwards.
    context.write("f", "worse");
    let done = context.user(&["commit", "-q", "-a", "-m", "Good"]);
    assert!(done.code == Some(1) && told(&done).is_none(), "{done:?}");
}
