//! The container engine: where it is, what it is, and the connection to it. It is found as Docker's own command finds it, and
//! then at the usual places of Docker, Podman, Colima and `OrbStack`.

use super::{
    Error,
    credentials::{self, DockerConfig},
    dial::{Connection, Route},
    error::chain,
};
use crate::values::{Digest, Repository, Tag};
use bollard::{
    API_DEFAULT_VERSION, BollardRequest, Docker, errors::Error as EngineError, models::SystemVersion,
    query_parameters::TagImageOptionsBuilder,
};
use http_body_util::BodyExt;
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use serde::Deserialize;
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long an engine may take to say that it is there, and how long one behind SSH may.
const HELLO_LIMIT: Duration = Duration::from_secs(5);
const HELLO_OVER_SSH_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to begin an answer.
const ANSWER_LIMIT_SECONDS: u64 = 120;
/// How long a build may be silent before its first byte, since the context is sent before.
const BUILD_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// How often a name is given again where somebody else gave it at the same moment, and the time between.
const NAMING_TRIES: u32 = 10;
const NAMING_WAIT: Duration = Duration::from_millis(50);

/// An engine that answered.
#[derive(Clone)]
pub(super) struct Engine {
    pub docker: Docker,
    pub kind: Kind,
    /// What its machine is, such as `linux/amd64`.
    pub platform: String,
    place: Place,
    route: Route,
}

/// Whose engine it is, which decides what it can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Docker,
    /// Podman builds with Buildah, which knows heredocs since its version 4.8.
    Podman {
        knows_heredocs: bool,
    },
}

/// Why an engine did not make a connection into another one.
#[derive(Debug)]
pub(super) enum NoUpgrade {
    /// It does not know of such a thing.
    Unknown,
    Failed(String),
}

/// Whether somebody else gave a name to an image at the same moment.
pub(super) fn is_taken(error: &EngineError) -> bool {
    matches!(error, EngineError::DockerResponseServerError { message, .. } if message.contains("already exists"))
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

/// The order of Docker's command (docker/cli, `resolveContextName`): the address in the environment, the context named
/// there, the context in use; and only where nobody said anything the usual sockets.
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
        if let Some(address) = &self.docker_host {
            return Choice::Address(Place {
                address: address.clone(),
                certificates: self.certificates.clone(),
                origin: "DOCKER_HOST".to_owned(),
            });
        }
        if let Some(context) = named(&self.docker_context) {
            return Choice::Context(context);
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
                Ok(engine) => return Ok(engine),
                Err(reason) => looked.push(format!("  {} ({}): {reason}", place.address, place.origin)),
            }
        }
        Err(Error::NoEngine { looked: looked.join("\n") })
    }

    /// Where it is, and why it was looked for there.
    pub(super) fn shown(&self) -> String {
        format!("{} ({})", self.place.address, self.place.origin)
    }

    /// Gives an image a name. An engine that takes the name from another image does so in two steps (moby,
    /// `daemon/containerd/image_tag.go`), and refuses whoever gives it at the same time.
    pub(super) async fn name(&self, id: &str, repository: &Repository, tag: &Tag) -> Result<(), EngineError> {
        let mut tries = 0;
        loop {
            let name = TagImageOptionsBuilder::new().repo(&repository.to_string()).tag(tag.as_str()).build();
            match self.docker.tag_image(id, Some(name)).await {
                Err(error) if is_taken(&error) && tries < NAMING_TRIES => {
                    tries += 1;
                    tokio::time::sleep(NAMING_WAIT).await;
                }
                named => return named,
            }
        }
    }

    /// A connection of its own to the same engine, for cleaning up on another thread.
    pub(super) async fn again(&self) -> Option<Docker> {
        self.place.connect().await.ok().map(|engine| engine.docker)
    }

    /// The engine with time for a build.
    pub(super) fn for_builds(&self) -> Docker {
        self.docker.clone().with_timeout(BUILD_LIMIT)
    }

    /// A connection to a port that is open on its machine.
    pub(super) async fn reach(&self, at: SocketAddr) -> io::Result<Connection> {
        self.route.reach(at).await
    }

    /// Whether the addresses of its containers are those of this machine's own networks.
    pub(super) async fn is_beside_its_containers(&self) -> bool {
        let is_rootless = |info: bollard::models::SystemInfo| {
            info.security_options.unwrap_or_default().iter().any(|option| option.contains("rootless"))
        };
        cfg!(target_os = "linux")
            && matches!(self.route, Route::Unix(_))
            && self.docker.info().await.is_ok_and(|info| !is_rootless(info))
    }

    /// What the engine says of something, read as `T`. Podman's words for a container's state are not all Docker's, which
    /// bollard's types insist on.
    pub(super) async fn told<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let failed = |error: &dyn std::error::Error| io::Error::other(chain(error));
        let connection = self.route.dial().await?;
        let (mut sender, driver) = http1::handshake(TokioIo::new(connection)).await.map_err(|error| failed(&error))?;
        tokio::spawn(driver);
        let request = Request::get(path).header("Host", "engine").body(String::new());
        let request = request.map_err(|error| failed(&error))?;
        let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status_code = answer.status().as_u16();
        let is_good = answer.status().is_success();
        let body = answer.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
        if !is_good {
            let message = String::from_utf8_lossy(&body).into_owned();
            return Err(EngineError::DockerResponseServerError { status_code, message });
        }
        serde_json::from_slice(&body).map_err(|error| failed(&error).into())
    }

    /// A connection on which something else than the engine's API is spoken from now on (Docker Engine API, `/session`).
    pub(super) async fn upgraded(&self, path: &str, headers: &[(&str, &str)]) -> Result<Connection, NoUpgrade> {
        let failed = |error: &dyn std::error::Error| NoUpgrade::Failed(chain(error));
        let connection = self.route.dial().await.map_err(|error| failed(&error))?;
        let (mut sender, driver) = http1::handshake(TokioIo::new(connection)).await.map_err(|error| failed(&error))?;
        tokio::spawn(driver.with_upgrades());
        let mut request =
            Request::post(path).header("Host", "engine").header("Connection", "Upgrade").header("Upgrade", "h2c");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(String::new()).map_err(|error| failed(&error))?;
        let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
        match answer.status() {
            StatusCode::SWITCHING_PROTOCOLS => {}
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                return Err(NoUpgrade::Unknown);
            }
            status => return Err(NoUpgrade::Failed(format!("HTTP status {status}"))),
        }
        let upgraded = hyper::upgrade::on(answer).await.map_err(|error| failed(&error))?;
        Ok(Connection::new(TokioIo::new(upgraded)))
    }
}

