//! The same commits made in two clones: one with the hooks of lefthook, pre-commit, prek or husky with lint-staged, one with
//! ours after `import` of their configuration. What passes, what fails and what fixers change must be the same. The rivals and
//! the tools that the configurations call come from `PyPI` and npm, once, into the user's cache folder (`tests/bench/rivals.py`).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod context;

use context::{Done, TestContext};
use std::{
    ffi::OsString,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The folder of the rivals' programs.
fn rivals() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/rivals.py");
        let output = Command::new("python3").arg(script).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "the rivals could not be installed");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

/// A clone whose commits somebody's hooks judge.
struct Clone {
    context: TestContext,
    whose: Whose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    /// A hook that changes files may fail for it: the change is then added and the commit tried again.
    Theirs,
}

/// What came of a commit.
#[derive(Debug)]
struct Outcome {
    passed: bool,
    said: String,
    /// What the last commit holds.
    committed: Vec<(String, String)>,
    /// What the work tree holds of the same files.
    files: Vec<(String, String)>,
}

impl Clone {
    fn new(config: &[(&str, &str)], whose: Whose, installs: &[&str]) -> Self {
        let clone = Self { context: TestContext::new(), whose };
        for (path, text) in config {
            if text.starts_with("#!") {
                TestContext::script(&clone.context.work.join(path), text);
            } else {
                clone.context.write(path, text);
            }
        }
        let modules = rivals().with_file_name("node_modules");
        std::os::unix::fs::symlink(modules, clone.context.work.join("node_modules")).unwrap();
        std::fs::write(clone.context.work.join(".git/info/exclude"), "/node_modules\n").unwrap();
        clone.must("git", &["add", "."]);
        clone.must("git", &["commit", "-q", "-m", "feat: begin"]);
        match whose {
            Whose::Ours => {
                let program = assert_cmd::cargo::cargo_bin!("gitops-hooks").to_str().unwrap();
                clone.must(program, &["import"]);
                clone.must(program, &["config", "check"]);
                clone.must("git", &["add", "."]);
                clone.must("git", &["commit", "-q", "-m", "feat: change the manager"]);
                clone.must(program, &["install", "--yes"]);
            }
            Whose::Theirs => {
                clone.must(installs[0], &installs[1..]);
            }
        }
        clone
    }

    fn run(&self, program: &str, args: &[&str]) -> Done {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path: OsString =
            std::env::join_paths(std::iter::once(rivals().to_owned()).chain(std::env::split_paths(&path))).unwrap();
        // `python3` of a version manager's is found by what it sets, so the rest of the environment stays.
        TestContext::run(self.context.command(program).args(args).env("PATH", path))
    }

    fn must(&self, program: &str, args: &[&str]) -> String {
        let done = self.run(program, args);
        assert_eq!(done.code, Some(0), "{program} {args:?}: {}{}", done.stdout, done.stderr);
        done.stdout
    }

    fn commit(&self, change: &Change) -> Outcome {
        for (path, text) in change.writes {
            self.context.write(path, text);
        }
        for path in change.removes {
            assert!(self.context.work.join(path).exists(), "{:?} lost {path}", self.whose);
            std::fs::remove_file(self.context.work.join(path)).unwrap();
        }
        let attempt = || {
            self.must("git", &["add", "-A"]);
            self.run("git", &["commit", "-q", "-m", change.message])
        };
        let mut done = attempt();
        let changed = |clone: &Self| clone.must("git", &["diff", "--name-only"]).lines().count();
        if self.whose == Whose::Theirs && done.code != Some(0) && changed(self) > 0 {
            done = attempt();
        }
        let listed = self.must("git", &["ls-files", "-s", "-z"]);
        let tracked: Vec<String> =
            listed.split_terminator('\0').filter_map(|line| Some(line.split_once('\t')?.1.to_owned())).collect();
        let tracked = tracked.iter().filter(|path| *path != ".gitops-hooks.yaml");
        let show = |path: &String| self.run("git", &["show", &format!("HEAD:{path}")]).stdout;
        let read = |path: &String| std::fs::read_to_string(self.context.work.join(path)).unwrap_or_default();
        let outcome = Outcome {
            passed: done.code == Some(0),
            said: format!("{}{}", done.stdout, done.stderr),
            committed: tracked.clone().map(|path| (path.clone(), show(path))).collect(),
            files: if done.code == Some(0) {
                tracked.map(|path| (path.clone(), read(path))).collect()
            } else {
                Vec::new()
            },
        };
        self.must("git", &["reset", "-q", "--hard"]);
        outcome
    }
}

