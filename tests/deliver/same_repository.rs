//! Code and manifests in one repository: a delivery on the branch of the code is known by what it changes, and starts nothing.

use super::bed::{Bed, Clone, MANIFEST, built, git};
use crate::{registry, testbed};
use gitops_hooks::{
    config::{self, Config},
    deliver::{self, Delivery, Switch, Target},
    values::Oid,
};
use std::fs;

fn text(bed: &Bed, image: &str) -> String {
    let url = bed.path().join("source.git");
    format!(
        "images: {{web: {{repository: {image}, plain_http: true, context: app}}}}\nenvironments:\n  staging:\n    branch: main\n    manifests: {{url: \"{}\", path: deploy/staging}}\n    images: [web]\n",
        url.display()
    )
}

/// A repository with code and manifests side by side.
fn together(image: &str, ignored: bool) -> (Bed, Clone, Oid) {
    let mut bed = Bed::new();
    let url = bed.path().join("source.git").display().to_string();
    bed.url = url;
    let clone = bed.clone("Ada");
    let write = |path: &str, text: &str| {
        let path = clone.folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("app/Dockerfile", "FROM scratch\nCOPY . /\n");
    write("Dockerfile", "FROM scratch\nCOPY . /\n");
    if ignored {
        write(".dockerignore", "deploy\n");
    }
    write("deploy/staging/deployment.yaml", &MANIFEST.replace(super::bed::REPOSITORY, image));
    let host = image.split('/').next().unwrap();
    let line = format!("images are pushed to: {host} without TLS");
    git(&clone.folder, &["config", "--add", "gitops-hooks.confirmed", &line]);
    let tip = clone.configure(&text(&bed, image));
    (bed, clone, tip)
}

fn source_of(clone: &Clone, config: &Config, commit: &str) -> Oid {
    let target = Target::of(config, &"staging".parse().unwrap(), Switch::Refused).unwrap();
    deliver::source_of(&clone.repository, &[target], &commit.trim().parse().unwrap()).unwrap()
}

#[test]
fn a_delivery_is_known_by_what_it_changes_and_never_by_what_it_says() {
    let (bed, clone, tip) = together(super::bed::REPOSITORY, false);
    let config = config::parse("c.yaml", &text(&bed, super::bed::REPOSITORY)).unwrap();
    let images = |tip: &Oid| vec![("web".parse().unwrap(), built(tip))];
    let act = super::bed::follow(&tip);
    let delivery = clone.act(&config, "staging", Switch::Refused, act, images).unwrap();
    let Delivery::Delivered { manifest_commit, .. } = delivery else { panic!("{delivery:?}") };
    git(&clone.folder, &["pull", "--quiet", "--ff-only"]);
    assert_eq!(clone.tip(), manifest_commit, "it stands on the branch itself");
    assert_eq!(source_of(&clone, &config, manifest_commit.as_str()), tip);

    let message = git(&clone.folder, &["log", "-1", "--format=%B"]);
    let forged = |path: &str, from: &str, to: &str| {
        let file = clone.folder.join(path);
        let text = fs::read_to_string(&file).unwrap_or_default();
        fs::write(&file, if from.is_empty() { to.to_owned() } else { text.replace(from, to) }).unwrap();
        git(&clone.folder, &["add", "."]);
        git(&clone.folder, &["commit", "--quiet", "-m", &message]);
        let commit = git(&clone.folder, &["rev-parse", "HEAD"]);
        assert_eq!(source_of(&clone, &config, &commit).as_str(), commit.trim(), "{path}");
    };
    forged("app/code.py", "", "print(1)\n");
    forged("deploy/staging/deployment.yaml", "replicas: ", "replicas: 1");
    forged("deploy/staging/other.yaml", "", "kind: ConfigMap\n");
    forged("deploy/staging/.gitops-hooks/state.yaml", "version: 1", "version: 2");
}

#[test]
fn what_a_delivery_has_rendered_is_a_part_of_it_where_that_is_asked_for() {
    let (bed, clone, tip) = together(super::bed::REPOSITORY, false);
    let plain = text(&bed, super::bed::REPOSITORY);
    let rendering = plain.replace("path: deploy/staging}", "path: deploy/staging, render: true}");
    let (plain, rendering) = (config::parse("c.yaml", &plain).unwrap(), config::parse("c.yaml", &rendering).unwrap());
    let images = |tip: &Oid| vec![("web".parse().unwrap(), built(tip))];
    clone.act(&plain, "staging", Switch::Refused, super::bed::follow(&tip), images).unwrap();
    git(&clone.folder, &["pull", "--quiet", "--ff-only"]);
    fs::write(clone.folder.join("deploy/staging/.gitops-hooks/rendered.yaml"), "kind: List\n").unwrap();
    git(&clone.folder, &["add", "."]);
    git(&clone.folder, &["commit", "--quiet", "--amend", "--no-edit"]);
    let delivery = git(&clone.folder, &["rev-parse", "HEAD"]);
    assert_eq!(source_of(&clone, &rendering, &delivery), tip);
    assert_eq!(source_of(&clone, &plain, &delivery).as_str(), delivery.trim(), "nothing renders here");
}

#[test]
fn manifests_that_an_image_is_built_from_are_refused() {
    let (bed, clone, _) = together(super::bed::REPOSITORY, false);
    let root = text(&bed, super::bed::REPOSITORY).replace(", context: app", "");
    clone.configure(&root);
    let (code, said) = clone.hooks(&["deliver", "staging"]);
    assert!(code == Some(2) && said.contains("deploy/staging, which the image web is built from"), "{said}");
}

/// The whole way with the program itself; the registry has the image of each commit already.
#[test]
fn what_a_delivery_adds_to_the_branch_of_the_code_starts_nothing() {
    let Some(host) = testbed::value("GITOPS_HOOKS_TEST_REGISTRY") else { return };
    let image = format!("{host}/deliver-{}/same", std::process::id());
    let (bed, clone, tip) = together(&image, true);
    let publish = |tip: &Oid| {
        let content = git(&clone.folder, &["rev-parse", "HEAD:app"]);
        registry::publish(&host, image.split_once('/').unwrap().1, &format!("git-{tip}"), content.trim());
    };
    publish(&tip);
    let shown = clone.must(&["diff", "staging"]);
    assert!(shown.contains("Deployment flask-app: ") && shown.contains("+          image: "), "{shown}");
    let said = clone.must(&["deliver", "staging"]);
    assert!(said.contains(&format!("web of {} is delivered by", tip.short())), "{said}");
    assert!(said.contains("git pull --rebase"), "{said}");
    git(&clone.folder, &["pull", "--quiet", "--ff-only"]);
    let delivery = clone.tip();
    assert_ne!(delivery, tip);
    assert!(clone.must(&["deliver", "staging"]).contains("it runs this already"));
    let shown = clone.must(&["diff", "staging"]);
    assert!(shown.contains("nothing to deliver, it runs this already"), "{shown}");
    assert_eq!(git(&clone.folder, &["rev-list", "--count", "HEAD"]).trim(), "2");

    // With the hooks: neither a pull nor a push of a delivery begins another.
    clone.must(&["install", "--yes"]);
    let other = bed.clone("Ben");
    git(&other.folder, &["pull", "--quiet", "origin", "main"]);
    fs::write(other.folder.join("README"), "words\n").unwrap();
    git(&other.folder, &["add", "."]);
    let next = other.commit_and_push("Say more");
    let content = git(&other.folder, &["rev-parse", "HEAD:app"]);
    registry::publish(&host, image.split_once('/').unwrap().1, &format!("git-{next}"), content.trim());
    let pull = std::process::Command::new("git")
        .args(["pull", "--no-rebase"])
        .current_dir(&clone.folder)
        .env("HOME", &clone.folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&pull.stderr).into_owned();
    assert!(pull.status.success() && said.contains("deliver staging") && said.contains("runs this already"), "{said}");
    assert_eq!(git(&clone.folder, &["rev-parse", "origin/main"]).trim(), next.as_str(), "words alone deliver nothing");
}
