//! A source remote and a manifest remote, clones of them, and a delivery in a process of its own, so that it may be killed
//! or given an environment.

use assert_cmd::cargo::cargo_bin;
use gitops_hooks::{
    config::{self, Config},
    deliver::{self, Act, Build, Builds, Delivery, Error, Seen, Session, Target, Wish},
    git::{Git, Prompts, Repository},
    ui::{Progress, Verbosity},
    values::{ImageName, ImageRef, Oid},
};
use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

pub const REPOSITORY: &str = "registry.example.com/team/flask-app";
pub const MANIFEST: &str = include_str!("../manifests/flask/before.yaml");

/// A source remote and a manifest remote, both bare.
pub struct Bed {
    folder: tempfile::TempDir,
    pub url: String,
}

impl Bed {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().join("manifests.git").to_str().unwrap().to_owned();
        let bed = Self { folder, url };
        for name in ["source.git", "manifests.git"] {
            git(bed.path(), &["init", "--quiet", "--bare", "-b", "main", name]);
        }
        let files = [("staging/deployment.yaml", MANIFEST), ("README.md", "flask-app\n"), ("staging/x.sh", "#!\n")];
        bed.push_manifests("manifests.git", &files);
        bed
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Commits files to a bare repository as a person would, from a clone of their own.
    pub fn push_manifests(&self, remote: &str, files: &[(&str, &str)]) {
        let hand = tempfile::tempdir_in(self.path()).unwrap();
        let remote = self.path().join(remote);
        git(hand.path(), &["clone", "--quiet", remote.to_str().unwrap(), "."]);
        identify(hand.path(), "Hand");
        for (path, text) in files {
            fs::create_dir_all(hand.path().join(path).parent().unwrap()).unwrap();
            fs::write(hand.path().join(path), text).unwrap();
        }
        git(hand.path(), &["add", "-A"]);
        git(hand.path(), &["commit", "--quiet", "-m", "by hand"]);
        git(hand.path(), &["push", "--quiet", "origin", "HEAD:main"]);
    }

    pub fn clone(&self, name: &str) -> Clone {
        let folder = self.path().join(name);
        git(self.path(), &["clone", "--quiet", "source.git", name]);
        identify(&folder, name);
        git(&folder, &["checkout", "--quiet", "-B", "main"]);
        Clone { repository: Repository::open(&folder).unwrap(), folder, url: self.url.clone() }
    }

    pub fn manifest(&self, path: &str) -> String {
        git(&self.path().join("manifests.git"), &["show", &format!("main:{path}")])
    }

    pub fn log(&self) -> Vec<String> {
        let log = git(&self.path().join("manifests.git"), &["log", "--reverse", "--format=%an|%s", "main"]);
        log.lines().map(str::to_owned).collect()
    }

    /// A hook of the manifest repository's server.
    pub fn server_hook(&self, name: &str, script: &str) {
        let path = self.path().join("manifests.git/hooks").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

pub struct Clone {
    pub repository: Repository,
    pub folder: PathBuf,
    pub url: String,
}

impl Clone {
    pub fn commit_and_push(&self, subject: &str) -> Oid {
        git(&self.folder, &["commit", "--quiet", "--allow-empty", "-m", subject]);
        git(&self.folder, &["push", "--quiet", "--force", "-u", "origin", "main"]);
        self.tip()
    }

    pub fn tip(&self) -> Oid {
        git(&self.folder, &["rev-parse", "HEAD"]).trim().parse().unwrap()
    }

    pub fn deliver(&self, tip: &Oid) -> Result<Delivery, Error> {
        self.deliver_with(tip, |tip| vec![("web".parse().unwrap(), built(tip))])
    }

    /// Delivers to staging, with images that are as `references` says.
    pub fn deliver_with(
        &self,
        tip: &Oid,
        references: impl Fn(&Oid) -> Vec<(ImageName, ImageRef)> + Sync,
    ) -> Result<Delivery, Error> {
        self.act(&config(&self.url), "staging", deliver::Switch::Refused, follow(tip), references)
    }

    pub fn act(
        &self,
        config: &Config,
        environment: &str,
        switch: deliver::Switch,
        act: Act,
        references: impl Fn(&Oid) -> Vec<(ImageName, ImageRef)> + Sync,
    ) -> Result<Delivery, Error> {
        let target = Target::of(config, &environment.parse().unwrap(), switch).unwrap();
        let session = Session::new(&self.repository, Prompts::Never, [&target]);
        let task = Progress::new(Verbosity::Quiet).task("deliver");
        let images = Images { repository: &self.repository, references };
        deliver::deliver(&session, &[Wish { target, act, task }], &images).remove(0)
    }

    pub fn waiting(&self) -> Vec<deliver::Note> {
        deliver::waiting(&self.repository).unwrap()
    }

    /// Commits a configuration and says that it was confirmed here.
    pub fn configure(&self, text: &str) -> Oid {
        fs::write(self.folder.join(".gitops-hooks.yaml"), text).unwrap();
        git(&self.folder, &["add", "."]);
        for line in
            ["images are pushed to: registry.example.com".to_owned(), format!("deliveries are pushed to: {}", self.url)]
        {
            git(&self.folder, &["config", "--add", "gitops-hooks.confirmed", &line]);
        }
        self.commit_and_push("Configure")
    }

    /// The program, as a user in this clone runs it: its exit code and all that it said.
    pub fn hooks(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(cargo_bin!("gitops-hooks"));
        command.args(args).current_dir(&self.folder).env("NO_COLOR", "1").env_remove("KUBECONFIG");
        let output = command.env("HOME", &self.folder).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    }

    /// The program, which must succeed.
    pub fn must(&self, args: &[&str]) -> String {
        let (code, said) = self.hooks(args);
        assert_eq!(code, Some(0), "gitops-hooks {args:?}: {said}");
        said
    }

    /// Delivers the tip in a process of its own, and gives its exit code.
    pub fn deliver_in_a_process(&self, variables: &[(&str, &str)]) -> Option<i32> {
        self.process(variables).output().unwrap().status.code()
    }

    /// Begins to deliver the tip in a process group of its own, as a terminal gives it to what it starts.
    pub fn begin_in_a_process_group(&self, variables: &[(&str, &str)]) -> Child {
        self.process(variables).process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn process(&self, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "deliver::bed::process", "--ignored", "--nocapture"]);
        command.env("DELIVER_CLONE", &self.folder).env("DELIVER_URL", &self.url).envs(variables.iter().copied());
        command
    }
}

/// Images that a function knows; one differs from another where its digest does.
pub struct Images<'r, F> {
    pub repository: &'r Repository,
    pub references: F,
}

