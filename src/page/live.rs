//! What has changed since a page was drawn: the pieces that are drawn otherwise now, each by its name.

use serde::Serialize;
use std::collections::HashMap;

/// A piece of a page that changes by itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fragment {
    pub id: String,
    /// The list that it is one of, where it stands in one.
    pub list: Option<&'static str>,
    pub html: String,
}

/// What a browser is told.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Patch {
    pub generation: u64,
    pub changed: Vec<Changed>,
    pub gone: Vec<String>,
}

/// A piece that is new or drawn otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Changed {
    pub id: String,
    pub html: String,
    pub list: Option<&'static str>,
    /// The piece of its list that stands behind it.
    pub before: Option<String>,
}

/// The pieces as they were drawn last.
#[derive(Debug, Default)]
pub(super) struct Drawn(HashMap<String, String>);

impl Drawn {
    /// Draws anew; `None` where nothing looks different.
    pub fn anew(&mut self, generation: u64, fragments: Vec<Fragment>) -> Option<Patch> {
        let mut patch = Patch { generation, ..Patch::default() };
        for (at, fragment) in fragments.iter().enumerate() {
            if self.0.get(&fragment.id) == Some(&fragment.html) {
                continue;
            }
            let next = fragments.get(at + 1).filter(|next| fragment.list.is_some() && next.list == fragment.list);
            patch.changed.push(Changed {
                id: fragment.id.clone(),
                html: fragment.html.clone(),
                list: fragment.list,
                before: next.map(|next| next.id.clone()),
            });
        }
        let now: HashMap<String, String> = fragments.into_iter().map(|fragment| (fragment.id, fragment.html)).collect();
        patch.gone = self.0.keys().filter(|id| !now.contains_key(*id)).cloned().collect();
        self.0 = now;
        // What stands in front of another must find it there.
        patch.changed.reverse();
        (!patch.changed.is_empty() || !patch.gone.is_empty()).then_some(patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(ids: &[(&str, &str)]) -> Vec<Fragment> {
        let row =
            |(id, html): &(&str, &str)| Fragment { id: (*id).to_owned(), list: Some("rows"), html: (*html).to_owned() };
        ids.iter().map(row).collect()
    }

    #[test]
    fn only_what_looks_different_is_told_and_finds_its_place() {
        let mut drawn = Drawn::default();
        assert!(drawn.anew(1, rows(&[("a", "1"), ("b", "1")])).is_some());
        assert_eq!(drawn.anew(2, rows(&[("a", "1"), ("b", "1")])), None);
        let patch = drawn.anew(3, rows(&[("y", "1"), ("x", "1"), ("a", "1"), ("b", "2")])).unwrap();
        let told: Vec<(&str, Option<&str>)> =
            patch.changed.iter().map(|one| (one.id.as_str(), one.before.as_deref())).collect();
        assert_eq!(told, [("b", None), ("x", Some("a")), ("y", Some("x"))]);
        let patch = drawn.anew(4, rows(&[("a", "1")])).unwrap();
        assert_eq!((patch.changed.len(), patch.gone.len()), (0, 3));
    }
}
