//! A connection to an engine, whatever lies between: a unix socket, TCP with or without TLS, or SSH to a machine whose own
//! `docker` passes everything on (`docker system dial-stdio`, as Docker's command does it). What is said over it is not
//! known here.

use super::error::chain;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    process::{Child, Command},
};
use tokio_rustls::TlsConnector;

/// The most that is kept of what `ssh` says.
const SAID_BYTES: u64 = 4096;

/// How an engine is reached.
#[derive(Clone)]
pub(super) enum Route {
    Unix(PathBuf),
    Tcp {
        /// `host:port`.
        at: String,
        tls: Option<Tls>,
    },
    Ssh(Arc<Remote>),
}

#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// A machine that `ssh` knows the way to.
pub(super) struct Remote {
    /// `[user@]host`, as the user wrote it.
    destination: String,
    port: Option<u16>,
    /// The engine's socket there, where the address names one.
    socket: Option<String>,
    /// What `ssh` said last: why a connection failed.
    said: Mutex<String>,
}

impl Route {
    /// Reads an address as Docker's command does; `certificates` is the folder of `ca.pem`, `cert.pem` and `key.pem`.
    pub(super) fn parse(address: &str, certificates: Option<&Path>) -> Result<Self, String> {
        let Some((scheme, rest)) = address.split_once("://") else {
            return Err("it should begin with unix://, tcp:// or ssh://".to_owned());
        };
        match scheme {
            "unix" => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" | "http" | "https" => {
                let authority = rest.split('/').next().unwrap_or_default();
                let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                let port = if certificates.is_some() { 2376 } else { 2375 };
                let at = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
                let tls = certificates.map(|folder| Tls::with(folder, &at)).transpose()?;
                Ok(Self::Tcp { at, tls })
            }
            "ssh" => Remote::parse(rest).map(|remote| Self::Ssh(Arc::new(remote))),
            _ => Err("addresses of this kind are not supported; unix://, tcp:// and ssh:// are".to_owned()),
        }
    }

    /// Connects.
    pub(super) async fn dial(&self) -> io::Result<Connection> {
        match self {
            Self::Unix(path) => UnixStream::connect(path).await.map(Connection::new),
            Self::Tcp { at, tls } => {
                let stream = TcpStream::connect(at).await?;
                stream.set_nodelay(true)?;
                match tls {
                    None => Ok(Connection::new(stream)),
                    Some(tls) => tls.connector.connect(tls.name.clone(), stream).await.map(Connection::new),
                }
            }
            Self::Ssh(remote) => Remote::dial(remote),
        }
    }

    /// Connects to a port on the machine where the engine is.
    pub(super) async fn reach(&self, port: SocketAddr) -> io::Result<Connection> {
        match self {
            Self::Ssh(remote) => remote.spawn(&["-W", &port.to_string()], &[]),
            Self::Tcp { at, .. } if !at.starts_with("localhost:") && !at.starts_with("127.") => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the engine is on another machine, whose ports are closed: reach it with ssh://, or smoke it with `run`",
            )),
            _ => TcpStream::connect(port).await.map(Connection::new),
        }
    }

    /// Why the last connection failed, where what lies between has its own words for it.
    pub(super) fn said(&self) -> Option<String> {
        let Self::Ssh(remote) = self else { return None };
        let said = remote.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.lines().map(str::trim).rfind(|line| !line.is_empty()).map(|line| format!("ssh: {line}"))
    }
}

impl Tls {
    fn with(folder: &Path, at: &str) -> Result<Self, String> {
        let unusable = |path: &Path, error: &dyn std::error::Error| format!("{}: {}", path.display(), chain(error));
        let (ca, cert, key) = (folder.join("ca.pem"), folder.join("cert.pem"), folder.join("key.pem"));
        let mut roots = RootCertStore::empty();
        if ca.exists() {
            for certificate in CertificateDer::pem_file_iter(&ca).map_err(|error| unusable(&ca, &error))? {
                let certificate = certificate.map_err(|error| unusable(&ca, &error))?;
                roots.add(certificate).map_err(|error| unusable(&ca, &error))?;
            }
        } else {
            roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
        }
        let config = ClientConfig::builder().with_root_certificates(roots);
        let config = if cert.exists() {
            let chain = CertificateDer::pem_file_iter(&cert).and_then(Iterator::collect);
            let chain = chain.map_err(|error| unusable(&cert, &error))?;
            let private = PrivateKeyDer::from_pem_file(&key).map_err(|error| unusable(&key, &error))?;
            config.with_client_auth_cert(chain, private).map_err(|error| unusable(&cert, &error))?
        } else {
            config.with_no_client_auth()
        };
        let host = at.rsplit_once(':').map_or(at, |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| chain(&error))?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }
}

