//! What a mirror gives back: trees without a work tree, commits in the user's name, and pushes that are never forced.

use super::{
    Error, Mirror, Output, Prompts,
    mirror::{REMOTE, references},
    program::without_secrets,
    remote::remote_error,
};
use crate::values::Oid;
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// One branch of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The branch.
    pub branch: String,
    /// What it is to be at.
    pub commit: Oid,
    /// What it was at when we looked; `None` for a branch that was not there. Anything else there is a lost race.
    pub expected: Option<Oid>,
}

/// What a remote made of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// The branch is at our commit.
    Accepted {
        /// What the server said beside it, such as where to open a merge request.
        said: String,
    },
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

/// What became of a merge of two commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// The tree of both.
    Tree(Oid),
    /// The paths in which they disagree.
    Conflict(Vec<String>),
}

/// Where a mirror remembers that its server takes no push options.
const NO_OPTIONS: &str = "gitops-hooks.noPushOptions";

impl Mirror {
    /// Writes a tree (or that of a commit) with some files replaced or added; everything else, modes included, stays. Paths
    /// are from the root.
    ///
    /// # Errors
    /// When an object cannot be read or written.
    pub fn write(&self, base: &Oid, files: &[(String, Vec<u8>)]) -> Result<Oid, Error> {
        let failed = |error: git2::Error| Error::write("a tree", error);
        let repository = git2::Repository::open_bare(self.repository.git_dir()).map_err(failed)?;
        let base = tree_of(&repository, base).map_err(failed)?;
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

    /// The paths in which two trees (or the trees of commits) differ, in git's order.
    ///
    /// # Errors
    /// When an object cannot be read.
    pub fn difference(&self, base: &Oid, tree: &Oid) -> Result<Vec<String>, Error> {
        let failed = |error: git2::Error| Error::read("a tree", error);
        let repository = git2::Repository::open_bare(self.repository.git_dir()).map_err(failed)?;
        let (base, tree) = (tree_of(&repository, base).map_err(failed)?, tree_of(&repository, tree).map_err(failed)?);
        let difference = repository.diff_tree_to_tree(Some(&base), Some(&tree), None).map_err(failed)?;
        let paths = difference.deltas().filter_map(|delta| delta.new_file().path_bytes().map(<[u8]>::to_vec));
        Ok(paths.map(|path| String::from_utf8_lossy(&path).into_owned()).collect())
    }

    /// The difference of two trees as text, as `git diff` shows it.
    ///
    /// # Errors
    /// When git fails.
    pub fn diff(&self, base: &Oid, tree: &Oid) -> Result<String, Error> {
        let options = ["diff", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames"];
        let output = self.git().args(options).args([base.as_str(), tree.as_str()]).run()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Merges two commits in memory. Where they disagree about `theirs_counts`, the second one's file is taken.
    ///
    /// # Errors
    /// When an object cannot be read or written.
    pub fn merge(&self, ours: &Oid, theirs: &Oid, theirs_counts: &str) -> Result<Merged, Error> {
        let failed = |error: git2::Error| Error::write("a merge", error);
        let repository = git2::Repository::open_bare(self.repository.git_dir()).map_err(failed)?;
        let commit = |oid: &Oid| repository.find_commit(git2::Oid::from_str(oid.as_str())?);
        let (first, second) = (commit(ours).map_err(failed)?, commit(theirs).map_err(failed)?);
        let mut index = repository.merge_commits(&first, &second, None).map_err(failed)?;
        let mut disagree = Vec::new();
        let conflicts: Vec<git2::IndexConflict> =
            index.conflicts().map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
        for conflict in conflicts {
            let any = [&conflict.our, &conflict.their, &conflict.ancestor].into_iter().flatten().next();
            let path = any.map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).unwrap_or_default();
            match conflict.their {
                Some(mut entry) if path == theirs_counts => {
                    index.remove_path(Path::new(&path)).map_err(failed)?;
                    // The stage stands in two bits of the flags (gitformat-index(5)); 0 is a path without conflict.
                    entry.flags &= !0x3000;
                    index.add(&entry).map_err(failed)?;
                }
                _ => disagree.push(path),
            }
        }
        if !disagree.is_empty() {
            return Ok(Merged::Conflict(disagree));
        }
        let tree = index.write_tree_to(&repository).map_err(failed)?;
        tree.to_string()
            .parse()
            .map(Merged::Tree)
            .map_err(|error: crate::values::Invalid| Error::write("a tree", error))
    }

    /// Writes a commit that nobody will see, for what can only be asked of one: unsigned, and reached by no reference, so that
    /// git drops it some day.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn commit_unseen(&self, tree: &Oid, parent: &Oid) -> Result<Oid, Error> {
        let failed = |error: git2::Error| Error::write("a commit", error);
        let repository = git2::Repository::open_bare(self.repository.git_dir()).map_err(failed)?;
        let nobody = git2::Signature::now("gitops-hooks", "nobody@invalid").map_err(failed)?;
        let tree = tree_of(&repository, tree).map_err(failed)?;
        let parent = git2::Oid::from_str(parent.as_str()).and_then(|id| repository.find_commit(id)).map_err(failed)?;
        let commit = repository.commit(None, &nobody, &nobody, "Rehearsal", &tree, &[&parent]).map_err(failed)?;
        commit.to_string().parse().map_err(|error: crate::values::Invalid| Error::write("a commit", error))
    }

    /// Commits a tree in the user's name, signed where the user's configuration asks for it.
    ///
    /// # Errors
    /// [`Error::Identity`] and [`Error::Signing`].
    pub fn commit(&self, tree: &Oid, parents: &[Oid], message: &str) -> Result<Oid, Error> {
        // `git commit-tree` does not look at commit.gpgSign (git-commit-tree(1)).
        let signs = self.git().args(["config", "--type=bool", "commit.gpgSign"]).finish()?.1.line() == "true";
        let quiet = if signs && self.prompts == Prompts::Never { self.gpg_without_questions() } else { None };
        let git = match quiet.transpose()? {
            Some(program) => self.git().config("gpg.program", &program).config("gpg.openpgp.program", &program),
            None => self.git(),
        };
        let git = git.args(["commit-tree", tree.as_str()]);
        let git = parents.iter().fold(git, |git, parent| git.args(["-p", parent.as_str()]));
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

    /// gpg asks through its agent, which was started in the user's session and knows the display by itself: only gpg's own
    /// word keeps it from asking, and git hands on no words. So a file in the mirror says it. `None` where something else
    /// signs.
    fn gpg_without_questions(&self) -> Option<Result<String, Error>> {
        let repository = &self.repository;
        if repository.config("gpg.format").is_some_and(|format| format != "openpgp") {
            return None;
        }
        let program = repository.config("gpg.openpgp.program").or_else(|| repository.config("gpg.program"));
        let program = program.unwrap_or_else(|| "gpg".to_owned());
        if !Path::new(&program).file_name()?.to_str()?.starts_with("gpg") {
            return None;
        }
        let program = shlex::try_quote(&program).ok()?.into_owned();
        let path = repository.git_dir().join("gpg-without-questions");
        let text = format!("#!/bin/sh\nexec {program} --pinentry-mode error \"$@\"\n");
        let shown = path.display().to_string();
        Some(executable(&path, &text).map(|()| shown.clone()).map_err(|source| Error::File { path: shown, source }))
    }

    /// Pushes branches in one go. Each is a fast-forward from what was expected there, or nothing at all: the others are not
    /// touched by one that fails. `options` are for servers that take them; others get the branches alone.
    ///
    /// # Errors
    /// Where the remote could not be asked.
    pub fn push(&self, pushes: &[Push], options: &[String]) -> Result<Vec<Pushed>, Error> {
        let refused_before = self.repository.config(NO_OPTIONS).is_some();
        let with_options = !options.is_empty() && !refused_before;
        let (status, output) = self.send(pushes, if with_options { options } else { &[] })?;
        if status != Some(0) && with_options && output.stderr.contains("does not support push options") {
            self.git()
                .args(["config", "--file"])
                .arg(self.repository.git_dir().join("config"))
                .args([NO_OPTIONS, "true"])
                .run()?;
            return self.told(pushes, &self.send(pushes, &[])?);
        }
        self.told(pushes, &(status, output))
    }

    fn send(&self, pushes: &[Push], options: &[String]) -> Result<(Option<i32>, Output), Error> {
        let fixed = ["push", "--porcelain", "--no-verify", "--no-follow-tags", "--recurse-submodules=no"];
        let mut git = self.git().args(fixed);
        for push in pushes {
            let (theirs, _) = references(&push.branch)?;
            // The commit follows what is expected, so this can only ever be a fast-forward; it also keeps a branch that was
            // deleted meanwhile from coming back.
            let expected = push.expected.as_ref().map(Oid::as_str).unwrap_or_default();
            git = git.arg(format!("--force-with-lease={theirs}:{expected}"));
        }
        git = options.iter().fold(git, |git, option| git.args(["-o", option]));
        git = git.arg(REMOTE);
        for push in pushes {
            let (theirs, _) = references(&push.branch)?;
            git = git.arg(format!("{}:{theirs}", push.commit));
        }
        git.finish()
    }

    /// Reads what git says of each branch: `<flag><tab>from:to<tab>summary (reason)` (git-push(1), "Output").
    fn told(&self, pushes: &[Push], (status, output): &(Option<i32>, Output)) -> Result<Vec<Pushed>, Error> {
        let text = String::from_utf8_lossy(&output.stdout);
        let said = without_secrets(&output.stderr);
        pushes
            .iter()
            .map(|push| {
                let (theirs, _) = references(&push.branch)?;
                let line = text.lines().find_map(|line| {
                    let (flag, rest) = line.split_once('\t')?;
                    let (refs, summary) = rest.split_once('\t')?;
                    refs.strip_suffix(&*theirs)?.ends_with(':').then_some((flag, summary))
                });
                match line {
                    Some(("!", summary)) => Ok(verdict(summary, &said)),
                    Some(_) => Ok(Pushed::Accepted { said: spoken(&said).join("\n") }),
                    None if *status == Some(0) => Ok(Pushed::Accepted { said: spoken(&said).join("\n") }),
                    None => Err(remote_error(&self.url, output)),
                }
            })
            .collect()
    }
}

/// Makes sure that a file of ours holds this and may be executed.
fn executable(path: &Path, text: &str) -> io::Result<()> {
    if fs::read(path).is_ok_and(|known| known == text.as_bytes()) {
        return Ok(());
    }
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o700))?;
    file.persist(path).map(|_| ()).map_err(|error| error.error)
}

fn tree_of<'r>(repository: &'r git2::Repository, treeish: &Oid) -> Result<git2::Tree<'r>, git2::Error> {
    let object = repository.find_object(git2::Oid::from_str(treeish.as_str())?, None)?;
    object.peel_to_tree()
}

/// What a server said, line by line.
fn spoken(stderr: &str) -> Vec<&str> {
    let lines = stderr.lines().filter_map(|line| line.strip_prefix("remote:"));
    lines.map(str::trim).filter(|line| !line.is_empty()).collect()
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
    let said = spoken(stderr);
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
