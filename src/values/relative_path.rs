use super::{Invalid, serde_as_text};
use std::{fmt, path::Path, str::FromStr};

/// A path below some root, with `/` between its parts: never absolute, never `..`, never inside `.git`. `.` is the root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelativePath(Box<str>);

impl RelativePath {
    /// The root itself.
    #[must_use]
    pub fn root() -> Self {
        Self("".into())
    }

    /// The path without leading or trailing slash; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path as the file system takes it, below `root`.
    #[must_use]
    pub fn below(&self, root: &Path) -> std::path::PathBuf {
        if self.0.is_empty() { root.to_owned() } else { root.join(&*self.0) }
    }

    /// This path and one more part.
    #[must_use]
    pub fn join(&self, part: &str) -> String {
        if self.0.is_empty() { part.to_owned() } else { format!("{}/{part}", self.0) }
    }

    /// Whether `path` is this path or lies below it.
    #[must_use]
    pub fn contains(&self, path: &str) -> bool {
        self.0.is_empty() || path.strip_prefix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for RelativePath {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("a path inside the repository", text);
        if text.starts_with('/') || text.contains(['\0', '\n']) {
            return Err(invalid());
        }
        let mut parts = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => return Err(invalid()),
                part if part.eq_ignore_ascii_case(".git") => return Err(invalid()),
                part => parts.push(part),
            }
        }
        Ok(Self(parts.join("/").into()))
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "." } else { &self.0 })
    }
}

serde_as_text!(RelativePath);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_never_leaves_its_root() {
        for text in ["/etc", "../x", "a/../../b", ".git/config", "a/.GIT/x"] {
            assert!(text.parse::<RelativePath>().is_err(), "{text}");
        }
        assert_eq!("./a//b/".parse::<RelativePath>().unwrap().as_str(), "a/b");
        assert_eq!(".".parse::<RelativePath>().unwrap(), RelativePath::root());
    }

    #[test]
    fn containing_is_by_whole_parts() {
        let path: RelativePath = "staging".parse().unwrap();
        assert!(path.contains("staging/app.yaml") && path.contains("staging"));
        assert!(!path.contains("staging-2/app.yaml"));
        assert!(RelativePath::root().contains("anything"));
    }
}
