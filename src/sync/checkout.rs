//! What a commit holds for one environment, read from the object store without a checkout: the manifests below the path,
//! and our own files beside them. Links and submodules are never followed, and counts, depths and sizes are bounded.

use super::{
    Error,
    decode::File,
    object::{Problem, state_file},
    prune::{APPROVAL_FILE, Approval},
    report::Delivered,
};
use crate::{
    manifest,
    values::{Oid, RelativePath},
};
use git2::{ObjectType, Repository, Tree};
use jiff::Timestamp;

const MAX_DEPTH: usize = 32;
const MAX_FILES: usize = 20_000;
const MAX_FILE_BYTES: usize = 8 << 20;
const MAX_BYTES: usize = 128 << 20;
const MAX_PROBLEMS: usize = 100;
/// The mode of a symbolic link.
const LINK: i32 = 0o120_000;

/// What a delivery has rendered from the overlay or chart beside it.
const RENDERED: &str = "rendered.yaml";

/// A file that may hold manifests, still in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Its path from the root of the repository.
    pub path: String,
    /// Its contents: equal ones are equal in every commit.
    pub blob: git2::Oid,
}

impl Leaf {
    /// Reads it.
    ///
    /// # Errors
    /// A repository that cannot be read, or no longer has it.
    pub fn read(&self, repository: &Repository) -> Result<File, Error> {
        let blob = repository.find_blob(self.blob).map_err(|error| failed(&error))?;
        Ok(File { path: self.path.clone(), bytes: blob.content().to_vec() })
    }
}

/// A commit as one environment sees it.
#[derive(Debug)]
pub struct Checkout {
    /// The commit.
    pub commit: Oid,
    /// When it was committed.
    pub time: Timestamp,
    /// The files that may hold manifests.
    pub files: Vec<Leaf>,
    /// What cannot be read as manifests.
    pub problems: Vec<Problem>,
    /// What is approved to be pruned.
    pub approval: Approval,
    /// What was delivered, as the state file says.
    pub delivered: Delivered,
}

fn failed(error: &git2::Error) -> Error {
    Error::Repository { reason: error.message().to_owned() }
}

impl Checkout {
    /// The contents of all its files.
    ///
    /// # Errors
    /// A repository that cannot be read.
    pub fn contents(&self, repository: &Repository) -> Result<Vec<File>, Error> {
        self.files.iter().map(|leaf| leaf.read(repository)).collect()
    }
}

/// Reads a commit.
///
/// # Errors
/// A commit without the path, and a repository that cannot be read.
pub fn read(repository: &Repository, commit: &Oid, path: &RelativePath) -> Result<Checkout, Error> {
    let id = git2::Oid::from_str(commit.as_str()).map_err(|error| failed(&error))?;
    let found = repository.find_commit(id).map_err(|error| failed(&error))?;
    let root = found.tree().map_err(|error| failed(&error))?;
    let no_path = || Error::NoPath { path: path.to_string(), commit: commit.short().to_owned() };
    let tree = if path.as_str().is_empty() {
        root
    } else {
        let entry = root.get_path(std::path::Path::new(path.as_str())).map_err(|_| no_path())?;
        let object = entry.to_object(repository).map_err(|error| failed(&error))?;
        object.into_tree().map_err(|_| no_path())?
    };
    let odb = repository.odb().map_err(|error| failed(&error))?;
    let mut walk = Walk { repository, odb, files: Vec::new(), problems: Vec::new(), bytes: 0 };
    // Beside what it was rendered from, it is all that runs.
    match tree.get_path(std::path::Path::new(&state_file(&RelativePath::root(), RENDERED))) {
        Ok(rendered) if rendered.filemode() == LINK => {
            walk.refuse(&state_file(path, RENDERED), "a symbolic link, which is not followed; deliver once more");
        }
        Ok(rendered) => walk.blob(&rendered, state_file(path, RENDERED)).map_err(|error| failed(&error))?,
        Err(_) => walk.tree(&tree, path.as_str(), 0).map_err(|error| failed(&error))?,
    }
    let own = |name: &str| {
        let inside = state_file(&RelativePath::root(), name);
        let entry = tree.get_path(std::path::Path::new(&inside)).ok()?;
        let blob = repository.find_blob(entry.id()).ok().filter(|blob| blob.size() <= MAX_FILE_BYTES)?;
        String::from_utf8(blob.content().to_vec()).ok()
    };
    let approval = own(APPROVAL_FILE).map(|text| Approval::parse(&text)).unwrap_or_default();
    let delivered = own("state.yaml").map(|text| Delivered::parse(&text)).unwrap_or_default();
    let Walk { files, problems, .. } = walk;
    let time = Timestamp::from_second(found.time().seconds()).unwrap_or_default();
    Ok(Checkout { commit: commit.clone(), time, files, problems, approval, delivered })
}

