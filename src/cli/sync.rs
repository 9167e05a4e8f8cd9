//! `gitops-hooks sync`: the loop that runs in the pod.

use crate::{
    cluster,
    sync::{self, Settings, Times},
};
use miette::Result;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The settings that `cluster install` wrote: a file, or a folder of them for several environments.
    #[arg(long, value_name = "PATH", default_value = "/etc/gitops-hooks")]
    config: PathBuf,
    /// Sync once, wait until it is healthy, and end; for a `CronJob` or by hand.
    #[arg(long)]
    once: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let settings = Settings::read_all(&arguments.config)?;
    // The environments of one pod have one repository, and believe in one host.
    if let Some(first) = settings.first() {
        sync::establish(first)?;
    }
    let times = if arguments.once { Times::Once } else { Times::Forever };
    super::block_on(async {
        let client = match times {
            Times::Once => cluster::connect(None).await?,
            Times::Forever => cluster::client(None).await?.0,
        };
        // The first process of a container ignores signals that it has no handler for.
        let mut end = signal(SignalKind::terminate()).map_err(super::NoRuntime)?;
        let stop = async {
            end.recv().await;
        };
        Ok(sync::run(client, settings, times, stop).await?)
    })
}
