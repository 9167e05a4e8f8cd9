//! The loop itself: when to ask the repository, when to make a pass, when to stop. A poll never waits for a pass's objects to
//! become healthy: a newer commit is taken as soon as it is there.

use super::{
    Error, NAMESPACE, Settings, checkout, fetch,
    pass::{Settled, Sync},
    report::{self, NUDGE, Phase},
};
use crate::values::Oid;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{WatchEvent, WatchParams},
};
use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// The shortest time between two passes while something is on its way.
const QUICK: Duration = Duration::from_millis(500);
/// The longest time between two polls of a repository that does not answer.
const MAX_BACKOFF: Duration = Duration::from_secs(300);
/// Failed polls before the report says so: one alone is a hiccup.
const HICCUPS: u32 = 2;

/// How often the loop turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Until the process is ended.
    Forever,
    /// Until the newest commit is healthy, or will not become so.
    Once,
}

/// Runs the sync of one environment.
///
/// # Errors
/// With [`Times::Once`], whatever kept the environment from becoming healthy; with [`Times::Forever`] only what a new process
/// may mend.
pub async fn run(client: Client, settings: Settings, times: Times) -> Result<(), Error> {
    let mut sync = Sync::begin(client, settings).await?;
    match times {
        Times::Once => once(&mut sync).await,
        Times::Forever => forever(&mut sync).await,
    }
}

async fn once(sync: &mut Sync) -> Result<(), Error> {
    let polled = fetch::poll(&sync.settings).await;
    if let Err(error) = take(sync, polled).await {
        sync.pass().await?;
        return Err(error);
    }
    let deadline = Instant::now() + sync.settings.patience.duration();
    loop {
        let settled = sync.pass().await?;
        if settled == Settled::Well {
            return Ok(());
        }
        if settled == Settled::Stuck || Instant::now() > deadline {
            return Err(not_healthy(sync));
        }
        tokio::time::sleep(QUICK).await;
    }
}

fn not_healthy(sync: &Sync) -> Error {
    let mut notes = String::new();
    if let Some(report) = &sync.report {
        for note in report.refused.iter().chain(&report.unhealthy) {
            let parts = [note.origin.as_deref(), note.object.as_deref(), Some(&note.reason)];
            notes.push_str("\n  ");
            notes.push_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(": "));
        }
    }
    Error::NotHealthy { environment: sync.settings.environment.to_string(), notes }
}

/// Takes what a poll brought: a new commit, the one that is known, or trouble.
async fn take(sync: &mut Sync, polled: Result<Oid, Error>) -> Result<(), Error> {
    let taken = match polled {
        Ok(commit) if sync.revision.as_ref().is_some_and(|revision| revision.commit == commit) => Ok(()),
        Ok(commit) => take_commit(sync, &commit).await,
        Err(error) => Err(error),
    };
    sync.trouble = taken.as_ref().err().map(|error| (phase_of(error), error.to_string()));
    match &sync.trouble {
        Some((_, message)) => sync.voice.line_once("fetch", "repository", &message.clone()),
        None => sync.voice.line_once("fetch", "repository", ""),
    }
    taken
}

async fn take_commit(sync: &mut Sync, commit: &Oid) -> Result<(), Error> {
    let checkout = {
        let repository = git2::Repository::open_bare(fetch::folder(&sync.settings))
            .map_err(|error| Error::Repository { reason: error.message().to_owned() })?;
        checkout::read(&repository, commit, &sync.settings.path)?
    };
    sync.take(checkout).await
}

/// Trouble on the way to the repository leaves the cluster as it is; trouble in it is a failure of the commit.
fn phase_of(error: &Error) -> Phase {
    match error {
        Error::NoBranch { .. } | Error::NoPath { .. } | Error::NoNamespace { .. } => Phase::Failed,
        _ => Phase::Unreachable,
    }
}

