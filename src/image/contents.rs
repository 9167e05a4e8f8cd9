//! The bytes of a context's files: a blob of this repository or of a submodule, or what a pointer of Git LFS stands for.

use super::{
    Error,
    context::{Context, File},
};
use crate::{
    git::{Blobs, EntryKind, Repository, TreeEntry},
    values::Oid,
};
use gix::bstr::BString;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    os::unix::ffi::OsStringExt,
    path::PathBuf,
};

/// The longest pointer (git-lfs, `docs/spec.md`).
const POINTER_BYTES: u64 = 1024;
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";

/// Where a file's bytes are.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// In the context's repository of this number.
    Git(usize),
    /// Where Git LFS keeps them for that repository.
    Lfs(usize, Lfs),
    /// Made by the command `before`.
    Made(PathBuf),
}

/// What a pointer of Git LFS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lfs {
    /// From the root of its repository.
    pub path: String,
    sha256: String,
    size: u64,
}

/// Reads files of one context, on one thread.
pub(super) struct Contents {
    repositories: Vec<(Repository, Blobs)>,
}

impl Contents {
    pub(super) fn of(repository: &Repository, context: &Context) -> Result<Self, Error> {
        let submodules = context.repositories.iter().skip(1).map(|git_dir| Repository::open(git_dir));
        let opened = std::iter::once(Ok(repository.clone())).chain(submodules);
        let repositories = opened.map(|repository| {
            repository.map(|repository| {
                let blobs = repository.blobs();
                (repository, blobs)
            })
        });
        Ok(Self { repositories: repositories.collect::<Result<_, _>>()? })
    }

    /// A file's size in bytes.
    pub(super) fn size(&self, file: &File) -> Result<u64, Error> {
        match &file.origin {
            Origin::Git(number) => Ok(self.repositories[*number].1.size(&file.oid)?),
            Origin::Lfs(_, lfs) => Ok(lfs.size),
            Origin::Made(path) => Ok(fs::symlink_metadata(path).map_err(|source| Error::Unread { source })?.len()),
        }
    }

    /// A file's bytes; for a link its target.
    pub(super) fn open(&self, file: &File) -> Result<Box<dyn Read + Send>, Error> {
        match &file.origin {
            Origin::Git(number) => Ok(self.repositories[*number].1.open(&file.oid)?),
            Origin::Lfs(number, lfs) => lfs.open(&self.repositories[*number].0, &file.oid),
            Origin::Made(path) if file.kind == EntryKind::Link => {
                let target = fs::read_link(path).map_err(|source| Error::Unread { source })?;
                Ok(Box::new(io::Cursor::new(target.into_os_string().into_vec())))
            }
            Origin::Made(path) => Ok(Box::new(fs::File::open(path).map_err(|source| Error::Unread { source })?)),
        }
    }
}

impl Lfs {
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text.strip_prefix(POINTER)?).ok()?;
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let sha256 = value("oid")?.strip_prefix("sha256:")?;
        let is_hash = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = value("size")?.parse().ok()?;
        is_hash.then(|| Self { path: String::new(), sha256: sha256.to_owned(), size })
    }

    /// Opens what is kept; what is not yet here, `git lfs` fetches.
    fn open(&self, repository: &Repository, pointer: &Oid) -> Result<Box<dyn Read + Send>, Error> {
        let kept = self.kept(repository);
        let failed = |reason: String| Error::Lfs { path: self.path.clone(), reason };
        if fs::metadata(&kept).map_or(true, |found| found.len() != self.size) {
            let git = repository.git().args(["lfs", "smudge", "--", &self.path]).input(repository.blob(pointer)?);
            let fetched = git.stream().map_err(|error| failed(error.to_string()))?;
            io::copy(&mut { fetched }, &mut io::sink()).map_err(|error| failed(error.to_string()))?;
        }
        let file = fs::File::open(&kept).map_err(|error| failed(format!("{}: {error}", kept.display())))?;
        let size = file.metadata().map_or(0, |found| found.len());
        if size != self.size {
            return Err(failed(format!("it should have {} bytes and has {size}", self.size)));
        }
        Ok(Box::new(file))
    }

    fn kept(&self, repository: &Repository) -> PathBuf {
        let storage = repository.config("lfs.storage").map_or_else(|| PathBuf::from("lfs"), PathBuf::from);
        let storage = repository.common_dir().join(storage);
        storage.join("objects").join(&self.sha256[..2]).join(&self.sha256[2..4]).join(&self.sha256)
    }
}

/// The pointers of Git LFS among the entries of a tree, by path. A file that merely looks like one stays as it is: the
/// attributes of the tree decide.
pub(super) fn pointers<'e>(
    repository: &Repository,
    treeish: &Oid,
    entries: impl Iterator<Item = &'e TreeEntry>,
) -> Result<BTreeMap<BString, Lfs>, Error> {
    let mut found = BTreeMap::new();
    if !repository.has_filter(treeish, "lfs")? {
        return Ok(found);
    }
    let blobs = repository.blobs();
    for entry in entries.filter(|entry| matches!(entry.kind, EntryKind::File | EntryKind::Executable)) {
        if blobs.size(&entry.oid)? > POINTER_BYTES {
            continue;
        }
        let mut bytes = Vec::new();
        blobs.open(&entry.oid)?.read_to_end(&mut bytes).map_err(|source| Error::Unread { source })?;
        if let Some(pointer) = Lfs::parse(&bytes) {
            found.insert(entry.path.clone(), Lfs { path: entry.path.to_string(), ..pointer });
        }
    }
    if !found.is_empty() {
        let filtered = repository.filtered(treeish, "lfs", found.keys())?;
        found.retain(|path, _| filtered.contains(path));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_known_by_its_form() {
        let hash = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{hash}\nsize 12345\n");
        let pointer = Lfs::parse(text.as_bytes()).unwrap();
        assert_eq!((pointer.sha256.as_str(), pointer.size), (hash, 12345));
        assert_eq!(Lfs::parse(text.replace("sha256:4", "sha256:../4").as_bytes()), None);
        assert_eq!(Lfs::parse(b"version 1\n"), None);
    }
}
