use super::{Status, Verdict};
use crate::{
    check::log::{Sighting, sight},
    git::Repository,
    sync::Phase,
};

/// Writes into the run log what clusters say of the last deliveries: they themselves keep only their newest word.
pub fn remember(repository: &Repository, status: &Status) {
    for trace in &status.environments {
        let (Ok(Some(delivery)), Ok(Some(report))) = (&trace.delivery, &trace.cluster) else { continue };
        let runs = delivery.images.iter().all(|(image, running)| {
            report.sources.get(image).is_some_and(|delivered| delivered.reference == running.reference)
        });
        let is_final = matches!(report.phase, Phase::Healthy | Phase::Unhealthy | Phase::Failed);
        let Some(commit) = delivery.commit.clone().filter(|_| runs && is_final) else { continue };
        let why = match &trace.verdict {
            Verdict::Stuck(why) => why.clone(),
            _ => String::new(),
        };
        let (environment, phase, since) = (trace.environment.clone(), report.phase.as_str().to_owned(), report.since);
        sight(repository, Sighting { environment, commit, phase, since, why });
    }
}
