//! Files of other tools, read within bounds and without their meaning: YAML, TOML and JSON become one kind of value.

use super::Error;
use serde_json::{Map, Value};
use std::{io::Read, path::Path};

/// Larger than any configuration that people write.
const MAX_BYTES: u64 = 1 << 20;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Yaml,
    Toml,
    Json,
}

impl Format {
    /// The format that a file's name says; YAML, of which JSON is a part, where it says nothing.
    pub(super) fn of(path: &str) -> Self {
        match Path::new(path).extension().and_then(std::ffi::OsStr::to_str) {
            Some("toml") => Self::Toml,
            Some("json") => Self::Json,
            _ => Self::Yaml,
        }
    }
}

/// The text of a file below a folder; `None` where there is none.
pub(super) fn text(root: &Path, path: &str) -> Result<Option<String>, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let unreadable = |why: &str| Error::Unreadable { path: path.to_owned(), why: why.to_owned() };
    let file = match std::fs::File::open(root.join(path)) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => return Err(failed(source)),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(unreadable("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(unreadable("it is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| unreadable("it is no UTF-8"))
}

/// The value of a file below a folder; `None` where there is none.
pub(super) fn value(root: &Path, path: &str) -> Result<Option<Value>, Error> {
    text(root, path)?.map(|text| parse(path, &text)).transpose()
}

/// The value that a text holds.
pub(super) fn parse(path: &str, text: &str) -> Result<Value, Error> {
    let unreadable = |why: String| Error::Unreadable { path: path.to_owned(), why };
    match Format::of(path) {
        Format::Yaml => serde_yaml::from_str(text).map_err(|error| unreadable(error.to_string())),
        Format::Toml => toml::from_str(text).map_err(|error| unreadable(error.to_string())),
        Format::Json => serde_json::from_str(text).map_err(|error| unreadable(error.to_string())),
    }
}

/// A mapping's entries in order; none for anything else.
pub(super) fn entries(value: Option<&Value>) -> impl Iterator<Item = (&str, &Value)> {
    value.and_then(Value::as_object).into_iter().flat_map(Map::iter).map(|(key, value)| (key.as_str(), value))
}

/// A list's items, or the one that stands where a list may; nothing for null.
pub(super) fn items(value: Option<&Value>) -> &[Value] {
    match value {
        None | Some(Value::Null) => &[],
        Some(Value::Array(items)) => items,
        Some(one) => std::slice::from_ref(one),
    }
}

/// A scalar as it would be written.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A key's scalar; empty where there is none.
pub(super) fn word(value: &Value, key: &str) -> String {
    value.get(key).and_then(scalar).unwrap_or_default()
}

/// A key's scalars, one or a list.
pub(super) fn words(value: &Value, key: &str) -> Vec<String> {
    items(value.get(key)).iter().filter_map(scalar).collect()
}

/// Whether a key says yes, in any of the ways of YAML 1.1.
pub(super) fn flag(value: &Value, key: &str) -> Option<bool> {
    match value.get(key)? {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_and_a_giant_are_refused() {
        let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (name, before) in
            ["b", "c", "d", "e", "f", "g", "h", "i"].iter().zip(["a", "b", "c", "d", "e", "f", "g", "h"])
        {
            let aliases = vec![format!("*{before}"); 10].join(",");
            bomb = format!("{bomb}{name}: &{name} [{aliases}]\n");
        }
        assert!(parse("x.yaml", &bomb).is_err());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.yaml"), vec![b' '; 2 << 20]).unwrap();
        assert!(matches!(text(folder.path(), "x.yaml"), Err(Error::Unreadable { .. })));
        assert!(parse("x.json", &"[".repeat(100_000)).is_err());
        assert!(parse("x.yaml", &"[".repeat(100_000)).is_err());
    }

    #[test]
    fn anchors_and_merges_are_followed() {
        let value = parse("x.yaml", "a: &a {run: x}\nb:\n  <<: *a\n  fix: yes\n").unwrap();
        assert_eq!((word(&value["b"], "run").as_str(), flag(&value["b"], "fix")), ("x", Some(true)));
    }
}