async fn forever(sync: &mut Sync) -> Result<(), Error> {
    let nudged = Arc::new(Notify::new());
    tokio::spawn(listen(sync.client.clone(), sync.settings.clone(), Arc::clone(&nudged)));
    let interval = sync.settings.interval.duration();
    let mut failed_polls = 0;
    let mut next_poll = Instant::now();
    let mut pace = Pace::new(interval);
    let mut next_pass = Instant::now() + interval;
    sync.voice.line("start", &[("url", &sync.settings.url.shown()), ("namespace", &sync.settings.namespace.clone())]);
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next_poll) => {}
            () = nudged.notified() => next_poll = Instant::now(),
            () = tokio::time::sleep_until(next_pass) => {}
        }
        if Instant::now() >= next_poll {
            let before = sync.revision.as_ref().map(|revision| revision.commit.clone());
            let polled = fetch::poll(&sync.settings).await;
            let stuck = matches!(polled, Err(Error::Stuck { .. }));
            let had_trouble = sync.trouble.take();
            match take(sync, polled).await {
                Ok(()) => failed_polls = 0,
                Err(error) => {
                    failed_polls += 1;
                    let hiccup = failed_polls < HICCUPS && before.is_some() && phase_of(&error) == Phase::Unreachable;
                    if hiccup {
                        sync.trouble.clone_from(&had_trouble);
                    }
                    if stuck {
                        sync.pass().await?;
                        // Its thread may hang for good; a new process does not.
                        return Err(error);
                    }
                }
            }
            next_poll = Instant::now() + jittered(backed_off(interval, failed_polls));
            let moved = sync.revision.as_ref().map(|revision| revision.commit.clone()) != before;
            if moved || had_trouble.is_some() != sync.trouble.is_some() {
                pace = Pace::new(interval);
                next_pass = Instant::now();
            }
        }
        if Instant::now() >= next_pass {
            next_pass = Instant::now() + turn(sync, &mut pace).await;
        }
    }
}

/// One pass of the loop, and how long to wait after it.
async fn turn(sync: &mut Sync, pace: &mut Pace) -> Duration {
    match sync.pass().await {
        Ok(settled) => {
            sync.voice.line_once("pass", "cluster", "");
            pace.after(settled)
        }
        Err(error) => {
            sync.voice.line_once("pass", "cluster", &error.to_string());
            if let Error::NoNamespace { .. } = error {
                let before = sync.trouble.replace((Phase::Failed, error.to_string()));
                let revision = sync.revision.take();
                // Without a revision only the report is written; where that fails too, the line above is all there is.
                let _ = sync.pass().await;
                sync.revision = revision;
                sync.trouble = before;
            }
            pace.after_error()
        }
    }
}

/// How quickly passes follow each other: quickly while something moves, and slower the longer it takes.
struct Pace {
    since: Instant,
    interval: Duration,
    errors: u32,
}

impl Pace {
    fn new(interval: Duration) -> Self {
        Self { since: Instant::now(), interval, errors: 0 }
    }

    fn after(&mut self, settled: Settled) -> Duration {
        self.errors = 0;
        let waited = self.since.elapsed();
        let wait = match settled {
            Settled::Well => {
                self.since = Instant::now();
                self.interval
            }
            Settled::Moving if waited < Duration::from_secs(60) => QUICK,
            Settled::Moving | Settled::Stuck if waited < Duration::from_secs(600) => Duration::from_secs(2),
            Settled::Moving | Settled::Stuck => self.interval,
        };
        wait.min(self.interval)
    }

    fn after_error(&mut self) -> Duration {
        self.errors += 1;
        backed_off(Duration::from_secs(1), self.errors).min(Duration::from_secs(60))
    }
}

fn backed_off(interval: Duration, failures: u32) -> Duration {
    if failures == 0 { interval } else { (interval * (1 << failures.min(8))).min(MAX_BACKOFF.max(interval)) }
}

/// A tenth more or less, so that many pods do not ask in step.
fn jittered(duration: Duration) -> Duration {
    let random = RandomState::new().hash_one(0u8) % 201;
    duration.mul_f64(0.9 + f64::from(u16::try_from(random).unwrap_or(100)) / 1000.0)
}

/// Watches for the annotation that asks for a poll at once.
async fn listen(client: Client, settings: Settings, nudged: Arc<Notify>) {
    let api: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    let name = report::settings_name(&settings.environment);
    let parameters = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(280);
    // What stands there already was asked of an earlier day.
    let mut last: Option<Option<String>> = None;
    loop {
        if let Ok(events) = api.watch_metadata(&parameters, "0").await {
            let mut events = std::pin::pin!(events);
            while let Some(Ok(event)) = events.next().await {
                let (WatchEvent::Added(map) | WatchEvent::Modified(map)) = event else { continue };
                let asked = map.metadata.annotations.and_then(|mut all| all.remove(NUDGE));
                if last.as_ref().is_some_and(|last| *last != asked) {
                    nudged.notify_one();
                }
                last = Some(asked);
            }
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_repository_is_asked_ever_less_often() {
        let interval = Duration::from_secs(15);
        assert_eq!(backed_off(interval, 0), interval);
        assert_eq!(backed_off(interval, 1), Duration::from_secs(30));
        assert_eq!(backed_off(interval, 20), MAX_BACKOFF);
        let jittered = jittered(interval);
        assert!(jittered >= interval.mul_f64(0.89) && jittered <= interval.mul_f64(1.11));
    }
}
