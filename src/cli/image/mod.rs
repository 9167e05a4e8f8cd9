//! `gitops-hooks image`: what is built of a commit, why, where it is, and what of it may go.

mod build;
mod key;
mod list;
mod prune;

use super::Global;
use crate::{
    check::{CachePolicy, Failures, Interrupt, Places},
    git::{self, Repository},
    pipeline::{self, Pipeline},
    ui::Progress,
};
use miette::Result;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Build images of a commit and try them. Nothing is published.
    Build(build::Arguments),
    /// Print the keys of images: two commits with one key have one image.
    Key(key::Arguments),
    /// List what was published of images, and where it runs.
    List(list::Arguments),
    /// Remove from the registry what no environment needs any more.
    Prune(prune::Arguments),
}

pub(super) fn run(command: &Command, global: Global) -> Result<()> {
    let (repository, progress, interrupt) = (Repository::discover()?, global.progress(), Interrupt::listen()?);
    let pipeline = pipeline(&repository, &progress, &interrupt);
    match command {
        Command::Build(arguments) => build::run(arguments, &pipeline),
        Command::Key(arguments) => key::run(arguments, &pipeline),
        Command::List(arguments) => list::run(arguments, &pipeline),
        Command::Prune(arguments) => prune::run(arguments, &pipeline),
    }
}

fn pipeline<'a>(repository: &'a Repository, progress: &'a Progress, interrupt: &'a Interrupt) -> Pipeline<'a> {
    Pipeline {
        repository,
        progress,
        cache: CachePolicy::Use,
        choice: pipeline::Choice::default(),
        places: Places::Any,
        failures: Failures::Gather,
        prompts: git::Prompts::Allowed,
        interrupt,
    }
}
