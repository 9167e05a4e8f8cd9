//! Other hook managers' configurations, taken over as their users would: real ones as golden pairs
//! (`tests/import/<source>-<n>/`, what each is after stands in its ORIGIN), and a few installed and committed with.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod context;

use context::{Done, TestContext};
use std::{ffi::OsString, fs, path::Path};

/// A `PATH` on which `prek` is found: a script that notes what it is asked.
fn with_prek(context: &TestContext) -> OsString {
    let folder = context.beside("bin");
    let asked = context.beside("asked");
    TestContext::script(&folder.join("prek"), &format!("#!/bin/sh\necho \"$@\" >> '{}'\n", asked.display()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&path))).unwrap()
}

fn hooks(context: &TestContext, args: &[&str]) -> Done {
    let path = with_prek(context);
    TestContext::run(context.command(assert_cmd::cargo::cargo_bin!("gitops-hooks")).args(args).env("PATH", path))
}

fn must(context: &TestContext, args: &[&str]) -> String {
    let done = hooks(context, args);
    assert_eq!(done.code, Some(0), "gitops-hooks {args:?}: {}{}", done.stdout, done.stderr);
    done.stdout
}

fn commit(context: &TestContext, message: &str) -> Done {
    let path = with_prek(context);
    TestContext::run(context.command("git").args(["add", "."]).env("PATH", &path));
    TestContext::run(context.command("git").args(["commit", "-m", message]).env("PATH", path))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// `UPDATE=1 cargo test --test import` writes what is expected anew.
#[test]
fn real_configurations_become_ours_and_are_sound() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    let mut count = 0;
    for case in fs::read_dir(cases).unwrap().map(Result::unwrap) {
        let context = TestContext::new();
        copy(&case.path(), &context.work);
        let expected = context.read("expected.yaml");
        must(&context, &["import"]);
        if std::env::var_os("UPDATE").is_some() {
            fs::copy(context.work.join(".gitops-hooks.yaml"), case.path().join("expected.yaml")).unwrap();
        } else {
            assert_eq!(context.read(".gitops-hooks.yaml"), expected, "{}", case.path().display());
        }
        for root in expected.lines().filter_map(|line| line.trim().strip_prefix("root: ")) {
            fs::create_dir_all(context.work.join(root)).unwrap();
        }
        must(&context, &["config", "check"]);
        count += 1;
    }
    assert!(count >= 18, "{count} cases");
}

#[test]
fn what_stands_there_is_never_overwritten() {
    let context = TestContext::new();
    context.write("lefthook.yml", "pre-commit: {jobs: [{run: make lint}]}\n");
    context.write(".gitops-hooks.yaml", "mine\n");
    let done = hooks(&context, &["import"]);
    assert!(done.code == Some(2) && done.stderr.contains("--print"), "{done:?}");
    assert_eq!(context.read(".gitops-hooks.yaml"), "mine\n");
    assert!(must(&context, &["import", "--print"]).contains("run: make lint"));
    assert_eq!(context.read(".gitops-hooks.yaml"), "mine\n");
}

#[test]
fn none_and_more_than_one_are_told() {
    let context = TestContext::new();
    let none = hooks(&context, &["import"]);
    assert!(none.code == Some(2) && none.stderr.contains("gitops-hooks init"), "{none:?}");
    context.write("lefthook.yml", "pre-commit: {jobs: [{run: make lint}]}\n");
    context.write(".husky/pre-commit", "npm test\n");
    let several = hooks(&context, &["import"]);
    assert!(several.code == Some(2) && several.stderr.contains("lefthook and husky"), "{several:?}");
    assert!(several.stderr.contains("--from lefthook"), "{several:?}");
    assert!(must(&context, &["import", "--from", "husky", "--print"]).contains("run: npm test"));
    let missing = hooks(&context, &["import", "--from", "pre-commit"]);
    assert!(missing.code == Some(2) && missing.stderr.contains("no configuration of pre-commit"), "{missing:?}");
}

#[test]
fn a_file_that_is_no_configuration_says_why() {
    let context = TestContext::new();
    for (text, why) in [("pre-commit: [", "lefthook.yml cannot be read"), ("min_version: 1.0\n", "no hook that could")]
    {
        context.write("lefthook.yml", text);
        let done = hooks(&context, &["import"]);
        assert!(done.code == Some(2) && done.stderr.contains(why), "{done:?}");
    }
    context.write("lefthook.yml", &"a".repeat(2 << 20));
    assert!(hooks(&context, &["import"]).stderr.contains("larger than 1 MiB"));
    assert!(!context.work.join(".gitops-hooks.yaml").exists());
}

