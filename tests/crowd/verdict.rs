//! What the crowd left behind, read off the bare repositories and the clones.

use super::world::{ENVIRONMENTS, Way, World};
use gitops_hooks::{deliver, git::Repository};
use std::{collections::BTreeSet, fmt, path::Path};

#[derive(Debug, Default)]
pub struct Counts {
    pub deliveries: usize,
    /// Deliveries that only say that what runs is as new as a newer commit.
    pub noted: usize,
    pub by_hand: usize,
    /// Source commits that no delivery names, because a newer one was delivered first.
    pub superseded: usize,
    pub waiting: usize,
    pub behind: Vec<String>,
    pub backwards: Vec<String>,
    pub damaged: Vec<String>,
    pub lost_by_hand: Vec<String>,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} deliveries, {} of them notes; {} commits by hand; {} source commits overtaken by a newer one; {} notes left in outboxes; environments behind: {}; deliveries backwards or double: {}; commits that changed other bytes: {}; edits by hand lost: {}",
            self.deliveries,
            self.noted,
            self.by_hand,
            self.superseded,
            self.waiting,
            self.behind.len(),
            self.backwards.len(),
            self.damaged.len(),
            self.lost_by_hand.len()
        )
    }
}

pub fn counts(world: &World) -> Counts {
    let mut counts = Counts::default();
    for clone in 0..world.clones {
        let repository = Repository::open(&world.laptop(clone)).unwrap();
        counts.waiting += deliver::waiting(&repository).unwrap().len();
    }
    for (at, bare) in world.manifests.iter().enumerate() {
        walk(world, at, bare, &mut counts);
    }
    for (name, branch, repository) in ENVIRONMENTS {
        let tip = world.on_server(&world.source, &["rev-parse", branch]);
        let runs = file(world, &world.manifests[repository], "main", &format!("{name}/deployment.yaml"));
        let reference = runs.lines().find_map(|line| line.split_once("flask-app:git-")).map(|(_, rest)| rest);
        let running: String = reference.unwrap_or_default().chars().take_while(char::is_ascii_hexdigit).collect();
        let sources = |commit: &str| world.try_git(&world.source, &["rev-parse", &format!("{commit}:app")]);
        // A tip that changed nothing in the image is run by the image that was there.
        if running.is_empty() || sources(&running) != sources(tip.trim()) {
            counts.behind.push(format!("{name} runs {running:?} and {branch} has {tip}"));
        }
    }
    counts
}

fn file(world: &World, bare: &Path, commit: &str, path: &str) -> String {
    world.on_server(bare, &["show", &format!("{commit}:{path}")])
}

/// The whole manifest with the reference of the image taken out, and nothing else.
fn without_reference(world: &World, text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let start = format!("        image: \"{}:", world.image);
        match line.strip_prefix(&start).and_then(|rest| rest.split_once('"')) {
            Some((_, rest)) => format!("{start}\"{rest}"),
            None => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn walk(world: &World, at: usize, bare: &Path, counts: &mut Counts) {
    let log = world.on_server(bare, &["log", "--reverse", "--format=%H %P|%s", "main"]);
    let mut newest: Vec<(&str, String)> = Vec::new();
    let mut named: BTreeSet<String> = BTreeSet::new();
    for line in log.lines() {
        let (ids, subject) = line.split_once('|').unwrap();
        let (commit, parent) = ids.split_once(' ').unwrap();
        if parent.is_empty() {
            continue;
        }
        if subject.starts_with("By hand") {
            counts.by_hand += 1;
            continue;
        }
        counts.deliveries += 1;
        counts.noted += usize::from(subject.starts_with("Note "));
        let (environment, source) = match world.way {
            Way::Hooks => {
                let trailer = |key: &str| {
                    let format = format!("--format=%(trailers:key={key},valueonly)");
                    world.on_server(bare, &["log", "-1", &format, commit]).trim().to_owned()
                };
                (trailer("Environment"), trailer("Source-Commit"))
            }
            Way::Script => {
                let words: Vec<&str> = subject.split(' ').collect();
                (words[3].to_owned(), words[1].to_owned())
            }
        };
        named.insert(source.clone());
        let (name, ..) = ENVIRONMENTS.iter().find(|(name, ..)| **name == environment).unwrap();
        let before = newest.iter().position(|(known, _)| known == name);
        if let Some(before) = before {
            let (_, earlier) = newest.remove(before);
            let (is_newer, _) = world.try_git(&world.source, &["merge-base", "--is-ancestor", &earlier, &source]);
            if !is_newer || earlier == source {
                counts.backwards.push(format!("{commit}: {source} after {earlier}"));
            }
        }
        newest.push((name, source));
        let changed = world.on_server(bare, &["diff-tree", "-r", "--name-only", parent, commit]);
        for path in changed.lines() {
            let ours = path == format!("{name}/.gitops-hooks/state.yaml");
            let same = || {
                let (old, new) = (file(world, bare, parent, path), file(world, bare, commit, path));
                path == format!("{name}/deployment.yaml")
                    && without_reference(world, &old) == without_reference(world, &new)
            };
            if !ours && !same() {
                counts.damaged.push(format!("{commit}: {path}"));
            }
        }
    }
    let branches: BTreeSet<&str> =
        ENVIRONMENTS.iter().filter(|(.., repository)| *repository == at).map(|(_, branch, _)| *branch).collect();
    for branch in branches {
        let all = world.on_server(&world.source, &["rev-list", branch]);
        counts.superseded += all.lines().filter(|commit| !named.contains(*commit)).count();
    }
    lost(world, bare, counts);
}

/// Edits that the history has and the files do not have any more: each wrote a line of its own.
fn lost(world: &World, bare: &Path, counts: &mut Counts) {
    let log = world.on_server(bare, &["log", "--format=%H", "--grep=^By hand", "main"]);
    for commit in log.lines() {
        let added = world.on_server(bare, &["show", "--format=", "-U0", commit, "--", "*deployment.yaml"]);
        let path = added.lines().find_map(|line| line.strip_prefix("+++ b/")).map(str::to_owned);
        let line = added.lines().find_map(|line| line.strip_prefix("+# edit "));
        if let (Some(path), Some(line)) = (path, line)
            && !file(world, bare, "main", &path).lines().any(|there| there == format!("# edit {line}"))
        {
            counts.lost_by_hand.push(format!("{commit}: {line}"));
        }
    }
}
