use super::Error;
use crate::{
    git::{Change, Index, Repository, TreeEntry},
    values::Oid,
};
use gix::bstr::BString;

/// The exact tree that is judged, whatever the work tree looks like.
#[derive(Clone)]
pub struct Snapshot {
    /// Its tree.
    pub tree: Oid,
    /// What it is the tree of.
    pub kind: Kind,
    /// The paths that this event changes: staged against `HEAD`, or in the commit against what the remote has.
    pub changed: Vec<Change>,
    /// The index that it was taken from.
    pub(super) index: Option<Index>,
}

/// What a snapshot is the tree of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The index that the hook was given.
    Index,
    /// A commit.
    Commit(Oid),
}

impl Snapshot {
    /// What the next commit holds: the index that the hook was given, which for `git commit FILE` is a temporary one.
    ///
    /// # Errors
    /// An index that cannot be read or that has unmerged entries.
    pub fn of_index(repository: &Repository) -> Result<Self, Error> {
        let index = repository.index()?;
        let head = repository.commit("HEAD");
        let changed = repository.changes(head.as_ref(), &index.tree)?;
        Ok(Self { tree: index.tree.clone(), kind: Kind::Index, changed, index: Some(index) })
    }

    /// What fixers made of it in the index. Beside what is staged now, the paths still count that a person named.
    ///
    /// # Errors
    /// As [`Snapshot::of_index`].
    pub fn fixed(&self, repository: &Repository) -> Result<Self, Error> {
        let mut now = Self::of_index(repository)?;
        let is_staged = |path: &BString| now.changed.iter().any(|change| change.path == *path);
        let named: Vec<&Change> = self.changed.iter().filter(|change| !is_staged(&change.path)).collect();
        if !named.is_empty() {
            let all = repository.changes(None, &now.tree)?;
            let is_there = |path: &BString| all.binary_search_by(|change| change.path.cmp(path)).is_ok();
            let left: Vec<Change> = named.into_iter().filter(|change| is_there(&change.path)).cloned().collect();
            now.changed.extend(left);
            now.changed.sort_by(|a, b| a.path.cmp(&b.path));
        }
        Ok(now)
    }

    /// The first path of which the index says something else by now, as after a `git add` in another window; git commits
    /// what the index says when its hook has ended.
    ///
    /// # Errors
    /// An index that cannot be read or that has unmerged entries.
    pub fn overtaken(&self, repository: &Repository) -> Result<Option<BString>, Error> {
        match &self.index {
            Some(index) if !index.is_current(repository) => {
                let changes = repository.changes(Some(&self.tree), &repository.index()?.tree)?;
                Ok(changes.into_iter().next().map(|change| change.path))
            }
            _ => Ok(None),
        }
    }

    /// Everything in it, in git's order.
    pub(super) fn entries(&self, repository: &Repository) -> Result<Vec<TreeEntry>, Error> {
        match self.index.as_ref().and_then(Index::entries) {
            Some(entries) => Ok(entries),
            None => Ok(repository.entries(&self.tree)?),
        }
    }

    /// A commit, and what it changes against `base`; without one, every path counts as changed.
    ///
    /// # Errors
    /// A commit that cannot be read.
    pub fn of_commit(repository: &Repository, commit: Oid, base: Option<&Oid>) -> Result<Self, Error> {
        let tree = repository.tree_of(&commit)?;
        let changed = repository.changes(base, &tree)?;
        Ok(Self { tree, kind: Kind::Commit(commit), changed, index: None })
    }
}
