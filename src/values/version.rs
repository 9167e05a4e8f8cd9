use super::Invalid;
use std::{fmt, str::FromStr, sync::LazyLock};

/// A version of this program: `MAJOR.MINOR.PATCH`, of which the end may be left out, ordered as semver.org says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(semver::Version);

/// This program's, with the commit and its day where the build was told them (`make release`).
static LONG: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    option_env!("GITOPS_HOOKS_COMMIT")
        .filter(|commit| !commit.is_empty())
        .map_or_else(|| version.to_owned(), |commit| format!("{version} ({commit})"))
});

impl Version {
    /// This program's.
    #[must_use]
    pub fn of_this_program() -> Self {
        let number = |text: &str| text.parse().unwrap_or_default();
        Self(semver::Version::new(
            number(env!("CARGO_PKG_VERSION_MAJOR")),
            number(env!("CARGO_PKG_VERSION_MINOR")),
            number(env!("CARGO_PKG_VERSION_PATCH")),
        ))
    }

    /// This program's for people: with the commit and its day where they are known.
    #[must_use]
    pub fn long() -> &'static str {
        &LONG
    }
}

impl FromStr for Version {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let padded = match text.matches('.').count() {
            0 => format!("{text}.0.0"),
            1 => format!("{text}.0"),
            _ => text.to_owned(),
        };
        padded.parse().map(Self).map_err(|_| Invalid::new("a version such as 0.2 or 0.2.1", text))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("0.10") > version("0.9.9"));
        assert!(version("1") > version("1.0.0-rc.1"));
        assert_eq!(version("0.2"), version("0.2.0"));
        assert!(
            "v1".parse::<Version>().is_err() && "1.2.3.4".parse::<Version>().is_err() && "".parse::<Version>().is_err()
        );
    }

    #[test]
    fn this_programs_begins_with_what_the_package_says() {
        assert_eq!(Version::of_this_program().to_string(), env!("CARGO_PKG_VERSION"));
        assert!(Version::long().starts_with(env!("CARGO_PKG_VERSION")));
    }
}
