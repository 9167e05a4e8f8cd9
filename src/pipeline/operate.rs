//! What a person says about an environment: take what runs in the one before, go back, stay as it is, go on.

use super::{
    Error, Pipeline, Shown, Told,
    builds::Images,
    confirmed,
    deliver::{ended, nudge},
    runtime,
    wanted::checked_out,
};
use crate::{
    cluster,
    config::{Config, Environment},
    deliver::{self as delivery, Act, Hold, Past, Running, Session, State, Switch, Target, Wish},
    hook::Subject,
    sync::{self, Phase},
    values::{EnvironmentName, ImageName, Oid},
};
use std::{collections::BTreeMap, time::Duration};

/// How long a cluster may take to say what runs.
const PATIENCE: Duration = Duration::from_secs(20);

/// How it is known what runs in the environment before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Its cluster is asked, through this context of the kubeconfig or the current one.
    Cluster(Option<String>),
    /// What was delivered there is taken as it is.
    Unverified,
}

/// Makes an environment run exactly what runs in the one before it.
///
/// # Errors
/// An environment that is not promoted, one before it that does not run well or cannot be asked.
pub fn promote(pipeline: &Pipeline<'_>, name: &EnvironmentName, proof: &Proof) -> Result<Told, Error> {
    let config = trusted(pipeline)?;
    let (session, wish) = promotion(pipeline, &config, name, proof)?;
    Ok(act_on(pipeline, &session, wish))
}

/// What [`promote`] would change; nothing is pushed.
///
/// # Errors
/// As there.
pub fn rehearse_promotion(pipeline: &Pipeline<'_>, name: &EnvironmentName, proof: &Proof) -> Result<Shown, Error> {
    let config = trusted(pipeline)?;
    let (session, wish) = promotion(pipeline, &config, name, proof)?;
    Ok(rehearse(pipeline, &session, &wish))
}

fn promotion<'p, 'c>(
    pipeline: &Pipeline<'p>,
    config: &'c Config,
    name: &EnvironmentName,
    proof: &Proof,
) -> Result<(Session<'p>, Wish<'c>), Error> {
    let target = target(config, name)?;
    let from = target.environment.promote.as_deref().ok_or_else(|| Error::NotPromoted { name: name.to_string() })?;
    let before = self::target(config, from)?;
    let session = Session::new(pipeline.repository, pipeline.prompts, [&target, &before]);
    let task = pipeline.progress.task(&format!("promote {name}"));
    task.message(&format!("asking what runs in {from}"));
    let (images, proof) = match proof {
        Proof::Unverified => {
            let state = delivery::delivered(&session, &before)?.state;
            (state.images, "not asked of its cluster".to_owned())
        }
        Proof::Cluster(context) => {
            let report = report(from, before.environment, context.as_deref())?;
            let commit = healthy(from, &report)?;
            let state = delivery::delivered_at(&session, &before, &commit)?;
            (state.images, format!("healthy at {}", commit.short()))
        }
    };
    for image in target.images.keys() {
        if !images.contains_key(image) {
            return Err(Error::NothingToPromote { from: from.to_string(), image: image.to_string() });
        }
    }
    let act = Act::Promote { from: from.clone(), images, proof };
    Ok((session, Wish { target, act, task }))
}

/// Makes an environment run what ran there before, and keeps newer commits away until it is released.
///
/// # Errors
/// When nothing else ran there, or not that commit.
pub fn rollback(
    pipeline: &Pipeline<'_>,
    name: &EnvironmentName,
    to: Option<&str>,
    why: Option<&str>,
) -> Result<Told, Error> {
    let config = trusted(pipeline)?;
    let (session, wish) = way_back(pipeline, &config, name, to, why)?;
    Ok(act_on(pipeline, &session, wish))
}

