//! Container images: built from a commit's tree by the user's engine, tried once, and published with two tags. What was
//! built before under the same key is never built again, and no existing tag is ever overwritten. This room knows nothing
//! of manifests or clusters.

mod agent;
mod answer;
mod artifacts;
mod ask;
mod bases;
mod binary;
mod build;
mod classic;
mod contents;
mod context;
mod credentials;
mod dial;
mod dockerfile;
mod dockerignore;
mod engine;
mod error;
mod explain;
mod filesync;
mod key;
mod load;
mod owner;
mod progress;
mod provenance;
mod pull;
mod push;
mod registry;
mod secret;
mod session;
mod shelf;
mod smoke;
mod solve;
mod tarball;
mod tried;
mod weight;

pub use ask::{ask_engine, ask_registry};
pub use binary::{ExtraFile, push_binary, save_binary};
pub use error::Error;
pub use explain::{Difference, Explanation, Part};
pub use key::Key;
pub use load::load;
pub use pull::{Access, DockerConfigJson, access};
pub use registry::Transport;
pub use shelf::{Fate, Shelf, Shelved, judge};
pub use weight::{Weight, weigh};

use crate::{
    config, git,
    ui::Task,
    values::{Digest, ImageName, ImageRef, Oid, RelativePath, Tag},
};
use build::{Build, Cache};
use context::Context;
use engine::Engine;
use gix::bstr::BString;
use provenance::Provenance;
use push::Pushed;
use registry::{Manifest, Registry, has_platform};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Semaphore;
use tried::Tried;

/// Which image of which commit.
#[derive(Clone)]
pub struct Request<'a> {
    /// Where the commit is.
    pub repository: &'a git::Repository,
    /// What is built. For a trial it may be a tree, such as that of the index.
    pub commit: Oid,
    /// The image's name in the configuration.
    pub name: &'a ImageName,
    /// The image as the commit's configuration describes it.
    pub image: &'a config::Image,
    /// The address of the source repository, as it may be shown; written on the image.
    pub source: Option<String>,
}

/// What is meant to happen to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// It will be published once everything else has passed; what the registry has already is not built again.
    WillPublish,
    /// As before a push, by hand: a registry that does not answer is no hindrance.
    Rehearsal,
    /// It is built and tried, and the registry is never asked.
    TrialOnly,
    /// As a trial, and named in the engine before it is tried: a person runs it, above all where the trial fails.
    ToRun,
    /// The same, with the base images of now and nothing from the engine's cache.
    Anew,
}

/// An image that is ready; nothing is published yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    /// The registry has it: this commit changed nothing of the image, or somebody built it.
    AlreadyPublished {
        /// The image's key.
        key: Key,
        /// What the registry has under it.
        digest: Digest,
        /// Its manifest, which a second tag is written with.
        manifest: Vec<u8>,
    },
    /// The engine has it. It was tried, where the configuration says how.
    Built {
        /// The image's key.
        key: Key,
        /// The engine's name for it, `sha256:…`.
        id: String,
        /// How much of it was there already: `4 of 6 steps cached`.
        note: String,
    },
}

impl Prepared {
    /// The image's key.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::AlreadyPublished { key, .. } | Self::Built { key, .. } => key,
        }
    }
}

/// Where a published image came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was built and pushed now.
    Built,
    /// The registry had it, or got it from somebody quicker.
    Adopted,
}

/// An image that the registry has under the commit's tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// `repository:git-<commit>@sha256:…`.
    pub reference: ImageRef,
    /// The image's key.
    pub key: Key,
    /// Whether it is new.
    pub origin: Origin,
    /// What could not be done besides, such as attaching where it comes from.
    pub note: Option<String>,
}

/// The key of an image at a commit.
///
/// # Errors
/// The commit has no such Dockerfile, or cannot be read.
pub async fn key(request: &Request<'_>) -> Result<Key, Error> {
    Ok(context(request).await?.key)
}

