//! `gitops-hooks run HOOK`: a hook's steps by hand, ahead of git.

use super::Global;
use crate::{
    check::{CachePolicy, Interrupt},
    git::{self, Repository},
    pipeline::{self, Pipeline},
    values::HookName,
};
use miette::Result;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The hook whose steps run: pre-push on HEAD, any other on what is staged.
    hook: HookName,
    /// Run steps again that passed on these inputs before.
    #[arg(long)]
    no_cache: bool,
}

pub(super) fn run(arguments: &Arguments, global: Global) -> Result<()> {
    let repository = Repository::discover()?;
    let progress = global.progress();
    let cache = if arguments.no_cache { CachePolicy::Ignore } else { CachePolicy::Use };
    let interrupt = Interrupt::listen()?;
    let pipeline = Pipeline {
        repository: &repository,
        progress: &progress,
        cache,
        prompts: git::Prompts::Allowed,
        interrupt: &interrupt,
    };
    pipeline::by_hand(&pipeline, arguments.hook)?;
    Ok(())
}
