//! The one table of promise 3: what git puts into the environment of a hook and no step may inherit.

use std::process::Command;

/// Of git's variables (`git(1)`, Environment Variables), those that say how this user reaches a remote, which files their
/// configuration is in, or what git says of its work. All others belong to the running command: `git rev-parse
/// --local-env-vars`, whose commit it is, and how it reads paths (`--literal-pathspecs` would make a check look at nothing).
const KEPT: &[&str] = &[
    "GIT_ALLOW_PROTOCOL",
    "GIT_ASKPASS",
    "GIT_ATTR_NOSYSTEM",
    "GIT_CEILING_DIRECTORIES",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_SYSTEM",
    "GIT_CURL_VERBOSE",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    "GIT_PAGER",
    "GIT_TERMINAL_PROMPT",
];
const KEPT_PREFIXES: &[&str] = &["GIT_HTTP_", "GIT_PROXY_", "GIT_SSH", "GIT_SSL_", "GIT_TRACE"];

/// Whether a variable belongs to the running git command.
#[must_use]
pub fn is_private(variable: &str) -> bool {
    let git = variable.starts_with("GIT_") || variable.starts_with("GITHEAD_");
    git && !KEPT.contains(&variable) && !KEPT_PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
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
        for name in ["GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_SSL_CAINFO", "HTTPS_PROXY", "GITOPS_HOOKS_SKIP"] {
            assert!(!is_private(name), "{name}");
        }
        for name in ["GIT_AUTHOR_NAME", "GITHEAD_1", "GIT_LITERAL_PATHSPECS", "GIT_CONFIG_KEY_0", "GIT_NAMESPACE"] {
            assert!(is_private(name), "{name}");
        }
    }
}
