//! What only a look at the whole configuration finds: names that refer to nothing, steps that wait for each other.

use super::{Config, Environment, Image, Kind, Manifests, Step, decode::Problems, layers::MAX_MISTAKES};
use crate::{
    values::{EnvironmentName, HookName, ImageName, List, RemoteUrl, closest, shown},
    yaml::{Node, Place, Value},
};
use std::collections::{BTreeSet, HashMap, HashSet};

/// More steps than this in one hook are nobody's.
const MAX_STEPS: usize = 2000;
/// The members of a circle that are named.
const SHOWN: usize = 10;

/// Adds what is wrong with what has been decoded, of which parts with mistakes of their own may be missing: names are
/// looked up among those that are written in `root`.
pub(super) fn validate(root: &Node<'_>, config: &Config, problems: &mut Problems) {
    images(root, problems);
    of_commands(root, problems);
    for (hook, steps) in &config.hooks {
        if let Some(step) = steps.get(MAX_STEPS) {
            problems.add(&step.place, format!("more than {MAX_STEPS} steps in {hook}"));
            continue;
        }
        for step in steps {
            form(*hook, step, problems);
            placeholders(*hook, step, problems);
        }
        order(steps, problems);
    }
    for (name, environment) in &config.environments {
        let url = &environment.manifests.url;
        if url.has_secret() {
            problems.add(
                &url.place,
                "a password or token in an address is readable by all who can read this file: write the address without \
                 it, let a credential helper of git's keep it (gitcredentials(7)), and make a new one",
            );
        }
        origin(root, config, name, environment, problems);
    }
    apart(config, problems);
    for environment in config.environments.values() {
        rendering(&environment.manifests, problems);
    }
    for image in config.images.values() {
        secrets(image, problems);
        if image.before.is_some() == image.artifacts.is_empty() {
            let message = "`before` and `artifacts` belong together: a command, and the paths that it makes";
            problems.add(&image.repository.place, message);
        }
    }
}

/// Adds each path that must be there and is not.
pub(super) fn paths(config: &Config, there: &impl Fn(&str, Kind) -> bool, problems: &mut Problems) {
    for step in config.hooks.values().flatten() {
        if !step.root.as_str().is_empty() && !there(step.root.as_str(), Kind::Folder) {
            problems.add(&step.root.place, format!("there is no folder {} here", shown(step.root.as_str())));
        }
    }
    for image in config.images.values() {
        if !image.context.as_str().is_empty() && !there(image.context.as_str(), Kind::Folder) {
            problems.add(&image.context.place, format!("there is no folder {} here", shown(image.context.as_str())));
        } else if !there(&image.dockerfile(), Kind::File) {
            let (place, hint) = match &image.dockerfile {
                Some(written) => (&written.place, "its path is from the root of the repository"),
                None => (&image.repository.place, "name it with `dockerfile`"),
            };
            problems.add(place, format!("there is no file {} here; {hint}", shown(&image.dockerfile())));
        }
    }
}

/// Every image that a step or an environment names is one of `images`.
fn images(root: &Node<'_>, problems: &mut Problems) {
    let entries = |key: &str| root.get(key).map(Node::entries).unwrap_or_default();
    let known: BTreeSet<&str> = entries("images").iter().filter_map(|entry| entry.key.as_str()).collect();
    let of_steps = entries("hooks").iter().flat_map(|hook| hook.value.items()).filter_map(|step| step.get("image"));
    let of_environments = entries("environments").iter().filter_map(|entry| entry.value.get("images"));
    let of_environments = of_environments.flat_map(|images| match &images.value {
        Value::Sequence(items) => items.as_slice(),
        _ => std::slice::from_ref(images),
    });
    for node in of_steps.chain(of_environments) {
        let Some(name) = node.as_str().filter(|name| !known.contains(name) && name.parse::<ImageName>().is_ok()) else {
            continue;
        };
        let all: Vec<&str> = known.iter().copied().collect();
        let hint = hint(name, &all, problems).unwrap_or_else(|| "add it under `images`".to_owned());
        problems.add(&node.place, format!("no image {name:?}; {hint}"));
    }
}

