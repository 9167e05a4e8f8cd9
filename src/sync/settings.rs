//! What the pod is told: one small YAML file, mounted from a `ConfigMap`, and a folder with the credentials, mounted from
//! a `Secret`. `cluster install` writes both.

use super::{
    Error,
    kinds::{Kind, Reach, Resource},
    object::ObjectId,
};
use crate::values::{EnvironmentName, RelativePath, RemoteUrl, Span};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The settings of one environment's sync.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The environment's name, which is part of the names of our own objects.
    pub environment: EnvironmentName,
    /// The namespace whose objects are applied; of a sync that reaches the whole cluster, the one of manifests that name none.
    pub namespace: String,
    /// How far it reaches.
    #[serde(default, skip_serializing_if = "Reach::is_usual")]
    pub reach: Reach,
    /// Resources that it may write besides the usual ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<Resource>,
    /// The manifest repository. A password in it is not kept: it belongs into `credentials`.
    pub url: RemoteUrl,
    /// The branch that is followed.
    pub branch: String,
    /// The folder of the repository that holds the manifests.
    #[serde(default = "RelativePath::root")]
    pub path: RelativePath,
    /// How often the repository is asked, when it answers.
    #[serde(default = "default_interval")]
    pub interval: Span,
    /// A folder with `identity` (an SSH key), `known_hosts`, `username`, `password`, `ca.crt`; each may be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<PathBuf>,
    /// A folder that may be written and may be lost: the copy of the repository.
    #[serde(default = "default_data")]
    pub data: PathBuf,
    /// The public SSH keys, as `~/.ssh/authorized_keys` has them, one of which must have signed every commit that is
    /// applied; where there are none, commits need no signature.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<String>,
    /// Where `/metrics`, `/healthz` and `/readyz` answer; nowhere, where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How long `--once` waits for the objects to become healthy.
    #[serde(default = "default_patience")]
    pub patience: Span,
    /// The environment in whose pod it runs; none where it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<EnvironmentName>,
    /// When a `CronJob` begins it; none where a pod runs all the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
}

const fn default_interval() -> Span {
    Span::seconds(15)
}

/// Where `templates/cluster/deployment.yaml` mounts the credentials.
const CREDENTIALS_IN_POD: &str = "/etc/gitops-hooks-credentials";

/// The port that `templates/cluster/deployment.yaml` and the network policy name.
const PORT_IN_POD: u16 = 8080;

const fn default_patience() -> Span {
    Span::seconds(300)
}

fn default_data() -> PathBuf {
    PathBuf::from("/var/lib/gitops-hooks")
}

