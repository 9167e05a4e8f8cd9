//! Remotes as the user's own git reaches them: the ssh command with its limits, what git's words about a remote mean, and
//! whether a remote answers at all.

use super::{Error, Git, Output, Prompts, Repository, Upstream, program::without_secrets};
use crate::values::{Oid, RemoteUrl};
use std::{path::Path, time::Duration};

impl Repository {
    /// What a branch has on its remote at this moment; its commits are here afterwards. No reference is written: the user's
    /// remote-tracking branches move only when the user fetches, and there is no lock that a killed git could leave.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Denied`], [`Error::HostKey`], [`Error::NoBranch`].
    pub fn ask_upstream(&self, upstream: &Upstream, prompts: Prompts) -> Result<Oid, Error> {
        let (remote, branch) = (upstream.remote.as_str(), upstream.branch.as_str());
        let url = || self.remote_url(remote);
        let failed = |output: &Output| match url() {
            Some(url) => remote_error(&url, output),
            None => Error::Failed { command: "ls-remote".to_owned(), message: without_secrets(output.stderr.trim()) },
        };
        let mut moved = 0;
        loop {
            let (status, output) = self.as_user(prompts).args(["ls-remote", "--exit-code", remote, branch]).finish()?;
            let there =
                String::from_utf8_lossy(&output.stdout).split_whitespace().next().and_then(|id| id.parse().ok());
            let Some(there) = there.filter(|_| status == Some(0)) else {
                return Err(match (status, url()) {
                    // "--exit-code: Exit with status 2 when no matching refs are found" (git-ls-remote(1)).
                    (Some(2), Some(url)) => Error::NoBranch { url: url.shown(), why: format!("has no {branch}") },
                    _ => failed(&output),
                });
            };
            if self.has_commit(&there) {
                return Ok(there);
            }
            let options =
                ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--refmap="];
            let (status, output) = self.as_user(prompts).args(options).args([remote, branch]).finish()?;
            if status != Some(0) {
                return Err(failed(&output));
            }
            moved += 1;
            // Rewritten between the two questions; a branch that is so more often is nobody's.
            if moved > 3 && !self.has_commit(&there) {
                return Err(Error::Failed {
                    command: "fetch".to_owned(),
                    message: format!("{branch} moves faster than it can be fetched"),
                });
            }
        }
    }

    fn as_user(&self, prompts: Prompts) -> Git {
        let git = match prompts {
            Prompts::Allowed => self.git(),
            Prompts::Never => self.git().without_prompts(),
        };
        match ssh(self, prompts) {
            Some(ssh) => git.env("GIT_SSH_COMMAND", ssh),
            None => git,
        }
    }

    /// Asks a remote for a branch, as the user's git in this repository would, and never a person. Nothing is fetched.
    ///
    /// # Errors
    /// [`Error::Unreachable`] also where it is silent for `limit`, [`Error::Denied`], [`Error::HostKey`],
    /// [`Error::NoBranch`].
    pub fn ask_remote(&self, url: &RemoteUrl, branch: &str, limit: Duration) -> Result<(), Error> {
        let git = self.as_user(Prompts::Never).args([
            "ls-remote",
            "--exit-code",
            url.reveal(),
            &format!("refs/heads/{branch}"),
        ]);
        match git.finish_within(limit)? {
            Some((Some(0), _)) => Ok(()),
            // "--exit-code: Exit with status 2 when no matching refs are found" (git-ls-remote(1)).
            Some((Some(2), _)) => Err(Error::NoBranch { url: url.shown(), why: format!("has no branch {branch:?}") }),
            Some((_, output)) => Err(remote_error(url, &output)),
            None => {
                Err(Error::Unreachable { url: url.shown(), message: format!("no answer within {} s", limit.as_secs()) })
            }
        }
    }
}

/// The user's ssh with a limit on silence, so that a dead network ends a fetch. `GIT_SSH_COMMAND` wins over
/// `core.sshCommand`, which is therefore read here. `None` where it may not be OpenSSH: then it stays as it is.
pub(super) fn ssh(repository: &Repository, prompts: Prompts) -> Option<String> {
    if std::env::var_os("GIT_SSH").is_some() || repository.config("ssh.variant").is_some() {
        return None;
    }
    let command = std::env::var("GIT_SSH_COMMAND").ok();
    let command = command.or_else(|| repository.config("core.sshCommand")).unwrap_or_else(|| "ssh".to_owned());
    let program = command.split_whitespace().next()?;
    if Path::new(program.trim_matches(['"', '\''])).file_name()? != "ssh" {
        return None;
    }
    let batch = match prompts {
        Prompts::Allowed => "",
        Prompts::Never => " -o BatchMode=yes",
    };
    Some(format!("{command} -o ConnectTimeout=20 -o ServerAliveInterval=10 -o ServerAliveCountMax=3{batch}"))
}

/// What went wrong with a remote, from what git and ssh say (in English: `LC_ALL=C`).
pub(super) fn remote_error(url: &RemoteUrl, output: &Output) -> Error {
    let said = without_secrets(output.stderr.trim());
    let url = url.shown();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(&["REMOTE HOST IDENTIFICATION HAS CHANGED"]) {
        Error::HostKey { url, how: "has changed" }
    } else if says(&["Host key verification failed"]) {
        Error::HostKey { url, how: "is not known" }
    } else if says(&[
        "Permission denied",
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "The requested URL returned error: 401",
        "The requested URL returned error: 403",
    ]) {
        Error::Denied { url, message: in_short(&said) }
    } else {
        Error::Unreachable { url, message: in_short(&said) }
    }
}

/// The lines that say something: git ends most failures with the same two sentences of advice.
fn in_short(said: &str) -> String {
    let advice = ["Please make sure you have the correct access rights", "and the repository exists."];
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !advice.contains(line));
    lines.collect::<Vec<_>>().join("; ")
}