impl Place {
    async fn connect(&self) -> Result<Engine, String> {
        crate::tls::choose_provider();
        if self.address.strip_prefix("unix://").is_some_and(|socket| !Path::new(socket).exists()) {
            return Err("not there".to_owned());
        }
        let route = Route::parse(&self.address, self.certificates.as_deref())?;
        let limit = if matches!(route, Route::Ssh(_)) { HELLO_OVER_SSH_LIMIT } else { HELLO_LIMIT };
        let docker = over(&route)?;
        let version = match tokio::time::timeout(limit, docker.version()).await {
            Ok(Ok(version)) => version,
            Ok(Err(error)) => return Err(route.said().unwrap_or_else(|| chain(&error))),
            Err(_) => return Err(route.said().unwrap_or_else(|| format!("no answer within {} s", limit.as_secs()))),
        };
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let platform = format!("{}/{}", part(&version.os), part(&version.arch));
        Ok(Engine { docker, kind: Kind::of(&version), platform, place: self.clone(), route })
    }
}

/// The engine's API over a route.
fn over(route: &Route) -> Result<Docker, String> {
    let dialled = route.clone();
    let connector = tower::service_fn(move |_: hyper::Uri| {
        let route = dialled.clone();
        Box::pin(async move { route.dial().await.map(TokioIo::new) })
    });
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let transport = move |request: BollardRequest| {
        let answer = client.request(request);
        async move { answer.await.map_err(bollard::errors::Error::from) }
    };
    // The host is in no address that anybody looks up: the route leads there.
    let docker = Docker::connect_with_custom_transport(
        transport,
        Some("http://engine"),
        ANSWER_LIMIT_SECONDS,
        API_DEFAULT_VERSION,
    );
    Ok(docker.map_err(|error| chain(&error))?.with_request_modifier(url_safe_credentials))
}

impl Kind {
    /// What people call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Docker => "Docker's classic builder",
            Self::Podman { .. } => "Podman",
        }
    }

    fn of(version: &SystemVersion) -> Self {
        let parts = version.components.as_deref().unwrap_or_default();
        let Some(podman) = parts.iter().find(|part| part.name.starts_with("Podman")) else { return Self::Docker };
        let mut numbers = podman.version.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
        let numbers = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Self::Podman { knows_heredocs: numbers >= (4, 8) }
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
        assert_eq!(address(all.choice()), "tcp://10.0.0.1:2375");
        let named = Surroundings { docker_host: None, ..all };
        assert_eq!(address(named.choice()), "context remote");
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
