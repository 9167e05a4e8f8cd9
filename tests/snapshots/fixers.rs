//! Steps that change files: afterwards the commit, the index and the work tree agree, and whatever the user had beside it
//! is still there.

use super::seen::lines;
use crate::context::TestContext;
use std::os::unix::fs::{PermissionsExt, symlink};

const FIXES: &str = "hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'sed -i s/BAD/GOOD/ {files}', files: ['*', '!.gitops-hooks.yaml'] }\n";
/// As `cargo fmt` does: all of the tree, whatever changed.
const FIXES_ALL: &str = "hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'sed -i s/BAD/GOOD/ f g h' }\n";

fn fixing(config: &str) -> TestContext {
    let context = TestContext::new();
    context.configured(config);
    context
}

fn shown(context: &TestContext, name: &str) -> String {
    context.git(&["show", name])
}

#[test]
fn under_each_form_of_commit_everything_agrees() {
    let forms: &[&[&str]] = &[&["-m", "x"], &["-a", "-m", "x"], &["-m", "x", "f"], &["-i", "f", "-m", "x"]];
    let amended: &[&[&str]] = &[&["--amend", "-m", "y"], &["--amend", "-a", "-m", "y"], &["--amend", "-m", "y", "f"]];
    for form in forms.iter().chain(amended) {
        let context = fixing(FIXES);
        context.write("f", &lines(&[(3, " BAD")]));
        if form.len() == 2 || form.contains(&"--amend") {
            context.git(&["add", "f"]);
        }
        let mut args = vec!["commit", "-q"];
        args.extend(*form);
        let done = context.user_must(&args);
        assert!(shown(&context, "HEAD:f").contains("GOOD"), "{form:?}: {done:?}");
        assert_eq!(context.read("f"), lines(&[(3, " GOOD")]), "{form:?}");
        context.agrees();
        assert!(!context.work.join(".git/index.lock").exists());
    }
}

#[test]
fn what_else_is_staged_survives_a_fixer_under_commit_file() {
    let context = fixing(FIXES_ALL);
    // g is BAD in HEAD already, so that the fixer changes it in every commit.
    context.write("g", &lines(&[(3, " BAD")]));
    context.git(&["commit", "-q", "--no-verify", "-a", "-m", "bad"]);
    context.write("g", &lines(&[(3, " BAD"), (12, " staged")]));
    context.git(&["add", "g"]);
    context.write("g", &lines(&[(3, " BAD")]));
    context.write("f", &lines(&[(3, " BAD")]));
    context.user_must(&["commit", "-q", "-m", "x", "f"]);
    assert!(shown(&context, "HEAD:f").contains("GOOD") && shown(&context, "HEAD:g").contains("GOOD"));
    let staged = shown(&context, ":g");
    assert!(staged.contains("staged"), "the staged edit of g is lost: {staged}");
    assert_eq!(shown(&context, ":f"), shown(&context, "HEAD:f"));
}

#[test]
fn an_unstaged_edit_on_the_same_line_is_kept_and_the_commit_has_the_fix() {
    let context = fixing(FIXES);
    context.write("f", &lines(&[(3, " BAD")]));
    context.git(&["add", "f"]);
    let mine = lines(&[(3, " BAD, rewritten")]);
    context.write("f", &mine);
    let done = context.user_must(&["commit", "-q", "-m", "x"]);
    assert_eq!(shown(&context, "HEAD:f"), lines(&[(3, " GOOD")]));
    assert_eq!(shown(&context, ":f"), lines(&[(3, " GOOD")]));
    assert_eq!(context.read("f"), mine);
    assert!(done.stderr.contains("f: the commit has the fix"), "{}", done.stderr);
}

