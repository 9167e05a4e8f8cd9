//! What images need: an engine that answers, and registries that let the user in.

use super::{
    Finding, PATIENCE,
    configuration::{Confirmed, not_asked},
    side_by_side::{Job, within},
};
use crate::{
    config::{Config, Image},
    image::{self, Error},
};
use std::collections::BTreeMap;

pub(super) fn jobs(config: &Config, confirmed: &Confirmed) -> Vec<Job> {
    if config.images.is_empty() {
        return Vec::new();
    }
    let mut jobs = vec![engine()];
    // Two images of one repository are one thing to ask.
    let repositories: BTreeMap<String, &Image> =
        config.images.values().map(|image| (image.repository.to_string(), image)).collect();
    for (repository, image) in repositories {
        let check = format!("registry of {repository}");
        jobs.push(if confirmed.has_registry(image) {
            registry(check, image.clone())
        } else {
            Job::known(not_asked(check))
        });
    }
    jobs
}

fn engine() -> Job {
    let late = Finding::environment("engine", silent(), "`docker info` tells whether the engine is well");
    Job::new(late, || {
        let found = match within(PATIENCE, image::ask_engine())? {
            Ok(place) => Finding::fine("engine", place),
            Err(error) => Finding::error("engine", &error, "`docker info` tells whether the engine is well"),
        };
        Some(vec![found])
    })
}

fn registry(check: String, image: Image) -> Job {
    let next = format!("is the address right, and {} up?", image.repository.registry());
    Job::new(Finding::environment(&check, silent(), &next), move || {
        let answer = within(PATIENCE, image::ask_registry(&image))?;
        Some(vec![judge_registry(check, answer, &next)])
    })
}

fn judge_registry(check: String, answer: Result<Option<String>, Error>, next: &str) -> Finding {
    match answer {
        Ok(Some(user)) => Finding::fine(check, format!("answers the user {user}")),
        Ok(None) => Finding::fine(check, "answers; no login is known for it"),
        Err(error) => Finding::error(check, &error, next),
    }
}

fn silent() -> String {
    format!("no answer within {} s", PATIENCE.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_refusal_leads_to_docker_login() {
        let refused = Error::Refused { registry: "registry.example.com".to_owned(), user: Some("me".to_owned()) };
        let found = judge_registry("registry".to_owned(), Err(refused), "");
        assert_eq!(found.state, State::Environment);
        assert!(found.next.unwrap().contains("docker login registry.example.com"));
        assert_eq!(judge_registry("registry".to_owned(), Ok(None), "").state, State::Fine);
    }
}
