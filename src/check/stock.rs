//! What earlier runs left for later ones: scratch trees and records, looked at from outside, and taken away as a whole.

use super::{
    Error,
    record::Records,
    scratch::{base, folder_name},
};
use crate::git::Repository;
use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// A folder that holds one scratch tree of this clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScratchFolder {
    /// Where it is.
    pub path: PathBuf,
    /// What it takes on the disk.
    pub bytes: u64,
    /// Whether a run uses it.
    pub hold: Hold,
    /// How its tree is.
    pub tree: Tree,
}

/// Whether a run uses a scratch tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Nobody does.
    Free,
    /// A process does; its number, where that is written there.
    Held(Option<u32>),
}

/// How a scratch tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// Not made yet.
    Absent,
    /// It and the repository know of each other.
    Sound,
    /// It stands there, and the repository knows nothing of it.
    Broken,
}

/// The scratch trees of a clone.
///
/// # Errors
/// When their folder cannot be read.
pub fn scratch_folders(repository: &Repository, cache: &Path) -> Result<Vec<ScratchFolder>, Error> {
    let mut folders = Vec::new();
    for path in listed(&base(cache, repository))? {
        let place = path.join(folder_name(repository));
        let tree = match place.symlink_metadata() {
            Err(_) => Tree::Absent,
            Ok(_) if repository.has_linked_tree(&place) => Tree::Sound,
            Ok(_) => Tree::Broken,
        };
        folders.push(ScratchFolder { bytes: size(&path), hold: hold(&path.join("lock")), tree, path });
    }
    Ok(folders)
}

/// Takes away what runs in this clone have left: scratch trees that nobody uses, and records.
///
/// # Errors
/// When something cannot be removed.
pub fn forget(repository: &Repository) -> Result<(), Error> {
    let cache = super::cache_folder()?;
    for folder in scratch_folders(repository, &cache)? {
        if folder.hold != Hold::Free {
            continue;
        }
        if folder.tree == Tree::Sound {
            let place = folder.path.join(folder_name(repository));
            // Forced twice: it is locked (git-worktree(1)).
            repository.git().args(["worktree", "remove", "--force", "--force"]).arg(&place).run()?;
        }
        remove(&folder.path)?;
    }
    let base = base(&cache, repository);
    if listed(&base)?.is_empty() {
        remove(&base)?;
    }
    remove(&repository.state_dir().join("records"))
}

fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::file(folder)(source)),
        _ => Ok(()),
    }
}

/// The scratch folders of other clones that are not there any more, and what they take on the disk.
///
/// # Errors
/// When the folder of all of them cannot be read.
pub fn left_behind(repository: &Repository, cache: &Path) -> Result<Vec<(PathBuf, u64)>, Error> {
    let mut found = Vec::new();
    let own = base(cache, repository);
    for clone in listed(&cache.join("scratch"))?.into_iter().filter(|clone| *clone != own) {
        let links = listed(&clone)?.into_iter().flat_map(|numbered| listed(&numbered).unwrap_or_default());
        let admins: Vec<PathBuf> = links
            .filter_map(|tree| fs::read_to_string(tree.join(".git")).ok())
            .filter_map(|text| Some(PathBuf::from(text.strip_prefix("gitdir: ")?.trim_end_matches('\n'))))
            .collect();
        // `<clone>/.git/worktrees/<name>`: where that is gone but the clone is not, the next run mends the tree.
        let gone = |admin: &PathBuf| admin.ancestors().nth(2).is_some_and(|common| !common.exists());
        if !admins.is_empty() && admins.iter().all(gone) {
            found.push((clone.clone(), size(&clone)));
        }
    }
    Ok(found)
}

/// How many records a clone has.
///
/// # Errors
/// When they cannot be read.
pub fn records(repository: &Repository) -> Result<usize, Error> {
    Records::of(repository).count()
}

/// The folders in a folder, by name; none where it is not there.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::file(folder)(source)),
    };
    let folders = entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut folders: Vec<PathBuf> = folders.map(|entry| entry.path()).collect();
    folders.sort();
    Ok(folders)
}

fn hold(lock: &Path) -> Hold {
    let Ok(file) = File::open(lock) else { return Hold::Free };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            Hold::Held(fs::read_to_string(lock).ok().and_then(|text| text.trim().parse().ok()))
        }
        Ok(()) | Err(TryLockError::Error(_)) => Hold::Free,
    }
}

/// The blocks below a folder, links not followed: what goes away with it. What cannot be read counts as nothing.
fn size(folder: &Path) -> u64 {
    let mut waiting = vec![folder.to_owned()];
    let mut bytes = 0;
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok) {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes += metadata.blocks() * 512;
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    bytes
}
