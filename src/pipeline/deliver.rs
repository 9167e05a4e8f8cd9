//! From "the upstream has this commit" to deliveries, a commit for each environment that follows its branch. What triggers
//! them is here, too: a push of the user's, a pull, a word.

use super::{Error, Pipeline, Whose, background, builds::Images, configuration, confirmed, runtime};
use crate::{
    check::{self, log},
    cluster,
    config::Config,
    deliver::{self as delivery, Act, Build, Delivery, Seen, Session, Switch, Target, Wish},
    git::{Ancestry, Prompts},
    hook::{From, Movement, Subject},
    sync,
    ui::{Outcome, Task},
    values::{EnvironmentName, Oid},
};
use std::{collections::BTreeMap, fmt, str::FromStr, sync::mpsc, thread, time::Duration};

/// How long a nudge may take; it is only a courtesy.
const NUDGE: Duration = Duration::from_secs(3);

/// What became of one environment.
#[derive(Debug)]
pub struct Told {
    /// Which one.
    pub environment: EnvironmentName,
    /// What was done, or why it waits.
    pub result: Result<Delivery, Error>,
}

/// What would become of one environment.
#[derive(Debug)]
pub struct Shown {
    /// Which one.
    pub environment: EnvironmentName,
    /// What would change.
    pub result: Result<delivery::Rehearsal, Error>,
}

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

/// post-merge: what the user has merged of the upstreams is delivered in the background, checks first where no push ran
/// them. What was only fetched is not: nothing of it may be executed.
///
/// # Errors
/// When the outbox cannot be written, or the background process not be started.
pub fn pulled(pipeline: &Pipeline<'_>) -> Result<(), Error> {
    let repository = pipeline.repository;
    let Some(head) = repository.commit("HEAD") else { return Ok(()) };
    let Some(config) = configuration(repository, &head, Whose::Everybodys)? else { return Ok(()) };
    let mut behind = Vec::new();
    for (name, branch) in config.followers() {
        let Some(tip) = tip(pipeline, branch) else { continue };
        // What a delivery added on top of it is nothing to deliver.
        let Some(tip) = to_follow(pipeline, &config, name, tip)? else { continue };
        if matches!(repository.ancestry(&tip, &head)?, Ancestry::Same | Ancestry::Behind) {
            delivery::note(repository, name, delivery::Reason::Merge)?;
            behind.push(Wanted { environment: name.clone(), commit: Some(tip) });
        }
    }
    if behind.is_empty() { Ok(()) } else { background::deliver(repository, &behind, background::PATIENCE) }
}

/// reference-transaction: what a push of ours noted is confirmed and delivered; a fetch is only noted. When git packs its
/// references nothing has moved.
///
/// # Errors
/// When the outbox cannot be written, or the background process not be started.
pub fn moved(pipeline: &Pipeline<'_>, movements: &[Movement]) -> Result<(), Error> {
    let repository = pipeline.repository;
    let mut confirmed = Vec::new();
    for movement in movements.iter().filter(|movement| movement.reference.starts_with("refs/remotes/")) {
        let Some(commit) = repository.commit(movement.to.as_str()) else { continue };
        // Any branch of anybody's may be among them, with whatever it calls a configuration.
        let Ok(Some(config)) = configuration(repository, &commit, Whose::Everybodys) else { continue };
        for (name, branch) in config.followers() {
            let upstream = repository.upstream(branch);
            if upstream.is_none_or(|upstream| upstream.tracking != movement.reference) {
                continue;
            }
            let Some(commit) = to_follow(pipeline, &config, name, commit.clone())? else { continue };
            let noted = delivery::waiting(repository)?;
            let pushed = delivery::Reason::Push(commit.clone());
            if noted.iter().any(|note| note.environment == *name && note.reason == pushed) {
                confirmed.push(Wanted { environment: name.clone(), commit: Some(commit.clone()) });
            } else if movement.from == From::Told {
                delivery::note(repository, name, delivery::Reason::Fetch)?;
            }
        }
    }
    if confirmed.is_empty() { Ok(()) } else { background::deliver(repository, &confirmed, background::PATIENCE) }
}

/// Delivers environments, all that follow a branch where none is named. One that fails does not stop the others.
///
/// # Errors
/// When there is no configuration to say what the environments are, or it has none of a name.
pub fn deliver(pipeline: &Pipeline<'_>, wanted: &[Wanted], switch: Switch) -> Result<Vec<Told>, Error> {
    let (found, mut told) = Found::of(pipeline, wanted)?;
    let images = Images::new(pipeline, &found.configs);
    let wishes = found.wishes(pipeline, switch, Build::Missing);
    let session = Session::new(pipeline.repository, pipeline.prompts, wishes.iter().map(|wish| &wish.target));
    let logs: Vec<log::Run> = wishes.iter().map(|wish| begin_log(pipeline, wish)).collect();
    for ((wish, log), result) in wishes.iter().zip(logs).zip(delivery::deliver(&session, &wishes, &images)) {
        let (outcome, note) = match &result {
            Ok(delivery) => (check::Outcome::Passed, self::told(delivery)),
            Err(error) => (check::Outcome::Failed(format!("it waits: {error}")), String::new()),
        };
        log.ended(wish.target.name.as_str(), &outcome, &note, wish.task.elapsed(), || wish.task.kept());
        drop(log);
        let told_one = ended(wish, result);
        let is_pushed = matches!(told_one.result, Ok(Delivery::Delivered { .. } | Delivery::Noted { .. }));
        if is_pushed && wish.target.is_on_its_branch(pipeline.repository) {
            let branch = wish.target.branch;
            pipeline
                .progress
                .line(&format!("next: {branch} has the delivery on top now; `git pull --rebase` before the next push"));
        }
        told.push(told_one);
    }
    nudge(&told);
    Ok(told)
}

