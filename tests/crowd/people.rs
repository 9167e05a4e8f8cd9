//! Who works here: laptops that commit and push, and a person who edits manifests by hand.

use super::{
    random::Random,
    registry,
    world::{ENVIRONMENTS, Way, World},
};
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// Makes a share of the source commits and pushes each, through whatever the network does. Gives how many got through.
pub fn laptop(world: &World, clone: usize, share: usize, mut random: Random) -> usize {
    let folder = world.laptop(clone);
    let (mut pushed, mut value, mut number) = (0, 0, 0);
    while number < share {
        // People push one commit, or some at once.
        let together = usize::try_from(1 + random.below(8)).unwrap().min(share - number);
        for _ in 0..together {
            let (path, text) = match random.below(100) {
                // Back to an image that was there before.
                0..15 if value > 0 => (format!("app/{clone}"), format!("{}\n", value - 1)),
                15..30 => (format!("docs-{clone}"), format!("{number}\n")),
                _ => {
                    value += 1;
                    (format!("app/{clone}"), format!("{value}\n"))
                }
            };
            fs::write(folder.join(&path), text).unwrap();
            let message = format!("Laptop {clone}: change {number}");
            world.git(&folder, &["add", &path]);
            world.git(&folder, &["commit", "--quiet", "--allow-empty", "-m", &message]);
            number += 1;
        }
        if push(world, &folder, World::branch(clone), &mut random) {
            pushed += together;
        }
        if world.way == Way::Script {
            script(world, &folder, clone);
        }
        thread::sleep(Duration::from_millis(random.below(2000)));
    }
    pushed
}

/// Pushes as people do: again after a pull, and again when the network is back.
fn push(world: &World, folder: &Path, branch: &str, random: &mut Random) -> bool {
    for _ in 0..200 {
        publish(world, folder);
        let (_, said) = world.try_git(folder, &["push", "--quiet", "origin", branch]);
        // A push whose connection broke may have arrived.
        let tip = world.git(folder, &["rev-parse", "HEAD"]);
        let (there, _) = world.try_git(&world.source, &["merge-base", "--is-ancestor", tip.trim(), branch]);
        if there {
            return true;
        }
        if said.contains("fetch first") || said.contains("rejected") || said.contains("does not know") {
            let (well, _) = world.try_git(folder, &["pull", "--quiet", "--rebase", "origin", branch]);
            if !well {
                let _ = world.try_git(folder, &["rebase", "--abort"]);
            }
        }
        thread::sleep(Duration::from_millis(random.below(500)));
    }
    false
}

/// What a build of the commit would have published. The digest follows from the sources, as a key does.
fn publish(world: &World, folder: &Path) -> String {
    let tip = world.git(folder, &["rev-parse", "HEAD"]);
    let content = world.git(folder, &["rev-parse", "HEAD:app"]);
    let name = world.image.split_once('/').unwrap().1;
    registry::publish(&world.registry, name, &format!("git-{}", tip.trim()), content.trim())
}

/// The script that people write: fetch, `sed`, commit, push, and again when somebody was faster.
fn script(world: &World, folder: &Path, clone: usize) {
    let digest = publish(world, folder);
    let tip = world.git(folder, &["rev-parse", "HEAD"]);
    for (name, _, repository) in ENVIRONMENTS.iter().filter(|(_, branch, _)| *branch == World::branch(clone)) {
        let work = world.path(&format!("script-{clone}-{repository}"));
        let text = format!(
            "set -e\n[ -d '{work}' ] || git clone -q '{url}' '{work}'\ncd '{work}'\nfor try in 1 2 3 4 5 6 7 8 9 10; do\n  git fetch -q origin main && git reset -q --hard origin/main && sed -i 's#flask-app:.*#flask-app:git-{tip}@{digest}#' {name}/deployment.yaml\n  git commit -q -a -m 'Deploy {tip} to {name}' || exit 0\n  git push -q origin HEAD:main && exit 0\n  sleep 0.$((RANDOM % 9))\ndone\nexit 1\n",
            work = work.display(),
            url = world.manifest_urls[*repository],
            tip = tip.trim(),
        );
        let _ = world.command("bash", world.path("").as_path()).args(["-c", &text]).output();
    }
}

/// Edits manifests by hand until the others are done: comments, replicas, another file. Gives how many edits there were.
pub fn hand(world: &World, mut random: Random, over: &AtomicBool) -> usize {
    let mut edits = 0;
    while !over.load(Ordering::Relaxed) {
        let (name, _, repository) = ENVIRONMENTS[usize::try_from(random.below(4)).unwrap()];
        let work = world.path(&format!("hand-{repository}"));
        // A colleague in the same room as the server: nothing of theirs is ever in doubt.
        if !work.exists() {
            world.git(
                world.path("").as_path(),
                &["clone", "--quiet", world.manifests[repository].to_str().unwrap(), work.to_str().unwrap()],
            );
        }
        loop {
            world.git(&work, &["fetch", "--quiet"]);
            world.git(&work, &["reset", "--quiet", "--hard", "origin/main"]);
            let file = work.join(name).join("deployment.yaml");
            let text = fs::read_to_string(&file).unwrap();
            let replicas = text.lines().find(|line| line.contains("replicas:")).unwrap().to_owned();
            let text = match random.below(3) {
                0 => text.replace(&replicas, &format!("  replicas: {}", random.below(9) + 1)),
                1 => format!("# edit {edits}: flask-app:{}\n{text}", random.below(100)),
                _ => format!("{text}\n# edit {edits}"),
            };
            fs::write(&file, text).unwrap();
            fs::write(work.join(name).join("notes.yaml"), format!("# edit {edits}\n")).unwrap();
            world.git(&work, &["commit", "--quiet", "-a", "-m", &format!("By hand {edits}")]);
            if world.try_git(&work, &["push", "--quiet", "origin", "HEAD:main"]).0 {
                break;
            }
        }
        edits += 1;
        thread::sleep(Duration::from_millis(500 + random.below(1500)));
    }
    edits
}
