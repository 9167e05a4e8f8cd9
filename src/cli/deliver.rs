//! `gitops-hooks deliver`: closes the difference between what branches have and what environments run.

use super::Global;
use crate::{
    check::{CachePolicy, Failures, Interrupt, Places},
    deliver::Switch,
    git::{self, Repository},
    pipeline::{self, Pipeline, Wanted},
};
use miette::Result;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The environments to deliver; all of them without a name.
    environments: Vec<Wanted>,
    /// Deliver although an environment runs a commit of another branch than its configuration names now.
    #[arg(long)]
    switch_branch: bool,
    /// Work on in a session of its own, as hooks do after git has ended.
    #[arg(long, hide = true)]
    detached: bool,
}

pub(super) fn run(arguments: &Arguments, global: Global) -> Result<()> {
    if arguments.detached {
        pipeline::detach();
    }
    let repository = Repository::discover()?;
    let progress = global.progress();
    let interrupt = Interrupt::listen()?;
    let pipeline = Pipeline {
        repository: &repository,
        progress: &progress,
        cache: CachePolicy::Use,
        // What is delivered is everybody's: nobody leaves a step out of it.
        choice: pipeline::Choice::default(),
        places: Places::Any,
        failures: Failures::Gather,
        prompts: if arguments.detached { git::Prompts::Never } else { git::Prompts::Allowed },
        interrupt: &interrupt,
    };
    let mut failed = None;
    let switch = if arguments.switch_branch { Switch::Asked } else { Switch::Refused };
    let all = pipeline::deliver(&pipeline, &arguments.environments, switch)?;
    if all.is_empty() {
        progress.line("nothing to deliver: the configuration has no environments");
    }
    for told in all {
        if let Err(error) = told.result
            && let Some(earlier) = failed.replace(error)
        {
            super::exit::show(&earlier.into());
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}
