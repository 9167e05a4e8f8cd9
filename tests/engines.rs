//! Builds and trial runs on every engine of the test bed: Docker of today, Docker 20.10, Podman 4.3. Without them each test
//! says so and passes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

#[path = "context/again.rs"]
mod again;
#[path = "context/images.rs"]
mod images;
#[path = "context/testbed.rs"]
mod testbed;

use again::{again, inside};
use gitops_hooks::{
    image::{self, Error, Prepared, Transport},
    values::Digest,
};
use images::{Source, bed, busybox, engine, memory, run};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use std::{
    collections::{BTreeSet, HashMap},
    io,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Runs a test once for each engine, in a process of its own, with what the engine is called.
fn on_each(test: &str, wanted: &[&str], body: impl Fn(&str)) {
    if let Ok(engine) = std::env::var("GITOPS_HOOKS_TEST_ENGINE") {
        body(&engine);
        return;
    }
    if bed("GITOPS_HOOKS_TEST_REGISTRY").is_none() {
        return testbed::skipped("needs the test bed (make testbed)");
    }
    let engines =
        [("docker", "DOCKER_HOST"), ("docker20", "GITOPS_HOOKS_TEST_DOCKER20"), ("podman", "GITOPS_HOOKS_TEST_PODMAN")];
    for (name, variable) in engines.into_iter().filter(|(name, _)| wanted.contains(name)) {
        match bed(variable) {
            Some(host) => {
                let engine = [("DOCKER_HOST", Some(host.as_str())), ("GITOPS_HOOKS_TEST_ENGINE", Some(name))];
                inside(test, &engine);
            }
            None => testbed::skipped(&format!("needs {name} of the test bed")),
        }
    }
}

const ALL: &[&str] = &["docker", "docker20", "podman"];
const BUILDKIT: &[&str] = &["docker", "docker20"];

/// What trials have left.
async fn left() -> (usize, usize) {
    let label = HashMap::from([("label", vec!["dev.gitops-hooks.smoke"])]);
    let this = format!("{} ", std::process::id());
    let is_ours = |labels: Option<HashMap<String, String>>| {
        labels.is_some_and(|labels| labels["dev.gitops-hooks.smoke"].starts_with(&this))
    };
    let all = bollard::query_parameters::ListContainersOptionsBuilder::new().all(true).filters(&label).build();
    let containers = engine().list_containers(Some(all)).await.unwrap();
    let all = bollard::query_parameters::ListNetworksOptionsBuilder::new().filters(&label).build();
    let networks = engine().list_networks(Some(all)).await.unwrap();
    let count =
        |all: Vec<Option<HashMap<String, String>>>| all.into_iter().filter(|labels| is_ours(labels.clone())).count();
    (
        count(containers.into_iter().map(|found| found.labels).collect()),
        count(networks.into_iter().map(|found| found.labels).collect()),
    )
}

#[test]
fn every_engine_builds_tries_and_pushes() {
    on_each("every_engine_builds_tries_and_pushes", ALL, |engine_name| {
        let smoke = "    smoke: { port: 8080, path: /index.html, body: hello, run: 'test -w /scratch', tmpfs: /scratch, env: { NAME: it }, timeout: 60s }\n";
        let source = Source::new(
            smoke,
            &format!(
                "FROM {}\nWORKDIR /www\nCOPY index.html .\nCMD test \"$NAME\" = it && exec httpd -f -p 8080\n",
                busybox()
            ),
        );
        source.write("index.html", format!("hello from {}\n", source.yaml));
        let commit = source.commit("one");
        run(async {
            let prepared = source.prepare(&commit).await.unwrap();
            let Prepared::Built { id, .. } = &prepared else { panic!("{prepared:?}") };
            let labels = engine().inspect_image(id).await.unwrap().config.unwrap().labels.unwrap();
            // Docker 20.10 knows no digest of an image that it was given as a file.
            let digest = labels.get("org.opencontainers.image.base.digest");
            assert!(engine_name == "docker20" || digest.unwrap().starts_with("sha256:"), "{labels:?}");
            assert_eq!(left().await, (0, 0));
            source.publish(&commit, prepared).await.unwrap();
        });
    });
}

#[test]
fn the_image_has_what_the_commit_has() {
    on_each("the_image_has_what_the_commit_has", ALL, |_| {
        let tests = "test -x /c/run.sh && test \"$(readlink /c/link)\" = ./deep/../run.sh && test ! -e /c/ignored.txt && test -e /c/deep/kept.txt && test \"$(cat /c/deep/a)\" = 1 && test ! -e /c/untracked && test \"$(stat -c %u:%a /c/deep/a)\" = 0:644";
        let source = Source::new(
            &format!("    smoke: {{ run: '{tests}', timeout: 20s }}\n"),
            &format!("FROM {}\nCOPY . /c/\nCMD sleep 100\n", busybox()),
        );
        source.write(".dockerignore", "**/*.txt\n!**/kept.txt\n");
        for path in ["run.sh", "deep/a", "ignored.txt", "deep/kept.txt", "deep-er/x"] {
            source.write(path, "1");
        }
        let script = source.folder.path().join("run.sh");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        symlink("./deep/../run.sh", source.folder.path().join("link")).unwrap();
        let commit = source.commit("one");
        source.write("untracked", "x");
        run(source.prepare(&commit)).unwrap();
    });
}

/// The engine keeps the files of the last build, and takes one of the same size and time for the one that it has.
#[test]
fn a_change_of_the_same_size_is_seen() {
    on_each("a_change_of_the_same_size_is_seen", ALL, |_| {
        for (content, other) in [("1", "a"), ("2", "b"), ("1", "b")] {
            let tests = format!("test \"$(cat /c/a) $(cat /c/b/x)\" = \"{content} {other}\"");
            let mut source = Source::new("", &format!("FROM {}\nCOPY . /c/\nCMD sleep 100\n", busybox()));
            source.yaml = format!("{}    smoke: {{ run: '{tests}', timeout: 20s }}\n", source.yaml);
            source.write("a", content);
            source.write("b/x", other);
            source.build().unwrap();
            source.write("a", "3");
            source.yaml = source.yaml.replace(&format!("\"{content} "), "\"3 ");
            source.build().unwrap();
        }
    });
}

#[test]
fn a_trial_without_internet_reaches_no_other_machine_and_one_with_it_does() {
    on_each("a_trial_without_internet_reaches_no_other_machine_and_one_with_it_does", ALL, |engine| {
        // The registry is on the engine's own machine, which only an internal network of Podman's shuts out; in 192.0.2.0/24
        // nobody lives.
        let registry = bed("GITOPS_HOOKS_TEST_REGISTRY").unwrap();
        let (host, port) = registry.split_once(':').unwrap();
        let asks = format!("python3 -c \"import socket; socket.create_connection((\\\"{host}\\\", {port}), 3)\"");
        let dockerfile = format!("FROM {}\nCMD sleep 100\n", bed("GITOPS_HOOKS_TEST_BASE_PYTHON").unwrap());
        let smoke = |more: &str, run: &str| format!("    smoke: {{ run: '{run}', timeout: 20s{more} }}\n");
        if engine == "podman" {
            Source::new(&smoke("", &format!("! {asks}")), &dockerfile).build().unwrap();
        } else {
            Source::new(&smoke(", internet: true", &asks), &dockerfile).build().unwrap();
        }
        let nobody = asks.replace(host, "192.0.2.77");
        Source::new(&smoke("", &format!("python3 --version && ! {nobody}")), &dockerfile).build().unwrap();
        run(async { assert_eq!(left().await, (0, 0)) });
    });
}

#[test]
fn the_containers_own_health_check_counts() {
    on_each("the_containers_own_health_check_counts", BUILDKIT, |_| {
        let health = |check: &str| {
            format!(
                "FROM {}\nHEALTHCHECK --interval=1s --retries=2 CMD {check}\nCMD sleep 1; touch /tmp/ready; sleep 100\n",
                busybox()
            )
        };
        let smoke = "    smoke: { timeout: 30s }\n";
        Source::new(smoke, &health("test -e /tmp/ready")).build().unwrap();
        let told = Source::new(smoke, &health("echo no database; false")).build().unwrap_err().to_string();
        assert!(told.contains("its own health check fails: no database"), "{told}");
        let told = Source::new(smoke, &format!("FROM {}\nCMD sleep 100\n", busybox())).build().unwrap_err().to_string();
        assert!(told.contains("nothing says when it is right"), "{told}");
    });
}

#[test]
fn what_fails_is_told_alike_by_every_engine() {
    on_each("what_fails_is_told_alike_by_every_engine", ALL, |engine| {
        let step = format!(
            "FROM {0} AS first\nRUN true\n\nFROM {0}\nWORKDIR /a\nCOPY --from=first /etc/passwd .\n# why\nRUN echo before >&2 && \\\n  echo the reason >&2 && \\\n  exit 7\n",
            busybox()
        );
        let error = Source::new("", &step).build().unwrap_err();
        let Error::Step { place, reason, tail, .. } = &error else { panic!("{error:?}") };
        assert_eq!((place.as_str(), reason.as_str()), ("Dockerfile:8", "exit code 7"));
        assert!(tail.ends_with("before\nthe reason"), "{tail}");

        let error = Source::new("", "FROM scratch\nCOPPY a /\n").build().unwrap_err();
        assert!(error.to_string().contains("COPPY"), "{error}");

        let registry = bed("GITOPS_HOOKS_TEST_REGISTRY").unwrap();
        let error = Source::new("", &format!("FROM {registry}/base/none-such:1\n")).build().unwrap_err();
        assert!(error.to_string().contains("none-such"), "{error}");

        // A step that needs the network where there is none.
        let python = bed("GITOPS_HOOKS_TEST_BASE_PYTHON").unwrap();
        let asks = "import urllib.request as u; u.urlopen('http://nowhere.example.com/', timeout=5)";
        let error = Source::new("", &format!("FROM {python}\nRUN python3 -c \"{asks}\"\n")).build().unwrap_err();
        let Error::Step { place, tail, .. } = &error else { panic!("{engine}: {error:?}") };
        assert!(place == "Dockerfile:2" && tail.contains("urlopen error"), "{place} {tail}");

        let ended = Source::new(
            "    smoke: { port: 80, timeout: 20s }\n",
            &format!("FROM {}\nCMD echo no database; exit 3\n", busybox()),
        );
        let error = ended.build().unwrap_err();
        let Error::Smoke { reason, tail, .. } = &error else { panic!("{error:?}") };
        assert_eq!((reason.as_str(), tail.trim()), ("ended with exit code 3 before it answered", "no database"));
        run(async { assert_eq!(left().await, (0, 0)) });
    });
}

#[test]
fn a_secret_is_used_and_stays_nowhere() {
    on_each("a_secret_is_used_and_stays_nowhere", BUILDKIT, |_| {
        let dockerfile = format!(
            "# syntax-free\nFROM {}\nRUN --mount=type=secret,id=file --mount=type=secret,id=command cat /run/secrets/file /run/secrets/command; sha256sum /run/secrets/* > /sums\nRUN --mount=type=secret,id=variable --mount=type=cache,target=/cache test \"$(wc -c < /run/secrets/variable)\" = 16 && touch /cache/x\n",
            busybox()
        );
        let more = "    secrets: { file: { file: .secret }, variable: { env: GITOPS_HOOKS_TEST_ENGINE_SECRET }, command: { run: echo command-secret-value } }\n";
        let source = Source::new(more, &dockerfile);
        let variables = [("GITOPS_HOOKS_TEST_ENGINE_SECRET", Some("env-secret-value"))];
        if std::env::var("GITOPS_HOOKS_TEST_ENGINE_SECRET").is_err() {
            let mut again = Command::new(std::env::current_exe().unwrap());
            again.args(["--exact", "a_secret_is_used_and_stays_nowhere", "--nocapture"]);
            let output = again.envs(variables.map(|(name, value)| (name, value.unwrap()))).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return;
        }
        source.write(".gitignore", ".secret\n");
        source.write(".secret", "file-secret-value\n");
        let key = source.build().unwrap().key().clone();
        source.write(".secret", "another-secret-value\n");
        let again = source.build().unwrap();
        assert_eq!(&key, again.key(), "a secret is no part of the key");
        let Prepared::Built { id, .. } = &again else { panic!("{again:?}") };
        let history = run(async { format!("{:?}", engine().image_history(id).await.unwrap()) });
        let config = run(async { format!("{:?}", engine().inspect_image(id).await.unwrap()) });
        for secret in ["file-secret-value", "env-secret-value", "command-secret-value"] {
            assert!(!history.contains(secret) && !config.contains(secret), "{secret}");
        }

        // What a failing step prints of one is blotted out.
        let failing = format!(
            "FROM {}\nRUN --mount=type=secret,id=command echo got $(cat /run/secrets/command); exit 1\n",
            busybox()
        );
        let error = Source::new(more, &failing).build().unwrap_err();
        let Error::Step { tail, .. } = &error else { panic!("{error:?}") };
        assert_eq!(tail, "got ***");

        let absent = format!("FROM {}\nRUN --mount=type=secret,id=absent,required=true true\n", busybox());
        let told = Source::new(more, &absent).build().unwrap_err().to_string();
        assert!(told.contains("absent"), "{told}");
    });
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_step_may_use_the_ssh_agent_where_the_configuration_says_so() {
    on_each("a_step_may_use_the_ssh_agent_where_the_configuration_says_so", BUILDKIT, |_| {
        if std::env::var("SSH_AUTH_SOCK").is_err() || std::env::var("GITOPS_HOOKS_TEST_AGENT").is_err() {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("agent");
            let agent =
                Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
            let _agent = Ended(agent);
            while !socket.exists() {
                std::thread::sleep(Duration::from_millis(10));
            }
            let mut again = Command::new(std::env::current_exe().unwrap());
            again.args(["--exact", "a_step_may_use_the_ssh_agent_where_the_configuration_says_so", "--nocapture"]);
            again.env("SSH_AUTH_SOCK", &socket).env("GITOPS_HOOKS_TEST_AGENT", "1");
            let output = again.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return;
        }
        let dockerfile =
            format!("FROM {}\nRUN --mount=type=ssh test -S \"$SSH_AUTH_SOCK\" # {}\n", busybox(), std::process::id());
        Source::new("    ssh: true\n", &dockerfile).build().unwrap();
        let told = Source::new("", &dockerfile.replace('#', "# not")).build().unwrap_err().to_string();
        assert!(told.starts_with("Dockerfile:2") && told.ends_with("exit code 1"), "{told}");
    });
}

#[test]
fn a_builder_that_would_misread_the_dockerfile_is_not_asked() {
    on_each("a_builder_that_would_misread_the_dockerfile_is_not_asked", &["docker20", "podman"], |engine| {
        if engine == "docker20" && std::env::var("DOCKER_BUILDKIT").is_err() {
            let mut again = Command::new(std::env::current_exe().unwrap());
            again.args(["--exact", "a_builder_that_would_misread_the_dockerfile_is_not_asked", "--nocapture"]);
            let output = again.env("DOCKER_BUILDKIT", "0").output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return;
        }
        let plain = Source::new("", &format!("FROM {}\nCOPY a /\nRUN cat /a\n", busybox()));
        plain.write("a", "1");
        plain.build().unwrap();
        let told =
            Source::new("", &format!("FROM {}\nRUN <<EOF\ntrue\nEOF\n", busybox())).build().unwrap_err().to_string();
        assert!(told.starts_with("Dockerfile:2: a heredoc needs BuildKit"), "{told}");
        let told =
            Source::new("    secrets: { a: { env: HOME } }\n", &format!("FROM {}\n", busybox())).build().unwrap_err();
        assert!(told.to_string().starts_with("`secrets` in .gitops-hooks.yaml: it needs BuildKit"), "{told}");
    });
}

#[test]
fn a_base_for_another_architecture_is_told() {
    // Docker 20.10 pulls nothing from a registry without TLS for a build, and Podman takes the base for what was asked for.
    on_each("a_base_for_another_architecture_is_told", &["docker"], |_| {
        let source = Source::new("", "");
        let repository = source.image().repository.clone();
        let binary = source.folder.path().join("binary");
        std::fs::write(&binary, "elf").unwrap();
        let tag = "arm".parse().unwrap();
        let pushed = run(image::push_binary(&repository, Transport::PlainHttp, &tag, &binary, "linux/arm64", &[]));
        source.write("Dockerfile", format!("FROM {}\nCOPY Dockerfile /\n", pushed.unwrap()));
        let told = source.build().unwrap_err().to_string();
        assert!(
            told.contains("arm64") || told.contains("no match for platform") || told.contains("does not match"),
            "{told}"
        );
    });
}

/// A socket that leads to the engine until it is cut.
struct Cut {
    path: PathBuf,
    open: Arc<Mutex<Vec<UnixStream>>>,
    ended: Arc<AtomicBool>,
    _folder: tempfile::TempDir,
}

impl Cut {
    fn before(engine: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (open, ended) = (Arc::<Mutex<Vec<UnixStream>>>::default(), Arc::<AtomicBool>::default());
        let engine = engine.strip_prefix("unix://").unwrap().to_owned();
        let (kept, cut) = (Arc::clone(&open), Arc::clone(&ended));
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                if cut.load(Ordering::SeqCst) {
                    continue;
                }
                let far = UnixStream::connect(&engine).unwrap();
                kept.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                    std::thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Write);
                    });
                }
            }
        });
        Self { path, open, ended, _folder: folder }
    }

    fn cut(&self) {
        self.ended.store(true, Ordering::SeqCst);
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

#[test]
fn an_engine_that_goes_away_in_a_build_is_told() {
    on_each("an_engine_that_goes_away_in_a_build_is_told", ALL, |engine| {
        let marker = std::env::var("GITOPS_HOOKS_TEST_CUT").ok();
        let Some(marker) = marker else {
            let host = std::env::var("DOCKER_HOST").unwrap();
            let cut = Cut::before(&host);
            let marker = tempfile::tempdir().unwrap();
            let mut again = Command::new(std::env::current_exe().unwrap());
            again.args(["--exact", "an_engine_that_goes_away_in_a_build_is_told", "--nocapture"]);
            again
                .env("DOCKER_HOST", format!("unix://{}", cut.path.display()))
                .env("GITOPS_HOOKS_TEST_CUT", marker.path());
            let mut again = again.stderr(Stdio::piped()).spawn().unwrap();
            while !marker.path().join("building").exists() && again.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(50));
            }
            std::thread::sleep(Duration::from_secs(3));
            cut.cut();
            let output = again.wait_with_output().unwrap();
            assert!(output.status.success(), "{engine}: {}", String::from_utf8_lossy(&output.stderr));
            return;
        };
        let source = Source::new("", &format!("FROM {}\nRUN sleep 120 # {}\n", busybox(), std::process::id()));
        std::fs::write(Path::new(&marker).join("building"), "").unwrap();
        let told = source.build().unwrap_err();
        let code = miette::Diagnostic::code(&told).unwrap().to_string();
        assert_eq!(code, "environment", "{told}");
    });
}

