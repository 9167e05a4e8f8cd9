//! What a build sees: the commit's tree below the context, without what `.dockerignore` leaves out, as a tar that is the same
//! on every laptop. It comes from git's objects; the work tree, with whatever lies in it, is never looked at.

use super::{
    Error,
    binary::header,
    dockerignore::Dockerignore,
    key::{Key, Recipe},
};
use crate::{
    config,
    git::{EntryKind, Repository, TreeEntry},
    values::Oid,
};
use std::{
    borrow::Cow,
    collections::BTreeSet,
    ffi::OsStr,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// The name of a Dockerfile that the context itself does not have, because it lies elsewhere or `.dockerignore` names it.
const ADDED: &str = ".gitops-hooks.Dockerfile";

/// A build's files, known but not yet read.
#[derive(Debug, Clone)]
pub(super) struct Context {
    /// Paths from the context's root, in the order of their bytes.
    entries: Vec<TreeEntry>,
    /// The Dockerfile's bytes.
    pub dockerfile: Vec<u8>,
    /// Its path inside the tar.
    pub dockerfile_in_tar: String,
    pub key: Key,
}

impl Context {
    /// The paths of its files that are UTF-8, from the context's root.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|entry| str::from_utf8(&entry.path).ok())
    }

    /// What the commit (or tree) has for an image.
    pub(super) fn read(repository: &Repository, commit: &Oid, image: &config::Image) -> Result<Self, Error> {
        let path = image.dockerfile();
        let dockerfile = repository.file(commit, &path)?.ok_or_else(|| Error::NoDockerfile { path: path.clone() })?;
        let ignore = ignore_file(repository, commit, image, &path)?;
        let entries = select(repository.entries(commit)?, image.context.as_str(), &ignore);
        if let Some(submodule) = entries.iter().find(|entry| entry.kind == EntryKind::Submodule) {
            return Err(Error::Submodule { path: image.context.join(&submodule.path.to_string()) });
        }
        let below = path.strip_prefix(image.context.as_str()).map(|rest| rest.trim_start_matches('/'));
        let inside = below.filter(|below| entries.iter().any(|entry| entry.path == *below));
        let dockerfile_in_tar = inside.unwrap_or(ADDED).to_owned();
        let key = Key::of(&recipe(image, &dockerfile, &entries));
        Ok(Self { entries, dockerfile, dockerfile_in_tar, key })
    }

    /// All that the key stands for.
    pub(super) fn recipe<'a>(&'a self, image: &'a config::Image) -> Recipe<'a> {
        recipe(image, &self.dockerfile, &self.entries)
    }

    /// Writes the tar. Everything in it is at time 0 and owned by root; folders come before what they hold.
    pub(super) fn write(&self, repository: &Repository, to: impl Write) -> Result<(), Error> {
        let written = |source| Error::File { path: "the build context".to_owned(), source };
        let mut tar = tar::Builder::new(to);
        let mut folders = BTreeSet::new();
        for entry in &self.entries {
            for (at, _) in entry.path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                let folder = &entry.path[..=at];
                if folders.insert(folder) {
                    let mut header = header(tar::EntryType::Directory, 0o755, 0);
                    tar.append_data(&mut header, os_path(folder), io::empty()).map_err(written)?;
                }
            }
            let bytes = repository.blob(&entry.oid)?;
            append(&mut tar, entry, &bytes).map_err(written)?;
        }
        if self.dockerfile_in_tar == ADDED {
            let mut header = header(tar::EntryType::Regular, 0o644, self.dockerfile.len() as u64);
            tar.append_data(&mut header, ADDED, self.dockerfile.as_slice()).map_err(written)?;
        }
        let mut to = tar.into_inner().map_err(written)?;
        to.flush().map_err(written)
    }
}

fn recipe<'a>(image: &'a config::Image, dockerfile: &'a [u8], context: &'a [TreeEntry]) -> Recipe<'a> {
    Recipe {
        dockerfile,
        target: image.target.as_deref(),
        platform: image.platform.as_str(),
        args: &image.args,
        context,
    }
}

