//! The image room on a real engine and real registries. Where they are stands in the environment, as the test bed writes it;
//! without them each test says so and passes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

#[path = "context/again.rs"]
mod again;
#[path = "context/testbed.rs"]
mod testbed;

use again::inside;
use gitops_hooks::{
    config, git,
    image::{self, Error, ExtraFile, Intent, Origin, Prepared, Request, Transport},
    ui::{Progress, Task, Verbosity},
    values::{ImageName, ImageRef, Oid, Repository, Tag},
};
use miette::Diagnostic;
use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tempfile::TempDir;

/// A value of the test bed, or the sentence that says what is missing.
fn bed(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        testbed::skipped("needs the test bed (make testbed)");
    }
    value
}

/// A registry, and that there is an engine.
fn open_registry() -> Option<String> {
    bed("DOCKER_HOST").and_then(|_| bed("GITOPS_HOOKS_TEST_REGISTRY"))
}

/// A source repository with one image.
struct Source {
    folder: TempDir,
    repository: git::Repository,
    yaml: String,
}

impl Source {
    /// A repository on a registry; `unique` makes its path one that no other run uses.
    fn new(registry: &str, more: &str, dockerfile: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let folder = tempfile::tempdir().unwrap();
        git::Git::at(folder.path()).args(["init", "-q", "-b", "main"]).run().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let path = format!("test/image-{now}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let yaml = format!("images:\n  web:\n    repository: {registry}/{path}\n    plain_http: true\n{more}");
        let source = Self { repository: git::Repository::open(folder.path()).unwrap(), folder, yaml };
        source.write("Dockerfile", dockerfile);
        source
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.folder.path().join(path), text).unwrap();
    }

    fn commit(&self, message: &str) -> Oid {
        let git = || {
            let git = git::Git::at(self.folder.path());
            git.config("user.name", "t").config("user.email", "t@example.com")
        };
        git().args(["add", "."]).run().unwrap();
        git().args(["commit", "-q", "--allow-empty", "-m", message]).run().unwrap();
        self.repository.commit("HEAD").unwrap()
    }

    fn image(&self) -> config::Image {
        config::parse("c.yaml", &self.yaml).unwrap().images.into_values().next().unwrap()
    }
}

fn task() -> Task {
    Progress::new(Verbosity::Quiet).task("web")
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn request<'a>(source: &'a Source, name: &'a ImageName, image: &'a config::Image, commit: &Oid) -> Request<'a> {
    Request {
        repository: &source.repository,
        commit: commit.clone(),
        name,
        image,
        source: Some("https://git.example.com/team/app".to_owned()),
    }
}

async fn prepare(source: &Source, commit: &Oid) -> Result<Prepared, Error> {
    let (name, image) = ("web".parse().unwrap(), source.image());
    image::prepare(&request(source, &name, &image, commit), Intent::WillPublish, &task()).await
}

async fn publish(source: &Source, commit: &Oid, prepared: Prepared) -> Result<image::Published, Error> {
    let (name, image) = ("web".parse().unwrap(), source.image());
    image::publish(&request(source, &name, &image, commit), prepared, &task()).await
}

async fn published(source: &Source, commit: &Oid) -> Option<ImageRef> {
    let (name, image) = ("web".parse().unwrap(), source.image());
    image::published(&request(source, &name, &image, commit)).await.unwrap()
}

async fn engine() -> bollard::Docker {
    bollard::Docker::connect_with_defaults().unwrap().negotiate_version().await.unwrap()
}

async fn pull(docker: &bollard::Docker, image: &str) {
    let options = bollard::query_parameters::CreateImageOptionsBuilder::new().from_image(image).build();
    let pulled: Vec<_> = futures_util::StreamExt::collect(docker.create_image(Some(options), None, None)).await;
    assert!(pulled.iter().all(Result::is_ok), "{pulled:?}");
}

/// The containers of trials of one image.
async fn trials(image: &str) -> usize {
    let filters = HashMap::from([("ancestor", vec![image])]);
    let options = bollard::query_parameters::ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    engine().await.list_containers(Some(options)).await.unwrap().len()
}