#[test]
fn a_build_that_is_given_up_leaves_nothing_running() {
    on_each("a_build_that_is_given_up_leaves_nothing_running", BUILDKIT, |_| {
        let unique = format!("87{}", std::process::id());
        let smoke = "    smoke: { port: 8080, timeout: 30s }\n";
        let source = Source::new(smoke, &format!("FROM {}\nRUN sleep {unique}\nCMD sleep 100\n", busybox()));
        let commit = source.commit("one");
        for wait in [0, 30, 300, 2000] {
            run(async {
                tokio::select! {
                    ended = source.prepare(&commit) => panic!("{ended:?}"),
                    () = tokio::time::sleep(Duration::from_millis(wait)) => {}
                }
            });
        }
        let runs = || {
            let all = Command::new("pgrep").args(["-f", &format!("^sleep {unique}")]).output().unwrap();
            !all.stdout.is_empty()
        };
        let began = std::time::Instant::now();
        while runs() {
            assert!(began.elapsed() < Duration::from_secs(60), "a step still runs");
            std::thread::sleep(Duration::from_millis(100));
        }
        run(async { assert_eq!(left().await, (0, 0)) });
    });
}

#[test]
fn memory_does_not_grow_with_the_context() {
    on_each("memory_does_not_grow_with_the_context", ALL, |_| {
        if let Ok(source) = std::env::var("GITOPS_HOOKS_TEST_MEMORY") {
            let repository = gitops_hooks::git::Repository::open(Path::new(&source)).unwrap();
            let yaml = std::fs::read_to_string(Path::new(&source).join("yaml")).unwrap();
            let image = gitops_hooks::config::parse("c.yaml", &yaml).unwrap().images.into_values().next().unwrap();
            let (name, commit) = ("web".parse().unwrap(), repository.commit("HEAD").unwrap());
            let request = image::Request { repository: &repository, commit, name: &name, image: &image, source: None };
            run(image::prepare(&request, image::Intent::TrialOnly, &images::task())).unwrap();
            assert!(memory() < 90_000, "{} kB", memory());
            return;
        }
        let source = Source::new("", "FROM scratch\nCOPY big/a /\n");
        let size = if std::env::var_os("SOAK").is_some() { 2000 } else { 150 };
        source.write("big/a", vec![7; size << 20]);
        source.write("big/b", vec![8; 30 << 20]);
        source.commit("one");
        source.write("yaml", &source.yaml);
        // A process of its own: this one had the bytes.
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "memory_does_not_grow_with_the_context", "--nocapture"]);
        let output = again.env("GITOPS_HOOKS_TEST_MEMORY", source.folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
}

/// `.dockerignore` rules as people write them, and worse.
fn rules() -> impl Strategy<Value = Vec<String>> {
    let part = prop_oneof![
        3 => "[abc]", 2 => Just("*".to_owned()), 1 => Just("**".to_owned()), 1 => "[abc]\\*", 1 => Just("?".to_owned()),
        1 => Just("[ab]".to_owned()), 1 => Just("[^a]".to_owned()), 1 => Just("..".to_owned()), 1 => Just(".".to_owned()),
        1 => "\\*[abc]", 1 => Just("**a".to_owned()), 1 => Just("a**".to_owned()), 1 => Just(String::new())
    ];
    let pattern = prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"));
    // Older commands do not look into a folder that is left out for a `!` with `*` in it; those of today do.
    let plain = prop::collection::vec("[abc]{1,2}", 1..4).prop_map(|parts| format!("!{}", parts.join("/")));
    let rule = prop_oneof![
        3 => ("/?", pattern, "/?").prop_map(|(lead, pattern, end)| format!("{lead}{pattern}{end}")),
        1 => plain,
    ];
    prop::collection::vec(rule.prop_filter("read in two ways", |rule| !compares_only_the_end(rule)), 0..6)
}

/// `**a` at the beginning is any path that ends with `a` for Docker of today, and was the name `a` in any folder for older ones.
fn compares_only_the_end(rule: &str) -> bool {
    let mut parts = Vec::new();
    for part in rule.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match part {
            ".." if parts.pop().is_none() && !rule.starts_with('/') => return false,
            ".." => {}
            part => parts.push(part),
        }
    }
    parts.first().is_some_and(|first| first.len() > 2 && first.starts_with("**"))
}

