//! The image of the sync: made of this program and pushed, or named by the user; and what the node needs to pull it.

use crate::{
    cluster::{self, ImagePull},
    config::{Config, Environment},
    image::{self, Access, Transport},
    ui::{Outcome, Progress, Tone, paint},
    values::{EnvironmentName, ImageRef, Repository, Tag},
};
use kube::Client;
use miette::Result;
use std::path::{Path, PathBuf};

/// What the user says about the image.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Wish {
    /// The image of the sync. Without it one is made of this program and pushed.
    #[arg(long, value_name = "REFERENCE", conflicts_with = "repository")]
    image: Option<ImageRef>,
    /// Where the image of the sync is pushed. Without it, `gitops-hooks` beside the environment's first image.
    #[arg(long, value_name = "REPOSITORY")]
    repository: Option<Repository>,
    /// An image pull secret in the namespace gitops-hooks-system. Without it, the one that was named before; else one is made
    /// of your own docker credentials where the registry asks for a password.
    #[arg(long, value_name = "NAME")]
    pub(super) image_pull_secret: Option<String>,
}

impl Wish {
    /// With the image pull secret that was named before, where none is now.
    pub(super) async fn keeping(mut self, client: &Client, name: &EnvironmentName) -> Result<Self> {
        if self.image_pull_secret.is_none() {
            self.image_pull_secret = cluster::named_pull_secret(client, name).await?;
        }
        Ok(self)
    }
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Save {
    /// The file, a tar of an OCI layout.
    file: PathBuf,
    /// The repository that the image is named after.
    #[arg(long, value_name = "REPOSITORY", default_value = "gitops-hooks")]
    repository: Repository,
}

/// Writes the image of the sync into a file.
pub(super) async fn save(arguments: &Save, progress: &Progress) -> Result<()> {
    let (path, platform) = this_program()?;
    let name = ImageRef { repository: arguments.repository.clone(), tag: Some(version_tag()?), digest: None };
    image::save_binary(&arguments.file, &name, &path, platform.as_str()).await?;
    progress.line(&format!("{name} for {}: {}", platform.as_str(), arguments.file.display()));
    Ok(())
}

/// Where the image of the sync goes: beside the first image of the environment, where the user can push for sure.
fn sync_repository(wish: &Wish, config: &Config, environment: &Environment) -> Result<Repository> {
    if let Some(repository) = &wish.repository {
        return Ok(repository.clone());
    }
    let beside = environment.images.first().and_then(|name| config.images.get(&**name)).and_then(|image| {
        let written = image.repository.to_string();
        let (folder, _) = written.rsplit_once('/')?;
        format!("{folder}/gitops-hooks").parse().ok()
    });
    Ok(beside.ok_or(NoRepository)?)
}

fn version_tag() -> Result<Tag> {
    Ok(concat!("v", env!("CARGO_PKG_VERSION")).parse().map_err(|_| NoRepository)?)
}

/// Where the image of the sync comes from.
pub(super) enum Source {
    /// It is there already.
    Ready(ImageRef),
    /// It is made of this program.
    Program { path: PathBuf, platform: cluster::Platform, repository: Repository },
}

impl Source {
    /// As the user says.
    pub(super) fn of(wish: &Wish, config: &Config, environment: &Environment) -> Result<Self> {
        match &wish.image {
            Some(image) => Ok(Self::Ready(image.clone())),
            None => program(sync_repository(wish, config, environment)?),
        }
    }

    /// The image as it would be named, without looking at anything.
    pub(super) fn named(wish: &Wish, config: &Config, environment: &Environment) -> Result<ImageRef> {
        match &wish.image {
            Some(image) => Ok(image.clone()),
            None => Ok(ImageRef {
                repository: sync_repository(wish, config, environment)?,
                tag: Some(version_tag()?),
                digest: None,
            }),
        }
    }
}

/// This program as what an image is made of.
fn program(repository: Repository) -> Result<Source> {
    let (path, platform) = this_program()?;
    Ok(Source::Program { path, platform, repository })
}

fn this_program() -> Result<(PathBuf, cluster::Platform)> {
    let path =
        std::env::current_exe().map_err(|source| cluster::Error::File { path: "this program".into(), source })?;
    // A program that was replaced while it runs is shown as `NAME (deleted)`; its bytes are still there.
    let path = if path.exists() { path } else { Path::new("/proc/self/exe").to_owned() };
    let platform = cluster::check_static(&path)?;
    Ok((path, platform))
}

/// Pushes the image where it is made here, and gives its reference.
pub(super) async fn push(source: Source, config: &Config, progress: &Progress) -> Result<ImageRef> {
    let (path, platform, repository) = match source {
        Source::Ready(image) => return Ok(image),
        Source::Program { path, platform, repository } => (path, platform, repository),
    };
    let (tag, transport) = (version_tag()?, transport(config, &repository));
    let task = progress.task("image of the sync");
    task.message("pushing");
    match image::push_binary(&repository, transport, &tag, &path, platform.as_str(), &[]).await {
        Ok(reference) => {
            task.end(&Outcome::Done(reference.to_string()));
            Ok(reference)
        }
        Err(error) => {
            task.end(&Outcome::Failed("not pushed".to_owned()));
            Err(error.into())
        }
    }
}

/// The registry is spoken to as for the team's own images.
fn transport(config: &Config, repository: &Repository) -> Transport {
    let mut images = config.images.values();
    images.find(|image| image.repository.registry() == repository.registry()).map_or(Transport::Tls, Transport::of)
}

/// What the node needs to pull the image: nothing where the registry lets anybody, else the secret that the user names, or
/// one of the user's own credentials. Without a cluster nothing is known of an earlier installation.
pub(super) async fn pull(
    wish: &Wish,
    name: &EnvironmentName,
    config: &Config,
    image: &ImageRef,
    client: Option<&Client>,
    progress: &Progress,
) -> Result<ImagePull> {
    if let Some(name) = &wish.image_pull_secret {
        return Ok(ImagePull::Named(name.clone()));
    }
    let registry = image.repository.registry();
    let doubt = match image::access(image, transport(config, &image.repository)).await {
        Ok(Access::Open) => return Ok(ImagePull::Open),
        Ok(Access::Closed(Some(config))) => return Ok(ImagePull::Ours(config)),
        Ok(Access::Closed(None)) => format!("{registry} wants a password, and none is known here"),
        Err(error) => error.to_string(),
    };
    if let Some(client) = client
        && cluster::has_pull_secret(client, name).await?
    {
        return Ok(ImagePull::Held);
    }
    // No mistake yet: nodes may have rights of their own, and a registry that only they can reach.
    progress.line(&paint(
        &format!(
            "No image pull secret is made: {doubt}. Where the nodes cannot pull without one, `docker login {registry}` first, or name one with --image-pull-secret."
        ),
        Tone::Warn,
    ));
    Ok(ImagePull::Open)
}

/// Nowhere to push the sync's image to.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("there is no registry that the image of the sync could be pushed to")]
#[diagnostic(code(usage), help("say where with --repository, or name a ready image with --image"))]
struct NoRepository;