/// What is said of a command means nothing where an image is built.
fn of_commands(root: &Node<'_>, problems: &mut Problems) {
    let hooks = root.get("hooks").map(Node::entries).unwrap_or_default();
    let steps = hooks.iter().flat_map(|hook| hook.value.items());
    for step in steps.filter(|step| step.get("image").is_some() && step.get("run").is_none()) {
        for entry in step.entries() {
            if let Some(key @ ("env" | "shell" | "stdin" | "interactive" | "inputs" | "tools")) = entry.key.as_str() {
                problems.add(
                    &entry.key.place,
                    format!("`{key}` is for a step that runs a command: what the build of an image depends on stands under `images`"),
                );
            }
        }
    }
}

/// What was probably meant; of more mistakes than are shown nobody asks.
fn hint(written: &str, known: &[&str], problems: &Problems) -> Option<String> {
    if problems.0.len() >= MAX_MISTAKES {
        return None;
    }
    closest(written, known).map(|meant| format!("did you mean {meant:?}?"))
}

/// A step runs a command or builds an image, and an image is built where a snapshot stands still.
fn form(hook: HookName, step: &Step, problems: &mut Problems) {
    match (&step.run, &step.image) {
        (Some(_), Some(image)) => problems.add(&image.place, "a step has `run` or `image`, not both"),
        // What is wrong with it may well be its `run`.
        (None, None) if problems.within(&step.place) => {}
        (None, None) => problems.add(&step.place, "this step does nothing: give it `run` or `image`"),
        (Some(run), None) if run.written().trim().is_empty() => problems.add(&run.place, "`run` is empty"),
        (None, Some(image)) if !matches!(hook, HookName::PreCommit | HookName::PrePush) => {
            problems.add(&image.place, format!("images are built in pre-commit or pre-push, not in {hook}"));
        }
        _ => {}
    }
    let mut refuse = |wrong: bool, message: &str| {
        if wrong {
            problems.add(&step.place, message);
        }
    };
    refuse(step.fix && hook != HookName::PreCommit, "`fix` is for pre-commit: only there a change can join the commit");
    refuse(step.fix && step.image.is_some(), "the build of an image has nothing to `fix`");
    refuse(step.background && hook != HookName::PrePush, "`background` is for pre-push, whose steps can run ahead");
    refuse(step.background && step.interactive, "a step in the background cannot be `interactive`");
    refuse(step.interactive && step.stdin, "a step gets the terminal (`interactive`) or the hook's `stdin`, not both");
    if step.shell.split_whitespace().next().is_none() {
        problems.add(&step.shell.place, "`shell` is empty");
    }
}

/// Placeholders that the hook has no value for.
fn placeholders(hook: HookName, step: &Step, problems: &mut Problems) {
    let Some(run) = &step.run else { return };
    if run.takes_message_file() && !hook.takes_message_file() {
        problems.add(
            &run.place,
            format!("{hook} has no {{message_file}}: it is for commit-msg, prepare-commit-msg and applypatch-msg"),
        );
    }
    match run.list() {
        Some(list @ List::Staged) if hook == HookName::PrePush => other_list(hook, list, &run.place, problems),
        Some(list @ List::Pushed) if hook != HookName::PrePush => other_list(hook, list, &run.place, problems),
        _ => {}
    }
}

fn other_list(hook: HookName, list: List, place: &Place, problems: &mut Problems) {
    problems.add(
        place,
        format!(
            "{hook} has no {list}: {{files}} are those that change in any hook, {{all_files}} are all of the snapshot"
        ),
    );
}

