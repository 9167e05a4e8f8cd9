//! The loop itself: when to ask the repository, when to make a pass, when to stop. What happens in the cluster is heard from
//! the watches, so that a pass is made when there is something for it to see. Neither a poll that hangs nor an object that is
//! not healthy keeps a newer commit waiting.

use super::{
    Error, Settings,
    events::Voice,
    fetch,
    findings::Settled,
    metrics::{self, Metrics},
    nudges::Asked,
    pass::Sync,
    report::Phase,
};
use crate::values::Oid;
use futures_util::future::{join_all, try_join_all};
use kube::Client;
use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

/// How long news are gathered before a pass: they seldom come alone.
const GATHER: Duration = Duration::from_millis(50);
/// The longest time without a pass, which finds what no watch told: it asks the cluster nothing.
const QUIET: Duration = Duration::from_secs(30);
/// The longest time between two polls of a repository that does not answer.
const MAX_BACKOFF: Duration = Duration::from_secs(300);
/// Failed polls, or passes, before the report says so: one alone is a hiccup.
const HICCUPS: u32 = 2;

/// How often the loop turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Until the process is ended.
    Forever,
    /// Until the newest commit is healthy, or will not become so.
    Once,
}

/// Runs the syncs of all environments of a pod until `stop` comes. None of them waits for another.
///
/// # Errors
/// With [`Times::Once`], whatever kept the environment from becoming healthy; with [`Times::Forever`] only what a new process
/// may mend.
pub async fn run(
    client: Client,
    settings: Vec<Settings>,
    times: Times,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let port = settings.iter().find_map(|settings| settings.port);
    let metrics = |settings: &Settings| Arc::new(Metrics::new(settings.environment.as_str()));
    let metrics: Vec<Arc<Metrics>> = settings.iter().map(metrics).collect();
    let mut syncs: Vec<Option<Sync>> = settings.iter().map(|_| None).collect();
    let all = settings.into_iter().zip(&metrics).zip(&mut syncs);
    let work = async {
        match times {
            // What keeps one from becoming healthy keeps no other from it.
            Times::Once => {
                let each = all.map(|((settings, metrics), place)| async {
                    once(place.insert(Sync::begin(client.clone(), settings, Arc::clone(metrics)).await?)).await
                });
                join_all(each).await.into_iter().collect()
            }
            Times::Forever => {
                if let Some(port) = port {
                    metrics::serve(port, metrics.clone())
                        .await
                        .map_err(|source| Error::File { path: format!("port {port}"), source })?;
                }
                let each = all.map(|((settings, metrics), place)| async {
                    forever(place.insert(begin(&client, settings, metrics).await?)).await
                });
                try_join_all(each).await.map(drop)
            }
        }
    };
    let result = tokio::select! {
        result = work => result,
        () = stop => Ok(()),
    };
    for sync in syncs.iter_mut().flatten() {
        sync.lease.release().await;
    }
    result
}

/// Begins a sync that goes on: a cluster that does not answer yet is asked again, as a pod often comes up before its API server.
async fn begin(client: &Client, settings: Settings, metrics: &Arc<Metrics>) -> Result<Sync, Error> {
    let mut voice = Voice::new(client.clone(), Arc::clone(metrics), settings.environment.as_str(), &settings.namespace);
    let mut failures = 0;
    loop {
        metrics.turn();
        match Sync::begin(client.clone(), settings.clone(), Arc::clone(metrics)).await {
            Err(Error::Cluster { doing, reason }) => {
                failures += 1;
                voice.line_once("start", "cluster", &format!("the cluster failed at {doing}: {reason}"));
            }
            begun => return begun,
        }
        tokio::time::sleep(jittered(after_failures(failures))).await;
    }
}

