//! From a source's commit to objects that run: an overlay is edited, rendered and delivered, the sync applies what was rendered
//! and nothing beside it, and before the next delivery the cluster says what it would refuse and delete. With the test bed's
//! registry, git server and cluster.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "sync/bed.rs"]
#[allow(dead_code, reason = "each test file uses a part of this")]
mod bed;
mod context;
#[path = "crowd/registry.rs"]
mod registry;
#[path = "context/testbed.rs"]
mod testbed;

use bed::{Bed, git, variable};
use context::{Done, TestContext};
use k8s_openapi::api::{batch::v1::CronJob, core::v1::Service};
use kube::Api;
use std::{fs, path::PathBuf, process::Command};

const OVERLAY: &str = "# Written by hand.\nresources: [../base]\nnamePrefix: staging-\n\nimages:\n  - name: web   # as the base calls it\n    newName: IMAGE\n    newTag: \"16\"\n";
/// It never starts a pod, and is healthy as it stands.
const BASE: &str = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: web}\nspec:\n  schedule: '0 0 1 1 *'\n  suspend: true\n  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: web, image: web}]}}}}\n";
const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: greeting}\ndata: {key: hello}\n";
const BAD: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 99999}]}\n";

/// A clone of a source whose environment is the sync's.
struct Story {
    bed: Bed,
    context: TestContext,
    image: String,
}

impl Story {
    fn new() -> Option<Self> {
        let registry = testbed::value("GITOPS_HOOKS_TEST_REGISTRY")?;
        let bed = Bed::new("delivered")?;
        let kustomize = kustomize()?;
        let context = TestContext::new();
        let image = format!("{registry}/{}/web", bed.name);
        let url = format!("{}{}.git", variable("GIT_SSH")?, bed.name);
        let environment = serde_json::json!({
            "branch": "main", "namespace": bed.name, "images": ["web"],
            "manifests": { "url": url, "path": "staging", "render": true },
        });
        let config = serde_json::json!({
            "images": { "web": { "repository": image, "plain_http": true } },
            "environments": { (bed.name.clone()): environment },
        });
        context.write(".gitops-hooks.yaml", &config.to_string());
        context.write("Dockerfile", "FROM scratch\n");
        let remote = context.beside("source.git");
        context.git(&["init", "-q", "--bare", "-b", "main", remote.to_str().unwrap()]);
        context.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
        let ssh = format!(
            "ssh -F none -i {} -o IdentitiesOnly=yes -o UserKnownHostsFile={}",
            variable("SSH_KEY")?,
            variable("KNOWN_HOSTS")?
        );
        for (key, value) in [("user.name", "Ada"), ("user.email", "ada@example.com"), ("core.sshCommand", ssh.as_str())]
        {
            context.git(&["config", key, value]);
        }
        context.git(&["config", "gitops-hooks.confirmed", &format!("deliveries are pushed to: {url}")]);
        let pushed = format!("images are pushed to: {registry} without TLS");
        context.git(&["config", "--add", "gitops-hooks.confirmed", &pushed]);
        let links = context.beside("programs");
        fs::create_dir(&links).unwrap();
        std::os::unix::fs::symlink(kustomize, links.join("kustomize")).unwrap();
        Some(Self { bed, context, image })
    }

    /// Writes manifests by hand on top of what was delivered, and pushes.
    fn write(&self, files: &[(&str, &str)]) {
        let (work, bare) = (self.bed.work(), self.bed.bare.to_str().unwrap());
        if Command::new("git").args(["-C", bare, "rev-parse", "-q", "--verify", "main"]).status().unwrap().success() {
            git(&work, &["pull", "-q", bare, "main"]);
        }
        for (path, text) in files {
            let path = work.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        git(&work, &["add", "-A"]);
        git(&work, &["commit", "-q", "-m", "By hand"]);
        git(&work, &["push", "-q", bare, "main"]);
    }

    /// A commit of the source on its upstream, with its image in the registry.
    fn built(&self, subject: &str) -> String {
        let context = &self.context;
        context.git(&["add", "."]);
        context.git(&["commit", "-q", "--allow-empty", "-m", subject]);
        context.git(&["push", "-q", "-u", "origin", "main"]);
        let tip = context.git(&["rev-parse", "HEAD"]).trim().to_owned();
        let registry = variable("REGISTRY").unwrap();
        let name = self.image.split_once('/').unwrap().1;
        let digest = registry::publish(&registry, name, &format!("git-{tip}"), subject);
        format!("{}:git-{tip}@{digest}", self.image)
    }

    /// The program, with kustomize on its `PATH`.
    fn hooks(&self, args: &[&str]) -> Done {
        let mut command = self.context.command(assert_cmd::cargo::cargo_bin!("gitops-hooks"));
        let path = format!("{}:{}", self.context.beside("programs").display(), std::env::var("PATH").unwrap());
        TestContext::run(command.args(args).env("PATH", path))
    }

    /// The image that the cluster was told to run.
    fn runs(&self, job: &str) -> Option<String> {
        let api: Api<CronJob> = Api::namespaced(self.bed.client.clone(), &self.bed.name);
        let found = self.bed.runtime.block_on(api.get_opt(job)).unwrap()?;
        found.spec.job_template.spec?.template.spec?.containers.remove(0).image
    }

    fn manifest(&self, path: &str) -> String {
        git(&self.bed.bare, &["show", &format!("main:{path}")])
    }
}

/// The program, installed once into the user's cache folder with Go; `None`, with a word, where it cannot be had.
fn kustomize() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let folder = cache.join("gitops-hooks/bench/bin");
    let program = folder.join("kustomize");
    let module = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.1";
    let mut install = Command::new("go");
    install.args(["install", module]).env("GOBIN", &folder);
    if program.exists() || install.status().is_ok_and(|status| status.success()) {
        return Some(program);
    }
    testbed::skipped("kustomize is missing, and Go could not install it");
    None
}

