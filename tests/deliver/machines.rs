//! Machines as they are: a laptop that is shut in the middle of a push, a disk that fills, a mirror that is used for years.
//! `SOAK=1` lets the laptop sleep for longer than every limit there is.

use super::bed::{Bed, Clone, MANIFEST, built, follow, git, identify};
use crate::testbed;
use gitops_hooks::{
    config as configuration,
    deliver::{self, Delivery, Session, Switch, Target, Wish},
    git::Prompts,
    manifest::Refusal,
    ui::{Progress, Verbosity},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::Duration,
};

fn signal(group: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, "--", &format!("-{}", group.id())]).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_laptop_that_sleeps_in_the_middle_of_its_push_overwrites_nothing_when_it_wakes() {
    let bed = Bed::new();
    let (ada, ben) = (bed.clone("Ada"), bed.clone("Ben"));
    ada.commit_and_push("one");
    // The first push stops in the server's hands until it is told to go on.
    let (stopped, on) = (bed.path().join("stopped"), bed.path().join("on"));
    bed.server_hook(
        "pre-receive",
        &format!(
            "[ -e {0} ] || {{ touch {0}; until [ -e {1} ]; do sleep 0.05; done; }}",
            stopped.display(),
            on.display()
        ),
    );
    let mut sleeper = ada.begin_in_a_process_group(&[]);
    until(|| stopped.exists());
    signal(&sleeper, "STOP");
    // Somebody else goes on meanwhile.
    git(&ben.folder, &["pull", "--quiet", "origin", "main"]);
    let two = ben.commit_and_push("two");
    assert!(matches!(ben.deliver(&two).unwrap(), Delivery::Delivered { .. }));
    let longer_than_every_limit = Duration::from_secs(130);
    let soak = std::env::var_os("SOAK").is_some_and(|value| value == "1");
    thread::sleep(if soak { longer_than_every_limit } else { Duration::from_secs(4) });
    fs::write(&on, "").unwrap();
    signal(&sleeper, "CONT");
    assert!(sleeper.wait().unwrap().success(), "{:?}", ada.waiting());
    assert_eq!(bed.log().len(), 2, "what came too late is not delivered: {:?}", bed.log());
    assert!(bed.manifest("staging/deployment.yaml").contains(&built(&two).to_string()));
    assert!(ada.waiting().is_empty() && ben.waiting().is_empty());
    // Nothing of the sleep is in the way of the next one.
    git(&ada.folder, &["pull", "--quiet", "origin", "main"]);
    let three = ada.commit_and_push("three");
    assert!(matches!(ada.deliver(&three).unwrap(), Delivery::Delivered { tries: 1, .. }));
}

fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        thread::sleep(Duration::from_millis(20));
    }
}

/// A small disk of memory; gone when it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// `None`, with a word, where this user may mount none.
    fn new(folder: &Path) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=8m", "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(folder).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder.to_owned()));
        }
        testbed::skipped("needs root, to mount a small disk");
        None
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_fills_in_the_middle_of_a_delivery_loses_nothing() {
    let bed = Bed::new();
    let Some(disk) = Disk::new(&bed.path().join("small")) else { return };
    let clone: Clone = bed.clone("small/ada");
    let tip = clone.commit_and_push("one");
    clone.deliver(&tip).unwrap();
    let next = clone.commit_and_push("two");
    let log = bed.log();
    let fill = format!("head -c 9m /dev/zero > '{}/rest' || true", disk.0.display());
    assert_ne!(clone.deliver_in_a_process(&[("DELIVER_WHILE_BUILDING", &fill)]), Some(0));
    assert_eq!(bed.log(), log, "the branch has the whole commit or nothing");
    assert_eq!(clone.waiting().len(), 1, "the note was written before");
    fs::remove_file(disk.0.join("rest")).unwrap();
    git(&clone.folder, &["fsck", "--no-dangling"]);
    assert_eq!(clone.deliver_in_a_process(&[]), Some(0), "{:?}", clone.waiting());
    assert!(bed.manifest("staging/deployment.yaml").contains(&built(&next).to_string()));
    assert!(clone.waiting().is_empty());
}