fn append<W: Write>(tar: &mut tar::Builder<W>, entry: &TreeEntry, bytes: &[u8]) -> io::Result<()> {
    let path = os_path(&entry.path);
    let mode = if entry.kind == EntryKind::Executable { 0o755 } else { 0o644 };
    if entry.kind != EntryKind::Link {
        let mut header = header(tar::EntryType::Regular, mode, bytes.len() as u64);
        return tar.append_data(&mut header, path, bytes);
    }
    let mut header = header(tar::EntryType::Symlink, 0o777, 0);
    // Literally: the crate's other way rewrites `./a` to `a`. It is needed only for targets too long for a header.
    if header.set_link_name_literal(bytes).is_ok() {
        tar.append_data(&mut header, path, io::empty())
    } else {
        tar.append_link(&mut header, path, os_path(bytes))
    }
}

fn os_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// The rules that hold: `<Dockerfile>.dockerignore` beside the Dockerfile, else `.dockerignore` in the context (Docker's
/// documentation, "Filename and location").
fn ignore_file(
    repository: &Repository,
    commit: &Oid,
    image: &config::Image,
    dockerfile: &str,
) -> Result<Dockerignore, Error> {
    for path in [format!("{dockerfile}.dockerignore"), image.context.join(".dockerignore")] {
        if let Some(bytes) = repository.file(commit, &path)? {
            return Dockerignore::parse(&path, &String::from_utf8_lossy(&bytes));
        }
    }
    Ok(Dockerignore::default())
}

