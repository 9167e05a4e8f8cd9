//! What a page is drawn from. Near facts cost nothing and are read at every change; far ones are asked of the manifest
//! repository and the cluster. Both are plain data, and each says what could not be had.

use super::{Settings, act::Act};
use crate::{
    check::log,
    cluster,
    config::Config,
    deliver::{self, Past, Session, Target},
    git::{Logged, Prompts, Repository},
    status::{self, Status},
    values::{EnvironmentName, Oid},
};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The most commits that a page knows.
pub(super) const MOST: usize = 1000;
/// The most entries of a history that it knows.
const HISTORY: usize = 1000;
/// The most commits of a branch that it knows as not pushed.
const UNPUSHED: usize = 200;

/// What the clone itself knows.
#[derive(Debug, Default)]
pub(super) struct Near {
    /// The commits of the environments' branches, here and at their upstreams, the newest first.
    pub commits: Vec<Logged>,
    /// Those of them that no upstream has.
    pub unpushed: BTreeSet<Oid>,
    /// What happened here.
    pub told: log::Told,
    /// What the configuration says, or why nobody can say.
    pub config: Option<Result<Config, String>>,
}

/// What was asked of others.
#[derive(Debug)]
pub(super) struct Far {
    /// When.
    pub asked: Timestamp,
    /// Each environment, as `gitops-hooks status` has it.
    pub status: Status,
    /// Each environment's history, and what waits for it.
    pub places: BTreeMap<EnvironmentName, Place>,
}

/// What the manifest repository says about an environment.
#[derive(Debug)]
pub(super) struct Place {
    /// As `gitops-hooks history` has it.
    pub past: Result<Past, String>,
    /// The branch on which a delivery waits for review.
    pub review: Option<String>,
}

/// All of it at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub project: String,
    pub near: Arc<Near>,
    /// `None` until they were asked for the first time.
    pub far: Option<Arc<Far>>,
    /// What was asked for with a button, the newest first.
    pub acts: Vec<Act>,
    /// What tells whether a page that was drawn is still right.
    pub generation: u64,
}

impl Facts {
    /// The configuration, where it can be used.
    pub fn config(&self) -> Option<&Config> {
        self.near.config.as_ref()?.as_ref().ok()
    }

    /// The environments, each behind the one that it is promoted from.
    pub fn environments(&self) -> Vec<EnvironmentName> {
        self.config().map(chains).unwrap_or_default().into_iter().flatten().collect()
    }

    pub fn place(&self, name: &EnvironmentName) -> Option<&Place> {
        self.far.as_ref()?.places.get(name)
    }

    pub fn past(&self, name: &EnvironmentName) -> Option<&Past> {
        self.place(name)?.past.as_ref().ok()
    }

    pub fn trace(&self, name: &EnvironmentName) -> Option<&status::Trace> {
        self.far.as_ref()?.status.environments.iter().find(|trace| trace.environment == *name)
    }
}

