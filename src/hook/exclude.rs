//! One person's configuration, kept out of `git status` by a line in `info/exclude` of this clone, and taken away again to
//! the byte.

use super::Error;
use crate::{config::LOCAL_PATH, git::Repository};
use std::{fs, io, path::PathBuf};

/// What stood there before decides what is written, and so what has to go again.
#[derive(Debug, Clone, Copy)]
enum Before {
    NoFile,
    WholeLines,
    HalfALine,
}

impl Before {
    const ALL: [Self; 3] = [Self::NoFile, Self::HalfALine, Self::WholeLines];

    fn block(self) -> String {
        let (line_break, says) = match self {
            Self::NoFile => ("", "these lines and this file"),
            Self::WholeLines => ("", "these lines"),
            Self::HalfALine => ("\n", "these lines and the break before them"),
        };
        format!("{line_break}# gitops-hooks install put {says} here; uninstall takes them away.\n/{LOCAL_PATH}\n")
    }
}

/// Hides the file where nothing hides it yet.
pub(super) fn add(repository: &Repository) -> Result<(), Error> {
    let hidden = || repository.git().args(["check-ignore", "-q", "--no-index", LOCAL_PATH]).run().is_ok();
    if repository.work_dir().is_none() || hidden() {
        return Ok(());
    }
    let path = path(repository);
    let failed = |source| Error::file(&path, source);
    let text = read(&path)?;
    let before = match &text {
        None => Before::NoFile,
        Some(text) if text.last().is_none_or(|byte| *byte == b'\n') => Before::WholeLines,
        Some(_) => Before::HalfALine,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut text = text.unwrap_or_default();
    text.extend(before.block().as_bytes());
    fs::write(&path, text).map_err(failed)
}

/// Takes away what [`add`] wrote, wherever it stands now.
pub(super) fn remove(repository: &Repository) -> Result<(), Error> {
    let path = path(repository);
    let Some(text) = read(&path)? else { return Ok(()) };
    for before in Before::ALL {
        let block = before.block();
        let Some(at) = text.windows(block.len()).position(|window| window == block.as_bytes()) else { continue };
        let rest = [&text[..at], &text[at + block.len()..]].concat();
        let done = match before {
            Before::NoFile if rest.is_empty() => fs::remove_file(&path),
            _ => fs::write(&path, rest),
        };
        return done.map_err(|source| Error::file(&path, source));
    }
    Ok(())
}

fn path(repository: &Repository) -> PathBuf {
    repository.common_dir().join("info").join("exclude")
}

fn read(path: &PathBuf) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::file(path, source)),
    }
}
