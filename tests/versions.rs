//! An upgrade and a way back: hooks, records and scratch trees that one version of the program leaves are met by the other.
//! Needs an older version (`tests/older`), whose path is in `GITOPS_HOOKS_TEST_OLDER`; without one there is nothing to test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod context;

use context::{Done, TestContext};
use std::path::{Path, PathBuf};

const CONFIG: &str = "hooks:\n  pre-commit:\n    - {name: words, run: 'echo ran >>\"$RUNS\"; ! grep -rn BAD --include=*.txt .', inputs: [\"*.txt\"]}\n  pre-push:\n    - {name: words, run: 'echo ran >>\"$RUNS\"; ! grep -rn BAD --include=*.txt .', inputs: [\"*.txt\"]}\n";

/// A clone whose hooks call a program that is replaced under them.
struct Clone {
    context: TestContext,
    program: PathBuf,
}

impl Clone {
    fn new() -> Self {
        let context = TestContext::new();
        let program = context.beside("bin").join("gitops-hooks");
        std::fs::create_dir(program.parent().unwrap()).unwrap();
        context.write(".gitops-hooks.yaml", CONFIG);
        context.git(&["init", "-q", "--bare", context.beside("remote.git").to_str().unwrap()]);
        context.git(&["remote", "add", "origin", context.beside("remote.git").to_str().unwrap()]);
        Self { context, program }
    }

    fn becomes(&self, version: &Path) {
        let _ = std::fs::remove_file(&self.program);
        std::fs::copy(version, &self.program).unwrap();
    }

    fn install(&self) {
        let done = TestContext::run(self.context.command(&self.program).args(["install", "--yes"]));
        assert_eq!(done.code, Some(0), "{done:?}");
    }

    fn git(&self, args: &[&str]) -> Done {
        TestContext::run(self.context.command("git").args(args).env("RUNS", self.context.beside("runs")))
    }

    fn runs(&self) -> usize {
        std::fs::read_to_string(self.context.beside("runs")).unwrap_or_default().lines().count()
    }

    /// A bad commit is stopped and a good one passes, with an edit beside it that is not staged, and is pushed.
    fn works(&self, what: &str) {
        self.context.write("a.txt", &format!("BAD {what}\n"));
        self.context.git(&["add", "-A"]);
        let done = self.git(&["commit", "-qm", "bad"]);
        assert_ne!(done.code, Some(0), "{what}: {done:?}");
        self.context.write("a.txt", &format!("good {what}\n"));
        self.context.git(&["add", "-A"]);
        self.context.write("a.txt", &format!("BAD again {what}\n"));
        let done = self.git(&["commit", "-qm", "good"]);
        assert_eq!(done.code, Some(0), "{what}: {done:?}");
        assert_eq!(self.context.read("a.txt"), format!("BAD again {what}\n"));
        self.context.git(&["checkout", "-q", "a.txt"]);
        let before = self.runs();
        let done = self.git(&["push", "-q", "origin", "main"]);
        assert_eq!(done.code, Some(0), "{what}: {done:?}");
        assert_eq!(self.runs(), before, "{what}: what has passed is not run again");
    }
}

#[test]
fn a_clone_goes_to_another_version_and_back_with_all_that_it_holds() {
    let Some(older) = std::env::var_os("GITOPS_HOOKS_TEST_OLDER").map(PathBuf::from) else {
        eprintln!("left out: there is no older version here; `tests/older` builds one");
        return;
    };
    let newer = assert_cmd::cargo::cargo_bin!("gitops-hooks");
    let clone = Clone::new();
    clone.becomes(&older);
    clone.install();
    clone.works("the older version");
    clone.becomes(newer);
    clone.works("the newer program under the older version's hooks");
    clone.install();
    clone.works("the newer version");
    clone.becomes(&older);
    clone.works("the older program under the newer version's hooks");
    clone.install();
    clone.works("the older version again");
    clone.becomes(newer);
    let done = TestContext::run(clone.context.command(&clone.program).args(["uninstall"]));
    assert_eq!(done.code, Some(0), "{done:?}");
    let hooks = std::fs::read_dir(clone.context.work.join(".git/hooks")).unwrap();
    let left: Vec<_> = hooks
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| !name.to_string_lossy().ends_with(".sample"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
