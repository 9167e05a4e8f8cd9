use super::{closest, serde_as_text, shown};
use std::{fmt, str::FromStr};

macro_rules! hooks {
    ($($variant:ident $name:literal,)*) => {
        /// The client-side hooks that git calls (`githooks(5)`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each is git's own name, documented in githooks(5)")]
        pub enum HookName {
            $($variant,)*
        }

        impl HookName {
            /// Every hook, in the order of `githooks(5)`.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// git's name for it, which is also the name of its file.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

hooks! {
    ApplypatchMsg "applypatch-msg",
    PreApplypatch "pre-applypatch",
    PostApplypatch "post-applypatch",
    PreCommit "pre-commit",
    PreMergeCommit "pre-merge-commit",
    PrepareCommitMsg "prepare-commit-msg",
    CommitMsg "commit-msg",
    PostCommit "post-commit",
    PreRebase "pre-rebase",
    PostCheckout "post-checkout",
    PostMerge "post-merge",
    PrePush "pre-push",
    ReferenceTransaction "reference-transaction",
    PreAutoGc "pre-auto-gc",
    PostRewrite "post-rewrite",
    PostIndexChange "post-index-change",
    SendemailValidate "sendemail-validate",
}

impl HookName {
    /// Whether its first argument is the file of the commit message (`githooks(5)`).
    #[must_use]
    pub const fn takes_message_file(self) -> bool {
        matches!(self, Self::CommitMsg | Self::PrepareCommitMsg | Self::ApplypatchMsg)
    }
}

/// A name that git does not call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("git has no client-side hook {written:?}{}", meant.map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default())]
pub struct UnknownHook {
    written: String,
    meant: Option<&'static str>,
}

impl FromStr for HookName {
    type Err = UnknownHook;

    fn from_str(text: &str) -> Result<Self, UnknownHook> {
        let found = Self::ALL.iter().copied().find(|hook| hook.as_str() == text);
        found.ok_or_else(|| {
            let known: Vec<&'static str> = Self::ALL.iter().map(|hook| hook.as_str()).collect();
            UnknownHook { written: shown(text), meant: closest(text, &known) }
        })
    }
}

impl fmt::Display for HookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

serde_as_text!(HookName);
