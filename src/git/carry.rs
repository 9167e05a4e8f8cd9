//! Carries what a fixer changed in another work tree into the user's: first into the files, then into the index. A file
//! without an unstaged edit is replaced in one step; one with an edit gets both, merged three ways, or is left alone.

use super::{Change, ChangeKind, EntryKind, Error, Git, Repository};
use crate::values::Oid;
use gix::bstr::{BStr, BString, ByteSlice};
use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
};

/// What became of a file of the user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// It is what the fixer made of it.
    Replaced,
    /// It holds the fix and the user's unstaged edit.
    Merged,
    /// The fix and the unstaged edit touch the same lines: the file is as it was.
    LeftAlone,
}

impl Repository {
    /// Brings the change from `before` to `after` into the work tree and the index. `fixed` is a work tree that holds
    /// `after`.
    ///
    /// # Errors
    /// When a file cannot be written, or git fails. Each file is then either as it was or carried as a whole.
    pub fn carry(&self, before: &Oid, after: &Oid, fixed: &Path) -> Result<Vec<(BString, Carried)>, Error> {
        let changes = self.changes(Some(before), after)?;
        let mut carried = Vec::new();
        if let Some(work_dir) = self.work_dir() {
            for change in &changes {
                carried.push((change.path.clone(), self.carry_file(work_dir, fixed, before, change)?));
            }
        }
        self.stage(after, &changes)?;
        Ok(carried)
    }

    fn carry_file(&self, work_dir: &Path, fixed: &Path, before: &Oid, change: &Change) -> Result<Carried, Error> {
        let path = OsStr::from_bytes(&change.path);
        let (mine, theirs) = (work_dir.join(path), fixed.join(path));
        let known = self.entry_oid(before, change.path.as_bstr())?;
        // A link, a folder or nothing where a file was: the user is in the middle of something.
        let is_file = fs::symlink_metadata(&mine).is_ok_and(|metadata| metadata.is_file());
        if !is_file {
            return Ok(Carried::LeftAlone);
        }
        let unedited = self.git().args(["hash-object", "--path"]).arg(path).arg("--").arg(&mine).run()?.line();
        let unedited = known.as_ref().is_some_and(|known| known.as_str() == unedited);
        match change.kind {
            ChangeKind::Deleted if unedited => {
                fs::remove_file(&mine).map_err(|source| file(&mine, source))?;
                Ok(Carried::Replaced)
            }
            ChangeKind::Written(EntryKind::File | EntryKind::Executable) if unedited => {
                let bytes = fs::read(&theirs).map_err(|source| file(&theirs, source))?;
                let mode = fs::metadata(&theirs).map_err(|source| file(&theirs, source))?.permissions().mode();
                self.replace(&mine, &bytes, mode)?;
                Ok(Carried::Replaced)
            }
            ChangeKind::Written(EntryKind::File | EntryKind::Executable) => {
                let Some(merged) = self.merged(known.as_ref(), path, &mine, &theirs)? else {
                    return Ok(Carried::LeftAlone);
                };
                let mode = fs::metadata(&mine).map_err(|source| file(&mine, source))?.permissions().mode();
                self.replace(&mine, &merged, mode)?;
                Ok(Carried::Merged)
            }
            ChangeKind::Deleted | ChangeKind::Written(_) => Ok(Carried::LeftAlone),
        }
    }

    /// What the user's file and the fixer's have become of the same one; `None` where they touch the same lines.
    fn merged(&self, base: Option<&Oid>, path: &OsStr, mine: &Path, theirs: &Path) -> Result<Option<Vec<u8>>, Error> {
        let Some(base) = base else { return Ok(None) };
        // As it would stand in a work tree: with the line ends and filters that the two others went through.
        let mut filtered = OsStr::new("--path=").to_owned();
        filtered.push(path);
        let bytes = self.git().args(["cat-file", "--filters"]).arg(filtered).arg(base.as_str()).run()?.stdout;
        let held = self.own_file(&bytes)?;
        let merge = self.git().args(["merge-file", "-p", "-q"]).arg(mine).arg(held.path()).arg(theirs);
        // Its exit code is the number of conflicts, or negative where the files are no text (git-merge-file(1)).
        match merge.finish()? {
            (Some(0), output) => Ok(Some(output.stdout)),
            _ => Ok(None),
        }
    }