/// The entries below a folder that the rules keep, with paths from that folder.
fn select(entries: Vec<TreeEntry>, folder: &str, ignore: &Dockerignore) -> Vec<TreeEntry> {
    let below = |mut entry: TreeEntry| {
        if !folder.is_empty() {
            let rest = entry.path.strip_prefix(folder.as_bytes())?.strip_prefix(b"/")?.to_vec();
            entry.path = rest.into();
        }
        let path: Cow<'_, str> = String::from_utf8_lossy(&entry.path);
        (!ignore.leaves_out(&path)).then_some(entry)
    };
    let mut selected: Vec<TreeEntry> = entries.into_iter().filter_map(below).collect();
    selected.sort_by(|a, b| a.path.cmp(&b.path));
    selected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::Git;
    use std::fs;

    fn image(yaml: &str) -> config::Image {
        let text = format!("images:\n  web:\n    repository: reg.example.com/app\n{yaml}");
        config::parse("c.yaml", &text).unwrap().images.into_values().next().unwrap()
    }

    /// A repository with a few files, one of them dirty and one untracked.
    fn committed(files: &[(&str, &str)]) -> (tempfile::TempDir, Repository, Oid) {
        let folder = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| Git::at(folder.path()).args(args).run().unwrap().line();
        git(&["init", "-q", "-b", "main"]);
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match text.strip_prefix("-> ") {
                Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                None => fs::write(path, text).unwrap(),
            }
        }
        git(&["add", "."]);
        git(&["update-index", "--chmod=+x", "app/run.sh"]);
        git(&["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "one"]);
        fs::write(folder.path().join("app/run.sh"), "dirty").unwrap();
        fs::write(folder.path().join("app/untracked"), "x").unwrap();
        let repository = Repository::open(folder.path()).unwrap();
        let commit = repository.commit("HEAD").unwrap();
        (folder, repository, commit)
    }

    fn listed(context: &Context, repository: &Repository) -> Vec<(String, u32, u64, Option<String>)> {
        let mut bytes = Vec::new();
        context.write(repository, &mut bytes).unwrap();
        let mut again = Vec::new();
        context.write(repository, &mut again).unwrap();
        assert_eq!(bytes, again, "the same commit gives the same bytes");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
            let link = entry.link_name_bytes().map(|name| String::from_utf8(name.into_owned()).unwrap());
            let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            (path, header.mode().unwrap(), header.size().unwrap(), link)
        });
        entries.collect()
    }

    const FILES: &[(&str, &str)] = &[
        ("app/Dockerfile", "FROM scratch\nCOPY . /\n"),
        ("app/.dockerignore", "docs\n*.md\n!KEEP.md\n"),
        ("app/run.sh", "committed"),
        ("app/src/deep/a.txt", "a"),
        ("app/link", "-> ./src/../run.sh"),
        ("app/docs/x", "x"),
        ("app/NOTES.md", "x"),
        ("app/KEEP.md", "x"),
        ("other/y", "y"),
    ];

    #[test]
    fn the_context_is_the_commits_tree_and_not_the_folder() {
        let (_folder, repository, commit) = committed(FILES);
        let context = Context::read(&repository, &commit, &image("    context: app\n")).unwrap();
        let file = |path: &str, mode, size| (path.to_owned(), mode, size, None);
        assert_eq!(
            listed(&context, &repository),
            [
                file(".dockerignore", 0o644, 19),
                file("Dockerfile", 0o644, 22),
                file("KEEP.md", 0o644, 1),
                ("link".to_owned(), 0o777, 0, Some("./src/../run.sh".to_owned())),
                file("run.sh", 0o755, 9),
                file("src/", 0o755, 0),
                file("src/deep/", 0o755, 0),
                file("src/deep/a.txt", 0o644, 1),
            ]
        );
        assert_eq!(context.dockerfile_in_tar, "Dockerfile");
    }

    #[test]
    fn a_dockerfile_outside_or_ignored_is_added_under_its_own_name() {
        let mut files = FILES.to_vec();
        files.push(("build/web.Dockerfile", "FROM scratch\n"));
        files.push(("build/web.Dockerfile.dockerignore", "*\n!run.sh\n"));
        let (_folder, repository, commit) = committed(&files);
        let outside = image("    context: app\n    dockerfile: build/web.Dockerfile\n");
        let context = Context::read(&repository, &commit, &outside).unwrap();
        let paths: Vec<String> = listed(&context, &repository).into_iter().map(|entry| entry.0).collect();
        assert_eq!(paths, ["run.sh", ADDED]);
        assert_eq!(context.dockerfile_in_tar, ADDED);
    }

    #[test]
    fn the_key_changes_only_with_what_the_image_sees() {
        let key = |files: &[(&str, &str)], yaml: &str| {
            let (_folder, repository, commit) = committed(files);
            Context::read(&repository, &commit, &image(yaml)).unwrap().key
        };
        let base = key(FILES, "    context: app\n");
        let with = |path: &'static str, text: &'static str| {
            let mut files = FILES.to_vec();
            files.push((path, text));
            key(&files, "    context: app\n")
        };
        assert_eq!(base, with("other/new", "not in the context"));
        assert_eq!(base, with("app/docs/new", "left out"));
        assert_eq!(base, key(FILES, "    context: app\n    smoke: { port: 80 }\n    plain_http: true\n"));
        assert_ne!(base, with("app/new", "seen"));
        assert_ne!(base, key(FILES, "    context: app\n    platform: linux/arm64\n"));
    }

    #[test]
    fn what_cannot_be_built_is_named() {
        let (folder, repository, commit) = committed(FILES);
        let told = Context::read(&repository, &commit, &image("    dockerfile: Nowhere\n")).unwrap_err();
        assert_eq!(told.to_string(), "the commit has no file Nowhere");

        let git = |args: &[&str]| Git::at(folder.path()).args(args).run().unwrap().line();
        git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},app/vendor")]);
        let tree = git(&["write-tree"]).parse().unwrap();
        let told = Context::read(&repository, &tree, &image("    context: app\n")).unwrap_err();
        assert!(told.to_string().starts_with("app/vendor is a submodule"), "{told}");
    }
}
