//! Repositories with one image, for tests of engines.

use gitops_hooks::{
    config, git,
    image::{self, Error, Intent, Prepared, Request},
    ui::{Progress, Task, Verbosity},
    values::{ImageName, Oid},
};
use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};
use tempfile::TempDir;

/// A source repository with one image.
pub struct Source {
    pub folder: TempDir,
    pub repository: git::Repository,
    pub yaml: String,
}

impl Source {
    /// `more` is the rest of the image's configuration, with four spaces before each key.
    pub fn new(more: &str, dockerfile: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let folder = tempfile::tempdir().unwrap();
        git::Git::at(folder.path()).args(["init", "-q", "-b", "main"]).run().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let path = format!("test/engines-{now}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let registry = std::env::var("GITOPS_HOOKS_TEST_REGISTRY").unwrap();
        let yaml = format!("images:\n  web:\n    repository: {registry}/{path}\n    plain_http: true\n{more}");
        let source = Self { repository: git::Repository::open(folder.path()).unwrap(), folder, yaml };
        source.write("Dockerfile", dockerfile);
        source
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn git(&self, args: &[&str]) -> String {
        let git = git::Git::at(self.folder.path()).config("user.name", "t").config("user.email", "t@example.com");
        git.args(args).run().unwrap().line()
    }

    pub fn commit(&self, message: &str) -> Oid {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.repository.commit("HEAD").unwrap()
    }

    pub fn image(&self) -> config::Image {
        config::parse("c.yaml", &self.yaml).unwrap().images.into_values().next().unwrap()
    }

    pub async fn prepare(&self, commit: &Oid) -> Result<Prepared, Error> {
        let (name, image) = (name(), self.image());
        image::prepare(&self.request(&name, &image, commit), Intent::TrialOnly, &task()).await
    }

    pub async fn publish(&self, commit: &Oid, prepared: Prepared) -> Result<image::Published, Error> {
        let (name, image) = (name(), self.image());
        image::publish(&self.request(&name, &image, commit), prepared, &task()).await
    }

    fn request<'a>(&'a self, name: &'a ImageName, image: &'a config::Image, commit: &Oid) -> Request<'a> {
        Request { repository: &self.repository, commit: commit.clone(), name, image, source: None }
    }

    /// Builds the newest commit.
    pub fn build(&self) -> Result<Prepared, Error> {
        let commit = self.commit("now");
        run(self.prepare(&commit))
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

/// The base image with a shell.
pub fn busybox() -> String {
    std::env::var("GITOPS_HOOKS_TEST_BASE_BUSYBOX").unwrap()
}

/// The value of a variable of the test bed.
pub fn bed(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The engine that the process talks to.
pub fn engine() -> bollard::Docker {
    let host = std::env::var("DOCKER_HOST").unwrap();
    bollard::Docker::connect_with_unix(&host, 120, bollard::API_DEFAULT_VERSION).unwrap()
}

/// The largest memory that this process has had, in kB.
pub fn memory() -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
