//! Brings a linked work tree from the tree that it holds to the next one in our own process: a look that it still holds
//! what its index says, then the files that differ, then the index. Cut short at any point, it is found different by
//! the next look. Whatever is not certain to come out as git would do it is git's to do.

use super::{
    Change, ChangeKind, EntryKind, Error, Repository, Trust,
    filters::Filters,
    stamp::recorded,
    walk::{Interest, Seen, walk},
};
use crate::values::Oid;
use gix::{
    bstr::{BStr, ByteSlice},
    index::{
        State,
        entry::{Flags, Mode, Stage, Stat},
        write::{Extensions, Options},
    },
};
use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{OpenOptionsExt, symlink},
    },
    path::Path,
    time::Duration,
};

/// A change that has been made to the files, for the index.
struct Made<'a> {
    path: &'a BStr,
    /// What stands there now; nothing where the file is gone.
    written: Option<(Mode, gix::ObjectId, Stat)>,
}

impl Repository {
    /// Makes the files and the index of this work tree equal to a tree, and gives the time that another look takes. `None` where
    /// git has to do it: then anything may have been done already. `keep` are paths that are nobody's business.
    pub(super) fn advance(&self, tree: &Oid, keep: &[&str]) -> Option<Duration> {
        let root = self.work_dir()?;
        let index = self.index().ok().filter(|index| index.trust == Trust::Looks)?;
        let Seen::Equal(sight) = walk(self, &index, Interest::All, keep, None) else { return None };
        // A folder without a file of the index's was left by a step.
        if sight.has_loose_folders() {
            return None;
        }
        let price = sight.price();
        drop(sight);
        let changes = self.changes(Some(&index.tree), tree).ok()?;
        if changes.is_empty() {
            return Some(price);
        }
        let repository = self.gix();
        let state = index.into_state()?;
        let mut filters = Filters::of(&repository, &state)?;
        if !changes.iter().all(|change| is_plain(change, &mut filters)) {
            return None;
        }
        drop(filters);
        let mut made = Vec::new();
        // First what goes: a folder may have to make room for a file, or the other way about.
        for change in changes.iter().filter(|change| change.kind == ChangeKind::Deleted) {
            remove(root, change.path.as_bstr()).ok()?;
            made.push(Made { path: change.path.as_bstr(), written: None });
        }
        for change in &changes {
            let ChangeKind::Written(kind) = change.kind else { continue };
            let id = self.entry_oid(tree, change.path.as_bstr()).ok()??;
            let stat = write(root, change.path.as_bstr(), kind, &self.blob(&id).ok()?).ok()?;
            let id = gix::ObjectId::from_hex(id.as_str().as_bytes()).ok()?;
            made.push(Made { path: change.path.as_bstr(), written: Some((mode(kind)?, id, stat)) });
        }
        self.write_index(state, &made, tree)?;
        Some(price)
    }

    /// Whether this work tree is a tree, as far as a look can tell.
    pub(super) fn holds(&self, tree: &Oid, keep: &[&str]) -> bool {
        self.index().is_ok_and(|index| {
            index.tree == *tree
                && matches!(walk(self, &index, Interest::All, keep, None), Seen::Equal(_) | Seen::Unsure)
        })
    }

