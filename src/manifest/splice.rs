//! Replaces bytes and leaves the rest alone: quotes, anchors, comments, line ends and everything between them.

use crate::yaml::{Node, Place, Style, Value};

/// One change to a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    /// The bytes that go.
    pub(super) place: Place,
    /// What comes instead.
    pub(super) with: String,
    /// What the change means, for the proof.
    pub(super) intent: Intent,
}

/// What a text is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Yaml,
    Json,
}

/// What a change is to do to the parsed text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Intent {
    /// The scalar that starts at this byte gets this value.
    Set {
        /// The scalar's first byte before the change.
        node: usize,
        /// Its value afterwards.
        value: String,
        /// How it is written afterwards.
        style: Style,
    },
    /// An entry appears before the one whose key starts at this byte.
    Insert {
        /// The key's first byte before the change.
        before: usize,
        /// The new key.
        key: String,
        /// The new value.
        value: String,
    },
}

/// The edit that gives a scalar another text, written the way the old one was; with quotes where it would be no text without
/// them, which in JSON is everywhere. `None` where it is no scalar, or one whose bytes do not hold its text in one piece.
pub(super) fn set(text: &str, format: Format, node: &Node<'_>, old: &str, new: &str) -> Option<Edit> {
    let Value::Scalar(value, style) = &node.value else { return None };
    let written = text.get(node.place.clone()).filter(|written| !written.is_empty())?;
    let style = match style {
        Style::Plain if format == Format::Json || !is_text_without_quotes(new) => Style::DoubleQuoted,
        style => *style,
    };
    let intent = Intent::Set { node: node.place.start, value: value.replacen(old, new, 1), style };
    let quote = match style {
        Style::SingleQuoted => "'",
        Style::DoubleQuoted => "\"",
        Style::Plain | Style::Block => "",
    };
    // Escapes may hide the text: the whole scalar is written anew, in the same quotes. A reference needs no escapes.
    if value == old && !quote.is_empty() {
        return Some(Edit { place: node.place.clone(), with: format!("{quote}{new}{quote}"), intent });
    }
    let mut hits = written.match_indices(old);
    let (Some((at, _)), None) = (hits.next(), hits.next()) else { return None };
    let start = node.place.start + at;
    Some(Edit { place: start..start + old.len(), with: new.to_owned(), intent })
}

/// Whether a word without quotes is text to every reader of YAML, and no number, truth or nothing (YAML 1.1 and 1.2).
fn is_text_without_quotes(word: &str) -> bool {
    const MEANT: &[&str] = &["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let text = word.starts_with(|c: char| c.is_ascii_alphabetic()) || word.contains(['/', '@']);
    text && !MEANT.contains(&word.to_ascii_lowercase().as_str())
}

/// The edit that puts an entry before an existing one of a mapping, in its style: on a line of its own with the same
/// indentation in a block, before a comma in a flow.
pub(super) fn insert(text: &str, mapping: &Node<'_>, before: &Node<'_>, key: &str, value: &str) -> Option<Edit> {
    let at = before.place.start;
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let intent = Intent::Insert { before: at, key: key.to_owned(), value: value.to_owned() };
    let flow = text.get(mapping.place.clone())?.starts_with('{');
    let quoted = text.get(before.place.clone())?.starts_with('"');
    let entry = if quoted { format!("\"{key}\": \"{value}\"") } else { format!("{key}: {value}") };
    let with = if flow {
        format!("{entry}, ")
    } else {
        let indentation = " ".repeat(text[line_start..at].trim_start_matches('\u{feff}').chars().count());
        let line_end = if text[at..].split_inclusive('\n').next()?.ends_with("\r\n") { "\r\n" } else { "\n" };
        format!("{entry}{line_end}{indentation}")
    };
    Some(Edit { place: at..at, with, intent })
}

/// The text with every edit made. `None` where two edits overlap.
pub(super) fn splice(text: &str, edits: &[Edit]) -> Option<String> {
    let mut sorted: Vec<&Edit> = edits.iter().collect();
    sorted.sort_by_key(|edit| (edit.place.start, edit.place.end));
    let mut result = String::with_capacity(text.len() + edits.iter().map(|edit| edit.with.len()).sum::<usize>());
    let mut done = 0;
    for edit in sorted {
        if edit.place.start < done {
            return None;
        }
        result.push_str(text.get(done..edit.place.start)?);
        result.push_str(&edit.with);
        done = edit.place.end;
    }
    result.push_str(text.get(done..)?);
    Some(result)
}
