//! The trial run: the image is started, asked once it listens, and removed, whatever happens. Its port is open on 127.0.0.1
//! alone, and it reaches no other machine unless the configuration says so. What a killed process left behind is found by its
//! label at the next run.

use super::{
    Error, Request,
    answer::{Answer, ask},
    engine::{Engine, Kind},
    owner::Owner,
    session::unique,
};
use crate::{config::Smoke, ui::Task, values::ImageRef};
use bollard::{
    Docker,
    container::LogOutput,
    exec::StartExecResults,
    models::{ContainerCreateBody, ExecConfig, HostConfig, NetworkCreateRequest, PortBinding},
    query_parameters::{
        CreateContainerOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder, LogsOptionsBuilder,
        RemoveContainerOptionsBuilder, StartContainerOptions,
    },
};
use futures_util::{Stream, StreamExt};
use serde::Deserialize;
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

/// The label that says whose trial run a container or network is.
const LABEL: &str = "dev.gitops-hooks.smoke";
/// How long one question may take.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// How long a plainly wrong answer may still become the right one: while it starts, an app may say 404.
const WRONG_LIMIT: Duration = Duration::from_secs(10);
/// How long a dropped run waits for its container to be gone.
const REMOVE_LIMIT: Duration = Duration::from_secs(10);
/// How long an engine may still work on what nobody waits for any more.
const AFTERWARDS: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(100);
const LOG_LINES: &str = "50";

/// Starts an image and waits for the expected answer. `named` is what a person may call it, where it has a name.
///
/// # Errors
/// [`Error::Smoke`] with the log, when the image ends or does not answer in time.
pub(super) async fn run(
    engine: &Engine,
    request: &Request<'_>,
    image: &str,
    named: Option<&ImageRef>,
    smoke: &Smoke,
    task: &Task,
) -> Result<(), Error> {
    task.message("trying it");
    remove_leftovers(&engine.docker).await;
    let trial = Trial::new(engine, smoke).await;
    trial.start(image, one_of(request.image.platform.as_str(), &engine.platform), smoke).await?;
    let mut waiting = format!("was not seen to run within {}", smoke.timeout);
    let judged = tokio::time::timeout(smoke.timeout.duration(), trial.judge(smoke, &mut waiting)).await;
    let judged = match judged {
        Ok(judged) => judged?,
        Err(_) => Some(waiting),
    };
    let failed = match judged {
        None => None,
        Some(reason) => {
            let tail = trial.log().await;
            task.output(tail.as_bytes());
            let by_hand = match named {
                Some(reference) => format!("docker run --rm -it {reference}"),
                None => format!("gitops-hooks image build {} --load", request.name),
            };
            Some(Error::Smoke { name: request.name.to_string(), reason, tail, by_hand })
        }
    };
    trial.remove().await;
    failed.map_or(Ok(()), Err)
}

/// The platform that is tried: the engine's own where the image is for it.
fn one_of<'p>(platforms: &'p str, own: &'p str) -> &'p str {
    let mut all = platforms.split(',').map(str::trim);
    if all.clone().any(|platform| platform == own) { own } else { all.next().unwrap_or(own) }
}

/// A container and its network, which are removed when it is dropped, also where the run was given up in the middle.
struct Trial {
    engine: Engine,
    /// Of both.
    name: String,
    wall: Wall,
    state: State,
}

/// What is between the container and other machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wall {
    /// Nothing: the configuration says so, or the engine cannot.
    None,
    /// A network that packets leave with a sender that nobody answers. Ports can be published.
    Unanswered,
    /// A network without a way out, and none in but from the engine's machine itself.
    Internal,
}

impl Wall {
    async fn of(engine: &Engine, smoke: &Smoke) -> Self {
        match engine.kind {
            _ if smoke.internet => Self::None,
            Kind::Docker => Self::Unanswered,
            // Published ports lead into no internal network of Podman's: the container itself must be in reach.
            Kind::Podman { .. } if engine.is_beside_its_containers().await => Self::Internal,
            Kind::Podman { .. } => Self::None,
        }
    }
}

#[derive(PartialEq)]
enum State {
    MayExist,
    Removed,
}

impl Trial {
    async fn new(engine: &Engine, smoke: &Smoke) -> Self {
        let name = format!("gitops-hooks-smoke-{}", &unique()[..16]);
        // From here on there may be something, even if the answer to the next call is never seen.
        Self { engine: engine.clone(), name, wall: Wall::of(engine, smoke).await, state: State::MayExist }
    }

