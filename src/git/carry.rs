//! Carries what a fixer changed in another work tree into the user's: first into the files, then into the index. A file
//! without an unstaged edit is replaced in one step; one with an edit gets both, merged three ways, or is left alone.

use super::{Change, ChangeKind, EntryKind, Error, Git, Repository};
use crate::values::Oid;
use gix::bstr::{BStr, BString, ByteSlice};
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, Permissions},
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::NamedTempFile;

/// What became of a file of the user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// It is what the fixer made of it.
    Replaced,
    /// It holds the fix and the user's unstaged edit.
    Merged,
    /// The fix and the unstaged edit touch the same lines: the file is as it was.
    LeftAlone,
    /// There is no such file: it was taken away, is a link or beyond one, or lies outside of a sparse checkout.
    Absent,
}

/// What an index says of a path.
struct Staged {
    oid: String,
    /// Whether git looks for no file of it in the work tree (`git update-index --skip-worktree`).
    skipped: bool,
}

/// A file of ours that a kill left behind is swept away when it is older than any call of git that could still use it.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

impl Repository {
    /// Brings the change from `before` to `after` into the work tree and the index. `fixed` is a work tree that holds
    /// `after`.
    ///
    /// # Errors
    /// When a file cannot be written, or git fails. Each file is then either as it was or carried as a whole.
    pub fn carry(&self, before: &Oid, after: &Oid, fixed: &Path) -> Result<Vec<(BString, Carried)>, Error> {
        self.sweep();
        let changes = self.changes(Some(before), after)?;
        let mut carried = Vec::new();
        if let Some(work_dir) = self.work_dir() {
            for change in &changes {
                carried.push((change.path.clone(), self.carry_file(work_dir, fixed, before, change)?));
            }
        }
        self.stage(before, after, &changes)?;
        Ok(carried)
    }

