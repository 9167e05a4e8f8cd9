//! Publication: the engine sends the image under its key's tag, and the registry then gives it the commit's tag. The tag that
//! people read comes last, so that a push that breaks off leaves nothing to be found.

use super::{
    Error, Request,
    credentials::Logins,
    engine::{Engine, is_taken},
    key::Key,
    registry::{Patience, Registry, has_platform},
};
use crate::{
    ui::Task,
    values::{Digest, Repository, Tag},
};
use bollard::{errors::Error as EngineError, models::ImageInspect, query_parameters::PushImageOptionsBuilder};
use futures_util::StreamExt;
use std::collections::BTreeMap;

/// What a registry has after a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pushed {
    /// Ours, with the labels that the build gave it.
    Ours { digest: Digest, labels: BTreeMap<String, String> },
    /// Somebody was quicker; theirs counts.
    Theirs(Digest),
}

/// Sends a local image under its key, unless the key has been published meanwhile.
pub(super) async fn push(
    engine: &Engine,
    registry: &Registry,
    request: &Request<'_>,
    key: &Key,
    id: &str,
    task: &Task,
) -> Result<Pushed, Error> {
    let repository = &request.image.repository;
    let tag = match registry.manifest(&key.tag()).await? {
        Some(winner) if has_platform(&winner.bytes, request.image.platform.as_str()) => {
            return Ok(Pushed::Theirs(winner.digest));
        }
        // What the key names cannot run where this should, and is not overwritten: the commit's tag alone finds the new one.
        Some(_) => {
            let tag = Tag::of_commit(&request.commit);
            if let Some(winner) = registry.digest(&tag).await? {
                return Ok(Pushed::Theirs(winner));
            }
            tag
        }
        None => key.tag(),
    };
    registry.log_in().await?;

    task.message("pushing");
    let image = Named { repository, key, tag: &tag, id };
    let published = send_patiently(engine, registry, &image, task).await?;
    // The engine notes the digest it pushed. Another one means that somebody pushed the same key at the same time.
    let Some(local) = image.inspect(engine).await? else { return Ok(Pushed::Theirs(published)) };
    let ours = local.repo_digests.unwrap_or_default().iter().any(|known| known.ends_with(published.as_str()));
    if !ours {
        return Ok(Pushed::Theirs(published));
    }
    let labels = local.config.and_then(|config| config.labels).unwrap_or_default();
    Ok(Pushed::Ours { digest: published, labels: labels.into_iter().collect() })
}

/// An image of the engine and the name under which it is pushed. Work trees that share an engine share the name of a key,
/// and for the moment in which one takes it from another there is none.
struct Named<'a> {
    repository: &'a Repository,
    key: &'a Key,
    tag: &'a Tag,
    id: &'a str,
}

impl Named<'_> {
    /// Gives the image its name. Another build of the same key may have taken the name since, and with it the image, where
    /// the engine keeps none without a name; what has the key's name is then as good.
    async fn give(&self, engine: &Engine) -> Result<(), Failed> {
        let mut given = engine.name(self.id, self.repository, self.tag).await;
        if given.as_ref().is_err_and(is_missing) {
            let same = format!("{}:{}", self.repository, self.key.tag());
            given = engine.name(&same, self.repository, self.tag).await;
        }
        given.map_err(|error| {
            let passes = is_missing(&error) || is_taken(&error);
            Failed { error: unnamed(error), kind: if passes { Kind::Passing } else { Kind::Final } }
        })
    }

    /// What the engine has under the name, else as the image; `None` where another build has taken both.
    async fn inspect(&self, engine: &Engine) -> Result<Option<ImageInspect>, Error> {
        for name in [&format!("{}:{}", self.repository, self.tag), self.id] {
            match engine.docker.inspect_image(name).await {
                Err(error) if is_missing(&error) => {}
                found => return found.map(Some).map_err(unnamed),
            }
        }
        Ok(None)
    }
}

fn is_missing(error: &EngineError) -> bool {
    matches!(error, EngineError::DockerResponseServerError { status_code: 404, .. })
}

fn unnamed(source: EngineError) -> Error {
    Error::Engine { doing: "naming the image".to_owned(), source }
}

