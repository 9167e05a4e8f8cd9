//! Never backwards: whether a commit may follow what an environment runs is decided by ancestry in the source repository,
//! never by clocks. What is unknown here is fetched first; what cannot be known is refused.

use super::{Error, Target};
use crate::{
    git::{Ancestry, Prompts, Repository},
    values::Oid,
};

/// How a commit stands to what an environment runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is newer, or the first.
    Newer,
    /// It is on the branch, and what runs no longer is: somebody rewrote the branch.
    Rewritten,
    /// It is what runs.
    Same,
    /// It was overtaken by this commit.
    Older(Oid),
}

/// Judges `tip` against the source commit that an environment runs.
pub(super) fn judge(
    source: &Repository,
    target: &Target<'_>,
    running: Option<&Oid>,
    tip: &Oid,
) -> Result<Standing, Error> {
    let Some(running) = running else { return Ok(Standing::Newer) };
    match source.ancestry(running, tip)? {
        Ancestry::Same => return Ok(Standing::Same),
        Ancestry::Behind => return Ok(Standing::Newer),
        Ancestry::Ahead => return Ok(Standing::Older(running.clone())),
        Ancestry::Diverged | Ancestry::Unknown => {}
    }
    // Only what the branch holds at this moment can tell: this clone may not have seen it for days.
    let now = fetch(source, target)?;
    let on_branch = |commit: &Oid| match source.ancestry(commit, &now) {
        Ok(Ancestry::Same | Ancestry::Behind) => Ok(true),
        Ok(_) => Ok(false),
        Err(error) => Err(error),
    };
    match source.ancestry(running, tip)? {
        Ancestry::Same => Ok(Standing::Same),
        Ancestry::Behind => Ok(Standing::Newer),
        Ancestry::Ahead => Ok(Standing::Older(running.clone())),
        Ancestry::Unknown if source.is_shallow() => {
            Err(Error::Shallow { environment: target.name.clone(), running: running.clone() })
        }
        // The history here is whole, so a commit that is not in it is not on the branch.
        Ancestry::Diverged | Ancestry::Unknown => {
            if on_branch(running)? {
                Ok(Standing::Older(running.clone()))
            } else if on_branch(tip)? {
                Ok(Standing::Rewritten)
            } else {
                Ok(Standing::Older(now))
            }
        }
    }
}

/// Refuses a commit that the branch has lost since this clone last saw it.
pub(super) fn still_there(source: &Repository, target: &Target<'_>, tip: &Oid) -> Result<(), Error> {
    let now = fetch(source, target)?;
    if matches!(source.ancestry(tip, &now)?, Ancestry::Same | Ancestry::Behind) {
        return Ok(());
    }
    let branch = target.environment.branch.to_string();
    let remote = source.upstream(&branch).map(|upstream| upstream.remote).unwrap_or_default();
    Err(Error::NotOnBranch { tip: tip.clone(), branch, remote })
}

/// Fetches the branch of the source's remote into a reference of our own: the user's remote-tracking branches move only
/// when the user fetches, and hooks that watch them see no movement that was not the user's.
fn fetch(source: &Repository, target: &Target<'_>) -> Result<Oid, Error> {
    let branch = target.environment.branch.as_str();
    let upstream = source.upstream(branch).ok_or_else(|| Error::NoUpstream { branch: branch.to_owned() })?;
    let ours = format!("refs/gitops-hooks/upstream/{}/{branch}", upstream.remote);
    let refspec = format!("+{}:{ours}", upstream.branch);
    let git = match target.prompts {
        Prompts::Allowed => source.git(),
        Prompts::Never => source.git().without_prompts(),
    };
    let options = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--refmap="];
    git.args(options).args([upstream.remote.as_str(), &refspec]).run()?;
    source.commit(&ours).ok_or(Error::NoUpstream { branch: branch.to_owned() })
}
