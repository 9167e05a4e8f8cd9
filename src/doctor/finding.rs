use crate::git;
use miette::Diagnostic;
use serde::Serialize;

/// What one check found. `doctor --json` prints a list of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `git`, `hooks`, `registry registry.example.com/team/app`.
    pub check: String,
    /// How it is.
    pub state: State,
    /// What was found, in words.
    pub message: String,
    /// What to do about it; none where nothing is to be done.
    pub next: Option<String>,
}

/// How something is, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Fine,
    /// Worth a look; everything works without.
    Warning,
    /// The configuration is at fault.
    Configuration,
    /// This machine is, or somebody whom it talks to.
    Environment,
}

impl State {
    /// Whether something does not work.
    #[must_use]
    pub fn is_wrong(self) -> bool {
        matches!(self, Self::Configuration | Self::Environment)
    }
}

impl Finding {
    pub(super) fn fine(check: impl Into<String>, message: impl Into<String>) -> Self {
        Self { check: check.into(), state: State::Fine, message: shown(message), next: None }
    }

    pub(super) fn warning(check: impl Into<String>, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check: check.into(), state: State::Warning, message: shown(message), next: Some(shown(next)) }
    }

    pub(super) fn environment(check: impl Into<String>, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { state: State::Environment, ..Self::warning(check, message, next) }
    }

    /// Another room's error, with its own next step; `otherwise` where it knows none.
    pub(super) fn error(check: impl Into<String>, error: &dyn Diagnostic, otherwise: &str) -> Self {
        let code = error.code().map(|code| code.to_string());
        let next = error.help().map_or_else(|| otherwise.to_owned(), |help| help.to_string());
        let found = Self::environment(check, chain(error), next);
        match code.as_deref() {
            Some("config" | "usage") => Self { state: State::Configuration, ..found },
            _ => found,
        }
    }

    /// The same as something that is only worth a look.
    pub(super) fn downgraded(self) -> Self {
        Self { state: State::Warning, ..self }
    }
}

/// The last gate for secrets: an address with a password may stand in anybody's message.
fn shown(text: impl Into<String>) -> String {
    git::without_secrets(&text.into())
}

/// An error with its causes.
fn chain(error: &dyn Diagnostic) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.extend([": ", &next]);
        }
        cause = error.source();
    }
    text
}

/// A path as a word for the shell, so that a next step can be copied.
pub(super) fn word(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:@+".contains(c));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errors_code_says_whose_fault_it_is_and_its_help_what_to_do() {
        let config = crate::config::parse("c.yaml", "hooks: 1\n").unwrap_err();
        let found = Finding::error("configuration", &config, "-");
        assert_eq!(found.state, State::Configuration);
        assert!(found.next.unwrap().contains("config check"));
        let source = std::io::Error::other("the disk is gone");
        let file = git::Error::File { path: "x".to_owned(), source };
        let found = Finding::error("x", &file, "look at the disk");
        assert_eq!((found.state, found.next.as_deref()), (State::Environment, Some("look at the disk")));
        assert_eq!(found.message, "cannot use x: the disk is gone");
    }

    #[test]
    fn no_finding_carries_a_password() {
        let found =
            Finding::warning("x", "https://me:s3cret@git.example.com/a.git is silent", "ask https://me:s3cret@h/");
        assert!(!format!("{found:?}").contains("s3cret"), "{found:?}");
    }
}
