//! Records: a step passed on exactly these inputs. They are the cache and the audit log: lines of a key and
//! JSON, in files of the clone's state folder that have a name for each of their lines; never more than a bounded number.

use super::Error;
use crate::{
    git,
    values::{HookName, Oid},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{HashMap, HashSet},
    fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Changes whenever what a key covers changes, so that older records are never mistaken for newer ones.
const FORMAT: u32 = 5;
const KEPT: usize = 10_000;
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
const PRUNED_EVERY: Duration = Duration::from_secs(24 * 3600);
/// The records of a run share files: making one costs far more than giving it a second name.
const IN_ONE_FILE: usize = 32;
/// A record is a few hundred bytes; what is larger is none.
const FILE_BYTES: u64 = 64 * 1024 * IN_ONE_FILE as u64;

/// The hash of all that decided a result: the command, the environment that the step declares, its inputs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// The whole hash in hexadecimal.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first digits, as people read them.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key in the making. Every field carries its name and its length, so that no two lists of fields hash alike.
pub(super) struct KeyBuilder(Sha256);

impl KeyBuilder {
    pub(super) fn new(what: &str) -> Self {
        let mut builder = Self(Sha256::new());
        builder.field("format", &FORMAT.to_be_bytes());
        builder.field("what", what.as_bytes());
        builder
    }

    pub(super) fn field(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), value] {
            self.0.update((part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
    }

    pub(super) fn entry(&mut self, entry: &git::TreeEntry) {
        self.field("path", &entry.path);
        self.field(entry.kind.mode(), entry.oid.as_str().as_bytes());
    }

    pub(super) fn finish(self) -> Key {
        let hash = self.0.finalize();
        let digits = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        Key(digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect())
    }
}

/// That something passed, when and on what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) hook: String,
    /// The step's name; none for the whole of a hook.
    pub(super) step: Option<String>,
    pub(super) command: Option<String>,
    pub(super) tree: Oid,
    pub(super) commit: Option<Oid>,
    /// Where it ran; none where nothing had to.
    pub(super) place: Option<String>,
    pub(super) passed_at: Timestamp,
    pub(super) seconds: f64,
}

/// What the store says of a key.
#[derive(Debug)]
pub(super) enum Found {
    Record(Record),
    Nothing,
    /// There is a file, and it is no record: it counts as nothing, and people are told.
    Unreadable(String),
}

/// The records of a clone.
pub(super) struct Records(PathBuf);

impl Records {
    pub(super) fn of(repository: &git::Repository) -> Self {
        Self(repository.state_dir().join("records"))
    }

    fn file(&self, key: &Key) -> PathBuf {
        self.0.join(format!("{key}.record"))
    }

    /// The record of a key. What is as old as what is pruned is none: the machine that it passed on is another by now.
    pub(super) fn find(&self, key: &Key) -> Found {
        self.find_at(key, Timestamp::now())
    }

    fn find_at(&self, key: &Key, now: Timestamp) -> Found {
        let file = self.file(key);
        let read = || -> io::Result<Record> {
            let opened = fs::File::open(&file)?;
            if opened.metadata()?.len() > FILE_BYTES {
                return Err(io::Error::other("it is too large to hold records"));
            }
            line(&io::read_to_string(opened)?, key.as_str())
        };
        match read() {
            // A clock that was set back makes no record old: what seems to be of the future counts.
            Ok(record) if Duration::try_from(now.duration_since(record.passed_at)).is_ok_and(|age| age > KEPT_FOR) => {
                Found::Nothing
            }
            Ok(record) => Found::Record(record),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
            Err(error) => Found::Unreadable(format!("{}: {error}", file.display())),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> Result<usize, Error> {
        match fs::read_dir(&self.0) {
            Ok(listed) => Ok(listed
                .filter_map(Result::ok)
                .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "record"))
                .count()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(Error::file(&self.0)(source)),
        }
    }

    /// The newest record of each step of a hook, by the step's name.
    pub(super) fn newest(&self, hook: HookName) -> Result<HashMap<String, Record>, Error> {
        let mut newest: HashMap<String, Record> = HashMap::new();
        let listed = match fs::read_dir(&self.0) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(newest),
            Err(source) => return Err(Error::file(&self.0)(source)),
        };
        for entry in listed {
            let path = entry.map_err(Error::file(&self.0))?.path();
            let key = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let record = fs::read_to_string(&path).ok().and_then(|text| line(&text, key).ok());
            let Some(record) = record.filter(|record| record.hook == hook.as_str()) else { continue };
            let Some(step) = record.step.clone() else { continue };
            if newest.get(&step).is_none_or(|known| known.passed_at < record.passed_at) {
                newest.insert(step, record);
            }
        }
        Ok(newest)
    }

    /// Keeps the records of a run. Each is there whole or not at all.
    pub(super) fn keep(&self, records: &[(Key, Record)]) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        // Steps with the same command and inputs are one.
        let mut keys = HashSet::new();
        let each: Vec<&(Key, Record)> = records.iter().filter(|(key, _)| keys.insert(key)).collect();
        let write = || -> io::Result<()> {
            fs::create_dir_all(&self.0)?;
            each.chunks(IN_ONE_FILE).try_for_each(|records| self.write(records))
        };
        write().map_err(Error::file(&self.0))?;
        self.prune(SystemTime::now(), KEPT).map_err(Error::file(&self.0))
    }

    /// One file, and a name in it for each of these records.
    fn write(&self, records: &[&(Key, Record)]) -> io::Result<()> {
        let Some(((first, _), others)) = records.split_first() else { return Ok(()) };
        let mut text = String::new();
        for (key, record) in records {
            text.extend([key.as_str(), " ", &serde_json::to_string(record)?, "\n"]);
        }
        let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
        file.write_all(text.as_bytes())?;
        for (key, _) in others {
            let name = self.file(key);
            // There is an older one, or this is a file system in which a file has one name only.
            if fs::hard_link(file.path(), &name).is_err() {
                let mut own = tempfile::NamedTempFile::new_in(&self.0)?;
                own.write_all(text.as_bytes())?;
                own.persist(&name)?;
            }
        }
        file.persist(self.file(first))?;
        Ok(())
    }

    /// Once a day, removes what is old, and the oldest of what is too much.
    fn prune(&self, now: SystemTime, kept: usize) -> io::Result<()> {
        // A clock that was set back makes ages of nothing, never of everything.
        let age = |time: SystemTime| now.duration_since(time).unwrap_or_default();
        let stamp = self.0.join("pruned");
        match fs::metadata(&stamp).and_then(|metadata| metadata.modified()) {
            // Nor does it put the next time off: a stamp of the future counts as none.
            Ok(last) if last <= now && age(last) < PRUNED_EVERY => return Ok(()),
            _ => fs::write(&stamp, b"")?,
        }
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let path = entry.path();
            if path != stamp
                && let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified())
            {
                records.push((age(modified), path));
            }
        }
        records.sort();
        for (at, (age, path)) in records.iter().enumerate() {
            if at >= kept || *age > KEPT_FOR {
                remove(path)?;
            }
        }
        Ok(())
    }
}

