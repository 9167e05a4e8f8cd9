//! Long work before git connects: after each commit, the steps of pre-push that say `background` run on it, detached and
//! in a scratch tree. The push then finds their records.

use super::{Error, Pipeline, Scope, Whose, background, by_hand, configuration};
use crate::{
    config::Step,
    git::Repository,
    ui::Outcome,
    values::{HookName, Oid, OperationState},
};
use std::{
    fs::{self, File, TryLockError},
    io::{Seek, Write},
    path::PathBuf,
    time::Duration,
};

/// After a commit: starts what can run ahead, if the configuration has something.
///
/// # Errors
/// When the configuration cannot be read or the process cannot be started.
pub fn begin_ahead(pipeline: &Pipeline<'_>) -> Result<(), Error> {
    let repository = pipeline.repository;
    // What a rebase picks is not yet what will be pushed.
    if matches!(repository.operation(), Some(OperationState::Rebase | OperationState::Am)) {
        return Ok(());
    }
    let Some(head) = repository.commit("HEAD") else { return Ok(()) };
    let Some(config) = configuration(repository, &head, Whose::Mine)? else { return Ok(()) };
    let steps: &[Step] = config.hooks.get(&HookName::PrePush).map_or(&[], Vec::as_slice);
    if !steps.iter().any(|step| step.background) {
        return Ok(());
    }
    // What is judged is what was committed here, never what happens to be checked out by then.
    let path = wish_path(repository);
    fs::create_dir_all(repository.state_dir())
        .and_then(|()| fs::write(&path, head.as_str()))
        .map_err(|source| Error::file(&path, source))?;
    background::run_ahead(repository)
}

/// Runs what can run ahead on the newest commit that was made here, and again for as long as there is a newer one. One
/// process does so in a clone.
///
/// # Errors
/// When steps fail on the last commit, or cannot be run.
pub fn ahead(pipeline: &Pipeline<'_>) -> Result<(), Error> {
    let repository = pipeline.repository;
    let path = lock_path(repository);
    let failed = |source| Error::file(&path, source);
    fs::create_dir_all(repository.state_dir()).map_err(failed)?;
    let mut lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    loop {
        let Some(commit) = wish(repository) else { return Ok(()) };
        let said =
            lock.rewind().and_then(|()| lock.set_len(0)).and_then(|()| lock.write_all(commit.as_str().as_bytes()));
        said.map_err(failed)?;
        let done = by_hand(pipeline, HookName::PrePush, &Scope::Commit { commit: commit.clone(), branch: None })?;
        if wish(repository).is_none_or(|now| now == commit) {
            return done.verdict();
        }
    }
}

/// The commit that was made last here.
fn wish(repository: &Repository) -> Option<Oid> {
    fs::read_to_string(wish_path(repository)).ok()?.parse().ok()
}

fn wish_path(repository: &Repository) -> PathBuf {
    repository.state_dir().join("ahead.commit")
}

/// Before a push: where this very commit is being judged ahead at the moment, waits for the end of it.
pub(super) fn wait(pipeline: &Pipeline<'_>, commit: &Oid) {
    let path = lock_path(pipeline.repository);
    let is_judged = || {
        let held = File::open(&path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)));
        held && fs::read_to_string(&path).is_ok_and(|told| told == commit.as_str())
    };
    if !is_judged() {
        return;
    }
    let task = pipeline.progress.task("what runs ahead");
    while is_judged() && pipeline.interrupt.signal().is_none() {
        std::thread::sleep(Duration::from_millis(50));
    }
    task.end(&Outcome::Done(String::new()));
}

fn lock_path(repository: &Repository) -> PathBuf {
    repository.state_dir().join("ahead.lock")
}
