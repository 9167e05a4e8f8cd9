//! What a commit does not have and a command makes of it (`before`, `artifacts`): a build can copy it, and its content is part
//! of the key. The command sees the commit's files alone, in a folder of its own, and runs once for each tree: what it made is
//! kept beside the clone's records.

use super::{Error, context::submodule};
use crate::{
    config,
    git::{self, EntryKind, Repository},
    values::{Digest, Oid, RelativePath, Span},
};
use gix::bstr::BString;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid};
use sha2::{Digest as _, Sha256};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Seek},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

/// Between TERM and KILL, as for a step.
const GRACE: Duration = Duration::from_secs(5);
/// The longest that is waited after KILL: what outlives it is stuck in the kernel.
const AFTER_KILL: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);
/// How many trees' artifacts are kept for an image.
const KEPT: usize = 3;
/// How the name of a folder begins that is being removed.
const GOING: &[u8] = b".old-";
/// What was begun longer ago is nobody's any more.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 3600);
/// The most that is shown of what a failed command printed: its end.
const TAIL_BYTES: u64 = 4096;

/// A file that was made.
#[derive(Debug)]
pub(super) struct Made {
    /// From the root of the repository.
    pub path: BString,
    pub kind: EntryKind,
    /// What stands for its content: the SHA-256, shortened to the length of git's names.
    pub oid: Oid,
    pub file: PathBuf,
}

/// What a command has made for a tree; kept for as long as this value lives.
#[derive(Debug, Clone, Default)]
pub(super) struct Artifacts {
    /// Its folder, locked. None where nothing is made.
    _folder: Option<Arc<File>>,
}

/// What an image's artifacts are at a commit or tree. Ends soon after `given_up` is set.
pub(super) fn made(
    repository: &Repository,
    treeish: &Oid,
    image: &config::Image,
    given_up: &AtomicBool,
) -> Result<(Vec<Made>, Artifacts), Error> {
    let Some(before) = &image.before else { return Ok((Vec::new(), Artifacts::default())) };
    let tree =
        repository.git().args(["rev-parse", "--verify", "--quiet", &format!("{treeish}^{{tree}}")]).run()?.line();
    let paths: Vec<&str> = image.artifacts.iter().map(RelativePath::as_str).collect();
    let shelf =
        repository.state_dir().join("artifacts").join(Digest::of(image.repository.to_string().as_bytes()).short());
    let kept = shelf.join(Digest::of(format!("{tree}\n{before}\n{}", paths.join("\n")).as_bytes()).hex());
    let failed = |source| Error::File { path: shelf.display().to_string(), source };
    let mut folder = held(&kept).map_err(failed)?;
    while folder.is_none() {
        fs::create_dir_all(&shelf).map_err(failed)?;
        let scratch = tempfile::Builder::new().prefix("gitops-hooks-before-").tempdir().map_err(failed)?;
        let files = scratch.path().join("files");
        check_out(repository, treeish, &files, scratch.path())?;
        run(before, image.timeout, &files, scratch.path(), given_up)?;
        let new = tempfile::Builder::new().prefix(".new-").tempdir_in(&shelf).map_err(failed)?;
        for path in &paths {
            let from = files.join(path);
            if fs::symlink_metadata(&from).is_err() {
                return Err(Error::NotMade { command: before.clone(), path: (*path).to_owned() });
            }
            copy(&from, &new.path().join(path)).map_err(failed)?;
        }
        let new = new.keep();
        if let Err(error) = fs::rename(&new, &kept) {
            let _ = fs::remove_dir_all(&new);
            // Whoever was quicker has made the same.
            if !kept.is_dir() {
                return Err(failed(error));
            }
        }
        folder = held(&kept).map_err(failed)?;
        prune(&shelf);
    }
    let mut made = Vec::new();
    list(&kept, &kept, &mut made)?;
    Ok((made, Artifacts { _folder: folder.map(Arc::new) }))
}

/// Locks a folder against [`prune`] and counts it as used; `None` where there is none.
fn held(kept: &Path) -> io::Result<Option<File>> {
    let folder = match File::open(kept) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        folder => folder?,
    };
    folder.lock_shared()?;
    // It may have gone while the lock was waited for, and another one have come.
    let same = |found: fs::Metadata| Ok::<_, io::Error>(found.ino() == folder.metadata()?.ino());
    if !fs::metadata(kept).map_or(Ok(false), same)? {
        return Ok(None);
    }
    folder.set_modified(SystemTime::now())?;
    Ok(Some(folder))
}

