//! The files of a build, sent as `BuildKit` asks for them (tonistiigi/fsutil, `send.go`): first what there is, one line a
//! path, then the bytes of those files that the engine does not have from the last time. What there is comes from git's
//! objects; memory does not grow with it.

use super::{
    Error,
    contents::Contents,
    context::{Context, File, sent_time},
};
use crate::git::{EntryKind, Repository};
use bollard::{
    fsutil::types::{Packet, Stat, packet::PacketType},
    moby::filesync::v1::file_sync_server,
};
use futures_util::{Stream, stream};
use std::{
    io::Read,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

/// The size of the pieces of a file, and how many packets wait for the engine.
const PIECE_BYTES: usize = 64 << 10;
const WAITING: usize = 64;
/// Go's bits of `fs.FileMode`.
const FOLDER: u32 = 1 << 31;
const LINK: u32 = 1 << 27;

/// Sends a context.
#[derive(Clone)]
pub(super) struct FileSync {
    git_dir: PathBuf,
    context: Arc<Context>,
    trouble: Trouble,
}

/// Why files could not be read: the engine only hears that they could not.
#[derive(Clone, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<Error>>>);

impl Trouble {
    pub(super) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, error: Error) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// What is sent under one number.
enum Node {
    Folder(String),
    /// The file at this place of the context.
    File(usize),
    Dockerfile,
}

impl FileSync {
    pub(super) fn new(git_dir: PathBuf, context: Arc<Context>, trouble: Trouble) -> Self {
        Self { git_dir, context, trouble }
    }

    /// What a request is about: `context` and `dockerfile` are the folders that the engine knows by name.
    fn asked(&self, metadata: &MetadataMap) -> Result<Vec<Node>, Status> {
        let folder = metadata.get("dir-name").and_then(|name| name.to_str().ok()).unwrap_or_default();
        let patterns = |key: &str| -> Vec<&str> {
            metadata.get_all(key).iter().filter_map(|pattern| pattern.to_str().ok()).collect()
        };
        let wanted = [patterns("include-patterns"), patterns("followpaths")].concat();
        match folder {
            "dockerfile" => Ok(vec![Node::Dockerfile]),
            // What `.dockerignore` leaves out is not here in the first place.
            "context" if !wanted.is_empty() && wanted.iter().all(|path| path.ends_with(".dockerignore")) => {
                Ok(Vec::new())
            }
            "context" => Ok(nodes(&self.context, &patterns("followpaths"))?),
            other => Err(Status::not_found(format!("no folder {other:?} is sent"))),
        }
    }

    fn tell(&self, contents: &Contents, nodes: &[Node], to: &mpsc::Sender<Packet>) -> Result<(), Error> {
        for node in nodes {
            let stat = match node {
                Node::Folder(path) => Stat { path: path.clone(), mode: FOLDER | 0o755, ..Stat::default() },
                Node::File(at) => stat(&self.context.files[*at], contents)?,
                Node::Dockerfile => Stat {
                    path: self.context.dockerfile_name.clone(),
                    mode: 0o644,
                    size: i64::try_from(self.context.dockerfile.len()).unwrap_or(i64::MAX),
                    mod_time: sent_time(crate::values::Digest::of(&self.context.dockerfile).hex()),
                    ..Stat::default()
                },
            };
            let packet = Packet { stat: Some(stat), ..of(PacketType::PacketStat) };
            if to.blocking_send(packet).is_err() {
                return Ok(());
            }
        }
        // Without a path: that was all.
        let _ = to.blocking_send(of(PacketType::PacketStat));
        Ok(())
    }

    fn send(&self, contents: &Contents, node: &Node, id: u32, to: &mpsc::Sender<Packet>) -> Result<(), Error> {
        let mut from: Box<dyn Read + Send + '_> = match node {
            Node::Folder(_) => Box::new(std::io::empty()),
            Node::File(at) => contents.open(&self.context.files[*at])?,
            Node::Dockerfile => Box::new(self.context.dockerfile.as_slice()),
        };
        loop {
            let mut data = vec![0; PIECE_BYTES];
            let read = from.read(&mut data).map_err(|source| Error::Unread { source })?;
            data.truncate(read);
            // An empty piece says that the file is at its end.
            let sent = to.blocking_send(Packet { id, data, ..of(PacketType::PacketData) });
            if read == 0 || sent.is_err() {
                return Ok(());
            }
        }
    }

    /// Runs work on files on a thread of its own, and tells both sides where it fails.
    fn work(
        &self,
        to: &mpsc::Sender<Packet>,
        work: impl FnOnce(&Self, &Contents, &mpsc::Sender<Packet>) -> Result<(), Error> + Send + 'static,
    ) {
        let (this, to) = (self.clone(), to.clone());
        tokio::task::spawn_blocking(move || {
            let done = Repository::open(&this.git_dir)
                .map_err(Error::from)
                .and_then(|repository| work(&this, &Contents::of(&repository, &this.context)?, &to));
            if let Err(error) = done {
                let data = error.to_string().into_bytes();
                this.trouble.set(error);
                let _ = to.blocking_send(Packet { data, ..of(PacketType::PacketErr) });
            }
        });
    }
}

