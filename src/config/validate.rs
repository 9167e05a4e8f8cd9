//! What only a look at the whole configuration finds: names that refer to nothing, steps that wait for each other.

use super::{
    Config, Step,
    decode::{Problems, closest},
};
use crate::values::{HookName, ImageName};
use std::collections::{BTreeMap, HashSet};

pub(super) fn validate(config: &Config, problems: &mut Problems) {
    for (hook, steps) in &config.hooks {
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
    for image in config.images.values() {
        platform(&image.platform, &image.repository.place, problems);
    }
}

/// A step runs a command or builds an image, and an image is built where a snapshot stands still.
fn form(hook: HookName, step: &Step, problems: &mut Problems) {
    match (&step.run, &step.image) {
        (Some(_), Some(image)) => problems.add(&image.place, "a step has `run` or `image`, not both"),
        (None, None) => {
            let place = step.name.as_ref().map_or(0..0, |name| name.place.clone());
            problems.add(&place, "this step does nothing: give it `run` or `image`");
        }
        (Some(run), None) if run.trim().is_empty() => problems.add(&run.place, "`run` is empty"),
        (None, Some(image)) if !matches!(hook, HookName::PreCommit | HookName::PrePush) => {
            problems.add(&image.place, format!("images are built in pre-commit or pre-push, not in {hook}"));
        }
        _ => {}
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
    let mut by_name: BTreeMap<&str, &Step> = BTreeMap::new();
    for step in steps {
        if by_name.insert(step.label(), step).is_some()
            && let Some(place) = [&step.name, &step.run].into_iter().flatten().map(|written| &written.place).next()
        {
            problems.add(place, format!("a second step {:?} in this hook; give it a `name` of its own", step.label()));
        }
    }
    let names: Vec<&str> = by_name.keys().copied().collect();
    for step in steps {
        for need in &step.needs {
            if !by_name.contains_key(need.as_str()) {
                let hint = match closest(need, &names) {
                    Some(meant) => format!("did you mean {meant:?}?"),
                    None => format!("known here: {}", names.join(", ")),
                };
                problems.add(&need.place, format!("no step {:?} in this hook; {hint}", need.as_str()));
            }
        }
    }
    let mut told = HashSet::new();
    for step in steps {
        circle(step, &by_name, &mut vec![step.label()], &mut told, problems);
    }
}

fn circle<'c>(
    step: &'c Step,
    by_name: &BTreeMap<&'c str, &'c Step>,
    path: &mut Vec<&'c str>,
    told: &mut HashSet<&'c str>,
    problems: &mut Problems,
) {
    for need in &step.needs {
        let Some(needed) = by_name.get(need.as_str()) else { continue };
        if let Some(start) = path.iter().position(|name| *name == need.as_str()) {
            let members = &path[start..];
            if members.iter().all(|name| !told.contains(name)) {
                told.extend(members);
                let first = by_name[members[0]].needs.first().map_or(need.place.clone(), |need| need.place.clone());
                problems.add(
                    &first,
                    format!("{} → {need}: these steps wait for each other", members.join(" → "), need = need.as_str()),
                );
            }
        } else if !told.contains(need.as_str()) {
            path.push(needed.label());
            circle(needed, by_name, path, told, problems);
            path.pop();
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
