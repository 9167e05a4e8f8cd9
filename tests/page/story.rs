//! The demo's story played while the page is open, against the real engine, registry, git server and cluster: every state is seen
//! without a reload, and every button is pressed.

use super::{
    super::{context::TestContext, testbed},
    browser::{Browser, shots},
    served::Served,
};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const PORT: &str = "32007";

struct Demo {
    home: tempfile::TempDir,
    /// Its environment, namespace and repositories: the registry of a bed that is used again has nothing of it yet.
    name: String,
}

impl Demo {
    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(format!("{}/tests/demo/{name}", env!("CARGO_MANIFEST_DIR")));
        command
            .env("DEMO_HOME", self.path("demo"))
            .env("DEMO_ENVIRONMENT", &self.name)
            .env("DEMO_NAMESPACE", &self.name)
            .env("DEMO_PORT", PORT)
            .env("DEMO_WATCHED", self.home.path());
        command
    }

    /// Lets the story go on that waits to be watched.
    fn go_on(&self, seen: &str) {
        std::fs::write(self.path(seen), "").unwrap();
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    /// A command in the first clone, with the demo's own identity.
    fn here(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path("demo/flask-app"))
            .env("GIT_CONFIG_GLOBAL", self.path("demo/gitconfig"))
            .env("NO_COLOR", "1");
        command
    }

    fn git(&self, folder: &str, args: &[&str]) -> String {
        let done = TestContext::run(self.here("git").current_dir(self.path(folder)).args(args));
        assert_eq!(done.code, Some(0), "git {args:?}: {}", done.stderr);
        done.stdout
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.script("clean").stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn wait_for(path: &Path) {
    let began = Instant::now();
    while !path.exists() {
        assert!(began.elapsed() < Duration::from_secs(600), "{} never came", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a story is told from beginning to end")]
fn the_story_is_seen_as_it_happens_and_every_button_works() {
    let (Some(_), Some(_)) = (testbed::value("GITOPS_HOOKS_TEST_GIT_SSH"), testbed::value("KUBECONFIG")) else {
        return;
    };
    let Some(browser) = Browser::start() else { return };
    let binary = testbed::value("GITOPS_HOOKS_RELEASE")
        .map_or_else(|| assert_cmd::cargo::cargo_bin!("gitops-hooks").to_owned(), PathBuf::from);
    // On a picture stands what a reader would have there.
    let name = if shots().is_some() { "staging".to_owned() } else { format!("page-{}", std::process::id()) };
    let demo = Demo { home: tempfile::tempdir().unwrap(), name };
    let name = &demo.name;
    let log = std::fs::File::create(demo.path("demo.log")).unwrap();
    let mut play = demo.script("run").arg(&binary).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();

    // The page is opened as soon as there is something to open it in.
    wait_for(&demo.path("demo/flask-app/.git/hooks/pre-commit"));
    let served = Served::start(demo.here(&binary).args(["ui"]));
    browser.open(&served.address);
    browser.until("#live", "live");
    demo.go_on("ready");
    browser.until("#stopped", "Nothing was committed");
    browser.until("#stopped pre", "verson");
    demo.go_on("stopped");
    let row = |subject: &str| {
        let find = format!(
            "[...document.querySelectorAll('.row')].find(row => row.querySelector('.subject').innerText === {subject:?})?.id ?? ''"
        );
        let began = Instant::now();
        loop {
            let id = browser.value(&find).as_str().unwrap_or_default().to_owned();
            if !id.is_empty() {
                return format!("#{id}");
            }
            assert!(began.elapsed() < Duration::from_secs(300), "no row says {subject:?}:\n{}", browser.text("body"));
            std::thread::sleep(Duration::from_millis(40));
        }
    };
    let first = row("Start the app");
    browser.until(&format!("{first} .cell:nth-of-type(1)"), "passed");
    browser.until(&format!("{first} .cell:nth-of-type(2)"), "✓");
    browser.until(&format!("{first} .cell:nth-of-type(3)"), "healthy");
    browser.shoot_all("pipeline-first");
    demo.go_on("delivered");
    let merge = row("Merge version-2");
    browser.until(&format!("{merge} .cell:nth-of-type(3)"), "healthy");
    browser.until(&format!("{first} .cell:nth-of-type(3)"), "replaced");
    let played = play.wait().unwrap();
    assert!(played.success(), "{}", std::fs::read_to_string(demo.path("demo.log")).unwrap());
    browser.shoot_all("pipeline-merged");

    // What is behind a row: why each step ran or did not, the key, the patch, the objects.
    browser.click(&format!("{first} .subject"));
    for wanted in ["passed on these inputs", "What the key holds", "The delivered patch", "replaced"] {
        browser.until("#sheet", wanted);
    }
    browser.key("\u{e00c}");
    browser.click(&format!("{merge} .subject"));
    for wanted in ["app.py", "Deployment", "2/2", "healthy"] {
        browser.until("#sheet", wanted);
    }
    browser.click("#sheet section:nth-of-type(3) summary");
    browser.until("#sheet .diff .added", "git-");
    browser.shoot("detail-bed-1280-light");
    browser.key("\u{e00c}");

    // A second environment, to promote to: a path of the same repository.
    let config = std::fs::read_to_string(demo.path("demo/flask-app/.gitops-hooks.yaml")).unwrap();
    let url = format!("{}{name}-manifests.git", testbed::value("GITOPS_HOOKS_TEST_GIT_SSH").unwrap());
    let more = format!(
        "  {name}-live:\n    promote: {name}\n    manifests: {{ url: {url:?}, path: live }}\n    images: [flask-app]\n    namespace: {name}\n"
    );
    let (folder, manifests) = ("demo/flask-app", "demo/manifests");
    std::fs::create_dir(demo.path("demo/manifests/live")).unwrap();
    let deployment = std::fs::read_to_string(demo.path("demo/manifests/staging/deployment.yaml")).unwrap();
    std::fs::write(demo.path("demo/manifests/live/deployment.yaml"), deployment.replace("32007", "32008")).unwrap();
    demo.git(manifests, &["add", "."]);
    demo.git(manifests, &["commit", "-qm", "A place for what was tried"]);
    demo.git(manifests, &["push", "-q", "origin", "HEAD:main"]);
    assert!(config.contains("environments:\n"), "{config}");
    std::fs::write(
        demo.path("demo/flask-app/.gitops-hooks.yaml"),
        config.replace("environments:\n", &format!("environments:\n{more}")),
    )
    .unwrap();
    demo.git(folder, &["add", "."]);
    demo.git(folder, &["commit", "-qm", "Name where it goes next"]);
    demo.git(folder, &["push", "-q"]);

    browser.open(&format!("{}environments", served.address));
    let (here, live) = (format!("#environment-{name}"), format!("#environment-{name}-live"));
    browser.until(&format!("{here} header"), "healthy");
    browser.until(&live, "Nothing was delivered here yet");
    let state = |path: &str| {
        demo.git(manifests, &["fetch", "-q"]);
        demo.git(manifests, &["show", &format!("origin/main:{path}/.gitops-hooks/state.yaml")])
    };
    let press = |card: &str, button: &str, fill: &[(&str, &str)], command: &str| {
        browser.click(&format!("{card} a[href$='/{button}']"));
        browser.until("#sheet .confirm", "This runs");
        for (field, text) in fill {
            browser.write(&format!("#sheet [name={field}]"), text);
        }
        assert_eq!(browser.text("#sheet .confirm .command"), command);
        browser.shoot(&format!("confirm-{button}-1280-light"));
        browser.click("#sheet .confirm [type=submit]");
        browser.until("#sheet .act", "done");
        browser.key("\u{e00c}");
    };

    press(
        &here,
        "hold",
        &[("message", "it's the release")],
        &format!(r"gitops-hooks hold -- {name} 'it'\''s the release'"),
    );
    browser.until(&format!("{here} .waits"), "it's the release");
    assert!(state("staging").contains("it's the release"));
    press(&here, "release", &[], &format!("gitops-hooks release {name}"));
    browser.until(&format!("{here} .buttons"), "Hold");
    assert!(!state("staging").contains("hold:"));
    browser.until(&format!("{here} header"), "healthy");

    press(&live, "promote", &[], &format!("gitops-hooks promote {name}-live"));
    browser.until(&live, &format!("promoted from {name}"));
    assert!(state("live").contains("reference:"));
    browser.until(&format!("#arrow-{name}-live"), "the same");

    press(
        &here,
        "rollback",
        &[("message", "2 is late")],
        &format!("gitops-hooks rollback '--message=2 is late' {name}"),
    );
    browser.until(&format!("{here} .waits"), "2 is late");
    browser.until(&format!("{here} .by"), "rolled back: 2 is late");
    browser.until(&format!("{here} header"), "healthy");
    browser.until(&format!("#arrow-{name}-live"), "commit");
    browser.shoot_all("environments");
    press(&here, "deliver", &[], &format!("gitops-hooks deliver {name}"));
    browser.until("#acts", "held by");
    press(&here, "release", &[], &format!("gitops-hooks release {name}"));
    browser.until(&format!("{here} header"), "healthy");

    // What cannot be done says why.
    browser.click(&format!("{live} a[href$='/rollback']"));
    browser.until("#sheet .confirm", "This runs");
    browser.click("#sheet .confirm [type=submit]");
    browser.until("#sheet .act", "failed");
    browser.until("#sheet .act", "anything else");
    browser.shoot("refused-1280-light");
    browser.key("\u{e00c}");

    browser.open(&format!("{}trends", served.address));
    browser.until(".figures", "Commit to healthy");
    for wanted in ["Deliveries a week", "Time of each step", "test", "flask-app"] {
        browser.until("main", wanted);
    }
    assert!(browser.value("document.querySelectorAll('.chart .dot').length").as_i64().unwrap() > 3);
    assert!(!browser.text(".figure:first-child b").contains('–'), "no delivery was seen healthy");
    browser.shoot_all("trends");
    browser.open(&served.address);
    browser.until(".row", "Merge version-2");
    browser.fits(&[360, 1280, 2560]);
    browser.shoot_all("pipeline");

    // The same as one file.
    let report = demo.path("report.html");
    let done = TestContext::run(demo.here(&binary).args(["ui", "--export"]).arg(&report));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    browser.open(&format!("file://{}", report.display()));
    browser.until("main", "Merge version-2");
    browser.until(".page", "The delivered patch");
    browser.shoot_all("report");
}
