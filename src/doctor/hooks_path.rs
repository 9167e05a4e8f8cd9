//! `core.hooksPath`: who set it, where it points, and whether our hooks are still in front of it.

use super::{Finding, finding::word, hooks::install};
use crate::{
    config::Config,
    git::{Repository, Setting},
    hook::{self, HooksFolder},
};

pub(super) fn examine(repository: &Repository, config: &Config) -> Vec<Finding> {
    if hook::needed(config).is_empty() {
        return Vec::new();
    }
    vec![match hook::hooks_folder(repository) {
        Ok(folder) => {
            let seen = Seen { exists: folder.exists(), theirs_exists: folder.theirs_exists(), folder };
            judge(&seen, &install(repository))
        }
        Err(error) => Finding::error("hooks path", &error, "see that `git config --get core.hooksPath` works"),
    }]
}

/// Where git looks for hooks, and what is there.
struct Seen {
    folder: HooksFolder,
    exists: bool,
    theirs_exists: bool,
}

fn judge(seen: &Seen, install: &str) -> Finding {
    const CHECK: &str = "hooks path";
    let HooksFolder { settings, effective, ours, theirs } = &seen.folder;
    let Some(setting) = settings.last() else {
        return Finding::fine(CHECK, format!("not set: git looks into {}", effective.display()));
    };
    let who = format!("core.hooksPath ({}, {})", setting.scope, setting.file);
    if effective != ours {
        let whose =
            hook::recognise(effective, b"").map_or_else(String::new, |name| format!(", where {name} has its hooks"));
        if !seen.exists {
            return Finding::environment(
                CHECK,
                format!("{who} points to nowhere: there is no folder {}", effective.display()),
                format!("`{}`, then {install}", unset(setting)),
            );
        }
        return Finding::environment(
            CHECK,
            format!("{who} leads git to {}{whose}, past ours", effective.display()),
            format!("{install} sets ours over it in this clone, and passes every hook on"),
        );
    }
    match theirs {
        _ if !seen.exists => Finding::environment(
            CHECK,
            format!("{who} points to nowhere: there is no folder {}", effective.display()),
            format!("{install} makes it anew"),
        ),
        Some(theirs) if !seen.theirs_exists => Finding::warning(
            CHECK,
            format!("the hooks folder that was set before ours is gone: {}", theirs.display()),
            format!("`gitops-hooks uninstall`, then `git config --unset core.hooksPath`, then {install}"),
        ),
        Some(theirs) => Finding::fine(CHECK, format!("ours, which passes on to {}", theirs.display())),
        None => Finding::fine(CHECK, effective.display().to_string()),
    }
}

/// The command that takes a setting away where it stands.
fn unset(setting: &Setting) -> String {
    match setting.scope.as_str() {
        scope @ ("system" | "global" | "local" | "worktree") => {
            format!("git config --{scope} --unset core.hooksPath")
        }
        _ => format!("git config --file {} --unset core.hooksPath", word(setting.file.as_ref())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn seen(effective: &str, scope: &str) -> Seen {
        let setting = Setting { scope: scope.to_owned(), file: "a-file".to_owned(), value: effective.to_owned() };
        let folder = HooksFolder {
            settings: vec![setting],
            effective: effective.into(),
            ours: "/c/.git/gitops-hooks/hooks".into(),
            theirs: Some("/theirs".into()),
        };
        Seen { folder, exists: true, theirs_exists: true }
    }

    #[test]
    fn ours_over_theirs_is_fine_while_both_are_there() {
        let fine = seen("/c/.git/gitops-hooks/hooks", "local");
        assert_eq!(judge(&fine, "install").state, State::Fine);
        assert_eq!(
            judge(&Seen { exists: false, ..seen("/c/.git/gitops-hooks/hooks", "local") }, "install").state,
            State::Environment
        );
        assert_eq!(judge(&Seen { theirs_exists: false, ..fine }, "install").state, State::Warning);
    }

    #[test]
    fn a_folder_of_anothers_goes_past_ours_and_its_manager_is_named() {
        let found = judge(&seen("/c/.husky/_", "local"), "install");
        assert!(found.state == State::Environment && found.message.contains("husky"), "{found:?}");
    }

    #[test]
    fn a_path_to_nowhere_is_unset_where_it_was_set() {
        let found = judge(&Seen { exists: false, ..seen("/gone", "global") }, "install");
        assert_eq!(found.state, State::Environment);
        assert!(found.message.contains("(global, a-file) points to nowhere"), "{found:?}");
        assert!(found.next.unwrap().contains("git config --global --unset core.hooksPath"));
    }
}
