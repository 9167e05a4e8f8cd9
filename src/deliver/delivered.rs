use super::{Error, State, Target};
use crate::{
    git::{Mirror, Repository, Subtree},
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

/// Fetches the manifest branch of an environment and reads what it runs.
///
/// # Errors
/// A remote that cannot be reached, a folder that is not there, a state file that cannot be trusted.
pub fn delivered(repository: &Repository, target: &Target<'_>) -> Result<Delivered, Error> {
    let manifests = &target.environment.manifests;
    let mirror = Mirror::open(repository, &manifests.url, target.prompts)?;
    let tip = mirror.fetch(&manifests.branch)?;
    folder(&mirror, target, &tip)?;
    let state = state(&mirror, target, &tip)?;
    let commit = if state.images.is_empty() { None } else { last_delivery(&mirror, target, &tip)? };
    Ok(Delivered { tip, state, commit })
}

/// The tree of the environment's folder.
pub(super) fn folder(mirror: &Mirror, target: &Target<'_>, tip: &Oid) -> Result<Oid, Error> {
    let manifests = &target.environment.manifests;
    let what = match mirror.subtree(tip, &manifests.path)? {
        Subtree::Folder(tree) => return Ok(tree),
        Subtree::NoFolder => "is no folder",
        Subtree::Absent => "is not there",
    };
    let (path, branch) = (manifests.path.to_string(), manifests.branch.to_string());
    Err(Error::NoFolder { path, what, branch, url: manifests.url.shown() })
}

/// The state at a commit; an empty one where there is no file.
pub(super) fn state(mirror: &Mirror, target: &Target<'_>, tip: &Oid) -> Result<State, Error> {
    let path = State::path(&target.environment.manifests.path);
    match mirror.repository().file(tip, &path)? {
        Some(bytes) => State::parse(&path, &bytes),
        None => Ok(State::default()),
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