/// The paths of small trees: a name is never a file and a folder.
fn paths() -> impl Strategy<Value = BTreeSet<String>> {
    let path = prop::collection::vec("[abc]{1,2}", 1..4).prop_map(|parts| parts.join("/"));
    prop::collection::btree_set(path, 1..8).prop_map(|paths| {
        let is_folder = |path: &String| paths.iter().any(|other| other.starts_with(&format!("{path}/")));
        paths.iter().filter(|path| !is_folder(path)).cloned().collect()
    })
}

/// What Docker's own command gives the engine of a folder: it is the one that leaves out, for every engine.
fn dockers_choice(source: &Source, programs: &str) -> Result<BTreeSet<String>, String> {
    let dockerfile = format!("FROM {}\nCOPY . /ctx/\nRUN cd /ctx && echo listed $(find . -type f) listed\n", busybox());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), dockerfile).unwrap();
    let mut build = Command::new(Path::new(programs).join("usr/bin/docker"));
    build.args(["build", "--no-cache", "--force-rm", "-f"]).arg(file.path()).arg(source.folder.path());
    // Its older builder says what a step prints as it is.
    let output = build.env("DOCKER_BUILDKIT", "0").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let listed = said.lines().find_map(|line| line.strip_prefix("listed")?.strip_suffix("listed")).unwrap_or_default();
    let paths = listed.split_whitespace().map(|path| path.trim_start_matches("./").to_owned());
    Ok(paths.filter(|path| !path.starts_with(".git/") && !path.starts_with(".dockerfile.")).collect())
}

