//! The manifest repository of each environment: whether the user's own git reaches the branch, without asking anything.

use super::{
    Finding, PATIENCE,
    configuration::{Confirmed, not_asked},
    side_by_side::Job,
};
use crate::{
    config::{Config, Manifests},
    git::{Error, Repository},
};

pub(super) fn jobs(repository: &Repository, config: &Config, confirmed: &Confirmed) -> Vec<Job> {
    let jobs = config.environments.iter().map(|(name, environment)| {
        let check = format!("manifests of {name}");
        if confirmed.has_manifests(&environment.manifests) {
            ask(check, repository.clone(), environment.manifests.clone())
        } else {
            Job::known(not_asked(check))
        }
    });
    jobs.collect()
}

fn ask(check: String, repository: Repository, manifests: Manifests) -> Job {
    let next = format!("see that `git ls-remote {}` works", manifests.url.shown());
    let late = Finding::environment(&check, format!("{} does not answer", *manifests.url), &next);
    Job::new(late, move || {
        let answer = repository.ask_remote(&manifests.url, &manifests.branch, PATIENCE);
        Some(vec![judge(check, &manifests, answer, &next)])
    })
}

fn judge(check: String, manifests: &Manifests, answer: Result<(), Error>, next: &str) -> Finding {
    match answer {
        Ok(()) => Finding::fine(check, format!("{}, branch {}", *manifests.url, *manifests.branch)),
        Err(error) => Finding::error(check, &error, next),
    }
}
