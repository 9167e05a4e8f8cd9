use crate::{
    deliver::{Kind, Past},
    sync::{Phase, Report},
};

/// What became of an entry of a history: what runs now is as the cluster says, the rest was replaced.
#[must_use]
pub fn became(past: &Past, at: usize, report: Option<&Report>) -> String {
    let Some(entry) = past.entries.get(at).filter(|entry| !entry.changed.is_empty()) else { return String::new() };
    let later = past.entries[..at].iter().rev().find(|later| !later.changed.is_empty());
    if let Some(later) = later {
        return match later.kind {
            Kind::RolledBack(_) => "rolled back".to_owned(),
            _ => "replaced".to_owned(),
        };
    }
    let fits = report.filter(|report| {
        entry.state.as_ref().is_some_and(|state| {
            report.sources.iter().all(|(image, delivered)| {
                state.images.get(image).is_none_or(|running| running.reference == delivered.reference)
            })
        })
    });
    match fits.map(|report| report.phase) {
        Some(Phase::Healthy) => "healthy".to_owned(),
        Some(Phase::Syncing) => "rolling out".to_owned(),
        Some(Phase::Unhealthy) => "not healthy".to_owned(),
        Some(Phase::Failed) => "refused".to_owned(),
        Some(Phase::Unreachable | Phase::Suspended) | None => "runs".to_owned(),
    }
}
