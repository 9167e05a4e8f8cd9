use super::{Error, Repository};
use crate::values::Oid;
use std::collections::{BTreeSet, HashMap};

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

    /// Every commit that a commit comes after, without itself. None where the history here cannot tell.
    ///
    /// # Errors
    /// When git fails for another reason than a missing commit.
    pub fn ancestors(&self, commit: &Oid) -> Result<BTreeSet<Oid>, Error> {
        if !self.has_commit(commit) {
            return Ok(BTreeSet::new());
        }
        let listed = self.git().args(["rev-list", commit.as_str()]).run()?;
        let all = String::from_utf8_lossy(&listed.stdout);
        Ok(all.lines().skip(1).filter_map(|line| line.parse().ok()).collect())
    }

    /// Those commits that are here, the newest first, each with the first line of its message. Among those of one
    /// second, the later one of a history comes first.
    ///
    /// # Errors
    /// When git fails.
    pub fn newest_first(&self, commits: &[Oid]) -> Result<Vec<(Oid, String)>, Error> {
        let known: Vec<&str> = commits.iter().filter(|oid| self.has_commit(oid)).map(Oid::as_str).collect();
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let tips = known.join("\n") + "\n";
        let shown = ["log", "--stdin", "--no-walk=sorted", "--format=%H%x00%ct%x00%s"];
        let listed = self.git().args(shown).input(tips.clone()).run()?;
        let listed = String::from_utf8_lossy(&listed.stdout);
        let row = |line: &str| {
            let mut fields = line.splitn(3, '\0').map(str::to_owned);
            Some((fields.next()?.parse().ok()?, fields.next()?, fields.next()?))
        };
        let by_time: Vec<(Oid, String, String)> = listed.lines().filter_map(row).collect();
        let Some((_, oldest, _)) = by_time.last() else { return Ok(Vec::new()) };
        let walk = ["rev-list", "--stdin", "--date-order", &format!("--max-age={oldest}")];
        let walked = self.git().args(walk).input(tips).run()?;
        let walked = String::from_utf8_lossy(&walked.stdout);
        let places: HashMap<&str, usize> = walked.lines().enumerate().map(|(place, oid)| (oid, place)).collect();
        let mut all: Vec<(Oid, String)> = by_time.into_iter().map(|(oid, _, subject)| (oid, subject)).collect();
        all.sort_by_key(|(oid, _)| places.get(oid.as_str()).copied().unwrap_or(usize::MAX));
        Ok(all)
    }
}