/// Tells the run log that a delivery has begun.
fn begin_log(pipeline: &Pipeline<'_>, wish: &Wish<'_>) -> log::Run {
    let tip = match &wish.act {
        Act::Follow { tip, .. } => Some(tip),
        _ => None,
    };
    let name = wish.target.name.as_str();
    let steps = vec![log::LoggedStep::waiting(name, "the upstream has a commit that it may not run yet")];
    let log = log::Run::begin(pipeline.repository, "deliver", None, tip, steps);
    log.started(name);
    log
}

/// What a delivery of environments would change, all that follow a branch where none is named. Nothing is built or pushed.
///
/// # Errors
/// When there is no configuration to say what the environments are, or it has none of a name.
pub fn rehearse(pipeline: &Pipeline<'_>, wanted: &[Wanted], switch: Switch) -> Result<Vec<Shown>, Error> {
    let (found, told) = Found::of(pipeline, wanted)?;
    let failed = told.into_iter().filter_map(|told| {
        let error = told.result.err()?;
        Some(Shown { environment: told.environment, result: Err(error) })
    });
    let mut shown: Vec<Shown> = failed.collect();
    let images = Images::new(pipeline, &found.configs);
    let wishes = found.wishes(pipeline, switch, Build::Nothing);
    let session = Session::new(pipeline.repository, pipeline.prompts, wishes.iter().map(|wish| &wish.target));
    for wish in wishes {
        let result = delivery::rehearse(&session, &wish, &images).map_err(Error::from);
        shown.push(Shown { environment: wish.target.name.clone(), result });
    }
    Ok(shown)
}

/// The commits that are to be delivered, with what their configurations say.
struct Found {
    /// What is delivered has its own configuration; what happens to be checked out does not matter.
    configs: BTreeMap<Oid, Config>,
    tips: Vec<(EnvironmentName, Oid, Seen)>,
}

impl Found {
    /// What is wanted, and those of it that cannot be had.
    fn of(pipeline: &Pipeline<'_>, wanted: &[Wanted]) -> Result<(Self, Vec<Told>), Error> {
        let mut found = Self { configs: BTreeMap::new(), tips: Vec::new() };
        let mut told = Vec::new();
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
                Err(error) => told.push(Told { environment, result: Err(error) }),
            }
        }
        Ok((found, told))
    }

    fn add(
        &mut self,
        pipeline: &Pipeline<'_>,
        here: Option<&Config>,
        name: &EnvironmentName,
        commit: Option<Oid>,
    ) -> Result<(), Error> {
        let known = |config: &Config| {
            let environment = config.environments.get(name);
            let environment = environment.ok_or_else(|| Error::NoEnvironment { name: name.to_string() })?;
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
                let branch = known(config)?;
                tip(pipeline, &branch).ok_or(Error::NoUpstream { branch })?
            }
            (None, None) => return Err(Error::NoEnvironment { name: name.to_string() }),
        };
        if !self.configs.contains_key(&tip) {
            let config = configuration(pipeline.repository, &tip, Whose::Everybodys)?;
            let config = config.ok_or_else(|| Error::NoConfig { commit: tip.to_string() })?;
            self.configs.insert(tip.clone(), config);
        }
        let config = self.configs.get(&tip).ok_or_else(|| Error::NoConfig { commit: tip.to_string() })?;
        known(config)?;
        confirmed(pipeline.repository, config, Subject::Publication)?;
        let source = delivery::source_of(pipeline.repository, &targets(config), &tip)?;
        if source != tip && !self.configs.contains_key(&source) {
            let config = configuration(pipeline.repository, &source, Whose::Everybodys)?;
            let config = config.ok_or_else(|| Error::NoConfig { commit: source.to_string() })?;
            known(&config)?;
            self.configs.insert(source.clone(), config);
        }
        self.tips.push((name.clone(), source, seen));
        Ok(())
    }

    fn wishes(&self, pipeline: &Pipeline<'_>, switch: Switch, build: Build) -> Vec<Wish<'_>> {
        let wish = |(name, tip, seen): &(EnvironmentName, Oid, Seen)| {
            let target = Target::of(self.configs.get(tip)?, name, switch)?;
            let act = Act::Follow { tip: tip.clone(), seen: *seen, build };
            Some(Wish { target, act, task: pipeline.progress.task(&format!("deliver {name}")) })
        };
        self.tips.iter().filter_map(wish).collect()
    }
}

