use globset::{GlobBuilder, GlobMatcher};
use std::path::Path;

/// A pattern that is no glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no pattern: {reason}")]
pub struct InvalidGlob {
    pattern: String,
    reason: String,
}

/// A list of patterns over paths with `/`, read in order as in `.gitignore`: the last that matches decides, and `!` takes
/// away. A pattern without a slash matches a file name at any depth; with one it is anchored at the root. `*` stays within
/// a folder, `**` does not. A folder's name matches all that lies below it.
#[derive(Debug, Clone)]
pub struct Globs {
    rules: Vec<Rule>,
    written: Vec<String>,
}

#[derive(Debug, Clone)]
struct Rule {
    takes: bool,
    itself: GlobMatcher,
    below: GlobMatcher,
}

impl Globs {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// The first pattern that is no glob.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, InvalidGlob> {
        let rules = patterns.iter().map(|pattern| Rule::new(pattern.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { rules, written: patterns.iter().map(|pattern| pattern.as_ref().to_owned()).collect() })
    }

    /// Whether the patterns choose this path. With only `!` patterns, all paths that none of them takes away.
    #[must_use]
    pub fn matches(&self, path: &Path) -> bool {
        let otherwise = self.rules.first().is_none_or(|first| !first.takes);
        self.rules.iter().rev().find(|rule| rule.matches(path)).map_or(otherwise, |rule| rule.takes)
    }

    /// The patterns as they were written.
    #[must_use]
    pub fn written(&self) -> &[String] {
        &self.written
    }
}

impl PartialEq for Globs {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for Globs {}

impl Rule {
    fn new(written: &str) -> Result<Self, InvalidGlob> {
        let (takes, pattern) = written.strip_prefix('!').map_or((true, written), |rest| (false, rest));
        let pattern = pattern.trim_end_matches('/');
        let anchored = match pattern.strip_prefix('/') {
            Some(rest) => rest.to_owned(),
            None if pattern.contains('/') => pattern.to_owned(),
            None => format!("**/{pattern}"),
        };
        let compile = |glob: &str| {
            GlobBuilder::new(glob)
                .literal_separator(true)
                .build()
                .map(|glob| glob.compile_matcher())
                .map_err(|error| InvalidGlob { pattern: written.to_owned(), reason: error.kind().to_string() })
        };
        Ok(Self { takes, itself: compile(&anchored)?, below: compile(&format!("{anchored}/**"))? })
    }

    fn matches(&self, path: &Path) -> bool {
        self.itself.is_match(path) || self.below.is_match(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(patterns: &[&str], path: &str) -> bool {
        Globs::new(patterns).unwrap().matches(Path::new(path))
    }

    #[test]
    fn the_last_matching_pattern_decides() {
        assert!(chosen(&["*.py", "!migrations/**"], "app/main.py"));
        assert!(!chosen(&["*.py", "!migrations/**"], "migrations/0001.py"));
        assert!(chosen(&["*.py", "!migrations/**", "migrations/keep.py"], "migrations/keep.py"));
    }

    #[test]
    fn a_slash_anchors_and_a_bare_name_does_not() {
        assert!(chosen(&["requirements.txt"], "sub/requirements.txt"));
        assert!(!chosen(&["/requirements.txt"], "sub/requirements.txt"));
        assert!(!chosen(&["src/*.rs"], "src/deep/a.rs"));
        assert!(chosen(&["src/**/*.rs"], "src/a.rs"));
        assert!(chosen(&["src/"], "src/deep/a.rs"));
    }

    #[test]
    fn only_exclusions_choose_the_rest() {
        assert!(chosen(&["!*.md"], "a.py") && !chosen(&["!*.md"], "docs/a.md"));
        assert!(chosen(&[], "anything"));
    }
}
