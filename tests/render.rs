//! Overlays and charts as environments: the source is edited byte-exactly, and what the user's own kustomize and helm make of
//! it is in the same commit. Against the real programs, which are installed once into the user's cache folder with Go.

#![allow(clippy::unwrap_used, clippy::panic, reason = "clippy takes the functions beside tests for no tests")]

#[path = "context/testbed.rs"]
mod testbed;

use gitops_hooks::{
    config,
    deliver::{self, Act, Build, Builds, ResolveError, Seen, Session, Target, Wish},
    git::{Git, Prompts, Repository},
    ui::{Progress, Verbosity},
    values::{ImageName, ImageRef, Oid},
};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

const REPOSITORY: &str = "registry.example.com/team/flask-app";
const PROGRAMS: &[(&str, &str)] =
    &[("kustomize", "sigs.k8s.io/kustomize/kustomize/v5@v5.8.1"), ("helm", "helm.sh/helm/v3/cmd/helm@v3.20.0")];

/// The folder that holds kustomize and helm; `None`, with a word, where they cannot be had.
fn programs() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
        let folder = cache.join("gitops-hooks/bench/bin");
        let there = PROGRAMS.iter().all(|(name, module)| {
            folder.join(name).exists()
                || Command::new("go")
                    .args(["install", module])
                    .env("GOBIN", &folder)
                    .status()
                    .is_ok_and(|s| s.success())
        });
        there.then_some(folder)
    });
    if folder.is_none() {
        testbed::skipped("kustomize and helm are missing, and Go could not install them");
    }
    folder.as_deref()
}

