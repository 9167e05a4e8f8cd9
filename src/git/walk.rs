//! Whether a work tree is what its index says, found out in our own process: the folders that the index implies are read
//! once, beside each other. The walk says "equal" only where that is proven and "different" only where git would say so
//! too; whatever it is not sure of is left to `git status`.

use super::{
    Index, Repository,
    filters::Filters,
    folders::{Folder, folders},
    stamp::{Stamp, recorded},
    untracked::{Name, Untracked},
};
use gix::{
    bstr::{BStr, BString, ByteSlice},
    index::{
        Entry, State,
        entry::{Flags, Mode, stat::Options},
    },
};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, CWD, Dir, FileType, Mode as Permissions, OFlags, fstat, openat, readlinkat, statat},
    io::Errno,
};
use std::{
    collections::HashSet,
    io::Read,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The files whose content is compared, all together; git does it beyond that.
const CONTENT_BYTES: u64 = 4 << 20;
/// From this many files on, a look takes long enough to speak of: a second thread is worth its start.
const MANY: usize = 1000;
const THREADS: usize = 4;

/// What a walk found.
pub(super) enum Seen {
    /// Each file is what the index says, and beside them there is nothing but what is ignored.
    Equal(Sight),
    /// This path's file is another one.
    Unstaged(BString),
    /// This path is neither tracked nor ignored.
    Untracked(BString),
    /// This path's file was written since it was last seen, whatever it holds now.
    Written(BString),
    /// Only git can tell.
    Unsure,
}

/// A work tree that was seen to be equal to its index.
pub struct Sight {
    index: Index,
    interest: Interest,
    /// When it was seen, in seconds of the epoch.
    began: u64,
    took: Duration,
    /// Each folder of the index as it was, in the order of [`folders`].
    stamps: Vec<Stamp>,
    /// The files whose content was compared, by their places in the index.
    compared: Vec<(usize, Stamp)>,
    /// Folders with nothing in them that counts.
    loose: Vec<(BString, Stamp)>,
}

/// What a walk is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interest {
    /// The files that the index names, and what else there is.
    All,
    /// The files that the index names.
    Tracked,
}

/// Why a walk ends early.
#[derive(Debug)]
pub(super) enum Stop {
    Unstaged(BString),
    Untracked(BString),
    Written(BString),
    Unsure,
}

impl Sight {
    /// The index that the work tree was equal to.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// How long another look takes; nothing worth speaking of in a small tree.
    #[must_use]
    pub fn price(&self) -> Duration {
        let files = self.index.state().map_or(0, |state| state.entries().len());
        if files < MANY { Duration::ZERO } else { self.took }
    }

    /// Whether there are folders with nothing in them that counts.
    pub(super) fn has_loose_folders(&self) -> bool {
        !self.loose.is_empty()
    }
}

/// Walks the work tree of a repository. `unseen` are paths that count as ignored. With an earlier sight, folders
/// that have not changed since are not read again.
pub(super) fn walk(
    repository: &Repository,
    index: &Index,
    interest: Interest,
    unseen: &[&str],
    earlier: Option<&Sight>,
) -> Seen {
    let (Some(root), Some(state)) = (repository.work_dir(), index.state()) else { return Seen::Unsure };
    let start = Instant::now();
    match Walk::new(&repository.gix(), state, root).and_then(|walk| walk.all(interest, unseen, earlier)) {
        Ok(Walked { began, stamps, compared, loose }) => {
            Seen::Equal(Sight { index: index.clone(), interest, began, took: start.elapsed(), stamps, compared, loose })
        }
        Err(Stop::Unstaged(path)) => Seen::Unstaged(path),
        Err(Stop::Untracked(path)) => Seen::Untracked(path),
        Err(Stop::Written(path)) => Seen::Written(path),
        Err(Stop::Unsure) => Seen::Unsure,
    }
}

/// Walks again what was equal before.
pub(super) fn walk_again(repository: &Repository, sight: &Sight, unseen: &[&str]) -> Seen {
    walk(repository, &sight.index, sight.interest, unseen, Some(sight))
}

