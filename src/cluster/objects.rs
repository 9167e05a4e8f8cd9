//! The objects of an installation as values: each template is parsed and its fields are set, never its text, so that no name
//! or address can become YAML. Pure.

use super::{Credentials, ENVIRONMENT_LABEL, Error, NAMESPACE_LABEL};
use crate::{
    image::DockerConfigJson,
    sync::{self, Reach, Settings, WRITABLE},
    values::EnvironmentName,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

/// What is installed.
#[derive(Debug, Clone)]
pub struct Installation {
    /// What the pod is told.
    pub settings: Settings,
    /// What it shows to the repository; `None` leaves the Secret out.
    pub credentials: Option<Credentials>,
    /// What the node shows to the registry.
    pub pull: ImagePull,
    /// The image that it runs.
    pub image: String,
    /// The ports at which the API server answers.
    pub ports: Vec<u16>,
    /// The environments that run in its pod besides its own.
    pub guests: Vec<Settings>,
}

/// How the image of the sync is pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImagePull {
    /// Without a secret: anybody may, or the nodes have rights of their own.
    Open,
    /// With a secret of ours.
    Ours(DockerConfigJson),
    /// With the secret of ours that an earlier installation made.
    Held,
    /// With a secret that somebody else made in the sync's namespace.
    Named(String),
}

impl ImagePull {
    /// Whether our own secret is used.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::Ours(_) | Self::Held)
    }

    /// The name of the secret.
    pub(super) fn secret(&self, environment: &EnvironmentName) -> Option<String> {
        match self {
            Self::Open => None,
            Self::Ours(_) | Self::Held => Some(pull_secret_name(environment)),
            Self::Named(name) => Some(name.clone()),
        }
    }
}

macro_rules! template {
    ($name:literal) => {
        ($name, include_str!(concat!("../../templates/cluster/", $name, ".yaml")))
    };
}

/// The name of the account, the Deployment, the Secret.
pub(super) fn sync_name(environment: &EnvironmentName) -> String {
    format!("sync-{environment}")
}

/// The name of our image pull secret. No environment's own Secret can be called so.
pub(super) fn pull_secret_name(environment: &EnvironmentName) -> String {
    format!("image-pull-{environment}")
}

/// Every object of an installation, in the order in which they are applied.
///
/// # Errors
/// A template of ours that is no YAML.
pub fn objects(installation: &Installation) -> Result<Vec<Json>, Error> {
    let settings = &installation.settings;
    let environment = &settings.environment;
    let name = sync_name(environment);
    // In another's pod it has no account, credentials or network of its own.
    let account = sync_name(settings.host());
    let is_guest = settings.pod.is_some();
    let mut stored = sync::inventory_names(environment);
    stored.push(sync::name(environment));
    let named = |template: (&str, &str), namespace: &str, name: &str| -> Result<Json, Error> {
        let mut object = parse(template)?;
        object["metadata"]["name"] = name.into();
        object["metadata"]["namespace"] = namespace.into();
        object["metadata"]["labels"] = labels(settings);
        Ok(object)
    };
    let own = |template, name: &str| named(template, sync::NAMESPACE, name);
    let mut all = vec![parse(template!("namespace"))?];
    if !is_guest {
        all.push(own(template!("service-account"), &name)?);
    }

    if let Some(credentials) = installation.credentials.as_ref().filter(|_| !is_guest) {
        let mut secret = own(template!("credentials"), &name)?;
        // Not `stringData`: an apply that leaves one of its keys out does not remove it from the Secret.
        secret["data"] =
            credentials.entries().map(|(name, bytes)| (name.to_owned(), Json::from(STANDARD.encode(bytes)))).collect();
        all.push(secret);
    }
    if let ImagePull::Ours(config) = &installation.pull {
        let mut secret = own(template!("image-pull-secret"), &pull_secret_name(environment))?;
        secret["data"] = json!({ ".dockerconfigjson": STANDARD.encode(config.reveal()) });
        all.push(secret);
    }
    let text = serde_yaml::to_string(settings)
        .map_err(|error| Error::Template { name: "settings".to_owned(), reason: error.to_string() })?;
    let mut map = own(template!("settings"), &sync::settings_name(environment))?;
    map["data"] = json!({ "sync.yaml": text });
    all.push(map);
    for name in &stored {
        all.push(own(template!("store"), name)?);
    }

    all.push(own(template!("lease"), &sync::lease_name(environment))?);

    let mut role = own(template!("role-own"), &name)?;
    role["rules"][0]["resourceNames"] = json!([sync::settings_name(environment)]);
    role["rules"][1]["resourceNames"] = json!(stored);
    role["rules"][3]["resourceNames"] = json!([sync::lease_name(environment)]);
    all.push(role);
    all.push(binding(own(template!("role-binding"), &name)?, &name, &account));

    let target_name = format!("gitops-hooks-{environment}");
    match settings.reach {
        Reach::Namespace => {
            all.push(target_role(named(template!("role-target"), &settings.namespace, &target_name)?, settings));
            let target = named(template!("role-binding"), &settings.namespace, &target_name)?;
            all.push(binding(target, &target_name, &account));
        }
        Reach::Cluster => {
            let mut binding = parse(template!("cluster-role-binding"))?;
            binding["metadata"] = json!({ "name": target_name, "labels": labels(settings) });
            binding["subjects"][0]["name"] = account.as_str().into();
            all.push(binding);
        }
    }

    if is_guest {
        return Ok(all);
    }
    let mut policy = own(template!("network-policy"), &name)?;
    policy["spec"]["podSelector"] = json!({ "matchLabels": { ENVIRONMENT_LABEL: environment } });
    let mut ports = installation.ports.clone();
    ports.push(settings.url.port());
    ports.sort_unstable();
    ports.dedup();
    policy["spec"]["egress"][1]["ports"] =
        ports.into_iter().map(|port| json!({ "protocol": "TCP", "port": port })).collect();
    all.push(policy);
    let deployment = deployment(own(template!("deployment"), &name)?, installation, &text);
    all.push(match &settings.schedule {
        None => deployment,
        Some(schedule) => cron_job(own(template!("cron-job"), &name)?, deployment, schedule),
    });
    Ok(all)
}

