//! From located YAML to types, all mistakes at once. [`object!`] declares a type, its keys, its defaults and its
//! documentation in one place; the decoder and the JSON schema both come from that declaration and cannot disagree.

use crate::{
    values::{Globs, HttpStatus, RelativePath, shown},
    yaml::{Node, Place, Value},
};
use serde_json::{Value as Json, json};
use std::{
    collections::{BTreeMap, HashSet},
    fmt::Display,
    ops::Deref,
    str::FromStr,
};

/// One mistake: where, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The bytes it is about.
    pub place: Place,
    /// What is wrong and what to do, as one sentence.
    pub message: String,
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, place: &Place, message: impl Into<String>) {
        self.0.push(Problem { place: place.clone(), message: message.into() });
    }

    /// Whether something is wrong within a place.
    pub(super) fn within(&self, place: &Place) -> bool {
        self.0.iter().any(|problem| place.start <= problem.place.start && problem.place.end <= place.end)
    }
}

/// A type that the configuration may hold.
pub(super) trait Decode: Sized {
    /// The value of a node; a mistake is added to `problems` and gives `None`. What holds others leaves out those with
    /// mistakes, so that what is left can still be looked at as a whole.
    fn decode(node: &Node<'_>, problems: &mut Problems) -> Option<Self>;

    /// The value where the key is absent; `None` where it must be there.
    fn absent() -> Option<Self> {
        None
    }

    /// Its JSON schema (2020-12).
    fn schema() -> Json;
}

/// A value and the bytes it was written with, for mistakes that only a look at the whole configuration finds.
#[derive(Debug, Clone)]
pub struct Located<T> {
    value: T,
    /// The bytes it was written with.
    pub place: Place,
}

impl<T> Located<T> {
    /// A default that stands nowhere in the file.
    pub(super) fn unwritten(value: T) -> Self {
        Self { value, place: 0..0 }
    }

