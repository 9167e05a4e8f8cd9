//! What the sync would do with a commit, seen from the laptop: the same plan on the same data, and nothing is written.

use super::{
    Error, Settings,
    cache::{PRUNE, Seen},
    checkout::Checkout,
    claims,
    desired::Desired,
    kinds::{self, Kinds},
    listing,
    object::{ObjectId, Problem},
    plan::{self, Verdict},
    prune::{self, Fate, Footing},
    store,
};
use kube::Client;
use serde::Serialize;
use std::collections::HashMap;

/// What would be done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// Made.
    Create,
    /// Changed, because its manifest changed.
    Change,
    /// Put back, because somebody changed it.
    Correct,
    /// Taken over from whoever made it, as was asked.
    Adopt,
    /// Deleted.
    Prune,
    /// Deleted some day: something is in the way.
    Wait,
    /// Left alone.
    Refuse,
}

impl Act {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Correct => "correct",
            Self::Adopt => "adopt",
            Self::Prune => "prune",
            Self::Wait => "wait",
            Self::Refuse => "refuse",
        }
    }
}

/// What would be done with one object, and why.
#[derive(Debug, Clone, Serialize)]
pub struct Foreseen {
    /// What.
    pub act: Act,
    /// The object as `Kind namespace/name`; none for a whole file.
    pub object: Option<String>,
    /// `file:line`, where it is written.
    pub origin: Option<String>,
    /// Why.
    pub reason: String,
}

impl From<&Problem> for Foreseen {
    fn from(problem: &Problem) -> Self {
        Self {
            act: Act::Refuse,
            object: problem.object.as_ref().map(ToString::to_string),
            origin: Some(problem.origin.to_string()),
            reason: problem.message.clone(),
        }
    }
}

/// What would be done with all of a commit.
#[derive(Debug, Clone, Serialize)]
pub struct Preview {
    /// What is not left as it is.
    pub acts: Vec<Foreseen>,
    /// How many objects are as they should be.
    pub unchanged: usize,
}

/// Says what the sync of these settings would do with a commit.
///
/// # Errors
/// A cluster that does not answer, or an account that may not look.
pub async fn preview(
    client: &Client,
    settings: &Settings,
    kinds: &Kinds,
    checkout: &Checkout,
    desired: &Desired,
) -> Result<Preview, Error> {
    let inventory = store::inventory(client, settings).await?;
    let (wanted, refused) = plan::resolve(desired.outlines(), settings, kinds);
    let of_wanted = wanted.iter().map(|(object, outline)| (outline.api_version.as_str(), object));
    let of_owned = inventory.iter().map(|(object, applied)| (applied.api_version.as_str(), object));
    let within = of_wanted.chain(of_owned).filter(|(_, object)| settings.reaches(object));
    let places = kinds::places(within, kinds, |kind| settings.may_write(kind));
    let matters = |object: &ObjectId| wanted.contains_key(object) || inventory.get(object).is_some();
    let live = listing::list(client, &places, matters).await?;
    let seen: HashMap<ObjectId, Seen> = live.into_iter().map(|(object, live)| (object, Seen::of(&live))).collect();

    let claims = claims::claims(client, settings, matters).await?;

    let mut acts: Vec<Foreseen> = desired.problems().chain(&refused).map(Foreseen::from).collect();
    let mut unchanged = 0;
    for (object, verdict, reason) in plan::plan(&wanted, &inventory, |object| seen.get(object)) {
        let claimed = claims.get(object);
        let act = match verdict {
            Verdict::Unchanged => {
                unchanged += 1;
                continue;
            }
            _ if claimed.is_some() => Act::Refuse,
            Verdict::Create => Act::Create,
            Verdict::Change => Act::Change,
            Verdict::Correct => Act::Correct,
            Verdict::Adopt => Act::Adopt,
            Verdict::Refuse => Act::Refuse,
        };
        let reason = claimed.map_or(reason, claims::says);
        let origin = wanted.get(object).map(|outline| outline.origin.to_string());
        acts.push(Foreseen { act, object: Some(object.to_string()), origin, reason });
    }
    let footing =
        if acts.iter().any(|foreseen| foreseen.act == Act::Refuse) { Footing::Doubtful } else { Footing::Sound };
    for (object, fate) in prune::plan(&inventory, &wanted, &checkout.approval, footing) {
        let Some(seen) = seen.get(&object) else { continue };
        if !inventory.get(&object).is_some_and(|applied| plan::owns(applied, seen)) {
            continue;
        }
        let (act, reason) = match fate {
            _ if seen.keep => (Act::Wait, format!("it stays, because it carries {PRUNE}: never")),
            Fate::Delete => match claims.get(&object) {
                Some(other) => (Act::Wait, format!("it stays, because {}", claims::says(other))),
                None => (Act::Prune, "no manifest names it any more".to_owned()),
            },
            Fate::Wait(reason) => (Act::Wait, reason),
        };
        acts.push(Foreseen { act, object: Some(object.to_string()), origin: None, reason });
    }
    acts.sort_by(|a, b| (a.act, &a.object).cmp(&(b.act, &b.object)));
    Ok(Preview { acts, unchanged })
}
