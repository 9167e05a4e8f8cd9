//! What this program keeps in a clone goes away with its hooks, but for notes of what still waits to be delivered.

use super::Error;
use crate::{check, deliver as delivery, git::Repository, values::EnvironmentName};
use std::{fs, io, path::PathBuf};

/// What stays of the clone's state.
#[derive(Debug)]
pub struct Left {
    /// Where it is.
    pub folder: PathBuf,
    /// The environments that still wait.
    pub waiting: Vec<EnvironmentName>,
}

/// Takes away scratch trees, records, logs and mirrors. Where something waits to be delivered, the notes of it stay, and
/// what a delivery works with.
///
/// # Errors
/// When something cannot be removed.
pub fn leave(repository: &Repository) -> Result<Option<Left>, Error> {
    check::forget(repository)?;
    let folder = repository.state_dir();
    let waiting = delivery::waiting(repository)?.into_iter().map(|note| note.environment).collect::<Vec<_>>();
    let goes = if waiting.is_empty() { folder.clone() } else { folder.join("carry") };
    match fs::remove_dir_all(&goes) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(Error::file(&goes, source)),
        _ => {}
    }
    Ok(if waiting.is_empty() { None } else { Some(Left { folder, waiting }) })
}