#[test]
fn dockerignore_leaves_out_what_docker_leaves_out() {
    on_each("dockerignore_leaves_out_what_docker_leaves_out", &["docker20"], |_| {
        let programs = bed("GITOPS_HOOKS_TEST_DOCKER20_PROGRAMS").unwrap();
        let cases = if std::env::var_os("SOAK").is_some() { 600 } else { 25 };
        let mut runner =
            TestRunner::new(Config { cases, max_shrink_iters: 40, failure_persistence: None, ..Config::default() });
        runner
            .run(&(paths(), rules()), |(paths, rules)| {
                let source = Source::new("", "FROM scratch\n");
                source.write(".dockerignore", rules.join("\n"));
                for path in &paths {
                    source.write(path, path);
                }
                let commit = source.commit("one");
                let ours = image_paths(&source, &commit);
                let theirs = dockers_choice(&source, &programs);
                match (ours, theirs) {
                    (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs, "{:?} of {:?}", rules, paths),
                    (Err(_), Err(_)) => {}
                    // Docker of today takes `!/` for the root of the context, and this one refused it.
                    (_, Err(said)) if said.contains("illegal exclusion pattern") => {}
                    // An engine that fails for want of any file to copy has chosen none.
                    (Ok(ours), Err(_)) if ours.is_empty() => {}
                    (ours, theirs) => prop_assert!(false, "{rules:?} of {paths:?}: {ours:?} and {theirs:?}"),
                }
                Ok(())
            })
            .unwrap();
    });
}