/// The full error as a person reads it, and the code that decides the exit code.
fn told(error: &Error) -> (String, String) {
    let help = error.help().map(|help| help.to_string()).unwrap_or_default();
    (format!("{error}\n{help}"), error.code().map(|code| code.to_string()).unwrap_or_default())
}

const SERVER: &str = "    smoke: { port: 8080, path: /index.html, timeout: 30s }\n";

fn server_dockerfile() -> String {
    let base = std::env::var("GITOPS_HOOKS_TEST_BASE_BUSYBOX").unwrap();
    format!("FROM {base}\nWORKDIR /www\nCOPY index.html .\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\"]\n")
}

#[test]
fn an_image_is_built_tried_published_and_then_adopted() {
    let Some(registry) = open_registry() else { return };
    let source = Source::new(&registry, SERVER, &server_dockerfile());
    source.write("index.html", &format!("one of {}\n", source.yaml));
    let first = source.commit("one");
    source.write("index.html.swp", "untracked, and so not in the image");
    run(async {
        assert_eq!(published(&source, &first).await, None);
        let prepared = prepare(&source, &first).await.unwrap();
        let Prepared::Built { id, .. } = &prepared else { panic!("{prepared:?}") };
        assert_eq!(trials(id).await, 0, "the trial's container is gone");
        assert_eq!(published(&source, &first).await, None, "nothing is published before publish is called");

        let inspected = engine().await.inspect_image(id).await.unwrap();
        let labels = inspected.config.unwrap().labels.unwrap();
        assert_eq!(labels["org.opencontainers.image.revision"], first.as_str());
        assert_eq!(labels["org.opencontainers.image.source"], "https://git.example.com/team/app");
        assert_eq!(labels["dev.gitops-hooks.key"], prepared.key().as_str());
        assert!(labels["org.opencontainers.image.base.digest"].starts_with("sha256:"), "{labels:?}");

        let new = publish(&source, &first, prepared).await.unwrap();
        assert_eq!(new.origin, Origin::Built);
        assert_eq!(new.reference.tag, Some(Tag::of_commit(&first)));
        assert_eq!(published(&source, &first).await, Some(new.reference.clone()));

        // A commit that changes nothing of the image: nothing is built, and its tag names the same digest.
        source.write(".dockerignore", "NOTES\n.dockerignore\nDockerfile\n");
        let ignoring = source.commit("two");
        let prepared = prepare(&source, &ignoring).await.unwrap();
        let built = publish(&source, &ignoring, prepared).await.unwrap();
        source.write("NOTES", "left out");
        let third = source.commit("three");
        let prepared = prepare(&source, &third).await.unwrap();
        assert!(matches!(prepared, Prepared::AlreadyPublished { .. }), "{prepared:?}");
        let adopted = publish(&source, &third, prepared).await.unwrap();
        assert_eq!(adopted.origin, Origin::Adopted);
        assert_eq!(adopted.reference.digest, built.reference.digest);
        assert_eq!(adopted.reference.tag, Some(Tag::of_commit(&third)));

        // The key is there, but nobody published this commit: its checks may never have run.
        let fourth = source.commit("four");
        assert_eq!(published(&source, &fourth).await, None);
    });
}

#[test]
fn an_existing_tag_is_never_overwritten() {
    let Some(registry) = open_registry() else { return };
    let source = Source::new(&registry, "", "FROM scratch\nCOPY a /\n");
    source.write("a", &source.yaml);
    let commit = source.commit("one");
    run(async {
        // Two laptops build the same key; the second publishes after the first.
        let slow = prepare(&source, &commit).await.unwrap();
        let quick = publish(&source, &commit, slow.clone()).await.unwrap();
        let late = publish(&source, &commit, slow).await.unwrap();
        assert_eq!((late.origin, &late.reference), (Origin::Adopted, &quick.reference));

        // Another image under a commit's tag stays where it is.
        source.write("a", &format!("other {}", source.yaml));
        let other = source.commit("two");
        let binary = source.folder.path().join("binary");
        std::fs::write(&binary, "elf").unwrap();
        let repository = source.image().repository.clone();
        let tag = Tag::of_commit(&other);
        let taken =
            image::push_binary(&repository, Transport::PlainHttp, &tag, &binary, "linux/amd64", &[]).await.unwrap();
        let prepared = prepare(&source, &other).await.unwrap();
        let kept = publish(&source, &other, prepared).await.unwrap();
        assert_eq!(kept.reference.digest, taken.digest);
    });
}

