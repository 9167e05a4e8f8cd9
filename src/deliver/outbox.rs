//! "Environment E may be behind": a note in the clone that outlives a crash, a closed laptop and a dead network. It is
//! written before anything is delivered and removed last; a note written meanwhile is never removed with the old one, and no
//! push that is still under way is forgotten, from whichever work tree of the clone it comes.

use super::Error;
use crate::{
    git::{self, Ancestry},
    values::{EnvironmentName, Oid},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

/// Why an environment may be behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The user is pushing this commit to its branch.
    Push(Oid),
    /// A pull or a merge moved its branch.
    Merge,
    /// The remote-tracking branch moved otherwise, as by a fetch.
    Fetch,
    /// Somebody asked for a delivery.
    Asked,
}

/// An environment that may be behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Which.
    pub environment: EnvironmentName,
    /// Why.
    pub reason: Reason,
    /// Since when.
    pub since: Timestamp,
    /// How often a delivery was tried and failed since then.
    #[serde(default)]
    pub attempts: u32,
    /// When it was tried last.
    #[serde(default)]
    pub last_attempt: Option<Timestamp>,
    /// Why that failed.
    #[serde(default)]
    pub last_error: Option<String>,
    /// The commit whose checks failed then; none where something else was in the way.
    #[serde(default)]
    pub failed_checks: Option<Oid>,
    /// The pushes that may be under way, by the git folder of the work tree that each comes from: it has one at a time.
    #[serde(default)]
    pushes: BTreeMap<String, Underway>,
    /// Changes with each writing, so that a note is only removed by who has seen it.
    token: String,
}

/// A push that git has not told the end of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Underway {
    commit: Oid,
    since: Timestamp,
}

impl Underway {
    fn is_young(&self) -> bool {
        Timestamp::now().duration_since(self.since) < PUSHING
    }
}

impl Note {
    /// Whether this commit was noted as being pushed.
    #[must_use]
    pub fn expects(&self, commit: &Oid) -> bool {
        self.pushes.values().any(|push| push.commit == *commit)
    }

    /// The commit of a push that did not reach the upstream, or not yet; `tip` is what that has.
    #[must_use]
    pub fn unreached(&self, repository: &git::Repository, tip: Option<&Oid>) -> Option<&Oid> {
        let has = |pushed: &&Oid| tip.is_some_and(|tip| reaches(repository, tip, pushed).unwrap_or(false));
        match &self.reason {
            Reason::Push(pushed) => Some(pushed).filter(|pushed| !has(pushed)),
            Reason::Merge | Reason::Fetch | Reason::Asked => None,
        }
    }
}

/// Writes down that an environment may be behind. On disk when this returns.
///
/// # Errors
/// When the note cannot be written.
pub fn note(repository: &git::Repository, environment: &EnvironmentName, reason: Reason) -> Result<(), Error> {
    Outbox::open(repository)?.write(environment, Some((reason, repository.git_dir()))).map(|_| ())
}

/// A push that has not moved anything after this time never will.
const PUSHING: SignedDuration = SignedDuration::from_secs(15 * 60);

/// The environments that may be behind, by name.
///
/// # Errors
/// When the notes cannot be read.
pub fn waiting(repository: &git::Repository) -> Result<Vec<Note>, Error> {
    let folder = folder(repository);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file(&folder, error)),
    };
    let mut notes = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Error::file(&folder, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
        let Some(environment) = name.and_then(|name| name.parse::<EnvironmentName>().ok()) else { continue };
        notes.extend(read(&path, &environment)?);
    }
    notes.sort_by(|a, b| a.environment.cmp(&b.environment));
    Ok(notes)
}

/// The note of a delivery that has begun. What becomes of it is said with [`Open::done`] or [`Open::failed`]; a process
/// that is killed leaves it.
pub(super) struct Open {
    folder: PathBuf,
    environment: EnvironmentName,
    token: String,
    /// Locked for as long as the delivery works on; freed by the system when the process dies. It holds what was last
    /// delivered from here.
    at_work: File,
}

