//! Whether a work tree is what the index says: one call of `git status`, which uses the index's stat cache, the user's
//! untracked cache and file-system monitor, and never takes a lock.

use super::{Error, Repository};
use gix::bstr::{BString, ByteSlice};

/// What stands between a work tree and its index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkTreeState {
    /// Paths whose index entry differs from `HEAD`.
    pub staged: Vec<BString>,
    /// Tracked paths whose work tree file differs from the index, and unmerged ones.
    pub unstaged: Vec<BString>,
    /// Paths that are neither tracked nor ignored; a folder stands for all in it and ends with `/`.
    pub untracked: Vec<BString>,
}

impl Repository {
    /// Compares the work tree with the index, and the index with `HEAD`.
    ///
    /// # Errors
    /// When git fails, as in a bare repository.
    pub fn work_tree_state(&self) -> Result<WorkTreeState, Error> {
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
fn parse(answer: &[u8]) -> Option<WorkTreeState> {
    let mut state = WorkTreeState::default();
    for line in answer.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
        let (kind, rest) = (line.first()?, line.get(2..)?);
        match kind {
            b'1' => {
                let fields: Vec<&[u8]> = rest.splitn(8, |byte| *byte == b' ').collect();
                let ([index, work_tree], path) = (<[u8; 2]>::try_from(*fields.first()?).ok()?, *fields.get(7)?);
                if index != b'.' {
                    state.staged.push(path.into());
                }
                if work_tree != b'.' {
                    state.unstaged.push(path.into());
                }
            }
            b'u' => state.unstaged.push(rest.splitn(10, |byte| *byte == b' ').nth(9)?.into()),
            b'?' => state.untracked.push(rest.as_bstr().to_owned()),
            b'#' | b'!' => {}
            _ => return None,
        }
    }
    Some(state)
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
        assert_eq!(state.staged, ["staged file"]);
        assert_eq!(state.unstaged, ["un\nstaged", "both"]);
        assert_eq!(state.untracked, ["new dir/"]);
    }

    #[test]
    fn a_form_of_the_future_is_refused() {
        assert_eq!(parse(b"9 x y\0"), None);
    }
}