/// The Role with the rules for what may be written.
fn target_role(mut role: Json, settings: &Settings) -> Json {
    let verbs = ["get", "list", "watch", "create", "patch", "delete"];
    let usual = WRITABLE
        .iter()
        .map(|(group, resources)| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs }));
    let allowed = settings
        .allowed
        .iter()
        .map(|resource| json!({ "apiGroups": [resource.group], "resources": [resource.plural], "verbs": verbs }));
    if let Some(written) = role["rules"].as_array_mut() {
        written.extend(usual.chain(allowed));
    }
    role
}

/// The pod of the Deployment, begun by the clock: it looks once and ends, so nobody asks it how it is.
fn cron_job(mut job: Json, mut deployment: Json, schedule: &str) -> Json {
    let mut template = deployment["spec"]["template"].take();
    template["spec"]["restartPolicy"] = "Never".into();
    for container in template["spec"]["containers"].as_array_mut().into_iter().flatten() {
        container["args"] = json!(["sync", "--once"]);
        if let Some(container) = container.as_object_mut() {
            container.retain(|field, _| !matches!(field.as_str(), "readinessProbe" | "livenessProbe" | "ports"));
        }
    }
    job["spec"]["schedule"] = schedule.into();
    job["spec"]["jobTemplate"]["metadata"]["labels"] = job["metadata"]["labels"].clone();
    job["spec"]["jobTemplate"]["spec"]["template"] = template;
    job
}

fn labels(settings: &Settings) -> Json {
    json!({
        "app.kubernetes.io/managed-by": "gitops-hooks",
        ENVIRONMENT_LABEL: settings.environment,
        NAMESPACE_LABEL: settings.namespace,
    })
}

fn binding(mut binding: Json, role: &str, account: &str) -> Json {
    binding["roleRef"]["name"] = role.into();
    binding["subjects"][0]["name"] = account.into();
    binding
}

fn deployment(mut deployment: Json, installation: &Installation, settings: &str) -> Json {
    let environment = &installation.settings.environment;
    let name = sync_name(environment);
    let template = &mut deployment["spec"]["template"];
    template["metadata"]["labels"] = labels(&installation.settings);
    // A mounted file changes under a running pod some day; this changes the pod, at once and visibly.
    template["metadata"]["annotations"] =
        json!({ "gitops-hooks.dev/settings": fingerprint(settings, installation.credentials.as_ref()) });
    if let Some(guests) = guests_mark(&installation.guests) {
        template["metadata"]["annotations"][GUESTS] = guests.into();
    }
    let pod = &mut template["spec"];
    pod["serviceAccountName"] = name.as_str().into();
    if let Some(secret) = installation.pull.secret(environment) {
        pod["imagePullSecrets"] = json!([{ "name": secret }]);
    }
    pod["containers"][0]["image"] = installation.image.as_str().into();
    for volume in pod["volumes"].as_array_mut().into_iter().flatten() {
        match volume["name"].as_str() {
            Some("settings") => volume["projected"]["sources"] = sources(environment, &installation.guests),
            Some("credentials") => volume["secret"]["secretName"] = name.as_str().into(),
            _ => {}
        }
    }
    deployment["spec"]["selector"] = json!({ "matchLabels": { ENVIRONMENT_LABEL: environment } });
    deployment
}