#[tonic::async_trait]
impl file_sync_server::FileSync for FileSync {
    type DiffCopyStream = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;
    type TarStreamStream = Self::DiffCopyStream;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Self::DiffCopyStream>, Status> {
        let nodes = Arc::new(self.asked(request.metadata())?);
        let (to, packets) = mpsc::channel(WAITING);
        let (ask, mut asked) = mpsc::unbounded_channel::<u32>();
        let told = Arc::clone(&nodes);
        self.work(&to, move |this, contents, to| this.tell(contents, &told, to));
        self.work(&to, move |this, contents, to| {
            while let Some(id) = asked.blocking_recv() {
                let Some(node) = usize::try_from(id).ok().and_then(|at| nodes.get(at)) else { continue };
                this.send(contents, node, id, to)?;
            }
            Ok(())
        });
        let mut said = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(packet)) = said.message().await {
                match packet.r#type() {
                    PacketType::PacketReq if ask.send(packet.id).is_ok() => {}
                    PacketType::PacketFin => {
                        let _ = to.send(of(PacketType::PacketFin)).await;
                        return;
                    }
                    _ => return,
                }
            }
        });
        let packets = stream::unfold(packets, |mut packets| async {
            let packet = packets.recv().await?;
            Some((Ok(packet), packets))
        });
        Ok(Response::new(Box::pin(packets)))
    }

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("files are sent by what differs"))
    }
}

fn of(kind: PacketType) -> Packet {
    Packet { r#type: kind.into(), ..Packet::default() }
}

fn text(path: &[u8]) -> Result<String, Status> {
    // Messages of this protocol hold text alone.
    String::from_utf8(path.to_vec())
        .map_err(|_| Status::invalid_argument(format!("{} is no UTF-8", String::from_utf8_lossy(path))))
}

fn stat(file: &File, contents: &Contents) -> Result<Stat, Error> {
    let path = String::from_utf8_lossy(&file.path).into_owned();
    let mod_time = sent_time(file.oid.as_str());
    if file.kind != EntryKind::Link {
        let mode = if file.kind == EntryKind::Executable { 0o755 } else { 0o644 };
        let size = i64::try_from(contents.size(file)?).unwrap_or(i64::MAX);
        return Ok(Stat { path, mode, size, mod_time, ..Stat::default() });
    }
    let mut target = String::new();
    contents.open(file)?.read_to_string(&mut target).map_err(|source| Error::Unread { source })?;
    let size = i64::try_from(target.len()).unwrap_or(i64::MAX);
    Ok(Stat { path, mode: LINK | 0o777, size, mod_time, linkname: target, ..Stat::default() })
}

/// The context's folders and files, those that the Dockerfile names, each folder before what it holds.
fn nodes(context: &Context, follow: &[&str]) -> Result<Vec<Node>, Status> {
    let wanted = Wanted::of(context, follow);
    let mut nodes = Vec::with_capacity(context.files.len());
    let mut open: Vec<u8> = Vec::new();
    for (at, file) in context.files.iter().enumerate() {
        if !wanted.has(&file.path) {
            continue;
        }
        for (end, _) in file.path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let folder = &file.path[..end];
            let is_open = open.starts_with(folder) && open.get(end).is_none_or(|byte| *byte == b'/');
            if !is_open {
                nodes.push(Node::Folder(text(folder)?));
                open = folder.to_vec();
            }
        }
        text(&file.path)?;
        nodes.push(Node::File(at));
    }
    Ok(nodes)
}

/// What `COPY` and `ADD` name. Rather too much than too little: links may lead anywhere, so with one in the way all is wanted.
enum Wanted {
    All,
    Below(Vec<String>),
}

impl Wanted {
    fn of(context: &Context, follow: &[&str]) -> Self {
        let mut below = Vec::new();
        for path in follow {
            let plain = path.split('/').filter(|part| !matches!(*part, "" | "."));
            // A pattern matches within a folder.
            let plain: Vec<&str> = plain.take_while(|part| !part.contains(['*', '?', '[', '\\', '%'])).collect();
            if plain.is_empty() || plain.contains(&"..") {
                return Self::All;
            }
            below.push(plain.join("/"));
        }
        let wanted = Self::Below(below);
        let links = context.files.iter().any(|file| file.kind == EntryKind::Link);
        if follow.is_empty() || links { Self::All } else { wanted }
    }

    fn has(&self, path: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Below(folders) => folders.iter().any(|folder| {
                path.strip_prefix(folder.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
            }),
        }
    }
}