impl Settings {
    /// Reads the file.
    ///
    /// # Errors
    /// A file that is not there, and settings that make no sense, with what would.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let shown = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|source| Error::File { path: shown.clone(), source })?;
        Self::parse(&shown, &text)
    }

    /// Parses the file's text; `file` is only for messages.
    ///
    /// # Errors
    /// Settings that make no sense.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let settings: Self = serde_yaml::from_str(text)
            .map_err(|error| Error::Settings { file: file.to_owned(), reason: error.to_string() })?;
        settings.check(file)?;
        Ok(settings)
    }

    /// The settings of a pod that `templates/cluster/deployment.yaml` describes.
    #[must_use]
    pub fn in_pod(environment: EnvironmentName, namespace: &str, url: RemoteUrl, branch: &str) -> Self {
        Self {
            environment,
            namespace: namespace.to_owned(),
            reach: Reach::Namespace,
            allowed: Vec::new(),
            url,
            branch: branch.to_owned(),
            path: RelativePath::root(),
            interval: default_interval(),
            credentials: Some(PathBuf::from(CREDENTIALS_IN_POD)),
            data: default_data(),
            verify: Vec::new(),
            port: Some(PORT_IN_POD),
            patience: default_patience(),
            pod: None,
            schedule: None,
        }
    }

    /// The same in the pod of another environment, beside whose copy of the repository its own lies.
    #[must_use]
    pub fn beside(self, host: &Self) -> Self {
        Self {
            data: host.data.join(self.environment.as_str()),
            pod: Some(host.environment.clone()),
            schedule: host.schedule.clone(),
            ..self
        }
    }

    /// The environment whose pod it is.
    #[must_use]
    pub fn host(&self) -> &EnvironmentName {
        self.pod.as_ref().unwrap_or(&self.environment)
    }

    /// Reads a file, or every `.yaml` in a folder: the environments of one pod.
    ///
    /// # Errors
    /// As [`Settings::read`], and a folder without settings.
    pub fn read_all(place: &Path) -> Result<Vec<Self>, Error> {
        if !place.is_dir() {
            return Ok(vec![Self::read(place)?]);
        }
        let shown = place.display().to_string();
        let failed = |source| Error::File { path: shown.clone(), source };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(place).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if file.extension().is_some_and(|extension| extension == "yaml") {
                files.push(file);
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(Error::Settings { file: shown, reason: "no file in it ends in .yaml".to_owned() });
        }
        files.iter().map(|file| Self::read(file)).collect()
    }

    /// The same with the port that a pod's probes ask, which older settings do not have.
    #[must_use]
    pub fn with_port(self) -> Self {
        Self { port: self.port.or(Some(PORT_IN_POD)), ..self }
    }

    /// Sees that the settings make sense; `file` is only for messages.
    ///
    /// # Errors
    /// Settings that make no sense.
    pub fn check(&self, file: &str) -> Result<(), Error> {
        let settings = self;
        let invalid = |reason: String| Error::Settings { file: file.to_owned(), reason };
        if settings.namespace == super::NAMESPACE {
            return Err(invalid(format!(
                "namespace: {} holds the sync's own key, which no manifest may reach; choose another",
                super::NAMESPACE
            )));
        }
        if let Err(reason) = super::validate::label(&settings.namespace) {
            return Err(invalid(format!("namespace: {reason}")));
        }
        for key in &settings.verify {
            if let Err(reason) = super::verify::key(key) {
                return Err(invalid(format!("verify: {key:?} is no public SSH key: {reason}")));
            }
        }
        // `:` and `*` would make another refspec of it; git forbids both in a branch's name.
        if !git2::Reference::is_valid_name(&format!("refs/heads/{}", settings.branch)) {
            return Err(invalid(format!("branch: {:?} is no branch name", settings.branch)));
        }
        Ok(())
    }

    /// What is applied where, for people: `live of ssh://git.example.com/m.git into the namespace shop`.
    #[must_use]
    pub fn applies(&self) -> String {
        format!("{} of {} into the namespace {}", self.path, self.url.shown(), self.namespace)
    }

    /// Whether an object is where its rights reach.
    #[must_use]
    pub fn reaches(&self, object: &ObjectId) -> bool {
        self.reach == Reach::Cluster || object.namespace.as_ref().is_none_or(|namespace| *namespace == self.namespace)
    }

    /// Whether its rights let it write a kind.
    #[must_use]
    pub fn may_write(&self, kind: &Kind) -> bool {
        self.reach == Reach::Cluster || kind.is_usual() || self.allowed.iter().any(|resource| kind.is(resource))
    }

    /// One of the credentials' files, where it is there.
    #[must_use]
    pub fn credential(&self, name: &str) -> Option<PathBuf> {
        self.credentials.as_ref().map(|folder| folder.join(name)).filter(|file| file.exists())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "environment: staging\nnamespace: shop\nurl: https://git.example.com/m.git\nbranch: main\n";

    #[test]
    fn little_is_needed() {
        let settings = Settings::parse("sync.yaml", SOUND).unwrap();
        assert_eq!((settings.path, settings.interval), (RelativePath::root(), Span::seconds(15)));
    }

    #[test]
    fn nonsense_is_named() {
        let refused = |text: &str| match Settings::parse("sync.yaml", text).unwrap_err() {
            Error::Settings { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        assert!(refused(&SOUND.replace("shop", "gitops-hooks-system")).contains("own key"));
        assert!(refused(&SOUND.replace("main", "'a:refs/heads/b'")).contains("no branch name"));
        assert!(refused(&SOUND.replace("shop", "Shop")).starts_with("namespace:"));
        assert!(refused(&format!("{SOUND}intervall: 3s\n")).contains("intervall"));
    }
}
