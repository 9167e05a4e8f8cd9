//! A linked work tree for one tree after the other: made once, then updated by difference, in our own process where that is
//! certain (`advance`). Locked, so that no `git worktree prune` takes it away; detached, so that it never holds a branch;
//! every call of git with hooks off.

use super::{Error, Git, Repository};
use crate::values::Oid;
use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// A work tree that belongs to us, in a folder outside of the user's.
pub struct LinkedTree {
    folder: PathBuf,
    /// Its own folder below `worktrees/` of the repository: index, HEAD, lock.
    admin: PathBuf,
}

/// Says to everybody that a linked work tree is one of ours.
const MARK: &str = "gitops-hooks";

impl Repository {
    /// The linked work tree in this folder; made where it is missing or broken. `head` is a commit to begin with, and
    /// `reason` is what `git worktree list` says of it.
    ///
    /// # Errors
    /// When it can neither be opened nor be made.
    pub fn linked_tree(&self, folder: &Path, head: &Oid, reason: &str) -> Result<LinkedTree, Error> {
        // Without its mark, the making of it was cut short: a step's own git would not know that it is ours.
        if let Some(tree) = LinkedTree::open(self, folder).filter(|tree| tree.admin.join(MARK).exists()) {
            return Ok(tree);
        }
        self.make_linked_tree(folder, head, reason)
    }

    /// As [`Repository::linked_tree`], but whatever stands in the folder goes away first.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_linked_tree(&self, folder: &Path, head: &Oid, reason: &str) -> Result<LinkedTree, Error> {
        match fs::remove_dir_all(folder) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(file(folder, source)),
            _ => {}
        }
        let _one_at_a_time = self.making_work_trees()?;
        // Forced twice: what is registered at this place, missing and locked, was ours (git-worktree(1), --force).
        self.git()
            .args(["worktree", "add", "--force", "--force", "--detach", "--no-checkout", "--lock"])
            .arg(folder)
            .arg(head.as_str())
            .run()?;
        let broken = || Error::read("the new work tree", format!("git made none in {}", folder.display()));
        let tree = LinkedTree::open(self, folder).ok_or_else(broken)?;
        // What the user does not look at is part of the snapshot all the same (git-worktree(1) takes the patterns over).
        let sparse = tree.admin.join("info/sparse-checkout");
        match fs::remove_file(&sparse) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(file(&sparse, source)),
            _ => {}
        }
        for (name, text) in [("locked", reason), (MARK, "")] {
            let path = tree.admin.join(name);
            fs::write(&path, text).map_err(|source| file(&path, source))?;
        }
        Ok(tree)
    }

    /// Until this goes away, nobody else of ours makes a work tree: git stumbles over those that are half made.
    fn making_work_trees(&self) -> Result<File, Error> {
        let path = self.state_dir().join("worktrees.lock");
        let take = || {
            fs::create_dir_all(self.state_dir())?;
            let lock = File::options().create(true).truncate(false).write(true).open(&path)?;
            lock.lock()?;
            Ok(lock)
        };
        take().map_err(|source| file(&path, source))
    }

    /// Whether this is the repository as one of our linked work trees sees it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.git_dir() != self.common_dir() && self.git_dir().join(MARK).exists()
    }

    /// The folders of the linked work trees of ours that the repository has on its list, whether or not they are there.
    #[must_use]
    pub fn listed_trees(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.common_dir().join("worktrees")) else { return Vec::new() };
        let admins = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|admin| admin.join(MARK).exists());
        let mut folders: Vec<PathBuf> = admins
            .filter_map(|admin| {
                let back = fs::read_to_string(admin.join("gitdir")).ok()?;
                Some(Path::new(back.trim_end_matches('\n')).parent()?.to_owned())
            })
            .collect();
        folders.sort();
        folders
    }

    /// Whether a folder is a linked work tree of this repository, and both know of each other.
    #[must_use]
    pub fn has_linked_tree(&self, folder: &Path) -> bool {
        LinkedTree::open(self, folder).is_some()
    }

    /// A commit of the empty tree, for a work tree of a repository that has no commit yet.
    ///
    /// # Errors
    /// When git fails.
    pub fn empty_commit(&self) -> Result<Oid, Error> {
        let tree = self.git().args(["hash-object", "-t", "tree", "-w", "--stdin"]).input("").run()?.line();
        let mut git = self.git();
        for role in ["AUTHOR", "COMMITTER"] {
            // Always the same commit, and no need for the user's name.
            git = git
                .env(&format!("GIT_{role}_NAME"), "gitops-hooks")
                .env(&format!("GIT_{role}_EMAIL"), "gitops-hooks@localhost")
                .env(&format!("GIT_{role}_DATE"), "1970-01-01T00:00:00Z");
        }
        let commit = git.args(["commit-tree", "-m", "Nothing yet", &tree]).run()?.line();
        commit.parse().map_err(|error: crate::values::Invalid| Error::read("an object id", error))
    }
}

