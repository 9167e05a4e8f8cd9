//! The sync against a real Kubernetes and a real git server, run as users run it: `gitops-hooks sync --once`, a repository, a
//! namespace for each test. Without the test bed every test says so and passes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "context/testbed.rs"]
mod testbed;

use assert_cmd::cargo::CommandCargoExt;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value as Json, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A namespace, a repository with its work tree, and the settings that join them; gone when it is dropped.
struct Bed {
    name: String,
    client: Client,
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    bare: PathBuf,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(format!("GITOPS_HOOKS_TEST_{name}")).ok().filter(|value| !value.is_empty())
}

impl Bed {
    fn new(name: &str) -> Option<Self> {
        let (Some(root), Ok(_)) = (variable("GIT_ROOT"), std::env::var("KUBECONFIG")) else {
            testbed::skipped("needs the test bed (make testbed)");
            return None;
        };
        let name = format!("sync-{name}-{}", std::process::id());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(gitops_hooks::cluster::connect(None)).unwrap();
        let bare = Path::new(&root).join(format!("{name}.git"));
        let folder = tempfile::tempdir().unwrap();
        let bed = Self { name, client, runtime, folder, bare };
        for namespace in [bed.name.as_str(), "gitops-hooks-system"] {
            let api: Api<Namespace> = Api::all(bed.client.clone());
            let object = serde_json::from_value(json!({ "metadata": { "name": namespace } })).unwrap();
            match bed.runtime.block_on(api.create(&PostParams::default(), &object)) {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                other => drop(other.unwrap()),
            }
        }
        git(folder_of(&bed), &["init", "-q", "--bare", "-b", "main", bed.bare.to_str().unwrap()]);
        git(folder_of(&bed), &["init", "-q", "-b", "main", "work"]);
        for (key, value) in [("user.name", "T"), ("user.email", "t@example.com")] {
            git(&bed.work(), &["config", key, value]);
        }
        fs::create_dir(bed.folder.path().join("credentials")).unwrap();
        for (name, from) in [("identity", "DEPLOY_KEY"), ("known_hosts", "KNOWN_HOSTS"), ("ca.crt", "CA")] {
            fs::copy(variable(from).unwrap(), bed.credential(name)).unwrap();
        }
        for (name, from) in [("username", "USER"), ("password", "PASSWORD")] {
            fs::write(bed.credential(name), variable(from).unwrap()).unwrap();
        }
        bed.settings(&format!("{}{}.git", variable("GIT_SSH").unwrap(), bed.name));
        Some(bed)
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn credential(&self, name: &str) -> PathBuf {
        self.folder.path().join("credentials").join(name)
    }

    fn settings(&self, url: &str) {
        let text = format!(
            "environment: {0}\nnamespace: {0}\nurl: {url}\nbranch: main\npath: staging\npatience: 60s\ncredentials: {1}/credentials\ndata: {1}/data\n",
            self.name,
            self.folder.path().display()
        );
        fs::write(self.folder.path().join("sync.yaml"), text).unwrap();
    }

    /// Commits these files as all that `staging` holds, and pushes.
    fn commit(&self, files: &[(&str, &str)]) -> String {
        let staging = self.work().join("staging");
        let _ = fs::remove_dir_all(&staging);
        fs::create_dir_all(&staging).unwrap();
        fs::write(staging.join("README.md"), "what runs\n").unwrap();
        for (path, text) in files {
            let file = staging.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        git(&self.work(), &["add", "-A"]);
        git(&self.work(), &["commit", "-q", "--allow-empty", "-m", "change"]);
        git(&self.work(), &["push", "-q", "--force", self.bare.to_str().unwrap(), "main"]);
        git(&self.work(), &["rev-parse", "HEAD"])
    }

    fn sync(&self) -> Output {
        let mut command = Command::cargo_bin("gitops-hooks").unwrap();
        command.args(["sync", "--once", "--config"]).arg(self.folder.path().join("sync.yaml"));
        command.output().unwrap()
    }

    /// A sync that must end well.
    fn synced(&self) -> Output {
        let output = self.sync();
        assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
        output
    }

    fn report(&self) -> Json {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), "gitops-hooks-system");
        let map = self.runtime.block_on(api.get(&format!("gitops-hooks-report-{}", self.name))).unwrap();
        serde_json::from_str(&map.data.unwrap()["report.json"]).unwrap()
    }

