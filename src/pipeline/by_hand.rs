//! A hook's steps by hand, on the snapshot and the paths that a person names. Nothing is published.

use super::{
    Error, Pipeline, Whose, commit, configuration, confirmed,
    judge::{self, Call, Case, Judged, judge},
    own_steps,
};
use crate::{
    check::{self, Coverage, Kind, Snapshot},
    config::{self, Config, Step},
    git::Repository,
    hook::Subject,
    image::Intent,
    values::{HookName, Oid},
};
use gix::bstr::BString;

/// What a hook by hand is about.
#[derive(Debug, Clone)]
pub enum Scope {
    /// What git would give it: what is staged, or what a push of `HEAD` would send.
    Changes,
    /// Every path of that snapshot.
    AllFiles,
    /// These paths of that snapshot, from the root; a folder stands for all below it.
    Files(Vec<BString>),
    /// A commit, against what the upstream has.
    Commit {
        /// Which.
        commit: Oid,
        /// The branch that it was named by, for the conditions of steps.
        branch: Option<String>,
    },
    /// A commit, and what it changes against another one.
    Between {
        /// The older commit.
        from: String,
        /// The commit that is judged.
        to: String,
    },
}

impl Scope {
    /// The branches that it is for; none for the one that is checked out.
    fn branches(&self) -> Vec<&str> {
        match self {
            Self::Commit { branch, .. } => branch.as_deref().into_iter().collect(),
            Self::Changes | Self::AllFiles | Self::Files(_) | Self::Between { .. } => Vec::new(),
        }
    }
}

/// What became of steps that were run by hand.
pub struct ByHand(Option<Judged>);

impl ByHand {
    /// Each step.
    #[must_use]
    pub fn steps(&self) -> &[check::Reported] {
        self.0.as_ref().map_or(&[], |judged| &judged.steps)
    }

    /// Nothing where every step passed or had no need to run.
    ///
    /// # Errors
    /// The steps that failed.
    pub fn verdict(self) -> Result<(), Error> {
        self.0.map_or(Ok(()), |judged| judged.verdict().map(|_| ()))
    }
}

/// Runs the steps of a hook.
///
/// # Errors
/// When the snapshot or the configuration cannot be used. That steps failed is told by [`ByHand::verdict`].
pub fn by_hand(pipeline: &Pipeline<'_>, hook: HookName, scope: &Scope) -> Result<ByHand, Error> {
    let (snapshot, source) = snapshot(pipeline, hook, scope)?;
    not_added(pipeline, &snapshot)?;
    if snapshot.kind == Kind::Index {
        // git leaves the last message there, also that of a commit that was refused.
        let message = pipeline.repository.git_dir().join("COMMIT_EDITMSG");
        let has_message = matches!(hook, HookName::CommitMsg | HookName::PrepareCommitMsg) && message.exists();
        let arguments = if has_message { vec![message.clone().into_os_string()] } else { Vec::new() };
        let call =
            Call { arguments: &arguments, message_file: has_message.then_some(message.as_path()), ..Call::default() };
        return commit::on_index(pipeline, hook, &snapshot, call).map(ByHand);
    }
    let Some(config) = configuration(pipeline.repository, &snapshot.tree, Whose::Mine)? else {
        return Err(Error::NoConfig { commit: source.to_string() });
    };
    let mut case = case(pipeline, &config, hook, &snapshot, &source);
    let branches = scope.branches();
    case.branches = &branches;
    if matches!(scope, Scope::AllFiles) && !own_steps(pipeline.repository, hook)? {
        case.coverage = Coverage::Whole;
    }
    judge(pipeline, case).map(Some).map(ByHand)
}

/// The plan for the steps of a hook, and the steps; nothing is run.
///
/// # Errors
/// When the snapshot or the configuration cannot be used.
pub fn plan_by_hand(
    pipeline: &Pipeline<'_>,
    hook: HookName,
    scope: &Scope,
) -> Result<(check::Plan, Vec<check::Why>), Error> {
    let (snapshot, source) = snapshot(pipeline, hook, scope)?;
    let Some(config) = configuration(pipeline.repository, &snapshot.tree, Whose::Mine)? else {
        return Err(Error::NoConfig { commit: source.to_string() });
    };
    // What decides whether a step runs may be asked in a scratch tree, which `setup` prepares.
    confirmed(pipeline.repository, &config, Subject::Checks)?;
    let steps: &[Step] = config.hooks.get(&hook).map_or(&[], Vec::as_slice);
    let branches = scope.branches();
    let case = Case { branches: &branches, ..case(pipeline, &config, hook, &snapshot, &source) };
    let context = judge::context(pipeline, case);
    let plan = judge::plan(pipeline, steps, &context)?;
    let why = check::why(&plan, steps, &context)?;
    Ok((plan, why))
}