/// Makes sure that there is a note, and remembers which.
pub(super) fn begin(repository: &git::Repository, environment: &EnvironmentName) -> Result<Open, Error> {
    let outbox = Outbox::open(repository)?;
    let token = outbox.write(environment, None)?;
    let path = at_work(&outbox.folder, environment);
    let failed = |error| Error::file(&path, error);
    let at_work = File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
    // Shared: several deliveries of a clone may wait for each other.
    at_work.lock_shared().map_err(failed)?;
    Ok(Open { folder: outbox.folder, environment: environment.clone(), token, at_work })
}

/// Whether a process of this clone is delivering to the environment at the moment.
#[must_use]
pub fn is_at_work(repository: &git::Repository, environment: &EnvironmentName) -> bool {
    let file = File::options().write(true).open(at_work(&folder(repository), environment));
    file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

fn at_work(folder: &Path, environment: &EnvironmentName) -> PathBuf {
    folder.join(format!(".{environment}.lock"))
}

impl Open {
    /// Removes the note after `tip` was delivered, unless somebody has written another since, or pushes are still under way
    /// that it has nothing of.
    pub(super) fn done(mut self, repository: &git::Repository, tip: &Oid) -> Result<(), Error> {
        let outbox = Outbox::lock(self.folder)?;
        let told = self.at_work.rewind().and_then(|()| self.at_work.set_len(0));
        // Only a failure that comes later asks for it.
        let _ = told.and_then(|()| self.at_work.write_all(tip.as_str().as_bytes()));
        let path = outbox.path(&self.environment);
        let Some(mut note) = read(&path, &self.environment)? else { return Ok(()) };
        let mut left = BTreeMap::new();
        for (from, push) in std::mem::take(&mut note.pushes) {
            if push.is_young() && !reaches(repository, tip, &push.commit)? {
                left.insert(from, push);
            }
        }
        if note.token == self.token && left.is_empty() {
            fs::remove_file(&path).map_err(|error| Error::file(&path, error))?;
            return outbox.sync();
        }
        // Where nobody has written it anew, those pushes alone are what it says.
        if let Some(push) = left.values().next().filter(|_| note.token == self.token) {
            note.reason = Reason::Push(push.commit.clone());
        }
        note.pushes = left;
        outbox.put(&note)
    }

    /// Keeps the note and says in it what went wrong with `tip`. Where another delivery of this clone has brought that or
    /// something newer meanwhile and removed the note, nothing is behind.
    pub(super) fn failed(mut self, repository: &git::Repository, error: &Error, tip: &Oid) -> Result<(), Error> {
        let outbox = Outbox::lock(self.folder)?;
        let path = outbox.path(&self.environment);
        let known = read(&path, &self.environment)?;
        let mut delivered = String::new();
        let _ = self.at_work.read_to_string(&mut delivered);
        if known.is_none()
            && delivered.parse().is_ok_and(|delivered| reaches(repository, &delivered, tip).unwrap_or(false))
        {
            return Ok(());
        }
        let mut note = known.unwrap_or_else(|| fresh(&self.environment, Reason::Asked));
        note.attempts = note.attempts.saturating_add(1);
        note.last_attempt = Some(Timestamp::now());
        note.last_error = Some(error.in_full());
        note.failed_checks = error.is_of_checks().then(|| tip.clone());
        outbox.put(&note)
    }
}

/// Whether a commit has another one.
fn reaches(repository: &git::Repository, commit: &Oid, other: &Oid) -> Result<bool, Error> {
    Ok(matches!(repository.ancestry(other, commit)?, Ancestry::Same | Ancestry::Behind))
}

struct Outbox {
    folder: PathBuf,
    _lock: File,
}

impl Outbox {
    fn open(repository: &git::Repository) -> Result<Self, Error> {
        let folder = folder(repository);
        fs::create_dir_all(&folder).map_err(|error| Error::file(&folder, error))?;
        Self::lock(folder)
    }

    /// Held for the moment of a reading and a writing only; freed by the system when a process dies.
    fn lock(folder: PathBuf) -> Result<Self, Error> {
        let path = folder.join(".lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = file.and_then(|file| file.lock().map(|()| file)).map_err(|error| Error::file(&path, error))?;
        Ok(Self { folder, _lock: lock })
    }

    fn path(&self, environment: &EnvironmentName) -> PathBuf {
        self.folder.join(format!("{environment}.json"))
    }

    /// Writes a note, keeping what an older one knows; with a reason, also the work tree's git folder that it comes from.
    /// Without one the older one stays as it is.
    fn write(&self, environment: &EnvironmentName, why: Option<(Reason, &Path)>) -> Result<String, Error> {
        let known = read(&self.path(environment), environment)?;
        let note = match (known, why) {
            (Some(known), None) => return Ok(known.token),
            (known, Some((reason @ Reason::Push(_), from))) => {
                let mut note = fresh(environment, reason);
                note.pushes = known.map(|known| known.pushes).unwrap_or_default();
                if let Reason::Push(commit) = &note.reason {
                    let push = Underway { commit: commit.clone(), since: note.since };
                    note.pushes.insert(from.to_string_lossy().into_owned(), push);
                }
                note
            }
            (Some(known), Some((reason, _))) => Note { reason, token: token(), ..known },
            (None, why) => fresh(environment, why.map_or(Reason::Asked, |(reason, _)| reason)),
        };
        self.put(&note)?;
        Ok(note.token)
    }

    /// All of it or nothing, whenever the power goes.
    fn put(&self, note: &Note) -> Result<(), Error> {
        let path = self.path(&note.environment);
        let failed = |error: std::io::Error| Error::file(&path, error);
        let text = serde_json::to_vec_pretty(note).map_err(|error| failed(error.into()))?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder).map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        self.sync()
    }

    /// A name in a folder is on disk only once the folder is.
    fn sync(&self) -> Result<(), Error> {
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| Error::file(&self.folder, error))
    }
}