    fn deployment(&self, name: &str) -> Option<Deployment> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.name);
        self.runtime.block_on(api.get_opt(name)).unwrap()
    }

    /// The names of the config maps that are not the cluster's own.
    fn maps(&self) -> Vec<String> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.name);
        let list = self.runtime.block_on(api.list(&ListParams::default())).unwrap();
        let names = list.items.into_iter().filter_map(|map| map.metadata.name);
        names.filter(|name| name != "kube-root-ca.crt").collect()
    }

    /// What every object here and every object of the sync has for a version: no write leaves it alone.
    fn versions(&self) -> Vec<String> {
        let own: Api<ConfigMap> = Api::namespaced(self.client.clone(), "gitops-hooks-system");
        let here: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.name);
        let workloads: Api<Deployment> = Api::namespaced(self.client.clone(), &self.name);
        let events: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(self.client.clone(), &self.name);
        self.runtime.block_on(async {
            let all = ListParams::default();
            let mut found: Vec<_> = own.list(&all).await.unwrap().items.into_iter().map(|map| map.metadata).collect();
            found.retain(|metadata| metadata.name.as_ref().unwrap().ends_with(&self.name));
            found.extend(here.list(&all).await.unwrap().items.into_iter().map(|map| map.metadata));
            found.extend(workloads.list(&all).await.unwrap().items.into_iter().map(|workload| workload.metadata));
            let events = events.list(&all).await.unwrap().items.into_iter();
            found.extend(
                events.filter(|e| e.reporting_component.as_deref() == Some("gitops-hooks")).map(|event| event.metadata),
            );
            found.into_iter().map(|m| format!("{:?} {:?}", m.name, m.resource_version)).collect()
        })
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "gitops-hooks-system");
        self.runtime.block_on(async {
            let _ = namespaces.delete(&self.name, &DeleteParams::background()).await;
            for kind in ["report", "inventory"] {
                let _ = maps.delete(&format!("gitops-hooks-{kind}-{}", self.name), &DeleteParams::default()).await;
            }
        });
        let _ = fs::remove_dir_all(&self.bare);
    }
}

fn folder_of(bed: &Bed) -> &Path {
    bed.folder.path()
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").current_dir(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The two documents of the story: a Deployment and its Service.
fn app(replicas: u32) -> String {
    let image = variable("BASE_BUSYBOX").unwrap_or_default();
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: flask-app\n  labels: {{app: flask-app}}\nspec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: flask-app}}}}\n  template:\n    metadata: {{labels: {{app: flask-app}}}}\n    spec:\n      terminationGracePeriodSeconds: 1\n      containers:\n      - {{name: flask-app, image: '{image}', command: [sleep, '3600']}}\n---\napiVersion: v1\nkind: Service\nmetadata: {{name: flask-app}}\nspec:\n  selector: {{app: flask-app}}\n  ports: [{{port: 80, targetPort: 5000}}]\n"
    )
}

fn map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{key: '{value}'}}\n")
}

#[test]
fn two_documents_are_applied_changed_and_told_healthy_over_ssh_and_https() {
    let Some(bed) = Bed::new("story") else { return };
    let commit = bed.commit(&[("app.yaml", &app(1))]);
    bed.synced();
    let report = bed.report();
    assert_eq!((&report["phase"], &report["manifest_commit"]), (&json!("healthy"), &json!(commit)));
    assert_eq!(report["workloads"][0]["ready"], 1);

    bed.settings(&format!("{}{}.git", variable("GIT_HTTPS").unwrap(), bed.name));
    bed.commit(&[("app.yaml", &app(2))]);
    bed.synced();
    assert_eq!(bed.deployment("flask-app").unwrap().status.unwrap().available_replicas, Some(2));
}

#[test]
fn a_damaged_manifest_is_refused_by_field_and_changes_nothing() {
    let Some(bed) = Bed::new("damaged") else { return };
    bed.commit(&[("app.yaml", &app(1)), ("map.yaml", &map("settings", "1"))]);
    bed.synced();
    let before = bed.deployment("flask-app").unwrap().metadata.resource_version;
    bed.commit(&[("app.yaml", &app(1).replace("flask-app", "flask-app:16"))]);
    let output = bed.sync();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(said.contains("staging/app.yaml:1: Deployment flask-app:16: metadata.name: \"flask-app:16\""), "{said}");
    assert!(said.contains("metadata.labels.app: \"flask-app:16\" is no label value"), "{said}");
    assert!(said.contains("Service flask-app:16: metadata.name"), "{said}");
    // Neither the damaged objects came nor did anything go, though the map is no longer in the repository.
    assert_eq!(bed.deployment("flask-app").unwrap().metadata.resource_version, before);
    assert_eq!(bed.maps(), ["settings"]);
    assert_eq!(bed.report()["phase"], "failed");
}

#[test]
fn what_left_the_repository_is_pruned_and_an_empty_path_prunes_nothing() {
    let Some(bed) = Bed::new("prune") else { return };
    bed.commit(&[("a.yaml", &map("a", "1")), ("b.yaml", &map("b", "1"))]);
    bed.synced();
    assert_eq!(bed.maps(), ["a", "b"]);
    bed.commit(&[("moved/a.yaml", &map("a", "1"))]);
    bed.synced();
    assert_eq!(bed.maps(), ["a"]);
    bed.commit(&[]);
    bed.synced();
    assert_eq!(bed.maps(), ["a"]);
    let waiting = bed.report()["waiting"][0]["reason"].as_str().unwrap().to_owned();
    assert!(waiting.contains("holds no manifest any more"), "{waiting}");
    let approval = format!("ConfigMap {}/a\n", bed.name);
    bed.commit(&[(".gitops-hooks/approve-prune", &approval)]);
    bed.synced();
    assert!(bed.maps().is_empty());
}