/// The annotation of a pod that says which other environments run in it, and changes with their settings.
pub(super) const GUESTS: &str = "gitops-hooks.dev/guests";

/// What it says; nothing where there are none.
pub(super) fn guests_mark(guests: &[Settings]) -> Option<String> {
    let text: Vec<String> = guests.iter().map(|guest| serde_yaml::to_string(guest).unwrap_or_default()).collect();
    (!guests.is_empty()).then(|| fingerprint(&text.join("---\n"), None))
}

/// The settings that a pod mounts, a file for each environment.
pub(super) fn sources(environment: &EnvironmentName, guests: &[Settings]) -> Json {
    let names = std::iter::once(environment).chain(guests.iter().map(|guest| &guest.environment));
    names
        .map(|name| {
            json!({ "configMap": { "name": sync::settings_name(name),
                "items": [{ "key": "sync.yaml", "path": format!("{name}.yaml") }] } })
        })
        .collect()
}

/// A hash that tells nothing of the credentials but that they changed.
fn fingerprint(settings: &str, credentials: Option<&Credentials>) -> String {
    let mut hash = Sha256::new();
    hash.update(settings.as_bytes());
    for (name, bytes) in credentials.into_iter().flat_map(Credentials::entries) {
        hash.update(name.as_bytes());
        hash.update(Sha256::digest(bytes));
    }
    sync::hex(&hash.finalize()[..8])
}