async fn once(sync: &mut Sync) -> Result<(), Error> {
    let polled = poll(sync).await;
    if let Err(error) = take(sync, polled).await {
        sync.pass().await?;
        return Err(error);
    }
    let deadline = Instant::now() + sync.settings.patience.duration();
    let changed = Arc::clone(&sync.watches.changed);
    loop {
        sync.hear();
        let settled = match sync.pass().await {
            Ok(settled) => settled,
            Err(error) => {
                tell(sync, &error).await;
                return Err(error);
            }
        };
        if settled == Settled::Well || sync.suspended.is_some() {
            return Ok(());
        }
        if settled == Settled::Stuck || Instant::now() > deadline {
            return Err(not_healthy(sync));
        }
        let next = Instant::now() + Duration::from_secs(1);
        tokio::select! {
            () = changed.notified() => tokio::time::sleep(GATHER).await,
            () = tokio::time::sleep_until(next) => {}
        }
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

/// Asks the repository, and counts it.
async fn poll(sync: &Sync) -> Result<Oid, Error> {
    let began = Instant::now();
    let polled = fetch::poll(&sync.settings).await;
    count(sync, &polled, began);
    polled
}

fn count(sync: &Sync, polled: &Result<Oid, Error>, began: Instant) {
    let known = sync.revision.as_ref().map(|revision| &revision.commit);
    let result = match polled {
        Ok(commit) if known == Some(commit) => "unchanged",
        Ok(_) => "commit",
        Err(_) => "failed",
    };
    sync.metrics.polled(result, began.elapsed());
}

/// Takes what a poll brought: a new commit, the one that is known, or trouble.
async fn take(sync: &mut Sync, polled: Result<Oid, Error>) -> Result<(), Error> {
    sync.not_taken = None;
    let taken = match polled {
        Ok(commit) if sync.revision.as_ref().is_some_and(|revision| revision.commit == commit) => Ok(()),
        Ok(commit) => {
            let taken = sync.take(&commit).await;
            sync.not_taken = taken.is_err().then_some(commit);
            taken
        }
        Err(error) => Err(error),
    };
    sync.trouble = taken.as_ref().err().map(|error| (phase_of(error), error.to_string()));
    let said = sync.trouble.as_ref().map(|(_, message)| message.clone()).unwrap_or_default();
    sync.voice.line_once("fetch", "repository", &said);
    taken
}

/// Trouble on the way to the repository leaves the cluster as it is; trouble in it is a failure of the commit.
fn phase_of(error: &Error) -> Phase {
    match error {
        Error::NoBranch { .. } | Error::NoPath { .. } | Error::NoNamespace { .. } | Error::Unsigned { .. } => {
            Phase::Failed
        }
        _ => Phase::Unreachable,
    }
}

/// A poll on its way.
struct Polling {
    began: Instant,
    /// How many nudges there had been.
    nudges: u64,
    task: JoinHandle<Result<Oid, Error>>,
}

impl Polling {
    fn begin(settings: &Settings, nudges: u64) -> Self {
        let settings = settings.clone();
        Self { began: Instant::now(), nudges, task: tokio::spawn(async move { fetch::poll(&settings).await }) }
    }
}

/// What a poll brought; of none, nothing ever.
async fn brought(polling: &mut Option<Polling>) -> Result<Oid, Error> {
    match polling {
        Some(polling) => match (&mut polling.task).await {
            Ok(result) => result,
            Err(error) => Err(Error::Repository { reason: error.to_string() }),
        },
        None => std::future::pending().await,
    }
}

async fn forever(sync: &mut Sync) -> Result<(), Error> {
    let mut asked = sync.asked.clone();
    let changed = Arc::clone(&sync.watches.changed);
    let mut schedule = Schedule::new(sync.settings.interval.duration());
    let mut polling: Option<Polling> = None;
    sync.voice.line("start", &[("url", &sync.settings.url.shown()), ("namespace", &sync.settings.namespace.clone())]);
    loop {
        sync.metrics.turn();
        tokio::select! {
            polled = brought(&mut polling) => {
                let (began, nudges) =
                    polling.take().map_or_else(|| (Instant::now(), 0), |polling| (polling.began, polling.nudges));
                count(sync, &polled, began);
                polled_at_last(sync, polled, nudges, &mut schedule).await?;
            }
            () = tokio::time::sleep_until(schedule.poll), if polling.is_none() => {
                polling = Some(Polling::begin(&sync.settings, schedule.nudges));
            }
            Ok(()) = asked.changed() => {
                heard(sync, &mut asked, &mut schedule);
            }
            () = changed.notified() => schedule.pass_within(GATHER),
            () = tokio::time::sleep_until(schedule.pass) => {
                let after = turn(sync, &mut schedule).await;
                schedule.pass = Instant::now() + after;
            }
        }
    }
}

/// Somebody asks for a poll, or for peace.
fn heard(sync: &mut Sync, asked: &mut watch::Receiver<Asked>, schedule: &mut Schedule) {
    let nudges = asked.borrow_and_update().nudges;
    if sync.hear() {
        schedule.pass_within(Duration::ZERO);
    }
    if schedule.nudges != nudges {
        schedule.nudges = nudges;
        schedule.poll = Instant::now();
        // What was refused may go through now: whoever asks has often just mended it.
        sync.failures.clear();
        sync.asked_again = true;
        schedule.pass_within(GATHER);
    }
}

/// Takes in what a poll brought that began after so many nudges.
async fn polled_at_last(
    sync: &mut Sync,
    polled: Result<Oid, Error>,
    nudges: u64,
    schedule: &mut Schedule,
) -> Result<(), Error> {
    let before = sync.revision.as_ref().map(|revision| revision.commit.clone());
    let stuck = matches!(polled, Err(Error::Stuck { .. }));
    let had_trouble = sync.trouble.take();
    match take(sync, polled).await {
        Ok(()) => schedule.failed_polls = 0,
        Err(error) => {
            schedule.failed_polls += 1;
            let hiccup = schedule.failed_polls < HICCUPS && before.is_some() && phase_of(&error) == Phase::Unreachable;
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
    // Who has nudged meanwhile knows of something that this poll may have come too early for.
    if schedule.nudges == nudges {
        schedule.poll = Instant::now() + jittered(backed_off(schedule.interval, schedule.failed_polls));
    }
    let moved = sync.revision.as_ref().map(|revision| revision.commit.clone()) != before;
    if moved || had_trouble.is_some() != sync.trouble.is_some() {
        schedule.pass_within(Duration::ZERO);
    }
    Ok(())
}

/// One pass of the loop, and how long to wait after it where nothing happens.
async fn turn(sync: &mut Sync, schedule: &mut Schedule) -> Duration {
    let began = std::time::Instant::now();
    match sync.pass().await {
        Ok(settled) => {
            sync.voice.line_once("pass", "cluster", "");
            schedule.errors = 0;
            let now = std::time::Instant::now();
            let retry = sync.next_try(began).map_or(QUIET, |next| next.saturating_duration_since(now));
            // Another's turn ends without a word.
            let waits = if settled == Settled::Moving { Duration::from_secs(2) } else { QUIET };
            retry.min(waits).max(GATHER)
        }
        Err(error) => {
            schedule.errors += 1;
            sync.voice.line_once("pass", "cluster", &error.to_string());
            if matches!(error, Error::NoNamespace { .. }) || schedule.errors >= HICCUPS {
                tell(sync, &error).await;
            }
            after_failures(schedule.errors)
        }
    }
}

/// Lets the report say why a pass could not be made: the one before would stand there as if all were well.
async fn tell(sync: &mut Sync, error: &Error) {
    let before = sync.trouble.replace((Phase::Failed, error.to_string()));
    let revision = sync.revision.take();
    // Without a revision only the report is written; where that fails too, the log is all there is.
    let _ = sync.pass().await;
    sync.revision = revision;
    sync.trouble = before;
}

/// When what is due.
struct Schedule {
    interval: Duration,
    poll: Instant,
    pass: Instant,
    failed_polls: u32,
    errors: u32,
    nudges: u64,
}

impl Schedule {
    fn new(interval: Duration) -> Self {
        let now = Instant::now();
        // The first pass waits for the first poll, which says what there is to do.
        Self { interval, poll: now, pass: now + interval, failed_polls: 0, errors: 0, nudges: 0 }
    }

    fn pass_within(&mut self, time: Duration) {
        // A cluster that fails is not asked more often because it fails loudly.
        if self.errors == 0 || time.is_zero() {
            self.pass = self.pass.min(Instant::now() + time);
        }
    }
}

fn backed_off(interval: Duration, failures: u32) -> Duration {
    if failures == 0 { interval } else { (interval * (1 << failures.min(8))).min(MAX_BACKOFF.max(interval)) }
}

/// How long a cluster that failed so many times in a row is left in peace.
fn after_failures(failures: u32) -> Duration {
    backed_off(Duration::from_secs(1), failures).min(Duration::from_secs(60))
}

/// A tenth more or less, so that many pods do not ask in step.
fn jittered(duration: Duration) -> Duration {
    let random = RandomState::new().hash_one(0u8) % 201;
    duration.mul_f64(0.9 + f64::from(u16::try_from(random).unwrap_or(100)) / 1000.0)
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
