use super::{Error, Git};
use std::path::Path;

/// The version of the `git` program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// As it says it: `2.39.5 (Apple Git-154)`.
    pub shown: String,
    /// The first two numbers, which compare.
    pub number: (u32, u32),
}

impl Version {
    /// The oldest that does all that is asked of it here.
    pub const OLDEST: (u32, u32) = (2, 30);

    /// Asks the `git` on the `PATH`.
    ///
    /// # Errors
    /// [`Error::Start`], and [`Error::Failed`] where it answers something else than a version.
    pub fn of_git() -> Result<Self, Error> {
        let line = Git::at(Path::new(".")).arg("version").run()?.line();
        let strange = || Error::Failed { command: "version".to_owned(), message: format!("it says {line:?}") };
        Self::parse(&line).ok_or_else(strange)
    }

    /// `git version 2.47.1.windows.1`: builds of their own add words and numbers.
    fn parse(line: &str) -> Option<Self> {
        let shown = line.strip_prefix("git version ")?.trim();
        let mut numbers = shown.split(|c: char| !c.is_ascii_digit());
        let number = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        Some(Self { shown: shown.to_owned(), number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_builds_add_to_the_version_is_kept_and_not_compared() {
        for (line, number) in [
            ("git version 2.30.2", (2, 30)),
            ("git version 2.39.5 (Apple Git-154)", (2, 39)),
            ("git version 2.47.1.windows.1", (2, 47)),
            ("git version 3.0-rc1", (3, 0)),
        ] {
            let version = Version::parse(line).unwrap();
            assert_eq!((version.number, format!("git version {}", version.shown).as_str()), (number, line));
        }
        assert_eq!(Version::parse("hub version 1"), None);
    }
}