/// A commit to make.
#[derive(Debug)]
struct Change {
    what: &'static str,
    message: &'static str,
    writes: &'static [(&'static str, &'static str)],
    removes: &'static [&'static str],
    passes: bool,
}

const fn change(
    what: &'static str,
    message: &'static str,
    writes: &'static [(&'static str, &'static str)],
    passes: bool,
) -> Change {
    Change { what, message, writes, removes: &[], passes }
}

/// Commits that people make with such hooks. Whether each passes is said here too, so that both cannot be wrong alike.
const CHANGES: &[Change] = &[
    change("a clean file", "feat: clean", &[("src/clean.py", "X = 1\n")], true),
    change("a file to format", "feat: format", &[("src/wild.py", "x   =  {  'a':1 }\n")], true),
    change("an unknown name", "feat: bad", &[("src/bad.py", "print(unknown)\n")], false),
    change("the same mended", "feat: good", &[("src/bad.py", "print('known')\n")], true),
    change("an import that nobody needs", "feat: import", &[("src/import.py", "import os\n")], true),
    change("a name to quote", "feat: name", &[("src/a b's $(x).py", "y   =  2\n")], true),
    change("a file that is left out", "feat: generated", &[("src/generated/x_1.py", "x   =  unknown\n")], true),
    change("space at the end", "docs: space", &[("docs/space.txt", "a  \nb\t\n\n\n")], true),
    change(
        "a mark of a conflict",
        "docs: conflict",
        &[("docs/c.txt", "<<<<<<< HEAD\na\n=======\nb\n>>>>>>> x\n")],
        false,
    ),
    change("what no hook is about", "docs: picture", &[("docs/picture.svg", "<svg/>  \n")], true),
    change("a word that must not be", "feat: later", &[("src/later.py", "# FIXME: do it\n")], false),
    change("the same where it may be", "docs: later", &[("docs/later.md", "FIXME\n")], true),
    change("a bad message", "no type", &[("src/message.py", "X = 1\n")], false),
    Change {
        what: "a file that goes",
        message: "feat: less",
        writes: &[("src/other.py", "X = 1\n")],
        removes: &["src/clean.py"],
        passes: true,
    },
    change(
        "many files, one bad",
        "feat: many",
        &[("a.py", "A   =  1\n"), ("b.py", "b = a\n"), ("c.txt", "c  \n")],
        false,
    ),
];

/// Makes the commits in both clones.
fn compare(config: &[(&str, &str)], installs: &[&str]) {
    let theirs = Clone::new(config, Whose::Theirs, installs);
    let ours = Clone::new(config, Whose::Ours, installs);
    let mut different = String::new();
    for change in CHANGES {
        let (theirs, ours) = (theirs.commit(change), ours.commit(change));
        if (theirs.passed, ours.passed) != (change.passes, change.passes) {
            let (their, our) = (theirs.passed, ours.passed);
            let said = format!("{}\n{}", theirs.said, ours.said);
            let _ = writeln!(different, "{}: theirs passed {their}, ours {our}\n{said}", change.what);
        }
        for (theirs, ours) in [(&theirs.committed, &ours.committed), (&theirs.files, &ours.files)] {
            let other: Vec<_> = theirs.iter().filter(|file| !ours.contains(file)).collect();
            let own: Vec<_> = ours.iter().filter(|file| !theirs.contains(file)).collect();
            if !other.is_empty() || !own.is_empty() {
                let _ = writeln!(different, "{}: theirs {other:#?}, ours {own:#?}", change.what);
            }
        }
    }
    assert!(different.is_empty(), "{different}\n{}", ours.context.read(".gitops-hooks.yaml"));
}

const RUFF: &str = "line-length = 100\n[lint]\nselect = [\"F\"]\n";
const MESSAGE: &str = "#!/bin/sh\ngrep -Eq '^(feat|docs): ' \"$1\"\n";

