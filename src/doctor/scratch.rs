//! What runs left behind: scratch trees, which of them are in use or broken, and records.

use super::{Finding, finding::word};
use crate::{
    check::{self, Hold, ScratchFolder, Tree},
    git::Repository,
};
use std::path::{Path, PathBuf};

const CHECK: &str = "scratch trees";

pub(super) fn examine(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Without a cache folder there are none, and that is told of the folder.
    if let Ok(cache) = check::cache_folder() {
        match check::scratch_folders(repository, &cache) {
            Ok(folders) => findings.extend(judge(&folders)),
            Err(error) => findings.push(Finding::error(CHECK, &error, "see that the cache folder is yours")),
        }
        findings.extend(check::left_behind(repository, &cache).unwrap_or_default().iter().map(left_behind));
    }
    let lost = repository.listed_trees().into_iter().filter(|folder| !folder.join(".git").exists());
    findings.extend(lost.map(|folder| lost_tree(&folder)));
    findings.push(match check::records(repository) {
        Ok(count) => Finding::fine("records", format!("{count} {}", if count == 1 { "step" } else { "steps" })),
        Err(error) => Finding::error("records", &error, "see that the folder is yours"),
    });
    findings
}

fn judge(folders: &[ScratchFolder]) -> Vec<Finding> {
    let mut told: Vec<String> = Vec::new();
    let mut findings = Vec::new();
    for folder in folders {
        let shown = folder.path.display();
        match (folder.hold, folder.tree) {
            (Hold::Held(process), _) => {
                let process = process.map_or_else(String::new, |process| format!(" by process {process}"));
                told.push(format!("{shown} ({}, in use{process})", size(folder.bytes)));
            }
            (Hold::Free, Tree::Broken) => findings.push(Finding::warning(
                CHECK,
                format!("the tree in {shown} is broken: git does not know it"),
                format!("the next run makes it anew; `rm -r {}` removes it now", word(&folder.path)),
            )),
            (Hold::Free, Tree::Sound) => told.push(format!("{shown} ({})", size(folder.bytes))),
            (Hold::Free, Tree::Absent) => {}
        }
    }
    if !told.is_empty() || findings.is_empty() {
        let message = if told.is_empty() { "none".to_owned() } else { told.join(", ") };
        findings.insert(0, Finding::fine(CHECK, message));
    }
    findings
}

/// A tree on the repository's list that is not there. Its lock keeps `git worktree prune` from it.
fn lost_tree(folder: &Path) -> Finding {
    Finding::warning(
        CHECK,
        format!("git lists a tree of ours that is gone: {}", folder.display()),
        format!(
            "the next run makes it anew; `git worktree remove --force --force {}` takes it off the list",
            word(folder)
        ),
    )
}

fn left_behind((folder, bytes): &(PathBuf, u64)) -> Finding {
    Finding::warning(
        CHECK,
        format!("{} ({}) belongs to a clone that is gone", folder.display(), size(*bytes)),
        format!("`rm -r {}`", word(folder)),
    )
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn folder(hold: Hold, tree: Tree) -> ScratchFolder {
        ScratchFolder { path: "/cache/scratch/a/0".into(), bytes: 34_000_000, hold, tree }
    }

    #[test]
    fn trees_are_told_with_their_size_and_who_uses_them() {
        let found = judge(&[folder(Hold::Free, Tree::Sound), folder(Hold::Held(Some(7)), Tree::Sound)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].message, "/cache/scratch/a/0 (34 MB), /cache/scratch/a/0 (34 MB, in use by process 7)");
        assert_eq!(judge(&[]), [Finding::fine(CHECK, "none")]);
    }

    #[test]
    fn a_broken_tree_is_told_unless_somebody_is_making_it() {
        let broken = judge(&[folder(Hold::Free, Tree::Broken)]);
        assert_eq!((broken.len(), broken[0].state), (1, State::Warning));
        assert!(broken[0].next.as_ref().unwrap().contains("rm -r /cache/scratch/a/0"));
        assert_eq!(judge(&[folder(Hold::Held(None), Tree::Broken)])[0].state, State::Fine);
    }

    #[test]
    fn sizes_are_short() {
        let shown = [1, 999_999, 1_500_000, 2_340_000_000].map(size);
        assert_eq!(shown, ["1 kB", "1000 kB", "1 MB", "2.3 GB"]);
    }
}
