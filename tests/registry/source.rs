//! A source repository with one image, and the calls of the image room on it.

use super::bed;
use gitops_hooks::{
    config, git,
    image::{self, Error, Intent, Prepared, Published, Request},
    ui::{Progress, Task, Verbosity},
    values::{ImageName, ImageRef, Oid},
};
use miette::Diagnostic;
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};
use tempfile::TempDir;

pub struct Source {
    pub folder: Folder,
    pub repository: git::Repository,
    pub yaml: String,
    /// The path of the image's repository below its registry.
    pub path: String,
}

/// A folder of this process, or one of another.
pub enum Folder {
    Own(TempDir),
    Other(PathBuf),
}

impl Folder {
    pub fn path(&self) -> &Path {
        match self {
            Self::Own(folder) => folder.path(),
            Self::Other(path) => path,
        }
    }
}

impl Source {
    /// An image of one file; `registry` is where it goes, with a path that no other run uses.
    pub fn new(registry: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let path = format!("test/registry-{now}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir().unwrap();
        git::Git::at(folder.path()).args(["init", "-q", "-b", "main"]).run().unwrap();
        let source = Self::with(Folder::Own(folder), registry, &path);
        source.write("Dockerfile", "FROM scratch\nCOPY a /\n");
        source.write("a", path);
        source
    }

    /// What another process has made.
    pub fn open(folder: &Path, registry: &str, path: &str) -> Self {
        Self::with(Folder::Other(folder.to_owned()), registry, path)
    }

    fn with(folder: Folder, registry: &str, path: &str) -> Self {
        let yaml = format!("images:\n  web:\n    repository: {registry}/{path}\n    plain_http: true\n");
        let repository = git::Repository::open(folder.path()).unwrap();
        Self { repository, folder, yaml, path: path.to_owned() }
    }

    /// The same image seen at another address.
    pub fn seen_at(&self, registry: &str) -> config::Image {
        let yaml = format!("images:\n  web:\n    repository: {registry}/{}\n    plain_http: true\n", self.path);
        config::parse("c.yaml", &yaml).unwrap().images.into_values().next().unwrap()
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.folder.path().join(path), text).unwrap();
    }

    pub fn commit(&self, message: &str) -> Oid {
        let git = || {
            let git = git::Git::at(self.folder.path());
            git.config("user.name", "t").config("user.email", "t@example.com")
        };
        git().args(["add", "."]).run().unwrap();
        git().args(["commit", "-q", "--allow-empty", "-m", message]).run().unwrap();
        self.repository.commit("HEAD").unwrap()
    }

    pub fn image(&self) -> config::Image {
        config::parse("c.yaml", &self.yaml).unwrap().images.into_values().next().unwrap()
    }

    pub async fn prepare(&self, commit: &Oid, intent: Intent) -> Result<Prepared, Error> {
        let (name, image) = (name(), self.image());
        image::prepare(&self.request(&name, &image, commit), intent, &task()).await
    }

    pub async fn publish(&self, commit: &Oid, prepared: Prepared) -> Result<Published, Error> {
        self.publish_to(&self.image(), commit, prepared).await
    }

    pub async fn publish_to(&self, image: &config::Image, commit: &Oid, built: Prepared) -> Result<Published, Error> {
        let name = name();
        image::publish(&self.request(&name, image, commit), built, &task()).await
    }

    pub async fn published(&self, commit: &Oid) -> Result<Option<ImageRef>, Error> {
        let (name, image) = (name(), self.image());
        image::published(&self.request(&name, &image, commit)).await
    }

    /// Builds the commit's image and gives it, from a build that no other build shares its digest with.
    pub async fn build(&self, commit: &Oid) -> Prepared {
        self.prepare(commit, Intent::Anew).await.unwrap()
    }

    fn request<'a>(&'a self, name: &'a ImageName, image: &'a config::Image, commit: &Oid) -> Request<'a> {
        Request {
            repository: &self.repository,
            commit: commit.clone(),
            name,
            image,
            source: Some("https://git.example.com/team/app".to_owned()),
        }
    }
}

fn name() -> ImageName {
    "web".parse().unwrap()
}

pub fn task() -> Task {
    Progress::new(Verbosity::Quiet).task("web")
}

pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The full error as a person reads it, and the code that decides the exit code.
pub fn told(error: &Error) -> (String, String) {
    let help = error.help().map(|help| help.to_string()).unwrap_or_default();
    (format!("{error}\n{help}"), error.code().map(|code| code.to_string()).unwrap_or_default())
}

/// A registry, and that there is an engine.
pub fn open_registry() -> Option<String> {
    bed("DOCKER_HOST").and_then(|_| bed("GITOPS_HOOKS_TEST_REGISTRY"))
}

/// The bytes behind an address of a registry without TLS, asked with `curl`: a second opinion.
pub fn curl(arguments: &[&str]) -> (u16, String) {
    let shown = ["-sS", "-w", "\n%{http_code}"];
    let output = std::process::Command::new("curl").args(shown).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}
