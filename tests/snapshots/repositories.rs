//! Repositories that are not the plain case: the step still sees what is committed.

use super::seen::lines;
use crate::context::TestContext;
use std::{os::unix::fs::symlink, path::Path};

const FIXES: &str = "hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'sed -i s/BAD/GOOD/ {files}', files: [f, sub/f] }\n    - { name: judge, run: '! grep BAD f' }\n";

fn install(context: &TestContext, folder: &Path) {
    let binary = assert_cmd::cargo::cargo_bin!("gitops-hooks");
    let install = TestContext::run(context.command(binary).args(["install", "--yes"]).current_dir(folder));
    assert_eq!(install.code, Some(0), "{install:?}");
}

/// A repository with a submodule `module` that has hooks of its own.
fn with_submodule() -> TestContext {
    let context = TestContext::seeing(&["pre-commit"]);
    let module = context.beside("module.git");
    context.git(&["clone", "-q", "--bare", context.work.to_str().unwrap(), module.to_str().unwrap()]);
    let add = ["-c", "protocol.file.allow=always", "submodule", "add", "-q", module.to_str().unwrap(), "module"];
    context.git(&add);
    context.git(&["commit", "-q", "--no-verify", "-m", "module"]);
    install(&context, &context.work.join("module"));
    context
}

#[test]
fn in_a_submodule_its_own_snapshot_is_judged() {
    let context = with_submodule();
    let module = context.work.join("module");
    std::fs::write(module.join("f"), "staged").unwrap();
    assert_eq!(context.git_at(&module, &["add", "."]).code, Some(0));
    std::fs::write(module.join("f"), "unstaged").unwrap();
    for recorded in [false, true] {
        let done = context.git_at(&module, &["commit", "-q", "--allow-empty", "-m", "x"]);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(!done.stderr.contains("not recorded"), "{done:?}");
        assert_eq!(done.stderr.contains("passed on these inputs"), recorded, "{done:?}");
    }
    assert_eq!(context.seen().len(), 1);
    assert_eq!(context.seen()[0]["f"], "staged");
    assert_eq!(std::fs::read_to_string(module.join("f")).unwrap(), "unstaged");
}