/// What [`rollback`] would change; nothing is pushed.
///
/// # Errors
/// As there.
pub fn rehearse_rollback(
    pipeline: &Pipeline<'_>,
    name: &EnvironmentName,
    to: Option<&str>,
    why: Option<&str>,
) -> Result<Shown, Error> {
    let config = trusted(pipeline)?;
    let (session, wish) = way_back(pipeline, &config, name, to, why)?;
    Ok(rehearse(pipeline, &session, &wish))
}

fn way_back<'p, 'c>(
    pipeline: &Pipeline<'p>,
    config: &'c Config,
    name: &EnvironmentName,
    to: Option<&str>,
    why: Option<&str>,
) -> Result<(Session<'p>, Wish<'c>), Error> {
    let target = target(config, name)?;
    let session = Session::new(pipeline.repository, pipeline.prompts, [&target]);
    let task = pipeline.progress.task(&format!("rollback {name}"));
    task.message("reading what ran there");
    let past = delivery::history(&session, &target, usize::MAX)?;
    let images = chosen(pipeline, &target, &past, to)?;
    let now = past.state.images.values().next().map(|running| running.source.short().to_owned());
    let gone = images.values().next().map(|running| running.source.short().to_owned());
    let otherwise = || {
        let (now, gone) = (now.unwrap_or_default(), gone.unwrap_or_default());
        format!("rolled back from {now} to {gone}")
    };
    let why = why.map_or_else(otherwise, str::to_owned);
    let act = Act::Rollback { images, hold: Hold { by: pipeline.repository.committer()?, why } };
    Ok((session, Wish { target, act, task }))
}

/// What an environment goes back to.
fn chosen(
    pipeline: &Pipeline<'_>,
    target: &Target<'_>,
    past: &Past,
    to: Option<&str>,
) -> Result<BTreeMap<ImageName, Running>, Error> {
    let never = |wanted: &str, hint: &str| {
        Error::from(delivery::Error::NeverRan {
            environment: target.name.clone(),
            wanted: wanted.to_owned(),
            hint: hint.to_owned(),
        })
    };
    let found: Option<&State> = match to {
        None => past.before(|image| target.images.contains_key(image)),
        Some(to) => {
            let resolved: Option<Oid> = pipeline.repository.commit(to);
            past.at(|source| match &resolved {
                Some(commit) => commit == source,
                // A commit that this clone does not have, by its first digits.
                None => to.len() >= 7 && source.as_str().starts_with(to),
            })
        }
    };
    match (found, to) {
        (Some(state), _) => Ok(state.images.clone()),
        (None, Some(to)) => Err(never(to, "")),
        (None, None) => Err(never("anything else", "")),
    }
}

/// Keeps newer commits away from an environment.
///
/// # Errors
/// When the environment is not known, or the user is not.
pub fn hold(pipeline: &Pipeline<'_>, name: &EnvironmentName, why: &str) -> Result<Told, Error> {
    let config = trusted(pipeline)?;
    let target = target(&config, name)?;
    let session = Session::new(pipeline.repository, pipeline.prompts, [&target]);
    let task = pipeline.progress.task(&format!("hold {name}"));
    let hold = Hold { by: pipeline.repository.committer()?, why: why.to_owned() };
    let before = delivery::delivered(&session, &target)?.state.hold.filter(|before| *before != hold);
    let told = act_on(pipeline, &session, Wish { target, act: Act::Hold(hold), task });
    if let (Some(before), Ok(_)) = (before, &told.result) {
        pipeline.progress.line(&format!("this takes the place of: {before}"));
    }
    Ok(told)
}

/// Lets newer commits in again.
///
/// # Errors
/// When the environment is not known.
pub fn release(pipeline: &Pipeline<'_>, name: &EnvironmentName) -> Result<Told, Error> {
    let config = trusted(pipeline)?;
    let target = target(&config, name)?;
    let session = Session::new(pipeline.repository, pipeline.prompts, [&target]);
    let task = pipeline.progress.task(&format!("release {name}"));
    let seen = delivery::delivered(&session, &target)?.state.hold;
    Ok(act_on(pipeline, &session, Wish { target, act: Act::Release(seen), task }))
}

