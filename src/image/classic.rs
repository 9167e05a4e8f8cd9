//! A build by an engine without `BuildKit`: Podman's, or Docker's classic builder. The whole context is sent as a tar.

use super::{
    Error,
    build::{Build, Cache},
    credentials::{Credentials, Logins},
    dockerfile::Dockerfile,
    engine::{Engine, Kind},
    progress::Trace,
    tarball,
};
use crate::{config, ui::Task};
use bollard::{
    auth::DockerCredentials,
    errors::Error as EngineError,
    models::{BuildInfo, BuildInfoAux},
    query_parameters::{BuildImageOptions, BuildImageOptionsBuilder, BuilderVersion},
};
use futures_util::StreamExt;
use std::{collections::HashMap, io, sync::Arc, time::Duration};

/// How long the writer of a context may take to notice that nobody reads any more.
const WRITER_LIMIT: Duration = Duration::from_secs(2);

/// Why there is no image.
pub(super) enum Unbuilt {
    /// In the engine's words.
    Failed(String),
    Error(Error),
}

/// Builds, and gives the image's id in the engine.
pub(super) async fn build(
    build: &Build<'_>,
    engine: &Engine,
    file: &Dockerfile,
    trace: &mut Trace,
    task: &Task,
) -> Result<String, Unbuilt> {
    let known = base_credentials(file, build.image).await.map_err(Unbuilt::Error)?;
    let docker = engine.for_builds();
    let (pieces, writer) = tarball::pieces(build.repository.git_dir().to_owned(), Arc::clone(&build.context));
    let mut told = docker.build_image(options(build), Some(known), Some(bollard::body_try_stream(pieces)));
    let mut id = None;
    let mut failed = None;
    while let Some(info) = told.next().await {
        match info {
            Ok(info) => id = take(info, trace, task).or(id),
            Err(error) => failed = Some(error),
        }
    }
    drop(told);
    // Why the context broke off says more than that it did.
    if let Ok(written) = tokio::time::timeout(WRITER_LIMIT, writer).await {
        let written = written.unwrap_or_else(|error| Err(Error::Unread { source: io::Error::other(error) }));
        written.map_err(Unbuilt::Error)?;
    }
    match (failed, id) {
        (None, Some(id)) => Ok(id),
        (None, None) => Err(Unbuilt::Failed("the engine ended the build without an image".to_owned())),
        (Some(EngineError::DockerStreamError { error }), _) => Err(Unbuilt::Failed(error)),
        // What is wrong with a Dockerfile as a whole, a classic builder says before it begins.
        (Some(EngineError::DockerResponseServerError { status_code: 400, message }), _) => {
            Err(Unbuilt::Failed(message))
        }
        (Some(EngineError::DockerResponseServerError { message, .. }), _) if engine.kind != Kind::Docker => {
            Err(Unbuilt::Failed(message))
        }
        (Some(source), _) => Err(Unbuilt::Error(Error::Engine { doing: "building".to_owned(), source })),
    }
}

fn options(build: &Build<'_>) -> BuildImageOptions {
    let args: HashMap<&str, &str> = build.image.args.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let labels: HashMap<&str, &str> = build.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    BuildImageOptionsBuilder::new()
        .dockerfile(&build.context.dockerfile_in_tar)
        .t(&build.name)
        .buildargs(&args)
        .labels(&labels)
        .platform(build.image.platform.as_str())
        .target(build.image.target.as_deref().unwrap_or_default())
        .nocache(build.cache == Cache::Ignored)
        .pull(if build.cache == Cache::Ignored { "true" } else { "false" })
        .rm(true)
        .forcerm(true)
        .version(BuilderVersion::BuilderV1)
        .build()
}

/// Takes a piece of what the engine tells; the answer is the image's id, once it is told.
fn take(info: BuildInfo, trace: &mut Trace, task: &Task) -> Option<String> {
    if let Some(text) = info.stream
        && let Some(now) = trace.text(&text)
    {
        task.message(&now);
    }
    match info.aux {
        Some(BuildInfoAux::Default(image)) => image.id,
        _ => None,
    }
}

/// What opens the registries of the base images.
async fn base_credentials(
    file: &Dockerfile,
    image: &config::Image,
) -> Result<HashMap<String, DockerCredentials>, Error> {
    let logins = Logins::load()?;
    let mut known = HashMap::new();
    for registry in file.registries(&image.args) {
        let found = logins.of_registry(&registry).await?;
        if found != Credentials::Anonymous {
            known.insert(super::credentials::server(&registry).to_owned(), found.for_engine(&registry));
        }
    }
    Ok(known)
}
