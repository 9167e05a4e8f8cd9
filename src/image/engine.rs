//! The container engine: where it is, and the connection to it. It is found as Docker's own command finds it, and then at the
//! usual places of Docker, Podman, Colima and `OrbStack`.

use super::{
    Error,
    credentials::{self, DockerConfig},
    error::chain,
};
use crate::values::Digest;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How long an engine may take to say that it is there.
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take to begin an answer.
const ANSWER_LIMIT_SECONDS: u64 = 120;
/// How long a build may be silent before its first byte, since the context is sent before.
const BUILD_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// An engine that answered.
#[derive(Clone)]
pub(super) struct Engine {
    pub docker: Docker,
    place: Place,
}

/// Where an engine may be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// `unix:///var/run/docker.sock`, `tcp://10.0.0.1:2376`.
    address: String,
    /// The folder of `ca.pem`, `cert.pem` and `key.pem`, for TLS.
    certificates: Option<PathBuf>,
    /// Why it is looked at: `DOCKER_HOST`.
    origin: String,
}

/// What decides where an engine is looked for.
#[derive(Debug, Default)]
struct Surroundings {
    docker_host: Option<String>,
    docker_context: Option<String>,
    current_context: Option<String>,
    /// `DOCKER_CERT_PATH`, only where `DOCKER_TLS_VERIFY` is set.
    certificates: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    home: Option<PathBuf>,
}

/// The order of Docker's command (docker/cli, `resolveContextName`): a context named for this call, the address in the
/// environment, the context in use; and only where nobody said anything the usual sockets.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Context(String),
    Address(Place),
    Usual(Vec<Place>),
}

impl Surroundings {
    fn of_process() -> Result<Self, Error> {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Ok(Self {
            docker_host: text("DOCKER_HOST"),
            docker_context: text("DOCKER_CONTEXT"),
            current_context: DockerConfig::load()?.current_context,
            certificates: text("DOCKER_TLS_VERIFY").and_then(|_| path("DOCKER_CERT_PATH").or_else(credentials::folder)),
            runtime_dir: path("XDG_RUNTIME_DIR"),
            home: std::env::home_dir(),
        })
    }

    fn choice(&self) -> Choice {
        // "default" is no context of its own but the absence of one.
        let named = |context: &Option<String>| context.clone().filter(|name| !name.is_empty() && name != "default");
        if let Some(context) = named(&self.docker_context) {
            return Choice::Context(context);
        }
        if let Some(address) = &self.docker_host {
            return Choice::Address(Place {
                address: address.clone(),
                certificates: self.certificates.clone(),
                origin: "DOCKER_HOST".to_owned(),
            });
        }
        if let (None, Some(context)) = (&self.docker_context, named(&self.current_context)) {
            return Choice::Context(context);
        }
        Choice::Usual(self.sockets())
    }

    fn sockets(&self) -> Vec<Place> {
        let below = |folder: &Option<PathBuf>, path: &str| folder.as_ref().map(|folder| folder.join(path));
        let usual = [
            (Some(PathBuf::from("/var/run/docker.sock")), "Docker"),
            (below(&self.runtime_dir, "docker.sock"), "Docker, rootless"),
            (below(&self.home, ".docker/run/docker.sock"), "Docker Desktop"),
            (below(&self.home, ".docker/desktop/docker.sock"), "Docker Desktop"),
            (below(&self.home, ".colima/default/docker.sock"), "Colima"),
            (below(&self.home, ".orbstack/run/docker.sock"), "OrbStack"),
            (below(&self.runtime_dir, "podman/podman.sock"), "Podman, rootless"),
            (Some(PathBuf::from("/run/podman/podman.sock")), "Podman"),
        ];
        let places = usual.into_iter().filter_map(|(path, origin)| {
            let address = format!("unix://{}", path?.display());
            Some(Place { address, certificates: None, origin: origin.to_owned() })
        });
        places.collect()
    }
}

impl Engine {
    /// Finds an engine that answers.
    pub(super) async fn connect() -> Result<Self, Error> {
        let places = match Surroundings::of_process()?.choice() {
            Choice::Context(name) => vec![context(&name)?],
            Choice::Address(place) => vec![place],
            Choice::Usual(places) => places,
        };
        let mut looked = Vec::new();
        for place in places {
            match place.connect().await {
                Ok(docker) => return Ok(Self { docker, place }),
                Err(reason) => looked.push(format!("  {} ({}): {reason}", place.address, place.origin)),
            }
        }
        Err(Error::NoEngine { looked: looked.join("\n") })
    }

    /// Where it is, and why it was looked for there.
    pub(super) fn shown(&self) -> String {
        format!("{} ({})", self.place.address, self.place.origin)
    }

    /// A connection of its own to the same engine, for cleaning up on another thread.
    pub(super) async fn again(&self) -> Option<Docker> {
        self.place.connect().await.ok()
    }

    /// The engine with time for a build.
    pub(super) fn for_builds(&self) -> Docker {
        self.docker.clone().with_timeout(BUILD_LIMIT)
    }