    /// Whether it stands in the file; a default does not.
    pub fn is_written(&self) -> bool {
        !self.place.is_empty()
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Decode> Decode for Located<T> {
    fn decode(node: &Node<'_>, problems: &mut Problems) -> Option<Self> {
        let value = T::decode(node, problems)?;
        Some(Self { value, place: node.place.clone() })
    }

    fn schema() -> Json {
        T::schema()
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node<'_>, problems: &mut Problems) -> Option<Self> {
        if node.is_null() { Some(None) } else { T::decode(node, problems).map(Some) }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn schema() -> Json {
        T::schema()
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node<'_>, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::Sequence(items) => Some(items.iter().filter_map(|item| T::decode(item, problems)).collect()),
            _ if node.is_null() => Some(Self::new()),
            // One word stands for a list of one.
            Value::Scalar(..) if T::schema()["type"] == "string" => T::decode(node, problems).map(|one| vec![one]),
            _ => wrong_type(node, "a list", problems),
        }
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn schema() -> Json {
        let items = T::schema();
        let kind = if items["type"] == "string" { json!(["array", "string"]) } else { json!("array") };
        json!({ "type": kind, "items": items })
    }
}

impl<K: FromStr<Err: Display> + Ord, V: Decode> Decode for BTreeMap<K, V> {
    fn decode(node: &Node<'_>, problems: &mut Problems) -> Option<Self> {
        let mut decoded = Self::new();
        for (name, key, value) in entries(node, problems)? {
            let parsed = name.parse::<K>().map_err(|error| problems.add(key, error.to_string())).ok();
            let value = V::decode(value, problems);
            if let (Some(key), Some(value)) = (parsed, value) {
                decoded.insert(key, value);
            }
        }
        Some(decoded)
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": V::schema() })
    }
}

impl Decode for String {
    fn decode(node: &Node<'_>, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::Scalar(text, _) if !node.is_null() => Some(text.clone().into_owned()),
            _ => wrong_type(node, "text", problems),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

/// A type that is a number between two others.
macro_rules! decode_as_number {
    ($($type:ty: $least:literal to $most:literal, $what:literal;)*) => {
        $(impl Decode for $type {
            fn decode(node: &Node<'_>, problems: &mut Problems) -> Option<Self> {
                let parsed = node.as_str().and_then(|text| text.parse().ok());
                parsed.or_else(|| wrong_type(node, concat!($what, " from ", $least, " to ", $most), problems))
            }

            fn schema() -> Json {
                json!({ "type": "integer", "minimum": $least, "maximum": $most })
            }
        })*
    };
}

decode_as_number!(
    u16: 0 to 65535, "a number";
    std::num::NonZeroU16: 1 to 65535, "a port";
    HttpStatus: 100 to 599, "an HTTP status";
);

impl Decode for bool {
    fn decode(node: &Node<'_>, problems: &mut Problems) -> Option<Self> {
        match node.as_str() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => wrong_type(node, "true or false", problems),
        }
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

impl Decode for Globs {
    fn decode(node: &Node<'_>, problems: &mut Problems) -> Option<Self> {
        let patterns: Vec<Located<String>> = Vec::decode(node, problems)?;
        let mut sound = true;
        for pattern in &patterns {
            if let Err(error) = Self::new(&[pattern.as_str()]) {
                problems.add(&pattern.place, error.to_string());
                sound = false;
            }
        }
        let written: Vec<&str> = patterns.iter().map(|pattern| pattern.as_str()).collect();
        if sound { Self::new(&written).ok() } else { None }
    }

    fn schema() -> Json {
        Vec::<String>::schema()
    }
}

/// A type that is one scalar with a form of its own.
macro_rules! decode_as_text {
    ($($type:ty),*) => {
        $(impl Decode for $type {
            fn decode(node: &Node<'_>, problems: &mut Problems) -> Option<Self> {
                let text = String::decode(node, problems)?;
                text.parse().map_err(|error| problems.add(&node.place, format!("{error}"))).ok()
            }

            fn schema() -> Json {
                json!({ "type": "string" })
            }
        })*
    };
}

decode_as_text!(
    RelativePath,
    crate::values::Command,
    crate::values::EnvironmentName,
    crate::values::ImageName,
    crate::values::Namespace,
    crate::values::OperationState,
    crate::values::Platform,
    crate::values::RemoteUrl,
    crate::values::Repository,
    crate::values::Span,
    crate::values::Version
);

/// Says what stands at a node that should be something else.
pub(super) fn wrong_type<T>(node: &Node<'_>, expected: &str, problems: &mut Problems) -> Option<T> {
    let found = match &node.value {
        _ if node.is_null() => "nothing".to_owned(),
        Value::Scalar(text, _) => format!("{:?}", shown(text)),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
        Value::Alias(_) => "an alias, which this file may not use".to_owned(),
    };
    problems.add(&node.place, format!("expected {expected}, found {found}"));
    None
}

/// The entries of a mapping whose keys are text and stand once each.
pub(super) fn entries<'n, 'a>(
    node: &'n Node<'a>,
    problems: &mut Problems,
) -> Option<Vec<(&'n str, &'n Place, &'n Node<'a>)>> {
    if node.is_null() {
        return Some(Vec::new());
    }
    let Value::Mapping(entries) = &node.value else { return wrong_type(node, "a mapping", problems) };
    let mut found: Vec<(&str, &Place, &Node<'_>)> = Vec::with_capacity(entries.len());
    let mut keys = HashSet::with_capacity(entries.len());
    for entry in entries {
        match entry.key.as_str() {
            Some(key) if !keys.insert(key) => {
                problems.add(&entry.key.place, format!("{:?} stands here twice; keep one of them", shown(key)));
            }
            Some(key) => found.push((key, &entry.key.place, &entry.value)),
            None => {
                wrong_type::<()>(&entry.key, "text as a key", problems);
            }
        }
    }
    Some(found)
}

/// Declares a mapping of the configuration: `key: Type` or `key: Type = default`, each with its documentation; `at place`
/// keeps where it stands.
macro_rules! object {
    (
        $(#[doc = $about:literal])*
        $name:ident, $what:literal $(at $place:ident)? {
            $( $(#[doc = $doc:literal])* $field:ident: $type:ty $(= $default:expr)?, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        pub struct $name {
            $( $(#[doc = $doc])* pub $field: $type, )*
            $(
                /// The bytes it was written with.
                pub $place: $crate::yaml::Place,
            )?
        }

        impl $crate::config::decode::Decode for $name {
            fn decode(
                node: &$crate::yaml::Node<'_>,
                problems: &mut $crate::config::decode::Problems,
            ) -> Option<Self> {
                use $crate::{config::decode::{Decode, entries}, values::closest};
                const KEYS: &[&str] = &[$(stringify!($field)),*];
                let entries = entries(node, problems)?;
                for (key, place, _) in &entries {
                    if !KEYS.contains(key) {
                        let meant = match closest(key, KEYS) {
                            Some(meant) => format!("did you mean {meant:?}?"),
                            None => format!("known here: {}", KEYS.join(", ")),
                        };
                        let key = $crate::values::shown(key);
                        problems.add(place, format!("unknown key {key:?} in {}; {meant}", $what));
                    }
                }
                $(
                    let absent = <$type as Decode>::absent();
                    $( let absent = absent.or_else(|| Some($default)); )?
                    let $field = match entries.iter().find(|(key, ..)| *key == stringify!($field)) {
                        Some((_, _, value)) => <$type as Decode>::decode(value, problems).or(absent),
                        None => {
                            if absent.is_none() {
                                problems.add(&node.place, format!("{} needs the key {:?}", $what, stringify!($field)));
                            }
                            absent
                        }
                    };
                )*
                Some(Self { $($field: $field?,)* $($place: node.place.clone(),)? })
            }

            #[allow(clippy::needless_update, unused_mut, reason = "objects differ in which keys they require")]
            fn schema() -> serde_json::Value {
                use $crate::config::decode::{Decode, described};
                let mut properties = serde_json::Map::new();
                let mut required: Vec<&str> = Vec::new();
                $(
                    properties.insert(
                        stringify!($field).to_owned(),
                        described(<$type as Decode>::schema(), concat!($($doc, "\n"),*)),
                    );
                    let absent = <$type as Decode>::absent().is_some();
                    $( let absent = absent || { let _: fn() -> $type = || $default; true }; )?
                    if !absent {
                        required.push(stringify!($field));
                    }
                )*
                let mut schema = serde_json::json!({
                    "type": "object",
                    "description": described(serde_json::json!({}), concat!($($about, "\n"),*))["description"],
                    "properties": properties,
                    "additionalProperties": false,
                });
                if !required.is_empty() {
                    schema["required"] = required.into();
                }
                schema
            }
        }
    };
}
pub(super) use object;

/// A schema with a description made of a documentation comment.
pub(super) fn described(mut schema: Json, doc: &str) -> Json {
    let lines: Vec<&str> = doc.lines().map(str::trim).collect();
    schema["description"] = lines.join(" ").trim().into();
    schema
}
