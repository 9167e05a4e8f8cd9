//! The small shell files that git finds. Whatever is put into them is quoted for the shell.

use super::may_stop_git;
use crate::values::HookName;
use std::path::{Path, PathBuf};

const HOOK: &str = include_str!("../../hooks/hook.sh");
const REFERENCE_TRANSACTION: &str = include_str!("../../hooks/reference-transaction.sh");
const PASS_THROUGH: &str = include_str!("../../hooks/pass-through.sh");

/// What every shim says in its second line, by which it is recognised.
const MARK: &str = "# gitops-hooks ";

/// Which calls of a hook are worth starting the program for.
#[derive(Clone, Copy)]
pub(super) enum Watched<'a> {
    /// Of `reference-transaction`: movements of remote-tracking branches with these names, which environments deliver.
    Branches(&'a [String]),
    /// Those that come while git does not pick commits: what acts on the work tree waits for the end of a rebase.
    OutsidePicks,
    /// All, in every state: the configuration has steps for them.
    Everything,
}

/// Leaves before the program is started, which a rebase would do for every commit. A hook that was kept still runs.
const PICKS: &str = r#"git=${GIT_DIR:-.git}
if [ -d "$git/rebase-merge" ] || [ -d "$git/rebase-apply" ]; then [ -x @KEPT@ ] || exit 0; fi
"#;

/// The text of a hook's shim.
///
/// `binary` is where the program is now, `kept` the hook that was there before.
pub(super) fn text(hook: HookName, binary: &Path, kept: &Path, watched: Watched<'_>) -> String {
    let template = if hook == HookName::ReferenceTransaction { REFERENCE_TRANSACTION } else { HOOK };
    let (states, cases) = match watched {
        Watched::Everything | Watched::OutsidePicks => ("*", "*".to_owned()),
        Watched::Branches(branches) => {
            let case = |branch: &String| format!("*' refs/remotes/'*{}*", quoted(&format!("/{branch}")));
            let cases: Vec<String> = branches.iter().map(case).collect();
            // The lines are never empty: without branches nothing is worth starting the program for.
            ("committed", if cases.is_empty() { "''".to_owned() } else { cases.join("|") })
        }
    };
    let shown: String = binary.display().to_string().chars().filter(|c| !"'\"\\`$".contains(*c)).collect();
    let picks = if matches!(watched, Watched::OutsidePicks) { PICKS } else { "" };
    template
        .replace("@PICKS@", picks)
        .replace("@BINARY@", &quoted(&binary.to_string_lossy()))
        .replace("@KEPT@", &quoted(&kept.to_string_lossy()))
        .replace("@STATES@", states)
        .replace("@CASES@", &cases)
        .replace("@SHOWN@", &shown)
        .replace("@GONE@", if may_stop_git(hook) { "1" } else { "0" })
        .replace("@HOOK@", hook.as_str())
}

/// The text of a hook that only calls one of the user's own folder.
pub(super) fn pass_through(hook: HookName, kept: &Path) -> String {
    PASS_THROUGH.replace("@KEPT@", &quoted(&kept.to_string_lossy())).replace("@HOOK@", hook.as_str())
}

/// Whether a hook file is one of ours.
pub(super) fn is_ours(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    text.lines().nth(1).is_some_and(|line| line.starts_with(MARK))
}

/// The program that a shim of ours calls.
pub(super) fn binary(text: &str) -> Option<PathBuf> {
    let word = text.lines().find_map(|line| line.strip_prefix("binary='"))?.strip_suffix('\'')?;
    Some(PathBuf::from(word.replace(r"'\''", "'")))
}

/// A word for the shell that stands for itself.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_put_into_a_shim_can_run() {
        let text = text(
            HookName::ReferenceTransaction,
            Path::new("/it's/$(x)"),
            Path::new("/k"),
            Watched::Branches(&["main".to_owned(), "a'b".to_owned()]),
        );
        assert!(text.contains(r"binary='/it'\''s/$(x)'"));
        assert!(text.contains(r"case $lines in *' refs/remotes/'*'/main'*|*' refs/remotes/'*'/a'\''b'*) ;;"));
        assert!(is_ours(text.as_bytes()));
        assert_eq!(binary(&text), Some("/it's/$(x)".into()));
    }

    #[test]
    fn a_call_within_a_rebase_is_over_before_the_program_starts() {
        let text = |watched| text(HookName::PostCommit, Path::new("/b"), Path::new("/it's"), watched);
        assert!(text(Watched::OutsidePicks).contains(r"then [ -x '/it'\''s' ] || exit 0; fi"));
        assert!(!text(Watched::Everything).contains("rebase") && !text(Watched::Everything).contains("@PICKS@"));
    }

    #[test]
    fn a_gone_program_stops_only_what_may_be_stopped() {
        let gone = |hook| text(hook, Path::new("/b"), Path::new("/k"), Watched::Everything).contains("exit 1");
        assert!(gone(HookName::PreCommit) && gone(HookName::PrePush));
        assert!(!gone(HookName::PostMerge) && !gone(HookName::ReferenceTransaction));
    }
}
