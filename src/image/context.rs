//! What a build sees: the commit's tree below the context, without what `.dockerignore` leaves out, with submodules at their
//! commits. It comes from git's objects; the work tree, with whatever lies in it, is never looked at.

use super::{
    Error,
    artifacts::{Artifacts, Made, made},
    contents::{Origin, pointers},
    dockerignore::Dockerignore,
    key::{Key, Recipe},
};
use crate::{
    config,
    git::{EntryKind, Repository, TreeEntry},
    values::Oid,
};
use gix::bstr::BString;
use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

/// The name of a Dockerfile that the context itself does not have, because it lies elsewhere or `.dockerignore` names it.
pub(super) const ADDED: &str = ".gitops-hooks.Dockerfile";

/// A build's files, known but not yet read.
#[derive(Debug, Clone)]
pub(super) struct Context {
    /// Paths from the context's root. A folder's files stand together, right after where the folder's name would stand.
    pub files: Vec<File>,
    /// The repositories that they come from: this one, then its submodules.
    pub repositories: Vec<PathBuf>,
    /// The Dockerfile's bytes.
    pub dockerfile: Vec<u8>,
    /// Its name without its folder.
    pub dockerfile_name: String,
    /// Its path inside the tar.
    pub dockerfile_in_tar: String,
    pub key: Key,
    /// What some of its files are read from.
    _artifacts: Artifacts,
}

/// A file or link of a context.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub path: BString,
    pub kind: EntryKind,
    /// What git calls its content.
    pub oid: Oid,
    pub origin: Origin,
}

impl Context {
    /// The paths of its files that are UTF-8, from the context's root.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.iter().filter_map(|file| str::from_utf8(&file.path).ok())
    }

    /// What the commit (or tree) has for an image.
    pub(super) fn read(
        repository: &Repository,
        commit: &Oid,
        image: &config::Image,
        given_up: &AtomicBool,
    ) -> Result<Self, Error> {
        let path = image.dockerfile();
        let dockerfile = repository.file(commit, &path)?.ok_or_else(|| Error::NoDockerfile { path: path.clone() })?;
        let mut gathered = Gathered {
            folder: image.context.as_str(),
            ignore: ignore_file(repository, commit, image, &path)?,
            files: Vec::new(),
            repositories: Vec::new(),
        };
        gathered.add(repository, commit, b"")?;
        let (files, artifacts) = made(repository, commit, image, given_up)?;
        for Made { path, kind, oid, file } in files {
            if let Some(path) = gathered.placed(&path) {
                gathered.files.retain(|committed| committed.path != path);
                gathered.files.push(File { path, kind, oid, origin: Origin::Made(file) });
            }
        }
        let Gathered { mut files, repositories, .. } = gathered;
        files.sort_by(|a, b| in_folders(&a.path).cmp(in_folders(&b.path)));
        let below = path.strip_prefix(image.context.as_str()).map(|rest| rest.trim_start_matches('/'));
        let inside = below.filter(|below| files.iter().any(|file| file.path == *below));
        let dockerfile_in_tar = inside.unwrap_or(ADDED).to_owned();
        let key = Key::of(&recipe(image, &dockerfile, &files));
        let dockerfile_name = path.rsplit('/').next().unwrap_or(&path).to_owned();
        Ok(Self { files, repositories, dockerfile, dockerfile_name, dockerfile_in_tar, key, _artifacts: artifacts })
    }

    /// All that the key stands for.
    pub(super) fn recipe<'a>(&'a self, image: &'a config::Image) -> Recipe<'a> {
        recipe(image, &self.dockerfile, &self.files)
    }
}

fn recipe<'a>(image: &'a config::Image, dockerfile: &'a [u8], context: &'a [File]) -> Recipe<'a> {
    Recipe {
        dockerfile,
        target: image.target.as_deref(),
        platform: image.platform.as_str(),
        args: &image.args,
        context,
    }
}

/// A path's bytes in the order in which a walk through folders comes by: what a folder holds comes before what merely begins
/// with its name.
fn in_folders(path: &BString) -> impl Iterator<Item = u8> {
    path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte })
}

/// When a file of this content was last changed, in nanoseconds: some time of the first day of 1970, the same on every laptop.
/// An engine takes a file of the same size and time for the one that it has, so that no two contents may share theirs.
pub(super) fn sent_time(id: &str) -> i64 {
    const DAY: u64 = 86_400_000_000_000;
    let digits = id.get(..15).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    i64::try_from(digits.unwrap_or(0) % DAY).unwrap_or(0)
}

/// The files of a context, as they are found.
struct Gathered<'a> {
    /// The context's folder.
    folder: &'a str,
    ignore: Dockerignore,
    files: Vec<File>,
    repositories: Vec<PathBuf>,
}

