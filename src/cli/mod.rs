//! The command line: one file per subcommand, each of which parses its arguments, calls a room and prints. How anything is
//! done is the rooms' business.

mod cluster;
mod completions;
mod config;
mod deliver;
mod doctor;
mod examples;
mod exit;
mod history;
mod hook;
mod image;
mod import;
mod init;
mod install;
mod operate;
mod plan;
mod present;
mod run;
mod status;
mod sync;
mod ui;

use crate::{
    config as config_room, git, pipeline,
    ui::{Progress, Verbosity},
    values::Version,
};
use clap::{Args, FromArgMatches, Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// A CI/CD pipeline with no CI server: git hooks check, build and deliver, and one pod applies.
#[derive(Debug, Parser)]
#[command(name = "gitops-hooks", version = Version::long(), propagate_version = true, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

impl Arguments {
    fn read() -> Result<Self, clap::Error> {
        Self::from_arg_matches(&examples::command().try_get_matches()?)
    }

    fn of(hook: hook::Arguments) -> Self {
        Self { command: Command::Hook(hook), global: Global { quiet: false, verbose: false } }
    }
}

/// What every subcommand understands.
#[derive(Debug, Clone, Copy, Args)]
struct Global {
    /// Say only what failed.
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Show the output of everything that runs.
    #[arg(long, short, global = true)]
    verbose: bool,
}

impl Global {
    fn verbosity(self) -> Verbosity {
        match self {
            Self { quiet: true, .. } => Verbosity::Quiet,
            Self { verbose: true, .. } => Verbosity::Verbose,
            Self { .. } => Verbosity::Normal,
        }
    }

    fn progress(self) -> Progress {
        Progress::new(self.verbosity())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a configuration that fits this repository.
    Init(init::Arguments),
    /// Make a configuration of lefthook's, pre-commit's or husky's.
    Import(import::Arguments),
    /// Put the hooks in place, after showing what they will run.
    Install(install::Arguments),
    /// Take the hooks away and put back what was there before.
    Uninstall,
    /// Run a hook's steps by hand.
    Run(run::Arguments),
    /// Deliver what the branches have and environments do not run yet.
    Deliver(deliver::Arguments),
    /// Show what a delivery to an environment would change.
    Diff(deliver::Diff),
    /// Make an environment run exactly what the one before it runs.
    Promote(operate::Promote),
    /// Make an environment run what it ran before, until it is released.
    Rollback(operate::Rollback),
    /// Keep newer commits away from an environment, and tell all why.
    Hold(operate::Hold),
    /// Let newer commits in again, and deliver what waited.
    Release(operate::Release),
    /// Show what ran in an environment, who brought it, and when.
    History(history::Arguments),
    /// What the hooks call.
    #[command(hide = true)]
    Hook(hook::Arguments),
    /// Build, explain, list and clear away images.
    #[command(subcommand)]
    Image(image::Command),
    /// Show each environment from commit to pods.
    Status(status::Arguments),
    /// Show all of it in a browser: what ran, what failed, what is live.
    Ui(ui::Arguments),
    /// Say what is wrong with this clone's set-up, and the next step.
    Doctor(doctor::Arguments),
    /// Show what the sync would do to the cluster now.
    Plan(plan::Arguments),
    /// Put the sync into the cluster, steer it, or take it away.
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Make the cluster what the repository says: what the pod runs.
    Sync(sync::Arguments),
    /// Check the configuration, or print its schema.
    #[command(subcommand)]
    Config(config::Command),
    /// Print a script that lets a shell complete the commands.
    Completions(completions::Completions),
    /// Write the manual pages into a folder.
    #[command(hide = true)]
    Man(completions::Man),
}

/// Runs the program and gives its exit code: 0 done, 1 a check failed, 2 usage or configuration, 3 the environment.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match hook::called_by_git().map_or_else(Arguments::read, |hook| Ok(Arguments::of(hook))) {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed standard output must not turn `--help` into a panic.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let hook = match &arguments.command {
        Command::Hook(hook) => Some(hook.hook),
        _ => None,
    };
    let code = exit::report(dispatch(arguments));
    // A hook that cannot stop git has said what is wrong; its exit code would only break other commands.
    match hook {
        Some(hook) if !crate::hook::may_stop_git(hook) => ExitCode::SUCCESS,
        _ => code,
    }
}

