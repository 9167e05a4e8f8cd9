//! What may be published and delivered: only what passed everything, whoever put it on the branch and however. With a real
//! engine and registry.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "gate/bed.rs"]
mod bed;
mod context;
#[path = "context/documented.rs"]
mod documented;
#[path = "context/testbed.rs"]
mod testbed;

use bed::{Bed, push};
use context::TestContext;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// An application whose first commit is published and delivered.
fn bed() -> Option<Bed> {
    bed::bed(Path::new(env!("CARGO_BIN_EXE_gitops-hooks")))
}

#[test]
fn a_push_judges_what_was_merged_past_every_laptop() {
    let Some(bed) = bed() else { return };
    bed.merged_on_the_host("v", "broken\n");
    bed.context.write("README", "nothing that a step looks at\n");
    bed.context.git(&["add", "."]);
    bed.context.git(&["commit", "-q", "-m", "Say something"]);
    bed.context.git(&["pull", "-q", "--rebase"]);
    let done = push(&bed.context);
    assert!(done.code != Some(0) && done.stderr.contains("✗ test"), "{}", done.stderr);
    assert_eq!(bed.deliveries(), 1);
}

#[test]
fn a_merge_executes_nothing_that_was_only_fetched() {
    let Some(bed) = bed() else { return };
    let trace = bed.context.beside("executed");
    bed.merged_on_the_host("test.sh", &format!("pwd >{0}.new; mv {0}.new {0}\n", trace.display()));
    let context = &bed.context;
    context.git(&["fetch", "-q"]);
    context.git(&["switch", "-q", "-c", "side"]);
    context.git(&["commit", "-q", "--allow-empty", "-m", "Side"]);
    context.git(&["switch", "-q", "-c", "topic", "HEAD~1"]);
    context.git(&["merge", "-q", "--no-ff", "-m", "Merge side", "side"]);
    assert!(!trace.exists());
    assert_eq!(bed.deliveries(), 1);
    context.git(&["switch", "-q", "main"]);
    context.git(&["pull", "-q"]);
    // On a busy machine it goes on in the background.
    let until = Instant::now() + Duration::from_secs(60);
    while bed.deliveries() < 2 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(200));
    }
    let place = std::fs::read_to_string(&trace).expect("what the user pulled is judged and delivered");
    assert!(place.contains("gitops-hooks/scratch"), "beside what the user may be editing: {place}");
    assert_eq!(bed.deliveries(), 2);
}

#[test]
fn a_push_that_left_steps_out_publishes_and_delivers_nothing() {
    let Some(bed) = bed() else { return };
    let context = &bed.context;
    context.write("v", "broken\n");
    context.git(&["commit", "-q", "-a", "-m", "Break it"]);
    let mut push = context.command("git");
    let done = TestContext::run(push.args(["push", "origin", "main"]).env("GITOPS_HOOKS_SKIP", "test"));
    assert!(done.code == Some(0) && done.stderr.contains("nothing is published"), "{}", done.stderr);
    let done = context.hooks(&["deliver"]);
    assert!(done.code == Some(1) && done.stderr.contains("✗ test"), "{done:?}");
    assert_eq!(bed.deliveries(), 1);
}

#[test]
fn status_names_a_commit_that_no_hook_has_seen() {
    let Some(bed) = bed() else { return };
    let context = &bed.context;
    let says = || {
        let json: serde_json::Value = serde_json::from_str(&context.must(&["status", "--json"])).unwrap();
        documented::is_documented("status --json", &json);
        let said = context.must(&["status"]).contains("nobody here has judged or delivered");
        assert_eq!(said, !json["environments"][0]["unseen"].is_null());
        said
    };
    assert!(!says());
    context.write("v", "unseen\n");
    context.git(&["commit", "-q", "-a", "--no-verify", "-m", "Past every hook"]);
    context.git(&["push", "-q", "--no-verify", "origin", "main"]);
    assert!(says());
    context.must(&["deliver"]);
    assert_eq!((bed.deliveries(), says()), (2, false));
    // What changes no image is not called so: its push has judged it.
    context.write("other.md", "nothing that an image needs\n");
    context.write(".dockerignore", "*.md\n.dockerignore\n");
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "Say something"]);
    let done = push(context);
    assert_eq!((done.code, says()), (Some(0), false), "{done:?}");
}