impl Gathered<'_> {
    /// Adds what a commit has, at a path of the repository.
    fn add(&mut self, repository: &Repository, commit: &Oid, at: &[u8]) -> Result<(), Error> {
        let number = self.repositories.len();
        self.repositories.push(repository.git_dir().to_owned());
        let entries = repository.entries(commit)?;
        let wanted: Vec<(BString, TreeEntry)> =
            entries.into_iter().filter_map(|entry| Some((self.placed(&below(at, &entry.path))?, entry))).collect();
        let pointers = pointers(repository, commit, wanted.iter().map(|(_, entry)| entry))?;
        for (path, entry) in wanted {
            if entry.kind == EntryKind::Submodule {
                let whole = below(at, &entry.path);
                let submodule = submodule(repository, commit, &entry)
                    .map_err(|reason| Error::Submodule { path: whole.to_string(), reason })?;
                self.add(&submodule, &entry.oid, &whole)?;
                continue;
            }
            let origin = match pointers.get(&entry.path) {
                Some(pointer) => Origin::Lfs(number, pointer.clone()),
                None => Origin::Git(number),
            };
            self.files.push(File { path, kind: entry.kind, oid: entry.oid, origin });
        }
        Ok(())
    }

    /// A path of the repository as one of the context; `None` where the context does not have it.
    fn placed(&self, path: &[u8]) -> Option<BString> {
        let below = if self.folder.is_empty() {
            path
        } else {
            path.strip_prefix(self.folder.as_bytes())?.strip_prefix(b"/")?
        };
        let text: Cow<'_, str> = String::from_utf8_lossy(below);
        (!self.ignore.leaves_out(&text)).then(|| below.into())
    }
}

/// A path of a submodule as one of the repository around it.
fn below(folder: &[u8], path: &BString) -> BString {
    if folder.is_empty() { path.clone() } else { [folder, b"/", path].concat().into() }
}

