//! Which base images the last build of an image used. Only a build tells, and then it must be done once more for that to be
//! written on the image; where the bases are those of the last time, the first build has it right.

use crate::values::Digest;
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// Where a clone keeps what it knows of one image's bases.
pub(super) struct LastBases(PathBuf);

impl LastBases {
    /// `image` tells the images of a clone apart.
    pub(super) fn of(state: &Path, image: &str) -> Self {
        Self(state.join("bases").join(format!("{}.json", Digest::of(image.as_bytes()).short())))
    }

    /// Names with digests; nothing where no build has told.
    pub(super) fn read(&self) -> BTreeMap<String, String> {
        fs::read(&self.0).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Best effort: what is not kept is found out again.
    pub(super) fn keep(&self, bases: &BTreeMap<String, String>) {
        let (Some(folder), Ok(bytes)) = (self.0.parent(), serde_json::to_vec(bases)) else { return };
        let _ = fs::create_dir_all(folder);
        if let Ok(mut new) = tempfile::NamedTempFile::new_in(folder)
            && new.write_all(&bytes).is_ok()
        {
            let _ = new.persist(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_and_what_is_broken_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let last = LastBases::of(folder.path(), "web");
        assert!(last.read().is_empty());
        let bases = BTreeMap::from([("python:3".to_owned(), "sha256:0".to_owned())]);
        last.keep(&bases);
        assert_eq!(last.read(), bases);
        assert!(LastBases::of(folder.path(), "api").read().is_empty());
        fs::write(&last.0, "{").unwrap();
        assert!(last.read().is_empty());
    }
}
