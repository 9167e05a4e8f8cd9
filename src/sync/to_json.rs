//! From located YAML to the JSON that the API server takes, read as `kubectl` reads it (`sigs.k8s.io/yaml`, YAML 1.1):
//! `0644` is octal, `on` is true, a date is text. Aliases and merge keys are expanded under a budget, so that a small
//! file cannot become a large object.

use crate::yaml::{Entry, Node, Place, Style, Value};
use serde_json::{Map, Number, Value as Json};
use std::collections::HashMap;

/// What the values of one file may take in memory after its aliases are expanded. The largest file that is read, written by
/// hand or rendered, takes about 70 MiB.
const MAX_MEMORY: usize = 96 << 20;
/// What a value takes beside its text.
const VALUE: usize = size_of::<Json>();
/// What an entry of a mapping takes beside its key's text and its value's; room is made for four at least.
const ENTRY: usize = size_of::<(usize, String, Json)>();
const ENTRIES: usize = 4;
/// How deep they may nest.
const MAX_DEPTH: usize = 100;

/// A place in a document that is no JSON, and why.
pub(super) type Mistake = (Place, String);

/// What is left of the memory that the values of one file may take.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn new() -> Self {
        Self(MAX_MEMORY)
    }

    /// Takes so many bytes; whether there were so many.
    fn charge(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }

    /// Whether the values of a JSON text fit, before any of them is made: at most one begins at each of these characters.
    pub(super) fn holds(&mut self, json: &str) -> bool {
        let (mut in_string, mut escaped) = (false, false);
        let mut cost = |byte: u8| {
            let is_end = byte == b'"' && !escaped;
            escaped = in_string && byte == b'\\' && !escaped;
            in_string ^= is_end;
            match byte {
                _ if in_string => 1,
                b'{' => VALUE + ENTRIES * ENTRY,
                b',' => ENTRY,
                b'[' => VALUE,
                _ => 0,
            }
        };
        json.bytes().all(|byte| self.charge(cost(byte)))
    }
}

/// The JSON of one document.
pub(super) struct Reader<'d, 'a, 'b> {
    anchors: HashMap<usize, &'d Node<'a>>,
    budget: &'b mut Budget,
}

impl<'d, 'a, 'b> Reader<'d, 'a, 'b> {
    pub(super) fn new(anchors: HashMap<usize, &'d Node<'a>>, budget: &'b mut Budget) -> Self {
        Self { anchors, budget }
    }

    /// The JSON of a node.
    pub(super) fn read(&mut self, node: &'d Node<'a>) -> Result<Json, Mistake> {
        self.value(node, 0)
    }

    fn value(&mut self, node: &'d Node<'a>, depth: usize) -> Result<Json, Mistake> {
        let at = |message: &str| (node.place.clone(), message.to_owned());
        if depth > MAX_DEPTH {
            return Err(at("values nest too deep here"));
        }
        let below = match &node.value {
            Value::Scalar(text, _) => text.len(),
            Value::Mapping(entries) => {
                let keys: usize = entries.iter().filter_map(|entry| entry.key.as_str()).map(str::len).sum();
                keys + entries.len().max(ENTRIES) * ENTRY
            }
            Value::Sequence(_) | Value::Alias(_) => 0,
        };
        if !self.budget.charge(VALUE + below) {
            return Err(at("the file is too large once aliases are expanded"));
        }
        match &node.value {
            Value::Scalar(text, style) => scalar(text, *style, node.tag.as_deref())
                .ok_or_else(|| (node.place.clone(), format!("{text:?} cannot be read as its tag says"))),
            Value::Sequence(items) => {
                items.iter().map(|item| self.value(item, depth + 1)).collect::<Result<_, _>>().map(Json::Array)
            }
            Value::Mapping(entries) => self.mapping(entries, depth).map(Json::Object),
            Value::Alias(anchor) => {
                let target = self.target(*anchor).ok_or_else(|| at("an alias of nothing"))?;
                self.value(target, depth + 1)
            }
        }
    }

    fn target(&self, anchor: usize) -> Option<&'d Node<'a>> {
        self.anchors.get(&anchor).copied()
    }

    fn mapping(&mut self, entries: &'d [Entry<'a>], depth: usize) -> Result<Map<String, Json>, Mistake> {
        let mut read = Map::new();
        let mut merged = Vec::new();
        for Entry { key, value } in entries {
            if is_merge(key) {
                merged.push(value);
                continue;
            }
            let Value::Scalar(name, _) = &key.value else {
                return Err((key.place.clone(), "a key must be text".to_owned()));
            };
            let value = self.value(value, depth + 1)?;
            if read.insert(name.clone().into_owned(), value).is_some() {
                return Err((key.place.clone(), format!("the key {name:?} stands here twice; keep one of them")));
            }
        }
        // What is written out wins over what is merged, and an earlier merge over a later one.
        for node in merged {
            for (name, value) in self.merge(node, depth)? {
                read.entry(name).or_insert(value);
            }
        }
        Ok(read)
    }

    fn merge(&mut self, node: &'d Node<'a>, depth: usize) -> Result<Map<String, Json>, Mistake> {
        let wrong = || (node.place.clone(), "`<<` merges mappings only".to_owned());
        match self.value(node, depth + 1)? {
            Json::Object(map) => Ok(map),
            Json::Array(items) => {
                let mut all = Map::new();
                for item in items {
                    let Json::Object(map) = item else { return Err(wrong()) };
                    for (name, value) in map {
                        all.entry(name).or_insert(value);
                    }
                }
                Ok(all)
            }
            _ => Err(wrong()),
        }
    }
}