/// The clone of a submodule, which git keeps in the clone around it (gitsubmodules(7)).
pub(super) fn submodule(repository: &Repository, commit: &Oid, entry: &TreeEntry) -> Result<Repository, String> {
    let blob = format!("{commit}:.gitmodules");
    let listed =
        repository.git().args(["config", "--blob", &blob, "-z", "--get-regexp", r"^submodule\..*\.path$"]).run();
    let listed = listed.map_err(|_| "is a submodule that .gitmodules does not name".to_owned())?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let name = listed.split('\0').find_map(|line| {
        let (key, path) = line.split_once('\n')?;
        (entry.path == path).then(|| key.strip_prefix("submodule.")?.strip_suffix(".path").map(str::to_owned))?
    });
    let name = name.ok_or_else(|| "is a submodule that .gitmodules does not name".to_owned())?;
    let kept = repository.common_dir().join("modules").join(&name);
    let inside = repository.work_dir().map(|folder| folder.join(Path::new(&entry.path.to_string())));
    let places = std::iter::once(kept).chain(inside.filter(|folder| folder.join(".git").exists()));
    let mut found = places.filter_map(|place| Repository::open(&place).ok());
    found
        .find(|found| found.has_commit(&entry.oid))
        .ok_or_else(|| format!("is a submodule whose commit {} is not in this clone", entry.oid.short()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{git::Git, image::tarball::write};
    use std::fs;

    fn image(yaml: &str) -> config::Image {
        let text = format!("images:\n  web:\n    repository: reg.example.com/app\n{yaml}");
        config::parse("c.yaml", &text).unwrap().images.into_values().next().unwrap()
    }

    fn read(repository: &Repository, commit: &Oid, image: &config::Image) -> Result<Context, Error> {
        Context::read(repository, commit, image, &AtomicBool::new(false))
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
        if files.iter().any(|(path, _)| *path == "app/run.sh") {
            git(&["update-index", "--chmod=+x", "app/run.sh"]);
        }
        git(&["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "one"]);
        fs::create_dir_all(folder.path().join("app")).unwrap();
        fs::write(folder.path().join("app/run.sh"), "dirty").unwrap();
        fs::write(folder.path().join("app/untracked"), "x").unwrap();
        let repository = Repository::open(folder.path()).unwrap();
        let commit = repository.commit("HEAD").unwrap();
        (folder, repository, commit)
    }

    fn listed(context: &Context, repository: &Repository) -> Vec<(String, u32, u64, Option<String>)> {
        let mut bytes = Vec::new();
        write(context, repository, &mut bytes).unwrap();
        let mut again = Vec::new();
        write(context, repository, &mut again).unwrap();
        assert_eq!(bytes, again, "the same commit gives the same bytes");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            assert!(header.mtime().unwrap() < 86_400);
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
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
        let context = read(&repository, &commit, &image("    context: app\n")).unwrap();
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
        let context = read(&repository, &commit, &outside).unwrap();
        let paths: Vec<String> = listed(&context, &repository).into_iter().map(|entry| entry.0).collect();
        assert_eq!(paths, ["run.sh", ADDED]);
        assert_eq!(context.dockerfile_in_tar, ADDED);
    }

    #[test]
    fn the_key_changes_only_with_what_the_image_sees() {
        let key = |files: &[(&str, &str)], yaml: &str| {
            let (_folder, repository, commit) = committed(files);
            read(&repository, &commit, &image(yaml)).unwrap().key
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
        let told = read(&repository, &commit, &image("    dockerfile: Nowhere\n")).unwrap_err();
        assert_eq!(told.to_string(), "the commit has no file Nowhere");

        let git = |args: &[&str]| Git::at(folder.path()).args(args).run().unwrap().line();
        git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},app/vendor")]);
        let tree = git(&["write-tree"]).parse().unwrap();
        let told = read(&repository, &tree, &image("    context: app\n")).unwrap_err();
        assert!(told.to_string().starts_with("app/vendor is a submodule"), "{told}");
    }

    #[test]
    fn no_two_contents_of_one_size_share_a_time() {
        let (_folder, repository, commit) =
            committed(&[("Dockerfile", "FROM scratch\n"), ("a", "1"), ("b", "2"), ("c", "1")]);
        let context = read(&repository, &commit, &image("")).unwrap();
        let time = |path: &str| sent_time(context.files.iter().find(|file| file.path == path).unwrap().oid.as_str());
        assert_ne!(time("a"), time("b"));
        assert_eq!(time("a"), time("c"));
    }

    #[test]
    fn a_submodules_files_are_those_of_its_commit() {
        let (inner, _, _) = committed(&[("app/run.sh", "old"), ("docs/x", "x"), ("main.c", "1")]);
        let (folder, repository, _) = committed(FILES);
        let git = |args: &[&str]| {
            let git = Git::at(folder.path()).config("protocol.file.allow", "always");
            git.args(args).run().unwrap().line()
        };
        git(&["submodule", "add", "-q", inner.path().to_str().unwrap(), "app/vendor/lib"]);
        fs::write(folder.path().join("app/vendor/lib/main.c"), "dirty").unwrap();
        let tree = git(&["write-tree"]).parse().unwrap();
        let context = read(&repository, &tree, &image("    context: app\n")).unwrap();
        let listed = listed(&context, &repository);
        let below = |path: &str| listed.iter().any(|(found, ..)| found == path);
        assert!(below("vendor/lib/app/run.sh") && below("vendor/lib/main.c"), "{listed:?}");
        let main = context.files.iter().find(|file| file.path == "vendor/lib/main.c").unwrap();
        let contents = crate::image::contents::Contents::of(&repository, &context).unwrap();
        assert_eq!(contents.size(main).unwrap(), 1, "the commit's, not the dirty one");
    }

    #[test]
    fn what_a_command_makes_is_built_and_counts() {
        let (folder, repository, commit) = committed(FILES);
        let runs = folder.path().join("runs");
        let yaml = |text: &str| {
            let command = format!(
                "echo ran >> {}; mkdir -p app/dist; cp app/run.sh app/dist/a; echo {text} > app/dist/b",
                runs.display()
            );
            image(&format!("    context: app\n    before: '{command}'\n    artifacts: [app/dist]\n"))
        };
        let first = read(&repository, &commit, &yaml("one")).unwrap();
        let made: Vec<String> =
            first.files.iter().map(|file| file.path.to_string()).filter(|path| path.starts_with("dist")).collect();
        assert_eq!(made, ["dist/a", "dist/b"]);
        let contents = crate::image::contents::Contents::of(&repository, &first).unwrap();
        let size = |path: &str| contents.size(first.files.iter().find(|file| file.path == path).unwrap()).unwrap();
        assert_eq!((size("dist/a"), size("dist/b")), (9, 4), "of the commit's files, not of the dirty ones");
        assert_eq!(first.key, read(&repository, &commit, &yaml("one")).unwrap().key);
        assert_eq!(fs::read_to_string(&runs).unwrap(), "ran\n", "once for each tree");
        assert_ne!(first.key, read(&repository, &commit, &yaml("two")).unwrap().key);

        let failing = image("    before: echo why; exit 3\n    artifacts: [x]\n    dockerfile: app/Dockerfile\n");
        let told = read(&repository, &commit, &failing).unwrap_err();
        assert_eq!(told.to_string(), "`echo why; exit 3` before the build failed: exit code 3\nwhy\n");
        let nothing = image("    before: true\n    artifacts: [x]\n    dockerfile: app/Dockerfile\n");
        assert_eq!(read(&repository, &commit, &nothing).unwrap_err().to_string(), "`true` did not make x");
    }
}
