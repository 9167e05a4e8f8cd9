//! The user's own registry credentials, as `docker login` or `podman login` left them: in a file, or with a credential helper
//! that the file names. Helpers are asked with a time limit, since one that waits for a person would stop a push.

use super::Error;
use crate::values::Repository;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{io::AsyncWriteExt, process::Command};

/// How long a helper may take. Keychains of a desktop may ask the person to unlock them.
const HELPER_LIMIT: Duration = Duration::from_secs(20);

/// Where docker keeps Docker Hub's credentials (docker/cli, `IndexServer`).
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// What opens a registry. Never printed: it has no `Display`, and its `Debug` hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// Nothing is known.
    Anonymous,
    /// A user and a password or access token.
    Password { user: String, password: String },
    /// A token that is traded for access tokens (a refresh token of RFC 6749), as Azure's registries hand out.
    Identity(String),
    /// An access token for this registry alone, which is shown as it is.
    Bearer(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Password { user, .. } => write!(f, "Password({user}, …)"),
            Self::Identity(_) => f.write_str("Identity(…)"),
            Self::Bearer(_) => f.write_str("Bearer(…)"),
        }
    }
}

impl Credentials {
    /// As the engine takes them.
    pub(super) fn for_engine(&self, registry: &str) -> DockerCredentials {
        let serveraddress = Some(server(registry).to_owned());
        match self.clone() {
            Self::Anonymous => DockerCredentials::default(),
            Self::Password { user, password } => DockerCredentials {
                username: Some(user),
                password: Some(password),
                serveraddress,
                ..DockerCredentials::default()
            },
            Self::Identity(token) => {
                DockerCredentials { identitytoken: Some(token), serveraddress, ..DockerCredentials::default() }
            }
            Self::Bearer(token) => {
                DockerCredentials { registrytoken: Some(token), serveraddress, ..DockerCredentials::default() }
            }
        }
    }

    /// As user and password; `None` where nothing is known.
    pub(super) fn basic(&self) -> Option<(String, String)> {
        match self.clone() {
            Self::Anonymous | Self::Bearer(_) => None,
            Self::Password { user, password } => Some((user, password)),
            // Registries that hand out identity tokens take them as the password of this user (Azure, `docker login`).
            Self::Identity(token) => Some(("00000000-0000-0000-0000-000000000000".to_owned(), token)),
        }
    }

    /// The user's name, which is no secret.
    pub(super) fn user(&self) -> Option<String> {
        match self {
            Self::Anonymous => None,
            Self::Password { user, .. } => Some(user.clone()),
            Self::Identity(_) => Some("with the identity token".to_owned()),
            Self::Bearer(_) => Some("with the access token".to_owned()),
        }
    }
}

/// The files that may hold the user's logins, in the order in which they are asked.
pub(super) struct Logins(Vec<DockerConfig>);

/// What was found in this process: a helper is asked once, not for every question to a registry.
static FOUND: Mutex<BTreeMap<String, Credentials>> = Mutex::new(BTreeMap::new());