/// An environment follows a branch, or takes what another one runs; what it takes, that one must have.
fn origin(
    root: &Node<'_>,
    config: &Config,
    name: &EnvironmentName,
    environment: &Environment,
    problems: &mut Problems,
) {
    let before = match (&environment.branch, &environment.promote) {
        (Some(_), None) => return,
        (None, Some(before)) => before,
        (Some(_), Some(before)) => {
            problems.add(&before.place, "an environment has `branch` or `promote`, not both");
            return;
        }
        (None, None) => {
            problems.add(&environment.place, "an environment needs the key \"branch\", or \"promote\"");
            return;
        }
    };
    let Some(earlier) = config.environments.get(&**before) else {
        let written = root.get("environments").map(Node::entries).unwrap_or_default();
        let known: Vec<&str> = written.iter().filter_map(|entry| entry.key.as_str()).collect();
        // One with mistakes of its own is there, too.
        if known.contains(&before.as_str()) {
            return;
        }
        let hint = hint(before.as_str(), &known, problems).unwrap_or_else(|| "add it under `environments`".to_owned());
        problems.add(&before.place, format!("no environment {:?}; {hint}", before.as_str()));
        return;
    };
    let mut seen = HashSet::from([name]);
    let mut at = Some(&**before);
    while let Some(next) = at {
        if !seen.insert(next) {
            problems.add(&before.place, format!("{name} is promoted from itself in the end"));
            return;
        }
        at = config.environments.get(next).and_then(|environment| environment.promote.as_deref());
    }
    for image in &environment.images {
        if !earlier.images.iter().any(|known| **known == **image) {
            problems.add(&image.place, format!("{} does not run {}, so it cannot be promoted", **before, **image));
        }
    }
}

/// Two environments never patch one manifest: neither's folder lies in the other's.
fn apart(config: &Config, problems: &mut Problems) {
    let all: Vec<_> = config.environments.iter().collect();
    for (at, (name, environment)) in all.iter().enumerate() {
        for (other, earlier) in &all[..at] {
            let (mine, theirs) = (&environment.manifests, &earlier.manifests);
            let address = |url: &RemoteUrl| url.reveal().trim_end_matches('/').trim_end_matches(".git").to_owned();
            let same = address(&mine.url) == address(&theirs.url) && mine.branch.as_str() == theirs.branch.as_str();
            let nested = mine.path.contains(theirs.path.as_str()) || theirs.path.contains(mine.path.as_str());
            if same && nested {
                let written = Some(&mine.path.place).filter(|place| !place.is_empty());
                problems.add(
                    written.unwrap_or(&mine.url.place),
                    format!(
                        "{name} and {other} share manifests ({} and {}): give each a `path` of its own, side by side",
                        *mine.path, *theirs.path
                    ),
                );
            }
        }
    }
}

/// What is said of a chart means nothing where nothing is rendered.
fn rendering(manifests: &Manifests, problems: &mut Problems) {
    let chart = manifests.chart.as_ref().map(|chart| ("chart", &chart.place));
    let release = manifests.release.as_ref().map(|release| ("release", &release.place));
    for (key, place) in [chart, release].into_iter().flatten().filter(|_| !manifests.render) {
        problems.add(place, format!("`{key}` is for `render: true`, which says that a chart is rendered"));
    }
    if let Some(release) = manifests.release.as_ref().filter(|release| release.parse::<EnvironmentName>().is_err()) {
        problems.add(
            &release.place,
            format!("{:?} is no name of a release: use lower-case letters, digits and dashes", release.as_str()),
        );
    }
    for (at, file) in manifests.values.iter().enumerate() {
        if manifests.values[..at].iter().any(|earlier| **earlier == **file) {
            problems.add(&file.place, format!("{} stands here twice; keep one of them", **file));
        }
    }
}

