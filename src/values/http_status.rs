use super::Invalid;
use std::{fmt, str::FromStr};

/// The status code of an HTTP answer (RFC 9110, section 15): 100 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpStatus(u16);

impl HttpStatus {
    /// 200.
    pub const OK: Self = Self(200);

    /// The number.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0
    }
}

impl FromStr for HttpStatus {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let code = text.parse().ok().filter(|code| (100..=599).contains(code));
        code.map(Self).ok_or_else(|| Invalid::new("an HTTP status from 100 to 599", text))
    }
}

impl fmt::Display for HttpStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