#[test]
fn what_lefthook_lets_through_ours_lets_through() {
    let config: &[(&str, &str)] = &[
        ("ruff.toml", RUFF),
        (".lefthook/commit-msg/type.sh", MESSAGE),
        (
            "lefthook.yml",
            "extends: [ci/*.yml]\npre-commit:\n  piped: true\n  jobs:\n    - name: fix\n      glob: '*.py'\n      exclude: ['src/generated/*']\n      run: ruff check -q --fix {staged_files}\n      stage_fixed: true\n    - name: format\n      glob: '*.py'\n      exclude: ['src/generated/*']\n      run: ruff format -q {staged_files}\n      stage_fixed: true\n    - name: space\n      run: sed -i 's/[[:space:]]*$//' {staged_files}\n      stage_fixed: true\n    - name: words\n      glob: ['src/**/*.py', '*.py']\n      run: '! grep -n TODO {staged_files}'\n    - group:\n        parallel: true\n        jobs:\n          - name: conflicts\n            run: '! grep -nE \"^(<<<<<<<|>>>>>>>) \" {staged_files}'\ncommit-msg:\n  scripts:\n    type.sh: {runner: sh}\n",
        ),
        (
            "ci/more.yml",
            "pre-commit:\n  jobs:\n    - name: space\n      glob: 'docs/*.txt'\n    - name: words\n      run: '! grep -n FIXME {staged_files}'\n",
        ),
    ];
    compare(config, &["lefthook", "install"]);
}

/// Hooks of another repository as they are called for: it stands beside the clone.
fn remote_hooks() -> TestContext {
    let hooks = TestContext::new();
    hooks.write(
        ".pre-commit-hooks.yaml",
        "- {id: trailing-whitespace, name: space, entry: trailing-whitespace-fixer, language: system, types: [text], stages: [pre-commit, pre-push, manual]}\n- {id: end-of-file-fixer, name: end, entry: end-of-file-fixer, language: system, types: [text], stages: [pre-commit]}\n- {id: check-merge-conflict, name: conflict, entry: conflicts.sh, language: script, types: [text]}\n",
    );
    TestContext::script(&hooks.work.join("conflicts.sh"), "#!/bin/sh\n! grep -nE '^(<<<<<<<|>>>>>>>) ' \"$@\"\n");
    hooks.git(&["add", "."]);
    hooks.git(&["commit", "-q", "-m", "hooks"]);
    hooks.git(&["tag", "v1"]);
    hooks
}

fn pre_commits(remote: &TestContext) -> String {
    format!(
        "default_install_hook_types: [pre-commit, commit-msg]\nexclude: ^docs/.*\\.svg$\nrepos:\n- repo: {}\n  rev: v1\n  hooks:\n  - id: trailing-whitespace\n    exclude: \\.py$\n  - id: end-of-file-fixer\n    exclude_types: [python]\n  - id: check-merge-conflict\n- repo: local\n  hooks:\n  - {{id: fix, name: fix, language: system, entry: ruff check -q --fix, types: [python], exclude: 'src/generated/\\w+_\\d+\\.py$'}}\n  - {{id: format, name: format, language: system, entry: ruff format -q, types: [python], exclude: ^src/generated/}}\n  - {{id: words, name: words, language: system, entry: sh -c '! grep -n FIXME \"$@\"' --, files: '^(src/.*|\\w+)\\.py$'}}\n  - {{id: type, name: type, language: script, entry: hooks/type.sh, stages: [commit-msg]}}\n",
        remote.work.display()
    )
}

fn compare_pre_commit(program: &str) {
    let remote = remote_hooks();
    let text = pre_commits(&remote);
    let config: &[(&str, &str)] =
        &[("ruff.toml", RUFF), ("hooks/type.sh", MESSAGE), (".pre-commit-config.yaml", &text)];
    compare(config, &[program, "install"]);
}

#[test]
fn what_pre_commit_lets_through_ours_lets_through() {
    compare_pre_commit("pre-commit");
}

#[test]
fn what_prek_lets_through_ours_lets_through() {
    compare_pre_commit("prek");
}

#[test]
fn what_husky_and_lint_staged_let_through_ours_lets_through() {
    let config: &[(&str, &str)] = &[
        ("ruff.toml", RUFF),
        (
            "package.json",
            r#"{"scripts": {"prepare": "husky"}, "lint-staged": {
                "!(*_[0-9]).py": ["ruff check -q --fix", "ruff format -q"],
                "*.py": "sh -c '! grep -n FIXME \"$@\"' --",
                "docs/**/!(*.svg)": ["sed -i 's/[[:space:]]*$//'", "sh -c '! grep -nE \"^(<<<<<<<|>>>>>>>) \" \"$@\"' --"]
            }}"#,
        ),
        (".husky/pre-commit", "lint-staged\n"),
        (".husky/commit-msg", "grep -Eq '^(feat|docs): ' \"$1\"\n"),
    ];
    compare(config, &["npm", "run", "prepare"]);
}
