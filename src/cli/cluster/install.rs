//! `gitops-hooks cluster install`: everything that cannot work is said first, then what stands there is looked at, then the
//! objects are applied and their pod is waited for.

use super::image::{self, Source, Wish};
use crate::{
    cluster::{self, Credentials, Files, ImagePull, Installation, Standing},
    config::{Config, Environment},
    git,
    sync::{self, Kinds, Note, Phase, Reach, Settings},
    ui::{Outcome, Progress, Tone, paint},
    values::{EnvironmentName, RemoteUrl, Span},
};
use kube::Client;
use miette::Result;
use serde_json::Value as Json;
use std::{
    io::{BufRead, IsTerminal, Write},
    path::PathBuf,
};

/// What the manifests may hold.
#[derive(Debug, clap::Args)]
struct Rights {
    /// Let the manifests hold every kind in every namespace, definitions and roles among them. Whoever can push to the manifest
    /// repository then rules the cluster.
    #[arg(long, conflicts_with = "allow")]
    cluster_wide: bool,
    /// A resource that the manifests may hold besides the usual ones, as kubectl names it: `secrets`,
    /// `certificates.cert-manager.io`. May be given more than once.
    #[arg(long, value_name = "RESOURCE")]
    allow: Vec<sync::Resource>,
}

#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(in crate::cli) struct Install {
    /// The environment, as the configuration names it.
    environment: EnvironmentName,
    /// Take over what stands in the cluster already and is in the repository too.
    #[arg(long)]
    adopt: bool,
    /// Take the place of a sync of this name that applies something else. What it applied stays, and nobody prunes it.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    image: Wish,
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
    /// A file with public SSH keys, as `~/.ssh/authorized_keys` has them: only commits that one of them has signed are applied.
    #[arg(long, value_name = "FILE")]
    verify: Option<PathBuf>,
    #[command(flatten)]
    rights: Rights,
    /// Run in the pod of another environment that follows the same repository, with its credentials.
    #[arg(
        long,
        value_name = "ENVIRONMENT",
        conflicts_with_all = ["cron", "image", "repository", "image_pull_secret", "deploy_key", "known_hosts", "username", "password_file", "ca"]
    )]
    pod_of: Option<EnvironmentName>,
    /// How often the repository is asked. Without it, every 15 seconds.
    #[arg(long, value_name = "TIME")]
    interval: Option<Span>,
    /// Look at the repository at these times only, as `cron` writes them, in place of a pod that runs all the time.
    #[arg(long, value_name = "SCHEDULE", conflicts_with = "interval")]
    cron: Option<String>,
    /// Keep no setting of the sync that is there but its credentials. Without it, what is not said again stays.
    #[arg(long)]
    reset: bool,
    /// Print what would be applied to a cluster without it and change nothing. What Secrets hold is left out.
    #[arg(long)]
    dry_run: bool,
    /// The context of the kubeconfig. Without it, the current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

pub(super) async fn install(
    arguments: &Install,
    config: &Config,
    repository: &git::Repository,
    progress: &Progress,
) -> Result<()> {
    let environment = super::environment(config, &arguments.environment)?;
    let settings = settings(arguments, environment)?;
    let files = files(arguments);
    if arguments.dry_run {
        // A dry run needs no cluster.
        let gather = || Credentials::gather(&settings.url, &files, Credentials::default());
        let settings = Settings { pod: arguments.pod_of.clone(), ..settings.clone() };
        let credentials = if files.is_empty() { None } else { Some(gather()?) };
        let image = Source::named(&arguments.image, config, environment)?;
        let pull = image::pull(&arguments.image, &arguments.environment, config, &image, None, progress).await?;
        return print(&cluster::objects(&Installation {
            settings,
            credentials,
            pull,
            image: image.to_string(),
            ports: cluster::USUAL_PORTS.to_vec(),
            guests: Vec::new(),
        })?);
    }

    // What cannot work is said before anything is touched.
    let source = match &arguments.pod_of {
        Some(host) => Err(host),
        None => Ok(Source::of(&arguments.image, config, environment)?),
    };
    let client = cluster::connect(arguments.context.as_deref()).await?;
    cluster::expect_namespace(&client, &settings.namespace).await?;
    cluster::settle(&client, || {
        progress.line(&format!("Waiting until the namespace {} of an earlier installation is gone", sync::NAMESPACE));
    })
    .await?;
    if !arguments.replace {
        cluster::expect_same(&client, &settings).await?;
    }
    let (settings, wish) = if arguments.replace || arguments.reset {
        (settings, arguments.image.clone())
    } else {
        let there = cluster::settings(&client, &settings.environment).await?;
        let wish = arguments.image.clone().keeping(&client, &settings.environment).await?;
        (there.map_or(settings.clone(), |there| keeping(arguments, settings, &there, progress)), wish)
    };
    if let Some(name) = &wish.image_pull_secret {
        cluster::expect_pull_secret(&client, name).await?;
    }
    if settings.reach == Reach::Cluster {
        progress.line(&paint(
            &format!(
                "Cluster-wide: the sync gets every right in this cluster. Whoever can push to {} of {} then rules it, and may read every Secret.",
                settings.branch,
                settings.url.shown()
            ),
            Tone::Warn,
        ));
    }
    let kinds = Kinds::discover(&client).await?;
    let source = match source {
        Ok(source) => source,
        Err(host) => {
            let host = cluster::host(&client, host, &settings).await?;
            let settings = settings.beside(&host);
            let outdated = adoption(arguments, environment, &settings, repository, (&client, &kinds), progress).await?;
            return join(&client, &kinds, &host, settings, &outdated, progress).await;
        }
    };
    let held = cluster::held_credentials(&client, &settings.environment).await?;
    let credentials = Some(Credentials::gather(&settings.url, &files, held)?);
    let image = image::push(source, config, progress).await?;
    let pull = image::pull(&wish, &arguments.environment, config, &image, Some(&client), progress).await?;
    let outdated = adoption(arguments, environment, &settings, repository, (&client, &kinds), progress).await?;
    let ports = cluster::api_ports(&client).await?;
    let guests = cluster::guests(&client, &settings.environment).await?;
    let installation = Installation { settings, credentials, pull, image: image.to_string(), ports, guests };
    apply(&client, &kinds, &installation, &outdated, progress).await
}

