//! The proof that a splice did what it was to do and nothing else: both texts are parsed and walked side by side. What
//! differs without being intended, or was intended and is not there, is told by its place.

use super::splice::{Edit, Intent};
use crate::yaml::{Document, Entry, Node, Style, Value};
use std::collections::HashMap;

/// Compares two parsed texts.
///
/// # Errors
/// The byte of the first text where the second is not what was intended.
pub(super) fn prove(before: &[Document<'_>], after: &[Document<'_>], edits: &[Edit]) -> Result<(), usize> {
    let mut proof = Proof { set: HashMap::new(), insert: HashMap::new() };
    for edit in edits {
        match &edit.intent {
            Intent::Set { node, value, style } => proof.set.insert(*node, (value, *style)).map(|_| ()),
            Intent::Insert { before, key, value } => proof.insert.insert(*before, (key, value)).map(|_| ()),
        };
    }
    if before.len() != after.len() {
        return Err(before.last().map_or(0, |document| document.end));
    }
    for (before, after) in before.iter().zip(after) {
        match (&before.root, &after.root) {
            (Some(old), Some(new)) => proof.node(old, new)?,
            (None, None) => {}
            _ => return Err(before.end),
        }
        let same = before.comments.len() == after.comments.len()
            && before.comments.iter().zip(&after.comments).all(|(old, new)| old.text == new.text);
        if !same {
            return Err(before.comments.first().map_or(before.end, |comment| comment.place.start));
        }
    }
    // What is left was meant to happen and did not.
    match proof.set.keys().chain(proof.insert.keys()).min() {
        Some(missed) => Err(*missed),
        None => Ok(()),
    }
}

struct Proof<'e> {
    set: HashMap<usize, (&'e String, Style)>,
    insert: HashMap<usize, (&'e String, &'e String)>,
}

impl Proof<'_> {
    fn node(&mut self, old: &Node<'_>, new: &Node<'_>) -> Result<(), usize> {
        let here = Err(old.place.start);
        if old.anchor != new.anchor || old.tag != new.tag {
            return here;
        }
        match (&old.value, &new.value) {
            (Value::Scalar(old_text, old_style), Value::Scalar(text, style)) => {
                // An empty scalar has no bytes of its own, and may start where another node does.
                let wanted = if old.place.is_empty() { None } else { self.set.remove(&old.place.start) };
                let expected = wanted.map_or((&**old_text, *old_style), |(text, style)| (text.as_str(), style));
                if expected == (&**text, *style) { Ok(()) } else { here }
            }
            (Value::Alias(old_id), Value::Alias(id)) if old_id == id => Ok(()),
            (Value::Sequence(old_items), Value::Sequence(items)) if old_items.len() == items.len() => {
                old_items.iter().zip(items).try_for_each(|(old, new)| self.node(old, new))
            }
            (Value::Mapping(old_entries), Value::Mapping(entries)) => {
                let mut entries = entries.iter();
                for old in old_entries {
                    if let Some((key, value)) = self.insert.remove(&old.key.place.start) {
                        let inserted = entries.next().is_some_and(|entry| is_entry(entry, key, value));
                        if !inserted {
                            return Err(old.key.place.start);
                        }
                    }
                    let Some(new) = entries.next() else { return here };
                    self.node(&old.key, &new.key)?;
                    self.node(&old.value, &new.value)?;
                }
                if entries.next().is_none() { Ok(()) } else { here }
            }
            _ => here,
        }
    }
}

fn is_entry(entry: &Entry<'_>, key: &str, value: &str) -> bool {
    let bare = |node: &Node<'_>| node.anchor.is_none() && node.tag.is_none();
    entry.key.as_str() == Some(key) && entry.value.as_str() == Some(value) && bare(&entry.key) && bare(&entry.value)
}
