//! `gitops-hooks cluster`: put the sync of an environment into the cluster, or take it away.

use crate::{
    cluster::{self, Credentials, Files, Installation},
    config::{Config, Environment},
    git, image,
    sync::{self, Kinds, Settings},
    ui::{Outcome, Progress, Tone, Verbosity, paint},
    values::{EnvironmentName, ImageRef, RemoteUrl, Repository, Span, Tag},
};
use kube::Client;
use miette::Result;
use std::{
    io::{BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Put the sync of an environment into the cluster; again, with what changed, to change it.
    Install(Box<Install>),
    /// Take the sync of an environment away. Its workloads stay.
    Uninstall(Uninstall),
}

#[derive(Debug, clap::Args)]
pub(super) struct Install {
    /// The environment, as the configuration names it.
    environment: EnvironmentName,
    /// Take over what stands in the cluster already and is in the repository too.
    #[arg(long)]
    adopt: bool,
    /// The image of the sync. Without it one is made of this program and pushed.
    #[arg(long, value_name = "REFERENCE", conflicts_with = "repository")]
    image: Option<ImageRef>,
    /// Where the image of the sync is pushed. Without it, `gitops-hooks` beside the environment's first image.
    #[arg(long, value_name = "REPOSITORY")]
    repository: Option<Repository>,
    /// The address of the manifest repository as the pod reaches it. Without it, that of the configuration.
    #[arg(long, value_name = "ADDRESS")]
    url: Option<RemoteUrl>,
    /// A private SSH key that may read the manifest repository.
    #[arg(long, value_name = "FILE")]
    deploy_key: Option<PathBuf>,
    /// The host keys that the sync believes. Without it, those that you know of the host.
    #[arg(long, value_name = "FILE")]
    known_hosts: Option<PathBuf>,
    /// The user for HTTPS.
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// A file with the password or token for HTTPS.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The certificate of the git host's own authority.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How often the repository is asked.
    #[arg(long, value_name = "TIME", default_value = "15s")]
    interval: Span,
    /// Print what would be applied and change nothing. Secrets are left out.
    #[arg(long)]
    dry_run: bool,
    /// The context of the kubeconfig. Without it, the current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Uninstall {
    /// The environment, as the configuration names it.
    environment: EnvironmentName,
    /// The context of the kubeconfig. Without it, the current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

pub(super) fn run(command: &Command, verbosity: Verbosity) -> Result<()> {
    let repository = git::Repository::discover()?;
    let (_, config) = super::configuration(&repository)?;
    let progress = Progress::new(verbosity);
    match command {
        Command::Install(arguments) => super::block_on(install(arguments, &config, &repository, &progress)),
        Command::Uninstall(arguments) => super::block_on(uninstall(arguments, &config, &progress)),
    }
}

/// The environment of that name.
fn environment<'c>(config: &'c Config, name: &EnvironmentName) -> Result<&'c Environment> {
    let known = || config.environments.keys().map(EnvironmentName::as_str).collect::<Vec<_>>().join(", ");
    Ok(config.environments.get(name).ok_or_else(|| NoEnvironment { name: name.to_string(), known: known() })?)
}

async fn install(
    arguments: &Install,
    config: &Config,
    repository: &git::Repository,
    progress: &Progress,
) -> Result<()> {
    let environment = environment(config, &arguments.environment)?;
    let settings = settings(arguments, environment)?;
    let credentials = credentials(arguments, &settings.url)?;
    if arguments.dry_run {
        // A dry run needs no cluster: the image is named as it would be pushed.
        let image = match &arguments.image {
            Some(image) => image.to_string(),
            None => format!("{}:{}", sync_repository(arguments, config, environment)?, version_tag()),
        };
        let installation = Installation { settings, credentials: credentials.into_option(), image };
        return print(&cluster::objects(&installation)?);
    }

    // What cannot work is said before anything is touched.
    let source = match &arguments.image {
        Some(image) => Source::Ready(image.to_string()),
        None => program(sync_repository(arguments, config, environment)?)?,
    };
    let client = cluster::connect(arguments.context.as_deref()).await?;
    cluster::expect_namespace(&client, &settings.namespace).await?;
    let credentials = match credentials {
        Asked::Given(credentials) => Some(credentials),
        Asked::Kept if cluster::has_credentials(&client, &settings.environment).await? => None,
        Asked::Kept => Some(Credentials::gather(&settings.url, &files(arguments))?),
    };
    let kinds = Kinds::discover(&client).await?;
    adoption(arguments, environment, repository, &client, &kinds, progress).await?;

    let image = push(source, config, environment, progress).await?;
    let environment = settings.environment.clone();
    let installation = Installation { settings, credentials, image };
    let task = progress.task(&format!("sync of {environment}"));
    task.message("applying");
    let waited = async {
        cluster::apply(&client, &kinds, &cluster::objects(&installation)?).await?;
        cluster::wait(&client, &kinds, &environment, |reason| task.message(reason)).await
    };
    match waited.await {
        Ok(report) => {
            let phase = format!("{:?}", report.phase).to_lowercase();
            task.clone().end(&Outcome::Done(format!("runs in {} and says: {phase}", sync::NAMESPACE)));
            if let Some(message) = report.message {
                progress.line(&paint(&message, Tone::Warn));
            }
            Ok(())
        }
        Err(error) => {
            task.clone().end(&Outcome::Failed("it does not run".to_owned()));
            Err(error.into())
        }
    }
}

