//! What one pass found, and what that means for the whole. Pure.

use super::{
    object::{ObjectId, Origin},
    report::{Note, Phase, Workload},
    watch::Silence,
};

/// Where a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// All is as it should be.
    Well,
    /// Something is on its way.
    Moving,
    /// Something will not come by itself.
    Stuck,
}

/// What one pass found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) refused: Vec<Note>,
    pub(super) unhealthy: Vec<Note>,
    pub(super) waiting: Vec<Note>,
    pub(super) drifted: Vec<Note>,
    pub(super) workloads: Vec<Workload>,
    /// What the cluster does not tell.
    pub(super) silence: Silence,
    pub(super) progressing: bool,
    /// Something is to be pruned, and health has not held for long enough.
    pub(super) settling: bool,
    pub(super) failing: bool,
    /// Why nothing may be written now: another pod's turn, or a suspension.
    pub(super) halted: Option<String>,
}

impl Findings {
    pub(super) fn refuse(&mut self, object: &ObjectId, origin: &Origin, reason: &str) {
        self.refused.push(Note { origin: Some(origin.to_string()), ..Note::on(object, reason) });
    }

    pub(super) fn settled(&self) -> Settled {
        if self.progressing || self.settling || self.halted.is_some() {
            Settled::Moving
        } else if self.failing || !self.refused.is_empty() {
            Settled::Stuck
        } else {
            Settled::Well
        }
    }

    pub(super) fn phase(&self) -> Phase {
        if !self.refused.is_empty() {
            Phase::Failed
        } else if self.failing {
            Phase::Unhealthy
        } else if self.progressing || self.halted.is_some() {
            Phase::Syncing
        } else {
            Phase::Healthy
        }
    }
}
