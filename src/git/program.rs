//! The `git` program, for what only it does as the user's own git would: the network, signed commits, linked work trees.
//! Always called with hooks off and without the environment of a running hook (promise 3).

use super::{Error, scrub};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    ffi::OsStr,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

/// What keeps git and SSH from asking a person: they fail instead. For work that nobody watches; git hands its
/// environment on to SSH (`git(1)`, `ssh(1)`).
pub const WITHOUT_PROMPTS: &[(&str, &str)] =
    &[("GIT_TERMINAL_PROMPT", "0"), ("GIT_ASKPASS", "true"), ("SSH_ASKPASS", "true"), ("SSH_ASKPASS_REQUIRE", "force")];

/// What keeps a signing key or a credential helper from opening a window to ask in: gpg and git's helpers find their
/// terminal and their display here. Nothing but git itself is started without them.
const WITHOUT_WINDOWS: &[(&str, &str)] =
    &[("GCM_INTERACTIVE", "never"), ("GPG_TTY", ""), ("DISPLAY", ""), ("WAYLAND_DISPLAY", "")];

/// One call of git, about to be made.
pub struct Git {
    command: Command,
    /// The first argument that is no option of `git` itself, for messages.
    subcommand: Option<String>,
    input: Option<Vec<u8>>,
}

/// What a successful call printed.
#[derive(Debug)]
pub struct Output {
    /// Its standard output, untouched.
    pub stdout: Vec<u8>,
    /// Its standard error as text.
    pub stderr: String,
}

impl Output {
    /// Standard output as one line of text without its end.
    #[must_use]
    pub fn line(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }
}

impl Git {
    /// git in a folder, whose repository it finds by itself.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        let mut command = Command::new("git");
        scrub(&mut command).current_dir(folder).env("LC_ALL", "C").env("GIT_OPTIONAL_LOCKS", "0");
        command.args(["-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "maintenance.auto=false"]);
        Self { command, subcommand: None, input: None }
    }

    /// git on a repository's folder (`.git` or a bare one), wherever the process stands.
    #[must_use]
    pub fn on(git_dir: &Path) -> Self {
        let mut git = Self::at(Path::new("."));
        git.command.env("GIT_DIR", git_dir);
        git
    }

    /// Adds an argument; the first is the subcommand.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        if self.subcommand.is_none() {
            self.subcommand = Some(arg.as_ref().to_string_lossy().into_owned());
        }
        self.command.arg(arg);
        self
    }

    /// Adds arguments; the first of all is the subcommand.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(self, args: impl IntoIterator<Item = S>) -> Self {
        args.into_iter().fold(self, Git::arg)
    }

    /// Sets a configuration value for this call (`git -c`). Before the subcommand only.
    #[must_use]
    pub fn config(mut self, key: &str, value: &str) -> Self {
        debug_assert!(self.subcommand.is_none(), "git reads -c before the subcommand");
        self.command.arg("-c").arg(format!("{key}={value}"));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Never asks for a password, a passphrase or a host key: fails instead.
    #[must_use]
    pub fn without_prompts(self) -> Self {
        WITHOUT_PROMPTS.iter().chain(WITHOUT_WINDOWS).fold(self, |git, (name, value)| git.env(name, value))
    }

    /// Gives bytes to its standard input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Runs it; an exit code other than 0 is an error with what git said.
    ///
    /// # Errors
    /// [`Error::Start`] and [`Error::Failed`].
    pub fn run(self) -> Result<Output, Error> {
        let subcommand = self.subcommand.clone().unwrap_or_default();
        let (status, output) = self.finish()?;
        match status {
            Some(0) => Ok(output),
            status => {
                let said = output.stderr.trim();
                let message = match (said, status) {
                    ("", Some(code)) => format!("exit code {code}"),
                    ("", None) => "it was killed".to_owned(),
                    (said, _) => without_secrets(said),
                };
                Err(Error::Failed { command: subcommand, message })
            }
        }
    }

    /// Runs a call that answers by its exit code: `true` for 0, `false` for 1.
    ///
    /// # Errors
    /// [`Error::Start`], and [`Error::Failed`] for any other exit code.
    pub fn answer(self) -> Result<bool, Error> {
        let subcommand = self.subcommand.clone().unwrap_or_default();
        let (status, output) = self.finish()?;
        match status {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(Error::Failed { command: subcommand, message: without_secrets(output.stderr.trim()) }),
        }
    }

    /// Starts a call without input whose standard output is read as it comes. git ends with the reader.
    ///
    /// # Errors
    /// [`Error::Start`].
    pub fn stream(mut self) -> Result<Streamed, Error> {
        let command = self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(Error::Start)?;
        let stdout = child.stdout.take();
        Ok(Streamed { child, stdout })
    }

    /// Runs it and gives its exit code, `None` where a signal ended it. Standard error is as git wrote it: secrets included.
    pub(super) fn finish(mut self) -> Result<(Option<i32>, Output), Error> {
        let input = self.input.take();
        self.command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(Error::Start)?;
        let writer = child.stdin.take().zip(input).map(|(mut stdin, bytes)| {
            // In a thread of its own: git may fill its output before it has read all of its input.
            std::thread::spawn(move || stdin.write_all(&bytes))
        });
        let output = child.wait_with_output().map_err(Error::Start)?;
        if let Some(writer) = writer {
            let _ = writer.join();
        }
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((output.status.code(), Output { stdout: output.stdout, stderr }))
    }

    /// As [`Git::finish`], for a call without input; `None` where it was not done within the limit. git's transports run as
    /// processes of their own, so that all of its process group is killed.
    pub(super) fn finish_within(mut self, limit: Duration) -> Result<Option<(Option<i32>, Output)>, Error> {
        let command = self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).spawn().map_err(Error::Start)?;
        let (stdout, stderr) = (child.stdout.take().map(drained), child.stderr.take().map(drained));
        let deadline = Instant::now() + limit;
        let status = loop {
            match child.try_wait().map_err(Error::Start)? {
                Some(status) => break status,
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                None => {
                    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                        let _ = kill_process_group(group, Signal::KILL);
                    }
                    let _ = child.wait();
                    return Ok(None);
                }
            }
        };
        // What outlives git, such as a shared SSH connection, may hold its pipes open.
        let read = |output: Option<Receiver<Vec<u8>>>| {
            output.and_then(|output| output.recv_timeout(Duration::from_secs(1)).ok()).unwrap_or_default()
        };
        let (stdout, stderr) = (read(stdout), read(stderr));
        Ok(Some((status.code(), Output { stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() })))
    }
}

