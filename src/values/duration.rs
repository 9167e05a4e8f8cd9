use super::{Invalid, serde_as_text};
use std::{fmt, str::FromStr, time::Duration};

/// A span of time as people write it: `90s`, `10m`, `1h 30m`. Longer than nothing, at most a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    /// A span of whole seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The span for the standard library.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("a time such as 30s, 10m or 1h 30m, at most 24h", text);
        let parsed: jiff::SignedDuration = text.parse().map_err(|_| invalid())?;
        let duration = parsed.try_into().map_err(|_| invalid())?;
        if duration > Duration::from_secs(24 * 3600) || duration < Duration::from_millis(1) {
            return Err(invalid());
        }
        Ok(Self(duration))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::SignedDuration::try_from(self.0) {
            Ok(duration) => write!(f, "{duration:#}"),
            Err(_) => write!(f, "{:?}", self.0),
        }
    }
}

serde_as_text!(Span);
