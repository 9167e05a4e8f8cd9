//! What is to become of one environment, as plain data: made of what somebody wants of it and of what its state says, and
//! made anew on whatever a lost race brought.

use super::{
    Builds, Delivery, Error, Hold, Running, Session, State, Switch, Target,
    order::{self, Standing},
};
use crate::values::{Digest, EnvironmentName, ImageName, ImageRef, Oid, Tag};
use std::collections::BTreeMap;

/// What somebody wants of an environment.
#[derive(Debug, Clone)]
pub enum Act {
    /// It is to run what this commit of its branch built.
    Follow {
        /// What the branch's upstream has.
        tip: Oid,
        /// How sure that is.
        seen: Seen,
        /// Whether what is not there yet may be built now.
        build: Build,
    },
    /// It is to run what another environment runs.
    Promote {
        /// That environment.
        from: EnvironmentName,
        /// What runs there.
        images: BTreeMap<ImageName, Running>,
        /// How that is known: `healthy there at …`, or `unverified`.
        proof: String,
    },
    /// It is to run what ran there before, and nothing else until it is released.
    Rollback {
        /// What ran there.
        images: BTreeMap<ImageName, Running>,
        /// The word that keeps newer commits away.
        hold: Hold,
    },
    /// Nothing newer is to be delivered.
    Hold(Hold),
    /// What was held is free again, if this is what holds it.
    Release(Option<Hold>),
}

/// How sure it is that an upstream has a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// git has just pushed or pulled it.
    Now,
    /// It was there when somebody last fetched.
    Once,
}

/// What to do about an image that a commit has not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// Its checks are run, and it is built and published.
    Missing,
    /// Nothing: the delivery is only shown.
    Nothing,
}

/// What is to be changed.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    /// The images that are to run something else, and what it is; for [`Act::Follow`] it is still to be had.
    pub(super) behind: BTreeMap<ImageName, Option<Running>>,
    /// The commit that was running, where the branch was rewritten and no longer has it.
    pub(super) rewritten: Option<Oid>,
    /// The hold that the state has afterwards.
    pub(super) hold: Option<Hold>,
}

impl Act {
    /// The source commit that this is about, where there is one.
    pub(super) fn source(&self) -> Option<&Oid> {
        match self {
            Self::Follow { tip, .. } => Some(tip),
            Self::Promote { images, .. } | Self::Rollback { images, .. } => {
                images.values().next().map(|running| &running.source)
            }
            Self::Hold(_) | Self::Release(_) => None,
        }
    }
}

/// Plans an act on a state; or says how it ends without a change.
pub(super) fn plan(
    session: &Session<'_>,
    target: &Target<'_>,
    act: &Act,
    state: &State,
) -> Result<Result<Plan, Delivery>, Error> {
    let kept = Plan { hold: state.hold.clone(), ..Plan::default() };
    match act {
        Act::Follow { tip, .. } => {
            let all = target.images.keys().map(|image| (image, tip, None));
            forward(session, target, state, all, kept)
        }
        Act::Promote { images, .. } => {
            let wanted = target.images.keys().filter_map(|image| Some((image, images.get(image)?)));
            let all = wanted.map(|(image, running)| (image, &running.source, Some(running.clone())));
            forward(session, target, state, all, kept)
        }
        Act::Rollback { images, hold } => {
            let behind = images.iter().filter(|(image, _)| target.images.contains_key(*image));
            let behind = behind.map(|(image, running)| (image.clone(), Some(running.clone()))).collect();
            Ok(Ok(Plan { behind, hold: Some(hold.clone()), rewritten: None }))
        }
        Act::Hold(hold) if state.hold.as_ref() == Some(hold) => Ok(Err(Delivery::Unchanged)),
        Act::Hold(hold) => Ok(Ok(Plan { hold: Some(hold.clone()), ..Plan::default() })),
        Act::Release(seen) => Ok(match &state.hold {
            None => Err(Delivery::Unchanged),
            // Somebody has said another word since, which nobody has seen who releases.
            Some(hold) if seen.as_ref() != Some(hold) => Err(Delivery::Held { hold: hold.clone() }),
            Some(_) => Ok(Plan::default()),
        }),
    }
}

/// The plan to run what a state says.
pub(super) fn as_in(target: &Target<'_>, state: &State) -> Plan {
    let known = state.images.iter().filter(|(image, _)| target.images.contains_key(*image));
    let behind = known.map(|(image, running)| (image.clone(), Some(running.clone()))).collect();
    Plan { behind, hold: state.hold.clone(), rewritten: None }
}