    /// A whole file takes the place of another at once, so that no moment shows a part of it.
    fn replace(&self, target: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
        let new = self.own_file(bytes)?;
        fs::set_permissions(new.path(), Permissions::from_mode(mode)).map_err(|source| file(target, source))?;
        match new.persist(target) {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::CrossesDevices => {
                fs::write(target, bytes).map_err(|source| file(target, source))
            }
            Err(error) => Err(file(target, error.error)),
        }
    }

    /// A file in our own folder, which goes away with the value.
    fn own_file(&self, bytes: &[u8]) -> Result<tempfile::NamedTempFile, Error> {
        let folder = self.state_dir();
        let make = || {
            fs::create_dir_all(&folder)?;
            let mut new = tempfile::NamedTempFile::new_in(&folder)?;
            io::Write::write_all(&mut new, bytes)?;
            Ok(new)
        };
        make().map_err(|source| file(&folder, source))
    }

    /// Puts the new entries into the index that the hook was given, and into the one that git holds back meanwhile.
    fn stage(&self, after: &Oid, changes: &[Change]) -> Result<(), Error> {
        let mut lines: Vec<u8> = Vec::new();
        for change in changes {
            let entry = match change.kind {
                ChangeKind::Deleted => format!("0 {}\t", "0".repeat(after.as_str().len())),
                ChangeKind::Written(kind) => match self.entry_oid(after, change.path.as_bstr())? {
                    Some(oid) => format!("{} {oid}\t", kind.mode()),
                    None => continue,
                },
            };
            lines.extend(entry.into_bytes());
            lines.extend_from_slice(&change.path);
            lines.push(0);
        }
        for index in self.indexes() {
            let staged = self.git().args(["update-index", "-z", "--index-info"]).env("GIT_INDEX_FILE", index);
            staged.input(lines.clone()).run()?;
        }
        Ok(())
    }

    /// `git commit FILE` makes its commit from a temporary index, and keeps in `index.lock` what the index will be.
    fn indexes(&self) -> Vec<PathBuf> {
        let given = self.index_path();
        let held = self.git_dir().join("index.lock");
        let temporary = given.file_name().is_some_and(|name| name.as_bytes().starts_with(b"next-index-"));
        if temporary && held.exists() { vec![given, held] } else { vec![given] }
    }

    /// What a tree has under a path; `None` where it has nothing there.
    fn entry_oid(&self, tree: &Oid, path: &BStr) -> Result<Option<Oid>, Error> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::read(format!("{path} in {tree}"), error);
        let repository = self.gix();
        let id = gix::ObjectId::from_hex(tree.as_str().as_bytes()).map_err(|error| failed(error.into()))?;
        let tree = repository.find_tree(id).map_err(|error| failed(error.into()))?;
        let entry = tree.lookup_entry(path.split_str("/")).map_err(|error| failed(error.into()))?;
        let oid = entry.map(|entry| entry.object_id().to_string().parse()).transpose();
        oid.map_err(|error: crate::values::Invalid| failed(error.into()))
    }

    /// The tree that the tracked files of a work tree of ours have become.
    ///
    /// # Errors
    /// When git fails.
    pub fn tree_of_work_tree(folder: &Path) -> Result<Oid, Error> {
        Git::at(folder).args(["add", "--update"]).run()?;
        let tree = Git::at(folder).arg("write-tree").run()?.line();
        tree.parse().map_err(|error: crate::values::Invalid| Error::read("an object id", error))
    }
}

fn file(path: &Path, source: io::Error) -> Error {
    Error::File { path: path.display().to_string(), source }
}