impl Remote {
    fn parse(rest: &str) -> Result<Self, String> {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, Some(port.parse().map_err(|_| format!("{port:?} is no port"))?))
            }
            _ => (authority, None),
        };
        // A word that begins with a dash would be an option of `ssh`.
        if host.is_empty() || host.starts_with('-') || host.contains(char::is_whitespace) {
            return Err("it should be of the form ssh://user@host".to_owned());
        }
        let socket = (!path.is_empty()).then(|| format!("/{path}"));
        Ok(Self { destination: host.to_owned(), port, socket, said: Mutex::default() })
    }

    fn dial(self: &Arc<Self>) -> io::Result<Connection> {
        let host = self.socket.as_ref().map(|socket| format!("unix://{socket}"));
        let mut words = vec!["docker"];
        words.extend(host.iter().flat_map(|host| ["--host", host]));
        words.extend(["system", "dial-stdio"]);
        self.spawn(&[], &words)
    }

    /// `ssh` as a connection to what it runs or forwards.
    fn spawn(self: &Arc<Self>, options: &[&str], words: &[&str]) -> io::Result<Connection> {
        let mut command = Command::new("ssh");
        // Whoever waits for a hook is not asked for a password by it; keys and agents work as ever.
        command.args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-T"]).args(options);
        if let Some(port) = self.port {
            command.args(["-p", &port.to_string()]);
        }
        command.args(["--", &self.destination]).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let remote = Arc::clone(self);
        tokio::spawn(async move {
            let mut said = Vec::new();
            let _ = stderr.take(SAID_BYTES).read_to_end(&mut said).await;
            if !said.is_empty() {
                *remote.said.lock().unwrap_or_else(PoisonError::into_inner) =
                    String::from_utf8_lossy(&said).into_owned();
            }
        });
        Ok(Connection { inner: Box::new(tokio::io::join(stdout, stdin)), _ssh: Some(child) })
    }
}

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A connection over which HTTP is spoken, or what an engine made of it.
pub(super) struct Connection {
    inner: Box<dyn Bytes>,
    /// Ends with the connection.
    _ssh: Option<Child>,
}

impl Connection {
    pub(super) fn new(inner: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self { inner: Box::new(inner), _ssh: None }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl hyper_util::client::legacy::connect::Connection for Connection {
    fn connected(&self) -> hyper_util::client::legacy::connect::Connected {
        hyper_util::client::legacy::connect::Connected::new()
    }
}

impl tonic::transport::server::Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_how_an_engine_is_reached() {
        let at = |address: &str| match Route::parse(address, None) {
            Ok(Route::Unix(path)) => path.display().to_string(),
            Ok(Route::Tcp { at, .. }) => at,
            Ok(Route::Ssh(remote)) => format!("{} {:?} {:?}", remote.destination, remote.port, remote.socket),
            Err(error) => error,
        };
        assert_eq!(at("unix:///run/x.sock"), "/run/x.sock");
        assert_eq!(at("tcp://10.0.0.1"), "10.0.0.1:2375");
        assert_eq!(at("tcp://[::1]:4000"), "[::1]:4000");
        assert_eq!(at("ssh://me@build.example.com:22"), "me@build.example.com Some(22) None");
        assert_eq!(at("ssh://build/run/podman/podman.sock"), "build None Some(\"/run/podman/podman.sock\")");
        assert!(at("ssh://-oProxyCommand=evil").contains("ssh://user@host"));
        assert!(at("npipe:////./pipe/docker_engine").contains("not supported"));
        assert!(at("docker.sock").contains("unix://"));
    }
}
