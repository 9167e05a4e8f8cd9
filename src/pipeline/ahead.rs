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
    if steps.iter().any(|step| step.background) { background::run_ahead(repository) } else { Ok(()) }
}

/// Runs what can run ahead on `HEAD`, and again for as long as `HEAD` moves on meanwhile. One process does so in a clone.
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
        let head = repository.commit("HEAD");
        let told = head.as_ref().map_or("", |head| head.as_str());
        lock.rewind().and_then(|()| lock.set_len(0)).and_then(|()| lock.write_all(told.as_bytes())).map_err(failed)?;
        let done = by_hand(pipeline, HookName::PrePush, &Scope::Changes)?;
        if repository.commit("HEAD") == head {
            return done.verdict();
        }
    }
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
