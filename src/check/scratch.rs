//! Scratch trees: folders outside of the user's work tree that are made equal to a snapshot. Kept and updated by
//! difference, healed when a run was cut short, used by one run at a time; a second run takes a second tree.

use super::{Context, Error, Kind, groups::Groups, links, process, process::Shell, record::KeyBuilder};
use crate::{
    config::Setup,
    git::{LinkedTree, Repository},
    ui,
};
use rustix::io::{FdFlags, fcntl_setfd};
use sha2::{Digest as _, Sha256};
use std::{
    fmt::Write as _,
    fs::{self, File, TryLockError},
    io::Write as _,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// More runs at once in one repository wait for nobody: they are refused.
const TREES: usize = 16;
const REASON: &str = "gitops-hooks judges snapshots here; it comes back when it is removed";
/// Installing what a project needs may take longer than any step.
const SETUP_LIMIT: Duration = Duration::from_secs(3600);

/// A scratch tree that holds the snapshot and is ours until this value goes away.
pub(super) struct ScratchTree {
    tree: LinkedTree,
    /// How long a look at it takes, where that is known.
    pub(super) looked: Option<Duration>,
    lock: File,
}

impl Drop for ScratchTree {
    /// Gives the tree back, whoever of the steps' processes lives on.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

/// Whether this repository is seen from inside of a scratch tree, where a step's own git commands call the hooks too.
#[must_use]
pub fn is_scratch(repository: &Repository) -> bool {
    repository.is_ours()
}

impl ScratchTree {
    /// Takes a tree that nobody uses and makes it the snapshot.
    pub(super) fn take(context: &Context<'_>) -> Result<Self, Error> {
        let (lock, folder) = free_folder(context)?;
        let repository = context.repository;
        let name = folder_name(repository);
        let head = match &context.snapshot.kind {
            Kind::Commit(commit) => commit.clone(),
            Kind::Index => repository.commit("HEAD").map_or_else(|| repository.empty_commit(), Ok)?,
        };
        let snapshot = &context.snapshot.tree;
        let links: Vec<&str> = context.scratch.link.iter().map(crate::values::RelativePath::as_str).collect();
        let place = folder.join(name);
        let mut tree = repository.linked_tree(&place, &head, REASON)?;
        let looked = if let Ok(looked) = tree.set(snapshot, &head, &links) {
            looked
        } else {
            // Cut short in a way that git cannot mend: made anew, once.
            tree = repository.make_linked_tree(&place, &head, REASON)?;
            tree.set(snapshot, &head, &links)?
        };
        let scratch = Self { tree, looked, lock };
        if let Some(work_tree) = repository.work_dir() {
            for told in links::borrow(work_tree, scratch.folder(), &context.scratch.link)? {
                context.progress.line(&told);
            }
        }
        if let Some(setup) = &context.scratch.setup {
            scratch.set_up(setup, &folder.join("setup"), context)?;
        }
        Ok(scratch)
    }

    pub(super) fn folder(&self) -> &Path {
        self.tree.folder()
    }

    /// Runs the setup where its command or its inputs are others than when it last succeeded here.
    fn set_up(&self, setup: &Setup, done: &Path, context: &Context<'_>) -> Result<(), Error> {
        let mut key = KeyBuilder::new("setup");
        key.field("run", setup.run.as_bytes());
        for entry in context.snapshot.entries(context.repository)? {
            if setup.inputs.matches(std::ffi::OsStr::from_bytes(&entry.path).as_ref()) {
                key.entry(&entry);
            }
        }
        let key = key.finish();
        // Beside the tree made anew, an old note would tell of what is gone.
        let note = format!("{key} {}\n", birth(self.folder()));
        if fs::read_to_string(done).is_ok_and(|before| before == note) {
            return Ok(());
        }
        let task = context.progress.task("scratch setup");
        let shell = Shell {
            program: "sh",
            script: setup.run.as_ref(),
            folder: self.folder(),
            env: &std::collections::BTreeMap::new(),
            stdin: b"",
            deadline: Instant::now() + SETUP_LIMIT,
            groups: &Groups::default(),
        };
        let end = process::run(shell, context.interrupt, &|bytes| task.output(bytes))
            .map_err(|source| Error::Process { step: "scratch.setup".to_owned(), source })?;
        match (end.failure(SETUP_LIMIT), context.interrupt.signal()) {
            (None, _) => {
                task.end(&ui::Outcome::Done(String::new()));
                fs::write(done, note).map_err(Error::file(done))
            }
            (Some(why), signal) => {
                task.end(&ui::Outcome::Failed(why));
                Err(signal.map_or(Error::Setup, |signal| Error::Interrupted { signal }))
            }
        }
    }
}

/// What tells a folder from another one that later stands at its place.
fn birth(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(folder).map_or(0, |metadata| metadata.ino())
}

/// The first folder whose lock nobody holds. Steps inherit the lock: after a `kill -9` of ours it is free once they have ended,
/// too, and write there no more.
fn free_folder(context: &Context<'_>) -> Result<(File, PathBuf), Error> {
    let cache = context.cache_folder.map_or_else(cache_folder, |folder| Ok(folder.to_owned()))?;
    let base = base(&cache, context.repository);
    for number in 0..TREES {
        let folder = base.join(number.to_string());
        fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
        let path = folder.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::file(&path))?;
        match lock.try_lock() {
            Ok(()) => {
                fcntl_setfd(&lock, FdFlags::empty()).map_err(|error| Error::file(&path)(error.into()))?;
                // Whose it is, for people; a full disk is no reason to do without.
                let _ = lock.set_len(0).and_then(|()| (&lock).write_all(std::process::id().to_string().as_bytes()));
                return Ok((lock, folder));
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(Error::file(&path)(source)),
        }
    }
    Err(Error::ScratchBusy { count: TREES })
}

/// The folder of a clone's scratch trees.
pub(super) fn base(cache: &Path, repository: &Repository) -> PathBuf {
    let clone = Sha256::digest(repository.common_dir().as_os_str().as_bytes());
    let mut name = String::new();
    for byte in clone.iter().take(8) {
        let _ = write!(name, "{byte:02x}");
    }
    cache.join("scratch").join(name)
}

/// `$XDG_CACHE_HOME/gitops-hooks`, by default below `~/.cache` (XDG Base Directory Specification: relative values are
/// invalid and ignored).
///
/// # Errors
/// [`Error::NoCacheFolder`], where the environment names neither.
pub fn cache_folder() -> Result<PathBuf, Error> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    cache.map(|cache| cache.join("gitops-hooks")).ok_or(Error::NoCacheFolder)
}

/// As the user's own folder is called: some tools name things after it.
pub(super) fn folder_name(repository: &Repository) -> &std::ffi::OsStr {
    let common = repository.common_dir();
    let named = if common.file_name().is_some_and(|name| name == ".git") { common.parent() } else { Some(common) };
    named.and_then(Path::file_name).unwrap_or_else(|| std::ffi::OsStr::new("tree"))
}