struct Walk<'r> {
    repository: &'r Repository,
    odb: git2::Odb<'r>,
    files: Vec<Leaf>,
    problems: Vec<Problem>,
    bytes: usize,
}

impl Walk<'_> {
    fn tree(&mut self, tree: &Tree<'_>, folder: &str, depth: usize) -> Result<(), git2::Error> {
        for entry in tree {
            // `.gitops-hooks`, `.github` and their like hold YAML that is not for the cluster.
            if entry.name_bytes().starts_with(b".") {
                continue;
            }
            let within = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            let Ok(name) = std::str::from_utf8(entry.name_bytes()) else {
                let path = within(&String::from_utf8_lossy(entry.name_bytes()));
                self.refuse(&path, "its name is not UTF-8, so that it cannot be read; rename it");
                continue;
            };
            let path = within(name);
            // What is behind a link or in another repository may be what names an object, whatever it is called here.
            match entry.kind() {
                _ if entry.filemode() == LINK => {
                    self.refuse(&path, "a symbolic link, which is not followed; commit what it points at");
                }
                Some(ObjectType::Commit) => {
                    self.refuse(&path, "a submodule, which is not fetched; commit its files here");
                }
                Some(ObjectType::Tree) if depth < MAX_DEPTH => {
                    let object = entry.to_object(self.repository)?;
                    if let Some(below) = object.as_tree() {
                        self.tree(below, &path, depth + 1)?;
                    }
                }
                Some(ObjectType::Tree) => {
                    self.refuse(&path, format!("folders nest deeper than {MAX_DEPTH}"));
                }
                Some(ObjectType::Blob) if manifest::is_manifest(name) => self.blob(&entry, path)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Notes what cannot be read, as far as anybody would read it: one is enough to forbid pruning.
    fn refuse(&mut self, path: &str, message: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem::file(path, message));
        }
    }

    fn blob(&mut self, entry: &git2::TreeEntry<'_>, path: String) -> Result<(), git2::Error> {
        // The header first: what is too large is not even read.
        let (size, _) = self.odb.read_header(entry.id())?;
        self.bytes += size;
        let refused = if size > MAX_FILE_BYTES {
            Some(format!("the file is larger than {} MiB", MAX_FILE_BYTES >> 20))
        } else if self.bytes > MAX_BYTES {
            Some(format!("the environment's files are larger than {} MiB together", MAX_BYTES >> 20))
        } else if self.files.len() >= MAX_FILES {
            Some(format!("the environment has more than {MAX_FILES} files"))
        } else {
            None
        };
        match refused {
            Some(message) => self.refuse(&path, message),
            None => self.files.push(Leaf { path, blob: entry.id() }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bare repository with one commit of these files; a path ending in `@` is a link.
    fn commit(files: &[(&str, &str)]) -> (tempfile::TempDir, Repository, Oid) {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(folder.path()).unwrap();
        let mut builder = git2::build::TreeUpdateBuilder::new();
        for (path, text) in files {
            let blob = repository.blob(text.as_bytes()).unwrap();
            let mode = if path.ends_with('@') { git2::FileMode::Link } else { git2::FileMode::Blob };
            builder.upsert(path.trim_end_matches('@'), blob, mode);
        }
        let empty = repository.treebuilder(None).unwrap().write().unwrap();
        let baseline = repository.find_tree(empty).unwrap();
        let tree = builder.create_updated(&repository, &baseline).unwrap();
        let who = git2::Signature::new("t", "t@example.com", &git2::Time::new(1_700_000_000, 0)).unwrap();
        let id = {
            let tree = repository.find_tree(tree).unwrap();
            repository.commit(None, &who, &who, "m", &tree, &[]).unwrap()
        };
        drop(baseline);
        (folder, repository, id.to_string().parse().unwrap())
    }

    #[test]
    fn only_manifests_below_the_path_are_read() {
        let (_folder, repository, id) = commit(&[
            ("staging/app.yaml", "a"),
            ("staging/deep/b.json", "b"),
            ("staging/README.md", "x"),
            ("staging/.gitops-hooks/state.yaml", "version: 1\n"),
            ("staging/.gitops-hooks/approve-prune", "ConfigMap shop/a\n"),
            ("staging/.github/workflow.yaml", "x"),
            ("production/app.yaml", "x"),
        ]);
        let checkout = read(&repository, &id, &"staging".parse().unwrap()).unwrap();
        let paths: Vec<_> = checkout.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["staging/app.yaml", "staging/deep/b.json"]);
        assert_ne!(checkout.approval, Approval::default());
        assert_eq!(checkout.time.as_second(), 1_700_000_000);
    }

    #[test]
    fn what_was_rendered_runs_in_place_of_its_source() {
        let (_folder, repository, id) = commit(&[
            ("staging/kustomization.yaml", "resources: [app.yaml]"),
            ("staging/app.yaml", "a"),
            ("staging/.gitops-hooks/rendered.yaml", "r"),
        ]);
        let checkout = read(&repository, &id, &"staging".parse().unwrap()).unwrap();
        assert_eq!(
            checkout.contents(&repository).unwrap(),
            [File { path: "staging/.gitops-hooks/rendered.yaml".to_owned(), bytes: b"r".to_vec() }]
        );
    }

    #[test]
    fn a_link_is_told_and_not_followed() {
        let (_folder, repository, id) = commit(&[("a.yaml@", "/var/run/secrets/x"), ("secrets@", "/var/run/secrets")]);
        let checkout = read(&repository, &id, &RelativePath::root()).unwrap();
        assert!(checkout.files.is_empty());
        let told: Vec<_> = checkout.problems.iter().map(|it| (it.origin.file.as_str(), it.message.as_str())).collect();
        assert_eq!(told.iter().map(|it| it.0).collect::<Vec<_>>(), ["a.yaml", "secrets"]);
        assert!(told.iter().all(|it| it.1.contains("not followed")), "{told:?}");
    }

    #[test]
    fn a_submodule_and_a_name_that_is_no_text_are_told() {
        let (_folder, repository, _) = commit(&[("app.yaml", "a")]);
        let empty = repository.treebuilder(None).unwrap().write().unwrap();
        let blob = repository.blob(b"a").unwrap();
        let mut builder = repository.treebuilder(None).unwrap();
        builder.insert("module", git2::Oid::from_str(&"1".repeat(40)).unwrap(), 0o160_000).unwrap();
        builder.insert(".module", git2::Oid::from_str(&"1".repeat(40)).unwrap(), 0o160_000).unwrap();
        builder.insert(b"caf\xe9.yaml".as_slice(), blob, 0o100_644).unwrap();
        builder.insert(b"d\xe9".as_slice(), empty, 0o040_000).unwrap();
        builder.insert(b".\xe9".as_slice(), blob, 0o100_644).unwrap();
        let tree = repository.find_tree(builder.write().unwrap()).unwrap();
        let who = git2::Signature::now("t", "t@example.com").unwrap();
        let id = repository.commit(None, &who, &who, "m", &tree, &[]).unwrap();
        let checkout = read(&repository, &id.to_string().parse().unwrap(), &RelativePath::root()).unwrap();
        let told: Vec<_> = checkout.problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].contains("name is not UTF-8") && told[1].contains("name is not UTF-8"), "{told:?}");
        assert!(told[2].starts_with("module:1: a submodule"), "{told:?}");
    }

    #[test]
    fn a_path_that_is_not_there_is_an_error_not_an_empty_environment() {
        let (_folder, repository, id) = commit(&[("staging/app.yaml", "a"), ("file", "")]);
        for path in ["production", "file"] {
            let error = read(&repository, &id, &path.parse().unwrap()).unwrap_err();
            assert!(matches!(error, Error::NoPath { .. }), "{error:?}");
        }
    }
}
