use super::{Delivery, Unanswered, Waiting};
use crate::sync::{Phase, Report};
use serde::Serialize;

/// What a trace means, in one word and one sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "why", rename_all = "lowercase")]
pub enum Verdict {
    /// The cluster runs what was delivered, and is healthy.
    Live,
    /// Something is under way.
    Moving(String),
    /// Nothing moves until somebody acts.
    Stuck(String),
    /// Nobody could be asked.
    Unknown(String),
}

impl Verdict {
    /// Whether waiting would change it.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        !matches!(self, Self::Moving(_))
    }

    /// Reads a verdict off what was gathered.
    #[must_use]
    pub fn of(
        outbox: Option<&Waiting>,
        delivery: &Result<Option<Delivery>, Unanswered>,
        cluster: &Result<Option<Report>, String>,
    ) -> Self {
        if let Some(waiting) = outbox {
            return match &waiting.stopped {
                Some(why) => Self::Stuck(why.clone()),
                None => Self::Moving("delivery is under way".to_owned()),
            };
        }
        let delivery = match delivery {
            Ok(Some(delivery)) => delivery,
            Ok(None) => {
                return Self::Stuck("nothing was delivered yet: `git push` does, or `gitops-hooks deliver`".to_owned());
            }
            Err(Unanswered::NoPlace(why)) => return Self::Stuck(why.clone()),
            Err(Unanswered::Unread(why)) => return Self::Unknown(why.clone()),
        };
        let report = match cluster {
            Ok(Some(report)) => report,
            Ok(None) => {
                return Self::Unknown(
                    "no sync reports from this cluster: `gitops-hooks cluster install` puts one there".to_owned(),
                );
            }
            Err(error) => return Self::Unknown(error.clone()),
        };
        if report.phase == Phase::Unreachable {
            return Self::Stuck(reason(report, "the sync cannot reach the manifest repository"));
        }
        if report.not_taken.as_ref() == Some(&delivery.tip) {
            return Self::Stuck(reason(report, "the sync does not take the newest manifests"));
        }
        // Other paths of the repository may have moved its tip on: what counts is whether the delivery is in what was read.
        if report.manifest_commit.as_ref() != Some(&delivery.tip) {
            return Self::Moving("the sync has not read the newest manifests yet".to_owned());
        }
        match report.phase {
            Phase::Healthy => Self::Live,
            Phase::Syncing => Self::Moving(reason(report, "rolling out")),
            Phase::Unhealthy => Self::Stuck(reason(report, "not healthy")),
            Phase::Failed => Self::Stuck(reason(report, "refused")),
            Phase::Unreachable => Self::Stuck(reason(report, "unreachable")),
            Phase::Suspended => Self::Stuck(reason(report, "suspended")),
        }
    }
}

/// The report's own words for what is wrong.
fn reason(report: &Report, otherwise: &str) -> String {
    report.reason().unwrap_or_else(|| otherwise.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn delivery(tip: char) -> Delivery {
        let tip = tip.to_string().repeat(40).parse().unwrap();
        Delivery { tip, commit: None, time: None, images: BTreeMap::new(), hold: None }
    }

    fn report(phase: &str, commit: char) -> Report {
        let commit = commit.to_string().repeat(40);
        let json = serde_json::json!({
            "environment": "staging", "namespace": "default", "phase": phase,
            "since": "2026-01-01T00:00:00Z", "manifest_commit": commit,
            "refused": [{ "object": "Deployment web", "reason": "is damaged" }],
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn healthy_counts_only_for_what_was_delivered() {
        assert_eq!(Verdict::of(None, &Ok(Some(delivery('a'))), &Ok(Some(report("healthy", 'a')))), Verdict::Live);
        assert!(!Verdict::of(None, &Ok(Some(delivery('b'))), &Ok(Some(report("healthy", 'a')))).is_settled());
    }

    #[test]
    fn a_note_is_under_way_unless_something_stopped_it() {
        let since = jiff::Timestamp::UNIX_EPOCH;
        let quiet = Waiting { since, stopped: None };
        assert!(!Verdict::of(Some(&quiet), &Ok(Some(delivery('a'))), &Ok(Some(report("healthy", 'a')))).is_settled());
        let failed = Waiting { since, stopped: Some("delivery waits: no route".to_owned()) };
        let verdict = Verdict::of(Some(&failed), &Ok(Some(delivery('a'))), &Ok(Some(report("healthy", 'a'))));
        assert_eq!(verdict, Verdict::Stuck("delivery waits: no route".to_owned()));
    }

    #[test]
    fn a_commit_that_the_sync_does_not_take_waits_for_somebody() {
        let mut unsigned = report("failed", 'a');
        unsigned.not_taken = Some("b".repeat(40).parse().unwrap());
        unsigned.message = Some("commit bbb is not applied: it is not signed".to_owned());
        let told = |tip| Verdict::of(None, &Ok(Some(delivery(tip))), &Ok(Some(unsigned.clone())));
        assert_eq!(told('b'), Verdict::Stuck("commit bbb is not applied: it is not signed".to_owned()));
        assert!(!told('c').is_settled(), "what comes after it may be taken");
    }

    #[test]
    fn a_refusal_is_told_in_the_syncs_words() {
        let verdict = Verdict::of(None, &Ok(Some(delivery('a'))), &Ok(Some(report("failed", 'a'))));
        assert_eq!(verdict, Verdict::Stuck("Deployment web: is damaged".to_owned()));
    }

    #[test]
    fn a_repository_without_a_place_for_the_environment_waits_for_somebody() {
        let empty = Err(Unanswered::NoPlace("manifests.git is empty".to_owned()));
        assert_eq!(Verdict::of(None, &empty, &Ok(None)), Verdict::Stuck("manifests.git is empty".to_owned()));
        let silent = Err(Unanswered::Unread("no route".to_owned()));
        assert_eq!(Verdict::of(None, &silent, &Ok(None)), Verdict::Unknown("no route".to_owned()));
    }

    #[test]
    fn a_cluster_that_does_not_answer_is_not_called_healthy() {
        let verdict = Verdict::of(None, &Ok(Some(delivery('a'))), &Err("no cluster answers".to_owned()));
        assert_eq!(verdict, Verdict::Unknown("no cluster answers".to_owned()));
    }
}
