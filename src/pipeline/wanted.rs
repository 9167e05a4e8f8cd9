//! Which commits are to be delivered: what somebody named, or what the upstreams have, each with its own configuration.

use super::{Error, Pipeline, Whose, configuration, confirmed};
use crate::{
    config::Config,
    deliver::{self as delivery, Act, Build, Seen, Switch, Target, Wish},
    git::Prompts,
    hook::Subject,
    values::{EnvironmentName, Oid},
};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// An environment, and the commit that it should run where that is fixed already.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which environment.
    pub environment: EnvironmentName,
    /// The commit; without one, what the upstream of its branch has.
    pub commit: Option<Oid>,
}

impl FromStr for Wanted {
    type Err = crate::values::Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || crate::values::Invalid::new("the name of an environment", text);
        let (name, commit) = text.split_once('=').map_or((text, None), |(name, commit)| (name, Some(commit)));
        let commit = commit.map(str::parse).transpose()?;
        Ok(Self { environment: name.parse().map_err(|_| invalid())?, commit })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.commit {
            Some(commit) => write!(f, "{}={commit}", self.environment),
            None => write!(f, "{}", self.environment),
        }
    }
}

/// The commits that are to be delivered, with what their configurations say.
pub(super) struct Found {
    /// What is delivered has its own configuration; what happens to be checked out does not matter.
    pub(super) configs: BTreeMap<Oid, Config>,
    tips: Vec<(EnvironmentName, Oid, Seen)>,
}

impl Found {
    /// What is wanted, and those of it that cannot be had.
    pub(super) fn of(
        pipeline: &Pipeline<'_>,
        wanted: &[Wanted],
    ) -> Result<(Self, Vec<(EnvironmentName, Error)>), Error> {
        let mut found = Self { configs: BTreeMap::new(), tips: Vec::new() };
        let mut failed = Vec::new();
        let here = if wanted.iter().all(|wanted| wanted.commit.is_some()) && !wanted.is_empty() {
            None
        } else {
            Some(checked_out(pipeline)?)
        };
        let all: Vec<Wanted> = match &here {
            Some(config) if wanted.is_empty() => {
                config.followers().map(|(name, _)| Wanted { environment: name.clone(), commit: None }).collect()
            }
            _ => wanted.to_vec(),
        };
        for Wanted { environment, commit } in all {
            match found.add(pipeline, here.as_ref(), &environment, commit) {
                Ok(()) => {}
                // Of a name that is a mistake nothing is delivered, and the others are not begun either.
                Err(error @ (Error::NoEnvironment { .. } | Error::IsPromoted { .. })) => return Err(error),
                Err(error) => failed.push((environment, error)),
            }
        }
        Ok((found, failed))
    }

    fn add(
        &mut self,
        pipeline: &Pipeline<'_>,
        here: Option<&Config>,
        name: &EnvironmentName,
        commit: Option<Oid>,
    ) -> Result<(), Error> {
        let known = |config: &Config, commit: Option<&Oid>| {
            let environment = config.environments.get(name);
            let environment = environment.ok_or_else(|| Error::not_committed(name, config, commit))?;
            match (&environment.branch, &environment.promote) {
                (Some(branch), _) => Ok((**branch).clone()),
                (None, from) => {
                    let from = from.as_ref().map_or_else(String::new, |from| from.to_string());
                    Err(Error::IsPromoted { name: name.to_string(), from })
                }
            }
        };
        // What a hook has just seen; anybody may have typed the same.
        let seen = if commit.is_some() && pipeline.prompts == Prompts::Never { Seen::Now } else { Seen::Once };
        let tip = match (commit, here) {
            (Some(commit), _) => commit,
            (None, Some(config)) => {
                let branch = known(config, None)?;
                tip(pipeline, &branch).ok_or(Error::NoUpstream { branch })?
            }
            (None, None) => return Err(Error::no_environment(name, None)),
        };
        if !self.configs.contains_key(&tip) {
            let config = configuration(pipeline.repository, &tip, Whose::Everybodys)?;
            let config = config.ok_or_else(|| Error::NoConfig { commit: tip.to_string() })?;
            self.configs.insert(tip.clone(), config);
        }
        let config = self.configs.get(&tip).ok_or_else(|| Error::NoConfig { commit: tip.to_string() })?;
        known(config, Some(&tip))?;
        confirmed(pipeline.repository, config, Subject::Publication)?;
        let source = delivery::source_of(pipeline.repository, &targets(config), &tip)?;
        if source != tip && !self.configs.contains_key(&source) {
            let config = configuration(pipeline.repository, &source, Whose::Everybodys)?;
            let config = config.ok_or_else(|| Error::NoConfig { commit: source.to_string() })?;
            known(&config, Some(&source))?;
            self.configs.insert(source.clone(), config);
        }
        self.tips.push((name.clone(), source, seen));
        Ok(())
    }

    pub(super) fn wishes(&self, pipeline: &Pipeline<'_>, switch: Switch, build: Build) -> Vec<Wish<'_>> {
        let wish = |(name, tip, seen): &(EnvironmentName, Oid, Seen)| {
            let target = Target::of(self.configs.get(tip)?, name, switch)?;
            let act = Act::Follow { tip: tip.clone(), seen: *seen, build };
            Some(Wish { target, act, task: pipeline.progress.task(&format!("deliver {name}")) })
        };
        self.tips.iter().filter_map(wish).collect()
    }
}

/// Every environment of a configuration.
pub(super) fn targets(config: &Config) -> Vec<Target<'_>> {
    config.environments.keys().filter_map(|name| Target::of(config, name, Switch::Refused)).collect()
}

/// The configuration of what is checked out.
pub(super) fn checked_out(pipeline: &Pipeline<'_>) -> Result<Config, Error> {
    let head = pipeline.repository.commit("HEAD");
    let config =
        head.as_ref().map(|head| configuration(pipeline.repository, head, Whose::Everybodys)).transpose()?.flatten();
    config.ok_or_else(|| Error::NoConfig { commit: head.map_or_else(|| "HEAD".to_owned(), |head| head.to_string()) })
}

/// What the upstream of a branch has, as far as this clone knows.
pub(super) fn tip(pipeline: &Pipeline<'_>, branch: &str) -> Option<Oid> {
    let upstream = pipeline.repository.upstream(branch)?;
    pipeline.repository.reference(&upstream.tracking)
}