/// The branch on which something waits for its review; a rollback that waits there holds nothing on the main branch yet.
///
/// # Errors
/// When the environment is not known or its manifests cannot be asked.
pub fn in_review(pipeline: &Pipeline<'_>, name: &EnvironmentName) -> Result<Option<String>, Error> {
    let config = trusted(pipeline)?;
    let target = target(&config, name)?;
    let session = Session::new(pipeline.repository, pipeline.prompts, [&target]);
    Ok(delivery::in_review(&session, &target)?)
}

/// What became of an environment, the newest first.
///
/// # Errors
/// When the environment is not known or its manifests cannot be read.
pub fn history(pipeline: &Pipeline<'_>, name: &EnvironmentName, limit: usize) -> Result<Past, Error> {
    let config = trusted(pipeline)?;
    let target = target(&config, name)?;
    let session = Session::new(pipeline.repository, pipeline.prompts, [&target]);
    Ok(delivery::history(&session, &target, limit)?)
}

fn act_on(pipeline: &Pipeline<'_>, session: &Session<'_>, wish: Wish<'_>) -> Told {
    let nothing = BTreeMap::new();
    let images = Images::new(pipeline, &nothing);
    let wishes = [wish];
    let mut results = delivery::deliver(session, &wishes, &images);
    let [wish] = &wishes;
    let told = match results.pop() {
        Some(result) => ended(wish, result),
        None => ended(wish, Ok(delivery::Delivery::Unchanged)),
    };
    let told = [told];
    nudge(&told);
    session.tidy();
    let [told] = told;
    told
}

fn rehearse(pipeline: &Pipeline<'_>, session: &Session<'_>, wish: &Wish<'_>) -> Shown {
    let nothing = BTreeMap::new();
    let images = Images::new(pipeline, &nothing);
    let result = delivery::rehearse(session, wish, &images).map_err(Error::from);
    Shown { environment: wish.target.name.clone(), result }
}

/// The configuration of what is checked out, with nothing in it that nobody confirmed here.
fn trusted(pipeline: &Pipeline<'_>) -> Result<Config, Error> {
    let config = checked_out(pipeline)?;
    confirmed(pipeline.repository, &config, Subject::Publication)?;
    Ok(config)
}

fn target<'c>(config: &'c Config, name: &EnvironmentName) -> Result<Target<'c>, Error> {
    Target::of(config, name, Switch::Refused).ok_or_else(|| Error::not_committed(name, config, None))
}

/// What the sync of an environment says.
fn report(name: &EnvironmentName, environment: &Environment, context: Option<&str>) -> Result<sync::Report, Error> {
    let unknown = |reason: String| Error::NotVerified { name: name.to_string(), reason };
    let asked = runtime()?.block_on(async {
        tokio::time::timeout(PATIENCE, async {
            let client = cluster::connect(context).await.map_err(|error| unknown(error.to_string()))?;
            cluster::our_report(&client, name, environment).await.map_err(|error| unknown(error.to_string()))
        })
        .await
    });
    match asked {
        Ok(Ok(Some(report))) => Ok(report),
        Ok(Ok(None)) => Err(unknown("no sync reports from this cluster".to_owned())),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(unknown(format!("the cluster is silent for {} seconds", PATIENCE.as_secs()))),
    }
}

/// The manifest commit that runs healthy in an environment.
fn healthy(name: &EnvironmentName, report: &sync::Report) -> Result<Oid, Error> {
    match (report.phase, &report.manifest_commit) {
        (Phase::Healthy, Some(commit)) => Ok(commit.clone()),
        (phase, _) => {
            let why = report.reason().unwrap_or_else(|| format!("{phase:?}").to_lowercase());
            Err(Error::NotHealthy { name: name.to_string(), why })
        }
    }
}