struct Walk<'a> {
    repository: &'a gix::Repository,
    look: Look<'a>,
    folders: Vec<Folder>,
}

/// What the threads share.
struct Look<'a> {
    index: &'a State,
    root: OwnedFd,
    stat: Options,
    executable_bit: bool,
    ignore_case: bool,
    empty: gix::ObjectId,
}

/// What the threads bring back.
#[derive(Default)]
struct Found {
    stamps: Vec<(usize, Stamp)>,
    /// Names that the index does not know, with their folders.
    names: Vec<(usize, Name)>,
    /// Entries whose file must be read.
    doubtful: Vec<(usize, Stamp)>,
}

/// The parts of a sight.
struct Walked {
    began: u64,
    stamps: Vec<Stamp>,
    compared: Vec<(usize, Stamp)>,
    loose: Vec<(BString, Stamp)>,
}

impl<'a> Walk<'a> {
    fn new(repository: &'a gix::Repository, index: &'a State, root: &Path) -> Result<Self, Stop> {
        let unsure = |_| Stop::Unsure;
        let plain = |entry: &Entry| {
            let file = matches!(entry.mode, Mode::FILE | Mode::FILE_EXECUTABLE | Mode::SYMLINK);
            let other = Flags::ASSUME_VALID | Flags::SKIP_WORKTREE | Flags::INTENT_TO_ADD | Flags::STAGE_MASK;
            file && !entry.flags.intersects(other)
        };
        let system = repository.filesystem_options().map_err(unsure)?;
        if index.is_sparse() || !system.symlink || !index.entries().iter().all(plain) {
            return Err(Stop::Unsure);
        }
        let stat = repository.stat_options().map_err(unsure)?;
        let root = openat(CWD, root, FOLDER, Permissions::empty()).map_err(|_| Stop::Unsure)?;
        let look = Look {
            index,
            root,
            // git records nanoseconds and by default does not compare them; whoever does is only stricter.
            stat: Options { use_nsec: true, ..stat },
            executable_bit: system.executable_bit,
            ignore_case: system.ignore_case,
            empty: gix::ObjectId::empty_blob(repository.object_hash()),
        };
        Ok(Self { repository, look, folders: folders(index) })
    }

    fn all(&self, interest: Interest, unseen: &[&str], earlier: Option<&Sight>) -> Result<Walked, Stop> {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut found = side_by_side(&self.look, &self.folders, interest, earlier)?;
        found.doubtful.sort_unstable_by_key(|(file, _)| *file);
        match earlier {
            None => self.compare_content(&found.doubtful)?,
            Some(sight) => self.compare_stamps(&found.doubtful, sight)?,
        }
        let mut untracked = Untracked::new(self.repository, self.look.index, &self.look.root, unseen);
        for (folder, name) in found.names {
            untracked.check(self.folders[folder].path(self.look.index), &name)?;
        }
        for (path, stamp) in earlier.iter().flat_map(|sight| &sight.loose) {
            untracked.check_again(path, *stamp, earlier.map_or(0, |sight| sight.began))?;
        }
        found.stamps.sort_unstable_by_key(|(folder, _)| *folder);
        let stamps = found.stamps.into_iter().map(|(_, stamp)| stamp).collect();
        Ok(Walked { began, stamps, compared: found.doubtful, loose: untracked.loose() })
    }

    /// Compares what a `stat` leaves open. A filter, such as that of Git LFS, is git's to run.
    fn compare_content(&self, doubtful: &[(usize, Stamp)]) -> Result<(), Stop> {
        if doubtful.is_empty() {
            return Ok(());
        }
        let index = self.look.index;
        let mut filters = Filters::of(self.repository, index).ok_or(Stop::Unsure)?;
        let mut left = CONTENT_BYTES;
        for (at, _) in doubtful {
            let entry = &index.entries()[*at];
            let path = entry.path(index);
            let link = entry.mode == Mode::SYMLINK;
            let bytes = if link { self.look.link(path) } else { self.look.file(path, left) }.ok_or(Stop::Unsure)?;
            left = left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            if !link && !filters.keep(path, &bytes) {
                return Err(Stop::Unsure);
            }
            let id = gix::objs::compute_hash(index.object_hash(), gix::objs::Kind::Blob, &bytes);
            if id.map_err(|_| Stop::Unsure)? != entry.id {
                return Err(Stop::Unstaged(path.to_owned()));
            }
        }
        Ok(())
    }

