//! What stands in a work tree and is not in its index: whether git would show it as untracked.

use super::{
    stamp::Stamp,
    walk::{FOLDER, Stop, kind},
};
use gix::{
    bstr::{BStr, BString, ByteSlice},
    index::{State, entry::Mode},
    worktree::stack::state::ignore::Source,
};
use rustix::{
    fd::OwnedFd,
    fs::{FileType, Mode as Permissions, fstat, openat},
};

/// A name in a folder.
pub(super) struct Name {
    pub(super) bytes: BString,
    pub(super) kind: FileType,
}

impl Name {
    /// A repository's own folder, or the file that says where it is; never a part of a work tree.
    pub(super) fn is_git(&self) -> bool {
        self.bytes == ".git"
    }
}

/// Tells ignored names from untracked ones. The rules are read when the first name is asked about.
pub(super) struct Untracked<'a> {
    repository: &'a gix::Repository,
    index: &'a State,
    root: &'a OwnedFd,
    unseen: &'a [&'a str],
    rules: Option<gix::AttributeStack<'a>>,
    loose: Vec<(BString, Stamp)>,
}

impl<'a> Untracked<'a> {
    pub(super) fn new(
        repository: &'a gix::Repository,
        index: &'a State,
        root: &'a OwnedFd,
        unseen: &'a [&'a str],
    ) -> Self {
        Self { repository, index, root, unseen, rules: None, loose: Vec::new() }
    }

    /// The folders in which there was nothing that counts.
    pub(super) fn loose(self) -> Vec<(BString, Stamp)> {
        self.loose
    }

    /// Nothing where git would not show the name.
    pub(super) fn check(&mut self, folder: &BStr, name: &Name) -> Result<(), Stop> {
        let path = join(folder, name.bytes.as_bstr());
        if self.unseen.iter().any(|unseen| unseen.as_bytes() == path) {
            return Ok(());
        }
        let kind = match name.kind {
            FileType::Unknown => kind(self.root, path.as_bstr()).map_err(|_| Stop::Unsure)?,
            kind => kind,
        };
        match kind {
            FileType::Directory if self.is_ignored(&path, Mode::DIR)? => Ok(()),
            FileType::Directory => self.descend(path),
            // An attribute from here could decide how a file is compared.
            FileType::RegularFile | FileType::Symlink if name.bytes == ".gitattributes" => Err(Stop::Unsure),
            FileType::RegularFile | FileType::Symlink if self.is_ignored(&path, Mode::FILE)? => Ok(()),
            FileType::RegularFile | FileType::Symlink => Err(Stop::Untracked(path)),
            // git tracks no sockets, pipes and devices.
            _ => Ok(()),
        }
    }

    /// A loose folder that was seen before.
    pub(super) fn check_again(&mut self, path: &BString, before: Stamp, began: u64) -> Result<(), Stop> {
        if self.loose.iter().any(|(seen, _)| seen == path) {
            return Ok(());
        }
        let Ok(open) = openat(self.root, path.as_bytes(), FOLDER, Permissions::empty()) else {
            // Whatever stands there now, the folder that held it has another stamp and has been read again.
            return Ok(());
        };
        let stamp = Stamp::of(&fstat(&open).map_err(|_| Stop::Unsure)?);
        if stamp == before && stamp.is_settled(began) {
            self.loose.push((path.clone(), stamp));
            return Ok(());
        }
        self.read(path.clone(), open)
    }

    fn descend(&mut self, path: BString) -> Result<(), Stop> {
        let open = openat(self.root, path.as_bytes(), FOLDER, Permissions::empty()).map_err(|_| Stop::Unsure)?;
        self.read(path, open)
    }

    /// A folder counts only if something in it does.
    fn read(&mut self, path: BString, open: OwnedFd) -> Result<(), Stop> {
        let stamp = Stamp::of(&fstat(&open).map_err(|_| Stop::Unsure)?);
        let names = Name::read(open).map_err(|_| Stop::Unsure)?;
        if names.iter().any(Name::is_git) {
            return Err(Stop::Unsure);
        }
        for name in names {
            self.check(path.as_bstr(), &name)?;
        }
        self.loose.push((path, stamp));
        Ok(())
    }

    fn is_ignored(&mut self, path: &BString, mode: Mode) -> Result<bool, Stop> {
        let rules = match &mut self.rules {
            Some(rules) => rules,
            rules => {
                let source = Source::WorktreeThenIdMappingIfNotSkipped;
                let read = self.repository.excludes(self.index, None, source).map_err(|_| Stop::Unsure)?;
                rules.insert(read)
            }
        };
        let platform = rules.at_entry(path.as_bstr(), Some(mode)).map_err(|_| Stop::Unsure)?;
        Ok(platform.is_excluded())
    }
}

fn join(folder: &BStr, name: &BStr) -> BString {
    if folder.is_empty() {
        return name.to_owned();
    }
    [folder.as_bytes(), b"/", name.as_bytes()].concat().into()
}
