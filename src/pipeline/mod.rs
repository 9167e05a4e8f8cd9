//! The order of the story: a snapshot is judged, its images are built beside the tests and published after them, what may
//! be behind is noted, and delivered. Each part is done by the room that owns it; this room knows only what follows what.

mod ahead;
mod background;
mod builds;
mod by_hand;
mod choice;
mod commit;
mod deliver;
mod images;
mod judge;
mod leave;
mod look_over;
mod notice;
mod operate;
mod push;
mod react;
mod wanted;

pub use ahead::{ahead, begin_ahead};
pub use background::{detach, log_path};
pub use by_hand::{ByHand, Scope, by_hand, plan_by_hand, scope_of};
pub use choice::{Choice, When};
pub use commit::commit;
pub use deliver::{Shown, Told, deliver, rehearse, told};
pub use images::{
    At, By, ByHand as BuiltByHand, Clearing, Fated, Listed, Listing, build, explain, list, plan_prune, prune,
};
pub use judge::{Call, REGISTRY_HAS_IT};
pub use leave::{Left, leave};
pub use notice::{moved, pulled};
pub use operate::{Proof, history, hold, in_review, promote, rehearse_promotion, rehearse_rollback, release, rollback};
pub use push::push;
pub use react::react;
pub use wanted::Wanted;

use crate::{
    check, config, deliver as delivery, git, hook, image, ui,
    values::{EnvironmentName, HookName},
};
use miette::Diagnostic;
use std::{path::Path, time::Duration};

/// What every part of the story needs.
pub struct Pipeline<'a> {
    /// The repository whose hook runs.
    pub repository: &'a git::Repository,
    /// Where progress is shown.
    pub progress: &'a ui::Progress,
    /// Whether records count.
    pub cache: check::CachePolicy,
    /// Which steps a person asked for.
    pub choice: Choice,
    /// Where steps may run.
    pub places: check::Places,
    /// What a failure means for steps that have not begun.
    pub failures: check::Failures,
    /// Whether somebody is there to answer git's questions.
    pub prompts: git::Prompts,
    /// What ends the work early.
    pub interrupt: &'a check::Interrupt,
}