/// Names are unique within a hook, `needs` names steps of the hook, and no step waits for itself.
fn order(steps: &[Step], problems: &mut Problems) {
    let mut labels: BTreeSet<&str> = BTreeSet::new();
    for step in steps {
        if !labels.insert(step.label()) {
            problems.add(
                &step.place,
                format!("a second step {:?} in this hook; give it a `name` of its own", step.label()),
            );
        }
    }
    let tags = steps.iter().flat_map(|step| step.tags.iter().map(String::as_str));
    let names: Vec<&str> = labels.iter().copied().chain(tags).collect::<BTreeSet<_>>().into_iter().collect();
    let mut called: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, step) in steps.iter().enumerate() {
        let names: BTreeSet<&str> = std::iter::once(step.label()).chain(step.tags.iter().map(String::as_str)).collect();
        for name in names {
            called.entry(name).or_default().push(at);
        }
    }
    for step in steps {
        for need in &step.needs {
            let Some(needed) = called.get(need.as_str()) else {
                let hint = hint(need, &names, problems).unwrap_or_else(|| match names.as_slice() {
                    few if few.len() <= SHOWN => format!("known here: {}", few.join(", ")),
                    many => format!("known here: {} and {} more", many[..SHOWN].join(", "), many.len() - SHOWN),
                });
                problems.add(&need.place, format!("no step {:?} in this hook; {hint}", shown(need)));
                continue;
            };
            for other in needed.iter().map(|at| &steps[*at]) {
                if other.priority > step.priority {
                    problems.add(&need.place, format!("{} comes later: its `priority` is higher", other.label()));
                }
                if step.fix && !other.fix {
                    problems.add(&need.place, format!("{} comes later: steps that `fix` run first", other.label()));
                }
            }
        }
    }
    let needed =
        |step: &Step| step.needs.iter().filter_map(|need| called.get(need.as_str())).flatten().copied().collect();
    circles(steps, &steps.iter().map(needed).collect::<Vec<_>>(), problems);
}

/// Tells each circle of steps once. Depth first, and what has been left is never entered again: as quick as the list is long,
/// whatever it looks like.
fn circles(steps: &[Step], needed: &[Vec<usize>], problems: &mut Problems) {
    let mut left = vec![false; steps.len()];
    let mut told = HashSet::new();
    for first in 0..steps.len() {
        // The steps that are open, each with the number of its needs that have been looked at.
        let mut path = if left[first] { Vec::new() } else { vec![(first, 0)] };
        let mut open = HashSet::from([first]);
        while let Some((at, looked_at)) = path.last_mut() {
            let Some(next) = needed[*at].get(*looked_at).copied() else {
                left[*at] = true;
                open.remove(at);
                path.pop();
                continue;
            };
            *looked_at += 1;
            if open.contains(&next) {
                let start = path.iter().position(|(member, _)| *member == next).unwrap_or_default();
                let members: Vec<&Step> = path[start..].iter().map(|(member, _)| &steps[*member]).collect();
                circle(&members, &mut told, problems);
            } else if !left[next] {
                open.insert(next);
                path.push((next, 0));
            }
        }
    }
}

fn circle<'c>(members: &[&'c Step], told: &mut HashSet<&'c str>, problems: &mut Problems) {
    let names: Vec<&str> = members.iter().map(|step| step.label()).collect();
    if names.iter().any(|name| told.contains(name)) {
        return;
    }
    told.extend(names.iter());
    let shown =
        if names.len() > SHOWN { format!("{} → …", names[..SHOWN].join(" → ")) } else { names.join(" → ") };
    if let Some(need) = members.first().and_then(|step| step.needs.first()) {
        problems.add(&need.place, format!("{shown} → {}: these steps wait for each other", names[0]));
    }
}

/// A secret comes from one place.
fn secrets(image: &Image, problems: &mut Problems) {
    for (name, secret) in &image.secrets {
        let places = [&secret.file, &secret.env, &secret.run].into_iter().flatten().count();
        if places != 1 {
            problems.add(&secret.place, format!("the secret {name:?} needs one of `file`, `env` and `run`"));
        }
    }
}