    fn write_index(&self, mut state: State, made: &[Made<'_>], tree: &Oid) -> Option<()> {
        let mut new = false;
        for Made { path, written } in made {
            match (state.entry_mut_by_path_and_stage(path, Stage::Unconflicted), written) {
                (Some(entry), Some(now)) => {
                    (entry.mode, entry.id, entry.stat) = *now;
                    entry.flags = Flags::empty();
                }
                (Some(entry), None) => entry.flags.insert(Flags::REMOVE),
                (None, Some(_)) => new = true,
                (None, None) => return None,
            }
        }
        let known: Vec<bool> = made.iter().map(|made| state.entry_by_path(made.path).is_some()).collect();
        for (Made { path, written }, known) in made.iter().zip(known) {
            if let (Some((mode, id, stat)), false) = (written, known) {
                state.dangerously_push_entry(*stat, *id, Flags::empty(), *mode, path);
            }
        }
        if new {
            state.sort_entries();
        }
        state.remove_entries(|_, _, entry| entry.flags.contains(Flags::REMOVE));
        let count = u32::try_from(state.entries().len()).ok()?;
        // The index says itself which tree it is; what it said of the folders is no longer known.
        let cached = state.tree_mut()?;
        cached.id = gix::ObjectId::from_hex(tree.as_str().as_bytes()).ok()?;
        cached.num_entries = Some(count);
        cached.children.clear();
        let extensions = Extensions::Given { tree_cache: true, end_of_index_entry: false };
        let mut file = gix::index::File::from_state(state, self.index_path());
        file.write(Options { extensions, skip_hash: false }).ok()
    }
}

/// Whether git would write this path's blob as it is.
fn is_plain(change: &Change, filters: &mut Filters<'_>) -> bool {
    let path = change.path.as_bstr();
    // Other attributes may ask for other bytes in any file.
    if path.ends_with(b".gitattributes") {
        return false;
    }
    match change.kind {
        ChangeKind::Deleted | ChangeKind::Written(EntryKind::Link) => true,
        ChangeKind::Written(EntryKind::File | EntryKind::Executable) => filters.keep_blob(path),
        ChangeKind::Written(EntryKind::Submodule) => false,
    }
}

const fn mode(kind: EntryKind) -> Option<Mode> {
    match kind {
        EntryKind::File => Some(Mode::FILE),
        EntryKind::Executable => Some(Mode::FILE_EXECUTABLE),
        EntryKind::Link => Some(Mode::SYMLINK),
        EntryKind::Submodule => None,
    }
}

/// Removes a file, and the folders that it leaves empty.
fn remove(root: &Path, path: &BStr) -> io::Result<()> {
    let file = root.join(OsStr::from_bytes(path));
    fs::remove_file(&file)?;
    let mut folder = file.parent();
    while let Some(empty) = folder.filter(|folder| *folder != root && fs::remove_dir(folder).is_ok()) {
        folder = empty.parent();
    }
    Ok(())
}

/// Writes a file anew: whoever holds the old one open, or a link to it, keeps that.
fn write(root: &Path, path: &BStr, kind: EntryKind, bytes: &[u8]) -> io::Result<Stat> {
    let file = root.join(OsStr::from_bytes(path));
    let mut folder = root.to_owned();
    let names: Vec<&[u8]> = path.split_str("/").collect();
    for name in names.iter().take(names.len().saturating_sub(1)) {
        folder.push(OsStr::from_bytes(name));
        match fs::symlink_metadata(&folder) {
            Ok(metadata) if metadata.is_dir() => {}
            // Never through a link, which may lead out of the tree.
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(_) => fs::create_dir(&folder)?,
        }
    }
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if kind == EntryKind::Link {
        symlink(OsStr::from_bytes(bytes), &file)?;
    } else {
        let mode = if kind == EntryKind::Executable { 0o777 } else { 0o666 };
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&file)?.write_all(bytes)?;
    }
    Ok(recorded(&rustix::fs::lstat(&file)?))
}

impl Repository {
    /// Sets a detached `HEAD`. Without git only where it is a file that names a commit (not so with reftables).
    pub(super) fn detach_head(&self, head: &Oid) -> Result<(), Error> {
        let path = self.git_dir().join("HEAD");
        let at = fs::read_to_string(&path).unwrap_or_default();
        let at = at.trim_end();
        if at == head.as_str() {
            return Ok(());
        }
        if at.parse::<Oid>().is_err() {
            self.git().args(["update-ref", "--no-deref", "HEAD", head.as_str()]).run()?;
            return Ok(());
        }
        let failed = |source| Error::File { path: path.display().to_string(), source };
        let mut new = tempfile::NamedTempFile::new_in(self.git_dir()).map_err(failed)?;
        writeln!(new, "{head}").map_err(failed)?;
        new.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}
