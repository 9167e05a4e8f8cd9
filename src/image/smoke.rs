//! The trial run: the image is started, asked once it listens, and removed, whatever happens. Its port is open on 127.0.0.1
//! alone. What a killed process left behind is found by its label at the next run.

use super::{Error, engine::Engine};
use crate::{config::Smoke, ui::Task};
use bollard::{
    Docker,
    container::LogOutput,
    models::{ContainerCreateBody, HostConfig, PortBinding},
    query_parameters::{
        CreateContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
        StartContainerOptions,
    },
};
use futures_util::StreamExt;
use std::{
    collections::HashMap,
    fmt, io,
    str::FromStr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The label that says whose trial run a container is.
const LABEL: &str = "dev.gitops-hooks.smoke";
/// How long one question may take.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// How long an answer with another status may still become the right one: while it starts, an app may say 404 or 503.
const WRONG_LIMIT: Duration = Duration::from_secs(10);
/// How long a dropped run waits for its container to be gone.
const REMOVE_LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);
const LOG_LINES: &str = "50";

/// Starts an image and waits for the expected answer.
///
/// # Errors
/// [`Error::Smoke`] with the log, when the image ends or does not answer in time.
pub(super) async fn run(
    engine: &Engine,
    name: &str,
    image: &str,
    platform: &str,
    smoke: &Smoke,
    task: &Task,
) -> Result<(), Error> {
    task.message("trying it");
    remove_leftovers(&engine.docker).await;
    let container = Container::start(engine, image, platform, smoke).await?;
    let judged = match tokio::time::timeout(smoke.timeout.duration(), container.wait_for_answer(smoke)).await {
        Ok(judged) => judged?,
        Err(_) => Some(format!("did not answer GET {} within {}", smoke.path, smoke.timeout)),
    };
    let failed = match judged {
        None => None,
        Some(reason) => {
            let tail = container.log().await;
            task.output(tail.as_bytes());
            Some(Error::Smoke { name: name.to_owned(), reason, tail })
        }
    };
    container.remove().await;
    failed.map_or(Ok(()), Err)
}

/// A container that is removed when it is dropped, also where the run was given up in the middle.
struct Container {
    engine: Engine,
    name: String,
    state: State,
}

#[derive(PartialEq)]
enum State {
    MayExist,
    Removed,
}

impl Container {
    async fn start(engine: &Engine, image: &str, platform: &str, smoke: &Smoke) -> Result<Self, Error> {
        let failed = |source| Error::Engine { doing: "starting the image".to_owned(), source };
        let owner = Owner::this_process();
        let nanoseconds =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("gitops-hooks-smoke-{}-{nanoseconds}", owner.pid);
        let port = format!("{}/tcp", smoke.port);
        let loopback = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: None };
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            env: Some(smoke.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            labels: Some(HashMap::from([(LABEL.to_owned(), owner.to_string())])),
            exposed_ports: Some(vec![port.clone()]),
            host_config: Some(HostConfig {
                port_bindings: Some(HashMap::from([(port, Some(vec![loopback]))])),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        // From here on there may be a container, even if the answer to the next call is never seen.
        let container = Self { engine: engine.clone(), name, state: State::MayExist };
        let options = CreateContainerOptionsBuilder::new().name(&container.name).platform(platform).build();
        engine.docker.create_container(Some(options), body).await.map_err(failed)?;
        engine.docker.start_container(&container.name, None::<StartContainerOptions>).await.map_err(failed)?;
        Ok(container)
    }

    /// `None` once the answer is right; else why it never will be.
    async fn wait_for_answer(&self, smoke: &Smoke) -> Result<Option<String>, Error> {
        let mut wrong_since = None;
        loop {
            let port = match self.state(smoke.port.get()).await? {
                Running::Ended(code) => return Ok(Some(format!("ended with exit code {code} before it answered"))),
                Running::At(port) => port,
            };
            if let Some(port) = port
                && let Ok(Ok(status)) = tokio::time::timeout(ASK_LIMIT, ask(port, &smoke.path)).await
            {
                if status == smoke.expect.code() {
                    return Ok(None);
                }
                let since = *wrong_since.get_or_insert_with(Instant::now);
                if since.elapsed() > WRONG_LIMIT.min(smoke.timeout.duration() / 2) {
                    return Ok(Some(format!("GET {} answered {status}, not {}", smoke.path, smoke.expect)));
                }
            } else if port.is_some() && !self.engine.is_local() {
                return Ok(Some("the engine is on another machine, where its port cannot be asked".to_owned()));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn state(&self, port: u16) -> Result<Running, Error> {
        let seen = self.engine.docker.inspect_container(&self.name, None).await;
        let seen = seen.map_err(|source| Error::Engine { doing: "watching the image".to_owned(), source })?;
        let state = seen.state.unwrap_or_default();
        if state.running != Some(true) {
            return Ok(Running::Ended(state.exit_code.unwrap_or_default()));
        }
        let bound = seen.network_settings.and_then(|network| network.ports);
        let bound = bound.and_then(|mut ports| ports.remove(&format!("{port}/tcp")).flatten());
        let port = bound.and_then(|bindings| bindings.into_iter().find_map(|binding| binding.host_port?.parse().ok()));
        Ok(Running::At(port))
    }

    async fn log(&self) -> String {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(LOG_LINES).build();
        let mut told = self.engine.docker.logs(&self.name, Some(options));
        let mut log = String::new();
        while let Some(Ok(piece)) = told.next().await {
            if let LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message } =
                piece
            {
                log.push_str(&String::from_utf8_lossy(&message));
            }
        }
        log
    }

    async fn remove(mut self) {
        remove(&self.engine.docker, &self.name).await;
        self.state = State::Removed;
    }
}

impl Drop for Container {
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
                    }
                });
            }
            let _ = done.send(());
        });
        let _ = wait.recv_timeout(REMOVE_LIMIT);
    }
}