fn parse((name, text): (&str, &str)) -> Result<Json, Error> {
    serde_yaml::from_str(text).map_err(|error| Error::Template { name: name.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation() -> Installation {
        let text = "environment: staging\nnamespace: shop\nurl: 'git@git.example.com:m.git'\nbranch: 'x: {y}'\n";
        let settings = Settings::parse("s", &text.replace("x: {y}", "release/1")).unwrap();
        Installation {
            settings,
            credentials: Some(Credentials::default()),
            pull: ImagePull::Open,
            image: "registry.example.com/gitops-hooks:1".into(),
            ports: vec![443, 6443],
            guests: Vec::new(),
        }
    }

    fn find<'o>(objects: &'o [Json], kind: &str, namespace: &str) -> Vec<&'o Json> {
        objects.iter().filter(|o| o["kind"] == kind && o["metadata"]["namespace"] == namespace).collect()
    }

    #[test]
    fn the_sync_lives_apart_and_may_little() {
        let objects = objects(&installation()).unwrap();
        let roles = find(&objects, "Role", "shop");
        let text = roles[0]["rules"].to_string();
        assert!(text.contains("deployments") && !text.contains("secrets") && !text.contains("roles"), "{text}");
        assert!(!text.contains('*'));
        let binding = find(&objects, "RoleBinding", "shop")[0];
        assert_eq!(binding["subjects"][0]["namespace"], sync::NAMESPACE);
        assert_eq!(binding["subjects"][0]["name"], "sync-staging");
        let own = find(&objects, "Role", sync::NAMESPACE)[0];
        assert_eq!(own["rules"][1]["verbs"], json!(["get", "patch"]));
        let unnamed: Vec<_> =
            own["rules"].as_array().unwrap().iter().filter(|r| r["resourceNames"].is_null()).collect();
        assert_eq!(unnamed.len(), 1, "what is not by name: {unnamed:?}");
        assert_eq!((&unnamed[0]["resources"], &unnamed[0]["verbs"]), (&json!(["configmaps"]), &json!(["list"])));
        // In the target namespace there is nothing else.
        let target = objects.iter().filter(|o| o["metadata"]["namespace"] == "shop").count();
        assert_eq!(target, 2);
    }

    #[test]
    fn the_pod_is_what_the_restricted_standard_asks_for() {
        let objects = objects(&installation()).unwrap();
        let pod = &find(&objects, "Deployment", sync::NAMESPACE)[0]["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(container["readOnlyRootFilesystem"], true);
        assert_eq!(container["allowPrivilegeEscalation"], false);
        assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(pod["volumes"][1]["secret"]["secretName"], "sync-staging");
    }

    #[test]
    fn only_one_that_reaches_the_whole_cluster_is_bound_to_all_rights() {
        let mut installation = installation();
        installation.settings.reach = Reach::Cluster;
        let objects = objects(&installation).unwrap();
        let binding = objects.iter().find(|object| object["kind"] == "ClusterRoleBinding").unwrap();
        assert_eq!(
            (&binding["roleRef"]["name"], &binding["subjects"][0]["name"]),
            (&json!("cluster-admin"), &json!("sync-staging"))
        );
        assert!(objects.iter().all(|object| object["metadata"]["namespace"] != "shop"));
        let usual = super::objects(&self::installation()).unwrap();
        assert!(usual.iter().all(|object| object["kind"] != "ClusterRoleBinding"));
    }

    #[test]
    fn a_resource_that_is_allowed_is_one_more_rule() {
        let mut installation = installation();
        installation.settings.allowed = vec!["certificates.cert-manager.io".parse().unwrap()];
        let objects = objects(&installation).unwrap();
        let rules = find(&objects, "Role", "shop")[0]["rules"].as_array().unwrap();
        let last = rules.last().unwrap();
        assert_eq!((&last["apiGroups"][0], &last["resources"][0]), (&json!("cert-manager.io"), &json!("certificates")));
    }

    #[test]
    fn a_guest_has_rights_of_its_own_and_runs_in_anothers_pod() {
        let host = installation();
        let text = "environment: production\nnamespace: live\nurl: 'git@git.example.com:m.git'\nbranch: main\n";
        let guest = Settings::parse("s", text).unwrap().beside(&host.settings);
        let theirs = objects(&Installation { settings: guest.clone(), credentials: None, ..host.clone() }).unwrap();
        for kind in ["Deployment", "ServiceAccount", "Secret", "NetworkPolicy"] {
            assert!(find(&theirs, kind, sync::NAMESPACE).is_empty(), "{kind}");
        }
        for namespace in ["live", sync::NAMESPACE] {
            assert_eq!(find(&theirs, "RoleBinding", namespace)[0]["subjects"][0]["name"], "sync-staging");
        }
        let alone = objects(&host).unwrap();
        let both = objects(&Installation { guests: vec![guest], ..host }).unwrap();
        let pod = |all: &[Json]| find(all, "Deployment", sync::NAMESPACE)[0]["spec"]["template"].clone();
        let sources = &pod(&both)["spec"]["volumes"][0]["projected"]["sources"];
        assert_eq!(sources[1]["configMap"]["name"], "gitops-hooks-production");
        assert_ne!(pod(&alone)["metadata"]["annotations"], pod(&both)["metadata"]["annotations"], "it starts anew");
        assert_eq!(pod(&alone)["spec"]["volumes"][0]["projected"]["sources"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn by_the_clock_the_same_pod_looks_once() {
        let mut installation = installation();
        installation.settings.schedule = Some("*/5 * * * *".to_owned());
        let objects = objects(&installation).unwrap();
        assert!(find(&objects, "Deployment", sync::NAMESPACE).is_empty());
        let job = find(&objects, "CronJob", sync::NAMESPACE)[0];
        assert_eq!(job["spec"]["schedule"], "*/5 * * * *");
        let pod = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!((&container["args"], &pod["restartPolicy"]), (&json!(["sync", "--once"]), &json!("Never")));
        assert!(
            container.get("readinessProbe").is_none() && container["securityContext"]["readOnlyRootFilesystem"] == true
        );
        assert_eq!(pod["serviceAccountName"], "sync-staging");
    }

    #[test]
    fn the_pod_names_the_secret_that_its_image_is_pulled_with() {
        let named = |pull: ImagePull| {
            let objects = objects(&Installation { pull, ..installation() }).unwrap();
            assert_eq!(find(&objects, "Secret", sync::NAMESPACE).len(), 1);
            find(&objects, "Deployment", sync::NAMESPACE)[0]["spec"]["template"]["spec"]["imagePullSecrets"].clone()
        };
        assert_eq!(named(ImagePull::Open), Json::Null);
        assert_eq!(named(ImagePull::Held), json!([{ "name": "image-pull-staging" }]));
        assert_eq!(named(ImagePull::Named("team".into())), json!([{ "name": "team" }]));
    }

    #[test]
    fn the_pod_may_call_the_git_host_and_the_api_server_and_nobody_may_call_it() {
        let objects = objects(&installation()).unwrap();
        let policy = &find(&objects, "NetworkPolicy", sync::NAMESPACE)[0]["spec"];
        let ports: Vec<&Json> = policy["egress"][1]["ports"].as_array().unwrap().iter().map(|p| &p["port"]).collect();
        assert_eq!(ports, [22, 443, 6443]);
        assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
        assert!(policy["ingress"][0]["from"].is_array(), "not everybody");
    }

    #[test]
    fn the_settings_come_back_as_they_went() {
        let objects = objects(&installation()).unwrap();
        let map = objects.iter().find(|o| o["metadata"]["name"] == "gitops-hooks-staging").unwrap();
        let settings = Settings::parse("s", map["data"]["sync.yaml"].as_str().unwrap()).unwrap();
        assert_eq!((settings.branch.as_str(), settings.namespace.as_str()), ("release/1", "shop"));
        assert_eq!(settings.url.reveal(), "git@git.example.com:m.git");
    }
}
