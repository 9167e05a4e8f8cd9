//! The folders that are written to: the user's cache for scratch trees, and the clone's own for records and deliveries.

use super::{Finding, finding::word};
use crate::{check, git::Repository};
use std::{io, path::Path};

pub(super) fn examine(repository: &Repository) -> Vec<Finding> {
    let cache = match check::cache_folder() {
        Ok(folder) => judge("cache folder", &folder, written(&folder)),
        Err(error) => Finding::error("cache folder", &error, "set HOME or XDG_CACHE_HOME to a folder"),
    };
    let state = repository.state_dir();
    vec![cache, judge("state folder", &state, written(&state))]
}

/// Whether a file can be made in a folder, or in the nearest one above where the folder is yet to be made.
fn written(folder: &Path) -> io::Result<()> {
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(folder);
    tempfile::tempfile_in(there).map(drop)
}

fn judge(check: &str, folder: &Path, written: io::Result<()>) -> Finding {
    match written {
        Ok(()) => Finding::fine(check, folder.display().to_string()),
        Err(error) => Finding::environment(
            check,
            format!("{} cannot be written to: {error}", folder.display()),
            format!("see that the disk is not full and that the folder is yours: `ls -ld {}`", word(folder)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_folder_that_is_yet_to_be_made_is_judged_by_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        assert!(written(&folder.path().join("a/b")).is_ok());
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let found = judge("x", &file.join("a"), written(&file.join("a")));
        assert_eq!(found.state, State::Environment, "{found:?}");
    }
}