impl Logins {
    /// The file that Podman was told of for this session, docker's, and Podman's usual ones (containers-auth.json(5)).
    pub(super) fn load() -> Result<Self, Error> {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let podmans = |folder: PathBuf| DockerConfig::read(&folder.join("containers/auth.json"));
        let own = path("XDG_CONFIG_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".config")));
        let mut files = Vec::new();
        files.extend(path("REGISTRY_AUTH_FILE").map(|path| DockerConfig::read(&path)).transpose()?);
        files.push(DockerConfig::load()?);
        files.extend(path("XDG_RUNTIME_DIR").map(podmans).transpose()?);
        files.extend(own.map(podmans).transpose()?);
        Ok(Self(files))
    }

    /// What opens a repository.
    pub(super) async fn of(&self, repository: &Repository) -> Result<Credentials, Error> {
        let place = format!("{}/{}", repository.registry(), repository.path());
        self.remembered(&place, repository.registry()).await
    }

    /// What opens a registry as a whole.
    pub(super) async fn of_registry(&self, registry: &str) -> Result<Credentials, Error> {
        self.remembered(registry, registry).await
    }

    async fn remembered(&self, place: &str, registry: &str) -> Result<Credentials, Error> {
        let known = FOUND.lock().unwrap_or_else(PoisonError::into_inner).get(place).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let found = self.find(place, registry).await?;
        FOUND.lock().unwrap_or_else(PoisonError::into_inner).insert(place.to_owned(), found.clone());
        Ok(found)
    }

    async fn find(&self, place: &str, registry: &str) -> Result<Credentials, Error> {
        for file in &self.0 {
            let found = file.credentials(place, registry).await?;
            if found != Credentials::Anonymous {
                return Ok(found);
            }
        }
        Ok(Credentials::Anonymous)
    }
}

/// Docker's `config.json`, as far as it matters here. Podman's `auth.json` has the same form.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DockerConfig {
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
    /// The docker context in use.
    pub(super) current_context: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry(…)")
    }
}

impl DockerConfig {
    /// The user's configuration; an empty one where there is no file.
    pub(super) fn load() -> Result<Self, Error> {
        folder().map_or_else(|| Ok(Self::default()), |folder| Self::read(&folder.join("config.json")))
    }

    fn read(path: &Path) -> Result<Self, Error> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| Error::DockerConfig {
                path: path.display().to_string(),
                // serde's message for a wrong type may quote the value, which may be a password.
                reason: format!("it is no JSON as docker writes it, near line {}", error.line()),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(Error::File { path: path.display().to_string(), source }),
        }
    }

    /// What opens a place, a registry or a repository of it, asking the helper that is in charge of the registry.
    async fn credentials(&self, place: &str, registry: &str) -> Result<Credentials, Error> {
        if let Some(helper) = self.helper(registry) {
            let found = ask(&format!("docker-credential-{helper}"), server(registry), HELPER_LIMIT).await?;
            if found != Credentials::Anonymous {
                return Ok(found);
            }
        }
        self.written(place, registry)
    }

    /// The helper in charge: the registry's own before the one for all.
    fn helper(&self, registry: &str) -> Option<&str> {
        let own = self.cred_helpers.iter().find(|(host, _)| same_host(host, registry)).map(|(_, helper)| helper);
        own.or(self.creds_store.as_ref()).map(String::as_str).filter(|helper| !helper.is_empty())
    }

    /// What the file itself holds: the entry that says most about the place.
    fn written(&self, place: &str, registry: &str) -> Result<Credentials, Error> {
        let full = self.auths.iter().filter(|(_, entry)| !entry.is_empty());
        let fitting = full.filter_map(|(key, entry)| Some((fit(key, place, registry)?, key, entry)));
        let best = fitting.max_by_key(|(fit, ..)| *fit);
        best.map_or(Ok(Credentials::Anonymous), |(_, key, entry)| entry.decode(key))
    }
}

impl Entry {
    /// Helpers leave entries without content, which only say that somebody logged in.
    fn is_empty(&self) -> bool {
        let empty = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
        [&self.auth, &self.username, &self.identitytoken, &self.registrytoken].into_iter().all(empty)
    }

    fn decode(&self, host: &str) -> Result<Credentials, Error> {
        if let Some(token) = self.identitytoken.as_deref().filter(|token| !token.is_empty()) {
            return Ok(Credentials::Identity(token.to_owned()));
        }
        if let Some(token) = self.registrytoken.as_deref().filter(|token| !token.is_empty()) {
            return Ok(Credentials::Bearer(token.to_owned()));
        }
        if let Some(auth) = self.auth.as_deref().filter(|auth| !auth.is_empty()) {
            let decoded = STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            // Some tools pad the password with zero bytes (docker/cli, `decodeAuth`).
            let pair = decoded.as_deref().and_then(|text| text.trim_end_matches('\0').split_once(':'));
            let (user, password) = pair.ok_or_else(|| Error::DockerConfig {
                path: "docker's config.json".to_owned(),
                reason: format!("the entry for {host} does not hold a user and a password"),
            })?;
            return Ok(Credentials::Password { user: user.to_owned(), password: password.to_owned() });
        }
        Ok(Credentials::Password {
            user: self.username.clone().unwrap_or_default(),
            password: self.password.clone().unwrap_or_default(),
        })
    }
}

