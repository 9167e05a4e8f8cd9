//! `gitops-hooks deliver`: closes the difference between what branches have and what environments run.

use super::Global;
use crate::{
    check::{CachePolicy, Failures, Interrupt, Places},
    git::{self, Repository},
    pipeline::{self, Pipeline},
    values::EnvironmentName,
};
use miette::Result;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The environments to deliver; all of them without a name.
    environments: Vec<EnvironmentName>,
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
    for told in pipeline::deliver(&pipeline, &arguments.environments)? {
        if let Err(error) = told.result
            && let Some(earlier) = failed.replace(error)
        {
            super::exit::show(&earlier.into());
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}
