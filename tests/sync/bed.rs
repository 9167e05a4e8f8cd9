//! A namespace, a repository and a sync that joins them, run as users run it: `gitops-hooks sync`, once or until it is
//! stopped. What a test made of them goes with it.

use crate::testbed;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Event, Namespace, Secret},
    },
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value as Json, json};
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// A namespace, a repository with its work tree, and the settings that join them; gone when it is dropped.
pub struct Bed {
    pub name: String,
    pub client: Client,
    pub runtime: tokio::runtime::Runtime,
    pub folder: tempfile::TempDir,
    pub bare: PathBuf,
    /// The version of gitops-hooks that runs.
    pub program: PathBuf,
    /// Another cluster than that of the environment.
    kubeconfig: Option<PathBuf>,
}

/// The sync's own namespace, there and not on its way out. Its last installation would take it away under our feet, but for a
/// Secret of somebody else's.
async fn keep_system(client: &Client, keeper: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM);
    let made = PostParams::default();
    let named = |name: &str| json!({ "metadata": { "name": name } });
    let began = Instant::now();
    loop {
        let namespace = serde_json::from_value(named(SYSTEM)).unwrap();
        let _ = namespaces.create(&made, &namespace).await;
        let secret: Secret = serde_json::from_value(named(keeper)).unwrap();
        match secrets.create(&made, &secret).await {
            Ok(_) => return,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

const SYSTEM: &str = "gitops-hooks-system";
/// How many beds this process has made, which is a part of their names.
static BEDS: AtomicUsize = AtomicUsize::new(0);
/// The longest that anything is waited for; how long it takes is nobody's promise.
const PATIENCE: Duration = Duration::from_secs(300);

pub fn variable(name: &str) -> Option<String> {
    std::env::var(format!("GITOPS_HOOKS_TEST_{name}")).ok().filter(|value| !value.is_empty())
}

impl Bed {
    pub fn new(name: &str) -> Option<Self> {
        Self::beside(name, None)
    }

    /// The same with a cluster of the test's own.
    pub fn beside(name: &str, kubeconfig: Option<&Path>) -> Option<Self> {
        let (Some(root), Ok(_)) = (variable("GIT_ROOT"), std::env::var("KUBECONFIG")) else {
            testbed::skipped("needs the test bed (make testbed)");
            return None;
        };
        let name = format!("sync-{name}-{}-{}", std::process::id(), BEDS.fetch_add(1, Ordering::Relaxed));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = match kubeconfig {
            None => runtime.block_on(gitops_hooks::cluster::connect(None)).unwrap(),
            Some(file) => runtime.block_on(async {
                gitops_hooks::tls::choose_provider();
                let kubeconfig = Kubeconfig::read_from(file).unwrap();
                let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
                Client::try_from(config).unwrap()
            }),
        };
        let bare = Path::new(&root).join(format!("{name}.git"));
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = kubeconfig.map(Path::to_owned);
        let program = assert_cmd::cargo::cargo_bin!("gitops-hooks").to_owned();
        let bed = Self { name, client, runtime, folder, bare, program, kubeconfig };
        bed.runtime.block_on(async {
            keep_system(&bed.client, &bed.name).await;
            let api: Api<Namespace> = Api::all(bed.client.clone());
            let object = serde_json::from_value(json!({ "metadata": { "name": bed.name } })).unwrap();
            api.create(&PostParams::default(), &object).await.unwrap();
        });
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

    pub fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    pub fn credential(&self, name: &str) -> PathBuf {
        self.folder.path().join("credentials").join(name)
    }

    pub fn settings(&self, url: &str) {
        let text = format!(
            "environment: {0}\nnamespace: {0}\nurl: {url}\nbranch: main\npath: staging\npatience: 240s\ncredentials: {1}/credentials\ndata: {1}/data\n",
            self.name,
            self.folder.path().display()
        );
        fs::write(self.folder.path().join("sync.yaml"), text).unwrap();
    }

    /// Commits these files as all that `staging` holds, and pushes.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        self.commit_with(files, |_| {})
    }

    /// The same with a symbolic link in it.
    pub fn commit_linked(&self, files: &[(&str, &str)], link: &str, to: &str) -> String {
        self.commit_with(files, |staging| std::os::unix::fs::symlink(to, staging.join(link)).unwrap())
    }

    fn commit_with(&self, files: &[(&str, &str)], more: impl FnOnce(&Path)) -> String {
        let staging = self.work().join("staging");
        let _ = fs::remove_dir_all(&staging);
        fs::create_dir_all(&staging).unwrap();
        fs::write(staging.join("README.md"), "what runs\n").unwrap();
        for (path, text) in files {
            let file = staging.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        more(&staging);
        git(&self.work(), &["add", "-A"]);
        git(&self.work(), &["commit", "-q", "--allow-empty", "-m", "change"]);
        git(&self.work(), &["push", "-q", "--force", self.bare.to_str().unwrap(), "main"]);
        git(&self.work(), &["rev-parse", "HEAD"])
    }

    /// The program with these settings. A process that takes another's place has its name, as the containers of a pod do.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["sync", "--config"]).arg(self.folder.path().join("sync.yaml")).env("POD_NAME", &self.name);
        if let Some(file) = &self.kubeconfig {
            command.env("KUBECONFIG", file);
        }
        command
    }

    pub fn sync(&self) -> Output {
        self.command().arg("--once").output().unwrap()
    }

    /// A sync that goes on until it is dropped.
    pub fn running(&self) -> Running {
        Running::begin(self.command(), &self.folder.path().join("log"))
    }

    /// Sets lines of the settings.
    pub fn set(&self, lines: &str) {
        let file = self.folder.path().join("sync.yaml");
        let text = fs::read_to_string(&file).unwrap();
        let key = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
        let set: Vec<String> = lines.lines().map(key).collect();
        let kept = text.lines().filter(|line| !set.contains(&key(line))).chain(lines.lines());
        fs::write(&file, kept.collect::<Vec<_>>().join("\n")).unwrap();
    }

    /// What the program has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Changes a field of a config map as somebody else.
    pub fn meddle(&self, name: &str, value: &str) {
        let parameters = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({ "data": { "key": value } }));
        self.runtime.block_on(self.api::<ConfigMap>().patch(name, &parameters, &patch)).unwrap();
    }

    /// The value of a config map; none where it is not there.
    pub fn value(&self, name: &str) -> Option<String> {
        self.runtime.block_on(self.api::<ConfigMap>().get_opt(name)).unwrap()?.data?.remove("key")
    }

    /// The report, where one was written.
    pub fn reported(&self) -> Option<Json> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), "gitops-hooks-system");
        let map = self.runtime.block_on(api.get_opt(&format!("gitops-hooks-report-{}", self.name))).ok()??;
        serde_json::from_str(&map.data?["report.json"]).ok()
    }

    /// Waits until the report says this of that commit.
    pub fn says(&self, commit: &str, phase: &str) -> Json {
        until(&format!("{phase} at {commit}, log:\n{}", self.log()), || {
            self.reported().filter(|report| report["manifest_commit"] == commit && report["phase"] == phase)
        })
    }

    /// The messages of our Events.
    pub fn events(&self) -> Vec<String> {
        let list = self.runtime.block_on(self.api::<Event>().list(&ListParams::default())).unwrap();
        let ours = list.items.into_iter().filter(|e| e.reporting_component.as_deref() == Some("gitops-hooks"));
        ours.map(|event| format!("{}: {}", event.reason.unwrap_or_default(), event.message.unwrap_or_default()))
            .collect()
    }

    /// The `ConfigMap` that a running sync is nudged and suspended by.
    pub fn make_steerable(&self) {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), "gitops-hooks-system");
        let object = serde_json::from_value(json!({ "metadata": { "name": format!("gitops-hooks-{}", self.name) } }));
        self.runtime.block_on(api.create(&PostParams::default(), &object.unwrap())).unwrap();
    }

    /// A sync that must end well.
    pub fn synced(&self) -> Output {
        let output = self.sync();
        assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
        output
    }

    pub fn report(&self) -> Json {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), "gitops-hooks-system");
        let map = self.runtime.block_on(api.get(&format!("gitops-hooks-report-{}", self.name))).unwrap();
        serde_json::from_str(&map.data.unwrap()["report.json"]).unwrap()
    }

    pub fn deployment(&self, name: &str) -> Option<Deployment> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.name);
        self.runtime.block_on(api.get_opt(name)).unwrap()
    }

    /// The names of the config maps that are not the cluster's own.
    pub fn maps(&self) -> Vec<String> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.name);
        let list = self.runtime.block_on(api.list(&ListParams::default())).unwrap();
        let names = list.items.into_iter().filter_map(|map| map.metadata.name);
        names.filter(|name| name != "kube-root-ca.crt").collect()
    }

    /// What every object here and every object of the sync has for a version: no write leaves it alone.
    pub fn versions(&self) -> Vec<String> {
        let own: Api<ConfigMap> = Api::namespaced(self.client.clone(), "gitops-hooks-system");
        let here: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.name);
        let workloads: Api<Deployment> = Api::namespaced(self.client.clone(), &self.name);
        let events: Api<Event> = self.api();
        self.runtime.block_on(async {
            let all = ListParams::default();
            let mut found: Vec<_> = own.list(&all).await.unwrap().items.into_iter().map(|map| map.metadata).collect();
            found.retain(|metadata| metadata.name.as_ref().unwrap().contains(&self.name));
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
            let shards = (1..8).map(|shard| format!("inventory-{}.{shard}", self.name));
            let kept = ["report", "inventory"].map(|kind| format!("{kind}-{}", self.name));
            for name in kept.into_iter().chain(shards).chain([self.name.clone()]) {
                let _ = maps.delete(&format!("gitops-hooks-{name}"), &DeleteParams::default()).await;
            }
            let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
                Api::namespaced(self.client.clone(), "gitops-hooks-system");
            let _ = leases.delete(&format!("gitops-hooks-{}", self.name), &DeleteParams::default()).await;
            let secrets: Api<Secret> = Api::namespaced(self.client.clone(), SYSTEM);
            let _ = secrets.delete(&self.name, &DeleteParams::default()).await;
        });
        let _ = fs::remove_dir_all(&self.bare);
    }
}

pub fn folder_of(bed: &Bed) -> &Path {
    bed.folder.path()
}

pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").current_dir(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The two documents of the story: a Deployment and its Service.
pub fn app(replicas: u32) -> String {
    let image = variable("BASE_BUSYBOX").unwrap_or_default();
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: flask-app\n  labels: {{app: flask-app}}\nspec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: flask-app}}}}\n  template:\n    metadata: {{labels: {{app: flask-app}}}}\n    spec:\n      terminationGracePeriodSeconds: 1\n      containers:\n      - {{name: flask-app, image: '{image}', command: [sleep, '3600']}}\n---\napiVersion: v1\nkind: Service\nmetadata: {{name: flask-app}}\nspec:\n  selector: {{app: flask-app}}\n  ports: [{{port: 80, targetPort: 5000}}]\n"
    )
}

pub fn map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{key: '{value}'}}\n")
}

/// A process that is killed when it is dropped.
pub struct Running(pub Child);

impl Running {
    pub fn begin(mut command: Command, log: &Path) -> Self {
        let log = fs::File::options().create(true).append(true).open(log).unwrap();
        Self(command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for something to come true.
pub fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Asks the sync's own port.
pub fn asked(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: sync\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// A port that nobody listens at.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