#[test]
fn an_unstaged_edit_on_other_lines_is_merged_with_the_fix() {
    let context = fixing(FIXES);
    context.write("f", &lines(&[(3, " BAD")]));
    context.git(&["add", "f"]);
    context.write("f", &lines(&[(3, " BAD"), (18, " BAD too, but mine")]));
    context.user_must(&["commit", "-q", "-m", "x"]);
    assert_eq!(shown(&context, "HEAD:f"), lines(&[(3, " GOOD")]));
    assert_eq!(context.read("f"), lines(&[(3, " GOOD"), (18, " BAD too, but mine")]));
    assert_eq!(context.git(&["diff", "--cached"]), "");
}

#[test]
fn the_chosen_hunk_is_fixed_and_the_other_one_is_not() {
    let context = fixing(FIXES);
    context.write("f", &lines(&[(3, " BAD"), (18, " BAD")]));
    let done = context.typing(&["commit", "-q", "-p", "-m", "x"], "y\nn\n");
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(shown(&context, "HEAD:f"), lines(&[(3, " GOOD")]));
    assert_eq!(shown(&context, ":f"), lines(&[(3, " GOOD")]));
    assert_eq!(context.read("f"), lines(&[(3, " GOOD"), (18, " BAD")]));
}

#[test]
fn a_file_that_the_user_took_away_meanwhile_does_not_come_back() {
    let context = fixing(FIXES);
    context.write("f", &lines(&[(3, " BAD")]));
    context.write("g", &lines(&[(3, " BAD")]));
    context.git(&["add", "."]);
    std::fs::remove_file(context.work.join("f")).unwrap();
    std::fs::remove_file(context.work.join("g")).unwrap();
    symlink("h", context.work.join("g")).unwrap();
    context.user_must(&["commit", "-q", "-m", "x"]);
    assert!(shown(&context, "HEAD:f").contains("GOOD") && shown(&context, "HEAD:g").contains("GOOD"));
    assert!(!context.work.join("f").exists());
    assert_eq!(std::fs::read_link(context.work.join("g")).unwrap().to_str(), Some("h"));
    assert_eq!(context.read("h"), lines(&[]));
}

#[test]
fn a_fix_never_goes_through_a_link_out_of_the_work_tree() {
    let context = fixing(FIXES);
    context.write("folder/f", "BAD\n");
    context.git(&["add", "."]);
    let elsewhere = context.beside("elsewhere");
    std::fs::rename(context.work.join("folder"), &elsewhere).unwrap();
    symlink(&elsewhere, context.work.join("folder")).unwrap();
    context.user_must(&["commit", "-q", "-m", "x"]);
    assert_eq!(shown(&context, "HEAD:folder/f"), "GOOD\n");
    assert_eq!(std::fs::read_to_string(elsewhere.join("f")).unwrap(), "BAD\n");
}

#[test]
fn a_mode_that_a_fixer_sets_and_a_file_that_it_takes_away_join_the_commit() {
    let context =
        fixing("hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'chmod +x f; rm -f h', files: [f] }\n");
    context.write("f", "#!/bin/sh\n");
    context.git(&["add", "f"]);
    context.user_must(&["commit", "-q", "-m", "x"]);
    assert!(context.git(&["ls-tree", "HEAD", "f"]).starts_with("100755"));
    assert_eq!(context.git(&["ls-tree", "--name-only", "HEAD", "h"]), "");
    let mode = std::fs::metadata(context.work.join("f")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    context.agrees();
}

#[test]
fn a_fixer_that_fails_changes_nothing() {
    let context = fixing(
        "hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'sed -i s/BAD/GOOD/ f' }\n    - { name: no, fix: true, run: 'exit 1' }\n",
    );
    context.write("f", &lines(&[(3, " BAD")]));
    context.git(&["add", "f"]);
    let (files, index) = (context.files(), shown(&context, ":f"));
    assert_eq!(context.user(&["commit", "-q", "-m", "x"]).code, Some(1));
    assert_eq!((context.files(), shown(&context, ":f")), (files, index));
}

#[test]
fn what_the_fixer_made_is_what_the_next_step_judges() {
    let context = fixing(
        "hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'sed -i s/BAD/GOOD/ {files}', files: [f] }\n    - { name: judge, run: '! grep BAD f && grep GOOD f' }\n",
    );
    context.write("f", &lines(&[(3, " BAD")]));
    context.git(&["add", "f"]);
    let done = context.user_must(&["commit", "-q", "-m", "x"]);
    assert!(done.stderr.contains("✓ judge"), "{done:?}");
}

#[test]
fn outside_of_a_sparse_checkout_the_commit_has_the_fix_and_no_file_appears_or_is_missed() {
    let context =
        fixing("hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'sed -i s/BAD/GOOD/ in/f out/f' }\n");
    context.write("in/f", "BAD\n");
    context.write("out/f", "BAD\n");
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "--no-verify", "-m", "bad"]);
    context.git(&["sparse-checkout", "set", "--cone", "in"]);
    context.write("in/g", "new\n");
    context.git(&["add", "in/g"]);
    context.user_must(&["commit", "-q", "-m", "x"]);
    assert_eq!((shown(&context, "HEAD:in/f"), shown(&context, "HEAD:out/f")), ("GOOD\n".into(), "GOOD\n".into()));
    assert!(!context.work.join("out").exists());
    context.agrees();
}

