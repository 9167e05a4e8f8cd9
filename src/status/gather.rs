use super::{COUNTED, Checks, Commit, Delivery, Running, Status, Trace, Unanswered, Verdict, Waiting};
use crate::{
    check, cluster,
    config::{Config, Environment},
    deliver,
    git::{self, Prompts, Repository},
    hook, sync,
    values::{EnvironmentName, HookName, Oid},
};
use kube::Client;
use std::time::Duration;

/// How long a cluster may take to answer before it counts as absent.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks everybody about the environments of these names, or about all where there is none. `cluster` is the client, or why
/// there is none.
pub async fn gather(
    repository: &Repository,
    config: &Config,
    only: &[EnvironmentName],
    cluster: &Result<Client, String>,
) -> Status {
    let mut targets = targets(repository, config);
    targets.retain(|target| is_asked(target.name, only));
    let session = deliver::Session::new(repository, Prompts::Never, &targets);
    gather_in(&session, &targets, config, only, cluster).await
}

fn is_asked(name: &EnvironmentName, only: &[EnvironmentName]) -> bool {
    only.is_empty() || only.contains(name)
}

/// Why a manifest repository is not asked.
pub const UNCONFIRMED: &str = "its address was not confirmed in this clone: `gitops-hooks install` shows it and asks";

/// The environments whose manifest repositories may be asked: nothing is sent to an address that nobody confirmed.
#[must_use]
pub fn targets<'c>(repository: &Repository, config: &'c Config) -> Vec<deliver::Target<'c>> {
    let unconfirmed = hook::unconfirmed(repository, config, hook::Subject::Publication);
    let target = |name| deliver::Target::of(config, name, deliver::Switch::Refused);
    let all = config.environments.keys().filter_map(target);
    all.filter(|target| !unconfirmed.contains(&hook::manifests_line(&target.environment.manifests))).collect()
}