fn settings(arguments: &Install, environment: &Environment) -> Result<Settings> {
    let manifests = &environment.manifests;
    let url = arguments.url.clone().unwrap_or_else(|| (*manifests.url).clone());
    let name = arguments.environment.clone();
    let settings = Settings {
        path: manifests.path.clone(),
        interval: arguments.interval,
        ..Settings::in_pod(name, &environment.namespace, url, &manifests.branch)
    };
    settings.check(".gitops-hooks.yaml")?;
    Ok(settings)
}

/// What is known of the credentials without the cluster.
enum Asked {
    /// The user named them, or none are needed.
    Given(Credentials),
    /// None were named: those of an earlier installation stay, where there was one.
    Kept,
}

impl Asked {
    fn into_option(self) -> Option<Credentials> {
        match self {
            Self::Given(credentials) => Some(credentials),
            Self::Kept => None,
        }
    }
}

fn files(arguments: &Install) -> Files {
    Files {
        deploy_key: arguments.deploy_key.clone(),
        known_hosts: arguments.known_hosts.clone(),
        username: arguments.username.clone(),
        password: arguments.password_file.clone(),
        ca: arguments.ca.clone(),
    }
}

fn credentials(arguments: &Install, url: &RemoteUrl) -> Result<Asked> {
    let files = files(arguments);
    if files.is_empty() {
        return Ok(Asked::Kept);
    }
    Ok(Asked::Given(Credentials::gather(url, &files)?))
}

/// Lists what stands there already, and takes it over where the user says so.
async fn adoption(
    arguments: &Install,
    environment: &Environment,
    repository: &git::Repository,
    client: &Client,
    kinds: &Kinds,
    progress: &Progress,
) -> Result<()> {
    let task = progress.task("what stands there");
    task.message("reading the manifests");
    let found = cluster::existing(client, kinds, repository, &environment.manifests, &environment.namespace).await;
    let found = match found {
        Ok(found) => found,
        // To install before the repository is filled is no mistake; to adopt from nothing is.
        Err(error) if !arguments.adopt => {
            let said = error.to_string();
            task.end(&Outcome::Skipped(format!("not looked at: {}", said.lines().next().unwrap_or_default())));
            return Ok(());
        }
        Err(error) => {
            task.end(&Outcome::Failed(error.to_string()));
            return Err(error.into());
        }
    };
    if found.is_empty() {
        task.end(&Outcome::Done("nothing that the repository has too".to_owned()));
        return Ok(());
    }
    task.end(&Outcome::Done(format!("{} objects that the repository has too", found.len())));
    for existing in &found {
        progress.line(&format!("  {}", existing.object));
    }
    if !arguments.adopt && !confirmed("Shall the sync take them over?") {
        progress.line(&paint("They stay as they are, and the sync leaves them alone until --adopt.", Tone::Warn));
        return Ok(());
    }
    for existing in &found {
        cluster::adopt(client, kinds, existing).await?;
    }
    progress.line(&format!("{} objects are taken over", found.len()));
    Ok(())
}