/// What can stop the story.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum Error {
    /// The remote has what this clone does not know: git will reject the push.
    #[error("{reference} on {remote} has commits that this clone does not know")]
    #[diagnostic(
        code(check),
        help(
            "fetch first: `git pull --rebase {remote}`, then push again; to overwrite them, `git fetch {remote}` and look at what that would be"
        )
    )]
    FetchFirst {
        /// The reference there.
        reference: String,
        /// The remote.
        remote: String,
    },

    /// A commit that should be delivered says nothing of environments.
    #[error("the commit {commit} has no configuration")]
    #[diagnostic(code(config), help("commit a .gitops-hooks.yaml"))]
    NoConfig {
        /// The commit.
        commit: String,
    },

    /// A configuration that is in the work tree alone.
    #[error("{path} is not in what is judged")]
    #[diagnostic(code(config), help("`git add {path}`; a pushed commit must have it"))]
    NotAdded {
        /// The configuration.
        path: String,
    },

    /// The index is not the one that was judged.
    #[error("{path} was staged while the steps ran: the commit would have what they did not judge")]
    #[diagnostic(code(check), help("commit again; a step that stages what it changes says `fix: true` instead"))]
    Overtaken {
        /// What was staged.
        path: String,
    },

    /// Nothing is left of what was staged.
    #[error("the fixes undid all that was staged: there is nothing to commit")]
    #[diagnostic(code(check), help("stage something else; where an amend or an empty commit is meant, say it again"))]
    Undone,

    /// One person's file, in everybody's commit.
    #[error("{} is tracked, so that one person's settings would rule everybody", config::LOCAL_PATH)]
    #[diagnostic(code(config), help("`git rm --cached {}`, and add it to .gitignore", config::LOCAL_PATH))]
    LocalIsTracked,

    /// A step that the hook does not have.
    #[error("there is no step {name:?} in this hook")]
    #[diagnostic(code(usage), help("its steps are: {known}"))]
    NoStep {
        /// The name.
        name: String,
        /// The hook's steps.
        known: String,
    },

    /// A revision that names no commit.
    #[error("{revision:?} is no commit")]
    #[diagnostic(code(usage), help("`git log` shows those that are here"))]
    NoCommit {
        /// The revision.
        revision: String,
    },

    /// An image that the configuration does not have.
    #[error("there is no image {name:?} in the configuration of this commit")]
    #[diagnostic(code(usage), help("its images are: {known}"))]
    NoImage {
        /// The name.
        name: String,
        /// Those of the configuration.
        known: String,
    },

    /// An image was not ready within its step's time.
    #[error("the image {image} was stopped after its time limit of {limit}")]
    #[diagnostic(
        code(check),
        help("`timeout` of its step says how long it may take; `gitops-hooks image build {image} -v` shows what does")
    )]
    TooLong {
        /// The image.
        image: String,
        /// How long it had.
        limit: String,
    },

    /// Nobody says which images are in use.
    #[error("no environment runs {image}, so that nothing says which of its images are needed")]
    #[diagnostic(
        code(config),
        help("name it under `images` of an environment, or remove images on the registry itself")
    )]
    RunsNowhere {
        /// The image.
        image: String,
    },

    /// A history that was cut off cannot tell what is old.
    #[error("this clone is shallow, and cannot tell which commits are older than what runs")]
    #[diagnostic(code(environment), help("`git fetch --unshallow`, then again"))]
    Shallow,

    /// A path that the snapshot does not have.
    #[error("{path} is not in the snapshot")]
    #[diagnostic(code(usage), help("only tracked files are judged: `git add {path}` first"))]
    NoPath {
        /// The path.
        path: String,
    },

    /// An environment that the configuration does not have.
    #[error("there is no environment {name:?} in the configuration{place}")]
    #[diagnostic(code(usage), help("known there: {known}"))]
    NoEnvironment {
        /// The name.
        name: String,
        /// Whose configuration: ` of 4973f7958`, or nothing for the work tree's.
        place: String,
        /// Those that it has, with commas.
        known: String,
    },

    /// An environment that nothing is delivered to unasked.
    #[error("{name} follows no branch: it takes what runs in {from}")]
    #[diagnostic(code(usage), help("`gitops-hooks promote {name}`"))]
    IsPromoted {
        /// The name.
        name: String,
        /// The environment before it.
        from: String,
    },

    /// Manifests that an image is built from.
    #[error("the manifests of {name} are below {path}, which the image {image} is built from")]
    #[diagnostic(
        code(config),
        help(
            "each delivery would make another image: name the folder in .dockerignore, or keep the manifests on a branch of their own (`manifests: {{branch: …}}`)"
        )
    )]
    InContext {
        /// The environment.
        name: String,
        /// The image.
        image: String,
        /// The folder.
        path: String,
    },

    /// An environment with a branch of its own.
    #[error("{name} follows a branch and takes nothing from another environment")]
    #[diagnostic(
        code(usage),
        help("`gitops-hooks deliver {name}`; or give it `promote: ENVIRONMENT` in place of `branch`")
    )]
    NotPromoted {
        /// The name.
        name: String,
    },

    /// Nothing ran in the environment before.
    #[error("{from} runs no {image} that was delivered")]
    #[diagnostic(code(usage), help("deliver to it first: `gitops-hooks deliver {from}`"))]
    NothingToPromote {
        /// The environment before.
        from: String,
        /// The image.
        image: String,
    },

    /// The environment before does not run well.
    #[error("{name} is not healthy, so nothing of it is promoted: {why}")]
    #[diagnostic(code(check), help("`gitops-hooks status` shows it; promote once it is healthy, or use --unverified"))]
    NotHealthy {
        /// The environment before.
        name: String,
        /// What its sync says.
        why: String,
    },

    /// The environment before could not be asked.
    #[error("cannot tell what runs in {name}: {reason}")]
    #[diagnostic(
        code(environment),
        help("set KUBECONFIG, or name a context with --context; --unverified promotes what was delivered there")
    )]
    NotVerified {
        /// The environment before.
        name: String,
        /// Why.
        reason: String,
    },

    /// A branch that no remote is known to have.
    #[error("no remote is known to have the branch {branch}")]
    #[diagnostic(code(usage), help("push it first: `git push -u origin {branch}`"))]
    NoUpstream {
        /// The branch.
        branch: String,
    },

    /// A file of ours.
    #[error("cannot use {path}")]
    #[diagnostic(code(environment))]
    File {
        /// Which one.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },

    /// The asynchronous runtime could not be started.
    #[error("cannot start the asynchronous runtime")]
    #[diagnostic(code(environment))]
    Runtime(#[source] std::io::Error),

    /// From the check room.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Check(#[from] check::Error),

    /// From the configuration.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Config(#[from] config::InvalidConfig),

    /// A configuration that nothing would read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Misnamed(#[from] config::Misnamed),

    /// From the deliver room.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Deliver(#[from] delivery::Error),

    /// From the git room.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Git(#[from] git::Error),

    /// From the hook room.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Hook(#[from] hook::Error),

    /// From the image room.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Image(#[from] image::Error),
}

impl Error {
    fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.display().to_string(), source }
    }

    /// [`Error::NoEnvironment`], with those that the configuration of the work tree has.
    #[must_use]
    pub fn no_environment(name: &EnvironmentName, config: Option<&config::Config>) -> Self {
        Self::lacks(name, String::new(), config)
    }

    /// [`Error::NoEnvironment`], with those that the configuration of a commit has, or of the one that is checked out.
    fn not_committed(name: &EnvironmentName, config: &config::Config, commit: Option<&crate::values::Oid>) -> Self {
        let commit = commit.map_or("the commit that is checked out", |commit| commit.short());
        Self::lacks(name, format!(" of {commit}"), Some(config))
    }

    fn lacks(name: &EnvironmentName, place: String, config: Option<&config::Config>) -> Self {
        let known: Vec<&str> =
            config.iter().flat_map(|config| config.environments.keys()).map(EnvironmentName::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Self::NoEnvironment { name: name.to_string(), place, known }
    }
}

