//! What the crowd works in: a source repository, two manifest repositories with two environments each, one reached over SSH
//! and one over HTTPS, and a folder for each laptop.

use super::network::{Weather, line};
use crate::testbed;
use assert_cmd::cargo::cargo_bin;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

/// How manifests get their references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By the hooks of this program.
    Hooks,
    /// By a script after each push: fetch, `sed`, commit, push, again.
    Script,
}

/// The environments, each with the branch that it follows and its repository.
pub const ENVIRONMENTS: [(&str, &str, usize); 4] =
    [("staging", "main", 0), ("qa", "release", 0), ("develop", "develop", 1), ("lab", "next", 1)];

pub struct World {
    pub way: Way,
    folder: tempfile::TempDir,
    /// What every process of this crowd has in its environment.
    pub mark: String,
    pub registry: String,
    pub image: String,
    /// The bare repositories on the server: the source, and the two with manifests.
    pub source: PathBuf,
    pub manifests: [PathBuf; 2],
    /// Their addresses, through the network of this test.
    pub source_url: String,
    pub manifest_urls: [String; 2],
    pub weather: [Arc<Weather>; 2],
    pub clones: usize,
    ca: String,
}

impl World {
    pub fn new(way: Way, clones: usize) -> Option<Self> {
        let names =
            ["REGISTRY", "GIT_ROOT", "GIT_SSH", "GIT_HTTPS", "SSH_KEY", "KNOWN_HOSTS", "CA", "USER", "PASSWORD"];
        let mut values = Vec::new();
        for name in names {
            values.push(testbed::value(&format!("GITOPS_HOOKS_TEST_{name}"))?);
        }
        let [registry, root, ssh, https, key, known_hosts, ca, user, password] =
            <[String; 9]>::try_from(values).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mark = format!("deliver-crowd-{way:?}-{}", std::process::id()).to_lowercase();
        let bare = |name: &str| Path::new(&root).join(format!("{mark}-{name}.git"));
        let (source, manifests) = (bare("source"), [bare("one"), bare("two")]);

        let weather: [Arc<Weather>; 2] = Default::default();
        let server = |url: &str| {
            let rest = url.split_once("://").unwrap().1;
            let host = rest.split('/').next().unwrap();
            host.rsplit('@').next().unwrap().to_owned()
        };
        let ssh_port = line(&server(&ssh), Arc::clone(&weather[0]));
        let https_port = line(&server(&https), Arc::clone(&weather[1]));
        let by_ssh = |path: &Path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            format!("ssh://root@127.0.0.1:{ssh_port}/{name}")
        };
        let by_https = |path: &Path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            format!("https://git.testbed:{https_port}/{name}")
        };
        let host_key = fs::read_to_string(known_hosts).unwrap();
        let (_, host_key) = host_key.lines().next().unwrap().split_once(' ').unwrap();
        fs::write(folder.path().join("known_hosts"), format!("[127.0.0.1]:{ssh_port} {host_key}\n")).unwrap();
        let helper = format!("!f() {{ echo username={user}; echo password={password}; }}; f");
        let config = format!(
            "[user]\n\tname = Nobody\n\temail = nobody@example.com\n[init]\n\tdefaultBranch = main\n[core]\n\tsshCommand = ssh -F none -i {key} -o IdentitiesOnly=yes -o UserKnownHostsFile={}\n[http]\n\tcurloptResolve = git.testbed:{https_port}:127.0.0.1\n[credential]\n\thelper = \"{helper}\"\n[pull]\n\trebase = true\n",
            folder.path().join("known_hosts").display(),
        );
        fs::write(folder.path().join(".gitconfig"), config).unwrap();

        let world = Self {
            way,
            image: format!("{registry}/{mark}/flask-app"),
            source_url: by_ssh(&source),
            manifest_urls: [by_ssh(&manifests[0]), by_https(&manifests[1])],
            folder,
            mark,
            registry,
            source,
            manifests,
            weather,
            clones,
            ca,
        };
        world.found();
        Some(world)
    }

    /// The program: the release where there is one, else what was built for the tests.
    fn binary() -> PathBuf {
        std::env::var_os("GITOPS_HOOKS_RELEASE").map_or_else(|| cargo_bin!("gitops-hooks").to_owned(), PathBuf::from)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command as somebody of this crowd runs it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("GIT_") || name.starts_with("XDG_") || name == "KUBECONFIG" {
                command.env_remove(&*name);
            }
        }
        command
            .current_dir(folder)
            .env("HOME", self.folder.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_SSL_CAINFO", &self.ca)
            .env("NO_COLOR", "1")
            .env("CROWD", &self.mark)
            .stdin(Stdio::null());
        command
    }

    /// Runs git; whether it ended well, and what it said.
    pub fn try_git(&self, folder: &Path, args: &[&str]) -> (bool, String) {
        let Output { status, stdout, stderr } = self.command("git", folder).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
        (status.success(), said)
    }

    pub fn git(&self, folder: &Path, args: &[&str]) -> String {
        let (well, said) = self.try_git(folder, args);
        assert!(well, "git {args:?}: {said}");
        said
    }

    /// git on a bare repository, past the network.
    pub fn on_server(&self, bare: &Path, args: &[&str]) -> String {
        self.git(bare, args)
    }

    /// The first commits of all repositories, and the clones with their hooks.
    fn found(&self) {
        let home = self.folder.path();
        for bare in [&self.source, &self.manifests[0], &self.manifests[1]] {
            self.git(home, &["init", "--quiet", "--bare", bare.to_str().unwrap()]);
        }
        for (at, bare) in self.manifests.iter().enumerate() {
            let files: Vec<(String, String)> = ENVIRONMENTS
                .iter()
                .filter(|(.., repository)| *repository == at)
                .flat_map(|(name, ..)| self.manifest(name))
                .collect();
            self.first(bare, &files, &["main"]);
        }
        let mut files = vec![
            (".gitops-hooks.yaml".to_owned(), self.configuration()),
            ("app/Dockerfile".to_owned(), "FROM scratch\nCOPY . /\n".to_owned()),
        ];
        files.extend((0..self.clones).map(|clone| (format!("app/{clone}"), "0\n".to_owned())));
        self.first(&self.source, &files, &ENVIRONMENTS.map(|(_, branch, _)| branch));
        for clone in 0..self.clones {
            let folder = self.laptop(clone);
            self.git(
                home,
                &["clone", "--quiet", "-b", Self::branch(clone), &self.source_url, folder.to_str().unwrap()],
            );
            self.git(&folder, &["config", "user.name", &format!("Laptop {clone}")]);
            if self.way == Way::Hooks {
                let done = self.command(Self::binary(), &folder).args(["install", "--yes"]).output().unwrap();
                assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            }
        }
    }

    fn first(&self, bare: &Path, files: &[(String, String)], branches: &[&str]) {
        let hand = tempfile::tempdir_in(self.folder.path()).unwrap();
        self.git(hand.path(), &["init", "--quiet"]);
        for (path, text) in files {
            let path = hand.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        self.git(hand.path(), &["add", "."]);
        self.git(hand.path(), &["commit", "--quiet", "-m", "Begin"]);
        for branch in branches {
            self.git(hand.path(), &["push", "--quiet", bare.to_str().unwrap(), &format!("HEAD:refs/heads/{branch}")]);
        }
    }

    /// What a person wrote: comments, odd spaces, quotes, and a neighbour whose name begins alike.
    fn manifest(&self, name: &str) -> Vec<(String, String)> {
        let image = &self.image;
        let text = format!(
            "# {name}: edit me by hand\r\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: flask-app   # flask-app:0\n  labels: {{ app: flask-app }}\nspec:\n  replicas: 1\n  template:\n    spec:\n      containers:\n      - name: flask-app\n        image: \"{image}:0\"   # flask-app\n      - {{name: worker, image: {image}-worker:16}}\n\n\n# end"
        );
        vec![(format!("{name}/deployment.yaml"), text), (format!("{name}/notes.yaml"), "# nothing yet\n".to_owned())]
    }

    fn configuration(&self) -> String {
        let environments = ENVIRONMENTS.map(|(name, branch, repository)| {
            let url = &self.manifest_urls[repository];
            format!("  {name}: {{branch: {branch}, manifests: {{url: \"{url}\", path: {name}}}, images: [web]}}\n")
        });
        format!(
            "images:\n  web: {{repository: \"{}\", plain_http: true, context: app}}\nenvironments:\n{}",
            self.image,
            environments.concat()
        )
    }

    pub fn laptop(&self, clone: usize) -> PathBuf {
        self.path(&format!("laptop-{clone}"))
    }

    /// A quarter of the crowd works on each branch.
    pub fn branch(clone: usize) -> &'static str {
        ENVIRONMENTS[clone % ENVIRONMENTS.len()].1
    }

    /// The network holds from here on, and what runs in the background has come to its end.
    pub fn calm(&self) {
        for weather in &self.weather {
            weather.down.store(false, Ordering::Relaxed);
            weather.cut_percent.store(0, Ordering::Relaxed);
        }
        let began = Instant::now();
        while !super::chaos::processes(&self.mark).is_empty() {
            assert!(began.elapsed() < Duration::from_secs(300), "what goes on in the background does not end");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the next hook in each clone would do.
    pub fn deliver_what_waits(&self) {
        for clone in 0..self.clones {
            let folder = self.laptop(clone);
            // Whoever works on one branch knows what the other has by a fetch.
            self.git(&folder, &["fetch", "--quiet"]);
        }
        self.calm();
        for clone in 0..self.clones {
            let done = self.command(Self::binary(), &self.laptop(clone)).arg("deliver").output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::env::var_os("CROWD_KEEP").is_some() {
            return;
        }
        for bare in [&self.source, &self.manifests[0], &self.manifests[1]] {
            let _ = fs::remove_dir_all(bare);
        }
    }
}