#[test]
fn checks_that_failed_in_the_background_are_told_once_and_status_says_so() {
    let Some(bed) = bed() else { return };
    let context = &bed.context;
    bed.merged_on_the_host("v", "broken\n");
    let pulled = context.try_git(&["pull", "-q"]);
    // On a busy machine it goes on in the background.
    let until = Instant::now() + Duration::from_secs(60);
    let status = || context.hooks(&["status"]).stdout;
    while !status().contains("delivery waits") && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(200));
    }
    let log = context.read(".git/gitops-hooks/logs/deliver.log");
    let (_, last) = log.rsplit_once("✗ test").unwrap();
    assert_eq!(last.matches("it waits: 1 step failed: test\n  next: ").count(), 1, "{log}");
    assert!(!last.contains("error:"), "{log}");
    assert!(!pulled.stderr.contains("error:"), "{}", pulled.stderr);
    let said = status();
    let row = said.lines().find(|line| line.trim_start().starts_with("staging ")).unwrap();
    assert!(row.contains(" failed ") && row.contains("stuck"), "{said}");
    assert!(said.contains("`gitops-hooks deliver staging` runs its checks again and shows why"), "{said}");
    let json: serde_json::Value = serde_json::from_str(&context.must(&["status", "--json"])).unwrap();
    documented::is_documented("status --json", &json);
    assert_eq!(json["environments"][0]["checks"], "failed");
    // What comes after it is not called failed for that.
    context.write("v", "mended\n");
    context.git(&["commit", "-q", "-a", "-m", "Mend it"]);
    assert_eq!(push(context).code, Some(0));
    let until = Instant::now() + Duration::from_secs(60);
    while !status().contains("passed") && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(status().contains(" passed "), "{}", status());
}

#[test]
fn status_calls_nothing_passed_that_somebody_left_out() {
    let context = TestContext::new();
    for bare in ["remote.git", "manifests.git"] {
        context.git(&["init", "-q", "--bare", "-b", "main", context.beside(bare).to_str().unwrap()]);
    }
    let (remote, manifests) = (context.beside("remote.git"), context.beside("manifests.git"));
    context.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
    context.write("a.py", "");
    context.write("README.md", "");
    context.write(
        ".gitops-hooks.yaml",
        &format!("hooks:\n  pre-push:\n    - {{name: test, run: 'true {{files}}', files: ['*.py']}}\nenvironments:\n  staging:\n    branch: main\n    manifests: {{url: \"{}\", path: staging}}\n    images: []\n", manifests.display()),
    );
    context.write(".gitignore", "gitops-hooks.local.yaml\n");
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "Start"]);
    context.git(&["push", "-q", "-u", "origin", "main"]);
    context.must(&["install", "--yes"]);
    let checks = || {
        let json: serde_json::Value = serde_json::from_str(&context.must(&["status", "--json"])).unwrap();
        json["environments"][0]["checks"].as_str().unwrap().to_owned()
    };
    context.must(&["run", "pre-push", "--files", "README.md"]);
    assert_eq!(checks(), "unknown", "a choice of paths");
    context.write("gitops-hooks.local.yaml", "hooks:\n  pre-push:\n    - {name: test, skip: true}\n");
    context.must(&["run", "pre-push", "--all-files"]);
    assert_eq!(checks(), "unknown", "a layer of one's own");
    context.git(&["commit", "-q", "--allow-empty", "-m", "Push it"]);
    context.git(&["push", "-q"]);
    assert_eq!(checks(), "unknown", "a push with a layer of one's own");
    std::fs::remove_file(context.work.join("gitops-hooks.local.yaml")).unwrap();
    let mut left_out = context.command(env!("CARGO_BIN_EXE_gitops-hooks"));
    TestContext::run(left_out.args(["run", "pre-push", "--all-files"]).env("GITOPS_HOOKS_SKIP", "test"));
    assert_eq!(checks(), "unknown", "GITOPS_HOOKS_SKIP");
    context.must(&["run", "pre-push", "--all-files"]);
    assert_eq!(checks(), "passed");
}

