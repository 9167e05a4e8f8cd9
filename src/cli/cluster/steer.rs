//! `gitops-hooks cluster upgrade`, `suspend`, `resume`, `reconcile`: a sync that is there already, steered.

use super::{image, install};
use crate::{
    cluster::{self, Credentials, Installation},
    config::Config,
    sync::{self, Kinds},
    ui::Progress,
    values::EnvironmentName,
};
use miette::Result;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Upgrade {
    /// The environment, as the configuration names it.
    environment: EnvironmentName,
    #[command(flatten)]
    image: image::Wish,
    /// The context of the kubeconfig. Without it, the current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Suspend {
    /// The environment, as the configuration names it.
    environment: EnvironmentName,
    /// Why, for whoever looks at `gitops-hooks status`.
    #[arg(long, value_name = "TEXT", default_value = "by `gitops-hooks cluster suspend`")]
    reason: String,
    /// The context of the kubeconfig. Without it, the current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Target {
    /// The environment, as the configuration names it.
    environment: EnvironmentName,
    /// The context of the kubeconfig. Without it, the current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// The pod runs this program afterwards, with the settings and credentials that it has.
pub(super) async fn upgrade(arguments: &Upgrade, config: &Config, progress: &Progress) -> Result<()> {
    let environment = super::environment(config, &arguments.environment)?;
    let source = image::Source::of(&arguments.image, config, environment)?;
    let client = cluster::connect(arguments.context.as_deref()).await?;
    let settings = installed(&client, &arguments.environment).await?.with_port();
    let held = cluster::held_credentials(&client, &arguments.environment).await?;
    let credentials = Some(Credentials::gather(&settings.url, &cluster::Files::default(), held)?);
    if let Some(host) = &settings.pod {
        return Err(IsGuest { environment: arguments.environment.clone(), host: host.clone() }.into());
    }
    let wish = arguments.image.clone().keeping(&client, &arguments.environment).await?;
    let image = image::push(source, config, progress).await?;
    let pull = image::pull(&wish, &arguments.environment, config, &image, Some(&client), progress).await?;
    let kinds = Kinds::discover(&client).await?;
    let ports = cluster::api_ports(&client).await?;
    let guests = cluster::guests(&client, &arguments.environment).await?;
    let installation = Installation { settings, credentials, pull, image: image.to_string(), ports, guests };
    install::apply(&client, &kinds, &installation, &[], progress).await
}

pub(super) async fn suspend(arguments: &Suspend, progress: &Progress) -> Result<()> {
    let client = cluster::connect(arguments.context.as_deref()).await?;
    installed(&client, &arguments.environment).await?;
    sync::suspend(&client, &arguments.environment, Some(&arguments.reason)).await?;
    progress.line(&format!(
        "the sync of {0} changes nothing until `gitops-hooks cluster resume {0}`; it goes on reading and reporting",
        arguments.environment
    ));
    Ok(())
}

pub(super) async fn resume(arguments: &Target, progress: &Progress) -> Result<()> {
    let client = cluster::connect(arguments.context.as_deref()).await?;
    installed(&client, &arguments.environment).await?;
    sync::suspend(&client, &arguments.environment, None).await?;
    progress.line(&format!("the sync of {} goes on", arguments.environment));
    Ok(())
}

pub(super) async fn reconcile(arguments: &Target, progress: &Progress) -> Result<()> {
    let client = cluster::connect(arguments.context.as_deref()).await?;
    let settings = installed(&client, &arguments.environment).await?;
    if settings.schedule.is_some() {
        cluster::run_now(&client, settings.host()).await?;
    } else {
        sync::nudge(&client, &arguments.environment).await?;
    }
    progress.line(&format!(
        "the sync of {} looks now; `gitops-hooks status --follow` shows what comes of it",
        arguments.environment
    ));
    Ok(())
}

async fn installed(client: &kube::Client, environment: &EnvironmentName) -> Result<sync::Settings> {
    let found = cluster::settings(client, environment).await?;
    Ok(found.ok_or_else(|| NotInstalled { environment: environment.clone() })?)
}

/// The cluster has no sync of that name.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("this cluster has no sync of {environment}")]
#[diagnostic(
    code(usage),
    help("`gitops-hooks cluster install {environment}` makes it; another cluster is chosen with --context")
)]
struct NotInstalled {
    environment: EnvironmentName,
}

/// The program of a pod is upgraded by the name of its host.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{environment} runs in the pod of {host}")]
#[diagnostic(code(usage), help("`gitops-hooks cluster upgrade {host}` upgrades both"))]
struct IsGuest {
    environment: EnvironmentName,
    host: EnvironmentName,
}
