//! A build through the engine's API, of a context that is streamed from git's objects while the engine reads it.

use super::{
    Error,
    context::Context,
    credentials::{Credentials, Logins},
    dockerfile::Dockerfile,
    engine::Engine,
    progress::{self, Trace},
    provenance::BASES_LABEL,
};
use crate::{config, git::Repository, ui::Task, values::Digest};
use bollard::{
    auth::DockerCredentials,
    errors::Error as EngineError,
    models::{BuildInfo, BuildInfoAux},
    query_parameters::{BuildImageOptions, BuildImageOptionsBuilder, BuilderVersion, RemoveImageOptionsBuilder},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use std::{
    collections::{BTreeMap, HashMap},
    io::{self, BufWriter, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle};

/// The size of the pieces in which a context is sent, and how many wait for the engine.
const PIECE_BYTES: usize = 128 << 10;
const PIECES: usize = 8;
/// How long the writer of a context may take to notice that nobody reads any more.
const WRITER_LIMIT: Duration = Duration::from_secs(2);

/// What is built.
pub(super) struct Build<'a> {
    pub repository: &'a Repository,
    pub image: &'a config::Image,
    pub context: Arc<Context>,
    /// The name that the engine gives it, with a tag.
    pub name: String,
    /// What is written on it.
    pub labels: BTreeMap<String, String>,
    pub cache: Cache,
}

/// Whether what the engine has built and pulled before may stand for what would be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cache {
    Used,
    Ignored,
}