/// As [`gather`], in a session that asks about more than this, of environments that [`targets`] gives.
pub async fn gather_in(
    session: &deliver::Session<'_>,
    targets: &[deliver::Target<'_>],
    config: &Config,
    only: &[EnvironmentName],
    cluster: &Result<Client, String>,
) -> Status {
    let repository = session.repository;
    let notes = deliver::waiting(repository).unwrap_or_default();
    let mut environments = Vec::new();
    for (name, environment) in config.environments.iter().filter(|(name, _)| is_asked(name, only)) {
        let note = notes.iter().find(|note| note.environment == *name);
        let commit = config
            .source_branch(name)
            .and_then(|branch| repository.upstream(branch))
            .and_then(|upstream| repository.reference(&upstream.tracking))
            .map(|id| Commit { subject: repository.subject(&id).unwrap_or_default(), id });
        let outbox = note.map(|note| waiting(repository, note, commit.as_ref().map(|commit| &commit.id)));
        let (delivery, review) = match delivery(session, targets.iter().find(|target| target.name == name)) {
            Ok((delivery, review)) => (Ok(delivery), review),
            Err(error) => (Err(error), None),
        };
        let cluster = report(cluster, name, environment).await;
        let id = commit.as_ref().map(|commit| &commit.id);
        let failed = note.and_then(|note| note.failed_checks.as_ref()).is_some_and(|failed| Some(failed) == id);
        let checks = if failed { Checks::Failed } else { checks(repository, config, id, &delivery, environment) };
        let verdict = Verdict::of(outbox.as_ref(), &delivery, &cluster);
        let may_be_delivered = environment.branch.is_some() && checks == Checks::Unknown && outbox.is_none();
        let unseen = id.filter(|commit| may_be_delivered && is_newer(commit, &delivery)).cloned();
        let behind = behind(repository, id, &delivery);
        let environment = name.clone();
        let trace = Trace { environment, commit, checks, unseen, behind, delivery, review, outbox, cluster, verdict };
        environments.push(trace);
    }
    Status { version: 2, environments }
}

/// What is noted begins within this time, or its process is gone.
const BEGINNING: jiff::SignedDuration = jiff::SignedDuration::from_secs(15);

/// What a note in the outbox waits for. After a mere fetch nothing is executed, and a push that was rejected moves nothing.
fn waiting(repository: &Repository, note: &deliver::Note, upstream: Option<&Oid>) -> Waiting {
    let fresh = jiff::Timestamp::now().duration_since(note.since) < BEGINNING;
    let unreached = note.unreached(repository, upstream);
    let stopped = match (&note.last_error, &note.reason) {
        (Some(error), _) if note.failed_checks.is_some() => {
            let name = &note.environment;
            Some(format!("delivery waits: {error}; `gitops-hooks deliver {name}` runs its checks again and shows why"))
        }
        (Some(error), _) => {
            Some(format!("delivery waits: {error}; `gitops-hooks deliver {}` tries again", note.environment))
        }
        (None, deliver::Reason::Fetch) => {
            Some("the upstream has moved: pull, or run `gitops-hooks deliver`".to_owned())
        }
        (None, _) if unreached.is_some() => {
            unreached.map(|pushed| format!("the push of {} did not reach the upstream", pushed.short()))
        }
        (None, _) if fresh || deliver::is_at_work(repository, &note.environment) => None,
        (None, _) => Some("the delivery was ended before it was done: `gitops-hooks deliver` goes on".to_owned()),
    };
    Waiting { since: note.since, stopped }
}

/// What was delivered, and the branch on which something newer waits for its review.
fn delivery(
    session: &deliver::Session<'_>,
    target: Option<&deliver::Target<'_>>,
) -> Result<(Option<Delivery>, Option<String>), Unanswered> {
    let Some(target) = target else { return Err(Unanswered::Unread(UNCONFIRMED.to_owned())) };
    let delivered = deliver::delivered(session, target).map_err(|error| match &error {
        deliver::Error::Git(git::Error::NoBranch { .. }) | deliver::Error::NoFolder { .. } => {
            Unanswered::NoPlace(error.to_string())
        }
        _ => Unanswered::Unread(error.to_string()),
    })?;
    if delivered.state.images.is_empty() {
        return Ok((None, delivered.review));
    }
    let images = delivered
        .state
        .images
        .into_iter()
        .map(|(image, running)| (image, Running { source: running.source, reference: running.reference }));
    let delivery = Delivery {
        tip: delivered.tip,
        hold: delivered.state.hold.map(|hold| hold.to_string()),
        commit: delivered.commit.as_ref().map(|commit| commit.oid.clone()),
        time: delivered.commit.map(|commit| commit.time),
        images: images.collect(),
    };
    Ok((Some(delivery), delivered.review))
}

async fn report(
    cluster: &Result<Client, String>,
    name: &EnvironmentName,
    environment: &Environment,
) -> Result<Option<sync::Report>, String> {
    let client = cluster.as_ref().map_err(Clone::clone)?;
    match tokio::time::timeout(PATIENCE, cluster::our_report(client, name, environment)).await {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the cluster does not answer".to_owned()),
    }
}

fn behind(
    repository: &Repository,
    tip: Option<&Oid>,
    delivery: &Result<Option<Delivery>, Unanswered>,
) -> Option<usize> {
    let delivery = delivery.as_ref().ok()?.as_ref()?;
    let (tip, runs) = (tip?, &delivery.images.values().next()?.source);
    if tip == runs {
        return Some(0);
    }
    repository.has_commit(runs).then(|| repository.distance(runs, tip, COUNTED).ok())?
}

/// Whether what was delivered is of another commit, and nobody holds it there.
fn is_newer(commit: &Oid, delivery: &Result<Option<Delivery>, Unanswered>) -> bool {
    let Ok(Some(delivery)) = delivery else { return false };
    delivery.hold.is_none() && delivery.images.values().all(|running| running.source != *commit)
}

/// A published image is proof that its commit's checks passed, wherever they ran; else this clone's records are asked.
fn checks(
    repository: &Repository,
    config: &Config,
    commit: Option<&Oid>,
    delivery: &Result<Option<Delivery>, Unanswered>,
    environment: &Environment,
) -> Checks {
    let Some(commit) = commit else { return Checks::Unknown };
    let delivered = delivery.as_ref().ok().and_then(Option::as_ref).is_some_and(|delivery| {
        !environment.images.is_empty() && delivery.images.values().any(|running| running.source == *commit)
    });
    let steps = config.hooks.get(&HookName::PrePush).map(Vec::as_slice).unwrap_or_default();
    let recorded = || check::passed(repository, HookName::PrePush, steps, commit).unwrap_or(false);
    if delivered || recorded() { Checks::Passed } else { Checks::Unknown }
}
