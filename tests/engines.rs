//! Builds and trial runs on every engine of the test bed: Docker of today, Docker 20.10, Podman 4.3. Without them each test
//! says so and passes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

#[path = "context/again.rs"]
mod again;
#[path = "engines/away.rs"]
mod away;
#[path = "engines/ignored.rs"]
mod ignored;
#[path = "context/images.rs"]
mod images;
#[path = "engines/reached.rs"]
mod reached;
#[path = "context/testbed.rs"]
mod testbed;

use again::{again, inside, passes_again};
use gitops_hooks::{
    image::{self, Error, Prepared, Transport},
    values::Digest,
};
use images::{Source, bed, busybox, engine, memory, run};
use std::{
    collections::HashMap,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Child, Command, Stdio},
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

/// What trials of this process have left: containers and networks.
async fn left() -> (usize, usize) {
    left_by(std::process::id()).await
}

async fn left_by(process: u32) -> (usize, usize) {
    let label = HashMap::from([("label", vec!["dev.gitops-hooks.smoke"])]);
    let this = format!("{process} ");
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
fn what_a_killed_trial_left_is_removed_by_the_next_one() {
    const TEST: &str = "what_a_killed_trial_left_is_removed_by_the_next_one";
    on_each(TEST, ALL, |_| {
        let dockerfile = format!("FROM {}\nCMD sleep 300\n", busybox());
        if std::env::var("GITOPS_HOOKS_TEST_VICTIM").is_ok() {
            // Until it is killed.
            let _ = Source::new("    smoke: { port: 8080, timeout: 300s }\n", &dockerfile).build();
            return;
        }
        let mut victim = again(TEST, &[("GITOPS_HOOKS_TEST_VICTIM", Some("1"))]);
        let mut victim = victim.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pid = victim.id();
        run(async {
            while left_by(pid).await != (1, 1) {
                assert!(victim.try_wait().unwrap().is_none(), "it ended before its trial began");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        victim.kill().unwrap();
        victim.wait().unwrap();
        assert_eq!(run(left_by(pid)), (1, 1), "nobody was there to remove them");
        Source::new("    smoke: { run: 'true', timeout: 60s }\n", &dockerfile).build().unwrap();
        assert_eq!(run(left_by(pid)), (0, 0));
    });
}

#[test]
fn what_was_tried_at_this_commit_is_not_built_and_tried_again() {
    on_each("what_was_tried_at_this_commit_is_not_built_and_tried_again", ALL, |_| {
        let smoke = "    smoke: { run: 'true', timeout: 60s }\n";
        let mut source = Source::new(smoke, &format!("FROM {}\nCOPY a /\nCMD sleep 100\n", busybox()));
        source.write("a", &source.yaml);
        let commit = source.commit("one");
        let built = |source: &Source, commit: &_| match run(source.prepare(commit)).unwrap() {
            Prepared::Built { id, note, .. } => (id, note),
            other @ Prepared::AlreadyPublished { .. } => panic!("{other:?}"),
        };
        let tried = |(_, note): &(String, String)| note == "and tried before";
        let first = built(&source, &commit);
        assert!(!tried(&first), "{first:?}");
        let again = built(&source, &commit);
        assert!(tried(&again) && again.0 == first.0, "{again:?}");
        // Another trial, another commit, an engine that has forgotten it: each is a reason.
        source.yaml = source.yaml.replace("timeout: 60s", "timeout: 50s");
        assert!(!tried(&built(&source, &commit)));
        let other = source.commit("two");
        assert!(!tried(&built(&source, &other)));
        let (id, _) = built(&source, &other);
        let force = bollard::query_parameters::RemoveImageOptionsBuilder::new().force(true).build();
        run(engine().remove_image(&id, Some(force), None)).unwrap();
        assert!(!tried(&built(&source, &other)));
    });
}

#[test]
fn what_a_commit_does_not_have_is_told_by_name_with_the_way_out() {
    on_each("what_a_commit_does_not_have_is_told_by_name_with_the_way_out", ALL, |_| {
        let copies = |path: &str| format!("FROM {}\nCOPY {path} /x/\n", busybox());
        let told = |source: &Source| {
            let error = source.build().unwrap_err();
            let help = miette::Diagnostic::help(&error).unwrap().to_string();
            (error.to_string(), help)
        };
        let source = Source::new("", &copies("dist"));
        source.write(".gitignore", "dist/\n");
        source.write("dist/app.js", "1");
        let (text, help) = told(&source);
        assert_eq!(text, "Dockerfile:2: COPY dist /x/: dist is ignored by git, so that no commit has it");
        assert!(help.contains("`before: ") && help.contains("`artifacts: "), "{help}");

        let made =
            Source::new("    before: mkdir dist && echo 1 > dist/app.js\n    artifacts: [dist]\n", &copies("dist"));
        made.write(".gitignore", "dist/\n");
        made.build().unwrap();

        let left_out = Source::new("", &copies("notes"));
        left_out.write(".dockerignore", "notes\n");
        left_out.write("notes", "1");
        let (text, help) = told(&left_out);
        assert!(text.ends_with("notes is left out by .dockerignore") && help.contains("`!`"), "{text} {help}");
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
            return passes_again("a_secret_is_used_and_stays_nowhere", &variables);
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
            let variables = [("SSH_AUTH_SOCK", socket.to_str()), ("GITOPS_HOOKS_TEST_AGENT", Some("1"))];
            return passes_again("a_step_may_use_the_ssh_agent_where_the_configuration_says_so", &variables);
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
            let classic = [("DOCKER_BUILDKIT", Some("0"))];
            return passes_again("a_builder_that_would_misread_the_dockerfile_is_not_asked", &classic);
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
    // Docker 20.10 pulls nothing from a registry without TLS for a build.
    on_each("a_base_for_another_architecture_is_told", &["docker", "podman"], |_| {
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
        let folder = [("GITOPS_HOOKS_TEST_MEMORY", source.folder.path().to_str())];
        passes_again("memory_does_not_grow_with_the_context", &folder);
    });
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