#[test]
fn a_failing_line_of_a_dockerfile_is_named_with_its_output() {
    let Some(registry) = open_registry() else { return };
    let base = std::env::var("GITOPS_HOOKS_TEST_BASE_BUSYBOX").unwrap();
    // Both lines on one stream: the engine reads the two streams of a step side by side, in no promised order.
    let dockerfile = format!(
        "FROM {base} AS first\nRUN true\n\nFROM {base}\nWORKDIR /a\nCOPY --from=first /etc/passwd .\n# why\nRUN echo before >&2 && \\\n  echo the reason >&2 && \\\n  exit 7\n"
    );
    let source = Source::new(&registry, "", &dockerfile);
    let commit = source.commit("one");
    let error = run(prepare(&source, &commit)).unwrap_err();
    assert_eq!(told(&error).1, "check");
    let Error::Step { place, command, reason, tail } = &error else { panic!("{error:?}") };
    assert_eq!((place.as_str(), reason.as_str()), ("Dockerfile:8", "exit code 7"));
    assert_eq!(command, "RUN echo before >&2 && echo the reason >&2 && exit 7");
    assert_eq!(tail, "before\nthe reason");

    source.write("Dockerfile", "FROM scratch\nCOPY nowhere /\n");
    let error = run(prepare(&source, &source.commit("two"))).unwrap_err();
    assert_eq!(error.to_string(), "Dockerfile:2: COPY nowhere /: \"/nowhere\": not found");

    source.write("Dockerfile", "FROM scratch\nCOPPY a /\n");
    let error = run(prepare(&source, &source.commit("three"))).unwrap_err();
    assert!(error.to_string().contains("line 2") && error.to_string().contains("COPPY"), "{error}");

    source.write("Dockerfile", &format!("FROM {registry}/base/none-such:1\n"));
    let error = run(prepare(&source, &source.commit("four"))).unwrap_err();
    assert!(error.to_string().contains("none-such:1"), "{error}");
}

#[test]
fn a_trial_that_fails_shows_its_log_and_leaves_no_container() {
    let Some(registry) = open_registry() else { return };
    let base = std::env::var("GITOPS_HOOKS_TEST_BASE_BUSYBOX").unwrap();
    let ended = format!("FROM {base}\nCMD echo no database; exit 3\n");
    let source = Source::new(&registry, SERVER, &ended);
    let commit = source.commit("one");
    let error = run(prepare(&source, &commit)).unwrap_err();
    let Error::Smoke { reason, tail, .. } = &error else { panic!("{error:?}") };
    assert_eq!((reason.as_str(), tail.as_str()), ("ended with exit code 3 before it answered", "no database\n"));

    let silent =
        Source::new(&registry, "    smoke: { port: 8080, timeout: 2s }\n", &format!("FROM {base}\nCMD sleep 60\n"));
    let error = run(prepare(&silent, &silent.commit("one"))).unwrap_err();
    assert!(error.to_string().contains("did not answer GET / within 2s"), "{error}");

    let wrong = Source::new(&registry, "    smoke: { port: 8080, path: /none, timeout: 4s }\n", &server_dockerfile());
    wrong.write("index.html", "x");
    let error = run(prepare(&wrong, &wrong.commit("one"))).unwrap_err();
    assert!(error.to_string().contains("GET /none answered 404, not 200"), "{error}");
    for source in [&source, &silent, &wrong] {
        let name = run(image_name(source));
        assert_eq!(run(trials(&name)), 0, "{name}");
    }
}

