//! `gitops-hooks image` as people type it: real pushes to a real registry, real deliveries, and what is told and removed after.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod context;
#[path = "context/documented.rs"]
mod documented;
#[path = "registry/proxy.rs"]
#[allow(dead_code, reason = "each test file uses a part of this")]
mod proxy;
#[path = "context/testbed.rs"]
mod testbed;

use context::TestContext;
use proxy::{Fate, Proxy};
use serde_json::Value;
use std::{
    collections::HashMap,
    fmt::Write as _,
    os::unix::process::CommandExt,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use testbed::value as bed;

/// A source with one image and one environment, and the manifest repository beside it.
struct Story {
    context: TestContext,
    /// The image's repository: `registry`, and the path below it.
    registry: String,
    path: String,
}

impl Story {
    fn new() -> Option<Self> {
        bed("DOCKER_HOST")?;
        let registry = bed("GITOPS_HOOKS_TEST_REGISTRY")?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let story = Self { context: TestContext::new(), registry, path: format!("test/images-{now}") };
        let context = &story.context;
        let manifests = context.beside("manifests.git").display().to_string();
        context.git(&["init", "-q", "--bare", "-b", "main", &manifests]);
        context.git(&["init", "-q", "--bare", "-b", "main", &context.beside("source.git").display().to_string()]);
        let hand = context.beside("hand").display().to_string();
        context.git(&["clone", "-q", &manifests, &hand]);
        let deployment = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: web }}\nspec:\n  template:\n    spec:\n      containers:\n        - name: web\n          image: {}/{}:none\n",
            story.registry, story.path
        );
        std::fs::create_dir_all(context.beside("hand/staging")).unwrap();
        std::fs::write(context.beside("hand/staging/web.yaml"), deployment).unwrap();
        context.git(&["-C", &hand, "add", "."]);
        context.git(&["-C", &hand, "commit", "-qm", "by hand"]);
        context.git(&["-C", &hand, "push", "-q", "origin", "HEAD:main"]);

        context.write(
            ".gitops-hooks.yaml",
            &format!(
                "hooks:\n  pre-push:\n    - image: web\nimages:\n  web:\n    repository: {}/{}\n    plain_http: true\n    args: {{ COLOUR: red }}\nenvironments:\n  staging:\n    branch: main\n    manifests: {{ url: \"{manifests}\", branch: main, path: staging }}\n    images: [web]\n",
                story.registry, story.path
            ),
        );
        context.write("Dockerfile", "FROM scratch\nARG COLOUR\nCOPY a run.sh /\n");
        context.write("a", &story.path);
        context.write("run.sh", "#!/bin/sh\n");
        context.git(&["add", "."]);
        context.git(&["commit", "-qm", "change 0"]);
        context.git(&["remote", "add", "origin", &context.beside("source.git").display().to_string()]);
        context.git(&["config", "user.name", "A Developer"]);
        context.git(&["config", "user.email", "dev@example.com"]);
        context.must(&["install", "--yes"]);
        Some(story)
    }

    /// A commit that changes the image, pushed and delivered. All are of one second, as those that a rebase writes.
    fn push(&self, number: usize) {
        let context = &self.context;
        context.write("a", &format!("{number} of {}", self.path));
        let mut commit = context.command("git");
        commit.args(["commit", "-qam", &format!("change {number}")]).env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z");
        assert!(commit.status().unwrap().success());
        let pushed = context.try_git(&["push", "-q", "-u", "origin", "main"]);
        assert_eq!(pushed.code, Some(0), "{}", pushed.stderr);
        context.must(&["deliver"]);
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.context.must(arguments)).unwrap()
    }

    /// Every tag, as the registry tells anybody.
    fn tags(&self) -> Vec<String> {
        let address = format!("http://{}/v2/{}/tags/list", self.registry, self.path);
        let output = std::process::Command::new("curl").args(["-sS", &address]).output().unwrap();
        let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let tags = listed["tags"].as_array().cloned().unwrap_or_default();
        tags.iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn images_are_listed_with_where_they_run_and_cleared_away_when_nobody_needs_them() {
    let Some(story) = Story::new() else { return };
    for number in 1..=3 {
        story.push(number);
    }
    let head = story.context.git(&["rev-parse", "HEAD"]).trim().to_owned();

    let listed = story.json(&["image", "list", "--json"]);
    documented::is_documented("image list --json", &listed);
    let published = listed["images"][0]["published"].as_array().unwrap();
    let subjects: Vec<&str> = published.iter().map(|one| one["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["change 3", "change 2", "change 1"], "the newest first");
    assert_eq!(published[0]["runs_in"], serde_json::json!(["staging"]));
    assert_eq!(published[1]["runs_in"], serde_json::json!([]));
    let key = story.context.must(&["image", "key", "web"]);
    assert_eq!(published[0]["key"], key.trim());
    let table = story.context.must(&["image", "list", "-n", "2"]);
    assert!(table.contains("change 2") && !table.contains("change 1") && table.contains("and 1 older"), "{table}");

    // Ten deliveries are kept unless somebody says otherwise.
    let kept = story.context.must(&["image", "prune", "--yes"]);
    assert!(kept.contains("0 go") && kept.contains("3 named by"), "{kept}");
    let before = story.tags();
    let dry = story.context.must(&["image", "prune", "--keep", "1"]);
    assert!(dry.contains("2 go") && dry.contains("change 1") && dry.contains("change 2"), "{dry}");
    assert!(!dry.contains("change 3") && dry.contains("--yes removes it"), "{dry}");
    assert_eq!(story.tags().len(), before.len(), "nothing is removed without a word");

    documented::is_documented("image prune --json", &story.json(&["image", "prune", "--keep", "1", "--json"]));

    story.context.must(&["image", "prune", "--keep", "1", "--yes"]);
    let after = story.tags();
    assert!(after.contains(&format!("git-{head}")), "{after:?}");
    assert_eq!(after.len(), 3, "the image's two tags, and the list of what refers to it: {after:?}");
    let again = story.context.must(&["image", "prune", "--keep", "1", "--yes"]);
    assert!(again.contains("0 go"), "{again}");
    let listed = story.json(&["image", "list", "--json"]);
    assert_eq!(listed["images"][0]["published"].as_array().unwrap().len(), 1);
}

#[test]
fn nothing_is_removed_while_nobody_can_tell_what_runs() {
    let Some(story) = Story::new() else { return };
    for number in 1..=2 {
        story.push(number);
    }
    let before = story.tags();
    std::fs::rename(story.context.beside("manifests.git"), story.context.beside("away.git")).unwrap();
    let done = story.context.hooks(&["image", "prune", "--keep", "1", "--yes"]);
    assert_eq!(done.code, Some(3), "{}{}", done.stdout, done.stderr);
    assert_eq!(story.tags().len(), before.len());
    let listed = story.context.must(&["image", "list"]);
    assert!(listed.contains("what staging runs is not known") && listed.contains("change 2"), "{listed}");
}

#[test]
fn a_key_is_explained_and_two_are_compared() {
    let context = TestContext::new();
    let configuration = |colour: &str| {
        format!("images:\n  web:\n    repository: registry.example.com/app\n    args: {{ COLOUR: {colour} }}\n")
    };
    context.write(".gitops-hooks.yaml", &configuration("red"));
    context.write(".dockerignore", "NOTES\n.gitops-hooks.yaml\n");
    context.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    context.write("run.sh", "#!/bin/sh\n");
    context.git(&["add", "."]);
    context.git(&["commit", "-qm", "one"]);
    let first = context.must(&["image", "key", "web"]);
    assert_eq!(first.trim().len(), 64);

    context.write("NOTES", "left out");
    context.git(&["add", "."]);
    context.git(&["commit", "-qm", "two"]);
    let told = context.must(&["image", "key", "web", "HEAD~1", "HEAD"]);
    assert!(told.contains("the same image"), "{told}");

    context.write(".gitops-hooks.yaml", &configuration("blue"));
    context.write("new", "x");
    context.git(&["update-index", "--chmod=+x", "run.sh"]);
    context.git(&["add", ".gitops-hooks.yaml", "new"]);
    context.git(&["commit", "-qm", "three"]);
    let told = context.must(&["image", "key", "web", "HEAD~1", "HEAD"]);
    assert!(told.contains("~ the arg COLOUR: red → blue"), "{told}");
    assert!(told.contains("+ new") && told.contains("~ run.sh: mode 100644 → 100755"), "{told}");
    assert!(!told.contains("NOTES") && !told.contains("Dockerfile"), "{told}");

    let explained = context.must(&["image", "key", "web", "--explain"]);
    for part in ["platform    linux/amd64", "COLOUR = blue", "4 files", "run.sh"] {
        assert!(explained.contains(part), "{part} in {explained}");
    }
    let json: Value = serde_json::from_str(&context.must(&["image", "key", "--json", "--explain"])).unwrap();
    documented::is_documented("image key --json", &json);
    let compared: Value =
        serde_json::from_str(&context.must(&["image", "key", "web", "HEAD~1", "HEAD", "--json"])).unwrap();
    documented::is_documented("image key IMAGE COMMIT COMMIT --json", &compared);
    assert!(json["images"][0]["parts"].as_array().unwrap().iter().any(|part| part["name"] == "run.sh"), "{json}");

    let unknown = context.hooks(&["image", "key", "none"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("its images are: web"), "{}", unknown.stderr);
    assert_eq!(context.hooks(&["image", "key", "web", "nowhere"]).code, Some(2));
}

#[test]
fn an_image_built_by_hand_is_in_the_engine_and_not_on_the_registry() {
    let Some(story) = Story::new() else { return };
    let head = story.context.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let name = format!("{}/{}:git-{head}", story.registry, story.path);
    story.context.write("a", "not committed, and so not seen");
    let told = story.context.hooks(&["image", "build", "web", "--load"]);
    assert_eq!((told.code, told.stdout.trim()), (Some(0), &*format!("docker run --rm -it {name}")));
    assert!(
        told.stderr.contains(&format!("1 file is not committed as it stands here: {} is built", &head[..9])),
        "{told:?}"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let found =
        runtime.block_on(async { bollard::Docker::connect_with_defaults().unwrap().inspect_image(&name).await });
    let first = found.unwrap().id.unwrap();
    assert_eq!(story.tags(), Vec::<String>::new(), "nothing is published");

    let built = story.json(&["image", "build", "--json"]);
    documented::is_documented("image build --json", &built);
    assert_eq!(built["images"][0]["built"], true);
    let anew = story.json(&["image", "build", "--refresh", "--json"]);
    assert_ne!(anew["images"][0]["id"], first, "nothing comes from the cache");
    assert_eq!(anew["images"][0]["key"], built["images"][0]["key"]);
}

/// The trials of processes that are no more.
async fn left_behind() -> Vec<String> {
    let docker = bollard::Docker::connect_with_defaults().unwrap();
    let label = HashMap::from([("label", vec!["dev.gitops-hooks.smoke"])]);
    let all = bollard::query_parameters::ListContainersOptionsBuilder::new().all(true).filters(&label).build();
    let containers = docker.list_containers(Some(all)).await.unwrap().into_iter().filter_map(|found| found.labels);
    let all = bollard::query_parameters::ListNetworksOptionsBuilder::new().filters(&label).build();
    let networks = docker.list_networks(Some(all)).await.unwrap().into_iter().filter_map(|found| found.labels);
    let owners = containers.chain(networks).map(|labels| labels["dev.gitops-hooks.smoke"].clone());
    let is_dead = |owner: &String| !std::path::Path::new("/proc").join(owner.split(' ').next().unwrap()).exists();
    owners.filter(is_dead).collect()
}

#[test]
fn ctrl_c_at_any_moment_leaves_nothing_running_and_nothing_half_published() {
    let Some(story) = Story::new() else { return };
    let context = &story.context;
    let unique = format!("0.9{}", std::process::id());
    let base = bed("GITOPS_HOOKS_TEST_BASE_BUSYBOX").unwrap();
    let configuration = context.read(".gitops-hooks.yaml");
    let trial = "    smoke: { run: 'sleep 1', timeout: 60s }\n    args:";
    context.write(".gitops-hooks.yaml", &configuration.replace("    args:", trial));
    context.write("Dockerfile", &format!("FROM {base}\nCOPY a /\nRUN sleep {unique}\nCMD sleep 100\n"));
    context.must(&["install", "--yes"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dead_before = runtime.block_on(left_behind());
    let soak = std::env::var_os("SOAK").is_some();
    let moments: Vec<u64> = if soak { (1..60).map(|n| n * 100).collect() } else { vec![100, 600, 1500, 2500, 4000] };
    let mut stopped = 0;
    for (number, moment) in moments.into_iter().enumerate() {
        context.write("a", &format!("{number} of {}", story.path));
        context.git(&["commit", "-qam", &format!("change {number}")]);
        let head = context.git(&["rev-parse", "HEAD"]).trim().to_owned();
        let mut push = context.command("git");
        push.args(["push", "-q", "-u", "origin", "main"]).process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
        let mut push = push.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(moment));
        let group = rustix::process::Pid::from_raw(i32::try_from(push.id()).unwrap()).unwrap();
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::INT);
        let is_pushed = push.wait().unwrap().success();
        stopped += usize::from(!is_pushed);
        let began = std::time::Instant::now();
        let is_left = || {
            let steps = std::process::Command::new("pgrep").args(["-f", &format!("^sleep {unique}")]).output().unwrap();
            let all = runtime.block_on(left_behind());
            !steps.stdout.is_empty() || all.iter().any(|owner| !dead_before.contains(owner))
        };
        while is_left() {
            assert!(began.elapsed() < Duration::from_secs(60), "something still runs");
            std::thread::sleep(Duration::from_millis(100));
        }
        // A tag that is there names something whole.
        for tag in story.tags() {
            let pulled = runtime.block_on(async {
                let docker = bollard::Docker::connect_with_defaults().unwrap();
                let name = format!("{}/{}", story.registry, story.path);
                let image = bollard::query_parameters::CreateImageOptionsBuilder::new().from_image(&name).tag(&tag);
                let told = docker.create_image(Some(image.build()), None, None);
                futures_util::StreamExt::collect::<Vec<_>>(told).await
            });
            let is_image = !tag.starts_with("sha256-");
            assert!(!is_image || pulled.iter().all(Result::is_ok), "{tag}: {pulled:?}");
        }
        assert!(!is_pushed || story.tags().contains(&format!("git-{head}")));
    }
    assert!(stopped > 0, "every push was over before it was stopped");
    story.push(100);
}

/// Many services in one repository, pushed through a proxy that counts.
#[test]
fn of_many_images_only_those_that_changed_are_looked_at_further() {
    const SERVICES: usize = 20;
    let Some(story) = Story::new() else { return };
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, seen) = (Arc::clone(&open), Arc::clone(&most));
    let proxy = Proxy::to(&story.registry, move |asked, _| {
        if asked.is("HEAD", "/manifests/git-") {
            seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(30));
            now.fetch_sub(1, Ordering::SeqCst);
        }
        Fate::Pass
    });
    let context = &story.context;
    let names: Vec<String> = (0..SERVICES).map(|number| format!("s{number}")).collect();
    let mut configuration = "hooks:\n  pre-push:\n".to_owned();
    configuration.extend(names.iter().map(|name| format!("    - image: {name}\n")));
    configuration += "images:\n";
    for name in &names {
        let _ = write!(
            configuration,
            "  {name}:\n    repository: {}/{}/{name}\n    plain_http: true\n    context: {name}\n    dockerfile: {name}/Dockerfile\n",
            proxy.address, story.path
        );
        context.write(&format!("{name}/Dockerfile"), "FROM scratch\nCOPY a /\n");
        context.write(&format!("{name}/a"), &format!("{name} of {}", story.path));
    }
    let manifests = context.beside("manifests.git");
    let _ = write!(
        configuration,
        "environments:\n  staging:\n    branch: main\n    manifests: {{ url: \"{}\", branch: main, path: staging }}\n    images: [{}]\n",
        manifests.display(),
        names.join(", ")
    );
    context.write(".gitops-hooks.yaml", &configuration);
    context.git(&["add", "."]);
    context.git(&["commit", "-qm", "services"]);
    context.must(&["install", "--yes"]);
    let first = context.try_git(&["push", "-u", "origin", "main"]);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert!(first.stderr.matches("pushed, sha256:").count() == SERVICES, "{}", first.stderr);

    let before = proxy.asked().len();
    context.write("s7/a", &format!("changed in {}", story.path));
    context.git(&["commit", "-qam", "one of them"]);
    let second = context.try_git(&["push", "origin", "main"]);
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert_eq!(second.stderr.matches("the registry has it").count(), SERVICES - 1, "{}", second.stderr);
    assert_eq!(second.stderr.matches("pushed, sha256:").count(), 1, "{}", second.stderr);
    let asked = proxy.asked().split_off(before);
    for name in names.iter().filter(|name| *name != "s7") {
        let of: Vec<_> = asked.iter().filter(|asked| asked.path.contains(&format!("/{name}/"))).collect();
        // The commit before, the key, and the new tag: asked for, written, read back.
        assert!(of.iter().all(|asked| asked.path.contains("/manifests/")), "{name}: {of:?}");
        assert!(of.len() <= 5, "{name}: {of:?}");
    }
    let most = most.load(Ordering::SeqCst);
    assert!((2..=8).contains(&most), "{most} at a time");
}

#[test]
fn a_build_that_outlasts_its_steps_limit_is_stopped_and_holds_the_push() {
    let (Some(story), Some(base)) = (Story::new(), bed("GITOPS_HOOKS_TEST_BASE_BUSYBOX")) else { return };
    let context = &story.context;
    let configuration = context.read(".gitops-hooks.yaml");
    let limited = "- {image: web, timeout: 3s, fail_text: ask Ada}";
    context.write(".gitops-hooks.yaml", &configuration.replace("- image: web", limited));
    context.write("Dockerfile", &format!("FROM {base}\nCOPY a /\nRUN sleep 300\n"));
    context.git(&["commit", "-qam", "hang"]);
    let since = std::time::Instant::now();
    let pushed = context.try_git(&["push", "-u", "origin", "main"]);
    assert!(pushed.code != Some(0) && since.elapsed() < Duration::from_secs(60), "{}", pushed.stderr);
    for part in ["the image web was stopped after its time limit of 3.0s", "ask Ada", "`timeout` of its step"] {
        assert!(pushed.stderr.contains(part), "{part} in {}", pushed.stderr);
    }
}

#[test]
fn a_build_that_fails_shows_every_step_to_who_asks_for_all() {
    let (Some(story), Some(base)) = (Story::new(), bed("GITOPS_HOOKS_TEST_BASE_BUSYBOX")) else { return };
    let context = &story.context;
    let dockerfile = format!("FROM {base}\nCOPY a /\nRUN echo fir''st\nRUN seq 40; exit 7\n");
    context.write("Dockerfile", &dockerfile);
    context.git(&["commit", "-qam", "break"]);
    let long = context.hooks(&["image", "build", "web", "-v"]);
    assert!(long.code == Some(1) && long.stderr.contains("│ first\n"), "{}", long.stderr);
    assert_eq!(long.stderr.matches("│ 39\n").count(), 1, "{}", long.stderr);
    assert!(long.stderr.contains("│ 1\n"), "all of it: {}", long.stderr);
    let short = context.hooks(&["image", "build", "web"]);
    assert!(short.code == Some(1) && !short.stderr.contains("│ 1\n"), "{}", short.stderr);
    assert!(short.stderr.contains("│ 39\n") && !short.stderr.contains("echo fir"), "{}", short.stderr);
}

#[test]
fn an_image_to_be_run_has_its_name_although_the_trial_fails() {
    let (Some(story), Some(base)) = (Story::new(), bed("GITOPS_HOOKS_TEST_BASE_BUSYBOX")) else { return };
    let context = &story.context;
    let configuration = context.read(".gitops-hooks.yaml");
    let smoke = "args: { COLOUR: red }\n    smoke: { run: 'exit 1', timeout: 1s }";
    context.write(".gitops-hooks.yaml", &configuration.replace("args: { COLOUR: red }", smoke));
    context.write("Dockerfile", &format!("FROM {base}\nCOPY a /\nCMD sleep 60\n"));
    context.git(&["commit", "-qam", "never right"]);
    let pushed = context.hooks(&["image", "build", "web"]);
    assert!(pushed.stderr.contains("`gitops-hooks image build web --load`"), "{}", pushed.stderr);
    let done = context.hooks(&["image", "build", "web", "--load"]);
    let name = format!("{}/{}:git-{}", story.registry, story.path, context.git(&["rev-parse", "HEAD"]).trim());
    assert!(done.code == Some(1) && done.stderr.contains(&format!("`docker run --rm -it {name}`")), "{}", done.stderr);
    let inspected = std::process::Command::new("curl")
        .args(["-sS", "--fail", "--unix-socket", bed("DOCKER_HOST").unwrap().trim_start_matches("unix://")])
        .arg(format!("http://engine/images/{name}/json"))
        .output()
        .unwrap();
    assert!(inspected.status.success(), "{inspected:?}");
}