/// The files of a commit or tree as git would check them out, those of its submodules at the commits that it names. Without
/// one of them the command would make something else than on a laptop that has it.
fn check_out(repository: &Repository, treeish: &Oid, files: &Path, scratch: &Path) -> Result<(), Error> {
    let index = tempfile::Builder::new().prefix("index-").tempdir_in(scratch);
    let index = index.map_err(|source| Error::File { path: scratch.display().to_string(), source })?;
    let git = || repository.git().env("GIT_INDEX_FILE", index.path().join("index"));
    git().args(["read-tree", treeish.as_str()]).run()?;
    let prefix = format!("--prefix={}/", files.display());
    git().args(["checkout-index", "--all", "--quiet", &prefix]).run()?;
    for entry in repository.entries(treeish)?.iter().filter(|entry| entry.kind == EntryKind::Submodule) {
        let inner = submodule(repository, treeish, entry)
            .map_err(|reason| Error::Submodule { path: entry.path.to_string(), reason })?;
        check_out(&inner, &entry.oid, &files.join(OsStr::from_bytes(&entry.path)), scratch)?;
    }
    Ok(())
}

fn run(before: &str, limit: Span, files: &Path, folder: &Path, given_up: &AtomicBool) -> Result<(), Error> {
    let failed = |reason: String, tail: String| Error::Before { command: before.to_owned(), reason, tail };
    let plain = |error: io::Error| failed(error.to_string(), String::new());
    let mut output = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(folder.join("output"))
        .map_err(plain)?;
    let mut shell = Command::new("sh");
    git::scrub(&mut shell).args(["-c", before]).current_dir(files).process_group(0).stdin(Stdio::null());
    shell.stdout(output.try_clone().map_err(plain)?).stderr(output.try_clone().map_err(plain)?);
    let mut child = shell.spawn().map_err(plain)?;
    let deadline = Instant::now() + limit.duration();
    let mut ended = false;
    while !ended && !given_up.load(Ordering::Relaxed) && Instant::now() <= deadline {
        std::thread::sleep(PAUSE);
        ended = has_ended(&child).map_err(plain)?;
    }
    let status = end(&mut child).map_err(plain)?.filter(|_| ended);
    if status.is_some_and(|status| status.success()) {
        return Ok(());
    }
    let length = output.metadata().map_or(0, |found| found.len());
    let mut tail = String::new();
    let _ = output.seek(io::SeekFrom::Start(length.saturating_sub(TAIL_BYTES)));
    let _ = output.read_to_string(&mut tail);
    let reason = match status.map(|status| status.code()) {
        Some(Some(code)) => format!("exit code {code}"),
        Some(None) => "it was killed".to_owned(),
        None => format!("it took more than {limit}; `timeout` of the image says how long it may"),
    };
    Err(failed(reason, tail))
}

/// Sees a command's end without reaping it: until then its number, and so its group's, cannot be given away anew.
fn has_ended(child: &Child) -> io::Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::Pid(Pid::from_child(child)), options)?.is_some())
}

