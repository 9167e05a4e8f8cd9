//! What git tells of: a pull, a push that went through, a fetch. Each says only that an environment may be behind; whether it
//! is, and what is done about it, is the delivery's business, which begins in a process of its own.

use super::{
    Error, Pipeline, Whose, background, configuration,
    wanted::{Wanted, targets, tip},
};
use crate::{
    config::Config,
    deliver::{self as delivery, Switch, Target},
    git::Ancestry,
    hook::{From, Movement},
    values::{EnvironmentName, Oid},
};

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
            if noted.iter().any(|note| note.environment == *name && note.expects(&commit)) {
                confirmed.push(Wanted { environment: name.clone(), commit: Some(commit.clone()) });
            } else if movement.from == From::Told {
                delivery::note(repository, name, delivery::Reason::Fetch)?;
            }
        }
    }
    if confirmed.is_empty() { Ok(()) } else { background::deliver(repository, &confirmed, background::PATIENCE) }
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
