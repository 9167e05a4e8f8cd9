use rustix::fs::Stat;

/// What a file system says of a file or folder whenever it is changed: the same stamp means the same content, as long as
/// it is older than the look that took it (see [`Stamp::is_settled`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (u64, u64),
    /// A program may set the time of modification back, never this one.
    changed: (u64, u64),
}

/// Some file systems count in steps of two seconds.
const COARSE: u64 = 2;

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: wide(stat.st_dev),
            inode: wide(stat.st_ino),
            size: wide(stat.st_size),
            modified: (wide(stat.st_mtime), wide(stat.st_mtime_nsec)),
            changed: (wide(stat.st_ctime), wide(stat.st_ctime_nsec)),
        }
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Whether a later change is sure to show in the stamp: the last one was well before this time, in seconds of the epoch.
    pub(super) fn is_settled(&self, at: u64) -> bool {
        let last = self.modified.0.max(self.changed.0);
        last.saturating_add(COARSE) < at
    }
}

/// The fields of a `stat` have other types on other systems; none of those that count here is ever negative.
fn wide<N: TryInto<u64>>(number: N) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}

/// A `stat` as the index keeps it: 32 bits of each number (gitformat-index(5)).
pub(super) fn recorded(stat: &Stat) -> gix::index::entry::Stat {
    let low = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let time = |seconds, nanoseconds| gix::index::entry::stat::Time { secs: low(seconds), nsecs: low(nanoseconds) };
    gix::index::entry::Stat {
        mtime: time(wide(stat.st_mtime), wide(stat.st_mtime_nsec)),
        ctime: time(wide(stat.st_ctime), wide(stat.st_ctime_nsec)),
        dev: low(wide(stat.st_dev)),
        ino: low(wide(stat.st_ino)),
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: low(wide(stat.st_size)),
    }
}