#[test]
fn a_mirror_stays_small_however_often_it_is_fetched() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    clone.configure(&super::bed::described(&bed.url));
    clone.deliver(&tip).unwrap();
    let mirrors = clone.folder.join(".git/gitops-hooks/mirrors");
    let folders = fs::read_dir(mirrors).unwrap().map(|entry| entry.unwrap().path());
    let mirror = folders.into_iter().find(|path| path.is_dir()).unwrap();
    // What sixty fetches of something large leave: a pack each.
    let hand = bed.path().join("hand");
    git(bed.path(), &["clone", "--quiet", "manifests.git", "hand"]);
    identify(&hand, "Hand");
    for number in 0..60 {
        git(&hand, &["commit", "--quiet", "--allow-empty", "-m", &number.to_string()]);
        git(&hand, &["push", "--quiet", "origin", "main"]);
        git(&mirror, &["-c", "fetch.unpackLimit=1", "fetch", "--quiet", "mirrored"]);
    }
    let packs = || {
        let told = git(&mirror, &["count-objects", "-v"]);
        let line = told.lines().find_map(|line| line.strip_prefix("packs: ")).unwrap();
        line.parse::<usize>().unwrap()
    };
    assert!(packs() > 50, "as many as git's own measure allows, and more");
    // It packs also where what was to be delivered could not be: no registry answers here.
    let (_, said) = clone.hooks(&["deliver"]);
    assert!(packs() <= 2, "{} packs; {said}", packs());
    let two = clone.commit_and_push("two");
    assert!(matches!(clone.deliver(&two).unwrap(), Delivery::Delivered { .. }));
}

#[test]
fn a_manifest_that_is_too_large_stops_its_own_environment_alone() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let hand = bed.path().join("hand");
    git(bed.path(), &["clone", "--quiet", "manifests.git", "hand"]);
    identify(&hand, "Hand");
    fs::create_dir(hand.join("production")).unwrap();
    fs::write(hand.join("production/deployment.yaml"), MANIFEST).unwrap();
    fs::write(hand.join("production/dump.yaml"), vec![b'#'; 65 << 20]).unwrap();
    git(&hand, &["add", "-A"]);
    git(&hand, &["commit", "--quiet", "-m", "by hand"]);
    git(&hand, &["push", "--quiet", "origin", "main"]);
    let text = super::bed::described(&bed.url);
    let second = text.split_once("environments:\n").unwrap().1.replace("staging", "production");
    let all = configuration::parse("c.yaml", &format!("{text}{second}")).unwrap();
    assert_eq!(all.environments.len(), 2);
    let tip = clone.commit_and_push("one");
    let task = || Progress::new(Verbosity::Quiet).task("deliver");
    let target = |name: &str| Target::of(&all, &name.parse().unwrap(), Switch::Refused).unwrap();
    let wishes = ["production", "staging"].map(|name| Wish { target: target(name), act: follow(&tip), task: task() });
    let session = Session::new(&clone.repository, Prompts::Never, wishes.iter().map(|wish| &wish.target));
    let images = super::bed::Images {
        repository: &clone.repository,
        references: |tip: &_| vec![("web".parse().unwrap(), built(tip))],
    };
    let mut ended = deliver::deliver(&session, &wishes, &images);
    assert!(matches!(ended.pop(), Some(Ok(Delivery::Delivered { .. }))), "staging is delivered");
    let refused = ended.pop().unwrap().unwrap_err();
    assert!(
        matches!(&refused, deliver::Error::Manifest(Refusal::TooLarge { file, .. }) if file == "production/dump.yaml"),
        "{refused}"
    );
    let waiting = clone.waiting();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].environment.as_str(), "production");
    assert!(waiting[0].last_error.as_ref().unwrap().contains("production/dump.yaml"), "{waiting:?}");
}
