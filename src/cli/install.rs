//! `gitops-hooks install` and `uninstall`: show what will run, ask, and put the hooks in place.

use super::exit::Declined;
use crate::{
    config::{Condition, Config, Step},
    git::Repository,
    hook, pipeline, ui,
    values::{EnvironmentName, HookName},
};
use miette::{IntoDiagnostic, Result};
use std::io::IsTerminal;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Confirm what the configuration names without being asked.
    #[arg(long, short)]
    yes: bool,
    /// Only these hooks; without any, all that the configuration needs.
    hooks: Vec<HookName>,
}

/// A hook that nothing would run in.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{path} has nothing to run in {hook}")]
#[diagnostic(code(usage), help("give it steps under `hooks`, or leave it out of the command"))]
struct NotNeeded {
    hook: HookName,
    path: &'static str,
}

pub(super) fn install(arguments: &Arguments) -> Result<()> {
    let repository = Repository::discover()?;
    if let Some(manager) = hook::managed_by(&repository).filter(|manager| manager.can_be_imported()) {
        crate::ui::say!("found {manager}'s hooks; `gitops-hooks import` makes steps of its configuration");
    }
    let (path, config) = super::configuration(&repository)?;
    if config.hooks.is_empty() && config.environments.is_empty() {
        crate::ui::say!("{path} names no hooks and no environments: there is nothing to install");
        return Ok(());
    }
    if let Some(hook) = arguments.hooks.iter().find(|hook| !hook::needed(&config).contains(hook)) {
        return Err(NotNeeded { hook: *hook, path }.into());
    }
    show(path, &config);
    let asked = hook::unconfirmed(&repository, &config, hook::Subject::Publication);
    if !asked.is_empty() && !arguments.yes {
        ask(&asked)?;
    }
    let program = super::program().into_diagnostic()?;
    let installed = hook::install(&repository, &config, &program, &arguments.hooks)?;
    hook::confirm(&repository, &config)?;
    let names: Vec<&str> = installed.hooks.iter().map(|hook| hook.as_str()).collect();
    crate::ui::say!("{} {}", ui::paint("installed", ui::Tone::Good), names.join(", "));
    for kept in &installed.kept {
        crate::ui::say!("kept, and still run first: {}", kept.display());
    }
    for removed in &installed.removed {
        crate::ui::say!("removed {removed}: it is not needed, or was not asked for");
    }
    Ok(())
}

pub(super) fn uninstall() -> Result<()> {
    let repository = Repository::discover()?;
    let done = hook::uninstall(&repository)?;
    let names: Vec<&str> = done.removed.iter().map(|hook| hook.as_str()).collect();
    match done.hooks_path {
        _ if names.is_empty() => crate::ui::say!("there were no hooks of gitops-hooks here"),
        Some(path) => crate::ui::say!(
            "removed {}; core.hooksPath was set to {} after `install`, and stays",
            names.join(", "),
            ui::clean(&path)
        ),
        None => crate::ui::say!("removed {}; what was here before is back in place", names.join(", ")),
    }
    if let Some(left) = pipeline::leave(&repository)? {
        let names: Vec<&str> = left.waiting.iter().map(EnvironmentName::as_str).collect();
        crate::ui::say!(
            "{} stays: {} still waits to be delivered, which `gitops-hooks deliver` does; without a need for it, remove that folder",
            left.folder.display(),
            names.join(", ")
        );
    }
    Ok(())
}

/// Everything that will run, before anybody agrees to it.
fn show(path: &str, config: &Config) {
    crate::ui::say!("{path} runs, on this machine and as you:");
    for (hook, steps) in &config.hooks {
        for step in steps {
            let does = match (&step.run, &step.image) {
                (Some(run), _) => run.written().trim().to_owned(),
                (None, Some(image)) => format!("builds the image {}", image.as_str()),
                (None, None) => continue,
            };
            line(hook.as_str(), &format!("{does}{}", beside(step)));
        }
    }
    for (name, image) in &config.images {
        let secrets = image.secrets.values().filter_map(|secret| secret.run.as_ref());
        let commands: Vec<&String> = image.before.iter().chain(secrets).collect();
        if !commands.is_empty() {
            line(&format!("image {}", name.as_str()), &quoted(commands));
        }
    }
    for line in hook::confirmed(config, hook::Subject::Publication) {
        crate::ui::say!("  {}", ui::clean(&line));
    }
}

fn line(whose: &str, does: &str) {
    crate::ui::say!("  {} {}", ui::paint(whose, ui::Tone::Faint), ui::clean(does));
}

/// What a step runs beside its command: a shell of its own, and what tells whether it has to run.
fn beside(step: &Step) -> String {
    let asked = [&step.only, &step.skip].into_iter().filter_map(|condition| match condition {
        Condition::When(conditions) => conditions.run.as_ref(),
        Condition::Always | Condition::Never => None,
    });
    let first: Vec<&String> = asked.chain(&step.tools).collect();
    let shell = (*step.shell != "sh").then(|| format!("in {}", *step.shell));
    let first = (!first.is_empty()).then(|| format!("first {}", quoted(first)));
    let told: Vec<String> = shell.into_iter().chain(first).collect();
    if told.is_empty() { String::new() } else { format!("  ({})", told.join("; ")) }
}

fn quoted(commands: Vec<&String>) -> String {
    let commands = commands.into_iter().map(|command| format!("`{}`", command.trim()));
    commands.collect::<Vec<_>>().join(", ")
}

fn ask(lines: &[String]) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(Declined { lines: lines.to_vec() }.into());
    }
    crate::ui::print("Is this right? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).into_diagnostic()?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Declined { lines: lines.to_vec() }.into()) }
}