impl Build<'_> {
    /// Builds, and gives the image's id in the engine.
    pub(super) async fn run(mut self, engine: &Engine, task: &Task) -> Result<String, Error> {
        let file = Dockerfile::parse(&String::from_utf8_lossy(&self.context.dockerfile));
        let credentials = base_credentials(&file, self.image).await?;
        let (first, trace) = self.once(engine, &file, &credentials, task).await?;
        let bases = trace.bases();
        let id = if bases.is_empty() {
            first
        } else {
            // Only a build tells which bases it used. The second one finds all of its steps in the cache and writes them down.
            self.labels.extend(base_labels(&bases));
            self.cache = Cache::Used;
            let (labelled, _) = self.once(engine, &file, &credentials, task).await?;
            if labelled != first {
                let gone = RemoveImageOptionsBuilder::new().build();
                // It is a few hundred bytes that some engines would keep as an image without a name.
                let _ = engine.docker.remove_image(&first, Some(gone), None).await;
            }
            labelled
        };
        task.output(&trace.output());
        Ok(id)
    }

    async fn once(
        &self,
        engine: &Engine,
        file: &Dockerfile,
        credentials: &HashMap<String, DockerCredentials>,
        task: &Task,
    ) -> Result<(String, Trace), Error> {
        match self.with(engine, BuilderVersion::BuilderBuildKit, file, credentials, task).await {
            Err(Error::Engine { source, .. }) if lacks_buildkit(&source) => {
                self.with(engine, BuilderVersion::BuilderV1, file, credentials, task).await
            }
            built => built,
        }
    }

    async fn with(
        &self,
        engine: &Engine,
        version: BuilderVersion,
        file: &Dockerfile,
        credentials: &HashMap<String, DockerCredentials>,
        task: &Task,
    ) -> Result<(String, Trace), Error> {
        let docker = engine.for_builds();
        let (pieces, writer) = self.pieces();
        let mut told = docker.build_image(
            self.options(version),
            Some(credentials.clone()),
            Some(bollard::body_try_stream(pieces)),
        );
        let mut trace = Trace::default();
        let mut id = None;
        let mut failed = None;
        while let Some(info) = told.next().await {
            match info {
                Ok(info) => {
                    if let Some(found) = take(info, &mut trace, task) {
                        id = Some(found);
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        drop(told);
        // Why the context broke off says more than that it did.
        if let Ok(written) = tokio::time::timeout(WRITER_LIMIT, writer).await {
            written.unwrap_or_else(|error| Err(unwritten(io::Error::other(error))))?;
        }
        match (failed, id) {
            (None, Some(id)) => Ok((id, trace)),
            (None, None) => Err(self.failed(file, &trace, "the engine ended the build without an image", task)),
            (Some(EngineError::DockerStreamError { error }), _) if !error.contains("buildkit not supported") => {
                Err(self.failed(file, &trace, &error, task))
            }
            (Some(EngineError::DockerResponseServerError { status_code: 400, message }), _) => {
                // What is wrong with a Dockerfile as a whole, a classic builder says before it begins.
                Err(self.failed(file, &trace, &message, task))
            }
            (Some(source), _) => Err(Error::Engine { doing: "building".to_owned(), source }),
        }
    }

    fn options(&self, version: BuilderVersion) -> BuildImageOptions {
        let args: HashMap<&str, &str> = self.image.args.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let labels: HashMap<&str, &str> = self.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        BuildImageOptionsBuilder::new()
            .dockerfile(&self.context.dockerfile_in_tar)
            .t(&self.name)
            .buildargs(&args)
            .labels(&labels)
            .platform(self.image.platform.as_str())
            .target(self.image.target.as_deref().unwrap_or_default())
            .nocache(self.cache == Cache::Ignored)
            .pull(if self.cache == Cache::Ignored { "true" } else { "false" })
            .rm(true)
            .forcerm(true)
            .version(version)
            .session(&session())
            .build()
    }

    /// The context's tar in pieces, written by a thread of its own as fast as the engine takes them.
    fn pieces(&self) -> (impl Stream<Item = io::Result<Bytes>> + Send + 'static, JoinHandle<Result<(), Error>>) {
        let (sender, receiver) = mpsc::channel(PIECES);
        let (git_dir, context) = (self.repository.git_dir().to_owned(), Arc::clone(&self.context));
        let writer = tokio::task::spawn_blocking(move || {
            // A repository stays on its thread; opening it again takes a millisecond.
            let repository = Repository::open(&git_dir)?;
            let to = BufWriter::with_capacity(PIECE_BYTES, Pieces(sender.clone()));
            match context.write(&repository, to) {
                Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                Err(error) => {
                    let _ = sender.blocking_send(Err(io::Error::other("the context could not be read")));
                    Err(error)
                }
                Ok(()) => Ok(()),
            }
        });
        let pieces = stream::unfold(receiver, |mut receiver| async {
            let piece = receiver.recv().await?;
            Some((piece, receiver))
        });
        (pieces, writer)
    }

    fn failed(&self, file: &Dockerfile, trace: &Trace, said: &str, task: &Task) -> Error {
        let dockerfile = self.image.dockerfile();
        match trace.failed(file, said) {
            Some(failed) => {
                task.output(failed.tail.as_bytes());
                let place = failed.line.map_or(dockerfile.clone(), |line| format!("{dockerfile}:{line}"));
                Error::Step { place, command: failed.command, reason: failed.reason, tail: failed.tail }
            }
            None => Error::Build { dockerfile, reason: progress::reason(said) },
        }
    }
}

/// Takes a piece of what the engine tells; the answer is the image's id, once it is told.
fn take(info: BuildInfo, trace: &mut Trace, task: &Task) -> Option<String> {
    let mut now = None;
    let mut id = None;
    match info.aux {
        Some(BuildInfoAux::BuildKit(status)) => now = trace.status(status),
        Some(BuildInfoAux::Default(image)) => id = image.id,
        None => {}
    }
    if let Some(text) = info.stream {
        now = trace.text(&text).or(now);
    }
    if let Some(now) = now {
        task.message(&now);
    }
    id
}

/// Engines before 18.09, and those that were built or set up without it.
fn lacks_buildkit(error: &EngineError) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    text.contains("buildkit") && (text.contains("not supported") || text.contains("not enabled"))
}

fn base_labels(bases: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let all: Vec<String> = bases.iter().map(|(name, digest)| format!("{name}@{digest}")).collect();
    let mut labels = BTreeMap::from([(BASES_LABEL.to_owned(), all.join(" "))]);
    if let (1, Some((name, digest))) = (bases.len(), bases.first_key_value()) {
        labels.insert("org.opencontainers.image.base.name".to_owned(), name.clone());
        labels.insert("org.opencontainers.image.base.digest".to_owned(), digest.clone());
    }
    labels
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

/// A name for the connection on which the engine asks for credentials; two builds at once must not share one.
fn session() -> String {
    static BUILDS: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let unique = format!("{} {now} {}", std::process::id(), BUILDS.fetch_add(1, Ordering::Relaxed));
    Digest::of(unique.as_bytes()).hex()[..32].to_owned()
}

fn unwritten(source: io::Error) -> Error {
    Error::File { path: "the build context".to_owned(), source }
}

/// Hands what is written to the request that sends it.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        // The engine has heard enough: it failed, or somebody gave up.
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