/// Docker's configuration folder: `DOCKER_CONFIG`, else `~/.docker`.
pub(super) fn folder() -> Option<PathBuf> {
    let set = std::env::var_os("DOCKER_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
    set.or_else(|| std::env::home_dir().map(|home| home.join(".docker")))
}

/// The name under which helpers keep a registry.
pub(super) fn server(registry: &str) -> &str {
    if registry == "docker.io" { DOCKER_HUB } else { registry }
}

/// Whether a key of the file means a registry. Old entries carry a scheme and a path (docker/cli, `ConvertToHostname`).
fn same_host(key: &str, registry: &str) -> bool {
    let bare = without_scheme(key);
    host(bare.split('/').next().unwrap_or(bare)) == registry
}

/// How much a key of the file says about a place: all of a registry, or a part of its repositories (containers-auth.json(5)).
/// What docker writes with a scheme is about all of the registry, whatever path stands behind it.
fn fit(key: &str, place: &str, registry: &str) -> Option<usize> {
    let bare = without_scheme(key).trim_end_matches('/');
    let (first, path) = bare.split_once('/').unwrap_or((bare, ""));
    if host(first) != registry {
        return None;
    }
    if path.is_empty() || bare.len() < key.trim_end_matches('/').len() || matches!(path, "v1" | "v2") {
        return Some(0);
    }
    let below = place.strip_prefix(registry)?.strip_prefix('/')?.strip_prefix(path)?;
    (below.is_empty() || below.starts_with('/')).then_some(path.len())
}

fn without_scheme(key: &str) -> &str {
    key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key)
}

/// Docker Hub's registry has several names.
fn host(name: &str) -> &str {
    if matches!(name, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { name }
}

/// What a helper answers on `get` (docker/docker-credential-helpers).
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

async fn ask(helper: &str, server: &str, limit: Duration) -> Result<Credentials, Error> {
    let failed = |reason: String| Error::Helper { helper: helper.to_owned(), registry: server.to_owned(), reason };
    let talk = async {
        let mut child = Command::new(helper)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that ends without reading is judged by its answer.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(limit, talk).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(failed("docker's configuration names it, but it is not on the PATH".to_owned()));
        }
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed(format!("no answer within {} s", limit.as_secs()))),
    };
    if output.status.success() {
        let answer: Answer =
            serde_json::from_slice(&output.stdout).map_err(|_| failed("its answer is no JSON".to_owned()))?;
        return Ok(decode_answer(answer));
    }
    // Helpers say on standard output why; "not found" is an answer, not a failure.
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if said.contains("credentials not found") {
        return Ok(Credentials::Anonymous);
    }
    Err(failed(if said.is_empty() { output.status.to_string() } else { said.chars().take(200).collect() }))
}