#[test]
fn hostile_names_are_only_names() {
    let context = TestContext::new();
    context.write(
        ".lefthook.json",
        r#"{"pre-commit": {
            "scripts": {"a'; touch pwned; '.sh": {"runner": "sh"}, "$(touch pwned)": {"runner": "sh"}},
            "commands": {"x\nhooks: {}\n#": {"run": "true", "tags": ["\u0007", "a: b"], "env": {"A": "\u0000\u0085"}, "glob": "\n- x"}},
            "jobs": [{"name": "x\nhooks: {}\n#", "run": "true", "skip": "\nimages: {}", "root": "../.."}]}}"#,
    );
    context.write(".lefthook/pre-commit/a'; touch pwned; '.sh", "true\n");
    context.write(".lefthook/pre-commit/$(touch pwned)", "true\n");
    must(&context, &["import"]);
    must(&context, &["config", "check"]);
    must(&context, &["install", "--yes"]);
    let done = commit(&context, "x");
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!context.work.join("pwned").exists());
}

#[test]
fn lefthooks_commands_run_as_steps() {
    let context = TestContext::new();
    context.write(
        "lefthook.yml",
        "pre-commit:\n  piped: true\n  commands:\n    upper:\n      glob: \"*.txt\"\n      run: for file in {staged_files}; do tr a-z A-Z < \"$file\" > t && mv t \"$file\"; done && git add {staged_files}\n    words:\n      glob: \"*.txt\"\n      exclude: skipped\\.txt$\n      run: grep -q HELLO {staged_files}\n      fail_text: say hello\ncommit-msg:\n  scripts:\n    message.sh:\n      runner: sh\n",
    );
    context.write(".lefthook/commit-msg/message.sh", "grep -q '^Say' \"$1\"\n");
    must(&context, &["import"]);
    must(&context, &["install", "--yes"]);
    context.write("a b.txt", "hello\n");
    let done = commit(&context, "hello");
    assert!(done.code == Some(1) && done.stderr.contains("message.sh"), "{done:?}");
    let done = commit(&context, "Say hello");
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(context.git(&["show", "HEAD:a b.txt"]), "HELLO\n");
    assert_eq!(context.read("a b.txt"), "HELLO\n");
    context.write("b.txt", "bye\n");
    let done = commit(&context, "Say bye");
    assert!(done.code == Some(1) && done.stderr.contains("say hello"), "{done:?}");
}

#[test]
fn pre_commits_local_hooks_run_and_the_others_are_asked_of_prek() {
    let context = TestContext::new();
    context.write(
        ".pre-commit-config.yaml",
        "repos:\n- repo: https://git.example.com/hooks\n  rev: v1\n  hooks: [{id: check-yaml, files: \\.yaml$}]\n- repo: local\n  hooks:\n  - {id: todo, name: no todo, language: system, entry: sh -c '! grep TODO \"$@\"' --, files: ^src/, types: [text]}\n",
    );
    must(&context, &["import"]);
    must(&context, &["install", "--yes"]);
    context.write("src/a.py", "TODO\n");
    context.write("b.yaml", "a: 1\n");
    let done = commit(&context, "x");
    assert!(done.code == Some(1) && done.stderr.contains("no todo"), "{done:?}");
    context.write("src/a.py", "done\n");
    assert_eq!(commit(&context, "x").code, Some(0));
    let asked = fs::read_to_string(context.beside("asked")).unwrap();
    assert!(asked.contains("run check-yaml --files .gitops-hooks.yaml .pre-commit-config.yaml b.yaml"), "{asked}");
}

#[test]
fn lint_stageds_commands_run_from_the_packages_and_join_the_commit() {
    let context = TestContext::new();
    context.write(".gitignore", "node_modules\n");
    context.write(".husky/pre-commit", "npx lint-staged\n");
    context.write(".husky/commit-msg", "npx commitlint --edit \"$1\"\n");
    context.write("package.json", "{\"lint-staged\": {\"src/*.js\": [\"format --write\", \"git add\"]}}");
    TestContext::script(
        &context.work.join("node_modules/.bin/format"),
        "#!/bin/sh\nshift\nfor file; do echo 'formatted();' > \"$file\"; done\n",
    );
    must(&context, &["import"]);
    let npx = "#!/bin/sh\ngrep -q '^fix: ' \"$3\"\n";
    TestContext::script(&context.beside("bin").join("npx"), npx);
    must(&context, &["install", "--yes"]);
    context.write("src/a.js", "wild( )\n");
    context.write("src/deep/b.js", "wild( )\n");
    assert_eq!(commit(&context, "no type").code, Some(1));
    let done = commit(&context, "fix: all");
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(context.git(&["show", "HEAD:src/a.js"]), "formatted();\n");
    assert_eq!(context.git(&["show", "HEAD:src/deep/b.js"]), "wild( )\n");
    assert_eq!(context.git(&["status", "--porcelain"]), "");
}

