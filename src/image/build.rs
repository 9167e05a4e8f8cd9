//! A build through the engine's API: by `BuildKit`, which asks for the files that it lacks, or by a classic builder.

use super::{
    Error,
    agent::Agent,
    bases::LastBases,
    classic::{self, Unbuilt},
    context::Context,
    dockerfile::Dockerfile,
    engine::{Engine, Kind, NoUpgrade},
    filesync::{FileSync, Trouble},
    progress::{self, Trace},
    provenance::BASES_LABEL,
    secret::{Secrets, Told},
    session::{Offer, Session},
    solve::{self, Order, Unsolved},
};
use crate::{config, git::Repository, ui::Task, values::Digest};
use bollard::{errors::Error as EngineError, models::ImageInspect, query_parameters::RemoveImageOptionsBuilder};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

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

/// What became of a build.
pub(super) struct Built {
    /// The image's id in the engine.
    pub id: String,
    /// How much of it was there already.
    pub note: String,
    /// All that was printed, for those who asked to see it.
    pub output: Vec<u8>,
}

impl Build<'_> {
    /// Builds.
    pub(super) async fn run(mut self, engine: &Engine, task: &Task) -> Result<Built, Error> {
        let file = Dockerfile::parse(&String::from_utf8_lossy(&self.context.dockerfile));
        let told = Told::default();
        let (id, trace) = if engine.kind == Kind::Docker && !wants_classic() {
            self.by_buildkit(engine, &file, &told, task).await?
        } else {
            self.fits(engine, &file)?;
            let bases = self.bases(engine, &file, BTreeMap::new()).await;
            self.labels.extend(base_labels(&bases));
            let mut trace = Trace::default();
            let built = classic::build(&self, engine, &file, &mut trace, task).await;
            let id = built.map_err(|unbuilt| match unbuilt {
                Unbuilt::Failed(said) => self.failed(&file, &trace, &said, &told, task),
                Unbuilt::Error(error) => error,
            })?;
            (id, trace)
        };
        let id = if self.image.platform.is_several() { id } else { self.standing(engine, id).await? };
        self.is_for_its_platform(engine, &file, &id, &trace).await?;
        Ok(Built { id, note: trace.note(), output: told.blotted(&trace.output()) })
    }

    async fn by_buildkit(
        &mut self,
        engine: &Engine,
        file: &Dockerfile,
        told: &Told,
        task: &Task,
    ) -> Result<(String, Trace), Error> {
        let trouble = Trouble::default();
        let git_dir = self.repository.git_dir().to_owned();
        let folder = self.repository.work_dir().unwrap_or_else(|| self.repository.git_dir());
        let offer = Offer {
            files: FileSync::new(git_dir, Arc::clone(&self.context), trouble.clone()),
            secrets: Secrets::new(&self.image.secrets, folder, told.clone()),
            agent: if self.image.ssh { Agent::of_process() } else { None },
            shared_key: self.shared_key(),
        };
        let session = Session::open(engine, offer).await.map_err(|error| {
            gone(match error {
                NoUpgrade::Unknown => "it has no BuildKit; DOCKER_BUILDKIT=0 uses its classic builder".to_owned(),
                NoUpgrade::Failed(why) => why,
            })
        })?;
        let last = LastBases::of(&self.repository.state_dir(), &self.shared_key());
        let expected = base_labels(&last.read());
        self.labels.extend(expected.clone());
        let (first, trace) = self.solved(engine, &session, file, told, &trouble, task).await?;
        self.cache = Cache::Used;
        let used = self.bases(engine, file, trace.bases()).await;
        let bases = base_labels(&used);
        if bases == expected {
            return Ok((first, trace));
        }
        last.keep(&used);
        // Only a build tells which bases it used. The second one finds all of its steps in the cache and writes them down.
        self.labels.retain(|name, _| !expected.contains_key(name));
        self.labels.extend(bases);
        let (labelled, _) = self.solved(engine, &session, file, told, &trouble, task).await?;
        if labelled != first {
            let gone = RemoveImageOptionsBuilder::new().build();
            // It is a few hundred bytes that some engines would keep as an image without a name.
            let _ = engine.docker.remove_image(&first, Some(gone), None).await;
        }
        Ok((labelled, trace))
    }

    async fn solved(
        &self,
        engine: &Engine,
        session: &Session,
        file: &Dockerfile,
        told: &Told,
        trouble: &Trouble,
        task: &Task,
    ) -> Result<(String, Trace), Error> {
        let mut trace = Trace::default();
        let order = Order { attributes: self.attributes(), name: self.name.clone() };
        let solved = solve::solve(engine, session, &order, &mut trace, task).await;
        match (solved, trouble.take()) {
            (Ok(id), _) => Ok((id, trace)),
            // Why the context broke off says more than that it did.
            (Err(_), Some(error)) => Err(error),
            (Err(Unsolved::Gone(why)), None) => Err(gone(why)),
            (Err(Unsolved::Failed(said)), None) => Err(self.failed(file, &trace, &said, told, task)),
        }
    }

    /// What the frontend of Dockerfiles is told (moby/buildkit, `frontend/dockerui/config.go`).
    fn attributes(&self) -> HashMap<String, String> {
        let one = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut attributes = HashMap::from([
            one("filename", &self.context.dockerfile_name),
            one("platform", self.image.platform.as_str()),
        ]);
        if self.cache == Cache::Ignored {
            attributes.extend([one("no-cache", ""), one("image-resolve-mode", "pull")]);
        }
        attributes.extend(self.image.target.as_deref().map(|target| one("target", target)));
        attributes.extend(self.image.args.iter().map(|(name, value)| one(&format!("build-arg:{name}"), value)));
        attributes.extend(self.labels.iter().map(|(name, value)| one(&format!("label:{name}"), value)));
        attributes
    }

    /// The base images with their digests: as the build named them, else as the engine has them.
    async fn bases(
        &self,
        engine: &Engine,
        file: &Dockerfile,
        mut told: BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        for base in file.bases(&self.image.args) {
            let is_told = |name: &String| *name == base || name.strip_prefix("docker.io/library/") == Some(&base);
            if told.keys().any(is_told) {
                continue;
            }
            if let Some((name, digest)) = base.split_once('@') {
                told.insert(name.to_owned(), digest.to_owned());
            } else if let Ok(image) = engine.docker.inspect_image(&base).await {
                let digests = image.repo_digests.unwrap_or_default();
                if let Some((_, digest)) = digests.first().and_then(|named| named.split_once('@')) {
                    told.insert(base, digest.to_owned());
                }
            }
        }
        told
    }

    /// Names the context's last state in the engine, so that only what changed since is sent: one for each image of a clone.
    fn shared_key(&self) -> String {
        let clone = self.repository.common_dir().display();
        let (repository, context) = (&*self.image.repository, self.image.context.as_str());
        Digest::of(format!("{clone}\n{repository}\n{context}\n{}", self.image.dockerfile()).as_bytes()).hex().to_owned()
    }

    /// Whether a classic builder can do what is asked for.
    fn fits(&self, engine: &Engine, file: &Dockerfile) -> Result<(), Error> {
        let dockerfile = self.image.dockerfile();
        let asked = [
            (!self.image.secrets.is_empty()).then_some("secrets"),
            self.image.ssh.then_some("ssh"),
            self.image.platform.is_several().then_some("platform"),
        ];
        let key =
            asked.into_iter().flatten().next().map(|key| (format!("`{key}` in .gitops-hooks.yaml"), "it".to_owned()));
        let line = file.needs(engine.kind).map(|(line, what)| (format!("{dockerfile}:{line}"), what.to_owned()));
        match key.or(line) {
            None => Ok(()),
            Some((place, what)) => Err(Error::NeedsBuildKit { place, what, engine: engine.kind.name().to_owned() }),
        }
    }

    fn failed(&self, file: &Dockerfile, trace: &Trace, said: &str, told: &Told, task: &Task) -> Error {
        let blotted = |text: &str| String::from_utf8_lossy(&told.blotted(text.as_bytes())).into_owned();
        if said.contains("no space left on device") {
            return Error::EngineFull { reason: progress::reason(&blotted(said)) };
        }
        let dockerfile = self.image.dockerfile();
        if task.is_verbose() {
            task.output(&told.blotted(&trace.output()));
        }
        match trace.failed(file, said) {
            Some(failed) => {
                let tail = blotted(&failed.tail);
                if !task.is_verbose() {
                    task.output(tail.as_bytes());
                }
                let place = failed.line.map_or(dockerfile.clone(), |line| format!("{dockerfile}:{line}"));
                if let Some((path, why, next)) = self.not_committed(&failed.reason) {
                    return Error::NotCommitted { place, command: failed.command, path, why, next };
                }
                Error::Step { place, command: failed.command, reason: blotted(&failed.reason), tail }
            }
            None => Error::Build { dockerfile, reason: progress::reason(&blotted(said)) },
        }
    }

    /// Why a path that a step asks for is not there, where the work tree has it.
    fn not_committed(&self, reason: &str) -> Option<(String, &'static str, &'static str)> {
        let (before, _) = reason.split_once("\": not found").or_else(|| reason.split_once("\": no such file"))?;
        let path = self.image.context.join(before.rsplit_once('"')?.1.trim_start_matches('/'));
        if !self.repository.work_dir()?.join(&path).exists() {
            return None;
        }
        let is_ignored = || self.repository.git().args(["check-ignore", "--quiet", "--", &path]).answer();
        Some(if self.repository.is_tracked(&path).unwrap_or(false) {
            (path, "is left out by .dockerignore", "take it back in with a line that begins with `!`")
        } else if is_ignored().unwrap_or(false) {
            let next = "let a command make it: `before: npm run build` and `artifacts: [dist]` under the image";
            (path, "is ignored by git, so that no commit has it", next)
        } else {
            (path, "is in your work tree and in no commit", "`git add` it and commit")
        })
    }

    /// The image as the engine has it: one on containerd keeps no image without a name, and another build of the same key may
    /// have taken the name already. What has it then is as good.
    async fn standing(&self, engine: &Engine, id: String) -> Result<String, Error> {
        let failed = |source| Error::Engine { doing: "looking at the image".to_owned(), source };
        match engine.docker.inspect_image(&id).await {
            Err(EngineError::DockerResponseServerError { status_code: 404, .. }) => {
                let other = engine.docker.inspect_image(&self.name).await.map_err(failed)?;
                Ok(other.id.unwrap_or(id))
            }
            found => found.map(|_| id).map_err(failed),
        }
    }

    /// A base image of one architecture is taken for any: the cluster would be the first to tell.
    async fn is_for_its_platform(
        &self,
        engine: &Engine,
        file: &Dockerfile,
        id: &str,
        trace: &Trace,
    ) -> Result<(), Error> {
        let wrong = |found: String| {
            let (dockerfile, wanted) = (self.image.dockerfile(), self.image.platform.to_string());
            Err(Error::Platform { dockerfile, found, wanted })
        };
        if let Some(found) = trace.other_platform() {
            return wrong(found);
        }
        if self.image.platform.is_several() {
            return Ok(());
        }
        let failed = |source| Error::Engine { doing: "looking at the image".to_owned(), source };
        let image = engine.docker.inspect_image(id).await.map_err(failed)?;
        let wanted: Vec<&str> = self.image.platform.as_str().splitn(3, '/').collect();
        let is = |found: &Option<String>, wanted: Option<&&str>| {
            found.as_deref().is_none_or(|found| found.is_empty() || Some(&found) == wanted)
        };
        let fits = |image: &ImageInspect| is(&image.os, wanted.first()) && is(&image.architecture, wanted.get(1));
        let named = |image: ImageInspect| [image.os, image.architecture].map(Option::unwrap_or_default).join("/");
        if !fits(&image) {
            return wrong(named(image));
        }
        // Podman writes on the image what was asked for, whatever its base is.
        if matches!(engine.kind, Kind::Podman { .. })
            && let Some(base) = file.last_base(&self.image.args, self.image.target.as_deref())
            && let Ok(base) = engine.docker.inspect_image(&base).await
            && !fits(&base)
        {
            return wrong(named(base));
        }
        Ok(())
    }
}

/// As Docker's command reads it.
fn wants_classic() -> bool {
    std::env::var("DOCKER_BUILDKIT").is_ok_and(|value| value == "0")
}

fn gone(reason: String) -> Error {
    Error::EngineGone { doing: "building".to_owned(), reason }
}

fn base_labels(bases: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    if bases.is_empty() {
        return BTreeMap::new();
    }
    let all: Vec<String> = bases.iter().map(|(name, digest)| format!("{name}@{digest}")).collect();
    let mut labels = BTreeMap::from([(BASES_LABEL.to_owned(), all.join(" "))]);
    if let (1, Some((name, digest))) = (bases.len(), bases.first_key_value()) {
        labels.insert("org.opencontainers.image.base.name".to_owned(), name.clone());
        labels.insert("org.opencontainers.image.base.digest".to_owned(), digest.clone());
    }
    labels
}