fn decode_answer(answer: Answer) -> Credentials {
    match answer.username.as_str() {
        "<token>" => Credentials::Identity(answer.secret),
        "" if answer.secret.is_empty() => Credentials::Anonymous,
        _ => Credentials::Password { user: answer.username, password: answer.secret },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn config(json: &str) -> DockerConfig {
        serde_json::from_str(json).unwrap()
    }

    fn password(user: &str, password: &str) -> Credentials {
        Credentials::Password { user: user.to_owned(), password: password.to_owned() }
    }

    #[test]
    fn what_docker_login_wrote_is_found() {
        // team:s3:cret, as `docker login` encodes it.
        let config = config(
            r#"{"auths": {"reg.example.com:5000": {"auth": "dGVhbTpzMzpjcmV0"}, "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
                "az.example.com": {"auth": "MDA6", "identitytoken": "refresh"}, "helped.example.com": {}}}"#,
        );
        assert_eq!(
            config.written("reg.example.com:5000/team/app", "reg.example.com:5000").unwrap(),
            password("team", "s3:cret")
        );
        assert_eq!(config.written("docker.io", "docker.io").unwrap(), password("hub", "pw"));
        assert_eq!(
            config.written("az.example.com", "az.example.com").unwrap(),
            Credentials::Identity("refresh".to_owned())
        );
        assert_eq!(config.written("reg.example.com", "reg.example.com").unwrap(), Credentials::Anonymous);
        assert_eq!(config.written("helped.example.com", "helped.example.com").unwrap(), Credentials::Anonymous);
    }

    #[test]
    fn a_registrys_own_helper_comes_before_the_one_for_all() {
        let config = config(r#"{"credsStore": "desktop", "credHelpers": {"gcr.io": "gcloud"}}"#);
        assert_eq!((config.helper("gcr.io"), config.helper("ghcr.io")), (Some("gcloud"), Some("desktop")));
    }

    #[test]
    fn podmans_entry_for_a_part_of_a_registry_counts_there_only() {
        // a:1, b:2, c:3
        let config = config(
            r#"{"auths": {"quay.io": {"auth": "YToxCg=="}, "quay.io/team": {"auth": "Yjoy"}, "quay.io/team/app": {"auth": "Yzoz"},
                "docker.io/library": {"auth": "Yjoy"}}}"#,
        );
        let user = |place: &str, registry: &str| config.written(place, registry).unwrap().user();
        assert_eq!(user("quay.io/team/app", "quay.io").as_deref(), Some("c"));
        assert_eq!(user("quay.io/team/other", "quay.io").as_deref(), Some("b"));
        assert_eq!(user("quay.io/teams/app", "quay.io").as_deref(), Some("a"));
        assert_eq!(user("quay.io", "quay.io").as_deref(), Some("a"));
        assert_eq!(user("docker.io/library/nginx", "docker.io").as_deref(), Some("b"));
        assert_eq!(user("docker.io/other/nginx", "docker.io"), None);
    }

    #[test]
    fn an_entry_that_is_none_is_told_without_its_content() {
        let config = config(r#"{"auths": {"a": {"auth": "bm9jb2xvbg=="}}}"#);
        let told = config.written("a", "a").unwrap_err().to_string();
        assert!(told.contains("the entry for a") && !told.contains("nocolon") && !told.contains("bm9j"), "{told}");
        assert!(!format!("{config:?}{:?}", password("u", "s3cret")).contains("s3cret"));
    }

    async fn helper(script: &str) -> Result<Credentials, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker-credential-test");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        ask(&path.display().to_string(), "reg.example.com", Duration::from_millis(500)).await
    }

    #[tokio::test]
    async fn helpers_answer_know_nothing_fail_or_hang() {
        let found =
            helper(r#"read host; echo "{\"ServerURL\":\"$host\",\"Username\":\"me\",\"Secret\":\"pw-$host\"}""#);
        assert_eq!(found.await.unwrap(), password("me", "pw-reg.example.com"));
        let token = helper(r#"echo '{"Username":"<token>","Secret":"t"}'"#).await.unwrap();
        assert_eq!(token, Credentials::Identity("t".to_owned()));
        let none = helper("echo 'credentials not found in native keychain'; exit 1").await.unwrap();
        assert_eq!(none, Credentials::Anonymous);
        assert!(helper("echo locked; exit 1").await.unwrap_err().to_string().contains("failed: locked"));
        assert!(helper("sleep 5").await.unwrap_err().to_string().contains("no answer within"));
        let missing = ask("docker-credential-none-such", "a", HELPER_LIMIT).await.unwrap_err();
        assert!(missing.to_string().contains("not on the PATH"), "{missing}");
    }
}
