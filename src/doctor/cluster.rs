//! The cluster: whether it answers from here, and whether each environment has its sync. Never more than worth a look: a
//! laptop that delivers need not reach the cluster at all.

use super::{Finding, side_by_side::Job, side_by_side::within};
use crate::{
    cluster,
    config::{Config, Environment},
    sync::{Phase, Report},
    values::EnvironmentName,
};
use std::{collections::BTreeMap, time::Duration};

/// How long the cluster may take, and then each of its answers.
const PATIENCE: Duration = Duration::from_secs(3);
const NEXT: &str = "deliveries work without; to look at the cluster from here, see that `kubectl get nodes` works";

pub(super) fn job(config: &Config) -> Option<Job> {
    if config.environments.is_empty() {
        return None;
    }
    let environments = config.environments.clone();
    let late = Finding::warning("cluster", format!("no answer within {} s", PATIENCE.as_secs()), NEXT);
    Some(Job::new(late, move || within(super::PATIENCE, ask(environments))))
}

async fn ask(environments: BTreeMap<EnvironmentName, Environment>) -> Vec<Finding> {
    let (client, context) = match cluster::ask(PATIENCE).await {
        Ok(answer) => answer,
        Err(error) => {
            return vec![Finding {
                next: Some(NEXT.to_owned()),
                ..Finding::error("cluster", &error, NEXT).downgraded()
            }];
        }
    };
    let mut findings = vec![Finding::fine(
        "cluster",
        context.map_or_else(|| "it answers".to_owned(), |context| format!("context {context}")),
    )];
    for (name, environment) in environments {
        let asked = cluster::our_report(&client, &name, &environment);
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        findings.push(match answer {
            Ok(Ok(report)) => judge(&name, report.as_ref()),
            Ok(Err(error)) => Finding::error(format!("sync of {name}"), &error, NEXT).downgraded(),
            Err(_) => Finding::warning(format!("sync of {name}"), "no answer", NEXT),
        });
    }
    findings
}

fn judge(name: &EnvironmentName, report: Option<&Report>) -> Finding {
    let check = format!("sync of {name}");
    match report {
        None => Finding::warning(
            check,
            "this cluster has none",
            format!("`gitops-hooks cluster install {name}`, or choose its cluster with `kubectl config use-context`"),
        ),
        Some(report) => {
            let says = format!("says: {}", report.phase.as_str());
            match report.phase {
                Phase::Healthy | Phase::Syncing => Finding::fine(check, says),
                Phase::Unhealthy | Phase::Failed | Phase::Unreachable | Phase::Suspended => {
                    let why = report.reason().map(|why| format!(", {why}")).unwrap_or_default();
                    Finding::warning(check, says + &why, "`gitops-hooks status` shows where it stands")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_cluster_is_never_more_than_worth_a_look() {
        let staging = "staging".parse().unwrap();
        let report = |phase: &str| {
            let json = serde_json::json!({
                "environment": "staging", "namespace": "default", "phase": phase, "since": "2026-01-01T00:00:00Z",
            });
            serde_json::from_value::<Report>(json).unwrap()
        };
        assert_eq!(judge(&staging, Some(&report("healthy"))).state, State::Fine);
        assert_eq!(judge(&staging, Some(&report("failed"))).state, State::Warning);
        let none = judge(&staging, None);
        assert_eq!(none.state, State::Warning);
        assert!(none.next.unwrap().contains("gitops-hooks cluster install staging"));
    }
}
