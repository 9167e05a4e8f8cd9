//! What one command has asked of remotes. A manifest repository is fetched once, with all the branches that the command
//! needs, whoever asks first; so is the source. What a lost race needs is fetched anew.

use super::{Error, Target, review};
use crate::{
    git::{Mirror, Prompts, Repository},
    values::{Oid, RemoteUrl},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

/// One command's view of the remotes.
pub struct Session<'r> {
    /// The source.
    pub repository: &'r Repository,
    /// Whether somebody is there to answer a question of git's or ssh's.
    pub prompts: Prompts,
    expected: BTreeMap<RemoteUrl, Expected>,
    fetched: Mutex<BTreeSet<RemoteUrl>>,
    upstreams: Mutex<BTreeMap<String, Oid>>,
}

/// What is needed of a manifest repository.
#[derive(Debug, Clone, Default)]
struct Expected {
    branches: BTreeSet<String>,
    /// Whether some of it goes onto branches to review.
    reviews: bool,
}

/// Whether what this command fetched before will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// It will: a push that has lost a race is told so.
    OfThisCommand,
    /// Somebody else has pushed meanwhile.
    Now,
}

impl<'r> Session<'r> {
    /// A session about these environments.
    #[must_use]
    pub fn new<'t>(
        repository: &'r Repository,
        prompts: Prompts,
        targets: impl IntoIterator<Item = &'t Target<'t>>,
    ) -> Self {
        let mut expected: BTreeMap<RemoteUrl, Expected> = BTreeMap::new();
        for target in targets {
            let manifests = &target.environment.manifests;
            let known = expected.entry((*manifests.url).clone()).or_default();
            known.branches.insert((*manifests.branch).clone());
            known.reviews |= target.environment.review;
        }
        Self { repository, prompts, expected, fetched: Mutex::default(), upstreams: Mutex::default() }
    }

    /// The mirror of a manifest repository, locked.
    pub(super) fn open(&self, url: &RemoteUrl) -> Result<Mirror, Error> {
        Ok(Mirror::open(self.repository, url, self.prompts)?)
    }

    /// Fetches all that is expected of a manifest repository.
    pub(super) fn fetch(&self, mirror: &Mirror, url: &RemoteUrl, freshness: Freshness) -> Result<(), Error> {
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        if freshness == Freshness::OfThisCommand && fetched.contains(url) {
            return Ok(());
        }
        let all = self.expected.get(url).cloned().unwrap_or_default();
        // Others' repositories are not to wait for this one.
        drop(fetched);
        let folder = all.reviews.then_some(review::FOLDER);
        mirror.fetch_all(all.branches.iter().map(String::as_str), folder)?;
        fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.insert(url.clone());
        Ok(())
    }

    /// Lets git repack the mirrors that were fetched, where it finds that worth its while: every fetch and every lost race
    /// leaves something in them. After the work, so that nobody waits for it, and without a word: it is done some other time.
    pub fn tidy(&self) {
        let fetched = std::mem::take(&mut *self.fetched.lock().unwrap_or_else(PoisonError::into_inner));
        for url in fetched {
            if let Ok(mirror) = self.open(&url) {
                let _ = mirror.tidy();
            }
        }
    }

    /// What a branch of the source's remote has, asked once.
    pub(super) fn upstream(&self, branch: &str) -> Result<Oid, Error> {
        let known = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner).get(branch).cloned();
        known.map_or_else(|| self.upstream_now(branch), Ok)
    }

    /// What a branch of the source's remote has at this moment.
    pub(super) fn upstream_now(&self, branch: &str) -> Result<Oid, Error> {
        let upstream =
            self.repository.upstream(branch).ok_or_else(|| Error::NoUpstream { branch: branch.to_owned() })?;
        let now = self.repository.ask_upstream(&upstream, self.prompts)?;
        self.upstreams.lock().unwrap_or_else(PoisonError::into_inner).insert(branch.to_owned(), now.clone());
        Ok(now)
    }
}