fn dispatch(arguments: Arguments) -> miette::Result<()> {
    let global = arguments.global;
    match arguments.command {
        Command::Init(arguments) => init::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Install(arguments) => install::install(&arguments),
        Command::Uninstall => install::uninstall(),
        Command::Run(arguments) => run::run(&arguments, global),
        Command::Deliver(arguments) => deliver::run(&arguments, global),
        Command::Diff(arguments) => deliver::diff(&arguments, global),
        Command::Promote(arguments) => operate::promote(&arguments, global),
        Command::Rollback(arguments) => operate::rollback(&arguments, global),
        Command::Hold(arguments) => operate::hold(&arguments, global),
        Command::Release(arguments) => operate::release(&arguments, global),
        Command::History(arguments) => history::run(&arguments, global),
        Command::Hook(arguments) => hook::run(&arguments, global),
        Command::Image(command) => image::run(&command, global),
        Command::Status(arguments) => status::run(&arguments),
        Command::Ui(arguments) => ui::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments, global),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Cluster(command) => cluster::run(&command, global.verbosity()),
        Command::Sync(arguments) => sync::run(&arguments),
        Command::Config(command) => config::run(&command),
        Command::Completions(arguments) => completions::print(&arguments),
        Command::Man(arguments) => completions::write_pages(&arguments),
    }
}

/// Runs what needs the asynchronous runtime, which nothing else of the program starts.
fn block_on<T>(work: impl Future<Output = miette::Result<T>>) -> miette::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(NoRuntime)?;
    runtime.block_on(work)
}

/// The operating system gives us no way to wait.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("cannot start the asynchronous runtime")]
#[diagnostic(code(environment))]
struct NoRuntime(#[source] std::io::Error);

/// Prints a result for programs. `docs/json.md` has the shape of each; what would break a reader raises its `version`.
fn print_json(value: &serde_json::Value) {
    crate::ui::say!("{value:#}");
}

/// This program's file, by the path that it was called by: what a package manager's link leads to, an upgrade takes away.
fn program() -> std::io::Result<PathBuf> {
    let real = std::env::current_exe()?.canonicalize()?;
    let called = std::env::args_os().next().and_then(|name| which::which(name).ok());
    match called.filter(|path| path.canonicalize().is_ok_and(|found| found == real)) {
        Some(path) => std::path::absolute(path),
        None => Ok(real),
    }
}

/// Whether the environment says that hooks run nothing.
fn hooks_are_off() -> bool {
    std::env::var_os("GITOPS_HOOKS").is_some_and(|value| value == "0")
}

/// The steps that the environment says to leave out.
fn choice() -> pipeline::Choice {
    let skip = std::env::var("GITOPS_HOOKS_SKIP").unwrap_or_default();
    let names = skip.split(',').map(str::trim).filter(|name| !name.is_empty());
    pipeline::Choice { skip: names.map(str::to_owned).collect(), ..pipeline::Choice::default() }
}

/// The configuration in the work tree, with the path it was found at.
fn configuration(repository: &git::Repository) -> miette::Result<(&'static str, config_room::Config)> {
    let (path, layers) = layers(repository)?;
    Ok((path, layers.parse()?))
}

/// The files of the configuration in the work tree; of a repository without one, those of `HEAD`.
fn layers(repository: &git::Repository) -> miette::Result<(&'static str, config_room::Layers)> {
    let Some(root) = repository.work_dir() else {
        let absent = || NoConfig { root: repository.git_dir().display().to_string() };
        let head = repository.commit("HEAD").ok_or_else(absent)?;
        let read = |path: &str| -> miette::Result<Option<Vec<u8>>> { Ok(repository.file(&head, path)?) };
        return config_room::find(read, || Ok(None))?.ok_or_else(|| absent().into());
    };
    let read = |path: &str| -> miette::Result<Option<Vec<u8>>> {
        match std::fs::read(root.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(git::Error::File { path: path.to_owned(), source }.into()),
        }
    };
    let found = config_room::find(read, || Ok(pipeline::own_layer(repository)?))?;
    found.ok_or_else(|| NoConfig { root: root.display().to_string() }.into())
}

/// No configuration where one is needed.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("there is no .gitops-hooks.yaml in {root}")]
#[diagnostic(code(config), help("write one with `gitops-hooks init`"))]
struct NoConfig {
    root: String,
}
