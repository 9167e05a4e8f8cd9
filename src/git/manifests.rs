//! The files of a manifest repository, thousands of small ones that resemble each other. git stores such files as differences
//! to one another, and libgit2 remembers what it has put together of those from one file to the next, which gix as it is built
//! here does not: each of its looks begins with the first of a row of differences.

use super::Error;
use crate::values::Oid;
use std::path::Path;

/// A repository whose files are read one after the other.
pub struct ManifestFiles(git2::Repository);

impl ManifestFiles {
    /// Opens the repository at a git folder.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(git_dir: &Path) -> Result<Self, Error> {
        git2::Repository::open_bare(git_dir).map(Self).map_err(|error| Error::read("the objects", error))
    }

    /// The size of a file in bytes, without reading it.
    ///
    /// # Errors
    /// When it is not here.
    pub fn size(&self, blob: &Oid) -> Result<usize, Error> {
        let header = git2::Oid::from_str(blob.as_str()).and_then(|id| self.0.odb()?.read_header(id));
        header.map(|(size, _)| size).map_err(|error| Error::read(format!("blob {blob}"), error))
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// When it is not here.
    pub fn read(&self, blob: &Oid) -> Result<Vec<u8>, Error> {
        let read = git2::Oid::from_str(blob.as_str()).and_then(|id| Ok(self.0.odb()?.read(id)?.data().to_vec()));
        read.map_err(|error| Error::read(format!("blob {blob}"), error))
    }
}