/// The key of an image at a commit, with all that it stands for.
///
/// # Errors
/// As [`key`].
pub async fn explain(request: &Request<'_>) -> Result<Explanation, Error> {
    let context = context(request).await?;
    Ok(Explanation::of(context.key.clone(), &context.recipe(request.image)))
}

/// Whether the build of an image at a commit sees anything below a folder.
///
/// # Errors
/// The commit has no such Dockerfile, or cannot be read.
pub async fn sees(request: &Request<'_>, folder: &RelativePath) -> Result<bool, Error> {
    let base = request.image.context.clone();
    Ok(context(request).await?.paths().any(|path| folder.contains(&base.join(path))))
}

/// Builds of one process side by side: more would only share the same engine.
static BUILDS: Semaphore = Semaphore::const_new(4);

/// The paths that an image's build may see, from the root of its context.
///
/// # Errors
/// As [`key`].
pub async fn paths(request: &Request<'_>) -> Result<Vec<BString>, Error> {
    Ok(context(request).await?.files.into_iter().map(|file| file.path).collect())
}

/// Builds an image and tries it, unless the registry has its key. Publishes nothing.
///
/// When the future is dropped the build stops and the trial's container is removed, which may block for some seconds.
///
/// # Errors
/// The Dockerfile or the trial fails; no engine answers; the registry cannot be asked.
pub async fn prepare(request: &Request<'_>, intent: Intent, task: &Task) -> Result<Prepared, Error> {
    let context = context(request).await?;
    let key = context.key.clone();
    if matches!(intent, Intent::WillPublish | Intent::Rehearsal) {
        task.message("asking the registry");
        let found = match (under_key(request, &key).await, intent) {
            (Err(_), Intent::Rehearsal) => None,
            (found, _) => found?,
        };
        if let Some(found) = found {
            return Ok(Prepared::AlreadyPublished { key, digest: found.digest, manifest: found.bytes });
        }
    }
    task.message("waiting for other builds");
    let _turn = BUILDS.acquire().await;
    let engine = Engine::connect().await?;
    let tried = Tried::of(request, &key);
    if intent != Intent::Anew
        && let Some(id) = tried.id(&engine).await
    {
        return Ok(Prepared::Built { key, id, note: "and tried before".to_owned() });
    }
    task.message("building");
    let build = Build {
        repository: request.repository,
        image: request.image,
        context: Arc::new(context),
        name: format!("{}:{}", *request.image.repository, key.tag()),
        labels: labels(request, &key),
        cache: if intent == Intent::Anew { Cache::Ignored } else { Cache::Used },
    };
    let build::Built { id, note, output } = build.run(&engine, task).await?;
    let named = match intent {
        Intent::ToRun | Intent::Anew => Some(load::name(&engine, request, &id).await?),
        Intent::WillPublish | Intent::Rehearsal | Intent::TrialOnly => None,
    };
    if let Some(smoke) = &request.image.smoke {
        smoke::run(&engine, request, &id, named.as_ref(), smoke, task).await?;
    }
    tried.keep(&id);
    // Not before the trial: where that fails, its log is what people look for.
    task.output(&output);
    Ok(Prepared::Built { key, id, note })
}

/// What the registry has under a key, where that can run where this image should.
async fn under_key(request: &Request<'_>, key: &Key) -> Result<Option<Manifest>, Error> {
    let registry = Registry::open(&request.image.repository, Transport::of(request.image)).await?;
    let found = registry.manifest(&key.tag()).await?;
    Ok(found.filter(|found| has_platform(&found.bytes, request.image.platform.as_str())))
}

