//! The user's SSH agent, for `RUN --mount=type=ssh`: the bytes between a build and the agent are passed on as they are, and
//! no key leaves the agent.

use bollard::moby::sshforward::v1::{BytesMessage, CheckAgentRequest, CheckAgentResponse, ssh_server::Ssh};
use futures_util::{Stream, stream};
use std::{path::PathBuf, pin::Pin};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use tonic::{Request, Response, Status, Streaming};

const PIECE_BYTES: usize = 32 << 10;

/// Where the agent listens (`SSH_AUTH_SOCK`).
pub(super) struct Agent(PathBuf);

impl Agent {
    /// The agent of the user's session.
    pub(super) fn of_process() -> Option<Self> {
        let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty())?;
        Some(Self(PathBuf::from(socket)))
    }
}

#[tonic::async_trait]
impl Ssh for Agent {
    type ForwardAgentStream = Pin<Box<dyn Stream<Item = Result<BytesMessage, Status>> + Send>>;

    async fn check_agent(&self, request: Request<CheckAgentRequest>) -> Result<Response<CheckAgentResponse>, Status> {
        let id = request.into_inner().id;
        if !id.is_empty() && id != "default" {
            return Err(Status::not_found(format!("only the agent `default` is here, not {id:?}")));
        }
        Ok(Response::new(CheckAgentResponse {}))
    }

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let agent = UnixStream::connect(&self.0).await;
        let agent = agent.map_err(|error| Status::unavailable(format!("the SSH agent does not answer: {error}")))?;
        let (reading, mut writing) = agent.into_split();
        let mut asked = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = asked.message().await {
                if writing.write_all(&message.data).await.is_err() {
                    return;
                }
            }
        });
        let answers = stream::try_unfold(reading, |mut reading| async move {
            let mut data = vec![0; PIECE_BYTES];
            let read = reading.read(&mut data).await?;
            data.truncate(read);
            Ok((read > 0).then_some((BytesMessage { data }, reading)))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