#[test]
fn install_says_whose_hooks_it_finds() {
    let context = TestContext::new();
    TestContext::script(
        &context.work.join(".git/hooks/pre-commit"),
        "#!/bin/sh\n# File generated by prek: https://github.com/j178/prek\nexit 0\n",
    );
    context.write(".gitops-hooks.yaml", "hooks: {pre-commit: [{run: \"true\"}]}\n");
    let said = must(&context, &["install", "--yes"]);
    assert!(said.contains("found prek's hooks; `gitops-hooks import` makes steps"), "{said}");
    assert!(must(&context, &["install", "--yes"]).contains("found prek's hooks"), "it still runs first");
    let fresh = TestContext::new();
    fresh.write(".gitops-hooks.yaml", "hooks: {pre-commit: [{run: \"true\"}]}\n");
    must(&fresh, &["install", "--yes"]);
    assert!(!must(&fresh, &["install", "--yes"]).contains("found"));
}

#[test]
fn one_persons_lefthook_file_becomes_one_persons_file() {
    let context = TestContext::new();
    context.write(
        "lefthook.yml",
        "extends: [ci/more.yml]\npre-commit:\n  parallel: true\n  jobs:\n    - {name: one, run: echo one}\n    - {name: two, run: echo two}\n",
    );
    context.write("ci/more.yml", "pre-commit: {jobs: [{name: three, run: echo three}]}\n");
    context
        .write("lefthook-local.yml", "pre-commit: {jobs: [{name: two, skip: true}, {name: mine, run: echo mine}]}\n");
    let said = must(&context, &["import"]);
    assert!(said.contains("wrote gitops-hooks.local.yaml: what lefthook-local.yml changes for you"), "{said}");
    let shared = context.read(".gitops-hooks.yaml");
    assert!(shared.contains("name: three") && !shared.contains("mine"), "{shared}");
    let own = context.read("gitops-hooks.local.yaml");
    assert!(own.contains("name: two") && own.contains("name: mine") && !own.contains("name: one"), "{own}");
    must(&context, &["install", "--yes"]);
    let done = commit(&context, "x");
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stderr.contains("2 skipped") || done.stderr.contains("· two"), "{done:?}");
    assert!(done.stderr.contains("✓ mine") && done.stderr.contains("✓ three"), "{done:?}");
    assert_eq!(context.git(&["ls-files", "gitops-hooks.local.yaml"]), "");
}

#[test]
fn a_husky_configuration_that_is_a_program_is_asked_when_a_hook_runs() {
    let context = TestContext::new();
    context.write(
        ".huskyrc.js",
        "const all = list => list.join(' && ');\nmodule.exports = {hooks: {'pre-commit': all(['true', 'test ! -e bad']), \"commit-msg\": 'grep -q fix \"$HUSKY_GIT_PARAMS\"'}};\n",
    );
    let said = must(&context, &["import"]);
    assert!(said.contains("2 steps of .huskyrc.js"), "{said}");
    must(&context, &["install", "--yes"]);
    assert_eq!(commit(&context, "no type").code, Some(1));
    let done = commit(&context, "fix: it");
    assert_eq!(done.code, Some(0), "{done:?}");
    context.write("bad", "");
    let done = commit(&context, "fix: more");
    assert!(done.code == Some(1) && done.stderr.contains("✗ pre-commit"), "{done:?}");
}

#[test]
fn an_expression_that_no_pattern_equals_chooses_the_files_in_the_shell() {
    let context = TestContext::new();
    context.write(
        "lefthook.yml",
        "pre-commit: {commands: {look: {run: \"printf '<%s>' {staged_files} > \\\"$SEEN\\\"\", exclude: '(^|/)v\\d+\\.txt$'}}}\n",
    );
    must(&context, &["import"]);
    must(&context, &["install", "--yes"]);
    context.write("v10.txt", "");
    context.write("a v1.txt.md", "");
    let seen = context.beside("seen");
    context.git(&["add", "v10.txt", "a v1.txt.md", ".gitops-hooks.yaml"]);
    let mut git = context.command("git");
    let done = TestContext::run(git.args(["commit", "-m", "x"]).env("SEEN", &seen));
    assert_eq!(done.code, Some(0), "{done:?}\n{}", context.read(".gitops-hooks.yaml"));
    assert_eq!(fs::read_to_string(&seen).unwrap(), "<.gitops-hooks.yaml><a v1.txt.md>");
}

#[test]
fn what_lefthook_has_fetched_is_found_from_a_linked_work_tree() {
    let context = TestContext::new();
    context.write("lefthook.yml", "remotes:\n  - git_url: https://git.example.com/t/shared.git\n");
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "lefthook"]);
    context.write(
        ".git/info/lefthook-remotes/shared/lefthook.yml",
        "extends: [more.yml]\npre-push:\n  commands:\n    test:\n      run: make test\n",
    );
    context.write(
        ".git/info/lefthook-remotes/shared/more.yml",
        "pre-push:\n  commands:\n    lint:\n      run: make lint\n",
    );
    let linked = context.beside("linked");
    context.git(&["worktree", "add", "-q", linked.to_str().unwrap()]);
    let mut import = context.command(assert_cmd::cargo::cargo_bin!("gitops-hooks"));
    let done = TestContext::run(import.args(["import", "--print"]).current_dir(&linked));
    assert!(done.stdout.contains("make test") && done.stdout.contains("make lint"), "{done:?}");
}
