//! The rules for names and labels that the API server has for every kind, checked here before anything is sent. A `sed`
//! that meant an image and hit a name is so caught as a whole, while the server would take the half that is still valid.
//! The rules are those of `k8s.io/apimachinery/pkg/util/validation`.

use super::object::Manifest;
use serde_json::{Map, Value as Json};

/// Kinds whose names are path segments: nearly anything, such as `system:node`.
const LOOSE_NAMES: &[&str] = &["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"];
/// Kinds whose names become part of a DNS name by themselves.
const LABEL_NAMES: &[&str] = &["Service", "Namespace"];

/// What no API server would take.
#[derive(Debug)]
pub(super) struct Mistake<'m> {
    /// The keys that lead to it, from the object's root.
    pub(super) path: Vec<&'m str>,
    /// The field, and what is wrong there.
    pub(super) message: String,
}

impl<'m> Mistake<'m> {
    fn new(path: &[&'m str], reason: &str) -> Self {
        Self { path: path.to_vec(), message: format!("{}: {reason}", path.join(".")) }
    }

    /// At a key of the mapping that `path` leads to, which may hold anything.
    fn of_key(path: &[&'m str], key: &'m str, reason: &str) -> Self {
        let message = format!("{}[{key:?}]: {reason}", path.join("."));
        Self { path: path.iter().copied().chain([key]).collect(), message }
    }
}

/// Every field of an object that no API server would take.
pub(super) fn check(manifest: &Manifest) -> Vec<Mistake<'_>> {
    let mut found = Vec::new();
    let name = &manifest.id.name;
    let named = match manifest.id.kind.as_str() {
        kind if LOOSE_NAMES.contains(&kind) => path_segment(name),
        kind if LABEL_NAMES.contains(&kind) => label(name),
        _ => subdomain(name),
    };
    if let Err(reason) = named {
        found.push(Mistake::new(&["metadata", "name"], &reason));
    }
    if let Some(Err(reason)) = manifest.id.namespace.as_deref().map(label) {
        found.push(Mistake::new(&["metadata", "namespace"], &reason));
    }
    labels(&manifest.value, &["metadata", "labels"], &mut found);
    let path = ["metadata", "annotations"];
    for (key, value) in map(&manifest.value, &path, &mut found).into_iter().flatten() {
        // Keys are compared in lower case there, unlike those of labels.
        if let Err(reason) = qualified_name(&key.to_lowercase()) {
            found.push(Mistake::of_key(&path, key, &reason));
        }
        if !value.is_string() && !value.is_null() {
            found.push(Mistake::of_key(&path, key, &format!("expected text, found {value}; put it into quotes")));
        }
    }
    for (kind, path) in SELECTORS {
        if *kind == manifest.id.kind {
            labels(&manifest.value, path, &mut found);
        }
    }
    found
}

/// Where the built-in kinds have labels besides their metadata.
const SELECTORS: &[(&str, &[&str])] = &[
    ("Service", &["spec", "selector"]),
    ("Deployment", &["spec", "selector", "matchLabels"]),
    ("Deployment", &["spec", "template", "metadata", "labels"]),
    ("StatefulSet", &["spec", "selector", "matchLabels"]),
    ("StatefulSet", &["spec", "template", "metadata", "labels"]),
    ("DaemonSet", &["spec", "selector", "matchLabels"]),
    ("DaemonSet", &["spec", "template", "metadata", "labels"]),
    ("ReplicaSet", &["spec", "selector", "matchLabels"]),
    ("ReplicaSet", &["spec", "template", "metadata", "labels"]),
    ("Job", &["spec", "template", "metadata", "labels"]),
    ("CronJob", &["spec", "jobTemplate", "spec", "template", "metadata", "labels"]),
    ("NetworkPolicy", &["spec", "podSelector", "matchLabels"]),
    ("PodDisruptionBudget", &["spec", "selector", "matchLabels"]),
];

fn labels<'m>(value: &'m Json, path: &[&'m str], found: &mut Vec<Mistake<'m>>) {
    for (key, value) in map(value, path, found).into_iter().flatten() {
        if let Err(reason) = qualified_name(key) {
            found.push(Mistake::of_key(path, key, &reason));
        }
        let wrong = match value {
            Json::String(text) => label_value(text),
            Json::Null => Ok(()),
            other => Err(format!("expected text, found {other}; put it into quotes")),
        };
        if let Err(reason) = wrong {
            let path: Vec<&str> = path.iter().copied().chain([key.as_str()]).collect();
            found.push(Mistake::new(&path, &reason));
        }
    }
}

/// The mapping at a path, where there is one; anything else there is a mistake.
fn map<'m>(value: &'m Json, path: &[&'m str], found: &mut Vec<Mistake<'m>>) -> Option<&'m Map<String, Json>> {
    let value = path.iter().try_fold(value, |value, key| value.get(*key))?;
    match value {
        Json::Object(map) => Some(map),
        Json::Null => None,
        other => {
            found.push(Mistake::new(path, &format!("expected a mapping, found {other}")));
            None
        }
    }
}

