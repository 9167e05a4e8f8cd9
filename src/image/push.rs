//! Publication: the engine sends the image under its key's tag, and the registry then gives it the commit's tag. The tag that
//! people read comes last, so that a push that breaks off leaves nothing to be found.

use super::{Error, credentials::Logins, engine::Engine, key::Key, registry::Registry};
use crate::{
    ui::Task,
    values::{Digest, Repository},
};
use bollard::{
    errors::Error as EngineError,
    query_parameters::{PushImageOptionsBuilder, TagImageOptionsBuilder},
};
use futures_util::StreamExt;

/// What a registry has under a key after a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pushed {
    /// Ours.
    Ours(Digest),
    /// Somebody was quicker; theirs counts.
    Theirs(Digest),
}

/// Sends a local image under its key, unless the key has been published meanwhile.
pub(super) async fn push(
    engine: &Engine,
    registry: &Registry,
    repository: &Repository,
    key: &Key,
    id: &str,
    task: &Task,
) -> Result<Pushed, Error> {
    let tag = key.tag();
    if let Some(winner) = registry.digest(&tag).await? {
        return Ok(Pushed::Theirs(winner));
    }
    registry.log_in().await?;
    let failed = |source| Error::Engine { doing: "naming the image".to_owned(), source };
    // Another build may have taken the name since.
    let name = TagImageOptionsBuilder::new().repo(&repository.to_string()).tag(tag.as_str()).build();
    engine.docker.tag_image(id, Some(name)).await.map_err(failed)?;

    task.message("pushing");
    send(engine, repository, tag.as_str(), task).await?;
    let published = registry.digest(&tag).await?.ok_or_else(|| Error::Registry {
        registry: repository.registry().to_owned(),
        doing: format!("reading the tag {tag} back"),
        reason: "the push ended well, but the tag is not there".to_owned(),
    })?;
    // The engine notes the digest it pushed. Another one means that somebody pushed the same key at the same time.
    let local = engine.docker.inspect_image(&format!("{repository}:{tag}")).await.map_err(failed)?;
    let ours = local.repo_digests.unwrap_or_default().iter().any(|known| known.ends_with(published.as_str()));
    Ok(if ours { Pushed::Ours(published) } else { Pushed::Theirs(published) })
}

async fn send(engine: &Engine, repository: &Repository, tag: &str, task: &Task) -> Result<(), Error> {
    let credentials = Logins::load()?.of(repository).await?;
    let options = PushImageOptionsBuilder::new().tag(tag).build();
    let docker = engine.for_builds();
    let name = repository.to_string();
    let mut told = docker.push_image(&name, Some(options), Some(credentials.for_engine(repository.registry())));
    while let Some(info) = told.next().await {
        let info = info.map_err(|error| refused(repository, credentials.user(), error))?;
        let detail = info.progress_detail.unwrap_or_default();
        if let (Some(current), Some(total)) = (detail.current, detail.total)
            && total > 0
        {
            task.message(&format!("pushing a layer, {} of {} MB", current / 1_000_000, total / 1_000_000));
        } else if let Some(status) = info.status {
            task.message(&format!("pushing: {status}"));
        }
    }
    Ok(())
}

/// The engine passes the registry's troubles on as text.
fn refused(repository: &Repository, user: Option<String>, error: EngineError) -> Error {
    // Words, never bare numbers: an upload's address has any digits.
    const REFUSED: &[&str] =
        &["unauthorized", "denied", "no basic auth credentials", "authentication required", "forbidden"];
    const GONE: &[&str] = &[
        "eof",
        "connection re",
        "broken pipe",
        "no such host",
        "i/o timeout",
        "dial tcp",
        "failed to do request",
        "server misbehaving",
        "deadline exceeded",
    ];
    let registry = repository.registry().to_owned();
    let doing = "pushing".to_owned();
    let EngineError::DockerStreamError { error: said } = &error else {
        return Error::Engine { doing, source: error };
    };
    let reason = said.trim().to_owned();
    let lower = said.to_ascii_lowercase();
    if lower.contains("http response to https client") {
        let reason = format!("{reason}; the engine needs {registry} among its `insecure-registries`");
        Error::Registry { registry, doing, reason }
    } else if REFUSED.iter().any(|sign| lower.contains(sign)) {
        Error::Refused { registry, user }
    } else if GONE.iter().any(|sign| lower.contains(sign)) {
        Error::Unreachable { registry, doing, reason }
    } else {
        Error::Registry { registry, doing, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_says_of_a_registry_is_told_apart() {
        let told = |said: &str| {
            let error = EngineError::DockerStreamError { error: said.to_owned() };
            refused(&"reg.example.com/app".parse().unwrap(), Some("me".to_owned()), error)
        };
        assert!(matches!(told("unauthorized: authentication required"), Error::Refused { .. }));
        assert!(matches!(told("denied: requested access to the resource is denied"), Error::Refused { .. }));
        for gone in [
            "failed to do request: Put \"http://x/v2/app/blobs/uploads/4010-4031\": EOF",
            "dial tcp 10.0.0.1:5000: connect: connection refused",
        ] {
            assert!(matches!(told(gone), Error::Unreachable { .. }), "{gone}");
        }
        let plain = told("Get \"https://reg\": http: server gave HTTP response to HTTPS client").to_string();
        assert!(plain.contains("insecure-registries"), "{plain}");
        assert!(matches!(told("manifest invalid"), Error::Registry { .. }));
    }
}
