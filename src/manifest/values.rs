//! Where the values of a Helm chart hold images. Charts write them in three ways that leave no doubt: a whole reference
//! under `image`, a bare name there beside its tag, and a mapping with `repository`. Whatever else a chart does, a mark tells.

use super::locate::{Apart, Found, Object, Shared, Spot, Tool, Walk, said};
use crate::{
    values::Repository,
    yaml::{Entry, Node, Value},
};
use std::rc::Rc;

impl<'t, 'a> Walk<'t, 'a> {
    /// Visits values at any depth; `path` are the keys that led here.
    pub(super) fn values(&mut self, node: &'t Node<'a>, path: &mut Vec<&'t str>, shared: Shared) {
        let shared = self.shared(node, shared);
        match &node.value {
            Value::Sequence(items) => items.iter().for_each(|item| self.values(item, path, shared)),
            Value::Mapping(entries) => {
                self.repository(node, path, shared);
                for Entry { key, value } in entries {
                    path.push(key.as_str().unwrap_or_default());
                    if path.last() == Some(&"image") {
                        self.image_value(node, value, path, shared);
                    }
                    self.values(value, path, shared);
                    path.pop();
                }
            }
            // What an alias stands for is visited where it is written, and is shared there.
            Value::Scalar(..) | Value::Alias(_) => {}
        }
    }

    /// `{registry, repository, tag, digest}`, as `helm create` and most public charts have it; some call the digest `sha`.
    fn repository(&mut self, mapping: &'t Node<'a>, path: &[&str], mut shared: Shared) {
        let Some(name) = self.part(mapping, "repository", &mut shared) else { return };
        let [registry, tag, digest] = ["registry", "tag", "digest"].map(|key| self.part(mapping, key, &mut shared));
        let digest = digest.or_else(|| self.sha(mapping, &mut shared));
        self.apart(Apart { tool: Tool::Helm, mapping, registry, name, replaces: None, tag, digest }, path, shared);
    }

    /// `image: reference`, or `image: name` that the chart joins with a tag beside it.
    fn image_value(&mut self, mapping: &'t Node<'a>, value: &'t Node<'a>, path: &[&str], shared: Shared) {
        let (node, _) = self.resolve(value, shared);
        let Some(text) = node.as_str() else { return };
        // A template's text is no name; a name without a tag is never the whole reference.
        if text.trim().parse::<Repository>().is_err() {
            let object = Rc::new(Object { kind: "values".to_owned(), name: path.join(".") });
            return self.image(value, &object, shared);
        }
        let mut shared = shared;
        let Some(name) = self.part(mapping, "image", &mut shared) else { return };
        let mut either = |keys: [&str; 2]| keys.into_iter().find_map(|key| self.part(mapping, key, &mut shared));
        let (tag, digest) = (either(["imageTag", "tag"]), either(["imageDigest", "digest"]));
        let digest = digest.or_else(|| self.sha(mapping, &mut shared));
        let apart = Apart { tool: Tool::Helm, mapping, registry: None, name, replaces: None, tag, digest };
        self.apart(apart, path, shared);
    }

    /// Charts disagree on whether the algorithm belongs there, so that an empty one stays.
    fn sha(&self, mapping: &'t Node<'a>, shared: &mut Shared) -> Option<&'t Node<'a>> {
        let written = |key: &&str| said(mapping.get(key)).is_some();
        ["sha", "sha256"].into_iter().find(written).and_then(|key| self.part(mapping, key, shared))
    }

    fn apart(&mut self, apart: Apart<'t, 'a>, path: &[&str], shared: Shared) {
        let object = Rc::new(Object { kind: "values".to_owned(), name: path.join(".") });
        self.add(Found { spot: Spot::Apart(apart), object, shared });
    }
}