impl<F: Fn(&Oid) -> Vec<(ImageName, ImageRef)> + Sync> Builds for Images<'_, F> {
    fn references(
        &self,
        _: &Target<'_>,
        commit: &Oid,
        _: Build,
    ) -> Result<Vec<(ImageName, ImageRef)>, deliver::ResolveError> {
        Ok((self.references)(commit))
    }

    fn differed(&self, _: &Target<'_>, image: &ImageName, from: &Oid, to: &Oid) -> Result<bool, deliver::ResolveError> {
        let digest = |commit: &Oid| {
            let all = (self.references)(commit);
            all.into_iter().find(|(name, _)| name == image).unwrap().1.digest
        };
        let between = self.repository.between(from, to, 100).unwrap();
        Ok(between.iter().any(|commit| digest(commit) != digest(to)))
    }
}

pub fn follow(tip: &Oid) -> Act {
    Act::Follow { tip: tip.clone(), seen: Seen::Once, build: Build::Missing }
}

pub fn git(folder: &Path, args: &[&str]) -> String {
    let output = Git::at(folder).config("init.defaultBranch", "main").args(args).run().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

pub fn identify(folder: &Path, name: &str) {
    for (key, value) in [("user.name", name), ("user.email", "dev@example.com"), ("commit.gpgSign", "false")] {
        git(folder, &["config", key, value]);
    }
}

/// A digest of its own for each commit.
pub fn built(tip: &Oid) -> ImageRef {
    format!("{REPOSITORY}:git-{tip}@sha256:{:0<64}", tip.as_str()).parse().unwrap()
}

pub fn config(url: &str) -> Config {
    config::parse("c.yaml", &described(url)).unwrap()
}

/// Staging follows main.
pub fn described(url: &str) -> String {
    format!(
        "images: {{web: {{repository: {REPOSITORY}}}}}\nenvironments:\n  staging:\n    branch: main\n    manifests: {{url: \"{url}\", path: staging}}\n    images: [web]\n"
    )
}

/// Run by other tests as a process of its own: delivers the tip of a clone to every environment of a configuration.
#[test]
#[ignore = "only as a process of another test"]
fn process() {
    let Some(folder) = std::env::var_os("DELIVER_CLONE").map(PathBuf::from) else { return };
    let url = std::env::var("DELIVER_URL").unwrap();
    let clone = Clone { repository: Repository::open(&folder).unwrap(), folder, url };
    if let Ok(path) = std::env::var("DELIVER_PID") {
        fs::write(path, std::process::id().to_string()).unwrap();
    }
    let text = std::env::var("DELIVER_CONFIG").unwrap_or_else(|_| described(&clone.url));
    let config = config::parse("c.yaml", &text).unwrap();
    let (tip, kill) = (clone.tip(), std::env::var_os("DELIVER_DIES_BUILDING").is_some());
    let references = |tip: &Oid| {
        if let Some(script) = std::env::var_os("DELIVER_WHILE_BUILDING") {
            Command::new("sh").arg("-c").arg(script).status().unwrap();
        }
        if kill {
            Command::new("kill").args(["-9", &std::process::id().to_string()]).status().unwrap();
        }
        vec![("web".parse().unwrap(), built(tip))]
    };
    let task = Progress::new(Verbosity::Quiet).task("deliver");
    let target = |name| Target::of(&config, name, deliver::Switch::Refused).unwrap();
    let act = || Act::Follow { tip: tip.clone(), seen: Seen::Now, build: Build::Missing };
    let wishes: Vec<Wish<'_>> =
        config.environments.keys().map(|name| Wish { target: target(name), act: act(), task: task.clone() }).collect();
    let session = Session::new(&clone.repository, Prompts::Never, wishes.iter().map(|wish| &wish.target));
    let images = Images { repository: &clone.repository, references };
    for result in deliver::deliver(&session, &wishes, &images) {
        result.unwrap();
    }
}
