//! What the pod is told: one small YAML file, mounted from a `ConfigMap`, and a folder with the credentials, mounted from
//! a `Secret`. `cluster install` writes both.

use super::Error;
use crate::values::{EnvironmentName, RelativePath, RemoteUrl, Span};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The settings of one environment's sync.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The environment's name, which is part of the names of our own objects.
    pub environment: EnvironmentName,
    /// The only namespace whose objects are applied.
    pub namespace: String,
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
            url,
            branch: branch.to_owned(),
            path: RelativePath::root(),
            interval: default_interval(),
            credentials: Some(PathBuf::from(CREDENTIALS_IN_POD)),
            data: default_data(),
            verify: Vec::new(),
            port: Some(PORT_IN_POD),
            patience: default_patience(),
        }
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