#[test]
fn where_git_keeps_its_folder_on_another_disk_a_file_is_still_replaced_as_a_whole() {
    let Ok(disk) = tempfile::tempdir_in("/dev/shm") else { return };
    let context = TestContext::new();
    std::fs::remove_dir_all(context.work.join(".git")).unwrap();
    context.git(&["init", "-q", "-b", "main", "--separate-git-dir", disk.path().join("git").to_str().unwrap()]);
    context.configured(FIXES);
    context.write("f", &lines(&[(3, " BAD")]));
    std::fs::set_permissions(context.work.join("f"), std::fs::Permissions::from_mode(0o755)).unwrap();
    context.git(&["add", "f"]);
    // A reader that has the file open keeps the old one: it was never cut short.
    let mut reader = std::fs::File::open(context.work.join("f")).unwrap();
    context.user_must(&["commit", "-q", "-m", "x"]);
    let mut old = String::new();
    std::io::Read::read_to_string(&mut reader, &mut old).unwrap();
    assert_eq!(old, lines(&[(3, " BAD")]));
    assert_eq!(context.read("f"), lines(&[(3, " GOOD")]));
    context.agrees();
    assert_eq!(context.files().len(), 4, "{:?}", context.files());
}

#[test]
fn in_a_linked_work_tree_everything_agrees_too() {
    let context = fixing(FIXES);
    let linked = context.beside("linked");
    context.git(&["worktree", "add", "-q", "-b", "side", linked.to_str().unwrap()]);
    for (line, args) in [(3, &["commit", "-q", "-a", "-m", "x"][..]), (4, &["commit", "-q", "-m", "x", "f"])] {
        std::fs::write(linked.join("f"), lines(&[(line, " BAD")])).unwrap();
        let done = context.git_at(&linked, args);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(std::fs::read_to_string(linked.join("f")).unwrap(), lines(&[(line, " GOOD")]));
        assert_eq!(context.git_at(&linked, &["status", "--porcelain"]).stdout, "");
    }
    context.agrees();
}

#[test]
fn an_unstaged_change_of_the_mode_survives() {
    let context = fixing(FIXES);
    let mode = |name: &str| std::fs::metadata(context.work.join(name)).unwrap().permissions().mode() & 0o777;
    let set =
        |name: &str, mode| std::fs::set_permissions(context.work.join(name), PermissionsExt::from_mode(mode)).unwrap();
    for name in ["f", "g"] {
        context.write(name, &lines(&[(3, " BAD")]));
    }
    set("g", 0o755);
    context.git(&["add", "."]);
    set("f", 0o755);
    set("g", 0o644);
    context.user_must(&["commit", "-q", "-m", "x"]);
    assert_eq!((mode("f"), mode("g")), (0o755, 0o644));
    let recorded = |name: &str| context.git(&["ls-tree", "HEAD", name])[..6].to_owned();
    assert_eq!((recorded("f").as_str(), recorded("g").as_str()), ("100644", "100755"));
    assert!(shown(&context, "HEAD:f").contains("GOOD") && context.read("f").contains("GOOD"));
}

