use crate::{
    deliver::{Kind, Past},
    sync::{Phase, Report},
};

/// What became of an entry of a history: what runs now is as the cluster says, the rest was replaced. Where the
/// cluster has a later commit by then, what it finds wrong is told with that commit.
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
    let Some(report) = fits else { return "runs".to_owned() };
    // A commit of somebody's own, after the last of the history, may be what is wrong.
    let later =
        report.manifest_commit.as_ref().filter(|commit| past.entries.iter().all(|entry| entry.commit != **commit));
    let at = later.map(|commit| format!(" at {}", commit.short())).unwrap_or_default();
    match report.phase {
        Phase::Healthy => "healthy".to_owned(),
        Phase::Syncing => "rolling out".to_owned(),
        Phase::Unhealthy => format!("not healthy{at}"),
        Phase::Failed => format!("refused{at}"),
        Phase::Unreachable | Phase::Suspended => "runs".to_owned(),
    }
}