impl LinkedTree {
    /// The work tree in a folder, if it is one of this repository's.
    fn open(repository: &Repository, folder: &Path) -> Option<Self> {
        let text = fs::read(folder.join(".git")).ok()?;
        let admin = path(text.strip_prefix(b"gitdir: ")?).canonicalize().ok()?;
        // A clone that was made anew at the same place knows nothing of it.
        let back = fs::read(admin.join("gitdir")).ok()?;
        let mutual = path(&back).parent()?.canonicalize().ok()? == folder.canonicalize().ok()?;
        let ours = admin.parent()?.parent()? == repository.common_dir();
        (mutual && ours && admin.join("HEAD").exists()).then(|| Self { folder: folder.to_owned(), admin })
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn git(&self) -> Git {
        // Settings that would start something for this work tree, or look into another one.
        Git::at(&self.folder)
            .env("GIT_DIR", &self.admin)
            .env("GIT_WORK_TREE", &self.folder)
            .config("core.fsmonitor", "false")
            .config("submodule.recurse", "false")
            .config("core.logAllRefUpdates", "false")
    }

    /// Makes its files and its index equal to a tree, and `HEAD` this commit. Files that no tree knows go away, ignored ones
    /// and those in `keep` stay. Only the one who uses the work tree may call it: locks that lie there count as left over.
    /// Gives the time that another look at the tree takes, where a look and the difference were enough.
    ///
    /// # Errors
    /// When git fails; the work tree is then best made anew.
    pub fn set(&self, tree: &Oid, head: &Oid, keep: &[&str]) -> Result<Option<Duration>, Error> {
        self.unlock()?;
        let here = Repository::open(&self.folder)?;
        let looked = here.advance(tree, keep);
        if looked.is_none() {
            self.set_by_git(tree, keep)?;
            // A file that was reached through a link goes away with the link, when git has seen it already.
            if !here.holds(tree, keep) {
                self.set_by_git(tree, keep)?;
            }
        }
        here.detach_head(head)?;
        Ok(looked)
    }

    fn set_by_git(&self, tree: &Oid, keep: &[&str]) -> Result<(), Error> {
        // What has been done so far may have left a lock.
        self.unlock()?;
        self.git().args(["read-tree", "--reset", "-u", tree.as_str()]).run()?;
        let keep = keep.iter().flat_map(|path| ["-e".to_owned(), format!("/{path}")]);
        self.git().args(["clean", "-ffdq"]).args(keep).run()?;
        Ok(())
    }

    fn unlock(&self) -> Result<(), Error> {
        for lock in ["index.lock", "HEAD.lock"] {
            let path = self.admin.join(lock);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(file(&path, source)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A path as git writes it into a file of its own: bytes, and the end of a line.
fn path(line: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(line.strip_suffix(b"\n").unwrap_or(line)))
}

fn file(path: &Path, source: io::Error) -> Error {
    Error::File { path: path.display().to_string(), source }
}
