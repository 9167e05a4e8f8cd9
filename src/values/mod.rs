//! The words of the design as types: ids, names, references, addresses. Each is parsed once, where it enters the
//! program, and never checked again. This room knows no other room; every other room may use it.

mod digest;
mod duration;
mod globs;
mod hook_name;
mod name;
mod oid;
mod operation;
mod reference;
mod relative_path;
mod remote_url;

pub use digest::Digest;
pub use duration::Span;
pub use globs::{Globs, InvalidGlob};
pub use hook_name::HookName;
pub use name::{EnvironmentName, ImageName, InvalidName};
pub use oid::Oid;
pub use operation::OperationState;
pub use reference::{ImageRef, Repository, Tag};
pub use relative_path::RelativePath;
pub use remote_url::RemoteUrl;

use std::fmt;

/// A value that does not have the form its type asks for. Shown as `EXPECTED, found "VALUE"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// What would have been right, as a phrase: `a commit id of 40 or 64 hexadecimal digits`.
    pub expected: &'static str,
    /// What stood there, cut to a length that fits a line.
    pub found: String,
}

impl Invalid {
    pub(crate) fn new(expected: &'static str, found: &str) -> Self {
        const SHOWN: usize = 80;
        let mut shown: String = found.chars().take(SHOWN).collect();
        if shown.len() < found.len() {
            shown.push('…');
        }
        Self { expected, found: shown }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {:?}", self.expected, self.found)
    }
}

impl std::error::Error for Invalid {}

/// Serde through `Display` and `FromStr`, so that files and JSON hold the same text that people read.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;