/// Every environment of a configuration.
fn targets(config: &Config) -> Vec<Target<'_>> {
    config.environments.keys().filter_map(|name| Target::of(config, name, Switch::Refused)).collect()
}

/// What an environment is to follow of a branch that may hold its own deliveries; nothing where the newest of them is of
/// the newest commit that people made.
fn to_follow(pipeline: &Pipeline<'_>, config: &Config, name: &EnvironmentName, tip: Oid) -> Result<Option<Oid>, Error> {
    let source = delivery::source_of(pipeline.repository, &targets(config), &tip)?;
    if source == tip {
        return Ok(Some(tip));
    }
    let Some(target) = Target::of(config, name, Switch::Refused) else { return Ok(None) };
    if !target.is_on_its_branch(pipeline.repository) {
        return Ok(Some(source));
    }
    let path = delivery::State::path(&target.environment.manifests.path);
    let state = pipeline.repository.file(&tip, &path)?.and_then(|text| delivery::State::parse(&path, &text).ok());
    let runs = |state: &delivery::State| state.images.values().all(|running| running.source == source);
    Ok((!state.as_ref().is_some_and(runs)).then_some(source))
}

/// The configuration of what is checked out.
pub(super) fn checked_out(pipeline: &Pipeline<'_>) -> Result<Config, Error> {
    let head = pipeline.repository.commit("HEAD");
    let config =
        head.as_ref().map(|head| configuration(pipeline.repository, head, Whose::Everybodys)).transpose()?.flatten();
    config.ok_or_else(|| Error::NoConfig { commit: head.map_or_else(|| "HEAD".to_owned(), |head| head.to_string()) })
}

/// What the upstream of a branch has, as far as this clone knows.
fn tip(pipeline: &Pipeline<'_>, branch: &str) -> Option<Oid> {
    let upstream = pipeline.repository.upstream(branch)?;
    pipeline.repository.reference(&upstream.tracking)
}

/// Ends the line of a wish.
pub(super) fn ended(wish: &Wish<'_>, result: Result<Delivery, delivery::Error>) -> Told {
    let task: Task = wish.task.clone();
    task.end(&match &result {
        Ok(delivery @ Delivery::Held { .. }) => Outcome::Skipped(told(delivery)),
        Ok(delivery) => Outcome::Done(told(delivery)),
        Err(error) if matches!(wish.act, Act::Follow { .. }) => Outcome::Failed(format!("it waits: {error}")),
        Err(error) => Outcome::Failed(error.to_string()),
    });
    Told { environment: wish.target.name.clone(), result: result.map_err(Error::from) }
}

/// Tells the syncs that there is something to fetch, where this machine has a cluster to tell; else their poll finds it.
pub(super) fn nudge(told: &[Told]) {
    let is_pushed = |told: &&Told| matches!(told.result, Ok(Delivery::Delivered { .. } | Delivery::Noted { .. }));
    let names: Vec<EnvironmentName> = told.iter().filter(is_pushed).map(|told| told.environment.clone()).collect();
    if names.is_empty() {
        return;
    }
    // In a thread that is left to itself: what a kubeconfig runs to log in may wait for ever.
    let (done, told) = mpsc::channel();
    thread::spawn(move || {
        let Ok(runtime) = runtime() else { return };
        runtime.block_on(async {
            let Ok(client) = cluster::connect(None).await else { return };
            for name in &names {
                // A cluster without this environment's sync is somebody else's.
                let _ = sync::nudge(&client, name).await;
            }
        });
        let _ = done.send(());
    });
    let _ = told.recv_timeout(NUDGE);
}

/// What became of a delivery, on one line.
#[must_use]
pub fn told(delivery: &Delivery) -> String {
    match delivery {
        Delivery::Delivered { manifest_commit, source, images, .. } => {
            let images: Vec<&str> = images.iter().map(|(name, _)| name.as_str()).collect();
            format!("{} of {} is delivered by {}", images.join(", "), source.short(), manifest_commit.short())
        }
        Delivery::Noted { manifest_commit, source: Some(source) } => {
            format!("it runs this already; {} notes that for {}", manifest_commit.short(), source.short())
        }
        Delivery::Noted { manifest_commit, source: None } => {
            format!("everybody sees it from {} on", manifest_commit.short())
        }
        Delivery::Proposed { branch, commit, page, refused } => {
            let why = refused.as_ref().map(|said| format!("the server refuses a direct push ({}); ", brief(said)));
            let where_to = page.as_ref().map(|page| format!(": {page}"));
            let waits = if commit.is_some() { "waits" } else { "still waits" };
            format!("{}{waits} for review on {branch}{}", why.unwrap_or_default(), where_to.unwrap_or_default())
        }
        Delivery::Unchanged => "it runs this already".to_owned(),
        Delivery::Superseded { by } => format!("it runs {}, which is newer", by.short()),
        Delivery::Held { hold } => hold.to_string(),
    }
}

/// A server's words as a part of a line.
fn brief(said: &str) -> String {
    said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