#[test]
fn a_fixer_in_a_submodule_leaves_everything_in_agreement() {
    let context = with_submodule();
    let module = context.work.join("module");
    std::fs::write(module.join(".gitops-hooks.yaml"), FIXES).unwrap();
    std::fs::write(module.join("f"), "BAD\n").unwrap();
    let done = context.git_at(&module, &["commit", "-q", "-a", "-m", "x"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(std::fs::read_to_string(module.join("f")).unwrap(), "GOOD\n");
    assert_eq!(context.git_at(&module, &["status", "--porcelain"]).stdout, "");
}

#[test]
fn another_commit_of_a_submodule_is_part_of_what_is_judged() {
    let context = with_submodule();
    let module = context.work.join("module");
    assert_eq!(context.git_at(&module, &["commit", "-q", "--no-verify", "--allow-empty", "-m", "m"]).code, Some(0));
    context.write("f", "staged\n");
    context.git(&["add", "f"]);
    // The submodule stands elsewhere than the index says: this work tree is not the snapshot.
    let done = context.user_must(&["commit", "-q", "-m", "x"]);
    assert!(done.stderr.contains("in a scratch tree: module has unstaged changes"), "{done:?}");
    assert_eq!(context.seen().last().unwrap()["f"], "staged");
    context.git(&["add", "module"]);
    let done = context.user_must(&["commit", "-q", "-m", "y"]);
    assert!(!done.stderr.contains("scratch"), "{done:?}");
    context.agrees();
}

#[test]
fn outside_of_a_sparse_checkout_files_are_judged_too() {
    for sparse in
        [&["sparse-checkout", "set", "--cone", "in"][..], &["sparse-checkout", "set", "--cone", "--sparse-index", "in"]]
    {
        let context = TestContext::new();
        context
            .configured("hooks:\n  pre-commit:\n    - { name: judge, run: 'cat in/f out/f; ! grep -r bad in out' }\n");
        context.write("in/f", "good\n");
        context.write("out/f", "bad\n");
        context.git(&["add", "."]);
        context.git(&["commit", "-q", "--no-verify", "-m", "bad"]);
        context.git(sparse);
        assert!(!context.work.join("out").exists());
        context.write("in/f", "good two\n");
        context.git(&["add", "in"]);
        let done = context.user(&["commit", "-q", "-m", "x"]);
        assert!(done.code == Some(1) && done.stderr.contains("out/f:bad"), "{sparse:?}: {done:?}");
        assert!(!context.work.join("out").exists());
        assert_eq!(context.git(&["status", "--porcelain"]), "M  in/f\n");
    }
}

#[test]
fn a_hooks_folder_for_all_repositories_is_passed_through() {
    let context = TestContext::new();
    let theirs = context.beside("global hooks");
    TestContext::script(&theirs.join("pre-commit"), "#!/bin/sh\necho theirs >> \"${LOG:-/dev/null}\"\n");
    TestContext::script(&theirs.join("pre-push"), "#!/bin/sh\ncat >> \"$LOG\"\n");
    context.git(&["config", "--global", "core.hooksPath", "~/global hooks"]);
    let global = std::fs::read_to_string(context.beside(".gitconfig")).unwrap();
    let local = context.read(".git/config");
    context.configured("hooks:\n  pre-commit:\n    - { name: judge, run: 'echo ours >> \"$LOG\"' }\n");
    std::fs::write(context.log(), "").unwrap();
    context.user_must(&["commit", "-q", "--allow-empty", "-m", "x"]);
    let remote = context.beside("remote.git");
    context.git(&["init", "-q", "--bare", remote.to_str().unwrap()]);
    context.user_must(&["push", "-q", remote.to_str().unwrap(), "main"]);
    let log = std::fs::read_to_string(context.log()).unwrap();
    let head = context.git(&["rev-parse", "HEAD"]);
    assert!(log.starts_with("theirs\nours\nrefs/heads/main ") && log.contains(head.trim()), "{log}");
    context.must(&["uninstall"]);
    assert_eq!(context.read(".git/config"), local);
    assert_eq!(std::fs::read_to_string(context.beside(".gitconfig")).unwrap(), global);
}

#[test]
fn a_hooks_folder_inside_the_work_tree_is_each_work_trees_own() {
    let context = TestContext::new();
    context.git(&["config", "core.hooksPath", ".githooks"]);
    TestContext::script(&context.work.join(".githooks/pre-commit"), "#!/bin/sh\necho main >> \"${LOG:-/dev/null}\"\n");
    context.configured("hooks:\n  pre-commit:\n    - { name: judge, run: 'true' }\n");
    let linked = context.beside("linked");
    context.git(&["worktree", "add", "-q", "-b", "side", linked.to_str().unwrap()]);
    TestContext::script(&linked.join(".githooks/pre-commit"), "#!/bin/sh\necho side >> \"${LOG:-/dev/null}\"\n");
    let _ = std::fs::remove_file(context.log());
    context.user_must(&["commit", "-q", "--allow-empty", "-m", "x"]);
    assert_eq!(context.git_at(&linked, &["commit", "-q", "--allow-empty", "-m", "x"]).code, Some(0));
    assert_eq!(std::fs::read_to_string(context.log()).unwrap(), "main\nside\n");
    context.must(&["uninstall"]);
    assert_eq!(context.git(&["config", "core.hooksPath"]), ".githooks\n");
}

#[test]
fn a_repository_that_the_environment_names_is_the_one_that_is_judged() {
    let context = TestContext::seeing(&["pre-commit"]);
    let (dir, work) = (context.beside("dir.git"), context.beside("work"));
    std::fs::rename(context.work.join(".git"), &dir).unwrap();
    std::fs::rename(&context.work, &work).unwrap();
    // A decoy where git is called.
    std::fs::create_dir(&context.work).unwrap();
    context.git(&["init", "-q"]);
    std::fs::write(work.join("f"), "staged").unwrap();
    let named =
        |args: &[&str]| TestContext::run(context.logging(args).env("GIT_DIR", &dir).env("GIT_WORK_TREE", &work));
    assert_eq!(named(&["add", "."]).code, Some(0));
    std::fs::write(work.join("f"), "unstaged").unwrap();
    let done = named(&["commit", "-q", "-m", "x"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(context.seen().last().unwrap()["f"], "staged");
    assert_eq!(named(&["show", "HEAD:f"]).stdout, "staged");
    assert_eq!(std::fs::read_to_string(work.join("f")).unwrap(), "unstaged");
    assert_eq!(context.git(&["for-each-ref"]), "");
}

#[test]
fn links_are_judged_as_links_and_never_written_through() {
    let context = TestContext::new();
    context.configured("hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'sed -i s/BAD/GOOD/ sub/f; test -L link', files: [sub/f] }\n    - { name: judge, run: 'test -L link && test \"$(readlink link)\" = sub/f && grep GOOD link' }\n");
    context.write("sub/f", "BAD\n");
    symlink("sub/f", context.work.join("link")).unwrap();
    context.git(&["add", "."]);
    std::fs::remove_file(context.work.join("link")).unwrap();
    symlink("/etc/passwd", context.work.join("link")).unwrap();
    context.user_must(&["commit", "-q", "-m", "x"]);
    assert_eq!(context.git(&["show", "HEAD:link"]), "sub/f");
    assert_eq!(std::fs::read_link(context.work.join("link")).unwrap(), Path::new("/etc/passwd"));
}

#[test]
fn line_ends_are_converted_as_in_the_users_own_work_tree() {
    let context = TestContext::new();
    context.git(&["config", "core.autocrlf", "true"]);
    context.configured("hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'sed -i s/BAD/GOOD/ {files}', files: [f] }\n    - { name: judge, run: 'grep -c \"$(printf \"\\r\")\" f >> \"$LOG\"' }\n");
    let crlf = |edits: &[(usize, &str)]| lines(edits).replace('\n', "\r\n");
    context.write("f", &crlf(&[(3, " BAD")]));
    context.git(&["add", "f"]);
    context.write("f", &crlf(&[(3, " BAD"), (18, " mine")]));
    context.user_must(&["commit", "-q", "-m", "x"]);
    assert_eq!(context.git(&["show", "HEAD:f"]), lines(&[(3, " GOOD")]));
    assert_eq!(context.read("f"), crlf(&[(3, " GOOD"), (18, " mine")]));
    assert_eq!(std::fs::read_to_string(context.log()).unwrap(), "20\n");
    context.write("f", &crlf(&[(4, " BAD")]));
    context.user_must(&["commit", "-q", "-a", "-m", "y"]);
    assert_eq!(context.read("f"), crlf(&[(4, " GOOD")]));
    context.agrees();
}

#[test]
fn a_file_that_a_filter_stores_elsewhere_is_judged_with_its_content() {
    let context = TestContext::new();
    let store = context.beside("store");
    std::fs::create_dir(&store).unwrap();
    // As LFS does it: the repository has a pointer, the work tree the content.
    let clean = format!(
        "t=$(mktemp); cat > $t; s=$(sha1sum < $t | cut -c-40); mv $t '{0}'/$s; echo pointer $s",
        store.display()
    );
    let smudge = format!("read -r _ s; cat '{0}'/$s", store.display());
    context.git(&["config", "filter.away.clean", &clean]);
    context.git(&["config", "filter.away.smudge", &smudge]);
    context.git(&["config", "filter.away.required", "true"]);
    context.write(".gitattributes", "*.big filter=away\n");
    context.configured("hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'sed -i s/BAD/GOOD/ {files}', files: ['*.big'] }\n    - { name: judge, run: '! grep -r pointer *.big && grep GOOD a.big' }\n");
    context.write("a.big", "BAD\n2\n3\n4\n5\n");
    context.git(&["add", "a.big"]);
    context.write("a.big", "BAD\n2\n3\n4\nmine\n");
    let done = context.user_must(&["commit", "-q", "-m", "x"]);
    assert!(context.git(&["show", "HEAD:a.big"]).starts_with("pointer "), "{done:?}");
    assert_eq!(context.read("a.big"), "GOOD\n2\n3\n4\nmine\n");
    context.user_must(&["commit", "-q", "-a", "-m", "y"]);
    context.agrees();
}

#[test]
fn where_case_does_not_count_a_new_spelling_is_what_is_judged() {
    let context = TestContext::seeing(&["pre-commit"]);
    context.git(&["config", "core.ignoreCase", "true"]);
    context.git(&["mv", "f", "F"]);
    context.write("H2", "untracked\n");
    context.write("G", "BAD");
    context.user_must(&["commit", "-q", "-m", "x"]);
    context.saw("HEAD");
    assert!(context.held("HEAD").contains_key("F") && !context.held("HEAD").contains_key("f"));
}

#[test]
fn every_form_of_index_is_read() {
    for (key, value) in [
        ("index.version", "4"),
        ("core.splitIndex", "true"),
        ("core.untrackedCache", "true"),
        ("feature.manyFiles", "true"),
    ] {
        let context = TestContext::seeing(&["pre-commit"]);
        context.git(&["config", key, value]);
        context.git(&["update-index", "--refresh"]);
        for form in
            [&["commit", "-q", "-m", "x"][..], &["commit", "-q", "-a", "-m", "x"], &["commit", "-q", "-m", "x", "g"]]
        {
            context.write("f", &format!("{key} {form:?}"));
            context.git(&["add", "f"]);
            context.write("new", "not added for real");
            context.git(&["add", "-N", "new"]);
            context.write("g", &format!("unstaged {form:?}"));
            context.user_must(form);
            assert_eq!(context.seen().last(), Some(&context.held("HEAD")), "{key} {form:?}");
            assert_eq!(context.held("HEAD").contains_key("new"), form.contains(&"-a"));
            context.git(&["rm", "-q", "-f", "--cached", "new"]);
            context.git(&["commit", "-q", "--no-verify", "--allow-empty", "-m", "without"]);
        }
    }
}