#[test]
fn an_overlay_is_rendered_on_the_laptop_and_runs_in_the_cluster_as_it_was_rendered() {
    let Some(story) = Story::new() else { return };
    story.write(&[
        ("base/kustomization.yaml", "resources: [job.yaml, map.yaml]\n"),
        ("base/job.yaml", BASE),
        ("base/map.yaml", MAP),
        ("staging/kustomization.yaml", &OVERLAY.replace("IMAGE", &story.image)),
    ]);
    let first = story.built("one");
    let done = story.hooks(&["deliver"]);
    assert!(done.code == Some(0) && done.stderr.contains("is delivered by"), "{}", done.stderr);
    assert!(story.manifest("staging/.gitops-hooks/rendered.yaml").contains(&first));
    story.bed.synced();
    assert_eq!(story.runs("staging-web").as_deref(), Some(first.as_str()));
    assert_eq!(story.runs("web"), None, "the base alone is nothing that runs");
    assert_eq!(story.bed.value("staging-greeting").as_deref(), Some("hello"));
    let report = story.bed.report();
    assert_eq!((report["phase"].as_str(), report["refused"].as_array().map(Vec::len)), (Some("healthy"), Some(0)));
    assert_eq!(story.hooks(&["deliver"]).stderr.matches("it runs this already").count(), 1);

    // Before the next one the cluster is asked: what it would refuse, and what would be deleted.
    story.write(&[("base/kustomization.yaml", "resources: [job.yaml, bad.yaml]\n"), ("base/bad.yaml", BAD)]);
    let second = story.built("two");
    let before = git(&story.bed.bare, &["rev-parse", "main"]);
    for args in [&["deliver", "--dry-run"][..], &["diff", &story.bed.name]] {
        let done = story.hooks(args);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(done.stdout.contains(&format!("+    newTag: \"{}\"", tag(&second))), "{}", done.stdout);
        warned(&story, &done);
    }
    assert_eq!(git(&story.bed.bare, &["rev-parse", "main"]), before, "nothing is pushed by looking");
    assert_eq!(story.runs("staging-web").as_deref(), Some(first.as_str()), "nothing is changed by asking");
    let done = story.hooks(&["deliver"]);
    assert_eq!(done.code, Some(0), "a warning, no veto: {}", done.stderr);
    warned(&story, &done);

    // What was foretold is what comes.
    assert!(!story.bed.sync().status.success());
    assert_eq!(story.runs("staging-web").as_deref(), Some(second.as_str()));
    let services: Api<Service> = Api::namespaced(story.bed.client.clone(), &story.bed.name);
    assert!(story.bed.runtime.block_on(services.get_opt("staging-bad")).unwrap().is_none());
    story.write(&[("base/kustomization.yaml", "resources: [job.yaml]\n")]);
    story.built("three");
    assert_eq!(story.hooks(&["deliver"]).code, Some(0));
    story.bed.synced();
    assert_eq!(story.bed.value("staging-greeting"), None);
}

fn tag(reference: &str) -> &str {
    reference.split_once('@').unwrap().0.rsplit_once(':').unwrap().1
}

fn warned(story: &Story, done: &Done) {
    let name = &story.bed.name;
    assert!(
        done.stderr.contains(&format!("warning: {name} will not take staging/.gitops-hooks/rendered.yaml:"))
            && done.stderr.contains("Service")
            && done.stderr.contains("99999"),
        "{}",
        done.stderr
    );
    assert!(
        done.stderr.contains("staging-greeting") && done.stderr.contains("which no manifest names any more"),
        "{}",
        done.stderr
    );
}
