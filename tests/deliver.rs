//! Deliveries against real bare remotes: files always, SSH and HTTPS where the test bed's variables are there.

#![allow(clippy::unwrap_used, reason = "clippy takes the functions beside tests for no tests")]

#[path = "context/testbed.rs"]
mod testbed;

use gitops_hooks::{
    config::{self, Config},
    deliver::{self, Act, Build, Builds, Delivery, Error, Reason, Seen, Session, State, Target, Wish},
    git::{Git, Prompts, Repository},
    ui::{Progress, Verbosity},
    values::{ImageName, ImageRef, Oid},
};
use std::{
    collections::HashSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

const REPOSITORY: &str = "registry.example.com/team/flask-app";
const MANIFEST: &str = include_str!("manifests/flask/before.yaml");

/// A source remote and a manifest remote, both bare.
struct Bed {
    folder: tempfile::TempDir,
    url: String,
}

impl Bed {
    fn new() -> Self {
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

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Commits files to a bare repository as a person would, from a clone of their own.
    fn push_manifests(&self, remote: &str, files: &[(&str, &str)]) {
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

    fn clone(&self, name: &str) -> Clone {
        let folder = self.path().join(name);
        git(self.path(), &["clone", "--quiet", "source.git", name]);
        identify(&folder, name);
        git(&folder, &["checkout", "--quiet", "-B", "main"]);
        Clone { repository: Repository::open(&folder).unwrap(), folder, url: self.url.clone() }
    }

    fn manifest(&self, path: &str) -> String {
        git(&self.path().join("manifests.git"), &["show", &format!("main:{path}")])
    }

    fn log(&self) -> Vec<String> {
        let log = git(&self.path().join("manifests.git"), &["log", "--reverse", "--format=%an|%s", "main"]);
        log.lines().map(str::to_owned).collect()
    }

    /// A hook of the manifest repository's server.
    fn server_hook(&self, name: &str, script: &str) {
        let path = self.path().join("manifests.git/hooks").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

struct Clone {
    repository: Repository,
    folder: PathBuf,
    url: String,
}

impl Clone {
    fn commit_and_push(&self, subject: &str) -> Oid {
        git(&self.folder, &["commit", "--quiet", "--allow-empty", "-m", subject]);
        git(&self.folder, &["push", "--quiet", "--force", "-u", "origin", "main"]);
        self.tip()
    }

    fn tip(&self) -> Oid {
        git(&self.folder, &["rev-parse", "HEAD"]).trim().parse().unwrap()
    }

    fn deliver(&self, tip: &Oid) -> Result<Delivery, Error> {
        self.deliver_with(tip, |tip| vec![("web".parse().unwrap(), built(tip))])
    }

    /// Delivers to staging, with images that are as `references` says.
    fn deliver_with(
        &self,
        tip: &Oid,
        references: impl Fn(&Oid) -> Vec<(ImageName, ImageRef)> + Sync,
    ) -> Result<Delivery, Error> {
        self.act(&config(&self.url), "staging", deliver::Switch::Refused, follow(tip), references)
    }

    fn act(
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

    fn waiting(&self) -> Vec<deliver::Note> {
        deliver::waiting(&self.repository).unwrap()
    }

    /// Delivers the tip in a process of its own, and gives its exit code.
    fn deliver_in_a_process(&self, variables: &[(&str, &str)]) -> Option<i32> {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "process", "--ignored", "--nocapture"]);
        command.env("DELIVER_CLONE", &self.folder).env("DELIVER_URL", &self.url).envs(variables.iter().copied());
        command.output().unwrap().status.code()
    }
}

/// Images that a function knows; one differs from another where its digest does.
struct Images<'r, F> {
    repository: &'r Repository,
    references: F,
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

fn follow(tip: &Oid) -> Act {
    Act::Follow { tip: tip.clone(), seen: Seen::Once, build: Build::Missing }
}

fn git(folder: &Path, args: &[&str]) -> String {
    let output = Git::at(folder).config("init.defaultBranch", "main").args(args).run().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn identify(folder: &Path, name: &str) {
    for (key, value) in [("user.name", name), ("user.email", "dev@example.com"), ("commit.gpgSign", "false")] {
        git(folder, &["config", key, value]);
    }
}

/// A digest of its own for each commit.
fn built(tip: &Oid) -> ImageRef {
    format!("{REPOSITORY}:git-{tip}@sha256:{:0<64}", tip.as_str()).parse().unwrap()
}

fn config(url: &str) -> Config {
    let text = format!(
        "images: {{web: {{repository: {REPOSITORY}}}}}\nenvironments:\n  staging:\n    branch: main\n    manifests: {{url: \"{url}\", path: staging}}\n    images: [web]\n"
    );
    config::parse("c.yaml", &text).unwrap()
}

/// Run by other tests as a process of its own, so that it may be killed or given an environment.
#[test]
#[ignore = "only as a process of another test"]
fn process() {
    let Some(folder) = std::env::var_os("DELIVER_CLONE").map(PathBuf::from) else { return };
    let repository = Repository::open(&folder).unwrap();
    let clone = Clone { repository, folder, url: std::env::var("DELIVER_URL").unwrap() };
    if let Ok(path) = std::env::var("DELIVER_PID") {
        fs::write(path, std::process::id().to_string()).unwrap();
    }
    let tip = clone.tip();
    let kill = std::env::var_os("DELIVER_DIES_BUILDING").is_some();
    let references = |tip: &Oid| {
        if kill {
            Command::new("kill").args(["-9", &std::process::id().to_string()]).status().unwrap();
        }
        vec![("web".parse().unwrap(), built(tip))]
    };
    clone.deliver_with(&tip, references).unwrap();
}

#[test]
fn a_delivery_changes_the_image_and_the_state_and_nothing_else() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let tip = clone.commit_and_push("Say version 2");
    let Delivery::Delivered { source, files, tries, .. } = clone.deliver(&tip).unwrap() else { panic!() };
    assert_eq!((source, files, tries), (tip.clone(), vec!["staging/deployment.yaml".to_owned()], 1));
    let expected = MANIFEST.replace(&format!("{REPOSITORY}:16"), &built(&tip).to_string());
    assert_eq!(bed.manifest("staging/deployment.yaml"), expected);
    assert_eq!(bed.manifest("README.md"), "flask-app\n");
    let state = State::parse("s", bed.manifest("staging/.gitops-hooks/state.yaml").as_bytes()).unwrap();
    assert_eq!(state.images[&"web".parse().unwrap()].source, tip);
    assert_eq!(bed.log()[1], format!("Ada|Deliver flask-app {} to staging: Say version 2", tip.short()));
    let body = git(&bed.path().join("manifests.git"), &["log", "-1", "--format=%(trailers)", "main"]);
    for trailer in [format!("Source-Commit: {tip}"), format!("Image: {}", built(&tip)), "Environment: staging".into()] {
        assert!(body.lines().any(|line| line == trailer), "{body}");
    }
    assert!(clone.waiting().is_empty());

    let config = config(&bed.url);
    let target = Target::of(&config, &"staging".parse().unwrap(), deliver::Switch::Refused).unwrap();
    let session = Session::new(&clone.repository, Prompts::Never, [&target]);
    let delivered = deliver::delivered(&session, &target).unwrap();
    assert_eq!((delivered.state, delivered.commit.unwrap().author), (state, "Ada".to_owned()));
}

#[test]
fn unchanged_means_untouched_and_asks_for_no_image() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let first = clone.commit_and_push("one");
    clone.deliver(&first).unwrap();
    let again = clone.deliver_with(&first, |_| panic!("nothing is behind")).unwrap();
    assert_eq!(again, Delivery::Unchanged);
    let second = clone.commit_and_push("only words");
    let same = clone.deliver_with(&second, |_| vec![("web".parse().unwrap(), built(&first))]).unwrap();
    assert_eq!(same, Delivery::Unchanged);
    assert_eq!(bed.log().len(), 2);
    assert!(clone.waiting().is_empty());
}

#[test]
fn never_backwards_also_where_the_newer_commit_is_not_known_here() {
    let bed = Bed::new();
    let (ada, ben) = (bed.clone("Ada"), bed.clone("Ben"));
    let old = ada.commit_and_push("one");
    git(&ben.folder, &["pull", "--quiet", "origin", "main"]);
    let new = ben.commit_and_push("two");
    ben.deliver(&new).unwrap();
    assert_eq!(ada.deliver(&old).unwrap(), Delivery::Superseded { by: new });
    let tracking = git(&ada.folder, &["rev-parse", "origin/main"]);
    assert_eq!(tracking.trim(), old.as_str(), "the user's remote-tracking branch is the user's");
}

#[test]
fn a_rewritten_branch_is_followed_and_a_stale_clone_is_not() {
    let bed = Bed::new();
    let ada = bed.clone("Ada");
    ada.commit_and_push("base");
    let old = ada.commit_and_push("old");
    ada.deliver(&old).unwrap();
    let ben = bed.clone("Ben");
    git(&ben.folder, &["pull", "--quiet", "origin", "main"]);
    git(&ada.folder, &["commit", "--quiet", "--amend", "--allow-empty", "-m", "rewritten"]);
    let new = ada.commit_and_push("after it");
    let Delivery::Delivered { rewritten, .. } = ada.deliver(&new).unwrap() else { panic!() };
    assert_eq!(rewritten, Some(old.clone()));
    assert!(matches!(ben.deliver(&old).unwrap(), Delivery::Superseded { .. }));
}

#[test]
fn a_shallow_history_that_cannot_tell_is_refused() {
    let bed = Bed::new();
    let ada = bed.clone("Ada");
    let first = ada.commit_and_push("one");
    ada.deliver(&first).unwrap();
    ada.commit_and_push("two");
    let third = ada.commit_and_push("three");
    let url = format!("file://{}", bed.path().join("source.git").display());
    git(bed.path(), &["clone", "--quiet", "--depth=1", &url, "shallow"]);
    let folder = bed.path().join("shallow");
    identify(&folder, "Shallow");
    let shallow = Clone { repository: Repository::open(&folder).unwrap(), folder, url: bed.url.clone() };
    let error = shallow.deliver(&third).unwrap_err();
    assert!(matches!(error, Error::Shallow { .. }), "{error}");
    assert_eq!(shallow.waiting().len(), 1);
}

#[test]
fn two_clones_racing_lose_nothing() {
    let bed = Bed::new();
    let ada = bed.clone("Ada");
    let commits: Vec<Oid> = (0..20).map(|number| ada.commit_and_push(&format!("commit {number}"))).collect();
    let ben = bed.clone("Ben");
    git(&ben.folder, &["pull", "--quiet", "origin", "main"]);
    let landed: Vec<Oid> = std::thread::scope(|scope| {
        let run = |clone: Clone| {
            let commits = &commits;
            let Clone { folder, url, .. } = clone;
            scope.spawn(move || {
                let clone = Clone { repository: Repository::open(&folder).unwrap(), folder, url };
                let mut landed = Vec::new();
                for commit in commits {
                    match clone.deliver(commit).unwrap() {
                        Delivery::Delivered { source, .. } => landed.push(source),
                        Delivery::Unchanged | Delivery::Superseded { .. } => {}
                        other => panic!("{other:?}"),
                    }
                }
                assert!(clone.waiting().is_empty());
                landed
            })
        };
        let (ada, ben) = (run(ada), run(ben));
        [ada.join().unwrap(), ben.join().unwrap()].concat()
    });
    let unique: HashSet<&Oid> = landed.iter().collect();
    assert_eq!(unique.len(), landed.len(), "each at most once");
    assert_eq!(bed.log().len(), 1 + landed.len(), "every commit is a delivery");
    let delivered: Vec<usize> =
        bed.log()[1..].iter().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(delivered.is_sorted(), "{delivered:?}");
    assert_eq!(delivered.last(), Some(&19));
}

#[test]
fn a_lost_race_is_run_again_and_keeps_the_other_commit() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    let other = |tip: &Oid| {
        bed.push_manifests("manifests.git", &[("staging/other.yaml", "a: 1\n")]);
        vec![("web".parse().unwrap(), built(tip))]
    };
    let Delivery::Delivered { tries, .. } = clone.deliver_with(&tip, other).unwrap() else { panic!() };
    assert_eq!(tries, 2);
    assert_eq!(bed.manifest("staging/other.yaml"), "a: 1\n");
}

#[test]
fn what_fails_says_so_and_leaves_a_note() {
    let bed = Bed::new();
    let mut clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    clone.url = bed.path().join("gone.git").to_str().unwrap().to_owned();
    let error = clone.deliver(&tip).unwrap_err();
    assert!(matches!(error, Error::Git(gitops_hooks::git::Error::Unreachable { .. })), "{error}");
    let note = clone.waiting().remove(0);
    assert!(note.last_error.unwrap().contains("gone.git") && note.attempts == 1);

    git(bed.path(), &["init", "--quiet", "--bare", "empty.git"]);
    clone.url = bed.path().join("empty.git").to_str().unwrap().to_owned();
    let error = clone.deliver(&tip).unwrap_err().to_string();
    assert!(error.contains("is empty: there is no branch \"main\""), "{error}");

    bed.push_manifests("empty.git", &[("staging/a.yaml", "image: other\n")]);
    let error = clone.deliver_with(&tip, |_| panic!("not built for nothing")).unwrap_err().to_string();
    assert!(error.contains("no manifest under staging of") && error.contains(REPOSITORY), "{error}");

    bed.push_manifests("empty.git", &[("staging/.gitops-hooks/state.yaml", "version: 1\n<<<<<<< HEAD\n")]);
    let error = clone.deliver(&tip).unwrap_err().to_string();
    assert!(error.contains("staging/.gitops-hooks/state.yaml:2:1") && error.contains("conflict marks"), "{error}");

    clone.url.clone_from(&bed.url);
    clone.deliver(&tip).unwrap();
    assert!(clone.waiting().is_empty());
}

#[test]
fn a_commit_that_the_branch_has_lost_is_not_delivered() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    clone.commit_and_push("one");
    let lost = clone.commit_and_push("two");
    let other = bed.clone("Grace");
    git(&other.folder, &["reset", "--quiet", "--hard", "HEAD~1"]);
    git(&other.folder, &["push", "--quiet", "--force", "origin", "main"]);
    let error = clone.deliver(&lost).unwrap_err();
    assert!(matches!(error, Error::NotOnBranch { .. }), "{error}");
    assert_eq!(bed.log().len(), 1);
}

#[test]
fn a_commit_of_another_branch_is_delivered_only_when_that_was_asked_for() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    clone.deliver(&tip).unwrap();
    let state = bed.manifest("staging/.gitops-hooks/state.yaml");
    assert!(state.contains("branch: \"main\""), "{state}");
    let before = state.replace("branch: \"main\"", "branch: \"develop\"");
    bed.push_manifests("manifests.git", &[("staging/.gitops-hooks/state.yaml", &before)]);
    git(&clone.folder, &["commit", "--quiet", "--amend", "--allow-empty", "-m", "another history"]);
    git(&clone.folder, &["push", "--quiet", "--force", "origin", "main"]);
    let tip = clone.tip();
    let error = clone.deliver(&tip).unwrap_err();
    assert!(matches!(error, Error::OtherBranch { .. }), "{error}");
    let images = |tip: &Oid| vec![("web".parse().unwrap(), built(tip))];
    let delivery = clone.act(&config(&clone.url), "staging", deliver::Switch::Asked, follow(&tip), images).unwrap();
    assert!(matches!(delivery, Delivery::Delivered { .. }), "{delivery:?}");
}

