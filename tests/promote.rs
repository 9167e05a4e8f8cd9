//! Promotion of what runs healthy, and what a cluster says before a push. With a real cluster and git server: the sync runs
//! once, as a `CronJob` would run it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod context;
#[path = "context/testbed.rs"]
mod testbed;

use context::{Done, TestContext};
use gitops_hooks::deliver::State;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

const IMAGE: &str = "registry.example.com/team/web";

/// Two environments in namespaces of their own, their manifests, and a clone.
struct Bed {
    context: TestContext,
    name: String,
    bare: PathBuf,
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Bed {
    fn new() -> Option<Self> {
        testbed::value("KUBECONFIG")?;
        let mut values = Vec::new();
        for name in ["GIT_ROOT", "GIT_SSH", "SSH_KEY", "KNOWN_HOSTS"] {
            values.push(testbed::value(&format!("GITOPS_HOOKS_TEST_{name}"))?);
        }
        let [root, ssh, key, hosts] = <[String; 4]>::try_from(values).unwrap();
        let name = format!("deliver-{}", std::process::id());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(gitops_hooks::cluster::connect(None)).unwrap();
        let context = TestContext::new();
        let bed = Self { context, bare: Path::new(&root).join(format!("{name}.git")), name, runtime, client };
        let namespaces: Api<Namespace> = Api::all(bed.client.clone());
        for namespace in [bed.environment("a"), bed.environment("b"), "gitops-hooks-system".to_owned()] {
            let object = serde_json::from_value(json!({ "metadata": { "name": namespace } })).unwrap();
            match bed.runtime.block_on(namespaces.create(&PostParams::default(), &object)) {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                other => drop(other.unwrap()),
            }
        }
        let context = &bed.context;
        let url = format!("{ssh}{}.git", bed.name);
        let environment = |end: &str, origin: serde_json::Value| {
            let mut value = json!({ "manifests": { "url": url, "path": end }, "images": ["web"], "namespace": bed.environment(end) });
            value.as_object_mut().unwrap().extend(origin.as_object().unwrap().clone());
            (bed.environment(end), value)
        };
        let environments: serde_json::Map<_, _> = [
            environment("a", json!({ "branch": "main" })),
            environment("b", json!({ "promote": bed.environment("a") })),
        ]
        .into_iter()
        .collect();
        let config = json!({ "images": { "web": { "repository": IMAGE } }, "environments": environments });
        context.write(".gitops-hooks.yaml", &config.to_string());
        for (key, value) in [
            ("user.name", "Ada"),
            ("user.email", "ada@example.com"),
            ("core.sshCommand", &format!("ssh -F none -i {key} -o IdentitiesOnly=yes -o UserKnownHostsFile={hosts}")),
            ("gitops-hooks.confirmed", &format!("deliveries are pushed to: {url}")),
        ] {
            context.git(&["config", key, value]);
        }
        context.git(&["config", "--add", "gitops-hooks.confirmed", "images are pushed to: registry.example.com"]);
        context.git(&["init", "-q", "--bare", "-b", "main", bed.bare.to_str().unwrap()]);
        let remote = context.beside("source.git");
        context.git(&["init", "-q", "--bare", "-b", "main", remote.to_str().unwrap()]);
        context.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
        context.git(&["init", "-q", "-b", "main", context.beside("manifests").to_str().unwrap()]);
        let credentials = context.beside("credentials");
        fs::create_dir(&credentials).unwrap();
        fs::copy(std::env::var("GITOPS_HOOKS_TEST_DEPLOY_KEY").unwrap(), credentials.join("identity")).unwrap();
        fs::copy(&hosts, credentials.join("known_hosts")).unwrap();
        for end in ["a", "b"] {
            let name = bed.environment(end);
            let text = format!(
                "environment: {name}\nnamespace: {name}\nurl: {url}\nbranch: main\npath: {end}\npatience: 60s\ncredentials: {}\ndata: {}\n",
                credentials.display(),
                context.beside(&format!("data-{end}")).display()
            );
            fs::write(context.beside(&format!("sync-{end}.yaml")), text).unwrap();
        }
        Some(bed)
    }

    fn environment(&self, end: &str) -> String {
        format!("{}-{end}", self.name)
    }

    /// Writes manifests by hand, and pushes.
    fn write(&self, files: &[(&str, &str)]) {
        let work = self.context.beside("manifests");
        let git = |args: &[&str]| self.context.git(&[&["-C", work.to_str().unwrap()], args].concat());
        let _ =
            self.context.try_git(&["-C", work.to_str().unwrap(), "pull", "-q", self.bare.to_str().unwrap(), "main"]);
        for (path, text) in files {
            let path = work.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if text.is_empty() { fs::remove_file(path).unwrap() } else { fs::write(path, text).unwrap() }
        }
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", "By hand"]);
        git(&["push", "-q", self.bare.to_str().unwrap(), "main"]);
    }

    /// A source commit, and its reference written as a delivery to the first environment writes it.
    fn deliver(&self, subject: &str) -> String {
        self.context.git(&["add", "."]);
        self.context.git(&["commit", "-q", "--allow-empty", "-m", subject]);
        self.context.git(&["push", "-q", "-u", "origin", "main"]);
        let tip = self.context.git(&["rev-parse", "HEAD"]).trim().to_owned();
        let reference = reference(&tip);
        let state =
            format!("version: 1\nbranch: main\nimages:\n  web:\n    source: \"{tip}\"\n    reference: {reference}\n");
        self.write(&[("a/job.yaml", &job(&reference)), ("a/.gitops-hooks/state.yaml", &state)]);
        tip
    }

    fn sync(&self, end: &str) -> Done {
        let config = self.context.beside(&format!("sync-{end}.yaml"));
        self.context.hooks(&["sync", "--once", "--config", config.to_str().unwrap()])
    }

    fn promote(&self) -> Done {
        self.context.hooks(&["promote", &self.environment("b")])
    }

    fn manifest(&self, path: &str) -> String {
        self.context.git(&["-C", self.bare.to_str().unwrap(), "show", &format!("main:{path}")])
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        for end in ["a", "b"] {
            let _ = self.runtime.block_on(namespaces.delete(&self.environment(end), &DeleteParams::background()));
            let maps: Api<k8s_openapi::api::core::v1::ConfigMap> =
                Api::namespaced(self.client.clone(), "gitops-hooks-system");
            for kind in ["report", "inventory"] {
                let name = format!("gitops-hooks-{kind}-{}", self.environment(end));
                let _ = self.runtime.block_on(maps.delete(&name, &DeleteParams::default()));
            }
        }
        let _ = fs::remove_dir_all(&self.bare);
    }
}

fn reference(tip: &str) -> String {
    format!("{IMAGE}:git-{tip}@sha256:{tip:0<64}")
}

/// It never starts a pod, and is healthy as it stands.
fn job(image: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: web}}\nspec:\n  schedule: '0 0 1 1 *'\n  suspend: true\n  jobTemplate: {{spec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: web, image: \"{image}\"}}]}}}}}}}}\n"
    )
}

