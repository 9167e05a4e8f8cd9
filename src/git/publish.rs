//! What a mirror gives back: trees without a work tree, commits in the user's name, and pushes that are never forced.

use super::{
    Error, Mirror,
    mirror::{REMOTE, references},
    program::without_secrets,
    remote::remote_error,
};
use crate::values::Oid;
use std::path::Path;

/// What a remote made of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// The branch is at our commit.
    Accepted,
    /// Somebody else was there first: fetch, look again, try again.
    Overtaken {
        /// What the remote said.
        reason: String,
    },
    /// The remote does not want it, whatever we do.
    Refused {
        /// What its hook or its branch protection said.
        message: String,
    },
}

impl Mirror {
    /// Writes the tree of a commit with some files replaced or added; everything else, modes included, stays. Paths are
    /// from the root.
    ///
    /// # Errors
    /// When an object cannot be read or written.
    pub fn write(&self, base: &Oid, files: &[(String, Vec<u8>)]) -> Result<Oid, Error> {
        let failed = |error: git2::Error| Error::write("a tree", error);
        let repository = git2::Repository::open_bare(self.repository.git_dir()).map_err(failed)?;
        let base = git2::Oid::from_str(base.as_str()).map_err(failed)?;
        let base = repository.find_commit(base).and_then(|commit| commit.tree()).map_err(failed)?;
        let mut update = git2::build::TreeUpdateBuilder::new();
        for (path, bytes) in files {
            let blob = repository.blob(bytes).map_err(failed)?;
            let mode = match base.get_path(Path::new(path)).map(|entry| entry.filemode()) {
                Ok(0o100_755) => git2::FileMode::BlobExecutable,
                _ => git2::FileMode::Blob,
            };
            update.upsert(path.as_str(), blob, mode);
        }
        let tree = update.create_updated(&repository, &base).map_err(failed)?;
        tree.to_string().parse().map_err(|error: crate::values::Invalid| Error::write("a tree", error))
    }

    /// The paths in which a tree differs from the tree of a commit, in git's order.
    ///
    /// # Errors
    /// When an object cannot be read.
    pub fn difference(&self, base: &Oid, tree: &Oid) -> Result<Vec<String>, Error> {
        let failed = |error: git2::Error| Error::read("a tree", error);
        let repository = git2::Repository::open_bare(self.repository.git_dir()).map_err(failed)?;
        let parse = |oid: &Oid| git2::Oid::from_str(oid.as_str()).map_err(failed);
        let base = repository.find_commit(parse(base)?).and_then(|commit| commit.tree()).map_err(failed)?;
        let tree = repository.find_tree(parse(tree)?).map_err(failed)?;
        let difference = repository.diff_tree_to_tree(Some(&base), Some(&tree), None).map_err(failed)?;
        let paths = difference.deltas().filter_map(|delta| delta.new_file().path_bytes().map(<[u8]>::to_vec));
        Ok(paths.map(|path| String::from_utf8_lossy(&path).into_owned()).collect())
    }

    /// Commits a tree in the user's name, signed where the user's configuration asks for it.
    ///
    /// # Errors
    /// [`Error::Identity`] and [`Error::Signing`].
    pub fn commit(&self, tree: &Oid, parent: &Oid, message: &str) -> Result<Oid, Error> {
        // `git commit-tree` does not look at commit.gpgSign (git-commit-tree(1)).
        let signs = self.git().args(["config", "--type=bool", "commit.gpgSign"]).finish()?.1.line() == "true";
        let git = self.git().args(["commit-tree", tree.as_str(), "-p", parent.as_str()]);
        let git = if signs { git.arg("-S") } else { git };
        let (status, output) = git.args(["-F", "-"]).input(message).finish()?;
        if status == Some(0) {
            let line = output.line();
            return line.parse().map_err(|error: crate::values::Invalid| Error::write("a commit", error));
        }
        let said = without_secrets(output.stderr.trim());
        Err(if said.contains("Please tell me who you are") || said.contains("ident name") {
            Error::Identity(said.lines().last().unwrap_or_default().to_owned())
        } else if signs {
            Error::Signing(said)
        } else {
            Error::Failed { command: "commit-tree".to_owned(), message: said }
        })
    }

    /// Pushes a commit onto a branch, as a fast-forward or not at all.
    ///
    /// # Errors
    /// Where the remote could not be asked.
    pub fn push(&self, commit: &Oid, branch: &str) -> Result<Pushed, Error> {
        let (theirs, _) = references(branch)?;
        let refspec = format!("{commit}:{theirs}");
        let options = ["push", "--porcelain", "--no-verify", "--no-follow-tags", "--recurse-submodules=no"];
        let (status, output) = self.git().args(options).args([REMOTE, &refspec]).finish()?;
        if status == Some(0) {
            return Ok(Pushed::Accepted);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        // `!<tab>from:to<tab>[kind] (reason)` (git-push(1), "Output").
        let Some(rejection) = text.lines().find_map(|line| line.strip_prefix("!\t")?.split_once('\t')) else {
            return Err(remote_error(&self.url, &output));
        };
        Ok(verdict(rejection.1, &without_secrets(&output.stderr)))
    }
}

/// Reads a rejection. git itself sees most lost races; of two pushes at the same moment the server refuses one to lock or
/// move the reference.
fn verdict(summary: &str, stderr: &str) -> Pushed {
    let reason = summary.split_once('(').map_or(summary, |(_, reason)| reason.trim_end_matches(')'));
    let race = [
        "fetch first",
        "non-fast-forward",
        "stale info",
        "failed to update ref",
        "failed to lock",
        "incorrect old value provided",
        "reference already exists",
    ];
    if race.contains(&reason) || reason.starts_with("cannot lock ref") || reason.contains("but expected") {
        return Pushed::Overtaken { reason: reason.to_owned() };
    }
    let said: Vec<&str> = stderr
        .lines()
        .filter_map(|line| line.strip_prefix("remote:"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let message = if said.is_empty() { reason.to_owned() } else { format!("{reason}\n{}", said.join("\n")) };
    Pushed::Refused { message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_race_is_told_from_a_refusal() {
        for summary in [
            "[rejected] (fetch first)",
            "[rejected] (non-fast-forward)",
            "[remote rejected] (cannot lock ref 'refs/heads/main': is at a but expected b)",
            "[remote rejected] (failed to update ref)",
        ] {
            assert!(matches!(verdict(summary, "remote: error"), Pushed::Overtaken { .. }), "{summary}");
        }
        let said = "remote: \nremote: GitLab: this branch is protected.        \nremote: \n ! [remote rejected] …";
        assert_eq!(
            verdict("[remote rejected] (pre-receive hook declined)", said),
            Pushed::Refused { message: "pre-receive hook declined\nGitLab: this branch is protected.".to_owned() }
        );
    }
}
