//! A context as a tar, for engines that cannot ask for files: the same bytes on every laptop, written as the engine reads
//! them. Everything in it is owned by root; folders come before what they hold.

use super::{
    Error,
    binary::header,
    contents::Contents,
    context::{ADDED, Context, File, sent_time},
};
use crate::{
    git::{EntryKind, Repository},
    values::Digest,
};
use bytes::Bytes;
use futures_util::{Stream, stream};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io::{self, BufWriter, Read, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{sync::mpsc, task::JoinHandle};

/// The size of the pieces in which a context is sent, and how many wait for the engine.
const PIECE_BYTES: usize = 128 << 10;
const PIECES: usize = 8;

/// The tar of a context in pieces, written by a thread of its own as fast as the engine takes them.
pub(super) fn pieces(
    git_dir: PathBuf,
    context: Arc<Context>,
) -> (impl Stream<Item = io::Result<Bytes>> + Send + 'static, JoinHandle<Result<(), Error>>) {
    let (sender, receiver) = mpsc::channel(PIECES);
    let writer = tokio::task::spawn_blocking(move || {
        // A repository stays on its thread; opening it again takes a millisecond.
        let repository = Repository::open(&git_dir)?;
        let to = BufWriter::with_capacity(PIECE_BYTES, Pieces(sender.clone()));
        match write(&context, &repository, to) {
            Err(Error::Unread { source }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => {
                let _ = sender.blocking_send(Err(io::Error::other("the context could not be read")));
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    });
    let pieces = stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    });
    (pieces, writer)
}

/// Writes the tar.
pub(super) fn write(context: &Context, repository: &Repository, to: impl Write) -> Result<(), Error> {
    let written = |source| Error::Unread { source };
    let contents = Contents::of(repository, context)?;
    let mut tar = tar::Builder::new(to);
    let mut folders = BTreeSet::new();
    for file in &context.files {
        for (at, _) in file.path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let folder = &file.path[..=at];
            if folders.insert(folder) {
                let mut header = header(tar::EntryType::Directory, 0o755, 0);
                tar.append_data(&mut header, os_path(folder), io::empty()).map_err(written)?;
            }
        }
        append(&mut tar, file, &contents)?;
    }
    if context.dockerfile_in_tar == ADDED {
        let mut header = header(tar::EntryType::Regular, 0o644, context.dockerfile.len() as u64);
        header.set_mtime(seconds(Digest::of(&context.dockerfile).hex()));
        tar.append_data(&mut header, ADDED, context.dockerfile.as_slice()).map_err(written)?;
    }
    let mut to = tar.into_inner().map_err(written)?;
    to.flush().map_err(written)
}

fn append<W: Write>(tar: &mut tar::Builder<W>, file: &File, contents: &Contents) -> Result<(), Error> {
    let written = |source| Error::Unread { source };
    let path = os_path(&file.path);
    let mut from = contents.open(file)?;
    if file.kind != EntryKind::Link {
        let mode = if file.kind == EntryKind::Executable { 0o755 } else { 0o644 };
        let mut header = header(tar::EntryType::Regular, mode, contents.size(file)?);
        header.set_mtime(seconds(file.oid.as_str()));
        return tar.append_data(&mut header, path, from).map_err(written);
    }
    let mut target = Vec::new();
    from.read_to_end(&mut target).map_err(written)?;
    let mut header = header(tar::EntryType::Symlink, 0o777, 0);
    header.set_mtime(seconds(file.oid.as_str()));
    // Literally: the crate's other way rewrites `./a` to `a`. It is needed only for targets too long for a header.
    let appended = if header.set_link_name_literal(&target).is_ok() {
        tar.append_data(&mut header, path, io::empty())
    } else {
        tar.append_link(&mut header, path, os_path(&target))
    };
    appended.map_err(written)
}

/// A tar knows whole seconds only.
fn seconds(id: &str) -> u64 {
    u64::try_from(sent_time(id) / 1_000_000_000).unwrap_or(0)
}

fn os_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Hands what is written to the request that sends it.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        // The engine has heard enough: it failed, or somebody gave up.
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
