//! What git is in the middle of, told from the files that it keeps meanwhile (`git status` reads the same ones).

use super::Repository;
use crate::values::OperationState;

impl Repository {
    /// What git is in the middle of. A rebase that stops at a pick is a rebase.
    #[must_use]
    pub fn operation(&self) -> Option<OperationState> {
        let has = |name: &str| self.git_dir().join(name).exists();
        let signs = [
            ("rebase-apply/applying", OperationState::Am),
            ("rebase-apply", OperationState::Rebase),
            ("rebase-merge", OperationState::Rebase),
            ("CHERRY_PICK_HEAD", OperationState::CherryPick),
            ("REVERT_HEAD", OperationState::Revert),
            ("MERGE_HEAD", OperationState::Merge),
            ("BISECT_LOG", OperationState::Bisect),
        ];
        signs.into_iter().find(|(sign, _)| has(sign)).map(|(_, state)| state)
    }

    /// The branch that is checked out, or that a rebase will come back to.
    #[must_use]
    pub fn branch(&self) -> Option<String> {
        let head = self.gix().head_name().ok().flatten();
        let name = head.map(|name| name.as_bstr().to_string()).or_else(|| {
            let kept = ["rebase-merge/head-name", "rebase-apply/head-name"];
            kept.iter().find_map(|name| std::fs::read_to_string(self.git_dir().join(name)).ok())
        })?;
        Some(name.trim_end().strip_prefix("refs/heads/")?.to_owned())
    }
}