/// The name that a built image has in the engine.
#[test]
fn an_app_that_is_not_ready_yet_has_all_of_its_time() {
    let (Some(registry), Some(base)) = (open_registry(), bed("GITOPS_HOOKS_TEST_BASE_BUSYBOX")) else { return };
    // Longer than a plainly wrong answer may take, which is half of the limit.
    let warming = "BEGIN=$(date +%s); while :; do S='503 Later'; [ $(($(date +%s) - BEGIN)) -ge 8 ] && S='200 OK'; printf \"HTTP/1.1 $S\\r\\nContent-Length: 0\\r\\n\\r\\n\" | nc -l -p 8080 -w 1; done";
    let dockerfile = format!("FROM {base}\nCOPY serve /\nCMD sh /serve\n");
    let source = Source::new(&registry, "    smoke: { port: 8080, timeout: 12s }\n", &dockerfile);
    source.write("serve", warming);
    run(prepare(&source, &source.commit("start"))).unwrap();
    let ready = "    smoke: { run: 'test -e /tmp/ready', timeout: 12s }\n";
    let dockerfile = format!("FROM {base}\nCMD sleep 8; touch /tmp/ready; sleep 60\n");
    let source = Source::new(&registry, ready, &dockerfile);
    run(prepare(&source, &source.commit("start"))).unwrap();
    let never = "    smoke: { run: 'echo no database; exit 4', timeout: 2s }\n";
    let source = Source::new(&registry, never, &format!("FROM {base}\nCMD sleep 60\n"));
    let error = run(prepare(&source, &source.commit("start"))).unwrap_err().to_string();
    assert!(error.ends_with("exit code 4: no database; it was tried again for 2s"), "{error}");
}

async fn image_name(source: &Source) -> String {
    let (name, image) = ("web".parse().unwrap(), source.image());
    let commit = source.repository.commit("HEAD").unwrap();
    let key = image::key(&request(source, &name, &image, &commit)).await.unwrap();
    format!("{}:{}", *image.repository, key.tag())
}