/// What a call of git prints, as it comes.
pub struct Streamed {
    child: Child,
    stdout: Option<ChildStdout>,
}

impl Read for Streamed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(stdout) = &mut self.stdout else { return Ok(0) };
        let read = stdout.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            self.stdout = None;
            let status = self.child.wait()?;
            if !status.success() {
                return Err(io::Error::other(format!("git ended with {status}")));
            }
        }
        Ok(read)
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if self.stdout.is_some() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Reads a pipe to its end on a thread of its own.
fn drained(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

/// git repeats addresses as they were given to it; a password in one is cut out, with the user, whose name may be the
/// secret. The user of an SSH address is none.
#[must_use]
pub fn without_secrets(said: &str) -> String {
    let mut shown = String::with_capacity(said.len());
    let mut rest = said;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let authority =
            &after[..after.find(|c: char| c == '/' || c.is_whitespace() || c == '\'').unwrap_or(after.len())];
        rest = match authority.rfind('@') {
            Some(at) => {
                if shown.ends_with("ssh://") {
                    let user = authority[..at].split(':').next().unwrap_or_default();
                    shown.extend([user, "@"]);
                }
                &after[at + 1..]
            }
            None => after,
        };
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_says_carries_no_password() {
        let said = "fatal: unable to access 'https://team:s3cret@git.example.com/a.git/': refused";
        assert_eq!(without_secrets(said), "fatal: unable to access 'https://git.example.com/a.git/': refused");
        let said = "ssh://git:s3cret@git.example.com/a.git, https://token@git.example.com/";
        assert_eq!(without_secrets(said), "ssh://git@git.example.com/a.git, https://git.example.com/");
    }
}
