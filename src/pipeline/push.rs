//! pre-push: every pushed reference's tip is judged, once for each commit; what an environment delivers is published and
//! noted when all of it has passed.

use super::{
    Error, Pipeline, Whose, ahead, configuration, confirmed,
    judge::{Built, Call, Case, judge, request},
    own_steps, wait,
    wanted::targets,
};
use crate::{
    check::{self, Coverage, Snapshot, log},
    config::{self, Config},
    deliver as delivery,
    hook::{RefUpdate, Subject},
    image,
    values::{EnvironmentName, HookName, ImageName, ImageRef, Oid},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeMap;

/// Images that are asked for or published at the same time.
const SIDE_BY_SIDE: usize = 8;

/// A commit that is being pushed, whatever the number of references to it.
struct Pushed {
    commit: Oid,
    /// What the remote has of it, as far as this clone knows.
    base: Option<Oid>,
    references: Vec<String>,
}

/// Judges a push, publishes the images that it delivers, and notes the environments that will be behind.
///
/// # Errors
/// When a step fails, a remote is ahead of this clone, or something cannot be built or published. Then nothing was
/// published and git does not push.
pub fn push(pipeline: &Pipeline<'_>, remote: &str, updates: &[RefUpdate], call: Call<'_>) -> Result<(), Error> {
    let mut judged: Vec<(Pushed, Config, Built, Vec<EnvironmentName>)> = Vec::new();
    let source_of = |config: &Config, commit: &Oid| delivery::source_of(pipeline.repository, &targets(config), commit);
    for pushed in commits(pipeline, remote, updates)? {
        let Some(config) = configuration(pipeline.repository, &pushed.commit, Whose::Mine)? else {
            let names = pushed.references.join(", ");
            pipeline.progress.line(&format!("gitops-hooks: {names} has no .gitops-hooks.yaml, so nothing is checked"));
            continue;
        };
        let environments = delivering(pipeline, &config, remote, &pushed.references);
        let intent = if environments.is_empty() { image::Intent::TrialOnly } else { image::Intent::WillPublish };
        if !environments.is_empty() {
            confirmed(pipeline.repository, &config, Subject::Publication)?;
        }
        ahead::wait(pipeline, &pushed.commit);
        // What the remote has need not have passed anything: it may have been merged there, or pushed past the hooks. Only
        // on a commit that was published does the judgement of the rest stand.
        let base = match &pushed.base {
            Some(base) if environments.is_empty() || was_published(pipeline, &config, &source_of(&config, base)?)? => {
                Some(base)
            }
            _ => None,
        };
        let snapshot = Snapshot::of_commit(pipeline.repository, pushed.commit.clone(), base)?;
        let (hook, source) = (HookName::PrePush, &pushed.commit);
        let branches = pushed.references.iter().filter_map(|reference| reference.strip_prefix("refs/heads/"));
        let branches: &[&str] = &branches.collect::<Vec<_>>();
        let own = own_steps(pipeline.repository, hook)?;
        let unjudged = environments.is_empty() && base.is_some();
        let coverage = if own || unjudged { Coverage::Part } else { Coverage::Whole };
        let case = Case { config: &config, hook, snapshot: &snapshot, branches, source, intent, coverage, call };
        let (built, looked_at) = judge(pipeline, case)?.verdict()?;
        if (looked_at == Coverage::Part || own) && !environments.is_empty() {
            let why = if own { config::LOCAL_PATH } else { "what was left out" };
            pipeline.progress.line(&format!(
                "nothing is published, because of {why}: `gitops-hooks deliver` runs everybody's steps first"
            ));
            continue;
        }
        judged.push((pushed, config, built, environments));
    }
    for (pushed, config, built, environments) in judged {
        if environments.is_empty() {
            continue;
        }
        // Where a merge brings nothing but deliveries, an environment follows what people made below it.
        let source = source_of(&config, &pushed.commit)?;
        publish(pipeline, &config, &source, pushed.base.as_ref(), &built)?;
        for environment in &environments {
            delivery::note(pipeline.repository, environment, delivery::Reason::Push(source.clone()))?;
        }
    }
    Ok(())
}

/// The commits of a push, each once. Deletions and what the remote has already are passed over; tags are peeled.
fn commits(pipeline: &Pipeline<'_>, remote: &str, updates: &[RefUpdate]) -> Result<Vec<Pushed>, Error> {
    let repository = pipeline.repository;
    let mut found: Vec<Pushed> = Vec::new();
    for update in updates.iter().filter(|update| !update.is_deletion() && !update.is_noop()) {
        // A tag may point at a tree or a blob: there is no commit to judge then.
        let Some(commit) = repository.commit(update.local.as_str()) else { continue };
        let there = repository.commit(update.remote.as_str());
        if !update.remote.is_zero() && there.is_none() && update.remote_ref.starts_with("refs/heads/") {
            return Err(Error::FetchFirst { reference: update.remote_ref.clone(), remote: remote.to_owned() });
        }
        if let Some(same) = found.iter_mut().find(|pushed| pushed.commit == commit) {
            same.references.push(update.remote_ref.clone());
            continue;
        }
        let base = match there {
            Some(there) => Some(there),
            None => repository.base_on(remote, &commit)?,
        };
        found.push(Pushed { commit, base, references: vec![update.remote_ref.clone()] });
    }
    Ok(found)
}

/// Whether every image that is delivered was published from a commit, which happens only when all of its steps passed.
fn was_published(pipeline: &Pipeline<'_>, config: &Config, commit: &Oid) -> Result<bool, Error> {
    let delivered = config.environments.values().flat_map(|environment| &environment.images);
    let images: BTreeMap<_, _> = delivered.filter_map(|name| config.images.get_key_value(&**name)).collect();
    let images: Vec<_> = images.into_iter().collect();
    Ok(published(pipeline, commit, &images)?.iter().all(Option::is_some))
}

/// What the registry has of a commit's images, in their order.
pub(super) fn published(
    pipeline: &Pipeline<'_>,
    commit: &Oid,
    images: &[(&ImageName, &config::Image)],
) -> Result<Vec<Option<ImageRef>>, Error> {
    let requests: Vec<_> =
        images.iter().map(|(name, image)| request(pipeline.repository, commit, name, image)).collect();
    let asked = stream::iter(requests.iter().map(image::published)).buffered(SIDE_BY_SIDE);
    wait(pipeline.interrupt, asked.try_collect())
}

/// The environments whose branch's upstream this push moves.
fn delivering(pipeline: &Pipeline<'_>, config: &Config, remote: &str, references: &[String]) -> Vec<EnvironmentName> {
    let moves = |branch: &str| {
        let upstream = pipeline.repository.upstream(branch);
        upstream.is_some_and(|upstream| upstream.remote == remote && references.contains(&upstream.branch))
    };
    config.followers().filter(|(_, branch)| moves(branch)).map(|(name, _)| name.clone()).collect()
}

/// Publishes what was built. Every other step has passed by now. `before` is the commit that it is compared with.
pub(super) fn publish(
    pipeline: &Pipeline<'_>,
    config: &Config,
    commit: &Oid,
    before: Option<&Oid>,
    built: &Built,
) -> Result<Vec<(ImageName, image::Published)>, Error> {
    if built.is_empty() {
        return Ok(Vec::new());
    }
    let names = built.keys().map(|name| log::LoggedStep::waiting(name.as_str(), "every step has passed"));
    let log = log::Run::begin(pipeline.repository, "publish", None, Some(commit), names.collect());
    let built = built.iter().filter_map(|(name, prepared)| {
        let image = config.images.get(name)?;
        let task = pipeline.progress.task(&format!("publish {name}"));
        log.started(name.as_str());
        Some((request(pipeline.repository, commit, name, image), prepared, task))
    });
    let publishing = stream::iter(built).map(async |(request, prepared, task)| {
        let done = image::publish(&request, prepared.clone(), &task).await;
        (request, task, done)
    });
    // One that fails stops no other: each stands for itself on the registry.
    let ended = publishing.buffered(SIDE_BY_SIDE).collect::<Vec<_>>();
    let ended = wait(pipeline.interrupt, async { Ok::<_, Error>(ended.await) })?;
    let (mut published, mut failed) = (Vec::new(), None);
    for (request, task, done) in ended {
        let name = request.name;
        match done {
            Ok(done) => {
                let digest = done.reference.digest.as_ref().map_or("", |digest| digest.short());
                let told = match done.origin {
                    image::Origin::Adopted => format!("already there, sha256:{digest}"),
                    image::Origin::Built => {
                        let more = changes(pipeline, &request, &done, before);
                        format!("pushed, sha256:{digest}{more}")
                    }
                };
                log.ended(name.as_str(), &check::Outcome::Passed, &told, task.elapsed(), String::new);
                task.end(&crate::ui::Outcome::Done(told));
                if let Some(note) = &done.note {
                    pipeline.progress.line(note);
                }
                published.push((name.clone(), done));
            }
            Err(error) => {
                let why = error.to_string();
                log.ended(name.as_str(), &check::Outcome::Failed(why.clone()), "", task.elapsed(), || task.kept());
                task.end(&crate::ui::Outcome::Failed(why));
                failed.get_or_insert(error);
            }
        }
    }
    failed.map_or(Ok(published), |error| Err(error.into()))
}

/// How large a new image is and what made it new, as far as that can be told: the image is published either way.
fn changes(
    pipeline: &Pipeline<'_>,
    request: &image::Request<'_>,
    done: &image::Published,
    before: Option<&Oid>,
) -> String {
    let weight = wait(pipeline.interrupt, image::weigh(request, done, before)).ok().flatten();
    let mut told = weight.map(|weight| format!(", {}", weight.told())).unwrap_or_default();
    let explained = |commit: &Oid| {
        let request = image::Request { commit: commit.clone(), ..request.clone() };
        wait(pipeline.interrupt, image::explain(&request)).ok()
    };
    if let Some((before, after)) = before.and_then(|before| Some((explained(before)?, explained(&request.commit)?))) {
        let subjects: Vec<String> = before.differences(&after).iter().map(image::Difference::subject).collect();
        if let Some(list) = in_short(&subjects) {
            told.extend(["; changed: ", &list]);
            if weight.is_some_and(image::Weight::is_nothing_new) {
                told.push_str(" (what no image needs belongs into a .dockerignore)");
            }
        }
    }
    told
}

/// The first few of many.
fn in_short(subjects: &[String]) -> Option<String> {
    const SHOWN: usize = 3;
    let shown = subjects.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match subjects.len() {
        0 => None,
        count if count > SHOWN => Some(format!("{shown} and {} more", count - SHOWN)),
        _ => Some(shown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_changes_are_told_by_the_first_few() {
        let subjects = |count: usize| (1..=count).map(|n| format!("f{n}")).collect::<Vec<_>>();
        assert_eq!(in_short(&subjects(0)), None);
        assert_eq!(in_short(&subjects(2)).as_deref(), Some("f1, f2"));
        assert_eq!(in_short(&subjects(5)).as_deref(), Some("f1, f2, f3 and 2 more"));
    }
}
