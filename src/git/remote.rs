//! Remotes as the user's own git reaches them: the ssh command with its limits, what git's words about a remote mean, and
//! whether a remote answers at all.

use super::{Error, Output, Prompts, Repository, Upstream, program::without_secrets};
use crate::values::RemoteUrl;
use std::{path::Path, time::Duration};

impl Repository {
    /// Fetches what a branch has on its remote into a reference of our own, and moves nothing of the user's.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Denied`], [`Error::HostKey`].
    pub fn fetch_into(&self, upstream: &Upstream, ours: &str, prompts: Prompts) -> Result<(), Error> {
        let git = match prompts {
            Prompts::Allowed => self.git(),
            Prompts::Never => self.git().without_prompts(),
        };
        let git = match ssh(self, prompts) {
            Some(ssh) => git.env("GIT_SSH_COMMAND", ssh),
            None => git,
        };
        let options =
            ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--refmap="];
        let refspec = format!("+{}:{ours}", upstream.branch);
        let (status, output) = git.args(options).args([upstream.remote.as_str(), &refspec]).finish()?;
        // Another delivery of this clone may be writing the same reference: what it fetched is as good.
        if status == Some(0) || output.stderr.contains("cannot lock ref") && self.reference(ours).is_some() {
            return Ok(());
        }
        match self.remote_url(&upstream.remote) {
            Some(url) => Err(remote_error(&url, &output)),
            None => Err(Error::Failed { command: "fetch".to_owned(), message: without_secrets(output.stderr.trim()) }),
        }
    }

    /// Asks a remote for a branch, as the user's git in this repository would, and never a person. Nothing is fetched.
    ///
    /// # Errors
    /// [`Error::Unreachable`] also where it is silent for `limit`, [`Error::Denied`], [`Error::HostKey`],
    /// [`Error::NoBranch`].
    pub fn ask_remote(&self, url: &RemoteUrl, branch: &str, limit: Duration) -> Result<(), Error> {
        let git = self.git().without_prompts();
        let git = match ssh(self, Prompts::Never) {
            Some(ssh) => git.env("GIT_SSH_COMMAND", ssh),
            None => git,
        };
        let git = git.args(["ls-remote", "--exit-code", url.reveal(), &format!("refs/heads/{branch}")]);
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
