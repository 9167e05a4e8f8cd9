//! The index: what the next commit would hold. Read once with gix; git itself is asked only where the index does not
//! already say its tree.

use super::{Error, Repository};
use crate::values::Oid;
use gix::index::{decode::Options, entry::Flags};
use std::path::{Path, PathBuf};

/// What an index says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The tree that a commit of it would have.
    pub tree: Oid,
    /// Whether entries claim to equal the work tree without being looked at.
    pub trust: Trust,
}

/// Whether git looks at every file that the index names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It does.
    Looks,
    /// Some entries are `assume-unchanged` or outside a sparse checkout (`git update-index(1)`): git says nothing of them.
    Believes,
}

impl Repository {
    /// The same repository with another index, as `git commit FILE` and `git commit -a` hand one to their hooks.
    #[must_use]
    pub fn with_index(mut self, index: PathBuf) -> Self {
        self.index = Some(index);
        self
    }

    /// The file of the index: that of the running hook (`GIT_INDEX_FILE`), else the work tree's own.
    #[must_use]
    pub fn index_path(&self) -> PathBuf {
        self.index.clone().unwrap_or_else(|| self.git_dir().join("index"))
    }

    /// Reads the index and finds its tree, writing the tree's objects where they are not yet there. The index file itself
    /// is never touched.
    ///
    /// # Errors
    /// An index with unmerged entries, or one that cannot be read.
    pub fn index(&self) -> Result<Index, Error> {
        let path = self.index_path();
        if !path.exists() {
            let tree = gix::ObjectId::empty_tree(self.gix().object_hash());
            return Ok(Index { tree: oid(tree)?, trust: Trust::Looks });
        }
        let repository = self.gix();
        let options = Options::default();
        let index = gix::index::File::at(&path, repository.object_hash(), true, options)
            .map_err(|error| Error::read("the index", error))?;
        let unseen = Flags::ASSUME_VALID | Flags::SKIP_WORKTREE;
        let believes = index.entries().iter().any(|entry| entry.flags.intersects(unseen));
        let trust = if believes { Trust::Believes } else { Trust::Looks };
        // `git commit` leaves the tree's id in the index before it calls a hook (the cache tree, gitformat-index(5)).
        let known = index.tree().filter(|tree| {
            tree.num_entries.is_some_and(|count| count as usize == index.entries().len())
                && repository.has_object(tree.id)
        });
        let tree = match known {
            Some(tree) => oid(tree.id)?,
            None => self.write_tree(&path)?,
        };
        Ok(Index { tree, trust })
    }

    /// `git write-tree` on a copy: on the index itself it would take `index.lock` and rewrite the file.
    fn write_tree(&self, index: &Path) -> Result<Oid, Error> {
        let failed = |source| Error::File { path: index.display().to_string(), source };
        let folder = tempfile::tempdir().map_err(failed)?;
        let copy = folder.path().join("index");
        std::fs::copy(index, &copy).map_err(failed)?;
        let output = self.git().arg("write-tree").env("GIT_INDEX_FILE", &copy).run()?;
        output.line().parse().map_err(|error: crate::values::Invalid| Error::read("the tree of the index", error))
    }
}

fn oid(id: gix::ObjectId) -> Result<Oid, Error> {
    id.to_string().parse().map_err(|error: crate::values::Invalid| Error::read("an object id", error))
}
