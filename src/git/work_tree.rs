//! Whether a work tree is what the index says: found out by a walk of our own where that is certain, else by one call of
//! `git status`, which uses the user's untracked cache and file-system monitor, and never takes a lock.

use super::{
    Error, Index, Repository,
    walk::{Interest, Seen, Sight, walk, walk_again},
};
use gix::bstr::{BString, ByteSlice};

/// What stands between a work tree and its index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Tracked paths whose work tree file differs from the index, and unmerged ones; perhaps only one of them.
    pub unstaged: Vec<BString>,
    /// Paths that are neither tracked nor ignored, perhaps only one of them; a folder stands for all in it and ends with
    /// `/`.
    pub untracked: Vec<BString>,
    /// Tracked paths whose file was written since the earlier sight, whatever it holds now; only where that was asked.
    pub written: Vec<BString>,
}

/// How a work tree stands to its index.
pub enum WorkTreeState {
    /// It is equal.
    Equal(Option<Box<Sight>>),
    /// It is not.
    Different(Difference),
}

impl Repository {
    /// Compares the work tree with the index. `unseen` are paths that count as ignored.
    ///
    /// # Errors
    /// When git fails, as in a bare repository.
    pub fn work_tree_state(&self, index: &Index, unseen: &[&str]) -> Result<WorkTreeState, Error> {
        self.certain(walk(self, index, Interest::All, unseen, None), unseen)
    }

    /// As [`Repository::work_tree_state`], for the files that the index names alone.
    ///
    /// # Errors
    /// When git fails.
    pub fn tracked_state(&self, index: &Index) -> Result<WorkTreeState, Error> {
        self.certain(walk(self, index, Interest::Tracked, &[], None), &[])
    }

    /// As [`Repository::work_tree_state`], after a time in which it may have changed.
    ///
    /// # Errors
    /// When git fails.
    pub fn work_tree_state_since(&self, sight: &Sight, unseen: &[&str]) -> Result<WorkTreeState, Error> {
        self.certain(walk_again(self, sight, unseen), unseen)
    }

    fn certain(&self, seen: Seen, unseen: &[&str]) -> Result<WorkTreeState, Error> {
        let mut difference = Difference::default();
        match seen {
            Seen::Equal(sight) => return Ok(WorkTreeState::Equal(Some(Box::new(sight)))),
            Seen::Unstaged(path) => difference.unstaged.push(path),
            Seen::Untracked(path) => difference.untracked.push(path),
            Seen::Written(path) => difference.written.push(path),
            Seen::Unsure => {
                difference = self.ask_git()?;
                difference.untracked.retain(|path| !unseen.iter().any(|unseen| path == unseen));
            }
        }
        let equal = difference == Difference::default();
        Ok(if equal { WorkTreeState::Equal(None) } else { WorkTreeState::Different(difference) })
    }

    fn ask_git(&self) -> Result<Difference, Error> {
        let output = self
            .git()
            .args(["status", "--porcelain=v2", "-z", "--no-renames", "--untracked-files=normal"])
            // What a build left in a submodule is the submodule's business; another commit of it is ours.
            .arg("--ignore-submodules=untracked")
            .env("GIT_INDEX_FILE", self.index_path())
            .run()?;
        parse(&output.stdout).ok_or_else(|| Error::read("the answer of git status", "it has a form we do not know"))
    }
}

/// Reads `--porcelain=v2 -z --no-renames` (git-status(1), Porcelain Format Version 2).
fn parse(answer: &[u8]) -> Option<Difference> {
    let mut difference = Difference::default();
    for line in answer.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
        let (kind, rest) = (line.first()?, line.get(2..)?);
        match kind {
            b'1' => {
                let fields: Vec<&[u8]> = rest.splitn(8, |byte| *byte == b' ').collect();
                let ([_, work_tree], path) = (<[u8; 2]>::try_from(*fields.first()?).ok()?, *fields.get(7)?);
                if work_tree != b'.' {
                    difference.unstaged.push(path.into());
                }
            }
            b'u' => difference.unstaged.push(rest.splitn(10, |byte| *byte == b' ').nth(9)?.into()),
            b'?' => difference.untracked.push(rest.as_bstr().to_owned()),
            b'#' | b'!' => {}
            _ => return None,
        }
    }
    Some(difference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_line_is_understood() {
        let answer = b"1 M. N... 100644 100644 100644 aa bb staged file\0\
            1 .M N... 100644 100644 100644 aa aa un\nstaged\0\
            u UU N... 100644 100644 100644 100644 aa bb cc both\0? new dir/\0! ignored\0";
        let state = parse(answer).unwrap();
        assert_eq!(state.unstaged, ["un\nstaged", "both"]);
        assert_eq!(state.untracked, ["new dir/"]);
    }

    #[test]
    fn a_form_of_the_future_is_refused() {
        assert_eq!(parse(b"9 x y\0"), None);
    }
}
