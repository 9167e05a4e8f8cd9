//! Many blobs, one after the other on one thread: the store of objects is opened once. A large blob is read by git, which
//! hands it on in pieces, so that memory does not grow with it.

use super::{Error, Repository};
use crate::values::Oid;
use std::io::{Cursor, Read};

/// Blobs up to this size are read whole.
const WHOLE_BYTES: u64 = 8 << 20;

/// A reader of blobs.
pub struct Blobs {
    inner: gix::Repository,
    repository: Repository,
}

impl Repository {
    /// A reader for many blobs. It stays on its thread.
    #[must_use]
    pub fn blobs(&self) -> Blobs {
        Blobs { inner: self.gix(), repository: self.clone() }
    }
}

impl Blobs {
    /// The size of a blob in bytes, without reading it.
    ///
    /// # Errors
    /// When it is not here.
    pub fn size(&self, oid: &Oid) -> Result<u64, Error> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::read(format!("blob {oid}"), error);
        let id = gix::ObjectId::from_hex(oid.as_str().as_bytes()).map_err(|error| failed(error.into()))?;
        Ok(self.inner.find_header(id).map_err(|error| failed(error.into()))?.size())
    }

    /// A blob's bytes, to be read once.
    ///
    /// # Errors
    /// When it is not here.
    pub fn open(&self, oid: &Oid) -> Result<Box<dyn Read + Send>, Error> {
        if self.size(oid)? > WHOLE_BYTES {
            return Ok(Box::new(self.repository.git().args(["cat-file", "blob", oid.as_str()]).stream()?));
        }
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::read(format!("blob {oid}"), error);
        let id = gix::ObjectId::from_hex(oid.as_str().as_bytes()).map_err(|error| failed(error.into()))?;
        let mut object = self.inner.find_object(id).map_err(|error| failed(error.into()))?;
        Ok(Box::new(Cursor::new(std::mem::take(&mut object.data))))
    }
}
