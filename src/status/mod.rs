//! One view from commit to pods: what the upstream has, whether its checks passed, what was delivered, what the cluster
//! says. It asks the other rooms and changes nothing; what could not be asked is said, never guessed.

mod became;
mod gather;
mod remember;
mod verdict;

pub use became::became;
pub use gather::{UNCONFIRMED, gather, gather_in, targets};
pub use remember::remember;
pub use verdict::Verdict;

use crate::{
    sync::Report,
    values::{EnvironmentName, ImageName, ImageRef, Oid},
};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::{collections::BTreeMap, fmt};

/// The shape of `status --json`. A change that breaks readers raises `version`.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// 2. In version 1 an answer stood under `Ok` or `Err`.
    pub version: u32,
    /// Each environment of the configuration, by name.
    pub environments: Vec<Trace>,
}

/// One environment, from its branch to its pods.
#[derive(Debug, Clone, Serialize)]
pub struct Trace {
    /// The environment.
    pub environment: EnvironmentName,
    /// What its branch's upstream has, as far as this clone knows.
    pub commit: Option<Commit>,
    /// Whether that commit's checks passed, as far as this clone and the registry know.
    pub checks: Checks,
    /// The same commit, where nobody here has judged or delivered it and nothing waits: it may be what should run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Oid>,
    /// How many commits that upstream has which what runs does not, counted up to [`COUNTED`]; none where nobody here can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<usize>,
    /// What was delivered, `null` where nothing was; the error where the manifest repository cannot say.
    #[serde(serialize_with = "answer")]
    pub delivery: Result<Option<Delivery>, Unanswered>,
    /// The branch of the manifest repository on which a delivery waits to be reviewed and merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<String>,
    /// What waits in this clone's outbox.
    pub outbox: Option<Waiting>,
    /// The sync's report, `null` where none is there; the error where no cluster could be asked.
    #[serde(serialize_with = "answer")]
    pub cluster: Result<Option<Report>, String>,
    /// What all of it means.
    pub verdict: Verdict,
}

/// Commits that an environment does not have yet are counted up to this.
pub const COUNTED: usize = 200;

/// A commit as people know it.
#[derive(Debug, Clone, Serialize)]
pub struct Commit {
    /// Its id.
    pub id: Oid,
    /// The first line of its message.
    pub subject: String,
}

/// What is known of a commit's checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Checks {
    /// They passed: here, or where the delivered image was published.
    Passed,
    /// They failed here, when a delivery ran them.
    Failed,
    /// Nothing here says so.
    Unknown,
}

/// Why a manifest repository does not say what was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Unanswered {
    /// It has no place for the environment: somebody must make one.
    NoPlace(String),
    /// It could not be asked, or its answer not be read.
    Unread(String),
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NoPlace(why) | Self::Unread(why)) = self;
        f.write_str(why)
    }
}

/// What the state of an environment says.
#[derive(Debug, Clone, Serialize)]
pub struct Delivery {
    /// The tip of the manifest branch.
    pub tip: Oid,
    /// The commit that delivered last.
    pub commit: Option<Oid>,
    /// When, by the clock of who delivered.
    pub time: Option<Timestamp>,
    /// What runs, image by image.
    pub images: BTreeMap<ImageName, Running>,
    /// Who keeps newer commits away, and why: `held by Ada: the release is on Monday`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
}

/// An image as it was delivered.
#[derive(Debug, Clone, Serialize)]
pub struct Running {
    /// The source commit.
    pub source: Oid,
    /// The reference in the manifests.
    pub reference: ImageRef,
}

/// A note in the outbox.
#[derive(Debug, Clone, Serialize)]
pub struct Waiting {
    /// Since when.
    pub since: Timestamp,
    /// Why nothing is being done about it: the last attempt's error, or that nobody asked for one yet.
    pub stopped: Option<String>,
}

/// An answer as it is, or in its place `{"error": "why there is none"}`.
fn answer<T: Serialize, E: Serialize, S: Serializer>(answer: &Result<Option<T>, E>, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Failed<'a, E> {
        error: &'a E,
    }
    match answer {
        Ok(answer) => answer.serialize(to),
        Err(error) => Failed { error }.serialize(to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_needs_no_words_of_rusts() {
        let trace = Trace {
            environment: "staging".parse().unwrap(),
            commit: None,
            checks: Checks::Unknown,
            unseen: None,
            behind: None,
            delivery: Ok(None),
            review: None,
            outbox: None,
            cluster: Err("no cluster answers".to_owned()),
            verdict: Verdict::Unknown("nobody could be asked".to_owned()),
        };
        let status = serde_json::to_value(Status { version: 2, environments: vec![trace] }).unwrap();
        assert_eq!(
            status["environments"][0],
            serde_json::json!({
                "environment": "staging", "commit": null, "checks": "unknown", "delivery": null, "outbox": null,
                "cluster": { "error": "no cluster answers" },
                "verdict": { "state": "unknown", "why": "nobody could be asked" },
            })
        );
    }
}