/// The paths that our build may see.
fn image_paths(source: &Source, commit: &gitops_hooks::values::Oid) -> Result<BTreeSet<String>, String> {
    let (name, image) = ("web".parse().unwrap(), source.image());
    let request = image::Request {
        repository: &source.repository,
        commit: commit.clone(),
        name: &name,
        image: &image,
        source: None,
    };
    let paths = run(image::paths(&request)).map_err(|error| error.to_string())?;
    Ok(paths.iter().map(ToString::to_string).collect())
}

#[test]
fn an_engine_behind_tls_is_used_with_its_certificates() {
    const TEST: &str = "an_engine_behind_tls_is_used_with_its_certificates";
    let (Some(host), Some(certificates)) =
        (bed("GITOPS_HOOKS_TEST_DOCKER20_TLS"), bed("GITOPS_HOOKS_TEST_DOCKER20_CERTS"))
    else {
        return testbed::skipped("needs docker20 of the test bed");
    };
    let variables = [
        ("DOCKER_HOST", Some(host.as_str())),
        ("DOCKER_TLS_VERIFY", Some("1")),
        ("DOCKER_CERT_PATH", Some(certificates.as_str())),
    ];
    if !inside(TEST, &variables) {
        // Without them the engine is not spoken to.
        let told = inside_told(TEST, &host);
        assert!(told.contains("no container engine answers"), "{told}");
        // A context says the same.
        let config = tempfile::tempdir().unwrap();
        context(config.path(), "remote", &host, Some(Path::new(&certificates)));
        inside(
            TEST,
            &[("DOCKER_HOST", None), ("DOCKER_CONFIG", config.path().to_str()), ("DOCKER_CONTEXT", Some("remote"))],
        );
        return;
    }
    if std::env::var("GITOPS_HOOKS_TEST_BARE").is_ok() {
        eprintln!("{}", Source::new("", "FROM scratch\n").build().unwrap_err());
        std::process::exit(1);
    }
    let smoke = "    smoke: { port: 8080, path: /, expect: 404, timeout: 30s }\n";
    let dockerfile = format!("FROM {}\nCOPY a /\nCMD httpd -f -p 8080 -h /\n", busybox());
    let source = Source::new(smoke, &dockerfile);
    source.write("a", "1");
    source.build().unwrap();
}