#[test]
fn what_runs_healthy_is_promoted_and_the_cluster_is_asked_before() {
    let Some(bed) = Bed::new() else { return };
    bed.write(&[
        ("b/job.yaml", &job(&format!("{IMAGE}:0"))),
        ("b/extra.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\n"),
    ]);
    let first = bed.deliver("one");
    let done = bed.promote();
    assert!(done.code == Some(3) && done.stderr.contains("no sync reports from this cluster"), "{}", done.stderr);
    assert_eq!(bed.sync("a").code, Some(0));
    let done = bed.promote();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(bed.manifest("b/job.yaml").contains(&reference(&first)));
    let state = State::parse("s", bed.manifest("b/.gitops-hooks/state.yaml").as_bytes()).unwrap();
    assert_eq!(state.images[&"web".parse().unwrap()].source.as_str(), first);
    assert!(!done.stderr.contains("warning"), "nothing runs there yet to be warned of: {}", done.stderr);
    assert_eq!(bed.sync("b").code, Some(0));

    // What was delivered and does not run yet is not promoted: what runs is.
    let second = bed.deliver("two");
    let done = bed.promote();
    assert!(done.code == Some(0) && done.stderr.contains("it runs this already"), "{}", done.stderr);
    bed.write(&[("a/broken.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'no name'}\n")]);
    assert_ne!(bed.sync("a").code, Some(0));
    let told = bed.context.must(&["history", &bed.environment("a")]);
    let tip = bed.context.git(&["-C", bed.bare.to_str().unwrap(), "rev-parse", "main"]);
    let newest = told.lines().nth(1).unwrap().trim_end();
    assert!(newest.ends_with(&format!("refused at {}", &tip[..9])), "not the delivery is to blame: {told}");
    let done = bed.promote();
    assert!(done.code == Some(1) && done.stderr.contains("is not healthy"), "{}", done.stderr);
    bed.write(&[("a/broken.yaml", "")]);
    assert_eq!(bed.sync("a").code, Some(0));

    // The server-side dry run of the other environment: what it refuses, and what it would delete.
    bed.write(&[
        ("b/extra.yaml", ""),
        ("b/bad.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 99999}]}\n"),
    ]);
    let done = bed.promote();
    assert_eq!(done.code, Some(0), "a warning, no veto: {}", done.stderr);
    assert!(
        done.stderr.contains("will not take b/bad.yaml:1: Service") && done.stderr.contains("99999"),
        "{}",
        done.stderr
    );
    assert!(bed.manifest("b/job.yaml").contains(&reference(&second)));
    bed.write(&[("b/bad.yaml", "")]);
    let third = bed.deliver("three");
    assert_eq!(bed.sync("a").code, Some(0));
    let done = bed.promote();
    assert!(done.code == Some(0) && done.stderr.contains("will delete ConfigMap"), "{}", done.stderr);
    assert!(bed.manifest("b/job.yaml").contains(&reference(&third)));
    assert_eq!(bed.sync("b").code, Some(0));
    let told = bed.context.must(&["history", &bed.environment("b")]);
    let newest = told.lines().nth(1).unwrap();
    assert!(
        newest.contains(&format!("promoted from {}", bed.environment("a"))) && newest.contains("healthy"),
        "{told}"
    );
}