    fn carry_file(&self, work_dir: &Path, fixed: &Path, before: &Oid, change: &Change) -> Result<Carried, Error> {
        let path = OsStr::from_bytes(&change.path);
        let (mine, theirs) = (work_dir.join(path), fixed.join(path));
        let known = self.entry_oid(before, change.path.as_bstr())?;
        // A link, a folder or nothing where a file was: the user is in the middle of something.
        let is_file = fs::symlink_metadata(&mine).is_ok_and(|metadata| metadata.is_file());
        if !is_file || leads_through_a_link(work_dir, path) {
            return Ok(Carried::Absent);
        }
        let unedited = self.git().args(["hash-object", "--path"]).arg(path).arg("--").arg(&mine).run()?.line();
        let unedited = known.as_ref().is_some_and(|known| known.as_str() == unedited);
        // The user's own, which may be an unstaged edit, too; unless a fixer has changed whether it can be executed.
        let mode = || -> Result<u32, Error> {
            let of = |path: &Path| fs::metadata(path).map(|found| found.permissions().mode());
            let (own, fixed) = (of(&mine).map_err(|source| file(&mine, source))?, of(&theirs));
            let fixed = fixed.map_err(|source| file(&theirs, source))?;
            let was = self.entry_kind(before, change.path.as_bstr())? == Some(EntryKind::Executable);
            Ok(if was == (fixed & 0o100 != 0) { own } else { fixed })
        };
        match change.kind {
            ChangeKind::Deleted if unedited => {
                fs::remove_file(&mine).map_err(|source| file(&mine, source))?;
                Ok(Carried::Replaced)
            }
            ChangeKind::Written(EntryKind::File | EntryKind::Executable) if unedited => {
                let bytes = fs::read(&theirs).map_err(|source| file(&theirs, source))?;
                self.replace(&mine, &bytes, mode()?)?;
                Ok(Carried::Replaced)
            }
            ChangeKind::Written(EntryKind::File | EntryKind::Executable) => {
                let Some(merged) = self.merged(known.as_ref(), path, &mine, &theirs)? else {
                    return Ok(Carried::LeftAlone);
                };
                self.replace(&mine, &merged, mode()?)?;
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
        let failed = |source| file(target, source);
        let permissions = Permissions::from_mode(mode);
        let new = self.own_file(bytes)?;
        fs::set_permissions(new.path(), permissions.clone()).map_err(failed)?;
        match new.persist(target) {
            Ok(_) => Ok(()),
            // git's folder is on another disk: only a file on this one can take the place at once.
            Err(error) if error.error.kind() == io::ErrorKind::CrossesDevices => {
                let folder = target.parent().unwrap_or(target);
                let new = file_in(folder, bytes).map_err(failed)?;
                fs::set_permissions(new.path(), permissions).map_err(failed)?;
                new.persist(target).map(|_| ()).map_err(|error| failed(error.error))
            }
            Err(error) => Err(failed(error.error)),
        }
    }

    /// A file in our own folder, which goes away with the value.
    fn own_file(&self, bytes: &[u8]) -> Result<NamedTempFile, Error> {
        let folder = self.carry_dir();
        let made = fs::create_dir_all(&folder).and_then(|()| file_in(&folder, bytes));
        made.map_err(|source| file(&folder, source))
    }

    fn carry_dir(&self) -> PathBuf {
        self.state_dir().join("carry")
    }

    /// Takes away what earlier runs left because they were killed. Nothing depends on it.
    fn sweep(&self) {
        for entry in fs::read_dir(self.carry_dir()).into_iter().flatten().flatten() {
            let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|at| at.elapsed());
            if age.is_ok_and(|age| age.is_ok_and(|age| age > LEFT_BEHIND)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Puts the new entries into the index that the hook was given, and into the one that git holds back meanwhile.
    fn stage(&self, before: &Oid, after: &Oid, changes: &[Change]) -> Result<(), Error> {
        for index in self.indexes() {
            let staged = self.staged(&index)?;
            let (mut lines, mut skipped): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
            for change in changes {
                let known = staged.get(&change.path);
                let same = |oid: Oid| known.is_some_and(|known| known.oid == oid.as_str());
                if !self.entry_oid(before, change.path.as_bstr())?.is_some_and(same) {
                    // What `git commit FILE` leaves out is staged with an edit of the user's: that stays.
                    continue;
                }
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
                if known.is_some_and(|known| known.skipped) && change.kind != ChangeKind::Deleted {
                    skipped.extend_from_slice(&change.path);
                    skipped.push(0);
                }
            }
            let update = |path: &Path| -> Result<(), Error> {
                let git = || self.git().args(["update-index", "-z"]).env("GIT_INDEX_FILE", path);
                git().arg("--index-info").input(lines).run()?;
                if !skipped.is_empty() {
                    git().args(["--skip-worktree", "--stdin"]).input(skipped).run()?;
                }
                Ok(())
            };
            if index.extension().is_some_and(|extension| extension == "lock") {
                self.exchange(&index, update)?;
            } else {
                update(&index)?;
            }
        }
        Ok(())
    }

    /// Changes an index that git itself holds as a lock: on a copy, which takes its place only if it is still there. When
    /// git is ended meanwhile it takes its lock away, and ours must not come back in its place.
    fn exchange(&self, index: &Path, update: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
        let failed = |source: io::Error| file(index, source);
        let copy = self.own_file(&fs::read(index).map_err(failed)?)?;
        update(copy.path())?;
        match renameat_with(CWD, copy.path(), CWD, index, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(()),
            // A file system that cannot, or another disk.
            Err(Errno::INVAL | Errno::NOSYS | Errno::XDEV | Errno::NOTSUP) if index.exists() => {
                fs::write(index, fs::read(copy.path()).map_err(failed)?).map_err(failed)
            }
            Err(error) => Err(failed(error.into())),
        }
    }

    /// `git commit FILE` makes its commit from a temporary index, and keeps in `index.lock` what the index will be.
    fn indexes(&self) -> Vec<PathBuf> {
        let given = self.index_path();
        let held = self.git_dir().join("index.lock");
        let temporary = given.file_name().is_some_and(|name| name.as_bytes().starts_with(b"next-index-"));
        if temporary && held.exists() { vec![given, held] } else { vec![given] }
    }

    /// What an index says of each path (git-ls-files(1), `-v` and `--stage`).
    fn staged(&self, index: &Path) -> Result<HashMap<BString, Staged>, Error> {
        let listed = self.git().args(["ls-files", "-v", "--stage", "-z"]).env("GIT_INDEX_FILE", index).run()?;
        let entry = |line: &[u8]| {
            let (about, path) = line.split_once_str("\t")?;
            let mut words = about.split_str(" ").map(|word| word.to_str_lossy().into_owned());
            let tag = words.next()?;
            let skipped = tag.eq_ignore_ascii_case("s");
            Some((BString::from(path), Staged { oid: words.nth(1)?, skipped }))
        };
        let lines = listed.stdout.split(|byte| *byte == 0);
        Ok(lines.filter_map(entry).collect())
    }

    /// What a tree has under a path; `None` where it has nothing there.
    pub(super) fn entry_oid(&self, tree: &Oid, path: &BStr) -> Result<Option<Oid>, Error> {
        let oid = |entry: &gix::object::tree::Entry<'_>| entry.object_id().to_string().parse();
        let oid = self.tree_entry(tree, path, oid)?.transpose();
        oid.map_err(|error: crate::values::Invalid| Error::read(format!("{path} in {tree}"), error))
    }

    /// As what a tree has a path.
    fn entry_kind(&self, tree: &Oid, path: &BStr) -> Result<Option<EntryKind>, Error> {
        Ok(self.tree_entry(tree, path, |entry| EntryKind::of(entry.mode()))?.flatten())
    }

    fn tree_entry<T>(
        &self,
        tree: &Oid,
        path: &BStr,
        look: impl FnOnce(&gix::object::tree::Entry<'_>) -> T,
    ) -> Result<Option<T>, Error> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::read(format!("{path} in {tree}"), error);
        let repository = self.gix();
        let id = gix::ObjectId::from_hex(tree.as_str().as_bytes()).map_err(|error| failed(error.into()))?;
        let tree = repository.find_tree(id).map_err(|error| failed(error.into()))?;
        let entry = tree.lookup_entry(path.split_str("/")).map_err(|error| failed(error.into()))?;
        Ok(entry.as_ref().map(look))
    }

    /// What stands in a work tree of ours and is neither tracked nor ignored; a folder stands for all in it.
    ///
    /// # Errors
    /// When git fails.
    pub fn untracked(folder: &Path) -> Result<Vec<BString>, Error> {
        let list = ["ls-files", "--others", "--exclude-standard", "--directory", "--no-empty-directory", "-z"];
        let listed = Git::at(folder).args(list).run()?;
        let paths = listed.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        Ok(paths.map(BString::from).collect())
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

/// Whether a folder on the way to a path is a link: what is beyond one is not the work tree.
fn leads_through_a_link(work_dir: &Path, path: &OsStr) -> bool {
    let mut folder = work_dir.to_owned();
    Path::new(path).parent().into_iter().flat_map(Path::components).any(|part| {
        folder.push(part);
        folder.is_symlink()
    })
}

fn file_in(folder: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut new = tempfile::Builder::new().prefix(".gitops-hooks-").tempfile_in(folder)?;
    new.write_all(bytes)?;
    Ok(new)
}

fn file(path: &Path, source: io::Error) -> Error {
    Error::File { path: path.display().to_string(), source }
}