/// Lets an environment run in the pod of another.
async fn join(
    client: &Client,
    kinds: &Kinds,
    host: &Settings,
    settings: Settings,
    outdated: &[Note],
    progress: &Progress,
) -> Result<()> {
    let installation = Installation {
        settings,
        credentials: None,
        pull: ImagePull::Open,
        image: String::new(),
        ports: Vec::new(),
        guests: Vec::new(),
    };
    cluster::apply(client, kinds, &cluster::objects(&installation)?).await?;
    cluster::seat(client, host, &cluster::guests(client, &host.environment).await?).await?;
    apply(client, kinds, &installation, outdated, progress).await
}

/// Applies an installation, waits for its pod, and says what that says: something newer than `outdated`.
pub(super) async fn apply(
    client: &Client,
    kinds: &Kinds,
    installation: &Installation,
    outdated: &[Note],
    progress: &Progress,
) -> Result<()> {
    let settings = &installation.settings;
    let environment = &settings.environment;
    let task = progress.task(&format!("sync of {environment}"));
    task.message("applying");
    let waited = async {
        cluster::apply(client, kinds, &cluster::objects(installation)?).await?;
        cluster::remove_old(client, kinds, settings).await?;
        if !installation.pull.is_ours() {
            cluster::remove_pull_secret(client, environment).await?;
        }
        cluster::wait(client, kinds, settings, outdated, |reason| task.message(reason)).await
    };
    match waited.await {
        Ok(report) => {
            let phase = report.phase.as_str();
            let runs = match &settings.schedule {
                None => "runs".to_owned(),
                Some(schedule) => format!("runs at {schedule:?}"),
            };
            task.clone().end(&Outcome::Done(format!("{runs} in {} and says: {phase}", sync::NAMESPACE)));
            let next = match report.phase {
                Phase::Unhealthy => Some("mend that; where nothing was delivered yet, the first push does"),
                Phase::Failed | Phase::Unreachable => Some("mend that; the sync looks again by itself"),
                Phase::Healthy | Phase::Syncing | Phase::Suspended => None,
            };
            if let Some(reason) = if next.is_some() { report.reason() } else { report.message } {
                progress.line(&paint(&reason, Tone::Warn));
            }
            if let Some(next) = next {
                progress.line(&format!("next: {next}"));
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
        path: (*manifests.path).clone(),
        reach: if arguments.rights.cluster_wide { Reach::Cluster } else { Reach::Namespace },
        allowed: arguments.rights.allow.clone(),
        schedule: arguments.cron.clone(),
        verify: arguments.verify.as_deref().map(cluster::public_keys).transpose()?.unwrap_or_default(),
        ..Settings::in_pod(name, environment.namespace.as_str(), url, &manifests.branch)
    };
    let settings = Settings { interval: arguments.interval.unwrap_or(settings.interval), ..settings };
    settings.check(".gitops-hooks.yaml")?;
    Ok(settings)
}

/// What was not said again stays as the sync has it, and is told: a signature that is asked for no longer, or a right that is
/// taken away, is nothing to forget.
fn keeping(arguments: &Install, asked: Settings, there: &Settings, progress: &Progress) -> Settings {
    let mut kept = Vec::new();
    let mut settings = asked;
    if arguments.verify.is_none() && !there.verify.is_empty() {
        settings.verify.clone_from(&there.verify);
        kept.push("--verify".to_owned());
    }
    if !arguments.rights.cluster_wide && arguments.rights.allow.is_empty() {
        settings.reach = there.reach;
        settings.allowed.clone_from(&there.allowed);
        kept.extend((there.reach == Reach::Cluster).then(|| "--cluster-wide".to_owned()));
        kept.extend(there.allowed.iter().map(|resource| format!("--allow {resource}")));
    }
    if arguments.interval.is_none() {
        settings.interval = there.interval;
        if arguments.cron.is_none()
            && let (None, Some(schedule)) = (&there.pod, &there.schedule)
        {
            kept.push(format!("--cron {schedule:?}"));
            settings.schedule = Some(schedule.clone());
        }
    }
    if !kept.is_empty() {
        progress.line(&paint(&format!("Kept from before: {}; --reset drops it.", kept.join(" ")), Tone::Faint));
    }
    settings
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

/// Lists what stands there already, and takes it over where the user says so; what a sync that runs already has refused of it.
async fn adoption(
    arguments: &Install,
    environment: &Environment,
    settings: &Settings,
    repository: &git::Repository,
    (client, kinds): (&Client, &Kinds),
    progress: &Progress,
) -> Result<Vec<Note>> {
    let task = progress.task("what stands there");
    task.message("reading the manifests");
    let found = cluster::existing(client, kinds, repository, &environment.manifests, settings).await;
    let found = match found {
        Ok(found) => found,
        // To install before the repository is filled is no mistake; to adopt from nothing is.
        Err(error) if !arguments.adopt => {
            let said = error.to_string();
            task.end(&Outcome::Skipped(format!("not looked at: {}", said.lines().next().unwrap_or_default())));
            return Ok(Vec::new());
        }
        Err(error) => {
            task.end(&Outcome::Failed("they cannot be read".to_owned()));
            return Err(error.into());
        }
    };
    let Standing { foreign: found, claimed } = found;
    if let Some((object, other)) = claimed.first() {
        let more = if claimed.len() > 1 { format!(", and {} more", claimed.len() - 1) } else { String::new() };
        let environment = &settings.environment;
        // One that is there already leaves them alone, and may be installed anew for another reason.
        if cluster::settings(client, environment).await?.is_none() {
            task.end(&Outcome::Failed(format!("the sync of {other} owns some of it")));
            let (environment, object, other) = (environment.clone(), object.clone(), other.clone());
            return Err(cluster::Error::Claimed { environment, object, other, more }.into());
        }
        let left = format!("The sync of {other} owns {object}{more}: {environment} leaves them alone.");
        progress.line(&paint(&left, Tone::Warn));
    }
    if found.is_empty() {
        task.end(&Outcome::Done("nothing that the repository has too".to_owned()));
        return Ok(Vec::new());
    }
    task.end(&Outcome::Done(format!("{} objects that the repository has too", found.len())));
    for existing in &found {
        progress.line(&format!("  {}", existing.object));
    }
    if !arguments.adopt && !confirmed("Shall the sync take them over?") {
        progress.line(&paint("They stay as they are, and the sync leaves them alone until --adopt.", Tone::Warn));
        return Ok(Vec::new());
    }
    let mut refused = sync::read(client, &settings.environment).await?.map(|report| report.refused).unwrap_or_default();
    let names: Vec<Option<String>> = found.iter().map(|existing| Some(existing.object.to_string())).collect();
    refused.retain(|note| names.contains(&note.object));
    for existing in &found {
        cluster::adopt(client, kinds, existing).await?;
    }
    progress.line(&format!("{} objects are taken over", found.len()));
    Ok(refused)
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

/// Prints objects as YAML; what a Secret holds is not shown.
fn print(objects: &[Json]) -> Result<()> {
    for object in objects {
        let mut object = object.clone();
        let mut left_out = String::new();
        if object["kind"] == "Secret"
            && let Some(Json::Object(data)) = object.as_object_mut().and_then(|object| object.remove("data"))
        {
            left_out = format!("# Its data is left out: {}\n", data.keys().cloned().collect::<Vec<_>>().join(", "));
        }
        let text = serde_yaml::to_string(&object)
            .map_err(|error| cluster::Error::Template { name: "output".to_owned(), reason: error.to_string() })?;
        crate::ui::print(&format!("---\n{left_out}{text}"));
    }
    Ok(())
}
