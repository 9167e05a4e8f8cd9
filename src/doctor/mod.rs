//! What is wrong with a clone's set-up, one finding for each check, each with the next step. It asks the other rooms, mends
//! nothing and changes nothing; credentials go only where the user confirmed that they may. Each file gathers what its
//! subject needs and reads the verdict off it in functions without I/O.

mod cluster;
mod configuration;
mod delivery;
mod finding;
mod folders;
mod hooks;
mod hooks_path;
mod images;
mod manifests;
mod programs;
mod render;
mod scratch;
mod side_by_side;

pub use finding::{Finding, State};

use crate::{config::Config, git::Repository};
use side_by_side::Job;
use std::{path::Path, time::Duration};

/// How long anybody who is asked may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is examined.
pub struct Subject<'a> {
    /// The clone.
    pub repository: &'a Repository,
    /// Its configuration, as it stands in the work tree.
    pub config: Result<&'a Config, &'a miette::Report>,
    /// This program.
    pub program: &'a Path,
    /// Whether others are asked.
    pub reach: Reach,
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Everybody: engine, registries, manifest repositories, cluster.
    Everybody,
    /// Nobody beyond this clone and its files.
    Here,
}

/// Examines a clone: first what is here, then whom it talks to.
#[must_use]
pub fn examine(subject: &Subject<'_>) -> Vec<Finding> {
    let repository = subject.repository;
    let mut findings = programs::git();
    findings.extend(programs::shell());
    findings.extend(folders::examine(repository));
    findings.extend(configuration::examine(repository, subject.config));
    let mut jobs: Vec<Job> = Vec::new();
    if let Ok(config) = subject.config {
        let hooks = hooks::gather(repository, config);
        findings.extend(hooks.findings());
        findings.extend(hooks_path::examine(repository, config));
        jobs.extend(programs::ours(subject.program, &hooks));
    }
    findings.extend(scratch::examine(repository));
    if let Ok(config) = subject.config {
        findings.extend(delivery::examine(repository, config));
        findings.extend(render::examine(repository, config));
        if subject.reach == Reach::Everybody {
            let confirmed = configuration::Confirmed::of(repository, config);
            jobs.extend(images::jobs(config, &confirmed));
            jobs.extend(manifests::jobs(repository, config, &confirmed));
            jobs.extend(cluster::job(config));
        }
    }
    findings.extend(side_by_side::run(jobs));
    findings
}
