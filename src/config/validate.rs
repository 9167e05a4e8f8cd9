//! What only a look at the whole configuration finds: names that refer to nothing, steps that wait for each other.

use super::{
    Config, Image, Step,
    decode::{Problems, closest},
};
use crate::values::{HookName, ImageName};
use std::collections::{BTreeSet, HashMap, HashSet};

/// More steps than this in one hook are nobody's.
const MAX_STEPS: usize = 2000;
/// The members of a circle that are named.
const SHOWN: usize = 10;

pub(super) fn validate(config: &Config, problems: &mut Problems) {
    for (hook, steps) in &config.hooks {
        if let Some(step) = steps.get(MAX_STEPS) {
            problems.add(&step.place, format!("more than {MAX_STEPS} steps in {hook}"));
            continue;
        }
        for step in steps {
            form(*hook, step, problems);
            if let Some(image) = &step.image {
                known_image(config, image, &image.place, problems);
            }
        }
        order(steps, problems);
    }
    for environment in config.environments.values() {
        for image in &environment.images {
            known_image(config, image, &image.place, problems);
        }
    }
    apart(config, problems);
    for image in config.images.values() {
        for one in image.platform.split(',') {
            platform(one.trim(), &image.repository.place, problems);
        }
        secrets(image, problems);
        if image.before.is_some() == image.artifacts.is_empty() {
            let message = "`before` and `artifacts` belong together: a command, and the paths that it makes";
            problems.add(&image.repository.place, message);
        }
    }
}

/// A step runs a command or builds an image, and an image is built where a snapshot stands still.
fn form(hook: HookName, step: &Step, problems: &mut Problems) {
    match (&step.run, &step.image) {
        (Some(_), Some(image)) => problems.add(&image.place, "a step has `run` or `image`, not both"),
        (None, None) => problems.add(&step.place, "this step does nothing: give it `run` or `image`"),
        (Some(run), None) if run.trim().is_empty() => problems.add(&run.place, "`run` is empty"),
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

/// Two environments never patch one manifest: neither's folder lies in the other's.
fn apart(config: &Config, problems: &mut Problems) {
    let all: Vec<_> = config.environments.iter().collect();
    for (at, (name, environment)) in all.iter().enumerate() {
        for (other, earlier) in &all[..at] {
            let (mine, theirs) = (&environment.manifests, &earlier.manifests);
            let same = mine.url.reveal() == theirs.url.reveal() && mine.branch.as_str() == theirs.branch.as_str();
            let nested = mine.path.contains(theirs.path.as_str()) || theirs.path.contains(mine.path.as_str());
            if same && nested {
                problems.add(
                    &mine.url.place,
                    format!("{name} and {other} share manifests: give each a `path` of its own, side by side"),
                );
            }
        }
    }
}

fn known_image(config: &Config, name: &ImageName, place: &crate::yaml::Place, problems: &mut Problems) {
    if config.images.contains_key(name) {
        return;
    }
    let known: Vec<&str> = config.images.keys().map(ImageName::as_str).collect();
    let hint = match closest(name.as_str(), &known) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => "add it under `images`".to_owned(),
    };
    problems.add(place, format!("no image {:?}; {hint}", name.as_str()));
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
                let hint = match closest(need, &names) {
                    Some(meant) => format!("did you mean {meant:?}?"),
                    None => format!("known here: {}", names.join(", ")),
                };
                problems.add(&need.place, format!("no step {:?} in this hook; {hint}", need.as_str()));
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

fn platform(platform: &str, place: &crate::yaml::Place, problems: &mut Problems) {
    let parts: Vec<&str> = platform.split('/').collect();
    let fits = (2..=3).contains(&parts.len())
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    if !fits {
        problems.add(place, format!("platform {platform:?} is not of the form os/architecture, such as linux/amd64"));
    }
}