#[test]
fn a_trial_that_is_given_up_leaves_no_container() {
    let Some(registry) = open_registry() else { return };
    let base = std::env::var("GITOPS_HOOKS_TEST_BASE_BUSYBOX").unwrap();
    let source =
        Source::new(&registry, "    smoke: { port: 8080, timeout: 60s }\n", &format!("FROM {base}\nCMD sleep 60\n"));
    let commit = source.commit("one");
    run(async {
        let name = image_name(&source).await;
        let given_up = async {
            // Until the trial runs.
            loop {
                if engine().await.inspect_image(&name).await.is_ok() && trials(&name).await > 0 {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            ended = prepare(&source, &commit) => panic!("{ended:?}"),
            () = given_up => {}
        }
        assert_eq!(trials(&name).await, 0);
    });
}

#[test]
fn what_a_dead_process_left_is_removed_by_the_next_trial() {
    let Some(registry) = open_registry() else { return };
    let base = std::env::var("GITOPS_HOOKS_TEST_BASE_BUSYBOX").unwrap();
    let source = Source::new(&registry, SERVER, &server_dockerfile());
    source.write("index.html", "x");
    let commit = source.commit("one");
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    run(async {
        let docker = engine().await;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let owners = [format!("{} 0 {host}", dead.id()), format!("{} 0 another-machine", dead.id())];
        pull(&docker, &base).await;
        let mut ids = Vec::new();
        for owner in owners {
            let body = bollard::models::ContainerCreateBody {
                image: Some(base.clone()),
                cmd: Some(vec!["true".to_owned()]),
                labels: Some(HashMap::from([("dev.gitops-hooks.smoke".to_owned(), owner)])),
                ..bollard::models::ContainerCreateBody::default()
            };
            let options = None::<bollard::query_parameters::CreateContainerOptions>;
            ids.push(docker.create_container(options, body).await.unwrap().id);
        }
        prepare(&source, &commit).await.unwrap();
        assert!(docker.inspect_container(&ids[0], None).await.is_err(), "its process is gone");
        assert!(docker.inspect_container(&ids[1], None).await.is_ok(), "nobody here can tell");
        let force = bollard::query_parameters::RemoveContainerOptionsBuilder::new().force(true).build();
        docker.remove_container(&ids[1], Some(force)).await.unwrap();
    });
}

/// A docker configuration that knows one registry.
fn docker_config(registry: &str, user: &str, password: &str) -> TempDir {
    use base64::Engine;
    let folder = tempfile::tempdir().unwrap();
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let config = serde_json::json!({ "auths": { registry: { "auth": auth } } });
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

fn password_registry() -> Option<(String, String, String)> {
    bed("DOCKER_HOST")?;
    Some((bed("GITOPS_HOOKS_TEST_REGISTRY_AUTH")?, bed("GITOPS_HOOKS_TEST_USER")?, bed("GITOPS_HOOKS_TEST_PASSWORD")?))
}

#[test]
fn the_users_own_password_opens_a_registry() {
    let Some((registry, user, password)) = password_registry() else { return };
    let config = docker_config(&registry, &user, &password);
    let variables = [("DOCKER_CONFIG", config.path().to_str())];
    if !inside("the_users_own_password_opens_a_registry", &variables) {
        return;
    }
    let source = Source::new(&registry, "", "FROM scratch\nCOPY a /\n");
    source.write("a", &source.yaml);
    let commit = source.commit("one");
    run(async {
        let prepared = prepare(&source, &commit).await.unwrap();
        let new = publish(&source, &commit, prepared).await.unwrap();
        assert_eq!(published(&source, &commit).await, Some(new.reference));
    });
}

#[test]
fn a_wrong_password_is_told_with_what_to_do() {
    let Some((registry, user, _)) = password_registry() else { return };
    let config = docker_config(&registry, &user, "wr0ng-secret");
    let variables = [("DOCKER_CONFIG", config.path().to_str())];
    if !inside("a_wrong_password_is_told_with_what_to_do", &variables) {
        return;
    }
    let source = Source::new(&registry, "", "FROM scratch\nCOPY a /\n");
    source.write("a", "a");
    let commit = source.commit("one");
    let (text, code) = told(&run(prepare(&source, &commit)).unwrap_err());
    assert_eq!(code, "environment");
    assert!(text.contains(&format!("the registry {registry} refuses the user {user}")), "{text}");
    assert!(text.contains(&format!("docker login {registry}")) && !text.contains("wr0ng-secret"), "{text}");

    // The engine's own words are understood too: a trial asks the registry nothing, its push does.
    let (name, image) = ("web".parse().unwrap(), source.image());
    let request = request(&source, &name, &image, &commit);
    let prepared = run(image::prepare(&request, Intent::TrialOnly, &task())).unwrap();
    assert!(matches!(run(publish(&source, &commit, prepared)), Err(Error::Refused { .. })));
}

#[test]
fn without_an_engine_every_place_that_was_looked_at_is_told() {
    let nowhere = tempfile::tempdir().unwrap();
    let gone = format!("unix://{}/gone.sock", nowhere.path().display());
    let variables =
        [("DOCKER_HOST", Some(gone.as_str())), ("DOCKER_CONTEXT", None), ("DOCKER_CONFIG", nowhere.path().to_str())];
    if !inside("without_an_engine_every_place_that_was_looked_at_is_told", &variables) {
        return;
    }
    let source = Source::new("registry.example.com", "", "FROM scratch\n");
    let commit = source.commit("one");
    let (name, image) = ("web".parse().unwrap(), source.image());
    let error = run(image::prepare(&request(&source, &name, &image, &commit), Intent::TrialOnly, &task())).unwrap_err();
    let (text, code) = told(&error);
    assert_eq!(code, "environment");
    assert!(text.starts_with("no container engine answers; looked at\n  unix://"), "{text}");
    assert!(text.contains("gone.sock (DOCKER_HOST): not there") && text.contains("start Docker"), "{text}");
}

#[test]
fn a_registry_that_nobody_knows_is_told() {
    let source = Source::new("127.0.0.1:1", "", "FROM scratch\n");
    let (text, code) = told(&run(prepare(&source, &source.commit("one"))).unwrap_err());
    assert_eq!(code, "environment");
    assert!(text.contains("cannot reach the registry 127.0.0.1:1") && text.contains("onnection refused"), "{text}");
}

/// A registry that can be cut off: passes bytes on to another one until it is told to, or has passed some.
struct Proxy {
    port: u16,
    cut: Arc<AtomicBool>,
}

impl Proxy {
    /// `cut_after` bytes sent towards the registry, every connection is closed, and none is taken any more.
    fn to(registry: &str, cut_after: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicUsize::new(0));
        let (registry, is_cut) = (registry.to_owned(), Arc::clone(&cut));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                if is_cut.load(Ordering::SeqCst) {
                    drop(client);
                    continue;
                }
                let Ok(server) = TcpStream::connect(&registry) else { continue };
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (is_cut, sent) = (Arc::clone(&is_cut), Arc::clone(&sent));
                std::thread::spawn(move || {
                    copy(from, to, |bytes| {
                        let all = sent.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        if all > cut_after {
                            is_cut.store(true, Ordering::SeqCst);
                        }
                        all <= cut_after
                    });
                });
                std::thread::spawn(move || copy(server, client, |_| true));
            }
        });
        Self { port, cut }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, mut go_on: impl FnMut(usize) -> bool) {
    let mut piece = [0; 16 << 10];
    while let Ok(length) = from.read(&mut piece) {
        if length == 0 || !go_on(length) || to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn a_registry_that_goes_away_in_a_push_leaves_no_tag() {
    let Some(registry) = open_registry() else { return };
    let proxy = Proxy::to(&registry, 300_000);
    let source = Source::new(&format!("127.0.0.1:{}", proxy.port), "", "FROM scratch\nCOPY noise /\n");
    // Two megabytes that no compression makes small.
    let mut state = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() | 1;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(2 << 20)
    .collect();
    std::fs::write(source.folder.path().join("noise"), noise).unwrap();
    let commit = source.commit("one");
    run(async {
        let prepared = prepare(&source, &commit).await.unwrap();
        let error = publish(&source, &commit, prepared.clone()).await.unwrap_err();
        assert!(proxy.cut.load(Ordering::SeqCst), "the push was cut: {error}");
        let (text, code) = told(&error);
        assert_eq!(code, "environment");
        assert!(text.contains("cannot reach the registry 127.0.0.1:"), "{text}");
        assert!(text.contains("nothing was published"), "{text}");

        // Asked behind the proxy's back: no tag.
        let direct = Source { yaml: source.yaml.replace(&format!("127.0.0.1:{}", proxy.port), &registry), ..source };
        assert_eq!(published(&direct, &commit).await, None);
        // And the next try goes on.
        assert_eq!(publish(&direct, &commit, prepared).await.unwrap().origin, Origin::Built);
    });
}

#[test]
fn an_image_of_a_binary_runs() {
    let Some(registry) = open_registry() else { return };
    let Ok(release) = std::env::var("GITOPS_HOOKS_RELEASE") else {
        testbed::skipped("needs a static binary (GITOPS_HOOKS_RELEASE)");
        return;
    };
    let source = Source::new(&registry, "", "FROM scratch\n");
    let repository: Repository = (*source.image().repository).clone();
    let tag: Tag = "0.1.0".parse().unwrap();
    run(async {
        let extra = [ExtraFile { path: "etc/ssl/certs/extra.pem".to_owned(), bytes: b"pem".to_vec(), mode: 0o644 }];
        let push = async |binary: &str| {
            let path = Path::new(binary);
            image::push_binary(&repository, Transport::PlainHttp, &tag, path, "linux/amd64", &extra).await.unwrap()
        };
        let first = push(&release).await;
        assert_eq!(first, push(&release).await, "the same binary is the same image");
        let other = push("/bin/true").await;
        assert_ne!(other.digest, first.digest);
        assert_ne!(other.tag, first.tag, "a tag in use is left alone");

        let docker = engine().await;
        let name = first.to_string();
        pull(&docker, &name).await;
        let body = bollard::models::ContainerCreateBody {
            image: Some(name),
            cmd: Some(vec!["--version".to_owned()]),
            ..bollard::models::ContainerCreateBody::default()
        };
        let options = None::<bollard::query_parameters::CreateContainerOptions>;
        let id = docker.create_container(options, body).await.unwrap().id;
        docker.start_container(&id, None::<bollard::query_parameters::StartContainerOptions>).await.unwrap();
        let wait = None::<bollard::query_parameters::WaitContainerOptions>;
        let ended: Vec<_> = futures_util::StreamExt::collect(docker.wait_container(&id, wait)).await;
        assert_eq!(ended[0].as_ref().unwrap().status_code, 0);
        let force = bollard::query_parameters::RemoveContainerOptionsBuilder::new().force(true).build();
        docker.remove_container(&id, Some(force)).await.unwrap();
    });
}
