//! What is wanted of environments, and how each wish ends. The environments of one manifest repository are a group with one
//! fetch and one push; groups go side by side where nobody can be asked for a password.

use super::{Act, Build, Error, Hold, Session, Target, group::Group};
use crate::{
    git::Prompts,
    ui::Task,
    values::{ImageName, ImageRef, Oid, RemoteUrl},
};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Manifest repositories that are spoken to at the same time, where nobody can be asked for a password.
const PARALLEL: usize = 8;

/// Why something could not be had of another room, in its own words.
pub type ResolveError = Box<dyn miette::Diagnostic + Send + Sync>;

/// What a delivery asks of those who know images.
pub trait Builds: Sync {
    /// The images of a source commit that an environment runs. It may build them, as far as `build` allows.
    ///
    /// # Errors
    /// Where an image cannot be had.
    fn references(
        &self,
        target: &Target<'_>,
        commit: &Oid,
        build: Build,
    ) -> Result<Vec<(ImageName, ImageRef)>, ResolveError>;

    /// Whether a commit that `to` has and `from` does not have makes another image than `to` does.
    ///
    /// # Errors
    /// Where it cannot be told.
    fn differed(&self, target: &Target<'_>, image: &ImageName, from: &Oid, to: &Oid) -> Result<bool, ResolveError>;

    /// Looks over a commit that is about to be pushed, in the repository at a folder, and may warn of it.
    fn look_over(&self, _target: &Target<'_>, _git_dir: &Path, _commit: &Oid) {}
}

/// An environment and what somebody wants of it.
pub struct Wish<'a> {
    /// The environment.
    pub target: Target<'a>,
    /// What is wanted.
    pub act: Act,
    /// Where progress is shown.
    pub task: Task,
}

/// How a wish ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// One commit was pushed.
    Delivered {
        /// The commit on the manifest branch.
        manifest_commit: Oid,
        /// The source commit that runs now.
        source: Oid,
        /// The images that changed, and what runs now.
        images: Vec<(ImageName, ImageRef)>,
        /// The files that changed, the state not among them.
        files: Vec<String>,
        /// What ran before, where it is no longer on the source branch because somebody rewrote it.
        rewritten: Option<Oid>,
        /// How often it was pushed; more than 1 after a lost race.
        tries: u32,
    },
    /// No reference changed, and the state says that what runs is as new as this.
    Noted {
        /// The commit on the manifest branch.
        manifest_commit: Oid,
        /// The source commit; none where only a hold was set or released.
        source: Option<Oid>,
    },
    /// It waits on a branch of its own until somebody has reviewed and merged it.
    Proposed {
        /// The branch.
        branch: String,
        /// Its newest commit; `None` where it had all of it before.
        commit: Option<Oid>,
        /// Where it is reviewed, where that is known.
        page: Option<String>,
        /// What the server said against a push to the branch itself.
        refused: Option<String>,
    },
    /// The environment runs this already; nothing was committed.
    Unchanged,
    /// The environment runs something newer, or the branch has something else by now.
    Superseded {
        /// The newer source commit.
        by: Oid,
    },
    /// Somebody said that it stays as it is.
    Held {
        /// Who and why.
        hold: Hold,
    },
}

/// Does what is wanted, and says for each wish how it ended; one that fails stops no other. The environments of a manifest
/// repository are fetched once and pushed once. The outbox keeps a note of what should follow a branch and could not.
pub fn deliver(session: &Session<'_>, wishes: &[Wish<'_>], builds: &dyn Builds) -> Vec<Result<Delivery, Error>> {
    let mut groups: BTreeMap<&RemoteUrl, Vec<usize>> = BTreeMap::new();
    for (at, wish) in wishes.iter().enumerate() {
        groups.entry(&wish.target.environment.manifests.url).or_default().push(at);
    }
    let groups: Vec<(&RemoteUrl, Vec<usize>)> = groups.into_iter().collect();
    let (next, ended) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some((url, wanted)) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            let group = Group::new(session, builds, url);
            let done = group.run(wanted.iter().map(|at| (*at, &wishes[*at])));
            ended.lock().unwrap_or_else(PoisonError::into_inner).extend(done);
        }
    };
    match session.prompts {
        // Two questions at once on one terminal: nobody could answer them.
        Prompts::Allowed => work(),
        Prompts::Never => thread::scope(|scope| {
            for _ in 0..groups.len().min(PARALLEL) {
                scope.spawn(work);
            }
        }),
    }
    ended.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}
