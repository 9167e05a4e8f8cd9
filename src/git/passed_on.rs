//! The repository-local settings that a mirror takes over from its source: who commits, how commits are signed, how remotes
//! are reached. They go through a file, never through arguments: a token in `http.extraHeader` must not show in `ps`.

use super::{Error, Repository};
use std::fmt::Write;

impl Repository {
    /// The settings of this clone (`.git/config`, what it includes, and the work tree's own) that a mirror is to have.
    pub(super) fn passed_on(&self) -> Result<Vec<(String, Option<String>)>, Error> {
        let list = |scope: &str| self.git().args(["config", scope, "--includes", "--list", "-z"]).run();
        let mut text = list("--local")?.stdout;
        // Without the extension, git reads `--worktree` as `--local`, or fails where there are several.
        if self.config("extensions.worktreeConfig").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            text.extend(list("--worktree").map(|output| output.stdout).unwrap_or_default());
        }
        let text = String::from_utf8_lossy(&text);
        let entries = text.split('\0').filter(|entry| !entry.is_empty());
        let split = entries.map(|entry| match entry.split_once('\n') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (entry.to_owned(), None),
        });
        Ok(split.filter(|(key, _)| is_passed_on(key)).collect())
    }
}

/// git lists sections and names in lower case.
fn is_passed_on(key: &str) -> bool {
    let section = key.split('.').next().unwrap_or_default();
    let name = key.rsplit('.').next().unwrap_or_default();
    match section {
        "http" | "credential" | "ssh" | "gpg" | "author" | "committer" | "protocol" => true,
        "user" => matches!(name, "name" | "email" | "signingkey" | "useconfigonly"),
        "url" => matches!(name, "insteadof" | "pushinsteadof"),
        "commit" => name == "gpgsign",
        "core" => matches!(name, "sshcommand" | "askpass" | "gitproxy"),
        _ => false,
    }
}

/// Settings as a configuration file (git-config(1), "Syntax"): one section header for each, so that order is kept.
pub(super) fn as_file(settings: &[(String, Option<String>)]) -> String {
    let mut file = "# Written by gitops-hooks from the configuration of the source repository.\n".to_owned();
    for (key, value) in settings {
        let Some((section, rest)) = key.split_once('.') else { continue };
        let (subsection, name) = match rest.rsplit_once('.') {
            Some((subsection, name)) => (Some(subsection), name),
            None => (None, rest),
        };
        let header = match subsection {
            Some(subsection) => {
                format!("[{section} \"{}\"]", subsection.replace('\\', "\\\\").replace('"', "\\\""))
            }
            None => format!("[{section}]"),
        };
        // A key without a value means true, and must stay without one.
        let _ = match value {
            Some(value) => writeln!(file, "{header}\n\t{name} = \"{}\"", escaped(value)),
            None => writeln!(file, "{header}\n\t{name}"),
        };
    }
    file
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\t', "\\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_reads_back_what_is_written() {
        let settings: Vec<(String, Option<String>)> = [
            ("user.name", Some("A \"B\" \\ # ; C")),
            ("http.https://git.example.com/.extraheader", Some("Authorization: Basic x=\ty")),
            ("credential.helper", Some("")),
            ("credential.helper", Some("!f() { echo \"a\nb\"; }; f")),
            ("url.git@x:a\"b.insteadof", Some("https://x/")),
            ("commit.gpgsign", None),
        ]
        .map(|(key, value)| (key.to_owned(), value.map(str::to_owned)))
        .into();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, as_file(&settings)).unwrap();
        let listed = super::super::Git::at(folder.path())
            .args(["config", "--file"])
            .arg(&path)
            .args(["--list", "-z"])
            .run()
            .unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        let read: Vec<(String, Option<String>)> = text
            .split('\0')
            .filter(|entry| !entry.is_empty())
            .map(|entry| match entry.split_once('\n') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (entry.to_owned(), None),
            })
            .collect();
        assert_eq!(read, settings);
    }

    #[test]
    fn only_identity_signing_and_transport_are_passed_on() {
        for key in ["user.email", "http.proxy", "credential.https://x.helper", "gpg.ssh.program", "url.a.insteadof"] {
            assert!(is_passed_on(key), "{key}");
        }
        for key in ["remote.origin.url", "core.bare", "core.hookspath", "core.worktree", "alias.x", "include.path"] {
            assert!(!is_passed_on(key), "{key}");
        }
    }
}