fn inside_told(test: &str, host: &str) -> String {
    let variables = [("GITOPS_HOOKS_TEST_BARE", Some("1")), ("DOCKER_HOST", Some(host))];
    let output = again(test, &variables).output().unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A docker context, as `docker context create` writes it.
fn context(config: &Path, name: &str, host: &str, certificates: Option<&Path>) {
    let id = Digest::of(name.as_bytes()).hex().to_owned();
    let meta = config.join("contexts/meta").join(&id);
    std::fs::create_dir_all(&meta).unwrap();
    let text = serde_json::json!({ "Name": name, "Metadata": {}, "Endpoints": { "docker": { "Host": host, "SkipTLSVerify": false } } });
    std::fs::write(meta.join("meta.json"), text.to_string()).unwrap();
    if let Some(certificates) = certificates {
        let tls = config.join("contexts/tls").join(&id).join("docker");
        std::fs::create_dir_all(&tls).unwrap();
        for file in ["ca.pem", "cert.pem", "key.pem"] {
            std::fs::copy(certificates.join(file), tls.join(file)).unwrap();
        }
    }
}

/// A real sshd for one user, and an `ssh` that knows the way to it.
struct Remote {
    _sshd: Ended,
    folder: tempfile::TempDir,
    port: u16,
}

impl Remote {
    fn with(engine: &str, programs: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for key in ["host", "laptop"] {
            let keygen =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path(key)).status();
            assert!(keygen.unwrap().success());
        }
        std::fs::copy(path("laptop.pub"), path("authorized")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::create_dir_all("/run/sshd").unwrap();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\nSetEnv DOCKER_HOST={engine} PATH={programs}/usr/bin:/usr/bin:/bin\n",
            path("host").display(),
            path("authorized").display()
        );
        std::fs::write(path("sshd_config"), config).unwrap();
        let sshd =
            Command::new("/usr/sbin/sshd").arg("-D").arg("-f").arg(path("sshd_config")).stderr(Stdio::null()).spawn();
        let sshd = Ended(sshd.unwrap());
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let known = std::fs::read_to_string(path("host.pub")).unwrap();
        std::fs::write(path("known"), format!("[127.0.0.1]:{port} {known}")).unwrap();
        std::fs::create_dir(path("bin")).unwrap();
        let script = format!(
            "#!/bin/sh\nexec /usr/bin/ssh -F none -i {} -o UserKnownHostsFile={} \"$@\"\n",
            path("laptop").display(),
            path("known").display()
        );
        std::fs::write(path("bin/ssh"), script).unwrap();
        std::fs::set_permissions(path("bin/ssh"), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { _sshd: sshd, folder, port }
    }
}

#[test]
fn an_engine_behind_ssh_builds_and_tries() {
    const TEST: &str = "an_engine_behind_ssh_builds_and_tries";
    let (Some(engine), Some(programs)) =
        (bed("GITOPS_HOOKS_TEST_DOCKER20"), bed("GITOPS_HOOKS_TEST_DOCKER20_PROGRAMS"))
    else {
        return testbed::skipped("needs docker20 of the test bed");
    };
    if std::env::var("GITOPS_HOOKS_TEST_INSIDE").is_err() {
        let remote = Remote::with(&engine, &programs);
        let path = format!("{}:{}", remote.folder.path().join("bin").display(), std::env::var("PATH").unwrap());
        let user = rustix::process::geteuid().as_raw();
        let user = if user == 0 { "root".to_owned() } else { std::env::var("USER").unwrap() };
        let host = format!("ssh://{user}@127.0.0.1:{}", remote.port);
        inside(TEST, &[("DOCKER_HOST", Some(&host)), ("PATH", Some(&path))]);
        return;
    }
    let smoke = "    smoke: { port: 8080, path: /, expect: 404, timeout: 60s }\n";
    let dockerfile = format!("FROM {}\nCOPY a /\nCMD httpd -f -p 8080 -h /\n", busybox());
    let source = Source::new(smoke, &dockerfile);
    source.write("a", "1");
    source.build().unwrap();
}

#[test]
fn what_git_lfs_keeps_is_built_and_not_its_pointer() {
    on_each("what_git_lfs_keeps_is_built_and_not_its_pointer", ALL, |_| {
        let tests = "test \"$(cat /c/data.bin)\" = large && test \"$(wc -l < /c/pointer.txt)\" = 3";
        let source = Source::new(
            &format!("    smoke: {{ run: '{tests}', timeout: 20s }}\n"),
            &format!("FROM {}\nCOPY . /c/\nCMD sleep 100\n", busybox()),
        );
        let hash = Digest::of(b"large").hex().to_owned();
        let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{hash}\nsize 5\n");
        // Where `git lfs` keeps it after a fetch. It is not needed to read it.
        source.write(&format!(".git/lfs/objects/{}/{}/{hash}", &hash[..2], &hash[2..4]), "large");
        source.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
        source.write("pointer.txt", &pointer);
        source.git(&["add", "pointer.txt", ".gitattributes", "Dockerfile"]);
        source.write("data.bin", &pointer);
        let blob = source.git(&["hash-object", "-w", "--no-filters", "data.bin"]);
        source.git(&["update-index", "--add", "--cacheinfo", &format!("100644,{blob},data.bin")]);
        source.git(&["commit", "-qm", "one"]);
        let commit = source.repository.commit("HEAD").unwrap();
        run(source.prepare(&commit)).unwrap();

        // One that nobody has: what `git lfs` would have to fetch.
        source.write("data.bin", pointer.replace(&hash, &hash.chars().rev().collect::<String>()));
        let blob = source.git(&["hash-object", "-w", "--no-filters", "data.bin"]);
        source.git(&["update-index", "--cacheinfo", &format!("100644,{blob},data.bin")]);
        source.git(&["commit", "-qm", "two"]);
        let commit = source.repository.commit("HEAD").unwrap();
        let told = run(source.prepare(&commit)).unwrap_err().to_string();
        assert!(told.starts_with("data.bin is kept by Git LFS and cannot be read"), "{told}");
    });
}
