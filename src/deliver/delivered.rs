use super::{Error, Session, State, Target, commit, plan, review};
use crate::{
    git::{Ancestry, Mirror, Subtree},
    manifest::Field,
    values::Oid,
};
use jiff::Timestamp;

/// What the manifest repository says about an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The tip of the manifest branch.
    pub tip: Oid,
    /// What runs, image by image; empty before the first delivery.
    pub state: State,
    /// The commit that delivered it; `None` before the first delivery.
    pub commit: Option<Committed>,
    /// The branch on which something newer waits to be reviewed and merged.
    pub review: Option<String>,
}

/// A commit on a manifest branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its id.
    pub oid: Oid,
    /// Who delivered.
    pub author: String,
    /// When, by the clock of who delivered.
    pub time: Timestamp,
    /// The first line of its message.
    pub subject: String,
}

/// What an environment runs by the newest manifests. Environments of one repository are fetched once in a session.
///
/// # Errors
/// A remote that cannot be reached, a folder that is not there, a state file that cannot be trusted.
pub fn delivered(session: &Session<'_>, target: &Target<'_>) -> Result<Delivered, Error> {
    let (mirror, tip) = newest(session, target)?;
    let state = state(&mirror, target, &tip)?;
    let commit = if state.images.is_empty() { None } else { last_delivery(&mirror, target, &tip)? };
    let review = review::branch(target);
    let waiting = mirror.known(&review)?.map(|waiting| mirror.repository().ancestry(&waiting, &tip)).transpose()?;
    let waits = waiting.is_some_and(|waiting| !matches!(waiting, Ancestry::Same | Ancestry::Behind));
    Ok(Delivered { tip, state, commit, review: waits.then_some(review) })
}

/// What an environment ran by the manifests of a commit. They must say what the state says: what somebody has edited since
/// its delivery is nothing that was delivered.
///
/// # Errors
/// As [`delivered`], a commit that the branch does not have, and manifests that say something else.
pub fn delivered_at(session: &Session<'_>, target: &Target<'_>, commit: &Oid) -> Result<State, Error> {
    let (mirror, tip) = newest(session, target)?;
    let is_there = matches!(mirror.repository().ancestry(commit, &tip)?, Ancestry::Same | Ancestry::Behind);
    if !is_there {
        let (branch, url) = (target.environment.manifests.branch.to_string(), target.environment.manifests.url.shown());
        return Err(Error::OtherManifests { environment: target.name.clone(), commit: commit.clone(), branch, url });
    }
    let state = state(&mirror, target, commit)?;
    match edited(&mirror, target, commit, &state)? {
        None => Ok(state),
        Some((file, field)) => Err(Error::Edited {
            environment: target.name.clone(),
            place: format!("{file}:{}", field.position),
            says: field.old,
        }),
    }
}

/// The first field in the manifests of a commit that holds something else than its state says.
pub(super) fn edited(
    mirror: &Mirror,
    target: &Target<'_>,
    commit: &Oid,
    state: &State,
) -> Result<Option<(String, Field)>, Error> {
    let change = commit::patch(mirror, target, commit, state, &plan::as_in(target, state))?;
    Ok(change.fields.into_iter().next())
}

/// The mirror of an environment's manifests, and the tip of their branch.
pub(super) fn newest(session: &Session<'_>, target: &Target<'_>) -> Result<(Mirror, Oid), Error> {
    let manifests = &target.environment.manifests;
    let mirror = session.open(&manifests.url)?;
    session.fetch(&mirror, &manifests.url, super::session::Freshness::OfThisCommand)?;
    let tip = mirror.tip(&manifests.branch)?;
    folder(&mirror, target, &tip)?;
    Ok((mirror, tip))
}

/// The tree of the environment's folder in a commit or tree.
pub(super) fn folder(mirror: &Mirror, target: &Target<'_>, base: &Oid) -> Result<Oid, Error> {
    let manifests = &target.environment.manifests;
    let what = match mirror.subtree(base, manifests.path.as_str())? {
        Subtree::Folder(tree) => return Ok(tree),
        Subtree::NoFolder => "is no folder",
        Subtree::Absent => "is not there",
    };
    let (path, branch) = (manifests.path.to_string(), manifests.branch.to_string());
    Err(Error::NoFolder { path, what, branch, url: manifests.url.shown() })
}

/// The state in a commit or tree; an empty one where there is no file.
pub(super) fn state(mirror: &Mirror, target: &Target<'_>, base: &Oid) -> Result<State, Error> {
    let path = State::path(&target.environment.manifests.path);
    if let Some(bytes) = mirror.repository().file(base, &path)? {
        return State::parse(&path, &bytes);
    }
    let in_the_way = |path: &str, what| Error::NoState { path: path.to_owned(), what };
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    match (mirror.subtree(base, folder)?, mirror.subtree(base, &path)?) {
        (Subtree::NoFolder, _) => Err(in_the_way(folder, "folder")),
        (_, Subtree::Absent) => Ok(State::default()),
        _ => Err(in_the_way(&path, "file")),
    }
}

fn last_delivery(mirror: &Mirror, target: &Target<'_>, tip: &Oid) -> Result<Option<Committed>, Error> {
    let path = State::path(&target.environment.manifests.path);
    let format = "--format=%H%x00%an%x00%ct%x00%s";
    let git =
        mirror.repository().git().args(["log", "-1", format, tip.as_str(), "--"]).arg(format!(":(literal){path}"));
    let output = git.run()?;
    let line = output.line();
    let mut parts = line.splitn(4, '\0');
    let mut part = || parts.next().unwrap_or_default();
    let (oid, author, time, subject) = (part(), part(), part(), part());
    let Ok(oid) = oid.parse() else { return Ok(None) };
    let time = time.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or_default();
    Ok(Some(Committed { oid, author: author.to_owned(), time, subject: subject.to_owned() }))
}
