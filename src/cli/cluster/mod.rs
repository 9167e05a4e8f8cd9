//! `gitops-hooks cluster`: put the sync of an environment into the cluster, steer it, or take it away.

mod image;
mod install;
mod steer;

use crate::{
    cluster,
    config::{Config, Environment},
    git, pipeline,
    sync::{self, Kinds},
    ui::{Outcome, Progress, Verbosity},
    values::EnvironmentName,
};
use install::{Install, install};
use miette::Result;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Put the sync of an environment into the cluster; again, with what changed, to change it.
    Install(Box<Install>),
    /// Let the sync of an environment run this program, with the settings and credentials that it has.
    Upgrade(steer::Upgrade),
    /// Let the sync of an environment change nothing until it is resumed.
    Suspend(steer::Suspend),
    /// Let it go on.
    Resume(steer::Target),
    /// Let it look at the manifest repository now, and try again what was refused.
    Reconcile(steer::Target),
    /// Write the image of the sync into a file, for `docker load` and nodes that pull from no registry.
    Image(image::Save),
    /// Take the sync of an environment away. Its workloads stay.
    Uninstall(Uninstall),
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
    let progress = Progress::new(verbosity);
    match command {
        Command::Install(arguments) => {
            let repository = git::Repository::discover()?;
            let (_, config) = super::configuration(&repository)?;
            super::block_on(install(arguments, &config, &repository, &progress))
        }
        Command::Upgrade(arguments) => {
            let (_, config) = super::configuration(&git::Repository::discover()?)?;
            super::block_on(steer::upgrade(arguments, &config, &progress))
        }
        Command::Suspend(arguments) => super::block_on(steer::suspend(arguments, &progress)),
        Command::Resume(arguments) => super::block_on(steer::resume(arguments, &progress)),
        Command::Reconcile(arguments) => super::block_on(steer::reconcile(arguments, &progress)),
        Command::Image(arguments) => super::block_on(image::save(arguments, &progress)),
        Command::Uninstall(arguments) => super::block_on(uninstall(arguments, &progress)),
    }
}

/// The environment of that name.
pub(in crate::cli) fn environment<'c>(config: &'c Config, name: &EnvironmentName) -> Result<&'c Environment> {
    let found = config.environments.get(name);
    Ok(found.ok_or_else(|| pipeline::Error::no_environment(name, Some(config)))?)
}

/// The configuration is not asked: what is taken away may stand in it no more.
async fn uninstall(arguments: &Uninstall, progress: &Progress) -> Result<()> {
    let client = cluster::connect(arguments.context.as_deref()).await?;
    let kinds = Kinds::discover(&client).await?;
    let task = progress.task(&format!("sync of {}", arguments.environment));
    match cluster::uninstall(&client, &kinds, &arguments.environment).await {
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