#[test]
fn a_server_hook_that_rejects_is_quoted() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    bed.server_hook("pre-receive", "echo 'main is protected: ask the release team' >&2; exit 1");
    let error = clone.deliver(&tip).unwrap_err();
    assert!(error.to_string().contains("main is protected: ask the release team"), "{error}");
    assert!(matches!(error, Error::Refused { .. }));
    assert_eq!((clone.waiting().len(), bed.log().len()), (1, 1));
}

#[test]
fn an_amend_of_a_colleagues_commit_does_not_sign_the_delivery() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    clone.commit_and_push("one");
    let leaks = [
        ("GIT_AUTHOR_NAME", "Colleague"),
        ("GIT_COMMITTER_NAME", "Colleague"),
        ("GIT_AUTHOR_DATE", "2001-01-01T00:00"),
    ];
    assert_eq!(clone.deliver_in_a_process(&leaks), Some(0));
    assert!(bed.log()[1].starts_with("Ada|"), "{:?}", bed.log());
}

#[test]
fn killed_in_the_middle_the_next_delivery_finishes() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    assert_eq!(clone.deliver_in_a_process(&[("DELIVER_DIES_BUILDING", "1")]), None);
    assert_eq!((clone.waiting().len(), bed.log().len()), (1, 1));
    assert!(matches!(clone.deliver(&tip).unwrap(), Delivery::Delivered { .. }));

    // Killed after the server took the push, before the note was removed.
    let next = clone.commit_and_push("two");
    let pid = bed.path().join("pid");
    bed.server_hook("post-receive", &format!("kill -9 $(cat {})", pid.display()));
    assert_eq!(clone.deliver_in_a_process(&[("DELIVER_PID", pid.to_str().unwrap())]), None);
    bed.server_hook("post-receive", "true");
    assert_eq!((clone.waiting().len(), bed.log().len()), (1, 3));
    assert_eq!(clone.deliver(&next).unwrap(), Delivery::Unchanged);
    assert!(clone.waiting().is_empty());
}

