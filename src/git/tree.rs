use crate::values::Oid;
use gix::bstr::BString;

/// What a path of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A file.
    File,
    /// A file with the executable bit.
    Executable,
    /// A symbolic link; its blob is the target.
    Link,
    /// The commit of a submodule.
    Submodule,
}

impl EntryKind {
    /// What a mode stands for; `None` for a tree.
    pub(super) fn of(mode: gix::object::tree::EntryMode) -> Option<Self> {
        match mode.kind() {
            gix::object::tree::EntryKind::Blob => Some(Self::File),
            gix::object::tree::EntryKind::BlobExecutable => Some(Self::Executable),
            gix::object::tree::EntryKind::Link => Some(Self::Link),
            gix::object::tree::EntryKind::Commit => Some(Self::Submodule),
            gix::object::tree::EntryKind::Tree => None,
        }
    }

    /// git's mode in octal, as `git ls-tree` prints it.
    #[must_use]
    pub const fn mode(self) -> &'static str {
        match self {
            Self::File => "100644",
            Self::Executable => "100755",
            Self::Link => "120000",
            Self::Submodule => "160000",
        }
    }
}

/// One path of a tree that is not itself a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// The path from the root that was asked for, with `/`. Bytes: git does not promise UTF-8.
    pub path: BString,
    /// What it is.
    pub kind: EntryKind,
    /// Its blob, or a submodule's commit.
    pub oid: Oid,
}
