//! `gitops-hooks hook NAME`: what the shims call. Parses the event and hands it to the pipeline.

use super::Global;
use crate::{
    check::{self, CachePolicy, Failures, Interrupt, Places},
    git::{self, Repository},
    hook::{self, Event},
    pipeline::{self, Call, Pipeline},
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

/// The call that a shim makes, read without the command line's own machinery: a hook starts at every commit, and most of
/// that machinery is help that nobody sees then.
pub(super) fn called_by_git() -> Option<Arguments> {
    let mut words = std::env::args_os().skip(1);
    let hook = words.next().filter(|word| word == "hook").and(words.next())?.to_str()?.parse().ok()?;
    Some(Arguments { hook, arguments: words.collect() })
}

pub(super) fn run(arguments: &Arguments, global: Global) -> Result<()> {
    let hook = arguments.hook;
    let input = hook::input(hook)?;
    let repository = Repository::discover()?;
    // A step's own git commands in a scratch tree find the user's hooks: they have nothing to judge there.
    if check::is_scratch(&repository) {
        return Ok(());
    }
    hook::run_kept(&repository, hook, &arguments.arguments, &input)?;
    let progress = global.progress();
    if super::hooks_are_off() {
        if hook != HookName::ReferenceTransaction {
            progress.line(&format!("gitops-hooks: {hook} is skipped, as GITOPS_HOOKS=0 says"));
        }
        return Ok(());
    }
    let event = Event::parse(hook, &arguments.arguments, &input)?;
    let interrupt = Interrupt::listen()?;
    let pipeline = Pipeline {
        repository: &repository,
        progress: &progress,
        cache: CachePolicy::Use,
        choice: super::choice(),
        places: Places::Any,
        failures: Failures::Gather,
        prompts: git::Prompts::Allowed,
        interrupt: &interrupt,
    };
    let message_file = match &event {
        Event::Message(file) => Some(file.as_path()),
        _ => None,
    };
    let call = Call { arguments: &arguments.arguments, message_file, input: &input };
    match &event {
        Event::PrePush { remote, updates } => pipeline::push(&pipeline, remote, updates, call)?,
        Event::Moved(moved) => {
            pipeline::react(&pipeline, hook, call)?;
            pipeline::moved(&pipeline, moved)?;
        }
        Event::PostMerge => {
            // A step that fails here is no reason not to deliver what was pulled.
            let reaction = pipeline::react(&pipeline, hook, call);
            pipeline::pulled(&pipeline)?;
            reaction?;
        }
        Event::Plain if hook == HookName::PostCommit => {
            pipeline::react(&pipeline, hook, call)?;
            pipeline::begin_ahead(&pipeline)?;
        }
        Event::Message(_) => pipeline::commit(&pipeline, hook, call)?,
        Event::Plain if check::judges(hook) => pipeline::commit(&pipeline, hook, call)?,
        Event::Plain => pipeline::react(&pipeline, hook, call)?,
    }
    Ok(())
}