/// Whose configuration rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// The repository's alone, as for what is delivered.
    Everybodys,
    /// The repository's, and what the user lays over it in this work tree.
    Mine,
}

/// The configuration in a tree or commit; `None` where it has none.
fn configuration(
    repository: &git::Repository,
    treeish: &crate::values::Oid,
    whose: Whose,
) -> Result<Option<config::Config>, Error> {
    let read = |path: &str| -> Result<Option<Vec<u8>>, Error> { Ok(repository.file(treeish, path)?) };
    let own = || match whose {
        _ if repository.file(treeish, config::LOCAL_PATH)?.is_some() => Err(Error::LocalIsTracked),
        Whose::Mine => own_layer(repository),
        Whose::Everybodys => Ok(None),
    };
    let found = config::find(read, own)?;
    Ok(found.map(|(_, layers)| layers.parse()).transpose()?)
}

/// What the user lays over the configuration in this work tree.
///
/// # Errors
/// When the file cannot be read.
pub fn own_layer(repository: &git::Repository) -> Result<Option<config::Source>, Error> {
    let Some(path) = repository.work_dir().map(|root| root.join(config::LOCAL_PATH)) else { return Ok(None) };
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(config::Source::new(config::LOCAL_PATH, bytes))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::file(&path, source)),
    }
}

/// Whether the user's own layer changes a hook's steps: what passes then are not everybody's.
fn own_steps(repository: &git::Repository, hook: HookName) -> Result<bool, Error> {
    Ok(own_layer(repository)?.is_some_and(|own| config::touches(&own, hook)))
}

/// Refuses a configuration that aims at addresses, or prepares scratch trees with a command, that nobody confirmed here.
fn confirmed(repository: &git::Repository, config: &config::Config, subject: hook::Subject) -> Result<(), Error> {
    let lines = hook::unconfirmed(repository, config, subject);
    if lines.is_empty() { Ok(()) } else { Err(hook::Error::Unconfirmed { lines }.into()) }
}

/// Waits for work on an engine or a registry, and gives it up when a signal comes: what it has started is put away as it
/// is dropped.
fn wait<T, E>(interrupt: &check::Interrupt, work: impl Future<Output = Result<T, E>>) -> Result<T, Error>
where
    Error: From<E>,
{
    let stopped = async {
        loop {
            if let Some(signal) = interrupt.signal() {
                return check::Error::Interrupted { signal };
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    runtime()?.block_on(async {
        tokio::select! {
            done = work => Ok(done?),
            error = stopped => Err(error.into()),
        }
    })
}

/// A runtime for one piece of work that talks to an engine or a registry.
fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)
}