    /// What a `stat` leaves open now, it left open in the earlier sight, with the same stamp: else the file was written
    /// since. That it holds the same again says nothing of what was seen of it meanwhile.
    fn compare_stamps(&self, doubtful: &[(usize, Stamp)], earlier: &Sight) -> Result<(), Stop> {
        match doubtful.iter().find(|seen| {
            !earlier
                .compared
                .binary_search_by_key(&seen.0, |(file, _)| *file)
                .is_ok_and(|at| earlier.compared[at] == **seen)
        }) {
            Some((file, _)) => Err(Stop::Written(self.look.index.entries()[*file].path(self.look.index).to_owned())),
            None => Ok(()),
        }
    }
}

/// Looks at every folder, in several threads where that is worth it.
fn side_by_side(
    look: &Look<'_>,
    folders: &[Folder],
    interest: Interest,
    earlier: Option<&Sight>,
) -> Result<Found, Stop> {
    let threads = if look.index.entries().len() < MANY {
        1
    } else {
        std::thread::available_parallelism().map_or(1, usize::from).min(THREADS)
    };
    let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let all: Mutex<Result<Found, Stop>> = Mutex::new(Ok(Found::default()));
    let work = || {
        let mut found = Found::default();
        let end = loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(folder) = folders.get(at) else { break Ok(()) };
            if stopped.load(Ordering::Relaxed) {
                break Ok(());
            }
            let before = earlier.and_then(|sight| sight.stamps.get(at).filter(|stamp| stamp.is_settled(sight.began)));
            if let Err(stop) = look.at(at, folder, folders, interest, before, &mut found) {
                stopped.store(true, Ordering::Relaxed);
                break Err(stop);
            }
        };
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut *all, end) {
            (Ok(all), Ok(())) => {
                all.stamps.append(&mut found.stamps);
                all.names.append(&mut found.names);
                all.doubtful.append(&mut found.doubtful);
            }
            (Ok(_), Err(stop)) => *all = Err(stop),
            (Err(_), _) => {}
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// A folder, never through a link.
pub(super) const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Look<'_> {
    /// Looks at one folder. With a stamp from before, its names are read only if it has another one now.
    fn at(
        &self,
        at: usize,
        folder: &Folder,
        folders: &[Folder],
        interest: Interest,
        before: Option<&Stamp>,
        found: &mut Found,
    ) -> Result<(), Stop> {
        let path = folder.path(self.index);
        let place = if path.is_empty() { b".".as_bstr() } else { path };
        let open = match openat(&self.root, place.as_bytes(), FOLDER, Permissions::empty()) {
            Ok(open) => open,
            Err(error) => return Err(self.gone(error, folder, folders)),
        };
        let stamp = Stamp::of(&fstat(&open).map_err(|_| Stop::Unsure)?);
        for file in &folder.files {
            let entry = &self.index.entries()[*file];
            let path = entry.path(self.index);
            let stat = match statat(&open, folder.name_of(path).as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT | Errno::NOTDIR) => return Err(Stop::Unstaged(path.to_owned())),
                Err(_) => return Err(Stop::Unsure),
            };
            match self.compare(entry, &stat) {
                Comparison::Same => {}
                Comparison::Different => return Err(Stop::Unstaged(path.to_owned())),
                Comparison::Doubtful => found.doubtful.push((*file, Stamp::of(&stat))),
            }
        }
        found.stamps.push((at, stamp));
        if interest == Interest::All && before != Some(&stamp) {
            self.names(at, folder, folders, open, found)?;
        }
        Ok(())
    }

    /// A folder that cannot be opened: its files are missing, or nobody knows.
    fn gone(&self, error: Errno, folder: &Folder, folders: &[Folder]) -> Stop {
        let mut within = folder;
        while within.files.is_empty()
            && let Some(below) = within.folders.first()
        {
            within = &folders[*below];
        }
        match (error, within.files.first()) {
            (Errno::NOENT | Errno::NOTDIR | Errno::LOOP, Some(file)) => {
                Stop::Unstaged(self.index.entries()[*file].path(self.index).to_owned())
            }
            _ => Stop::Unsure,
        }
    }

    /// Finds the names of a folder that the index does not know.
    fn names(
        &self,
        at: usize,
        folder: &Folder,
        folders: &[Folder],
        open: OwnedFd,
        found: &mut Found,
    ) -> Result<(), Stop> {
        let names = Name::read(open).map_err(|_| Stop::Unsure)?;
        if at != 0 && names.iter().any(Name::is_git) {
            // A repository in the middle of ours.
            return Err(Stop::Unsure);
        }
        let names = names.into_iter().filter(|name| !name.is_git());
        let mut names: Vec<Name> = names.collect();
        // Every name of the index was found here; if there are no more, these are the ones.
        let known = folder.files.len() + folder.folders.len();
        if names.len() == known && !self.ignore_case {
            return Ok(());
        }
        let files = folder.files.iter().map(|file| self.index.entries()[*file].path(self.index));
        let below = folder.folders.iter().map(|below| folders[*below].path(self.index));
        let known: HashSet<&BStr> = files.chain(below).map(|path| folder.name_of(path)).collect();
        names.retain(|name| !known.contains(name.bytes.as_bstr()));
        found.names.extend(names.into_iter().map(|name| (at, name)));
        Ok(())
    }

    fn compare(&self, entry: &Entry, stat: &rustix::fs::Stat) -> Comparison {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let expected = if entry.mode == Mode::SYMLINK { FileType::Symlink } else { FileType::RegularFile };
        let executable = stat.st_mode & 0o100 != 0;
        if kind != expected
            || (self.executable_bit
                && kind == FileType::RegularFile
                && executable != (entry.mode == Mode::FILE_EXECUTABLE))
        {
            return Comparison::Different;
        }
        let now = recorded(stat);
        // git writes a size of 0 for what changed as the index was written (gitformat-index(5), racy git).
        let smudged = entry.stat.size == 0 && entry.id != self.empty;
        if !smudged && now.size != entry.stat.size {
            return Comparison::Different;
        }
        // git looks into files that are as young as the index to the second, so we do too.
        let racy = entry.stat.is_racy(self.index.timestamp(), Options { use_nsec: false, ..self.stat });
        if smudged || racy || !entry.stat.matches(&now, self.stat) { Comparison::Doubtful } else { Comparison::Same }
    }

    fn link(&self, path: &BStr) -> Option<Vec<u8>> {
        readlinkat(&self.root, path.as_bytes(), Vec::new()).ok().map(std::ffi::CString::into_bytes)
    }

    fn file(&self, path: &BStr, most: u64) -> Option<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = std::fs::File::from(openat(&self.root, path.as_bytes(), flags, Permissions::empty()).ok()?);
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes).ok()?;
        u64::try_from(bytes.len()).is_ok_and(|length| length <= most).then_some(bytes)
    }
}

enum Comparison {
    Same,
    Different,
    /// Only the content can tell.
    Doubtful,
}

impl Name {
    /// What a folder holds.
    pub(super) fn read(open: OwnedFd) -> rustix::io::Result<Vec<Self>> {
        let mut names = Vec::new();
        for entry in Dir::new(open)? {
            let entry = entry?;
            let bytes = entry.file_name().to_bytes();
            if bytes != b"." && bytes != b".." {
                names.push(Self { bytes: bytes.into(), kind: entry.file_type() });
            }
        }
        Ok(names)
    }
}

/// The kind of what stands in a folder, where reading the folder did not tell.
pub(super) fn kind(folder: impl AsFd, path: &BStr) -> rustix::io::Result<FileType> {
    let stat = statat(folder, path.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}