fn is_merge(key: &Node<'_>) -> bool {
    matches!(&key.value, Value::Scalar(text, Style::Plain) if text == "<<")
}

fn scalar(text: &str, style: Style, tag: Option<&str>) -> Option<Json> {
    let string = || Some(Json::String(text.to_owned()));
    let plain = || plain(text);
    match tag.map(|tag| tag.trim_start_matches("tag:yaml.org,2002:").trim_start_matches('!')) {
        None if style == Style::Plain => Some(plain()),
        None | Some("str" | "") => string(),
        Some("int") => Some(plain()).filter(|value| value.is_i64() || value.is_u64()),
        Some("float") => Some(plain()).filter(Json::is_number),
        Some("bool") => Some(plain()).filter(Json::is_boolean),
        Some("null") => Some(Json::Null),
        Some(_) => None,
    }
}

/// What a word without quotes is.
fn plain(text: &str) -> Json {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Json::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Json::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Json::Bool(false),
        _ => {}
    }
    if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        let digits = text.replace('_', "");
        if let Some(number) = integer(&digits).or_else(|| float(&digits)) {
            return Json::Number(number);
        }
    }
    Json::String(text.to_owned())
}

fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // `from_str_radix` would take a second sign.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    if negative { i64::try_from(value).ok().map(|value| Number::from(-value)) } else { Some(Number::from(value)) }
}

/// Decimal floats only: infinities and NaN have no JSON and stay text, which the server then names.
fn float(text: &str) -> Option<Number> {
    let shaped = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'))
        && text.bytes().any(|b| b.is_ascii_digit());
    shaped.then(|| text.parse::<f64>().ok()).flatten().and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;
    use serde_json::json;

    fn read(text: &str) -> Result<Json, String> {
        let documents = yaml::parse(text).unwrap();
        let root = documents[0].root.as_ref().unwrap();
        Reader::new(documents[0].anchors(), &mut Budget::new()).read(root).map_err(|(_, message)| message)
    }

    #[test]
    fn words_are_what_kubectl_reads() {
        let text = "a: 0644\nb: on\nc: 'on'\nd: 2026-01-01\ne: 1_000\nf: 1.5\ng: -3\nh: 0x1F\ni: 10.0.0.1\nj: ~\nk: 1e3\nl: 100m\nm: |\n  x\nn: 08\n";
        assert_eq!(
            read(text).unwrap(),
            json!({ "a": 420, "b": true, "c": "on", "d": "2026-01-01", "e": 1000, "f": 1.5, "g": -3, "h": 31,
                "i": "10.0.0.1", "j": null, "k": 1000.0, "l": "100m", "m": "x\n", "n": 8.0 })
        );
    }

    #[test]
    fn anchors_and_merges_are_expanded() {
        let text = "base: &b { x: 1, y: 2 }\nit:\n  <<: *b\n  y: 3\nlist: [*b]\n";
        assert_eq!(
            read(text).unwrap(),
            json!({ "base": { "x": 1, "y": 2 }, "it": { "y": 3, "x": 1 }, "list": [{ "x": 1, "y": 2 }] })
        );
    }

    #[test]
    fn a_bomb_is_refused_by_its_budget() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            text.extend([format!("a{level}: &a{level} [{items}]\n")]);
        }
        assert!(read(&text).unwrap_err().contains("too large"));
    }

    #[test]
    fn text_counts_by_its_bytes_however_few_its_aliases_are() {
        let text = |aliases: usize| format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; aliases].join(", "));
        assert!(read(&text(90)).is_ok());
        assert!(read(&text(200)).unwrap_err().contains("too large"));
        let keys = format!("a: &a {{{}: 1}}\nb: [{}]\n", "x".repeat(1000), vec!["*a"; 100_000].join(", "));
        assert!(read(&keys).unwrap_err().contains("too large"));
    }

    #[test]
    fn json_is_measured_before_it_is_read() {
        let holds = |text: &str| Budget::new().holds(text);
        assert!(holds(&format!("[{}1]", "1,".repeat(100_000))));
        assert!(!holds(&format!("[{}1]", "1,".repeat(4 << 20))));
        assert!(!holds(&format!("[{}1]", "{},".repeat(1 << 20))));
        assert!(holds(&format!("[\"\\\"{}\"]", "{,[".repeat(1 << 20))), "text is only text");
    }

    #[test]
    fn a_doubled_key_is_refused() {
        assert!(read("a: 1\na: 2\n").unwrap_err().contains("twice"));
    }
}
