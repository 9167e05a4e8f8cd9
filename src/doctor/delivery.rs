//! What deliveries need on this side: the upstream of each environment's branch, what waits in the outbox, and the log of
//! what ran in the background.

use super::{Finding, finding::word};
use crate::{
    config::Config,
    deliver::{self, Note, Reason},
    git::{Repository, Upstream},
    pipeline,
    values::{EnvironmentName, Oid},
};
use std::path::Path;

pub(super) fn examine(repository: &Repository, config: &Config) -> Vec<Finding> {
    if config.environments.is_empty() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut tips: Vec<(&EnvironmentName, Option<Oid>)> = Vec::new();
    for name in config.environments.keys() {
        let Some(branch) = config.source_branch(name) else { continue };
        let upstream = repository.upstream(branch);
        let tip = upstream.as_ref().and_then(|upstream| repository.reference(&upstream.tracking));
        findings.push(judge_upstream(name, branch, upstream.as_ref(), tip.as_ref()));
        tips.push((name, tip));
    }
    let log = pipeline::log_path(repository);
    match deliver::waiting(repository) {
        Ok(notes) if notes.is_empty() => findings.push(Finding::fine("outbox", "nothing waits")),
        Ok(notes) => {
            findings.extend(notes.iter().map(|note| match tips.iter().find(|(name, _)| **name == note.environment) {
                Some(_) if deliver::is_at_work(repository, &note.environment) => under_way(note),
                Some((_, tip)) => judge_note(note, note.unreached(repository, tip.as_ref()), &log),
                None => stray(note),
            }));
        }
        Err(error) => findings.push(Finding::error("outbox", &error, "see that the folder is yours")),
    }
    let message = if log.exists() { log.display().to_string() } else { "nothing ran in the background yet".to_owned() };
    findings.push(Finding::fine("delivery log", message));
    findings
}

fn judge_upstream(name: &EnvironmentName, branch: &str, upstream: Option<&Upstream>, tip: Option<&Oid>) -> Finding {
    let check = format!("upstream of {name}");
    match (upstream, tip) {
        (Some(upstream), Some(tip)) => {
            let there = upstream.branch.strip_prefix("refs/heads/").unwrap_or(&upstream.branch);
            Finding::fine(check, format!("{}/{there} at {}", upstream.remote, tip.short()))
        }
        (Some(upstream), None) => Finding::warning(
            check,
            format!("{} has no branch {branch}, as far as this clone knows", upstream.remote),
            format!("`git fetch {0}`, or `git push -u {0} {branch}` where it was never pushed", upstream.remote),
        ),
        (None, _) => Finding::warning(
            check,
            format!("the branch {branch} has no upstream and there is no remote origin"),
            format!("`git remote add origin ADDRESS`, then `git push -u origin {branch}`"),
        ),
    }
}

/// A note of an environment that the configuration in the work tree does not have.
fn stray(note: &Note) -> Finding {
    let name = &note.environment;
    Finding::warning(
        format!("outbox of {name}"),
        "a delivery waits for an environment that the configuration here does not have",
        format!("check out a commit that has it, then `gitops-hooks deliver {name}`"),
    )
}

fn under_way(note: &Note) -> Finding {
    Finding::fine(format!("outbox of {}", note.environment), "a delivery is under way")
}

/// A note that waits, and nobody works on it. `unreached` is a push that the upstream does not have.
fn judge_note(note: &Note, unreached: Option<&Oid>, log: &Path) -> Finding {
    let name = &note.environment;
    let check = format!("outbox of {name}");
    let deliver = format!("`gitops-hooks deliver {name}`");
    let since = note.since.strftime("%Y-%m-%d %H:%M UTC");
    match (&note.last_error, unreached, &note.reason) {
        (Some(error), ..) => Finding::warning(
            check,
            format!("waits since {since}; {} failed, the last one with: {error}", attempts(note.attempts)),
            format!("mend that, then {deliver}; the log is {}", word(log)),
        ),
        (None, Some(pushed), _) => Finding::warning(
            check,
            format!("the push of {} did not reach the upstream", pushed.short()),
            format!("push again, or {deliver} for what the upstream has"),
        ),
        (None, None, Reason::Fetch) => Finding::warning(
            check,
            format!("the upstream has moved since {since}, and nothing of it is delivered after a mere fetch"),
            format!("pull, or {deliver}"),
        ),
        (None, None, _) => Finding::warning(
            check,
            format!("a delivery waits since {since}: it was ended before it was done, or has yet to begin"),
            format!("{deliver} goes on"),
        ),
    }
}

fn attempts(count: u32) -> String {
    format!("{count} attempt{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn note(reason: &serde_json::Value, error: Option<&str>) -> Note {
        let note = serde_json::json!({
            "environment": "staging", "reason": reason, "since": "2026-01-02T03:04:05Z",
            "attempts": 2, "last_error": error, "token": "t",
        });
        serde_json::from_value(note).unwrap()
    }

    #[test]
    fn a_note_says_why_it_waits_and_what_delivers_it() {
        let log = Path::new("/l");
        let failed = judge_note(&note(&"merge".into(), Some("no network")), None, log);
        assert!(failed.message.contains("2026-01-02 03:04 UTC; 2 attempts failed"), "{failed:?}");
        let fetched = judge_note(&note(&"fetch".into(), None), None, log);
        let commit = "a".repeat(40).parse().unwrap();
        let pushed = judge_note(&note(&serde_json::json!({ "push": commit }), None), Some(&commit), log);
        let strange = stray(&note(&"asked".into(), None));
        for found in [failed, fetched, pushed, strange] {
            assert_eq!(found.state, State::Warning);
            assert!(found.next.as_ref().unwrap().contains("gitops-hooks deliver staging"), "{found:?}");
        }
    }

    #[test]
    fn a_branch_that_was_never_pushed_is_told_with_the_push() {
        let staging = "staging".parse().unwrap();
        let upstream = Upstream {
            remote: "origin".to_owned(),
            branch: "refs/heads/main".to_owned(),
            tracking: "refs/remotes/origin/main".to_owned(),
        };
        let tip: Oid = "a".repeat(40).parse().unwrap();
        assert_eq!(judge_upstream(&staging, "main", Some(&upstream), Some(&tip)).message, "origin/main at aaaaaaaaa");
        for found in
            [judge_upstream(&staging, "main", Some(&upstream), None), judge_upstream(&staging, "main", None, None)]
        {
            assert!(found.next.unwrap().contains("git push -u origin main"));
        }
    }
}