/// The record of a key among the lines of a file.
fn line(text: &str, key: &str) -> io::Result<Record> {
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    let found = found.ok_or_else(|| io::Error::other("it does not hold this record"))?;
    serde_json::from_str(found).map_err(io::Error::other)
}

/// Another process may prune at the same time.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fields: &[(&str, &str)]) -> Key {
        let mut builder = KeyBuilder::new("test");
        for (name, value) in fields {
            builder.field(name, value.as_bytes());
        }
        builder.finish()
    }

    fn record() -> Record {
        Record {
            hook: "pre-push".into(),
            step: Some("test".into()),
            command: Some("pytest -q".into()),
            tree: "a".repeat(40).parse().unwrap(),
            commit: None,
            place: None,
            passed_at: Timestamp::now(),
            seconds: 1.5,
        }
    }

    #[test]
    fn fields_never_run_into_each_other() {
        assert_ne!(key(&[("a", "bc")]), key(&[("ab", "c")]));
        assert_ne!(key(&[("a", "b"), ("c", "d")]), key(&[("a", "bcd")]));
        assert_eq!(key(&[("a", "b")]).as_str().len(), 64);
    }

    #[test]
    fn a_record_is_found_again_and_a_broken_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records(folder.path().join("records"));
        let (key, record) = (key(&[]), record());
        assert!(matches!(records.find(&key), Found::Nothing));
        records.keep(&[(key.clone(), record.clone())]).unwrap();
        assert!(matches!(records.find(&key), Found::Record(found) if found == record));
        fs::write(records.file(&key), b"{").unwrap();
        assert!(matches!(records.find(&key), Found::Unreadable(told) if told.contains(key.as_str())));
    }

    #[test]
    fn the_records_of_a_run_share_files_and_each_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records(folder.path().join("records"));
        let keys: Vec<Key> = (0..70).map(|n| key(&[("n", &n.to_string())])).collect();
        let named = |seconds: f64| {
            let record = |key: &Key| (key.clone(), Record { step: Some(key.to_string()), seconds, ..record() });
            keys.iter().map(record).collect::<Vec<_>>()
        };
        for seconds in [1.0, 2.0] {
            // The second time each of them has a file already.
            records.keep(&named(seconds)).unwrap();
            for key in &keys {
                let Found::Record(found) = records.find(key) else { panic!("{key} is lost") };
                assert_eq!((found.step.as_deref(), found.seconds), (Some(key.as_str()), seconds));
            }
            assert_eq!(records.count().unwrap(), keys.len());
        }
        let newest = records.newest("pre-push".parse().unwrap()).unwrap();
        assert_eq!(newest.len(), keys.len());
    }

    #[test]
    fn a_record_that_is_too_old_is_none_even_where_nobody_has_pruned() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records(folder.path().join("records"));
        let (key, record) = (key(&[]), record());
        records.keep(&[(key.clone(), record.clone())]).unwrap();
        let found_after = |time: Duration| records.find_at(&key, record.passed_at + time);
        assert!(matches!(found_after(KEPT_FOR), Found::Record(_)));
        assert!(matches!(found_after(KEPT_FOR + Duration::from_secs(1)), Found::Nothing));
        let set_back = record.passed_at - 10 * KEPT_FOR;
        assert!(matches!(records.find_at(&key, set_back), Found::Record(_)), "as for pruning");
    }

    #[test]
    fn the_old_and_the_surplus_are_pruned() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records(folder.path().to_owned());
        let count = || fs::read_dir(folder.path()).unwrap().count() - 1;
        for n in 0..8 {
            fs::write(folder.path().join(format!("{n}.record")), b"{}").unwrap();
        }
        let now = SystemTime::now();
        records.prune(now, 5).unwrap();
        assert_eq!(count(), 5);
        records.prune(now, 2).unwrap();
        assert_eq!(count(), 5, "not twice a day");
        records.prune(now + KEPT_FOR + PRUNED_EVERY, 5).unwrap();
        assert_eq!(count(), 0);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_end_the_pruning() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records(folder.path().to_owned());
        records.prune(SystemTime::now(), 5).unwrap();
        for n in 0..8 {
            fs::write(folder.path().join(format!("{n}.record")), b"{}").unwrap();
        }
        // The stamp of just now is ten days ahead of this clock.
        records.prune(SystemTime::now() - 10 * PRUNED_EVERY, 5).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count() - 1, 5);
    }
}