/// Ends a command with all that it started, and gives its status; `None` where it does not even react to KILL.
fn end(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let group = Pid::from_child(child);
    let (since, mut killed) = (Instant::now(), false);
    // A group that is gone already needs no signal.
    let _ = kill_process_group(group, Signal::TERM);
    loop {
        let status = child.try_wait()?;
        if test_kill_process_group(group).is_err() || since.elapsed() > GRACE + AFTER_KILL {
            return Ok(status);
        }
        if !killed && since.elapsed() > GRACE {
            let _ = kill_process_group(group, Signal::KILL);
            killed = true;
        }
        std::thread::sleep(PAUSE);
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(above) = to.parent() {
        fs::create_dir_all(above)?;
    }
    let found = fs::symlink_metadata(from)?;
    if found.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    if found.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    fs::copy(from, to).map(|_| ())
}

fn list(root: &Path, folder: &Path, made: &mut Vec<Made>) -> Result<(), Error> {
    let failed = |source| Error::File { path: folder.display().to_string(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let found = fs::symlink_metadata(&file).map_err(failed)?;
        if found.is_dir() {
            list(root, &file, made)?;
            continue;
        }
        let mut hasher = Sha256::new();
        let kind = if found.is_symlink() {
            hasher.update(fs::read_link(&file).map_err(failed)?.as_os_str().as_bytes());
            EntryKind::Link
        } else {
            io::copy(&mut File::open(&file).map_err(failed)?, &mut HashWriter(&mut hasher)).map_err(failed)?;
            if found.permissions().mode() & 0o100 != 0 { EntryKind::Executable } else { EntryKind::File }
        };
        let path = file.strip_prefix(root).unwrap_or(&file).as_os_str().as_bytes().into();
        let oid = Digest::finish(hasher).hex()[..40].parse::<Oid>();
        let oid = oid.map_err(|error: crate::values::Invalid| failed(io::Error::other(error)))?;
        made.push(Made { path, kind, oid, file });
    }
    Ok(())
}

struct HashWriter<'h>(&'h mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what was used last, and what a build of this clone still reads. One that goes is made again where it is needed.
fn prune(shelf: &Path) {
    let Ok(entries) = fs::read_dir(shelf) else { return };
    let mut all = Vec::new();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let Some(used) = fs::metadata(&path).and_then(|found| found.modified()).ok() else { continue };
        let name = path.file_name().map_or(b"".as_slice(), OsStr::as_bytes);
        if !name.starts_with(b".") {
            all.push((used, path));
        } else if name.starts_with(GOING) || used.elapsed().is_ok_and(|age| age > LEFT_BEHIND) {
            // A process was killed over it.
            let _ = fs::remove_dir_all(path);
        }
    }
    all.sort();
    for (_, path) in all.iter().rev().skip(KEPT) {
        if let Ok(folder) = File::open(path)
            && folder.try_lock().is_ok()
            // Half of a folder must never be taken for the whole.
            && let Ok(going) = tempfile::Builder::new().prefix(OsStr::from_bytes(GOING)).tempdir_in(shelf)
        {
            let _ = fs::rename(path, going.path().join("made"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::Git;

    fn image(yaml: &str) -> config::Image {
        let text = format!("images:\n  web:\n    repository: reg.example.com/app\n    artifacts: [made]\n{yaml}");
        config::parse("c.yaml", &text).unwrap().images.into_values().next().unwrap()
    }

    fn committed(folder: &Path, more: impl Fn(&dyn Fn(&[&str]) -> String)) -> Oid {
        let git = |args: &[&str]| Git::at(folder).args(args).run().unwrap().line();
        git(&["init", "-q", "-b", "main"]);
        fs::write(folder.join("a"), "committed").unwrap();
        more(&git);
        git(&["add", "."]);
        git(&["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "one"]);
        Repository::open(folder).unwrap().commit("HEAD").unwrap()
    }

    #[test]
    fn the_command_sees_the_files_of_submodules_at_their_commits() {
        let (inner, outer) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        committed(inner.path(), |_| {});
        let address = inner.path().display().to_string();
        let commit = committed(outer.path(), |git| {
            git(&["-c", "protocol.file.allow=always", "submodule", "add", "-q", &address, "lib/inner"]);
            fs::write(outer.path().join("lib/inner/a"), "not committed").unwrap();
        });
        let repository = Repository::open(outer.path()).unwrap();
        let image = image("    before: cat a lib/inner/a > made\n");
        let (made, _kept) = made(&repository, &commit, &image, &AtomicBool::new(false)).unwrap();
        assert_eq!(fs::read_to_string(&made[0].file).unwrap(), "committedcommitted");
    }

    #[test]
    fn what_a_build_still_reads_is_kept_and_of_the_rest_what_was_used_last() {
        let folder = tempfile::tempdir().unwrap();
        let commit = committed(folder.path(), |_| {});
        let repository = Repository::open(folder.path()).unwrap();
        let make = |text: &str| {
            let image = image(&format!("    before: echo {text} > made\n"));
            made(&repository, &commit, &image, &AtomicBool::new(false)).unwrap()
        };
        let (first, held) = make("first");
        for other in 0..=KEPT {
            make(&other.to_string());
        }
        assert_eq!(fs::read_to_string(&first[0].file).unwrap(), "first\n");
        drop(held);
        make("another");
        assert!(!first[0].file.exists());
        let shelf = first[0].file.parent().and_then(Path::parent).unwrap();
        assert_eq!(fs::read_dir(shelf).unwrap().count(), KEPT);
    }

    /// Whether a process runs; a zombie that nobody reaps has no command line.
    fn alive(pid: &str) -> bool {
        fs::read(format!("/proc/{}/cmdline", pid.trim())).is_ok_and(|line| !line.is_empty())
    }

    #[test]
    fn what_a_command_leaves_running_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let commit = committed(folder.path(), |_| {});
        let repository = Repository::open(folder.path()).unwrap();
        let image = image("    before: sleep 100 & echo $! > made\n");
        let (made, _kept) = made(&repository, &commit, &image, &AtomicBool::new(false)).unwrap();
        assert!(!alive(&fs::read_to_string(&made[0].file).unwrap()));
    }

    #[test]
    fn a_command_that_is_stopped_may_put_things_away() {
        let folder = tempfile::tempdir().unwrap();
        let commit = committed(folder.path(), |_| {});
        let repository = Repository::open(folder.path()).unwrap();
        let image = image("    before: \"trap 'echo tidied; exit 1' TERM; sleep 100 & wait\"\n    timeout: 500ms\n");
        let told = made(&repository, &commit, &image, &AtomicBool::new(false)).unwrap_err().to_string();
        assert!(told.contains("it took more than 500ms") && told.ends_with("\ntidied\n"), "{told}");
    }

    #[test]
    fn a_command_that_takes_too_long_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let commit = committed(folder.path(), |_| {});
        let repository = Repository::open(folder.path()).unwrap();
        let image = image("    before: sleep 100\n    timeout: 100ms\n");
        let told = made(&repository, &commit, &image, &AtomicBool::new(false)).unwrap_err().to_string();
        assert!(told.contains("it took more than 100ms; `timeout` of the image"), "{told}");
    }
}
