use super::{Invalid, serde_as_text};
use std::{fmt, str::FromStr};

/// What git may be in the middle of, by the name of its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is git's own command")]
pub enum OperationState {
    Merge,
    Rebase,
    CherryPick,
    Revert,
    Am,
    Bisect,
}

impl OperationState {
    const ALL: &[(Self, &str)] = &[
        (Self::Merge, "merge"),
        (Self::Rebase, "rebase"),
        (Self::CherryPick, "cherry-pick"),
        (Self::Revert, "revert"),
        (Self::Am, "am"),
        (Self::Bisect, "bisect"),
    ];
}

impl FromStr for OperationState {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found
            .map(|(state, _)| *state)
            .ok_or_else(|| Invalid::new("one of merge, rebase, cherry-pick, revert, am, bisect", text))
    }
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(state, _)| state == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

serde_as_text!(OperationState);
