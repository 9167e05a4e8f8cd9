//! What `githooks(5)` promises for each hook, in one table: how many arguments, what standard input, and whether a
//! failure stops git.

use crate::{config::Config, values::HookName};
use std::{collections::BTreeSet, ops::RangeInclusive};

/// What a hook's standard input holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stdin {
    /// Nothing.
    Nothing,
    /// Lines that the hook's own parser reads.
    Lines,
}

/// The arguments that git gives, and standard input.
pub(super) const fn call(hook: HookName) -> (RangeInclusive<usize>, Stdin) {
    match hook {
        HookName::PreApplypatch
        | HookName::PostApplypatch
        | HookName::PreCommit
        | HookName::PreMergeCommit
        | HookName::PostCommit
        | HookName::PreAutoGc => (0..=0, Stdin::Nothing),
        HookName::ApplypatchMsg | HookName::CommitMsg | HookName::PostMerge => (1..=1, Stdin::Nothing),
        HookName::PreRebase | HookName::SendemailValidate => (1..=2, Stdin::Nothing),
        HookName::PrepareCommitMsg => (1..=3, Stdin::Nothing),
        HookName::PostIndexChange => (2..=2, Stdin::Nothing),
        HookName::PostCheckout => (3..=3, Stdin::Nothing),
        HookName::PrePush => (2..=2, Stdin::Lines),
        HookName::PostRewrite | HookName::ReferenceTransaction => (1..=1, Stdin::Lines),
    }
}

/// How many arguments git gives at most.
#[must_use]
pub const fn most_arguments(hook: HookName) -> usize {
    *call(hook).0.end()
}

/// Whether git writes lines to the hook's standard input.
#[must_use]
pub const fn takes_lines(hook: HookName) -> bool {
    matches!(call(hook).1, Stdin::Lines)
}

/// Whether a failure of this hook may stop what git is doing. Where it may not, or where stopping would break other
/// commands (`reference-transaction` would stop commit, fetch and gc), the shim says what is wrong and exits 0.
#[must_use]
pub const fn may_stop_git(hook: HookName) -> bool {
    !matches!(
        hook,
        HookName::PostApplypatch
            | HookName::PostCommit
            | HookName::PostCheckout
            | HookName::PostMerge
            | HookName::PostRewrite
            | HookName::PostIndexChange
            | HookName::ReferenceTransaction
    )
}

/// The hooks that a configuration needs: those it gives steps, those that begin what can run ahead, and those that notice
/// what is to be delivered.
#[must_use]
pub fn needed(config: &Config) -> BTreeSet<HookName> {
    let mut needed: BTreeSet<HookName> =
        config.hooks.iter().filter(|(_, steps)| !steps.is_empty()).map(|(hook, _)| *hook).collect();
    if config.hooks.get(&HookName::PrePush).is_some_and(|steps| steps.iter().any(|step| step.background)) {
        needed.insert(HookName::PostCommit);
    }
    if !config.environments.is_empty() {
        needed.extend([HookName::PrePush, HookName::PostMerge, HookName::ReferenceTransaction]);
    }
    needed
}