/// The environments as lines of promotion: each begins with one that follows a branch.
pub(super) fn chains(config: &Config) -> Vec<Vec<EnvironmentName>> {
    let after = |name: &EnvironmentName| {
        let next = config.environments.iter().filter(|(_, environment)| environment.promote.as_deref() == Some(name));
        next.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let mut chains = Vec::new();
    for (first, _) in config.followers() {
        let mut chain = vec![first.clone()];
        let mut waiting = after(first);
        waiting.reverse();
        while let Some(next) = waiting.pop() {
            waiting.extend(after(&next).into_iter().rev());
            chain.push(next);
        }
        chains.push(chain);
    }
    chains
}

/// What people call the repository.
pub(super) fn project(repository: &Repository) -> String {
    let folder = repository.work_dir().unwrap_or_else(|| repository.common_dir());
    folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Reads what is near.
pub(super) fn near(settings: &Settings) -> Near {
    let repository = &settings.clone_now();
    let config = (settings.configuration)(repository);
    let mut branches: BTreeSet<String> =
        config.iter().flat_map(Config::followers).map(|(_, branch)| branch.to_owned()).collect();
    if branches.is_empty() {
        branches.insert("HEAD".to_owned());
    }
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for branch in &branches {
        here.extend(if branch == "HEAD" {
            repository.commit(branch)
        } else {
            repository.commit(&format!("refs/heads/{branch}"))
        });
        there.extend(repository.upstream(branch).and_then(|upstream| repository.reference(&upstream.tracking)));
    }
    let tips: Vec<Oid> = here.iter().chain(&there).cloned().collect();
    let commits = repository.log(&tips, MOST).unwrap_or_default();
    let unpushed = if there.is_empty() {
        commits.iter().map(|commit| commit.id.clone()).collect()
    } else {
        here.iter().flat_map(|tip| unpushed(repository, tip, &there)).collect()
    };
    Near { commits, unpushed, told: log::told(repository), config: Some(config) }
}

fn unpushed(repository: &Repository, tip: &Oid, there: &[Oid]) -> Vec<Oid> {
    let Some(upstream) = there.first().filter(|_| !there.contains(tip)) else { return Vec::new() };
    let between = repository.between(upstream, tip, UNPUSHED).unwrap_or_default();
    let all = std::iter::once(tip.clone()).chain(between);
    all.filter(|oid| !there.contains(oid)).collect()
}

/// What tells that something near has changed: the references, the notes, the run log.
pub(super) fn stamp(repository: &Repository) -> Vec<Option<std::time::SystemTime>> {
    let (git, state) = (repository.common_dir(), repository.state_dir());
    let modified = |path: std::path::PathBuf| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let mut stamps = vec![
        modified(repository.git_dir().join("HEAD")),
        // A reference that moves leaves its line here, and packing renames this file.
        modified(repository.git_dir().join("logs").join("HEAD")),
        modified(git.join("packed-refs")),
        modified(git.join("config")),
        modified(git.join("refs").join("heads")),
        modified(state.join("outbox")),
        log::stamp(repository).map(|(_, modified)| modified),
    ];
    for remote in std::fs::read_dir(git.join("refs").join("remotes")).into_iter().flatten().flatten() {
        stamps.push(modified(remote.path()));
        for branch in std::fs::read_dir(remote.path()).into_iter().flatten().flatten() {
            stamps.push(modified(branch.path()));
        }
    }
    if let Some(root) = repository.work_dir() {
        stamps.extend(crate::config::PATHS.iter().map(|path| modified(root.join(path))));
    }
    stamps
}

/// Asks the manifest repository and the cluster. Nothing is sent to an address that nobody confirmed.
pub(super) async fn far(settings: &Settings, client: &Result<kube::Client, String>) -> Option<Far> {
    let repository = &settings.clone_now();
    let config = (settings.configuration)(repository).ok()?;
    let targets = status::targets(repository, &config);
    let session = Session::new(repository, Prompts::Never, &targets);
    let status = status::gather_in(&session, &targets, &config, &[], client).await;
    status::remember(repository, &status);
    let unasked = || Place { past: Err(status::UNCONFIRMED.to_owned()), review: None };
    let mut places: BTreeMap<_, _> = config.environments.keys().map(|name| (name.clone(), unasked())).collect();
    places.extend(targets.iter().map(|target| (target.name.clone(), place(&session, target))));
    Some(Far { asked: Timestamp::now(), status, places })
}

/// The client for the cluster, or why there is none.
pub(super) async fn client(settings: &Settings) -> Result<kube::Client, String> {
    cluster::connect(settings.context.as_deref()).await.map_err(|error| error.to_string())
}

fn place(session: &Session<'_>, target: &Target<'_>) -> Place {
    let past = deliver::history(session, target, HISTORY).map_err(|error| error.to_string());
    let review = if past.is_ok() { deliver::in_review(session, target).ok().flatten() } else { None };
    Place { past, review }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments_stand_behind_those_that_they_are_promoted_from() {
        let yaml = "images: {web: {repository: r.example.com/web}}\nenvironments:\n  a-live: {promote: staging, manifests: {url: 'https://example.com/m.git', path: l}, images: [web]}\n  staging: {branch: main, manifests: {url: 'https://example.com/m.git', path: s}, images: [web]}\n  z-last: {promote: a-live, manifests: {url: 'https://example.com/m.git', path: z}, images: [web]}\n";
        let config = crate::config::parse(".gitops-hooks.yaml", yaml).unwrap();
        let names: Vec<Vec<String>> =
            chains(&config).iter().map(|chain| chain.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(names, [["staging", "a-live", "z-last"]]);
    }
}