    /// Whether ports that it publishes on 127.0.0.1 are on this machine.
    pub(super) fn is_local(&self) -> bool {
        let host = self.place.address.split_once("://").map_or("", |(_, host)| host);
        self.place.address.starts_with("unix://") || host.starts_with("localhost") || host.starts_with("127.")
    }
}

impl Place {
    async fn connect(&self) -> Result<Docker, String> {
        crate::tls::choose_provider();
        let limit = ANSWER_LIMIT_SECONDS;
        let docker = if let Some(socket) = self.address.strip_prefix("unix://") {
            if !Path::new(socket).exists() {
                return Err("not there".to_owned());
            }
            Docker::connect_with_unix(&self.address, limit, API_DEFAULT_VERSION)
        } else if self.address.starts_with("tcp://") || self.address.starts_with("http://") {
            match &self.certificates {
                Some(folder) => {
                    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|file| folder.join(file));
                    Docker::connect_with_ssl(&self.address, &key, &cert, &ca, limit, API_DEFAULT_VERSION)
                }
                None => Docker::connect_with_http(&self.address, limit, API_DEFAULT_VERSION),
            }
        } else {
            return Err("addresses of this kind are not supported yet; unix:// and tcp:// are".to_owned());
        };
        let docker = docker.map_err(|error| chain(&error))?.with_request_modifier(url_safe_credentials);
        match tokio::time::timeout(HELLO_LIMIT, docker.ping()).await {
            Ok(Ok(_)) => Ok(docker),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err(format!("no answer within {} s", HELLO_LIMIT.as_secs())),
        }
    }
}

/// The engine decodes these headers as URL-safe base64 (Docker Engine API, "Authentication"); bollard writes the other
/// alphabet, which loses passwords with some characters, such as `?` and `~`.
fn url_safe_credentials(mut request: BollardRequest) -> BollardRequest {
    for name in ["x-registry-auth", "x-registry-config"] {
        let text = request.headers().get(name).and_then(|value| value.to_str().ok());
        let safe = text.and_then(|text| text.replace('+', "-").replace('/', "_").parse().ok());
        if let Some(safe) = safe {
            request.headers_mut().insert(name, safe);
        }
    }
    request
}

/// A docker context's endpoint (docker/cli, `cli/context/store`).
fn context(name: &str) -> Result<Place, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Meta {
        endpoints: Endpoints,
    }
    #[derive(Deserialize)]
    struct Endpoints {
        docker: Endpoint,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Endpoint {
        host: String,
    }
    let folder = credentials::folder().unwrap_or_default().join("contexts");
    let id = Digest::of(name.as_bytes());
    let path = folder.join("meta").join(id.hex()).join("meta.json");
    let unusable = |reason: String| Error::DockerConfig {
        path: path.display().to_string(),
        reason: format!("it should describe the docker context {name:?}: {reason}"),
    };
    let bytes = std::fs::read(&path).map_err(|error| unusable(error.to_string()))?;
    let meta: Meta = serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
    let certificates = folder.join("tls").join(id.hex()).join("docker");
    Ok(Place {
        address: meta.endpoints.docker.host,
        certificates: certificates.is_dir().then_some(certificates),
        origin: format!("docker context {name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_chosen_as_dockers_command_does() {
        let address = |choice: Choice| match choice {
            Choice::Address(place) => place.address,
            Choice::Context(name) => format!("context {name}"),
            Choice::Usual(places) => places[0].address.clone(),
        };
        let host = || Some("tcp://10.0.0.1:2375".to_owned());
        let all = Surroundings {
            docker_host: host(),
            docker_context: Some("remote".to_owned()),
            current_context: Some("colima".to_owned()),
            ..Surroundings::default()
        };
        assert_eq!(address(all.choice()), "context remote");
        let host_first =
            Surroundings { docker_host: host(), current_context: Some("colima".to_owned()), ..Surroundings::default() };
        assert_eq!(address(host_first.choice()), "tcp://10.0.0.1:2375");
        let in_use = Surroundings { current_context: Some("colima".to_owned()), ..Surroundings::default() };
        assert_eq!(address(in_use.choice()), "context colima");
        let default = Surroundings {
            docker_context: Some("default".to_owned()),
            current_context: Some("colima".to_owned()),
            ..Surroundings::default()
        };
        assert_eq!(address(default.choice()), "unix:///var/run/docker.sock");
    }

    #[test]
    fn the_usual_sockets_are_those_of_this_user() {
        let here = Surroundings {
            runtime_dir: Some("/run/user/7".into()),
            home: Some("/home/a".into()),
            ..Surroundings::default()
        };
        let sockets: Vec<String> = here.sockets().into_iter().map(|place| place.address).collect();
        for socket in
            ["/run/user/7/podman/podman.sock", "/home/a/.colima/default/docker.sock", "/run/podman/podman.sock"]
        {
            assert!(sockets.contains(&format!("unix://{socket}")), "{socket} in {sockets:?}");
        }
    }
}