/// Sends until the tag is there. A push that was cut goes on with the layers that have not arrived; one that was refused
/// half-way may have had a token that ran out. Where the tag is there after all, somebody was quicker, and the registry
/// may be one that keeps a tag as it is.
async fn send_patiently(engine: &Engine, registry: &Registry, image: &Named<'_>, task: &Task) -> Result<Digest, Error> {
    let (repository, tag) = (image.repository, image.tag);
    let mut patience = Patience::default();
    let mut refused = 0;
    loop {
        let sent = match image.give(engine).await {
            Ok(()) => send(engine, repository, tag.as_str(), task).await,
            unnamed => unnamed,
        };
        // The registry's own patience is spent here: where it does not come back, the push is over.
        match (registry.digest(tag).await, sent) {
            (Ok(Some(published)), _) => return Ok(published),
            (Ok(None), Ok(())) => {
                return Err(Error::Registry {
                    registry: repository.registry().to_owned(),
                    doing: format!("reading the tag {tag} back"),
                    reason: "the push ended well, but the tag is not there".to_owned(),
                });
            }
            (Err(error), Ok(())) | (Err(_), Err(Failed { error, .. })) => return Err(error),
            (Ok(None), Err(Failed { error, kind })) => {
                refused += u32::from(kind == Kind::Refused);
                if kind == Kind::Final || refused > 1 {
                    return Err(error);
                }
                let wait = patience.wait(None);
                task.message("pushing again what has not arrived");
                tokio::time::sleep(wait.ok_or(error)?).await;
            }
        }
    }
}

/// A push that the engine could not end.
struct Failed {
    error: Error,
    kind: Kind,
}

/// Whether another try may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The connection was cut, or the registry has too much to do.
    Passing,
    /// The login was refused, although it was good when the push began.
    Refused,
    Final,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, kind: Kind::Final }
    }
}

async fn send(engine: &Engine, repository: &Repository, tag: &str, task: &Task) -> Result<(), Failed> {
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
fn refused(repository: &Repository, user: Option<String>, error: EngineError) -> Failed {
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
    const BUSY: &[&str] = &[
        "toomanyrequests",
        "too many requests",
        "service unavailable",
        "bad gateway",
        "gateway time",
        "internal server error",
        // What a cut leaves of an upload; the next one begins it anew.
        "blob upload invalid",
        "blob upload unknown",
        // Another push of the same layers got in the way.
        "provided digest did not match uploaded content",
        // Another build took the name between its being given and the push.
        "tag does not exist",
    ];
    let registry = repository.registry().to_owned();
    let doing = "pushing".to_owned();
    let EngineError::DockerStreamError { error: said } = &error else {
        return Error::Engine { doing, source: error }.into();
    };
    let reason = said.trim().to_owned();
    let lower = said.to_ascii_lowercase();
    let says = |signs: &[&str]| signs.iter().any(|sign| lower.contains(sign));
    if lower.contains("http response to https client") {
        let reason = format!("{reason}; the engine needs {registry} among its `insecure-registries`");
        Error::Registry { registry, doing, reason }.into()
    } else if says(BUSY) {
        Failed { error: Error::Registry { registry, doing, reason }, kind: Kind::Passing }
    } else if says(REFUSED) {
        Failed { error: Error::Refused { registry, user }, kind: Kind::Refused }
    } else if says(GONE) {
        Failed { error: Error::Unreachable { registry, doing, reason }, kind: Kind::Passing }
    } else {
        Error::Registry { registry, doing, reason }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_says_of_a_registry_is_told_apart() {
        let told = |said: &str| {
            let error = EngineError::DockerStreamError { error: said.to_owned() };
            let failed = refused(&"reg.example.com/app".parse().unwrap(), Some("me".to_owned()), error);
            (failed.error, failed.kind)
        };
        assert!(matches!(told("unauthorized: authentication required"), (Error::Refused { .. }, Kind::Refused)));
        assert!(matches!(told("denied: requested access to the resource is denied"), (Error::Refused { .. }, _)));
        for busy in [
            "toomanyrequests: slow down",
            "received unexpected HTTP status: 503 Service Unavailable",
            "unexpected status from PUT request to http://x/v2/app/blobs/uploads/4010: 502 Bad Gateway",
            "error from registry: blob upload invalid",
            "error from registry: provided digest did not match uploaded content\nblob unknown to registry - sha256:bf30",
            "tag does not exist: reg.example.com/app:key-0c51",
        ] {
            assert!(matches!(told(busy), (Error::Registry { .. }, Kind::Passing)), "{busy}");
        }
        for gone in [
            "failed to do request: Put \"http://x/v2/app/blobs/uploads/4010-4031\": EOF",
            "dial tcp 10.0.0.1:5000: connect: connection refused",
        ] {
            assert!(matches!(told(gone), (Error::Unreachable { .. }, Kind::Passing)), "{gone}");
        }
        let plain = told("Get \"https://reg\": http: server gave HTTP response to HTTPS client").0.to_string();
        assert!(plain.contains("insecure-registries"), "{plain}");
        assert!(matches!(told("manifest invalid"), (Error::Registry { .. }, Kind::Final)));
    }
}
