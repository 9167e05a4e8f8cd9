//! `gitops-hooks hook NAME`: what the shims call. Parses the event and hands it to the pipeline.

use super::Global;
use crate::{
    check::{CachePolicy, Interrupt},
    git::{self, Repository},
    hook::{self, Event},
    pipeline::{self, Pipeline},
    values::HookName,
};
use miette::Result;
use std::ffi::OsString;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The hook, as git calls it.
    pub(super) hook: HookName,
    /// What git gives it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(super) fn run(arguments: &Arguments, global: Global) -> Result<()> {
    let hook = arguments.hook;
    let input = hook::input(hook)?;
    let event = Event::parse(hook, &arguments.arguments, &input)?;
    let repository = Repository::discover()?;
    hook::run_kept(&repository, hook, &arguments.arguments, &input)?;
    let progress = global.progress();
    let interrupt = Interrupt::listen()?;
    let pipeline = Pipeline {
        repository: &repository,
        progress: &progress,
        cache: CachePolicy::Use,
        prompts: git::Prompts::Allowed,
        interrupt: &interrupt,
    };
    match event {
        Event::PrePush { remote, updates, .. } => pipeline::push(&pipeline, &remote, &updates, &arguments.arguments)?,
        Event::Moved(moved) => pipeline::moved(&pipeline, &moved)?,
        Event::PostMerge => {
            pipeline::commit(&pipeline, hook, &arguments.arguments)?;
            pipeline::pulled(&pipeline)?;
        }
        Event::Message(file) => pipeline::message(&pipeline, hook, &arguments.arguments, &file)?,
        Event::Plain => pipeline::commit(&pipeline, hook, &arguments.arguments)?,
    }
    Ok(())
}
