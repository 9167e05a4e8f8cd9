//! An application with a real engine and registry, from commit to delivery by its hooks.

use crate::{
    context::{Done, TestContext},
    testbed,
};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

pub struct Bed {
    pub context: TestContext,
    pub manifests: PathBuf,
}

/// How many there have been: each has an image of its own.
static BEDS: AtomicU32 = AtomicU32::new(0);

/// An application whose first commit is published and delivered by this program.
pub fn bed(program: &Path) -> Option<Bed> {
    let registry = testbed::value("GITOPS_HOOKS_TEST_REGISTRY")?;
    testbed::value("DOCKER_HOST")?;
    let context = TestContext::new();
    let (remote, manifests) = (context.beside("remote.git"), context.beside("manifests.git"));
    for bare in [&remote, &manifests] {
        context.git(&["init", "-q", "--bare", "-b", "main", bare.to_str().unwrap()]);
    }
    let bed = BEDS.fetch_add(1, Ordering::Relaxed);
    let image = format!("{registry}/gate-{}-{bed}/web", std::process::id());
    let hand = context.beside("hand");
    context.git(&["clone", "-q", manifests.to_str().unwrap(), hand.to_str().unwrap()]);
    std::fs::create_dir(hand.join("staging")).unwrap();
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  containers:\n    - name: web\n      image: {image}:0\n"
    );
    std::fs::write(hand.join("staging/pod.yaml"), manifest).unwrap();
    in_folder(&context, &hand, &["add", "."]);
    in_folder(&context, &hand, &["commit", "-q", "-m", "By hand"]);
    in_folder(&context, &hand, &["push", "-q", "origin", "HEAD:main"]);

    context.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
    context.write("Dockerfile", "FROM scratch\nCOPY v /v\n");
    context.write("v", "good\n");
    context.write("test.sh", "! grep -q broken v\n");
    context.write(
        ".gitops-hooks.yaml",
        &format!("hooks:\n  pre-push:\n    - {{name: test, run: sh test.sh, files: [v, '*.sh']}}\n    - image: web\nimages:\n  web: {{repository: {image}, plain_http: true}}\nenvironments:\n  staging:\n    branch: main\n    manifests: {{url: \"{}\", path: staging}}\n    images: [web]\n", manifests.display()),
    );
    context.git(&["config", "user.name", "A Developer"]);
    context.git(&["config", "user.email", "dev@example.com"]);
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "Start"]);
    let done = TestContext::run(context.command(program).args(["install", "--yes"]));
    assert_eq!(done.code, Some(0), "{done:?}");
    let done = push(&context);
    assert!(done.code == Some(0) && done.stderr.contains("is delivered by"), "{}", done.stderr);
    Some(Bed { context, manifests })
}

pub fn push(context: &TestContext) -> Done {
    context.try_git(&["push", "-u", "origin", "main"])
}

pub fn in_folder(context: &TestContext, folder: &Path, args: &[&str]) -> String {
    let done = TestContext::run(context.command("git").args(args).current_dir(folder));
    assert_eq!(done.code, Some(0), "git {args:?}: {}", done.stderr);
    done.stdout
}

impl Bed {
    /// A commit that reaches the branch without any hook, as by a host's merge button.
    pub fn merged_on_the_host(&self, path: &str, text: &str) {
        let other = self.context.beside("other");
        let remote = self.context.beside("remote.git");
        self.context.git(&["clone", "-q", remote.to_str().unwrap(), other.to_str().unwrap()]);
        std::fs::write(other.join(path), text).unwrap();
        in_folder(&self.context, &other, &["commit", "-q", "-a", "-m", "Merged on the host"]);
        in_folder(&self.context, &other, &["push", "-q", "origin", "main"]);
    }

    pub fn deliveries(&self) -> usize {
        let log = in_folder(&self.context, &self.manifests, &["log", "--format=%s", "main"]);
        log.lines().filter(|line| line.starts_with("Deliver")).count()
    }
}