/// A configuration that only the work tree has judges nothing; who runs a hook by hand expects it to.
fn not_added(pipeline: &Pipeline<'_>, snapshot: &Snapshot) -> Result<(), Error> {
    let Some(root) = pipeline.repository.work_dir() else { return Ok(()) };
    let in_snapshot = |path: &&&str| pipeline.repository.file(&snapshot.tree, path).is_ok_and(|file| file.is_some());
    if config::PATHS.iter().any(|path| in_snapshot(&path)) {
        return Ok(());
    }
    match config::PATHS.iter().find(|path| root.join(path).exists()) {
        Some(path) => Err(Error::NotAdded { path: (*path).to_owned() }),
        None => Ok(()),
    }
}

fn case<'a>(
    pipeline: &Pipeline<'_>,
    config: &'a Config,
    hook: HookName,
    snapshot: &'a Snapshot,
    source: &'a Oid,
) -> Case<'a> {
    // What a push would find on the registry is not built by hand either. The registry is asked only where the user has
    // confirmed it.
    let is_asked = hook == HookName::PrePush
        && config.followers().next().is_some()
        && confirmed(pipeline.repository, config, Subject::Publication).is_ok();
    let intent = if is_asked { Intent::Rehearsal } else { Intent::TrialOnly };
    let (coverage, call) = (Coverage::Part, Call::default());
    Case { config, hook, snapshot, branches: &[], source, intent, coverage, call }
}

/// The commit that a revision names, as what is judged.
///
/// # Errors
/// [`Error::NoCommit`].
pub fn scope_of(repository: &Repository, revision: &str) -> Result<Scope, Error> {
    let commit = commit_of(repository, revision)?;
    let is_branch = repository.reference(&format!("refs/heads/{revision}")).as_ref() == Some(&commit);
    Ok(Scope::Commit { commit, branch: is_branch.then(|| revision.to_owned()) })
}

fn commit_of(repository: &Repository, revision: &str) -> Result<Oid, Error> {
    repository.commit(revision).ok_or_else(|| Error::NoCommit { revision: revision.to_owned() })
}

/// The snapshot, and what images are built from.
fn snapshot(pipeline: &Pipeline<'_>, hook: HookName, scope: &Scope) -> Result<(Snapshot, Oid), Error> {
    let repository = pipeline.repository;
    let commit = |revision: &str| commit_of(repository, revision);
    if let Scope::Between { from, to } = scope {
        let (from, to) = (commit(from)?, commit(to)?);
        return Ok((Snapshot::of_commit(repository, to.clone(), Some(&from))?, to));
    }
    let head = match scope {
        Scope::Commit { commit, .. } => Some(commit.clone()),
        _ if hook == HookName::PrePush => repository.commit("HEAD"),
        _ => None,
    };
    let (mut snapshot, source) = if let Some(head) = head {
        let upstream = repository.upstream("HEAD");
        let base = upstream.and_then(|upstream| repository.commit(&upstream.tracking));
        (Snapshot::of_commit(repository, head.clone(), base.as_ref())?, head)
    } else {
        let snapshot = Snapshot::of_index(repository)?;
        let tree = snapshot.tree.clone();
        (snapshot, tree)
    };
    match scope {
        Scope::AllFiles => snapshot.changed = repository.changes(None, &snapshot.tree)?,
        Scope::Files(paths) => {
            let all = repository.changes(None, &snapshot.tree)?;
            snapshot.changed = Vec::new();
            for path in paths {
                let before = snapshot.changed.len();
                snapshot.changed.extend(all.iter().filter(|change| is_at_or_below(&change.path, path)).cloned());
                if snapshot.changed.len() == before {
                    return Err(Error::NoPath { path: path.to_string() });
                }
            }
            snapshot.changed.sort_by(|a, b| a.path.cmp(&b.path));
            snapshot.changed.dedup();
        }
        Scope::Changes | Scope::Commit { .. } | Scope::Between { .. } => {}
    }
    Ok((snapshot, source))
}

/// Whether a path is the one that was named, or in the folder that was; the root's name is empty.
fn is_at_or_below(path: &BString, named: &BString) -> bool {
    named.is_empty() || path.strip_prefix(named.as_slice()).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
}