/// Pushes what [`prepare`] built, and gives it the commit's tag.
///
/// # Errors
/// The registry refuses or cannot be reached. Then the commit has no tag: a later call goes on.
pub async fn publish(request: &Request<'_>, prepared: Prepared, task: &Task) -> Result<Published, Error> {
    let registry = Registry::open(&request.image.repository, Transport::of(request.image)).await?;
    let mut note = None;
    let mut known = None;
    let (key, digest, origin) = match prepared {
        Prepared::AlreadyPublished { key, digest, manifest } => {
            known = Some(Manifest { digest: digest.clone(), bytes: manifest });
            (key, digest, Origin::Adopted)
        }
        Prepared::Built { key, id, .. } => {
            let engine = Engine::connect().await?;
            match push::push(&engine, &registry, request, &key, &id, task).await? {
                Pushed::Theirs(digest) => (key, digest, Origin::Adopted),
                Pushed::Ours { digest, labels } => {
                    task.message("attaching where it comes from");
                    note = describe(request, &registry, &engine, &key, &digest, &labels).await?;
                    (key, digest, Origin::Built)
                }
            }
        }
    };
    task.message("tagging");
    let named = registry.tag(&digest, known, &Tag::of_commit(&request.commit)).await?;
    let reference = reference(request, named);
    Ok(Published { reference, key, origin, note })
}

/// Attaches an image's provenance. A registry that takes images and nothing else is no reason to hold an image back.
async fn describe(
    request: &Request<'_>,
    registry: &Registry,
    engine: &Engine,
    key: &Key,
    digest: &Digest,
    labels: &BTreeMap<String, String>,
) -> Result<Option<String>, Error> {
    let provenance = Provenance {
        repository: request.image.repository.to_string(),
        digest,
        key,
        image: request.name.as_str(),
        dockerfile: request.image.dockerfile(),
        platform: request.image.platform.as_str(),
        target: request.image.target.as_deref(),
        labels,
        engine: provenance::builder(engine).await,
        finished: jiff::Timestamp::now(),
    };
    match provenance.attach(registry).await {
        Ok(_) => Ok(None),
        Err(Error::Registry { reason, .. }) => {
            Ok(Some(format!("the registry does not take where {} comes from: {reason}", request.name)))
        }
        Err(error) => Err(error),
    }
}

/// What the registry has under a commit's tag; `None` where the commit was never published. That tag is put only after the
/// commit's checks have passed, so that an image of the same key alone says nothing about this commit.
///
/// # Errors
/// The registry cannot be asked.
pub async fn published(request: &Request<'_>) -> Result<Option<ImageRef>, Error> {
    let registry = Registry::open(&request.image.repository, Transport::of(request.image)).await?;
    let digest = registry.digest(&Tag::of_commit(&request.commit)).await?;
    Ok(digest.map(|digest| reference(request, digest)))
}

fn reference(request: &Request<'_>, digest: Digest) -> ImageRef {
    ImageRef {
        repository: (*request.image.repository).clone(),
        tag: Some(Tag::of_commit(&request.commit)),
        digest: Some(digest),
    }
}

/// Reads the context on a thread where it may take its time.
async fn context(request: &Request<'_>) -> Result<Context, Error> {
    let git_dir = request.repository.git_dir().to_owned();
    let (commit, image) = (request.commit.clone(), request.image.clone());
    let given_up = GivenUp::default();
    let seen = Arc::clone(&given_up.0);
    let read = tokio::task::spawn_blocking(move || {
        // A repository stays on its thread; opening it again takes a millisecond.
        Context::read(&git::Repository::open(&git_dir)?, &commit, &image, &seen)
    });
    let read = read.await;
    read.unwrap_or_else(|error| {
        Err(Error::File { path: format!("commit {}", request.commit), source: std::io::Error::other(error) })
    })
}

/// Tells the thread that reads when nobody waits for it any more.
#[derive(Default)]
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What is written on an image (OCI image specification, annotations). The commit is the one that built it: a later commit
/// with the same key adopts the image as it is.
fn labels(request: &Request<'_>, key: &Key) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (provenance::KEY_LABEL.to_owned(), key.to_string()),
        (provenance::REVISION_LABEL.to_owned(), request.commit.to_string()),
    ]);
    if let Some(source) = &request.source {
        labels.insert(provenance::SOURCE_LABEL.to_owned(), source.clone());
    }
    labels
}
