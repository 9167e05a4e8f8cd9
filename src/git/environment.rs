//! The one table of promise 3: what git puts into the environment of a hook and no step may inherit.

use std::process::Command;

/// `git rev-parse --local-env-vars`, which points a process at the repository of the running command.
const LOCAL: &[&str] = &[
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// What describes the running command: an amend would otherwise sign a step's commit with somebody else's name.
const COMMAND: &[&str] = &["GIT_EDITOR", "GIT_REFLOG_ACTION", "GIT_EXEC_PATH"];
const COMMAND_PREFIXES: &[&str] =
    &["GIT_AUTHOR_", "GIT_COMMITTER_", "GITHEAD_", "GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_"];

/// Whether a variable belongs to the running git command. `GIT_SSH*`, `GIT_ASKPASS`, `GIT_SSL_*` and proxies do not.
#[must_use]
pub fn is_private(variable: &str) -> bool {
    LOCAL.contains(&variable)
        || COMMAND.contains(&variable)
        || COMMAND_PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
}

/// Takes git's private environment away from a command that is about to be started.
pub fn scrub(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_private) {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_covers_what_this_git_calls_local() {
        let output = Command::new("git").args(["rev-parse", "--local-env-vars"]).output().unwrap();
        let names = String::from_utf8(output.stdout).unwrap();
        let missing: Vec<_> = names.lines().filter(|name| !is_private(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn transport_settings_stay() {
        for name in ["GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_SSL_CAINFO", "HTTPS_PROXY"] {
            assert!(!is_private(name), "{name}");
        }
    }
}
