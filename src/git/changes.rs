use super::{EntryKind, Error, Repository};
use crate::values::Oid;
use gix::{bstr::BString, diff::tree::recorder};

/// A path that differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path from the root, with `/`. Bytes: git does not promise UTF-8.
    pub path: BString,
    /// What became of it.
    pub kind: ChangeKind,
}

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new, or has other bytes or another mode; what it is now.
    Written(EntryKind),
    /// It is gone.
    Deleted,
}

impl Repository {
    /// The paths that differ between two trees (or the trees of two commits), sorted; without `old`, all of `new`.
    /// A rename is a deletion and a new path.
    ///
    /// # Errors
    /// When a tree cannot be read.
    pub fn changes(&self, old: Option<&Oid>, new: &Oid) -> Result<Vec<Change>, Error> {
        let repository = self.gix();
        let tree = |treeish: &Oid| {
            let failed =
                |error: Box<dyn std::error::Error + Send + Sync>| Error::read(format!("tree {treeish}"), error);
            let id = gix::ObjectId::from_hex(treeish.as_str().as_bytes()).map_err(|error| failed(error.into()))?;
            let object = repository.find_object(id).map_err(|error| failed(error.into()))?;
            object.peel_to_tree().map_err(|error| failed(error.into()))
        };
        let old = old.map_or_else(|| Ok(repository.empty_tree()), tree)?;
        let new = tree(new)?;
        if old.id == new.id {
            return Ok(Vec::new());
        }
        let hash = repository.object_hash();
        let mut recorder = gix::diff::tree::Recorder::default();
        gix::diff::tree(
            gix::objs::TreeRefIter::from_bytes(&old.data, hash),
            gix::objs::TreeRefIter::from_bytes(&new.data, hash),
            gix::diff::tree::State::default(),
            &repository.objects,
            &mut recorder,
        )
        .map_err(|error| Error::read(format!("the difference between {} and {}", old.id, new.id), error))?;
        let mut changes: Vec<Change> = recorder.records.into_iter().filter_map(change).collect();
        changes.sort_by(|a, b| {
            a.path.cmp(&b.path).then((a.kind == ChangeKind::Deleted).cmp(&(b.kind == ChangeKind::Deleted)))
        });
        // What went away as one kind of thing and came back as another was written.
        changes.dedup_by(|later, earlier| later.path == earlier.path);
        Ok(changes)
    }
}

fn change(change: recorder::Change) -> Option<Change> {
    use recorder::Change as Recorded;
    let written = |path, mode: gix::object::tree::EntryMode| {
        Some(Change { path, kind: ChangeKind::Written(EntryKind::of(mode)?) })
    };
    match change {
        Recorded::Addition { entry_mode, path, .. } => written(path, entry_mode),
        Recorded::Modification { entry_mode, previous_entry_mode, path, .. } => {
            if entry_mode.is_tree() && !previous_entry_mode.is_tree() {
                return Some(Change { path, kind: ChangeKind::Deleted });
            }
            written(path, entry_mode)
        }
        Recorded::Deletion { entry_mode, path, .. } => {
            (!entry_mode.is_tree()).then_some(Change { path, kind: ChangeKind::Deleted })
        }
    }
}
