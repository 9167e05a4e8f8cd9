//! Whether two values say the same, in few bytes: what is known of thousands of objects must fit a small pod and a few
//! `ConfigMap`s.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use std::{
    fmt::{self, Write as _},
    str::FromStr,
};

/// The bytes that are kept of a hash: collisions are mistakes, not attacks, and those take 2⁴⁸ objects.
const BYTES: usize = 12;

/// A value's fingerprint; the order of keys does not count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint([u8; BYTES]);

impl Fingerprint {
    /// The fingerprint of a value.
    #[must_use]
    pub fn of(value: &Json) -> Self {
        let mut hasher = Hasher::default();
        hasher.value(value);
        hasher.finish()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Fingerprint> for String {
    fn from(print: Fingerprint) -> Self {
        print.to_string()
    }
}

impl FromStr for Fingerprint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const NOT: &str = "not 24 hexadecimal digits";
        if text.len() != BYTES * 2 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NOT);
        }
        let mut bytes = [0; BYTES];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).map_err(|_| NOT)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Takes values in, piece by piece.
#[derive(Default)]
pub(super) struct Hasher(Sha256);

impl Hasher {
    pub(super) fn text(&mut self, text: &str) {
        self.0.update(text.len().to_be_bytes());
        self.0.update(text.as_bytes());
    }

    pub(super) fn value(&mut self, value: &Json) {
        match value {
            Json::Object(map) => {
                let mut keys: Vec<&String> = map.keys().collect();
                keys.sort_unstable();
                self.0.update(b"{");
                for key in keys {
                    self.text(key);
                    self.value(&map[key]);
                }
                self.0.update(b"}");
            }
            Json::Array(items) => {
                self.0.update(b"[");
                for item in items {
                    self.value(item);
                }
                self.0.update(b"]");
            }
            other => self.text(&other.to_string()),
        }
    }

    pub(super) fn finish(self) -> Fingerprint {
        let hash = self.0.finalize();
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(&hash[..BYTES]);
        Fingerprint(bytes)
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_keys_does_not_count() {
        let of = |value: Json| Fingerprint::of(&value);
        assert_eq!(of(json!({ "a": 1, "b": [1, 2] })), of(json!({ "b": [1, 2], "a": 1 })));
        assert_ne!(of(json!({ "a": [1, 2] })), of(json!({ "a": [2, 1] })));
        assert_ne!(of(json!({ "a": "1" })), of(json!({ "a": 1 })));
    }

    #[test]
    fn its_text_round_trips() {
        let print = Fingerprint::of(&json!({ "a": 1 }));
        assert_eq!(print.to_string().parse(), Ok(print));
        assert!("12".parse::<Fingerprint>().is_err());
        assert!("zz".repeat(12).parse::<Fingerprint>().is_err());
    }
}
