//! `gitops-hooks deliver` and `diff`: close the difference between what branches have and what environments run, or show it.

use super::Global;
use crate::{
    check::{CachePolicy, Failures, Interrupt, Places},
    deliver::{Rehearsal, Switch},
    git::{self, Repository},
    pipeline::{self, Pipeline, Proof, Shown, Told, Wanted},
    ui::{Tone, clean, paint},
    values::EnvironmentName,
};
use miette::Result;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The environments to deliver; all that follow a branch without a name.
    environments: Vec<Wanted>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Deliver although an environment runs a commit of another branch than its configuration names now.
    #[arg(long)]
    switch_branch: bool,
    /// Work on in a session of its own, as hooks do after git has ended.
    #[arg(long, hide = true)]
    detached: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Diff {
    /// The environment.
    environment: EnvironmentName,
}

pub(super) fn run(arguments: &Arguments, global: Global) -> Result<()> {
    if arguments.detached {
        pipeline::detach();
    }
    let prompts = if arguments.detached { git::Prompts::Never } else { git::Prompts::Allowed };
    let switch = if arguments.switch_branch { Switch::Asked } else { Switch::Refused };
    with_pipeline(global, prompts, |pipeline| {
        if arguments.dry_run {
            return show_all(pipeline::rehearse(pipeline, &arguments.environments, switch)?);
        }
        let all = pipeline::deliver(pipeline, &arguments.environments, switch)?;
        if all.is_empty() {
            pipeline.progress.line("nothing to deliver: the configuration has no environments");
        }
        verdict(all)
    })
}

pub(super) fn diff(arguments: &Diff, global: Global) -> Result<()> {
    with_pipeline(global, git::Prompts::Allowed, |pipeline| {
        let name = &arguments.environment;
        let wanted = Wanted { environment: name.clone(), commit: None };
        show_all(match pipeline::rehearse(pipeline, &[wanted], Switch::Refused) {
            Err(pipeline::Error::IsPromoted { .. }) => {
                vec![pipeline::rehearse_promotion(pipeline, name, &Proof::Unverified)?]
            }
            shown => shown?,
        })
    })
}

/// A pipeline for what is delivered: it is everybody's, so that nobody leaves a step out of it.
pub(super) fn with_pipeline<T>(
    global: Global,
    prompts: git::Prompts,
    work: impl FnOnce(&Pipeline<'_>) -> Result<T>,
) -> Result<T> {
    let repository = Repository::discover()?;
    let progress = global.progress();
    let interrupt = Interrupt::listen()?;
    work(&Pipeline {
        repository: &repository,
        progress: &progress,
        cache: CachePolicy::Use,
        choice: pipeline::Choice::default(),
        // Nobody waits for what runs unasked, and files are edited meanwhile.
        places: if prompts == git::Prompts::Never { Places::Scratch } else { Places::Any },
        failures: Failures::Gather,
        prompts,
        interrupt: &interrupt,
    })
}

/// Nothing where all is well; else the last error. Each has been told on its delivery's line.
pub(super) fn verdict(told: Vec<Told>) -> Result<()> {
    let failed = told.into_iter().filter_map(|told| told.result.err()).last();
    failed.map_or(Ok(()), |error| Err(super::exit::Told(error).into()))
}

/// Shows what would be delivered, and each error but the last, which is the result.
pub(super) fn show_all(shown: Vec<Shown>) -> Result<()> {
    let mut failed = None;
    for Shown { environment, result } in shown {
        let error = match result {
            Ok(rehearsal) => {
                show(&environment, &rehearsal);
                continue;
            }
            Err(error) => error,
        };
        if let Some(earlier) = failed.replace(error) {
            super::exit::show(&earlier.into());
        }
    }
    failed.map_or(Ok(()), |error: pipeline::Error| Err(error.into()))
}

/// A delivery that is not made: each field with its object, then the patch.
fn show(environment: &EnvironmentName, rehearsal: &Rehearsal) {
    let name = paint(environment.as_str(), Tone::Strong);
    let Rehearsal::Change { fields, diff, message, not_built } = rehearsal else {
        if let Rehearsal::Nothing(delivery) = rehearsal {
            crate::ui::say!("{name}: nothing to deliver, {}", pipeline::told(delivery));
        }
        return;
    };
    crate::ui::say!("{name}: {}", clean(message.lines().next().unwrap_or_default()));
    for (file, field) in fields {
        crate::ui::say!("  {file}:{} {}: {}", field.position.line, field.object, clean(&field.old));
    }
    for image in not_built {
        crate::ui::say!(
            "  {}",
            paint(&format!("{image} is not built yet, so that its digest is not known"), Tone::Warn)
        );
    }
    for line in clean(diff).lines() {
        let tone = match line.as_bytes() {
            [b'+', b'+', ..] | [b'-', b'-', ..] => Tone::Strong,
            [b'+', ..] => Tone::Good,
            [b'-', ..] => Tone::Bad,
            [b'@', ..] => Tone::Faint,
            _ => Tone::Plain,
        };
        crate::ui::say!("{}", paint(line, tone));
    }
}
