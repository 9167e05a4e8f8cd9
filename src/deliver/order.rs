//! Never backwards: whether a commit may follow what an environment runs is decided by ancestry in the source repository,
//! never by clocks. What is unknown here is fetched first; what cannot be known is refused.

use super::{Error, Session, Target};
use crate::{git::Ancestry, values::Oid};

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
    session: &Session<'_>,
    target: &Target<'_>,
    running: Option<&Oid>,
    tip: &Oid,
) -> Result<Standing, Error> {
    let Some(running) = running else { return Ok(Standing::Newer) };
    let source = session.repository;
    match source.ancestry(running, tip)? {
        Ancestry::Same => return Ok(Standing::Same),
        Ancestry::Behind => return Ok(Standing::Newer),
        Ancestry::Ahead => return Ok(Standing::Older(running.clone())),
        Ancestry::Diverged | Ancestry::Unknown => {}
    }
    // Only what the branch holds at this moment can tell: this clone may not have seen it for days.
    let now = session.upstream_now(target.branch)?;
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
pub(super) fn still_there(session: &Session<'_>, target: &Target<'_>, tip: &Oid) -> Result<(), Error> {
    let source = session.repository;
    let now = session.upstream(target.branch)?;
    if matches!(source.ancestry(tip, &now)?, Ancestry::Same | Ancestry::Behind) {
        return Ok(());
    }
    let branch = target.branch.to_owned();
    let remote = source.upstream(&branch).map(|upstream| upstream.remote).unwrap_or_default();
    Err(Error::NotOnBranch { tip: tip.clone(), branch, remote })
}
