//! Work that goes on after git is done: a process of our own in a session of its own, which nobody can be asked by and
//! which ends on no terminal's account. Whoever started it watches its log for a few seconds.

use super::{Error, Wanted};
use crate::git::{self, Repository};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long a push or pull waits to show what became of its delivery.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);
/// A log that has grown past this starts anew.
const MAX_LOG: u64 = 1 << 20;

/// Delivers environments in a process of its own, and shows what it says for as long as `patience`.
///
/// # Errors
/// When the process cannot be started. What it fails at is in its log and in the outbox.
pub(super) fn deliver(repository: &Repository, wanted: &[Wanted], patience: Duration) -> Result<(), Error> {
    let log = log_path(repository);
    let start = open(&log)?;
    let words = ["deliver".to_owned(), "--detached".to_owned()].into_iter().chain(wanted.iter().map(Wanted::to_string));
    let mut child = spawn(repository, words, &log)?;
    let mut shown = start;
    let began = Instant::now();
    loop {
        let ended = child.try_wait().ok().flatten();
        shown = show(&log, shown);
        if ended.is_some() {
            return Ok(());
        }
        if began.elapsed() > patience {
            let names: Vec<&str> = wanted.iter().map(|wanted| wanted.environment.as_str()).collect();
            anstream::eprintln!(
                "gitops-hooks: delivery to {} goes on in the background; follow it with `gitops-hooks status --follow`",
                names.join(", ")
            );
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs the steps of pre-push that can run ahead, in a process of its own that nobody waits for.
///
/// # Errors
/// When the process cannot be started.
pub(super) fn run_ahead(repository: &Repository) -> Result<(), Error> {
    let log = repository.state_dir().join("logs").join("ahead.log");
    open(&log)?;
    spawn(repository, ["run", "pre-push", "--ahead"].map(str::to_owned).into_iter(), &log)?;
    Ok(())
}

/// Where detached deliveries write.
#[must_use]
pub fn log_path(repository: &Repository) -> PathBuf {
    repository.state_dir().join("logs").join("deliver.log")
}

/// Leaves the terminal's session, so that closing the terminal ends nothing (`setsid(2)`).
pub fn detach() {
    // It fails only for the leader of a process group, which is then alone in it.
    let _ = rustix::process::setsid();
}

fn open(log: &Path) -> Result<u64, Error> {
    let failed = |source| Error::file(log, source);
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let length = fs::metadata(log).map_or(0, |metadata| metadata.len());
    if length > MAX_LOG {
        fs::rename(log, log.with_extension("log.1")).map_err(failed)?;
        return Ok(0);
    }
    Ok(length)
}

/// Starts the program again on its own, with its output in the log.
fn spawn(repository: &Repository, words: impl Iterator<Item = String>, log: &Path) -> Result<Child, Error> {
    let failed = |source| Error::file(log, source);
    let binary = std::env::current_exe().map_err(|source| Error::file(Path::new("gitops-hooks"), source))?;
    let output = OpenOptions::new().create(true).append(true).open(log).map_err(failed)?;
    let mut command = Command::new(binary);
    git::scrub(&mut command)
        .args(words)
        .current_dir(repository.work_dir().unwrap_or_else(|| repository.git_dir()))
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(failed)?)
        .stderr(output);
    if let Some(work_dir) = repository.work_dir()
        && !Repository::open(work_dir).is_ok_and(|found| found.git_dir() == repository.git_dir())
    {
        // The work tree does not lead to the repository: it was named by hand, as in `git --git-dir`.
        command.env("GIT_DIR", repository.git_dir()).env("GIT_WORK_TREE", work_dir);
    }
    for (name, value) in git::WITHOUT_PROMPTS {
        command.env(name, value);
    }
    command.spawn().map_err(failed)
}

/// Shows what was added to the log, and gives its new length.
fn show(log: &Path, from: u64) -> u64 {
    let mut added = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(from))?;
        file.read_to_end(&mut added)
    });
    if read.is_ok() && !added.is_empty() {
        let _ = anstream::stderr().write_all(&added);
    }
    from + u64::try_from(added.len()).unwrap_or(0)
}