/// A DNS label: RFC 1123.
pub(super) fn label(text: &str) -> Result<(), String> {
    if is_label(text) {
        Ok(())
    } else {
        Err(format!(
            "{text:?} is no DNS label: up to 63 lower-case letters, digits and dashes, starting and ending with a letter or digit"
        ))
    }
}

/// A DNS subdomain: labels with dots between them, 253 characters at most.
pub(super) fn subdomain(text: &str) -> Result<(), String> {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(is_part) {
        Ok(())
    } else {
        Err(format!(
            "{text:?} is no DNS name: up to 253 lower-case letters, digits, dashes and dots, starting and ending with a letter or digit"
        ))
    }
}

fn path_segment(text: &str) -> Result<(), String> {
    if text.is_empty() || text == "." || text == ".." || text.contains(['/', '%']) {
        Err(format!("{text:?} is no name: it must not be empty, `.` or `..`, or contain `/` or `%`"))
    } else {
        Ok(())
    }
}

/// `[prefix/]name`: a label's or annotation's key.
fn qualified_name(text: &str) -> Result<(), String> {
    let (prefix, name) = text.rsplit_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    if let Some(prefix) = prefix {
        subdomain(prefix)?;
    }
    if name.is_empty() || !is_label_text(name) {
        return Err(format!(
            "{name:?} is no key: 1 to 63 letters, digits, `-`, `_` and `.`, starting and ending with a letter or digit"
        ));
    }
    Ok(())
}

fn label_value(text: &str) -> Result<(), String> {
    if text.is_empty() || is_label_text(text) {
        Ok(())
    } else {
        Err(format!(
            "{text:?} is no label value: up to 63 letters, digits, `-`, `_` and `.`, starting and ending with a letter or digit"
        ))
    }
}

fn is_label(text: &str) -> bool {
    text.len() <= 63 && !text.contains('.') && subdomain(text).is_ok()
}

fn is_label_text(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && ends(text.chars().next())
        && ends(text.chars().last())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::object::{ObjectId, Origin};
    use serde_json::json;

    fn messages(value: Json) -> Vec<String> {
        let text = |pointer: &str| value.pointer(pointer).and_then(Json::as_str).map(str::to_owned);
        let id = ObjectId {
            group: String::new(),
            kind: text("/kind").unwrap(),
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name").unwrap(),
        };
        let origin = Origin { file: "a.yaml".into(), document: 1, line: 1 };
        let manifest = Manifest { id, api_version: "v1".into(), origin, value };
        check(&manifest).into_iter().map(|mistake| mistake.message).collect()
    }

    #[test]
    fn a_manifest_damaged_by_sed_is_named_field_by_field() {
        let found = messages(json!({
            "kind": "Deployment",
            "metadata": { "name": "flask-app:16", "labels": { "app": "flask-app:16" } },
            "spec": {
                "selector": { "matchLabels": { "app": "flask-app:16" } },
                "template": { "metadata": { "labels": { "app": "flask-app:16" } } },
            },
        }));
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(found[0].starts_with("metadata.name: \"flask-app:16\" is no DNS name"));
        assert!(found[1].starts_with("metadata.labels.app: \"flask-app:16\" is no label value"));
        assert!(found[2].starts_with("spec.selector.matchLabels.app:"));
        assert!(found[3].starts_with("spec.template.metadata.labels.app:"));
    }

    #[test]
    fn what_the_server_takes_is_taken() {
        let taken = [
            json!({ "kind": "ConfigMap", "metadata": { "name": "a.b-c.1", "labels": { "app.kubernetes.io/name": "" } } }),
            json!({ "kind": "Role", "metadata": { "name": "system:x" } }),
            json!({ "kind": "Service", "metadata": { "name": "web", "annotations": { "Example.com/Key": "any: thing" } },
                "spec": { "selector": { "app": "A_b.1" } } }),
        ];
        for value in taken {
            assert!(messages(value.clone()).is_empty(), "{value}: {:?}", messages(value.clone()));
        }
    }

    #[test]
    fn numbers_where_text_must_stand_are_named() {
        let found = messages(json!({ "kind": "Pod", "metadata": { "name": "a", "labels": { "version": 1.10 },
            "annotations": { "on": true } } }));
        assert_eq!(found.len(), 2);
        assert!(found[0].contains("put it into quotes"));
    }
}