#[test]
fn links_are_no_files_that_a_fixer_is_handed() {
    let context = fixing(FIXES);
    context.write("f", &lines(&[(3, " BAD")]));
    symlink("f", context.work.join("link")).unwrap();
    context.git(&["add", "."]);
    context.user_must(&["commit", "-q", "-m", "x"]);
    assert!(context.git(&["ls-tree", "HEAD", "link"]).starts_with("120000"));
    assert!(shown(&context, "HEAD:f").contains("GOOD"));
    context.agrees();
    symlink("g", context.work.join("other")).unwrap();
    context.git(&["add", "."]);
    let done = context.user_must(&["commit", "-q", "-m", "y"]);
    assert!(done.stderr.contains("· fix  what matches was deleted, or is a link"), "{done:?}");
}

#[test]
fn what_a_person_named_is_judged_after_the_fix_too() {
    let fix_and_judge = "hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'sed -i s/BAD/GOOD/ {files}', files: [f, g, h] }\n    - { name: judge, run: 'echo {files} >> \"$LOG\"; ! grep -l wrong {files}', files: [f, g, h] }\n";
    let context = fixing(fix_and_judge);
    context.write("f", &lines(&[(3, " BAD")]));
    context.write("g", "wrong\n");
    context.git(&["commit", "-q", "-a", "--no-verify", "-m", "bad"]);
    for named in [&["--all-files"][..], &["--files", "f", "g"]] {
        let mut run = context.command(env!("CARGO_BIN_EXE_gitops-hooks"));
        let done = TestContext::run(run.args(["run", "pre-commit"]).args(named).env("LOG", context.log()));
        assert!(done.code == Some(1) && done.stderr.contains("✗ judge"), "{named:?}: {done:?}");
        context.git(&["reset", "-q", "--hard"]);
    }
    assert_eq!(std::fs::read_to_string(context.log()).unwrap(), "f g h\nf g\n");
    // What is a commit already cannot be fixed.
    let done = context.hooks(&["run", "pre-commit", "--from", "HEAD~1"]);
    assert!(done.code == Some(1) && done.stderr.contains("`fix` steps change f, and "), "{done:?}");
    assert_eq!(context.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_file_that_a_fixer_makes_is_left_out_with_a_word() {
    let context = fixing("hooks:\n  pre-commit:\n    - { name: make, fix: true, run: 'echo made > new' }\n");
    context.write("f", "staged\n");
    context.git(&["add", "f"]);
    let done = context.user_must(&["commit", "-q", "-m", "x"]);
    assert!(done.stderr.contains("new: a `fix` step made it, and it is left out"), "{done:?}");
    assert_eq!(context.git(&["ls-tree", "--name-only", "HEAD", "new"]), "");
}

#[test]
fn a_fix_that_undoes_all_that_was_staged_makes_no_empty_commit() {
    let context = fixing(FIXES);
    context.write("f", &lines(&[(3, " GOOD")]));
    context.git(&["commit", "-q", "-a", "-m", "good"]);
    context.write("f", &lines(&[(3, " BAD")]));
    context.git(&["add", "f"]);
    let done = context.user(&["commit", "-q", "-m", "x"]);
    assert!(done.code == Some(1) && done.stderr.contains("there is nothing to commit"), "{done:?}");
    assert_eq!(done.stderr.matches("fix").count() - done.stderr.matches("`fix`").count(), 2, "{done:?}");
    assert_eq!(context.git(&["log", "-1", "--format=%s"]), "good\n");
    assert_eq!(context.git(&["status", "--porcelain"]), "");
    context.user_must(&["commit", "-q", "--allow-empty", "-m", "meant"]);
}