/// What is to run newer commits; never older ones, and nothing where the environment is held.
fn forward<'i>(
    session: &Session<'_>,
    target: &Target<'_>,
    state: &State,
    wanted: impl Iterator<Item = (&'i ImageName, &'i Oid, Option<Running>)>,
    mut plan: Plan,
) -> Result<Result<Plan, Delivery>, Error> {
    let mut newer = None;
    for (image, source, running) in wanted {
        let before = state.images.get(image);
        match order::judge(session, target, before.map(|running| &running.source), source)? {
            Standing::Same => {
                let differs = |running: &Running| before.is_some_and(|before| digest(before) != digest(running));
                if !running.as_ref().is_some_and(differs) {
                    continue;
                }
            }
            Standing::Older(by) => {
                newer = Some(by);
                continue;
            }
            Standing::Rewritten => {
                let before = before.map(|running| running.source.clone());
                same_branch(target, state, before.as_ref())?;
                plan.rewritten = before;
            }
            Standing::Newer => {}
        }
        plan.behind.insert(image.clone(), running);
    }
    Ok(match (plan.behind.is_empty(), newer, &state.hold) {
        (false, _, Some(hold)) => Err(Delivery::Held { hold: hold.clone() }),
        (false, _, None) => Ok(plan),
        (true, Some(by), _) => Err(Delivery::Superseded { by }),
        (true, None, _) => Err(Delivery::Unchanged),
    })
}

fn digest(running: &Running) -> Option<&Digest> {
    running.reference.digest.as_ref()
}

/// A rewritten branch is one that was followed before; another one may be what an old checkout still names.
fn same_branch(target: &Target<'_>, state: &State, running: Option<&Oid>) -> Result<(), Error> {
    match (&state.branch, running) {
        (Some(before), Some(running)) if before != target.branch && target.switch == Switch::Refused => {
            Err(Error::OtherBranch {
                environment: target.name.clone(),
                running: running.clone(),
                running_branch: before.clone(),
                branch: target.branch.to_owned(),
            })
        }
        _ => Ok(()),
    }
}

impl Plan {
    /// The plan with references that stand for what is not built yet.
    pub(super) fn rehearsed(&self, target: &Target<'_>, source: Option<&Oid>) -> Result<Self, Error> {
        self.filled(|image| {
            let source = source.ok_or_else(|| not_built(image, source))?;
            let repository = target.images.get(image).cloned().ok_or_else(|| not_built(image, Some(source)))?;
            let digest: Option<Digest> = format!("sha256:{}", "0".repeat(64)).parse().ok();
            let reference = ImageRef { repository, tag: Some(Tag::of_commit(source)), digest };
            Ok(Running { source: source.clone(), reference })
        })
    }

    /// The plan with the references that were built from a commit.
    pub(super) fn with(&self, source: Option<&Oid>, built: &[(ImageName, ImageRef)]) -> Result<Self, Error> {
        self.filled(|image| {
            let found = built.iter().find(|(name, reference)| name == image && reference.digest.is_some());
            match (found, source) {
                (Some((_, reference)), Some(source)) => {
                    Ok(Running { source: source.clone(), reference: reference.clone() })
                }
                _ => Err(not_built(image, source)),
            }
        })
    }

    fn filled(&self, missing: impl Fn(&ImageName) -> Result<Running, Error>) -> Result<Self, Error> {
        let fill = |(image, running): (&ImageName, &Option<Running>)| {
            let running = running.clone().map_or_else(|| missing(image), Ok)?;
            Ok((image.clone(), Some(running)))
        };
        let behind = self.behind.iter().map(fill).collect::<Result<_, Error>>()?;
        Ok(Self { behind, ..self.clone() })
    }

    /// What each image is to run; all are known once [`Plan::with`] has been asked.
    pub(super) fn goals(&self) -> impl Iterator<Item = (&ImageName, &Running)> {
        self.behind.iter().filter_map(|(image, running)| Some((image, running.as_ref()?)))
    }
}

/// Whether a state is to name newer sources although every reference stays what it is. Where a commit in between made
/// another image, a slow laptop could deliver that one later: the state must say that it is older than what runs.
pub(super) fn is_worth_recording(
    builds: &dyn Builds,
    target: &Target<'_>,
    act: &Act,
    plan: &Plan,
    state: &State,
) -> Result<bool, Error> {
    let Act::Follow { .. } = act else { return Ok(true) };
    for (image, goal) in plan.goals() {
        let Some(before) = state.images.get(image) else { return Ok(true) };
        if builds.differed(target, image, &before.source, &goal.source).map_err(Error::Images)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn not_built(image: &ImageName, commit: Option<&Oid>) -> Error {
    Error::NotBuilt { image: image.clone(), commit: commit.map_or_else(|| "this commit".to_owned(), Oid::to_string) }
}