#[test]
fn an_unchanged_pass_writes_nothing_and_drift_is_put_back() {
    let Some(bed) = Bed::new("idle") else { return };
    bed.commit(&[("app.yaml", &app(1)), ("map.yaml", &map("settings", "1"))]);
    bed.synced();
    let before = bed.versions();
    bed.synced();
    assert_eq!(bed.versions(), before);
    let api: Api<ConfigMap> = Api::namespaced(bed.client.clone(), &bed.name);
    let patch = kube::api::Patch::Merge(json!({ "data": { "key": "2" } }));
    bed.runtime.block_on(api.patch("settings", &kube::api::PatchParams::default(), &patch)).unwrap();
    let said = text(&bed.synced().stdout);
    assert!(said.contains("\"Corrected\""), "{said}");
    assert_eq!(bed.runtime.block_on(api.get("settings")).unwrap().data.unwrap()["key"], "1");
}

#[test]
fn one_bad_object_stops_no_other_and_a_foreign_one_is_left_alone() {
    let Some(bed) = Bed::new("refuse") else { return };
    let api: Api<ConfigMap> = Api::namespaced(bed.client.clone(), &bed.name);
    let theirs = serde_json::from_value(json!({ "metadata": { "name": "theirs" }, "data": { "key": "0" } })).unwrap();
    bed.runtime.block_on(api.create(&PostParams::default(), &theirs)).unwrap();
    let unknown = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: unknown}\ndatum: {a: b}\n";
    let elsewhere = map("elsewhere", "1").replace("name: elsewhere", "name: elsewhere, namespace: kube-system");
    bed.commit(&[
        ("a.yaml", &map("theirs", "1")),
        ("b.yaml", unknown),
        ("c.yaml", &elsewhere),
        ("d.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"),
        ("e.yaml", &map("good", "1")),
    ]);
    let output = bed.sync();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["it is there already, made by", "datum", "not kube-system", "Secret is not among the kinds"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(bed.maps(), ["good", "theirs"]);
    assert_eq!(bed.runtime.block_on(api.get("theirs")).unwrap().data.unwrap()["key"], "0");
}

#[test]
fn a_missing_image_is_told_in_the_pods_own_words() {
    let Some(bed) = Bed::new("image") else { return };
    let missing = format!("{}/nowhere:1", variable("REGISTRY").unwrap());
    bed.commit(&[("app.yaml", &app(1).replace(&variable("BASE_BUSYBOX").unwrap(), &missing))]);
    let output = bed.sync();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("container flask-app of pod flask-app-"), "{said}");
    assert_eq!(bed.report()["phase"], "unhealthy");
}

#[test]
fn a_repository_that_is_gone_leaves_the_cluster_alone() {
    let Some(bed) = Bed::new("gone") else { return };
    bed.commit(&[("a.yaml", &map("a", "1"))]);
    bed.synced();
    bed.settings("ssh://git@10.88.0.1:1/nothing.git");
    let output = bed.sync();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("cannot be reached"), "{}", text(&output.stderr));
    assert_eq!(bed.maps(), ["a"]);
    assert_eq!(bed.report()["phase"], "unreachable");
}

#[test]
fn a_changed_host_key_is_one_clear_message() {
    let Some(bed) = Bed::new("hostkey") else { return };
    bed.commit(&[("a.yaml", &map("a", "1"))]);
    let other = bed.folder.path().join("other");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&other).status().unwrap();
    assert!(made.success());
    let public = fs::read_to_string(other.with_extension("pub")).unwrap();
    fs::write(bed.credential("known_hosts"), format!("[10.88.0.1]:2222 {public}")).unwrap();
    let output = bed.sync();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("the host key of") && said.contains("changed") && said.contains("SHA256:"), "{said}");
    assert!(bed.maps().is_empty());
}

#[test]
fn a_wrong_password_and_an_unknown_authority_are_told_apart() {
    let Some(bed) = Bed::new("https") else { return };
    bed.commit(&[("a.yaml", &map("a", "1"))]);
    bed.settings(&format!("{}{}.git", variable("GIT_HTTPS").unwrap(), bed.name));
    fs::write(bed.credential("password"), "wrong").unwrap();
    let said = text(&bed.sync().stderr);
    assert!(said.contains("refuses the sync's credentials"), "{said}");
    fs::remove_file(bed.credential("ca.crt")).unwrap();
    let said = text(&bed.sync().stderr);
    assert!(said.contains("is not trusted"), "{said}");
}

#[test]
fn a_missing_namespace_or_path_is_named_with_the_way_out() {
    let Some(bed) = Bed::new("missing") else { return };
    bed.commit(&[("a.yaml", &map("a", "1"))]);
    let file = bed.folder.path().join("sync.yaml");
    let settings = fs::read_to_string(&file).unwrap();
    fs::write(&file, settings.replace(&format!("namespace: {}", bed.name), "namespace: not-there")).unwrap();
    let output = bed.sync();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("kubectl create namespace not-there"), "{said}");
    fs::write(&file, settings.replace("path: staging", "path: production")).unwrap();
    let output = bed.sync();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("has no folder production"));
}