#[test]
fn a_note_waits_for_whoever_delivers_next() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    deliver::note(&clone.repository, &"staging".parse().unwrap(), Reason::Push(tip.clone())).unwrap();
    assert_eq!(clone.waiting()[0].reason, Reason::Push(tip.clone()));
    clone.deliver(&tip).unwrap();
    assert!(clone.waiting().is_empty());
}

/// The test bed's variable, or a word that says what is skipped without it.
fn test_bed(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok();
    if value.is_none() {
        testbed::skipped(&format!("{variable} is not set"));
    }
    value
}

/// A manifest repository on the test bed's server, with the address that `base` gives it.
fn on_the_server(bed: &Bed, root: &str, base: &str) -> (PathBuf, String) {
    let name = format!("deliver-{}-{}.git", std::process::id(), bed.path().file_name().unwrap().to_string_lossy());
    let path = Path::new(root).join(&name);
    git(bed.path(), &["clone", "--quiet", "--bare", "manifests.git", path.to_str().unwrap()]);
    (path, format!("{}/{name}", base.trim_end_matches('/')))
}

#[test]
fn over_ssh_with_the_settings_of_the_source() {
    let (Some(base), Some(root), Some(key), Some(hosts)) = (
        test_bed("GITOPS_HOOKS_TEST_GIT_SSH"),
        test_bed("GITOPS_HOOKS_TEST_GIT_ROOT"),
        test_bed("GITOPS_HOOKS_TEST_SSH_KEY"),
        test_bed("GITOPS_HOOKS_TEST_KNOWN_HOSTS"),
    ) else {
        return;
    };
    let bed = Bed::new();
    let (path, url) = on_the_server(&bed, &root, &base);
    let mut clone = bed.clone("Ada");
    clone.url = url;
    let tip = clone.commit_and_push("one");
    let ssh = |hosts: &str| format!("ssh -F none -i {key} -o IdentitiesOnly=yes -o UserKnownHostsFile={hosts}");
    git(&clone.folder, &["config", "core.sshCommand", &ssh(&hosts)]);
    // Opened anew: a repository keeps the configuration that it was opened with.
    clone.repository = Repository::open(&clone.folder).unwrap();
    assert!(matches!(clone.deliver(&tip).unwrap(), Delivery::Delivered { .. }));

    let changed = bed.path().join("known_hosts");
    git(bed.path(), &["--version"]);
    let other = bed.path().join("other");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&other).status().unwrap();
    assert!(made.success());
    let public = fs::read_to_string(other.with_extension("pub")).unwrap();
    let known = fs::read_to_string(&hosts).unwrap();
    let host = known.split_whitespace().next().unwrap();
    fs::write(&changed, format!("{host} {public}")).unwrap();
    git(&clone.folder, &["config", "core.sshCommand", &ssh(changed.to_str().unwrap())]);
    clone.repository = Repository::open(&clone.folder).unwrap();
    let next = clone.commit_and_push("two");
    let error = clone.deliver(&next).unwrap_err().to_string();
    assert!(error.contains("SSH host key") && error.contains("has changed"), "{error}");
    assert_eq!(clone.waiting().len(), 1);
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn over_https_with_the_credentials_of_the_source() {
    let (Some(base), Some(root), Some(ca), Some(user), Some(password)) = (
        test_bed("GITOPS_HOOKS_TEST_GIT_HTTPS"),
        test_bed("GITOPS_HOOKS_TEST_GIT_ROOT"),
        test_bed("GITOPS_HOOKS_TEST_CA"),
        test_bed("GITOPS_HOOKS_TEST_USER"),
        test_bed("GITOPS_HOOKS_TEST_PASSWORD"),
    ) else {
        return;
    };
    let bed = Bed::new();
    let (path, url) = on_the_server(&bed, &root, &base);
    git(&path, &["config", "http.receivepack", "true"]);
    let mut clone = bed.clone("Ada");
    clone.url = url;
    let tip = clone.commit_and_push("one");
    git(&clone.folder, &["config", "http.sslCAInfo", &ca]);
    git(&clone.folder, &["config", "credential.helper", ""]);
    // In a process of its own: a GIT_SSL_CAINFO of the machine would win over the configuration.
    let trusted = [("GIT_SSL_CAINFO", ca.as_str())];
    assert_ne!(clone.deliver_in_a_process(&trusted), Some(0));
    let told = clone.waiting().remove(0).last_error.unwrap();
    assert!(told.contains("does not let you in"), "{told}");
    let helper = format!("!f() {{ echo username={user}; echo password={password}; }}; f");
    git(&clone.folder, &["config", "--add", "credential.helper", &helper]);
    assert_eq!(clone.deliver_in_a_process(&trusted), Some(0), "{:?}", clone.waiting());
    assert!(git(&path, &["log", "-1", "--format=%s", "main"]).contains(tip.short()));
    fs::remove_dir_all(path).unwrap();
}
