use super::serde_as_text;
use std::{fmt, str::FromStr};

/// A name in the configuration that is not one: it becomes a part of file names, labels and trailers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name: use up to 63 lower-case letters, digits and dashes, starting and ending with a letter or digit"
)]
pub struct InvalidName(String);

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Box<str>);

        impl $type {
            /// The name's text: a DNS label (RFC 1123).
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if is_label(text) { Ok(Self(text.into())) } else { Err(InvalidName(super::shown(text))) }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        serde_as_text!($type);
    };
}

name!(
    /// The name of a place that runs images, a key under `environments`.
    EnvironmentName
);
name!(
    /// The name of a container image, a key under `images`.
    ImageName
);
name!(
    /// A namespace of a cluster.
    Namespace
);

impl Namespace {
    /// The one that every cluster has.
    #[must_use]
    pub fn usual() -> Self {
        Self("default".into())
    }
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}