fn folder(repository: &git::Repository) -> PathBuf {
    repository.state_dir().join("outbox")
}

/// A note that cannot be read still says that its environment may be behind.
fn read(path: &Path, environment: &EnvironmentName) -> Result<Option<Note>, Error> {
    match fs::read(path) {
        Ok(bytes) => {
            let note = serde_json::from_slice::<Note>(&bytes).ok().filter(|note| note.environment == *environment);
            Ok(Some(
                note.unwrap_or_else(|| Note { token: "unreadable".to_owned(), ..fresh(environment, Reason::Asked) }),
            ))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file(path, error)),
    }
}

fn fresh(environment: &EnvironmentName, reason: Reason) -> Note {
    Note {
        environment: environment.clone(),
        reason,
        since: Timestamp::now(),
        attempts: 0,
        last_attempt: None,
        last_error: None,
        failed_checks: None,
        pushes: BTreeMap::new(),
        token: token(),
    }
}

fn token() -> String {
    format!("{}-{}-{:x}", std::process::id(), Timestamp::now().as_nanosecond(), super::random())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(folder: &Path) -> git::Repository {
        git::Git::at(folder).args(["init", "--quiet"]).run().unwrap();
        git::Repository::open(folder).unwrap()
    }

    #[test]
    fn a_note_written_meanwhile_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let repository = repository(folder.path());
        let staging = "staging".parse().unwrap();
        assert!(waiting(&repository).unwrap().is_empty());
        note(&repository, &staging, Reason::Push("a".repeat(40).parse().unwrap())).unwrap();
        let tip = "a".repeat(40).parse().unwrap();
        let open = begin(&repository, &staging).unwrap();
        assert!(is_at_work(&repository, &staging));
        note(&repository, &staging, Reason::Fetch).unwrap();
        open.done(&repository, &tip).unwrap();
        assert!(!is_at_work(&repository, &staging));
        assert_eq!(waiting(&repository).unwrap()[0].reason, Reason::Fetch);
        begin(&repository, &staging).unwrap().done(&repository, &tip).unwrap();
        assert!(waiting(&repository).unwrap().is_empty());
    }

    #[test]
    fn the_note_of_a_push_under_way_outlives_the_delivery_of_something_older() {
        let folder = tempfile::tempdir().unwrap();
        let repository = repository(folder.path());
        let staging = "staging".parse().unwrap();
        let (pushed, older) = ("a".repeat(40).parse().unwrap(), "b".repeat(40).parse().unwrap());
        note(&repository, &staging, Reason::Push(pushed)).unwrap();
        begin(&repository, &staging).unwrap().done(&repository, &older).unwrap();
        assert_eq!(waiting(&repository).unwrap().len(), 1);
    }

    #[test]
    fn of_two_work_trees_that_push_at_once_neither_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let main = repository(folder.path());
        let commit = main.empty_commit().unwrap();
        let beside = tempfile::tempdir().unwrap();
        let git = git::Git::at(folder.path());
        git.args(["worktree", "add", "--quiet"]).arg(beside.path()).arg(commit.as_str()).run().unwrap();
        let linked = git::Repository::open(beside.path()).unwrap();
        let staging = "staging".parse().unwrap();
        let [first, second, third] = ["a", "b", "c"].map(|digit| digit.repeat(40).parse::<Oid>().unwrap());
        note(&main, &staging, Reason::Push(first.clone())).unwrap();
        note(&linked, &staging, Reason::Push(second.clone())).unwrap();
        // A pull meanwhile, and what it delivers.
        note(&main, &staging, Reason::Merge).unwrap();
        begin(&main, &staging).unwrap().done(&main, &third).unwrap();
        let waits = |commit| waiting(&main).unwrap().iter().any(|note| note.expects(commit));
        assert!(waits(&first) && waits(&second));
        begin(&main, &staging).unwrap().done(&main, &first).unwrap();
        assert!(!waits(&first) && waits(&second));
        // A rejected push is made again, of another commit.
        note(&linked, &staging, Reason::Push(third.clone())).unwrap();
        assert!(!waits(&second) && waits(&third));
        begin(&linked, &staging).unwrap().done(&linked, &third).unwrap();
        assert_eq!(waiting(&main).unwrap(), []);
    }

    #[test]
    fn a_failure_does_not_bring_back_what_another_delivery_did() {
        let folder = tempfile::tempdir().unwrap();
        let repository = repository(folder.path());
        let staging = "staging".parse().unwrap();
        let [tip, other] = ["a", "b"].map(|digit| digit.repeat(40).parse::<Oid>().unwrap());
        for (delivered, left) in [(&tip, 0), (&other, 1)] {
            let slow = begin(&repository, &staging).unwrap();
            begin(&repository, &staging).unwrap().done(&repository, delivered).unwrap();
            slow.failed(&repository, &no_upstream(), &tip).unwrap();
            assert_eq!(waiting(&repository).unwrap().len(), left);
        }
    }

    fn no_upstream() -> Error {
        Error::NoUpstream { branch: "main".to_owned() }
    }

    #[test]
    fn a_failure_is_kept_in_the_note() {
        let folder = tempfile::tempdir().unwrap();
        let repository = repository(folder.path());
        let staging = "staging".parse().unwrap();
        for _ in 0..2 {
            let tip = "a".repeat(40).parse().unwrap();
            begin(&repository, &staging).unwrap().failed(&repository, &no_upstream(), &tip).unwrap();
        }
        let note = waiting(&repository).unwrap().remove(0);
        assert_eq!((note.attempts, note.failed_checks), (2, None));
        assert!(note.last_error.unwrap().contains("main") && note.last_attempt.is_some());
    }

    #[test]
    fn a_note_that_cannot_be_read_is_a_note() {
        let folder = tempfile::tempdir().unwrap();
        let repository = repository(folder.path());
        let outbox = repository.state_dir().join("outbox");
        fs::create_dir_all(&outbox).unwrap();
        fs::write(outbox.join("staging.json"), "{").unwrap();
        assert_eq!(waiting(&repository).unwrap()[0].environment.as_str(), "staging");
    }
}
