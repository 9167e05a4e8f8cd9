//! What goes wrong on a user's machine, told by the binary: one clear message with the next step, the right exit code, and
//! nothing half-done. What needs a real engine, registry, git server or cluster is in the rooms' own tests.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod context;
#[path = "context/testbed.rs"]
mod testbed;

use context::{Done, TestContext};

/// A repository whose upstream has a commit, with an environment `staging` at `manifests`.
fn delivering(manifests: &str) -> TestContext {
    let context = TestContext::new();
    let remote = context.beside("remote.git");
    context.git(&["init", "-q", "--bare", remote.to_str().unwrap()]);
    context.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
    context.write("Dockerfile", "FROM scratch\n");
    context.write(
        ".gitops-hooks.yaml",
        &format!(
            "hooks:\n  pre-push:\n    - image: web\nimages:\n  web: {{ repository: registry.example.com/web }}\nenvironments:\n  staging:\n    branch: main\n    manifests: {{ url: \"{manifests}\", path: staging }}\n    images: [web]\n"
        ),
    );
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "Start"]);
    context.git(&["push", "-q", "-u", "origin", "main"]);
    context.must(&["install", "--yes"]);
    context
}

/// A message of one error, with its next step.
fn says(done: &Done, code: i32, parts: &[&str]) {
    assert_eq!(done.code, Some(code), "{done:?}");
    assert_eq!(done.stderr.matches("error:").count(), 1, "{}", done.stderr);
    for part in parts.iter().chain(&["next:"]) {
        assert!(done.stderr.contains(part), "{part:?} in {}", done.stderr);
    }
}

/// A delivery that waits, told once with its next step.
fn waits(done: &Done, code: i32, parts: &[&str]) {
    assert_eq!(done.code, Some(code), "{done:?}");
    assert!(!done.stderr.contains("error:"), "{}", done.stderr);
    for part in parts.iter().chain(&["✗ deliver staging", "it waits: ", "\n  next: "]) {
        assert_eq!(done.stderr.matches(part).count(), 1, "{part:?} in {}", done.stderr);
    }
}

#[test]
fn a_test_that_hangs_is_stopped_and_the_commit_with_it() {
    let context = TestContext::new();
    context.write(
        ".gitops-hooks.yaml",
        "hooks:\n  pre-commit:\n    - name: hangs\n      run: sleep 600\n      timeout: 1s\n",
    );
    context.must(&["install", "--yes"]);
    context.git(&["add", "."]);
    let done = context.try_git(&["commit", "-m", "x"]);
    says(&done, 1, &["✗ hangs", "time limit"]);
    assert_ne!(context.try_git(&["rev-parse", "--verify", "-q", "HEAD"]).code, Some(0));
}

#[test]
fn without_an_engine_the_message_lists_where_it_was_looked_for() {
    let context = delivering("https://git.invalid/m.git");
    let mut command = context.command(assert_cmd::cargo::cargo_bin!("gitops-hooks"));
    let done = TestContext::run(command.args(["run", "pre-push"]).env("DOCKER_HOST", "unix:///nowhere/docker.sock"));
    says(&done, 3, &["✗ web", "/nowhere/docker.sock"]);
}

#[test]
fn an_unreachable_manifest_repository_leaves_a_note_and_says_so() {
    let nowhere = tempfile::tempdir().unwrap();
    let context = delivering(&format!("{}/nothing.git", nowhere.path().display()));
    let done = context.hooks(&["deliver"]);
    waits(&done, 3, &["nothing.git' does not appear to be a git repository"]);
    let note = context.read(".git/gitops-hooks/outbox/staging.json");
    assert!(note.contains("nothing.git"), "{note}");
}

#[test]
fn an_image_that_stands_nowhere_in_the_manifests_is_told_before_anything_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().join("manifests.git");
    let context = delivering(manifests.to_str().unwrap());
    context.git(&["init", "-q", "--bare", "-b", "main", manifests.to_str().unwrap()]);
    let clone = context.beside("manifests");
    context.git(&["clone", "-q", manifests.to_str().unwrap(), clone.to_str().unwrap()]);
    std::fs::create_dir(clone.join("staging")).unwrap();
    std::fs::write(clone.join("staging/app.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: web }\n")
        .unwrap();
    for args in [&["add", "."][..], &["commit", "-qm", "x"], &["push", "-q", "origin", "HEAD:main"]] {
        assert_eq!(TestContext::run(context.command("git").args(args).current_dir(&clone)).code, Some(0));
    }
    let done = context.hooks(&["deliver"]);
    waits(&done, 2, &["names registry.example.com/web"]);
}

#[test]
fn without_a_cluster_nothing_is_installed_and_the_message_says_what_to_do() {
    let context = delivering("https://git.invalid/m.git");
    let mut command = context.command(assert_cmd::cargo::cargo_bin!("gitops-hooks"));
    let done = TestContext::run(
        command
            .args(["cluster", "install", "staging", "--image", "registry.example.com/gitops-hooks:1"])
            .env("KUBECONFIG", context.beside("no-kubeconfig")),
    );
    says(&done, 3, &["cluster"]);
}

#[test]
fn a_namespace_that_does_not_exist_is_named_with_the_command_that_makes_it() {
    let Some(kubeconfig) = testbed::value("KUBECONFIG") else { return };
    let context = delivering("https://git.invalid/m.git");
    let text = context.read(".gitops-hooks.yaml") + "    namespace: no-such-namespace\n";
    context.write(".gitops-hooks.yaml", &text);
    let key = context.beside("key");
    std::fs::write(&key, "").unwrap();
    let mut command = context.command(assert_cmd::cargo::cargo_bin!("gitops-hooks"));
    command.args(["cluster", "install", "staging", "--image", "registry.example.com/gitops-hooks:1"]);
    let done = TestContext::run(command.env("KUBECONFIG", kubeconfig));
    says(&done, 3, &["no-such-namespace", "kubectl create namespace no-such-namespace"]);
}

#[test]
fn after_a_mere_fetch_status_says_that_a_delivery_waits_and_does_not_follow_for_ever() {
    let nowhere = tempfile::tempdir().unwrap();
    let context = delivering(&format!("{}/nothing.git", nowhere.path().display()));
    let other = context.beside("other");
    let remote = context.beside("remote.git");
    context.git(&["clone", "-q", "-b", "main", remote.to_str().unwrap(), other.to_str().unwrap()]);
    for args in [&["commit", "-q", "--allow-empty", "-m", "theirs"][..], &["push", "-q", "origin", "main"]] {
        assert_eq!(TestContext::run(context.command("git").args(args).current_dir(&other)).code, Some(0));
    }
    context.git(&["fetch", "-q"]);
    let mut command = context.command(assert_cmd::cargo::cargo_bin!("gitops-hooks"));
    command.args(["status", "--follow"]).env("KUBECONFIG", context.beside("no-kubeconfig"));
    says(&TestContext::run(&mut command), 1, &["the upstream has moved"]);
}