    async fn start(&self, image: &str, platform: &str, smoke: &Smoke) -> Result<(), Error> {
        let failed = |source| Error::Engine { doing: "starting the image".to_owned(), source };
        let docker = &self.engine.docker;
        let labels = HashMap::from([(LABEL.to_owned(), Owner::this_process().to_string())]);
        if let Some(network) = network(&self.name, &labels, self.wall) {
            docker.create_network(network).await.map_err(failed)?;
        }
        let port = smoke.port.map(|port| format!("{port}/tcp"));
        let loopback = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(String::new()) };
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            env: Some(smoke.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            labels: Some(labels),
            exposed_ports: port.clone().map(|port| vec![port]),
            host_config: Some(HostConfig {
                port_bindings: port
                    .filter(|_| self.wall != Wall::Internal)
                    .map(|port| HashMap::from([(port, Some(vec![loopback]))])),
                network_mode: (self.wall != Wall::None).then(|| self.name.clone()),
                tmpfs: Some(smoke.tmpfs.iter().map(|folder| (folder.clone(), String::new())).collect()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::new().name(&self.name).platform(platform).build();
        docker.create_container(Some(options), body).await.map_err(failed)?;
        docker.start_container(&self.name, None::<StartContainerOptions>).await.map_err(failed)
    }

    /// `None` once all is right; else why it never will be. What it waits for stands in `waiting`.
    async fn judge(&self, smoke: &Smoke, waiting: &mut String) -> Result<Option<String>, Error> {
        let mut wrong_since = None;
        loop {
            let (state, at) = self.state(smoke).await?;
            if !state.running {
                let code = state.exit_code;
                return Ok(Some(format!("ended with exit code {code} before it answered")));
            }
            let health = state.health.unwrap_or_default();
            let tried = match health.status.as_str() {
                "unhealthy" => {
                    let last = health.log.unwrap_or_default().pop().unwrap_or_default().output;
                    let said = last.trim().lines().last().unwrap_or_default();
                    return Ok(Some(
                        format!("its own health check fails: {said}").trim_end_matches([':', ' ']).to_owned(),
                    ));
                }
                "starting" => Tried::NotYet("was not healthy".to_owned()),
                "healthy" => self.answers(smoke, at).await?,
                _ if smoke.port.is_none() && smoke.run.is_none() => {
                    let what =
                        "nothing says when it is right: give `smoke` a `port` or `run`, or the image a HEALTHCHECK";
                    return Ok(Some(what.to_owned()));
                }
                _ => self.answers(smoke, at).await?,
            };
            match tried {
                Tried::Right => return Ok(None),
                Tried::NotYet(what) => {
                    wrong_since = None;
                    *waiting = format!("{what} within {}", smoke.timeout);
                }
                Tried::Again(what) => {
                    wrong_since = None;
                    *waiting = format!("{what}; it was tried again for {}", smoke.timeout);
                }
                Tried::Wrong(what) => {
                    let since = *wrong_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > WRONG_LIMIT.min(smoke.timeout.duration() / 2) {
                        return Ok(Some(what));
                    }
                    *waiting = format!("{what}; it was tried again for {}", smoke.timeout);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks the port, and then runs the command.
    async fn answers(&self, smoke: &Smoke, at: Option<SocketAddr>) -> Result<Tried, Error> {
        if smoke.port.is_some() {
            let none = || Tried::NotYet(format!("did not answer GET {}", smoke.path));
            let Some(at) = at else { return Ok(none()) };
            let connection = match self.engine.reach(at).await {
                Ok(connection) => connection,
                Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(Tried::Wrong(error.to_string())),
                Err(_) => return Ok(none()),
            };
            let body_wanted = smoke.body.is_some();
            let asked = tokio::time::timeout(ASK_LIMIT, ask(connection, &smoke.path, body_wanted)).await;
            let Ok(Ok(Answer { status, body })) = asked else { return Ok(none()) };
            if status != smoke.expect.code() {
                let what = format!("GET {} answered {status}, not {}", smoke.path, smoke.expect);
                // So says what is not ready yet (RFC 9110, 15.6).
                return Ok(if status >= 500 { Tried::Again(what) } else { Tried::Wrong(what) });
            }
            if let Some(wanted) = &smoke.body
                && !String::from_utf8_lossy(&body).contains(wanted)
            {
                return Ok(Tried::Wrong(format!("GET {} answered {status} without {wanted:?} in it", smoke.path)));
            }
        }
        let Some(command) = &smoke.run else { return Ok(Tried::Right) };
        let (code, said) = self.exec(command).await?;
        if code == 0 {
            return Ok(Tried::Right);
        }
        let said = said.trim().lines().last().unwrap_or_default();
        Ok(Tried::Again(
            format!("`{command}` ended with exit code {code}: {said}").trim_end_matches([':', ' ']).to_owned(),
        ))
    }

    async fn exec(&self, command: &str) -> Result<(i64, String), Error> {
        let failed = |source| Error::Engine { doing: "running a command in the image".to_owned(), source };
        let docker = &self.engine.docker;
        let config = ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(["sh", "-c", command].map(str::to_owned).to_vec()),
            ..ExecConfig::default()
        };
        let id = docker.create_exec(&self.name, config).await.map_err(failed)?.id;
        let said = match docker.start_exec(&id, None).await.map_err(failed)? {
            StartExecResults::Attached { output, .. } => gathered(output).await,
            StartExecResults::Detached => String::new(),
        };
        let ended = docker.inspect_exec(&id).await.map_err(failed)?;
        Ok((ended.exit_code.unwrap_or(-1), said))
    }

    /// The container's state, and where its port is open on the engine's machine, once the engine has seen to it.
    async fn state(&self, smoke: &Smoke) -> Result<(Seen, Option<SocketAddr>), Error> {
        let told = self.engine.told::<Container>(&format!("/containers/{}/json", self.name)).await;
        let told = told.map_err(|source| Error::Engine { doing: "watching the image".to_owned(), source })?;
        let network = told.network_settings;
        let at = if self.wall == Wall::Internal {
            let own = network.networks.unwrap_or_default().remove(&self.name);
            let address = own.and_then(|own| own.ip_address.parse::<IpAddr>().ok());
            address.and_then(|address| Some(SocketAddr::new(address, smoke.port?.get())))
        } else {
            let mut ports = network.ports.unwrap_or_default();
            let bound = smoke.port.and_then(|port| ports.remove(&format!("{port}/tcp")).flatten()).unwrap_or_default();
            let port = bound.into_iter().find_map(|binding| binding.host_port.parse().ok());
            port.map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
        };
        Ok((told.state, at))
    }

    async fn log(&self) -> String {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(LOG_LINES).build();
        gathered(self.engine.docker.logs(&self.name, Some(options))).await
    }

    async fn remove(mut self) {
        remove(&self.engine.docker, &self.name).await;
        self.state = State::Removed;
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if self.state == State::Removed {
            return;
        }
        // The runtime may be about to end: the removal has its own, on its own thread, and is waited for.
        let (engine, name) = (self.engine.clone(), self.name.clone());
        let (done, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                runtime.block_on(async {
                    if let Some(docker) = engine.again().await {
                        remove(&docker, &name).await;
                        // What the engine was making when it was given up may come to be after that.
                        tokio::time::sleep(AFTERWARDS).await;
                        remove(&docker, &name).await;
                    }
                });
            }
            let _ = done.send(());
        });
        let _ = wait.recv_timeout(REMOVE_LIMIT);
    }
}

/// What became of one look at the container.
enum Tried {
    Right,
    /// It did not answer yet: what to say if it never does.
    NotYet(String),
    /// It answered that it cannot yet, or a command failed: both may pass.
    Again(String),
    /// It answered something else.
    Wrong(String),
}

/// What an engine says of a container, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    state: Seen,
    network_settings: Network,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Seen {
    running: bool,
    exit_code: i64,
    health: Option<Health>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Health {
    status: String,
    log: Option<Vec<Checked>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Checked {
    output: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    ports: Option<HashMap<String, Option<Vec<Bound>>>>,
    networks: Option<HashMap<String, Joined>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Bound {
    host_port: String,
}

#[derive(Deserialize)]
struct Joined {
    #[serde(rename = "IPAddress", default)]
    ip_address: String,
}

fn network(name: &str, labels: &HashMap<String, String>, wall: Wall) -> Option<NetworkCreateRequest> {
    let (internal, options) = match wall {
        Wall::None => return None,
        Wall::Unanswered => {
            let masquerade = "com.docker.network.bridge.enable_ip_masquerade".to_owned();
            (None, Some(HashMap::from([(masquerade, "false".to_owned())])))
        }
        Wall::Internal => (Some(true), None),
    };
    Some(NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        internal,
        options,
        labels: Some(labels.clone()),
        ..NetworkCreateRequest::default()
    })
}

async fn gathered(mut output: impl Stream<Item = Result<LogOutput, bollard::errors::Error>> + Unpin) -> String {
    let mut log = String::new();
    while let Some(Ok(piece)) = output.next().await {
        if let LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message } = piece {
            log.push_str(&String::from_utf8_lossy(&message));
        }
    }
    log
}

/// Removes a container with its anonymous volumes, and its network. That they are gone already is as good.
async fn remove(docker: &Docker, name: &str) {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let _ = docker.remove_container(name, Some(options)).await;
    let _ = docker.remove_network(name).await;
}

/// Removes what processes of this machine left that are no more. Best effort: the run itself does not depend on it.
async fn remove_leftovers(docker: &Docker) {
    let filters = HashMap::from([("label", vec![LABEL])]);
    let this = Owner::this_process();
    let is_left = |labels: Option<HashMap<String, String>>| {
        let owner = labels.and_then(|labels| labels.get(LABEL)?.parse::<Owner>().ok());
        owner.is_some_and(|owner| owner.host == this.host && !owner.is_alive())
    };
    let all = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    for container in docker.list_containers(Some(all)).await.unwrap_or_default() {
        if let (Some(id), true) = (container.id, is_left(container.labels)) {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            let _ = docker.remove_container(&id, Some(options)).await;
        }
    }
    let all = ListNetworksOptionsBuilder::new().filters(&filters).build();
    for network in docker.list_networks(Some(all)).await.unwrap_or_default() {
        if let (Some(id), true) = (network.id, is_left(network.labels)) {
            let _ = docker.remove_network(&id).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_own_platform_is_tried_where_the_image_has_it() {
        assert_eq!(one_of("linux/amd64,linux/arm64", "linux/arm64"), "linux/arm64");
        assert_eq!(one_of("linux/amd64", "linux/arm64"), "linux/amd64");
    }
}
