use super::{Error, Repository};
use crate::values::Oid;

/// How two commits stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ancestry {
    /// They are one commit.
    Same,
    /// The first is an ancestor of the second.
    Behind,
    /// The second is an ancestor of the first.
    Ahead,
    /// Neither is an ancestor of the other.
    Diverged,
    /// The history here cannot tell: a commit is missing, or history is shallow and git would answer wrongly and silently.
    Unknown,
}

impl Repository {
    /// How `first` stands to `second` in this repository's history.
    ///
    /// # Errors
    /// When git fails for another reason than a missing commit.
    pub fn ancestry(&self, first: &Oid, second: &Oid) -> Result<Ancestry, Error> {
        if first == second {
            return Ok(Ancestry::Same);
        }
        if !self.has_commit(first) || !self.has_commit(second) {
            return Ok(Ancestry::Unknown);
        }
        let descends = |ancestor: &Oid, of: &Oid| {
            self.git().args(["merge-base", "--is-ancestor", ancestor.as_str(), of.as_str()]).answer()
        };
        if descends(first, second)? {
            Ok(Ancestry::Behind)
        } else if descends(second, first)? {
            Ok(Ancestry::Ahead)
        } else if self.is_shallow() {
            Ok(Ancestry::Unknown)
        } else {
            Ok(Ancestry::Diverged)
        }
    }
}