enum Running {
    Ended(i64),
    /// The port on 127.0.0.1, once the engine has bound it.
    At(Option<u16>),
}

/// Removes a container with its anonymous volumes. That it is gone already is as good.
async fn remove(docker: &Docker, name: &str) {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let _ = docker.remove_container(name, Some(options)).await;
}

/// Removes what processes of this machine left that are no more. Best effort: the run itself does not depend on it.
async fn remove_leftovers(docker: &Docker) {
    let filters = HashMap::from([("label", vec![LABEL])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let this = Owner::this_process();
    for container in docker.list_containers(Some(options)).await.unwrap_or_default() {
        let owner = container.labels.and_then(|labels| labels.get(LABEL)?.parse::<Owner>().ok());
        if let (Some(id), Some(owner)) = (container.id, owner)
            && owner.host == this.host
            && !owner.is_alive()
        {
            remove(docker, &id).await;
        }
    }
}

/// A process, told apart from another one that got the same number later.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    pid: u32,
    /// When it started, in ticks since the machine did; 0 where the system does not tell.
    start: u64,
    host: String,
}

impl Owner {
    fn this_process() -> Self {
        let pid = std::process::id();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { pid, start: started(pid).unwrap_or(0), host }
    }

    fn is_alive(&self) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw) else { return false };
        let exists = match rustix::process::test_kill_process(pid) {
            Ok(()) => true,
            Err(error) => error != rustix::io::Errno::SRCH,
        };
        exists && (self.start == 0 || started(self.pid).is_none_or(|start| start == self.start))
    }
}

/// The 22nd field of `/proc/<pid>/stat` (`proc_pid_stat(5)`); the second may contain anything, but ends with the last `)`.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.pid, self.start, self.host)
    }
}

impl FromStr for Owner {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, ' ');
        let mut next = || parts.next().ok_or(());
        let (pid, start, host) = (next()?, next()?, next()?);
        Ok(Self { pid: pid.parse().map_err(drop)?, start: start.parse().map_err(drop)?, host: host.to_owned() })
    }
}

/// One GET; the answer's status. HTTP/1.0, so that the server closes when it is done and sends nothing in chunks.
async fn ask(port: u16, path: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!(
        "GET {} HTTP/1.0\r\nHost: localhost:{port}\r\nUser-Agent: gitops-hooks\r\nAccept: */*\r\n\r\n",
        request_path(path)
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // The status line is all that matters, and short.
    (&mut stream)
        .take(64)
        .read_to_end(&mut answer)
        .await
        .or_else(|error| if answer.is_empty() { Err(error) } else { Ok(0) })?;
    status(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.split(|byte| *byte == b'\r').next()?).ok()?;
    line.strip_prefix("HTTP/")?.split(' ').nth(1)?.parse().ok()
}

/// A path as a request line takes it: with a leading slash, and no space or control character that would end it.
fn request_path(path: &str) -> String {
    use fmt::Write;
    let mut written = if path.starts_with('/') { String::new() } else { "/".to_owned() };
    for byte in path.bytes() {
        if byte.is_ascii_graphic() {
            written.push(char::from(byte));
        } else {
            let _ = write!(written, "%{byte:02X}");
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_alive_until_its_process_ends() {
        let this = Owner::this_process();
        assert_eq!(this.to_string().parse(), Ok(this.clone()));
        assert!(this.is_alive());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert!(!Owner { pid, ..this.clone() }.is_alive());
        if cfg!(target_os = "linux") {
            assert!(!Owner { start: this.start + 1, ..this }.is_alive(), "the same number, but another process");
        }
    }

    #[test]
    fn a_status_is_read_and_a_path_stays_one() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\nX: y\r\n"), Some(204));
        assert_eq!(status(b"SSH-2.0-OpenSSH\r\n"), None);
        assert_eq!(request_path("health check\r\nX: y"), "/health%20check%0D%0AX:%20y");
        assert_eq!(request_path("/a?b=c"), "/a?b=c");
    }
}
