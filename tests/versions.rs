//! An upgrade and a way back: what one version of the program leaves is met by the other: hooks, records and scratch trees in a
//! clone, the state beside the manifests, the inventory and the report in a cluster. Needs an older version (`tests/older`),
//! whose path is in `GITOPS_HOOKS_TEST_OLDER`; without one there is nothing to test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "sync/bed.rs"]
#[allow(dead_code, reason = "each test file uses a part of this")]
mod cluster;
mod context;
#[path = "gate/bed.rs"]
#[allow(dead_code, reason = "each test file uses a part of this")]
mod delivery;
#[path = "context/testbed.rs"]
mod testbed;

use context::{Done, TestContext};
use k8s_openapi::api::core::v1::ConfigMap;
use std::path::{Path, PathBuf};

const CONFIG: &str = "hooks:\n  pre-commit:\n    - {name: words, run: 'echo ran >>\"$RUNS\"; ! grep -rn BAD --include=*.txt .', inputs: [\"*.txt\"]}\n  pre-push:\n    - {name: words, run: 'echo ran >>\"$RUNS\"; ! grep -rn BAD --include=*.txt .', inputs: [\"*.txt\"]}\n";

fn older() -> Option<PathBuf> {
    let older = std::env::var_os("GITOPS_HOOKS_TEST_OLDER").map(PathBuf::from);
    if older.is_none() {
        eprintln!("left out: there is no older version here; `tests/older` builds one");
    }
    older
}

fn newer() -> &'static Path {
    assert_cmd::cargo::cargo_bin!("gitops-hooks")
}

fn replace(program: &Path, version: &Path) {
    let _ = std::fs::remove_file(program);
    std::fs::copy(version, program).unwrap();
}

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
        replace(&self.program, version);
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
    let Some(older) = older() else { return };
    let newer = newer();
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

#[test]
fn an_environment_is_delivered_to_by_one_version_and_the_other_in_turn() {
    let Some(older) = older() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("gitops-hooks");
    replace(&program, &older);
    let Some(bed) = delivery::bed(&program) else { return };
    let context = &bed.context;
    let push = |text: &str| {
        context.write("v", text);
        context.git(&["commit", "-q", "-a", "-m", text]);
        delivery::push(context)
    };
    let hooks = |args: &[&str]| TestContext::run(context.command(&program).args(args));
    for (version, text) in [(newer(), "by the newer\n"), (&older, "by the older\n"), (newer(), "by the newer again\n")]
    {
        replace(&program, version);
        let before = bed.deliveries();
        let done = push(text);
        assert!(done.code == Some(0) && bed.deliveries() == before + 1, "{text}: {done:?}");
    }
    let done = hooks(&["hold", "staging", "a", "freeze"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    // A word that it does not know is a reason to stop, not to deliver.
    replace(&program, &older);
    let before = bed.deliveries();
    push("while it is held\n");
    let done = hooks(&["deliver"]);
    assert!(done.code != Some(0) && done.stderr.contains("state.yaml"), "{done:?}");
    assert_eq!(bed.deliveries(), before);
    replace(&program, newer());
    let done = hooks(&["release", "staging"]);
    assert!(done.code == Some(0) && bed.deliveries() == before + 1, "{done:?}");
}

#[test]
fn a_newer_version_takes_an_inventory_over_and_an_older_one_refuses_what_it_does_not_know() {
    let Some(older) = older() else { return };
    let Some(mut bed) = cluster::Bed::new("versions") else { return };
    let uid = |bed: &cluster::Bed| {
        let map = bed.runtime.block_on(bed.api::<ConfigMap>().get("kept")).unwrap();
        map.metadata.uid.unwrap()
    };
    let mut kept = None;
    for (turn, version) in [&older, newer(), &older, newer()].into_iter().enumerate() {
        bed.program = version.to_owned();
        let (name, value) = (format!("turn-{turn}"), turn.to_string());
        let files = [
            ("kept.yaml", cluster::map("kept", "the same")),
            ("changed.yaml", cluster::map("changed", &value)),
            ("passing.yaml", cluster::map(&name, &value)),
        ];
        let commit = bed.commit(&files.each_ref().map(|(path, text)| (*path, text.as_str())));
        if turn == 2 {
            // It knows that it does not know this inventory: nothing is lost, and whoever went back is told the way out.
            let output = bed.sync();
            let said = cluster::text(&output.stderr);
            assert!(
                !output.status.success() && said.contains("if a newer gitops-hooks wrote it, use that one"),
                "{said}"
            );
            assert!(bed.maps().contains(&"turn-1".to_owned()));
            continue;
        }
        bed.synced();
        let mut maps = bed.maps();
        maps.sort();
        assert_eq!(maps, ["changed", "kept", &name], "what was made before is pruned");
        assert_eq!(bed.value("changed"), Some(value));
        assert_eq!(*kept.get_or_insert_with(|| uid(&bed)), uid(&bed), "nothing is made anew");
        let report = bed.report();
        assert_eq!(report["manifest_commit"], commit.as_str());
        assert_eq!(report["phase"], "healthy");
    }
}
