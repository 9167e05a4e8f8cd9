//! A build by `BuildKit` itself (`moby.buildkit.v1.Control`), which an engine of Docker passes on as `/grpc`: what Docker's
//! own `buildx` speaks. The files come from a session; what the build tells goes into a trace.

use super::{
    engine::{Engine, NoUpgrade},
    error::chain,
    progress::Trace,
    session::{MESSAGE_BYTES, Session, unique},
};
use crate::ui::Task;
use bollard::moby::buildkit::v1::{CacheOptions, SolveRequest, StatusRequest, control_client::ControlClient};
use hyper_util::rt::TokioIo;
use std::{collections::HashMap, io, pin::pin, time::Duration};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

/// How long the rest of a trace may take to come after the build is over.
const TRACE_LIMIT: Duration = Duration::from_secs(2);

/// Why there is no image.
pub(super) enum Unsolved {
    /// In the engine's words.
    Failed(String),
    /// The engine is not there any more.
    Gone(String),
}

/// What the frontend of Dockerfiles is told, and what becomes of the result.
pub(super) struct Order {
    pub attributes: HashMap<String, String>,
    /// The name that the engine gives the image, with a tag.
    pub name: String,
}

/// Builds, and gives the image's id in the engine.
pub(super) async fn solve(
    engine: &Engine,
    session: &Session,
    order: &Order,
    trace: &mut Trace,
    task: &Task,
) -> Result<String, Unsolved> {
    let mut control = control(engine, session).await?;
    let reference = unique();
    let request = SolveRequest {
        r#ref: reference.clone(),
        session: session.id.clone(),
        frontend: "dockerfile.v0".to_owned(),
        frontend_attrs: order.attributes.clone(),
        // The image goes into the engine's own store.
        exporter_deprecated: "moby".to_owned(),
        exporter_attrs_deprecated: HashMap::from([("name".to_owned(), order.name.clone())]),
        cache: Some(CacheOptions::default()),
        ..SolveRequest::default()
    };
    let watcher = control.clone();
    let mut solving = pin!(control.solve(request));
    let mut watching = pin!(watch(watcher, reference, trace, task));
    let solved = tokio::select! {
        solved = &mut solving => {
            let _ = tokio::time::timeout(TRACE_LIMIT, watching).await;
            solved
        }
        () = &mut watching => solving.await,
    };
    let answer = solved.map_err(|status| match status.code() {
        // The connection, not the build.
        Code::Unavailable => Unsolved::Gone(status.message().to_owned()),
        _ if std::error::Error::source(&status).is_some() => Unsolved::Gone(chain(&status)),
        _ => Unsolved::Failed(status.message().to_owned()),
    })?;
    let told = answer.into_inner().exporter_response;
    let id = told.get("containerimage.digest").or_else(|| told.get("containerimage.config.digest"));
    id.cloned().ok_or_else(|| Unsolved::Failed("the engine ended the build without an image".to_owned()))
}

async fn control(engine: &Engine, session: &Session) -> Result<ControlClient<Channel>, Unsolved> {
    let (engine, id) = (engine.clone(), session.id.clone());
    let connector = tower::service_fn(move |_: hyper::Uri| {
        let (engine, id) = (engine.clone(), id.clone());
        async move {
            let connection = engine.upgraded("/grpc", &[("X-Docker-Expose-Session-Uuid", &id)]).await;
            connection.map(TokioIo::new).map_err(|error| match error {
                NoUpgrade::Unknown => io::Error::from(io::ErrorKind::Unsupported),
                NoUpgrade::Failed(why) => io::Error::other(why),
            })
        }
    });
    let channel = Endpoint::from_static("http://engine").connect_with_connector(connector).await;
    let channel = channel.map_err(|error| Unsolved::Gone(chain(&error)))?;
    Ok(ControlClient::new(channel).max_decoding_message_size(MESSAGE_BYTES).max_encoding_message_size(MESSAGE_BYTES))
}

/// Follows a build until it is over.
async fn watch(mut control: ControlClient<Channel>, reference: String, trace: &mut Trace, task: &Task) {
    let Ok(told) = control.status(StatusRequest { r#ref: reference }).await else { return };
    let mut told = told.into_inner();
    while let Ok(Some(status)) = told.message().await {
        if let Some(now) = trace.status(status) {
            task.message(&now);
        }
    }
}