#[test]
fn a_file_that_is_written_meanwhile_has_its_checks_run_again_and_no_image_built_again() {
    let Some(bed) = bed() else { return };
    let context = &bed.context;
    let once = context.beside("once");
    context.write("test.sh", &format!("test -e {0} || {{ : > {0}; touch v; }}; ! grep -q broken v\n", once.display()));
    context.write("v", "new\n");
    context.git(&["commit", "-q", "-a", "-m", "New"]);
    let done = push(context);
    assert!(done.code == Some(0) && done.stderr.contains("again in a scratch tree: v was written"), "{done:?}");
    let lines = |start: &str| done.stderr.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!((lines("✓ test"), lines("✓ web"), bed.deliveries()), (2, 1, 2), "{done:?}");
}

#[test]
fn of_two_work_trees_that_push_at_once_what_got_through_is_delivered() {
    let Some(bed) = bed() else { return };
    let context = &bed.context;
    let beside = context.beside("beside");
    context.git(&["worktree", "add", "-q", "-b", "topic", beside.to_str().unwrap()]);
    // The server lets each push in when it is told to.
    let gate = context.beside("gate");
    std::fs::create_dir(&gate).unwrap();
    let waits = format!(
        "#!/bin/sh\nread old new ref\n: > {0}/asked-$new\nfor try in $(seq 600); do test -e {0}/$new && exit; sleep 0.1; done\nexit 1\n",
        gate.display()
    );
    TestContext::script(&context.beside("remote.git/hooks/pre-receive"), &waits);
    let push = |folder: &Path, text: &str| {
        std::fs::write(folder.join("v"), text).unwrap();
        bed::in_folder(context, folder, &["commit", "-q", "-a", "-m", text]);
        let commit = bed::in_folder(context, folder, &["rev-parse", "HEAD"]).trim().to_owned();
        let mut command = context.command("git");
        let pushing = command.args(["push", "-q", "origin", "HEAD:main"]).current_dir(folder).spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while !gate.join(format!("asked-{commit}")).exists() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
        (commit, pushing)
    };
    let (first, mut pushing_first) = push(&context.work, "first\n");
    let (second, mut pushing_second) = push(&beside, "second\n");
    // Which delivers what is there, and moves nothing of either.
    context.must(&["deliver"]);
    std::fs::write(gate.join(&first), "").unwrap();
    assert!(pushing_first.wait().unwrap().success());
    std::fs::write(gate.join(&second), "").unwrap();
    assert!(!pushing_second.wait().unwrap().success(), "somebody else was faster");
    let until = Instant::now() + Duration::from_secs(60);
    while bed.deliveries() < 2 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(200));
    }
    let state = bed::in_folder(context, &bed.manifests, &["show", "main:staging/.gitops-hooks/state.yaml"]);
    assert!(state.contains(&first), "{state}");
}

#[test]
fn where_code_and_manifests_share_a_branch_a_pull_that_merges_leaves_the_next_push_delivered() {
    let Some(bed) = bed() else { return };
    let context = &bed.context;
    let remote = context.beside("remote.git");
    let hand = context.beside("hand");
    std::fs::create_dir(context.work.join("staging")).unwrap();
    std::fs::copy(hand.join("staging/pod.yaml"), context.work.join("staging/pod.yaml")).unwrap();
    let config = context.read(".gitops-hooks.yaml");
    let config = config.replace(&bed.manifests.display().to_string(), &remote.display().to_string());
    context.write(".gitops-hooks.yaml", &config);
    context.write(".dockerignore", "staging\n");
    context.must(&["install", "--yes"]);
    let commit = |text: &str| {
        context.write("v", text);
        context.git(&["add", "."]);
        context.git(&["commit", "-q", "-m", text]);
        context.git(&["rev-parse", "HEAD"]).trim().to_owned()
    };
    let is_delivered = |commit: &str| {
        let done = push(context);
        let until = Instant::now() + Duration::from_secs(60);
        let state = || {
            let args = ["show", "main:staging/.gitops-hooks/state.yaml"];
            TestContext::run(context.command("git").args(args).current_dir(&remote)).stdout
        };
        while !state().contains(commit) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(200));
        }
        assert!(done.code == Some(0) && state().contains(commit), "{done:?}");
    };
    is_delivered(&commit("ten\n"));
    let next = commit("eleven\n");
    context.git(&["pull", "-q", "--no-rebase", "--no-edit"]);
    is_delivered(&next);
    let status = context.must(&["status"]);
    assert!(!status.contains("stuck") && !status.contains("on its way"), "{status}");
}