fn git(folder: &Path, args: &[&str]) -> String {
    let output = Git::at(folder).config("init.defaultBranch", "main").args(args).run().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A source with one commit, and a manifest repository.
struct Bed {
    folder: tempfile::TempDir,
}

impl Bed {
    fn with(files: &[(&str, &str)]) -> Self {
        let bed = Self { folder: tempfile::tempdir().unwrap() };
        let here = bed.folder.path();
        for name in ["source.git", "manifests.git"] {
            git(here, &["init", "--quiet", "--bare", "-b", "main", name]);
        }
        for (remote, clone) in [("source.git", "source"), ("manifests.git", "hand")] {
            git(here, &["clone", "--quiet", remote, clone]);
            let clone = here.join(clone);
            for (key, value) in [("user.name", "Ada"), ("user.email", "ada@example.com"), ("commit.gpgSign", "false")] {
                git(&clone, &["config", key, value]);
            }
            git(&clone, &["checkout", "--quiet", "-B", "main"]);
        }
        git(&here.join("source"), &["commit", "--quiet", "--allow-empty", "-m", "one"]);
        git(&here.join("source"), &["push", "--quiet", "-u", "origin", "main"]);
        bed.push(files);
        bed
    }

    /// Commits files to the manifest repository as a person would.
    fn push(&self, files: &[(&str, &str)]) {
        let hand = self.folder.path().join("hand");
        for (path, text) in files {
            fs::create_dir_all(hand.join(path).parent().unwrap()).unwrap();
            fs::write(hand.join(path), text).unwrap();
        }
        git(&hand, &["add", "-A"]);
        git(&hand, &["commit", "--quiet", "-m", "by hand"]);
        git(&hand, &["push", "--quiet", "origin", "HEAD:main"]);
    }

    fn manifest(&self, path: &str) -> String {
        git(&self.folder.path().join("manifests.git"), &["show", &format!("main:{path}")])
    }

    fn changed(&self) -> Vec<String> {
        let names = git(&self.folder.path().join("manifests.git"), &["diff", "--name-only", "main~1", "main"]);
        names.lines().map(str::to_owned).collect()
    }

    fn commits(&self) -> usize {
        git(&self.folder.path().join("manifests.git"), &["log", "--format=%h", "main"]).lines().count()
    }

    fn tip(&self) -> String {
        git(&self.folder.path().join("source"), &["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Delivers in a process of its own, with kustomize and helm on its PATH: what became of it, as people read it.
    fn deliver(&self, manifests: &str) -> Option<String> {
        let path = std::env::join_paths(
            std::iter::once(programs()?.to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        Some(self.deliver_on(path.unwrap(), manifests))
    }

    fn deliver_on(&self, path: OsString, manifests: &str) -> String {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "process", "--ignored", "--nocapture"]).env("PATH", path);
        command.env("RENDER_BED", self.folder.path()).env("RENDER_MANIFESTS", manifests);
        let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let start = output.find("RESULT ").unwrap_or_else(|| panic!("{output}")) + 7;
        let end = output[start..].find("\nEND").unwrap();
        output[start..start + end].to_owned()
    }
}

/// One image, built long ago.
struct Images(ImageRef);

impl Builds for Images {
    fn references(&self, _: &Target<'_>, _: &Oid, _: Build) -> Result<Vec<(ImageName, ImageRef)>, ResolveError> {
        Ok(vec![("web".parse().unwrap(), self.0.clone())])
    }

    fn differed(&self, _: &Target<'_>, _: &ImageName, _: &Oid, _: &Oid) -> Result<bool, ResolveError> {
        Ok(false)
    }
}

#[test]
#[ignore = "only as a process of another test"]
fn process() {
    let Some(bed) = std::env::var_os("RENDER_BED").map(PathBuf::from) else { return };
    let text = format!(
        "images: {{web: {{repository: {REPOSITORY}}}}}\nenvironments:\n  staging:\n    branch: main\n    namespace: shop\n    images: [web]\n    manifests: {{url: '{}', {}}}\n",
        bed.join("manifests.git").display(),
        std::env::var("RENDER_MANIFESTS").unwrap()
    );
    let config = config::parse("c.yaml", &text).unwrap();
    let repository = Repository::open(&bed.join("source")).unwrap();
    let tip = git(&bed.join("source"), &["rev-parse", "HEAD"]).trim().parse().unwrap();
    let target = Target::of(&config, &"staging".parse().unwrap(), deliver::Switch::Refused).unwrap();
    let images = Images(format!("{REPOSITORY}:git-{tip}@sha256:{}", "a".repeat(64)).parse().unwrap());
    let session = Session::new(&repository, Prompts::Never, [&target]);
    let task = Progress::new(Verbosity::Quiet).task("deliver");
    let act = Act::Follow { tip, seen: Seen::Once, build: Build::Missing };
    let result = match deliver::deliver(&session, &[Wish { target: target.clone(), act, task }], &images).remove(0) {
        Ok(deliver::Delivery::Delivered { .. }) => "delivered".to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(error) => format!("{error}\nnext: {}", miette::Diagnostic::help(&error).unwrap()),
    };
    println!("RESULT {result}\nEND");
}

const OVERLAY: &str = "# The overlay of staging.\nresources: [../base]\nnamePrefix: staging-\n\nimages:\n  - name: web            # as the base calls it\n    newName: registry.example.com/team/flask-app\n    newTag: \"16\"\n";
const BASE: &str = "resources: [deployment.yaml]\n";
const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: flask-app}\nspec:\n  selector: {matchLabels: {app: flask-app}}\n  template:\n    metadata: {labels: {app: flask-app}}\n    spec: {containers: [{name: web, image: web}]}\n";
const KUSTOMIZE: &[(&str, &str)] = &[
    ("base/kustomization.yaml", BASE),
    ("base/deployment.yaml", DEPLOYMENT),
    ("staging/kustomization.yaml", OVERLAY),
    ("production/app.yaml", "a: 1\n"),
];
const RENDERED: &str = "staging/.gitops-hooks/rendered.yaml";

#[test]
fn an_overlay_is_edited_and_what_it_becomes_is_in_the_same_commit() {
    let bed = Bed::with(KUSTOMIZE);
    let Some(said) = bed.deliver("path: staging, render: true") else { return };
    assert_eq!(said, "delivered");
    let digest = format!("sha256:{}", "a".repeat(64));
    let edited = OVERLAY.replace("newTag: \"16\"", &format!("digest: {digest}\n    newTag: \"git-{}\"", bed.tip()));
    assert_eq!(bed.manifest("staging/kustomization.yaml"), edited);
    let rendered = bed.manifest(RENDERED);
    assert!(rendered.starts_with("# Rendered by gitops-hooks"), "{rendered}");
    assert!(rendered.contains("name: staging-flask-app"), "{rendered}");
    assert!(rendered.contains(&format!("image: {REPOSITORY}:git-{}@{digest}", bed.tip())), "{rendered}");
    assert_eq!(
        bed.changed(),
        ["staging/.gitops-hooks/rendered.yaml", "staging/.gitops-hooks/state.yaml", "staging/kustomization.yaml"]
    );
    assert_eq!(bed.deliver("path: staging, render: true").unwrap(), "Unchanged");
    assert_eq!(bed.commits(), 2);
}

const CHART: &str = "apiVersion: v2\nname: web\nversion: 1.0.0\n";
const TEMPLATE: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: {{ .Release.Name }}, namespace: {{ .Release.Namespace }}}\nspec:\n  replicas: {{ .Values.replicas }}\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n      containers:\n        - name: web\n          image: \"{{ .Values.image.registry }}/team/flask-app:{{ .Values.image.tag }}{{ with .Values.image.digest }}@{{ . }}{{ end }}\"\n";
const HOOK: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: test, annotations: {helm.sh/hook: test}}\nspec: {containers: [{name: t, image: busybox}]}\n";
const VALUES: &str = "# Staging.\nreplicas: 2\nimage:\n  registry: registry.example.com   # ours\n  repository: team/flask-app\n  tag: \"16\"\n  digest: ''\n";

#[test]
fn the_values_of_a_chart_are_edited_and_what_it_becomes_is_in_the_same_commit() {
    let bed = Bed::with(&[
        ("charts/web/Chart.yaml", CHART),
        ("charts/web/templates/app.yaml", TEMPLATE),
        ("charts/web/templates/test.yaml", HOOK),
        ("charts/web/values.yaml", "replicas: 1\n"),
        ("staging/values.yaml", VALUES),
    ]);
    let manifests = "path: staging, values: values.yaml, render: true, chart: charts/web";
    let Some(said) = bed.deliver(manifests) else { return };
    assert_eq!(said, "delivered");
    let (tip, digest) = (bed.tip(), format!("sha256:{}", "a".repeat(64)));
    let edited = VALUES.replace("\"16\"", &format!("\"git-{tip}\"")).replace("''", &format!("'{digest}'"));
    assert_eq!(bed.manifest("staging/values.yaml"), edited);
    let rendered = bed.manifest(RENDERED);
    for line in
        ["replicas: 2", "name: staging, namespace: shop", &format!("image: \"{REPOSITORY}:git-{tip}@{digest}\"")]
    {
        assert!(rendered.contains(line), "{line} in {rendered}");
    }
    assert!(!rendered.contains("busybox"), "a hook of helm's is for helm");
    assert_eq!(bed.deliver(&format!("{manifests}, release: other")).unwrap(), "Unchanged");
}

#[test]
fn a_chart_that_others_render_has_its_values_edited_and_its_templates_left_alone() {
    let files =
        [("staging/Chart.yaml", CHART), ("staging/templates/app.yaml", TEMPLATE), ("staging/values.yaml", VALUES)];
    let bed = Bed::with(&files);
    let Some(said) = bed.deliver("path: staging, values: [values.yaml]") else { return };
    assert_eq!(said, "delivered");
    assert_eq!(bed.changed(), ["staging/.gitops-hooks/state.yaml", "staging/values.yaml"]);
    let said = bed.deliver("path: staging, values: [other.yaml]").unwrap();
    assert_eq!(said, "Unchanged", "what runs already needs no manifest");
    let bed = Bed::with(&files);
    let said = bed.deliver("path: staging, values: [other.yaml]").unwrap();
    assert!(said.starts_with("staging/other.yaml is not there, and `values` names it"), "{said}");
    let said = bed.deliver("path: staging").unwrap();
    assert!(
        said.contains("; the image at staging/templates/app.yaml:") && said.contains("filled by a template"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_rendered_is_told_and_nothing_is_pushed() {
    let bed = Bed::with(KUSTOMIZE);
    let git_alone = tempfile::tempdir().unwrap();
    let program = which::which("git").unwrap();
    std::os::unix::fs::symlink(program, git_alone.path().join("git")).unwrap();
    let said = bed.deliver_on(git_alone.path().into(), "path: staging, render: true");
    assert!(
        said.starts_with("staging is rendered with `kustomize`, which is not on the PATH\nnext: install kustomize"),
        "{said}"
    );
    let Some(said) = bed.deliver("path: production, render: true, values: []") else { return };
    assert!(said.contains("no manifest under production"), "{said}");
    let note = deliver::waiting(&Repository::open(&bed.folder.path().join("source")).unwrap()).unwrap().remove(0);
    assert!(note.last_error.is_some() && note.attempts == 2);
    bed.push(&[("production/app.yaml", &DEPLOYMENT.replace("image: web", &format!("image: '{REPOSITORY}:16'")))]);
    let said = bed.deliver("path: production, render: true").unwrap();
    assert!(said.contains("production has neither a kustomization.yaml nor a Chart.yaml"), "{said}");
    bed.push(&[("base/kustomization.yaml", "resources: [gone.yaml]\n")]);
    let said = bed.deliver("path: staging, render: true").unwrap();
    assert!(
        said.starts_with("`kustomize build staging` failed on staging: Error:") && said.contains("gone.yaml"),
        "{said}"
    );
    assert_eq!(bed.commits(), 3);
}

#[test]
fn an_edit_that_changes_nothing_in_the_result_is_refused() {
    let bed = Bed::with(KUSTOMIZE);
    // A layer between overlay and base takes away the name that the overlay looks for.
    let between = "resources: [../base]\nimages: [{name: web, newName: registry.example.com/team/other, newTag: v1}]\n";
    let overlay = OVERLAY.replace("../base", "../between");
    bed.push(&[("staging/kustomization.yaml", &overlay), ("between/kustomization.yaml", between)]);
    let Some(said) = bed.deliver("path: staging, render: true") else { return };
    let expected = format!("the delivery changed staging, but what is rendered from it runs no {REPOSITORY}");
    assert!(said.starts_with(&expected), "{said}");
    assert_eq!(bed.commits(), 2);
}

#[test]
fn what_was_rendered_once_is_not_left_to_run_for_ever() {
    let bed = Bed::with(KUSTOMIZE);
    let Some(said) = bed.deliver("path: staging, render: true") else { return };
    assert_eq!(said, "delivered");
    git(&bed.folder.path().join("source"), &["commit", "--quiet", "--allow-empty", "-m", "two"]);
    git(&bed.folder.path().join("source"), &["push", "--quiet", "origin", "main"]);
    let said = bed.deliver("path: staging").unwrap();
    assert!(said.starts_with("staging/.gitops-hooks/rendered.yaml is there, which the cluster runs"), "{said}");
}
