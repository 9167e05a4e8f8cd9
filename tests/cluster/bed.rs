//! A manifest repository, a clone that installs, and the cluster seen from outside; what a test made of them goes with it.

use crate::{
    context::{Done, TestContext},
    testbed,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use gitops_hooks::sync;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        authorization::v1::{
            ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
        },
        core::v1::{ConfigMap, Namespace, Pod, Secret, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
    },
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// One installation at a time: the namespace of all syncs goes with the last of them, and would under the feet of the next.
static TURN: Mutex<()> = Mutex::new(());

pub fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn variable(name: &str) -> String {
    std::env::var(format!("GITOPS_HOOKS_TEST_{name}")).unwrap()
}

/// A manifest repository, a clone with the configuration, and a cluster; what was made of them is gone when it is dropped.
pub struct Bed {
    /// The environment, its namespace and the repository.
    pub name: String,
    pub release: PathBuf,
    pub context: TestContext,
    client: Client,
    pub runtime: tokio::runtime::Runtime,
    bare: PathBuf,
    pub environments: Vec<String>,
}

impl Bed {
    /// The environment of the test's name and further ones, which have the same manifests.
    pub fn new(name: &str, registry: &str, further: &[&str]) -> Option<Self> {
        testbed::value("KUBECONFIG")?;
        let root = testbed::value("GITOPS_HOOKS_TEST_GIT_ROOT")?;
        let registry = testbed::value(&format!("GITOPS_HOOKS_TEST_{registry}"))?;
        let release = PathBuf::from(testbed::value("GITOPS_HOOKS_RELEASE")?).canonicalize().unwrap();
        let name = format!("cluster-{name}-{}", std::process::id());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(gitops_hooks::cluster::connect(None)).unwrap();
        let bare = Path::new(&root).join(format!("{name}.git"));
        let context = TestContext::new();
        let environments =
            [name.clone()].into_iter().chain(further.iter().map(|end| format!("{name}-{end}"))).collect();
        let bed = Self { name, release, context, client, runtime, bare, environments };

        let namespaces: Api<Namespace> = Api::all(bed.client.clone());
        for environment in &bed.environments {
            let object = serde_json::from_value(json!({ "metadata": { "name": environment } })).unwrap();
            bed.runtime.block_on(namespaces.create(&PostParams::default(), &object)).unwrap();
        }
        let url = format!("{}{}.git", variable("GIT_SSH"), bed.name);
        let described = |environment: &String| json!({ "branch": "main", "manifests": { "url": url, "path": environment }, "images": ["web"], "namespace": environment });
        let environments: BTreeMap<_, _> = bed.environments.iter().map(|name| (name, described(name))).collect();
        let repository = format!("{registry}/{}/web", bed.name);
        let images = json!({ "web": { "repository": repository, "plain_http": true } });
        let text = json!({ "images": images, "environments": environments }).to_string();
        bed.context.write(".gitops-hooks.yaml", &text);
        bed.context.git(&["config", "gitops-hooks.confirmed", &format!("deliveries are pushed to: {url}")]);
        let ssh = format!(
            "ssh -i {} -o IdentitiesOnly=yes -o UserKnownHostsFile={}",
            variable("SSH_KEY"),
            variable("KNOWN_HOSTS")
        );
        bed.context.git(&["config", "core.sshCommand", &ssh]);
        bed.context.git(&["init", "-q", "--bare", "-b", "main", bed.bare.to_str().unwrap()]);
        bed.context.git(&["init", "-q", "-b", "main", bed.context.beside("manifests").to_str().unwrap()]);
        Some(bed)
    }

    /// What the sync of an environment was installed with.
    pub fn settings(&self, name: &str) -> sync::Settings {
        let found = self.runtime.block_on(gitops_hooks::cluster::settings(&self.client, &name.parse().unwrap()));
        found.unwrap().unwrap()
    }

    /// Commits these as all that each environment has, and pushes.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        let work = self.context.beside("manifests");
        for folder in self.environments.iter().map(|environment| work.join(environment)) {
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir(&folder).unwrap();
            for (path, text) in files {
                fs::write(folder.join(path), text).unwrap();
            }
        }
        let work = work.to_str().unwrap();
        self.context.git(&["-C", work, "add", "-A"]);
        self.context.git(&["-C", work, "commit", "-q", "-m", "change"]);
        self.context.git(&["-C", work, "push", "-q", self.bare.to_str().unwrap(), "main"]);
        self.context.git(&["-C", work, "rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Logs in to the registry with a password, as `docker login` does.
    pub fn log_in(&self) -> String {
        let auth = STANDARD.encode(format!("{}:{}", variable("USER"), variable("PASSWORD")));
        let login = json!({ "auths": { variable("REGISTRY_AUTH"): { "auth": auth } } }).to_string();
        fs::create_dir_all(self.context.beside(".docker")).unwrap();
        fs::write(self.context.beside(".docker/config.json"), &login).unwrap();
        login
    }

    pub fn log_out(&self) {
        fs::remove_file(self.context.beside(".docker/config.json")).unwrap();
    }

    pub fn run(&self, args: &[&str]) -> Done {
        TestContext::run(self.context.command(&self.release).arg("cluster").args(args))
    }

    /// The options that name the deploy key.
    pub fn key() -> [String; 4] {
        ["--deploy-key".to_owned(), variable("DEPLOY_KEY"), "--known-hosts".to_owned(), variable("KNOWN_HOSTS")]
    }

    pub fn install(&self, environment: &str, options: &[&str]) -> Done {
        let _turn = turn();
        self.run(&[&["install", environment], options].concat())
    }

    /// An installation that must come to an end; what it said.
    pub fn installed(&self, environment: &str, options: &[&str]) -> String {
        let done = self.install(environment, options);
        assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
        done.stdout + &done.stderr
    }

    /// The first installation, over SSH.
    pub fn begin(&self, environment: &str, options: &[&str]) -> String {
        let key = Self::key();
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        self.installed(environment, &[&key, options].concat())
    }

    pub fn uninstalled(&self, environment: &str) {
        let _turn = turn();
        let done = self.run(&["uninstall", environment]);
        assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    }

    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The objects of an environment in the sync's own namespace.
    pub fn own<K>(&self, environment: &str) -> Vec<K>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let labelled = ListParams::default().labels(&format!("gitops-hooks.dev/environment={environment}"));
        self.runtime.block_on(self.api::<K>(sync::NAMESPACE).list(&labelled)).unwrap().items
    }

    /// The one pod of an environment that stays.
    pub fn pod(&self, environment: &str) -> Pod {
        let mut pods = self.own::<Pod>(environment);
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        assert_eq!(pods.len(), 1, "{pods:?}");
        pods.remove(0)
    }

    /// Sends a signal to every process of the environment's pod.
    pub fn signal(&self, environment: &str, signal: Signal) {
        let id = self.pod(environment).metadata.uid.unwrap();
        let of_pod = |group: &str| group.contains(&id) || group.contains(&id.replace('-', "_"));
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let entry = entry.unwrap();
            let process = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
            std::fs::read_to_string(entry.path().join("cgroup")).is_ok_and(|group| of_pod(&group)).then_some(process)
        });
        let sent: Vec<_> = processes.map(|process| kill_process(process, signal)).collect();
        assert!(!sent.is_empty() && sent.iter().all(Result::is_ok), "{sent:?}");
    }

    /// What each object of an installation has for a version: no write leaves it alone.
    pub fn versions(&self, environment: &str) -> BTreeMap<String, String> {
        fn version(object: &impl kube::Resource<DynamicType = ()>) -> (String, String) {
            let kind = std::any::type_name_of_val(object).rsplit("::").next().unwrap();
            (format!("{kind} {}", object.name_any()), object.resource_version().unwrap())
        }
        let accounts = self.own::<ServiceAccount>(environment);
        let maps = self.own::<ConfigMap>(environment);
        let (roles, bindings) = (self.own::<Role>(environment), self.own::<RoleBinding>(environment));
        let (secrets, deployments) = (self.own::<Secret>(environment), self.own::<Deployment>(environment));
        let pod = self.pod(environment);
        let versions = accounts.iter().map(version).chain(maps.iter().map(version));
        let versions = versions.chain(roles.iter().map(version)).chain(bindings.iter().map(version));
        let versions = versions.chain(secrets.iter().map(version)).chain(deployments.iter().map(version));
        versions.chain([version(&pod)]).collect()
    }

    pub fn report(&self, environment: &str) -> Option<sync::Report> {
        self.runtime.block_on(sync::read(&self.client, &environment.parse().unwrap())).unwrap()
    }

    /// Waits until the sync says that this commit is healthy.
    pub fn healthy(&self, environment: &str, commit: &str) {
        until(&format!("{environment} to be healthy at {commit}"), || {
            let report = self.report(environment)?;
            let at = report.manifest_commit.as_ref().is_some_and(|oid| oid.as_str() == commit);
            (at && report.phase == sync::Phase::Healthy).then_some(())
        });
    }

    pub fn nudge(&self, environment: &str) {
        self.runtime.block_on(sync::nudge(&self.client, &environment.parse().unwrap())).unwrap();
    }

    /// A config map of the environment's namespace.
    pub fn map(&self, namespace: &str, name: &str) -> ConfigMap {
        self.runtime.block_on(self.api::<ConfigMap>(namespace).get(name)).unwrap()
    }

    pub fn secret(&self, name: &str) -> Option<Secret> {
        self.runtime.block_on(self.api::<Secret>(sync::NAMESPACE).get_opt(name)).unwrap()
    }

    /// Whether the account of an environment's pod may do it; `namespace` empty means everywhere.
    pub fn may(&self, verb: &str, group: &str, resource: &str, namespace: &str) -> bool {
        let account = format!("system:serviceaccount:{}:sync-{}", sync::NAMESPACE, self.name);
        let groups = ["system:serviceaccounts", "system:authenticated"].map(str::to_owned);
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: Some(subresource.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ResourceAttributes::default()
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(account),
                groups: Some(groups.to_vec()),
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = self.runtime.block_on(api.create(&PostParams::default(), &review)).unwrap();
        matches!(answer.status, Some(SubjectAccessReviewStatus { allowed: true, .. }))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        // A guest goes before its host.
        for environment in self.environments.iter().rev() {
            let _turn = turn();
            self.run(&["uninstall", environment]);
            let _ = self.runtime.block_on(namespaces.delete(environment, &DeleteParams::background()));
        }
        let _ = fs::remove_dir_all(&self.bare);
    }
}

pub fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(300), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
