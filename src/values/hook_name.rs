use super::serde_as_text;
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

/// A name that git does not call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("git has no client-side hook {0:?}")]
pub struct UnknownHook(String);

impl FromStr for HookName {
    type Err = UnknownHook;

    fn from_str(text: &str) -> Result<Self, UnknownHook> {
        let found = Self::ALL.iter().copied().find(|hook| hook.as_str() == text);
        found.ok_or_else(|| UnknownHook(text.chars().take(80).collect()))
    }
}

impl fmt::Display for HookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

serde_as_text!(HookName);
