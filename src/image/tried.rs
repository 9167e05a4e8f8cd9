//! What this clone has built and tried: a push right after `gitops-hooks run pre-push` finds it, and neither builds nor tries it
//! again. It counts for the same commit, key and trial, and only while the engine still has the image.

use super::{Request, engine::Engine, key::Key};
use crate::values::Digest;
use serde::{Deserialize, Serialize};
use std::{fs, io::Write, path::PathBuf};

/// How many are kept: those of the last pushes.
const KEPT: usize = 50;

/// A trial that passed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    commit: String,
    /// The engine's name for the image.
    id: String,
    /// What was tried.
    trial: String,
}

/// The record of one key, whether or not there is one.
pub(super) struct Tried {
    path: PathBuf,
    commit: String,
    trial: String,
}

impl Tried {
    pub(super) fn of(request: &Request<'_>, key: &Key) -> Self {
        // An image is kept under its name, of which two with the same content each have one.
        let (repository, smoke) = (&*request.image.repository, &request.image.smoke);
        let name = Digest::of(format!("{repository} {key}").as_bytes());
        Self {
            path: request.repository.state_dir().join("tried").join(name.short()),
            commit: request.commit.to_string(),
            trial: Digest::of(format!("{smoke:?}").as_bytes()).hex().to_owned(),
        }
    }

    /// The engine's name of the image that was tried.
    pub(super) async fn id(&self, engine: &Engine) -> Option<String> {
        let record: Record = serde_json::from_slice(&fs::read(&self.path).ok()?).ok()?;
        if record.commit != self.commit || record.trial != self.trial {
            return None;
        }
        engine.docker.inspect_image(&record.id).await.ok()?;
        Some(record.id)
    }

    /// Best effort: without it the image is built and tried again.
    pub(super) fn keep(&self, id: &str) {
        let record = Record { commit: self.commit.clone(), id: id.to_owned(), trial: self.trial.clone() };
        let (Some(folder), Ok(bytes)) = (self.path.parent(), serde_json::to_vec(&record)) else { return };
        let _ = fs::create_dir_all(folder);
        if let Ok(mut new) = tempfile::NamedTempFile::new_in(folder)
            && new.write_all(&bytes).is_ok()
        {
            let _ = new.persist(&self.path);
        }
        let Ok(entries) = fs::read_dir(folder) else { return };
        let mut all: Vec<_> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                Some((fs::metadata(&path).ok()?.modified().ok()?, path))
            })
            .collect();
        all.sort();
        for (_, path) in all.iter().rev().skip(KEPT) {
            let _ = fs::remove_file(path);
        }
    }
}
