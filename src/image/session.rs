//! What a build may ask of this machine while it runs (`BuildKit`'s session): the files of its context, credentials of
//! registries, secrets, the SSH agent. Each is handed over only when the build asks for it.

use super::{
    credentials::{Credentials, Logins},
    dial::Connection,
    engine::{Engine, NoUpgrade},
    filesync::FileSync,
    secret::Secrets,
};
use crate::values::Digest;
use bollard::{
    health::{
        HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
        health_check_response::ServingStatus,
        health_server::{Health, HealthServer},
    },
    moby::{
        buildkit::secrets::v1::secrets_server::SecretsServer,
        filesync::v1::{
            CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
            GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
            auth_server::{Auth, AuthServer},
            file_sync_server::FileSyncServer,
        },
        sshforward::v1::ssh_server::SshServer,
    },
};
use futures_util::{Stream, StreamExt, stream};
use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, transport::Server};

/// The largest message of a session (containerd, `defaults.DefaultMaxRecvMsgSize`).
pub(super) const MESSAGE_BYTES: usize = 16 << 20;

/// What is offered to a build.
pub(super) struct Offer {
    pub files: FileSync,
    pub secrets: Secrets,
    pub agent: Option<super::agent::Agent>,
    /// What keeps the context's last state in the engine apart from other ones.
    pub shared_key: String,
}

/// An open session. It ends when it is dropped.
pub(super) struct Session {
    pub id: String,
    _end: oneshot::Sender<()>,
}

impl Session {
    /// Opens a session with an engine.
    pub(super) async fn open(engine: &Engine, offer: Offer) -> Result<Self, NoUpgrade> {
        const METHOD: &str = "X-Docker-Expose-Session-Grpc-Method";
        let id = unique();
        let mut headers = vec![
            ("X-Docker-Expose-Session-Uuid", id.as_str()),
            ("X-Docker-Expose-Session-Name", "gitops-hooks"),
            ("X-Docker-Expose-Session-Sharedkey", offer.shared_key.as_str()),
            (METHOD, "/moby.filesync.v1.FileSync/DiffCopy"),
            (METHOD, "/moby.filesync.v1.Auth/Credentials"),
            (METHOD, "/moby.buildkit.secrets.v1.Secrets/GetSecret"),
        ];
        if offer.agent.is_some() {
            headers.push((METHOD, "/moby.sshforward.v1.SSH/CheckAgent"));
            headers.push((METHOD, "/moby.sshforward.v1.SSH/ForwardAgent"));
        }
        let connection = engine.upgraded("/session", &headers).await?;
        let files = FileSyncServer::new(offer.files).max_encoding_message_size(MESSAGE_BYTES);
        let mut router = Server::builder()
            .add_service(HealthServer::new(Alive))
            .add_service(AuthServer::new(Registries))
            .add_service(SecretsServer::new(offer.secrets))
            .add_service(files);
        if let Some(agent) = offer.agent {
            router = router.add_service(SshServer::new(agent));
        }
        let (end, ended) = oneshot::channel();
        let incoming = stream::once(async { Ok::<Connection, io::Error>(connection) }).chain(stream::pending());
        tokio::spawn(router.serve_with_incoming_shutdown(incoming, async {
            let _ = ended.await;
        }));
        Ok(Self { id, _end: end })
    }
}

/// A name that no other session has.
pub(super) fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let unique = format!("{} {now} {}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    Digest::of(unique.as_bytes()).hex()[..32].to_owned()
}

/// Tells the engine that the session is there.
struct Alive;

#[tonic::async_trait]
impl Health for Alive {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("one service"))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("ask again"))
    }
}

/// The credentials of the registries that base images come from.
struct Registries;

#[tonic::async_trait]
impl Auth for Registries {
    async fn credentials(&self, request: Request<CredentialsRequest>) -> Result<Response<CredentialsResponse>, Status> {
        let host = request.into_inner().host;
        let registry = if host == "registry-1.docker.io" { "docker.io" } else { &host };
        let known = async { Logins::load()?.of_registry(registry).await }.await;
        let known = known.map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(match known {
            // A token for the registry alone has no place in this answer.
            Credentials::Anonymous | Credentials::Bearer(_) => CredentialsResponse::default(),
            Credentials::Password { user, password } => CredentialsResponse { username: user, secret: password },
            Credentials::Identity(token) => CredentialsResponse { username: String::new(), secret: token },
        }))
    }

    // Without these the engine trades the credentials for tokens itself, as all engines can.
    async fn fetch_token(&self, _: Request<FetchTokenRequest>) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("credentials only"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("credentials only"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("credentials only"))
    }
}
