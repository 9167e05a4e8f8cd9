//! The index: what the next commit would hold. Read once with gix, and handed on; git itself is asked only where the index
//! does not already say its tree.

use super::{EntryKind, Error, Repository, TreeEntry, stamp::Stamp};
use crate::values::Oid;
use gix::index::{
    State,
    decode::Options,
    entry::{Flags, Stage},
};
use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The size in bytes from which an index is read in several threads.
const LARGE: u64 = 8 << 20;

/// So many files with conflicts are named.
const SHOWN: usize = 5;

/// What an index says. Cheap to clone.
#[derive(Clone)]
pub struct Index {
    /// The tree that a commit of it would have.
    pub tree: Oid,
    /// Whether entries claim to equal the work tree without being looked at.
    pub trust: Trust,
    read: Option<Arc<Read>>,
}

/// An index file, parsed.
struct Read {
    state: State,
    path: PathBuf,
    stamp: Stamp,
    /// Held open, so that no later index can have its inode.
    _file: File,
}

/// Whether git looks at every file that the index names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It does.
    Looks,
    /// Some entries are `assume-unchanged` or outside a sparse checkout (`git update-index(1)`): git says nothing of them.
    Believes,
}

impl Index {
    /// Its entries; `None` where there is no file yet.
    pub(super) fn state(&self) -> Option<&State> {
        self.read.as_deref().map(|read| &read.state)
    }

    /// What its tree holds, as [`Repository::entries`] gives it, without reading the tree; `None` where the index does not
    /// name every file.
    #[must_use]
    pub fn entries(&self) -> Option<Vec<TreeEntry>> {
        let state = self.state()?;
        let entry = |entry: &gix::index::Entry| {
            let kind = EntryKind::of(entry.mode.to_tree_entry_mode()?)?;
            Some(TreeEntry { path: entry.path(state).to_owned(), kind, oid: oid(entry.id).ok()? })
        };
        // What is only intended to be added is not in the tree.
        let held = state.entries().iter().filter(|entry| !entry.flags.contains(Flags::INTENT_TO_ADD));
        held.map(entry).collect()
    }

    /// Its entries, to change them; `None` where somebody else still has them.
    pub(super) fn into_state(self) -> Option<State> {
        Arc::into_inner(self.read?).map(|read| read.state)
    }

    /// Whether the file is still the one that was read. git never changes an index, it puts another in its place.
    #[must_use]
    pub fn is_current(&self, repository: &Repository) -> bool {
        match &self.read {
            Some(read) => rustix::fs::stat(&read.path).is_ok_and(|stat| Stamp::of(&stat) == read.stamp),
            None => !repository.index_path().exists(),
        }
    }
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

    /// Whether the running hook was given another index than the work tree has.
    #[must_use]
    pub fn has_index_of_its_own(&self) -> bool {
        self.index.as_ref().is_some_and(|index| index.file_name() != Some("index".as_ref()))
    }

    /// Reads the index and finds its tree, writing the tree's objects where they are not yet there. The index file itself
    /// is never touched.
    ///
    /// # Errors
    /// An index with unmerged entries, or one that cannot be read.
    pub fn index(&self) -> Result<Index, Error> {
        let repository = self.gix();
        let Some(read) = self.read_index()? else {
            let tree = gix::ObjectId::empty_tree(repository.object_hash());
            return Ok(Index { tree: oid(tree)?, trust: Trust::Looks, read: None });
        };
        let conflicts = read.state.entries().iter().filter(|entry| entry.stage() != Stage::Unconflicted);
        let mut unmerged: Vec<String> = conflicts.map(|entry| entry.path(&read.state).to_string()).collect();
        unmerged.dedup();
        if !unmerged.is_empty() {
            let more = unmerged.len().saturating_sub(SHOWN);
            unmerged.truncate(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            return Err(Error::Unmerged { paths: unmerged.join(", ") + &more });
        }
        let unseen = Flags::ASSUME_VALID | Flags::SKIP_WORKTREE;
        let believes = read.state.entries().iter().any(|entry| entry.flags.intersects(unseen));
        let trust = if believes { Trust::Believes } else { Trust::Looks };
        // `git commit` leaves the tree's id in the index before it calls a hook (the cache tree, gitformat-index(5)).
        let known = read.state.tree().filter(|tree| {
            tree.num_entries.is_some_and(|count| count as usize == read.state.entries().len())
                && repository.has_object(tree.id)
        });
        let tree = match known {
            Some(tree) => oid(tree.id)?,
            None => self.write_tree(&read.path)?,
        };
        Ok(Index { tree, trust, read: Some(Arc::new(read)) })
    }

    fn read_index(&self) -> Result<Option<Read>, Error> {
        let path = self.index_path();
        let failed = |source| Error::File { path: path.display().to_string(), source };
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        // Taken first: an index that is replaced meanwhile then counts as another one, never as this one.
        let stamp = rustix::fs::fstat(&file).map(|stat| Stamp::of(&stat)).map_err(|error| failed(error.into()))?;
        let hash = self.gix().object_hash();
        // More threads are not worth their start, and what each of them reads is joined in memory.
        let thread_limit = (stamp.size() < LARGE).then_some(1);
        let read = gix::index::File::at(&path, hash, true, Options { thread_limit, ..Options::default() });
        let (state, path) = read.map_err(|error| Error::read("the index", error))?.into_parts();
        Ok(Some(Read { state, path, stamp, _file: file }))
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