/// Asks a person; where there is none, the answer is no.
fn confirmed(question: &str) -> bool {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return false;
    }
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{question} [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Where the image of the sync goes: beside the first image of the environment, where the user can push for sure.
fn sync_repository(arguments: &Install, config: &Config, environment: &Environment) -> Result<Repository> {
    if let Some(repository) = &arguments.repository {
        return Ok(repository.clone());
    }
    let beside = environment.images.first().and_then(|name| config.images.get(&**name)).and_then(|image| {
        let written = image.repository.to_string();
        let (folder, _) = written.rsplit_once('/')?;
        format!("{folder}/gitops-hooks").parse().ok()
    });
    Ok(beside.ok_or(NoRepository)?)
}

fn version_tag() -> String {
    format!("v{}", env!("CARGO_PKG_VERSION"))
}

/// Where the image of the sync comes from.
enum Source {
    /// It is there already.
    Ready(String),
    /// It is made of this program.
    Program { path: PathBuf, platform: cluster::Platform, repository: Repository },
}

/// This program as what an image is made of.
fn program(repository: Repository) -> Result<Source> {
    let path =
        std::env::current_exe().map_err(|source| cluster::Error::File { path: "this program".into(), source })?;
    // A program that was replaced while it runs is shown as `NAME (deleted)`; its bytes are still there.
    let path = if path.exists() { path } else { Path::new("/proc/self/exe").to_owned() };
    let platform = cluster::check_static(&path)?;
    Ok(Source::Program { path, platform, repository })
}

/// Pushes the image where it is made here, and gives its reference.
async fn push(source: Source, config: &Config, environment: &Environment, progress: &Progress) -> Result<String> {
    let (path, platform, repository) = match source {
        Source::Ready(image) => return Ok(image),
        Source::Program { path, platform, repository } => (path, platform, repository),
    };
    // The registry is spoken to as for the team's own images.
    let transport = environment
        .images
        .iter()
        .filter_map(|name| config.images.get(&**name))
        .find(|image| image.repository.registry() == repository.registry())
        .map_or(image::Transport::Tls, image::Transport::of);
    let tag: Tag = version_tag().parse().map_err(|_| NoRepository)?;
    let task = progress.task("image of the sync");
    task.message("pushing");
    match image::push_binary(&repository, transport, &tag, &path, platform.as_str(), &[]).await {
        Ok(reference) => {
            task.end(&Outcome::Done(reference.to_string()));
            Ok(reference.to_string())
        }
        Err(error) => {
            task.end(&Outcome::Failed("not pushed".to_owned()));
            Err(error.into())
        }
    }
}

async fn uninstall(arguments: &Uninstall, config: &Config, progress: &Progress) -> Result<()> {
    let namespace = environment(config, &arguments.environment)?.namespace.clone();
    let client = cluster::connect(arguments.context.as_deref()).await?;
    let kinds = Kinds::discover(&client).await?;
    let task = progress.task(&format!("sync of {}", arguments.environment));
    match cluster::uninstall(&client, &kinds, &arguments.environment, &namespace).await {
        Ok(removed) if removed.objects.is_empty() => {
            task.end(&Outcome::Skipped("it is not installed".to_owned()));
            Ok(())
        }
        Ok(removed) => {
            task.end(&Outcome::Done(format!("{} objects are removed; the workloads stay", removed.objects.len())));
            if removed.namespace {
                progress.line(&format!("the namespace {} goes too: no environment is left", sync::NAMESPACE));
            }
            Ok(())
        }
        Err(error) => {
            task.end(&Outcome::Failed("not all is removed".to_owned()));
            Err(error.into())
        }
    }
}

/// Prints objects as YAML; what a Secret holds is not shown.
fn print(objects: &[serde_json::Value]) -> Result<()> {
    for object in objects {
        let mut object = object.clone();
        if let Some(data) = object.get_mut("stringData").and_then(serde_json::Value::as_object_mut) {
            for value in data.values_mut() {
                *value = "(left out)".into();
            }
        }
        let text = serde_yaml::to_string(&object)
            .map_err(|error| cluster::Error::Template { name: "output".to_owned(), reason: error.to_string() })?;
        anstream::print!("---\n{text}");
    }
    Ok(())
}

/// An environment that the configuration does not have.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the configuration has no environment {name:?}")]
#[diagnostic(code(usage), help("known here: {known}"))]
struct NoEnvironment {
    name: String,
    known: String,
}

/// Nowhere to push the sync's image to.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("there is no registry that the image of the sync could be pushed to")]
#[diagnostic(code(usage), help("say where with --repository, or name a ready image with --image"))]
struct NoRepository;
