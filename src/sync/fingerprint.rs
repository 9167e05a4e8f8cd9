//! Whether two values say the same, in few bytes. A manifest's fingerprint tells whether it changed; the fingerprint of
//! the server's object, seen only through the manifest's fields, tells whether anybody changed those. What the server
//! added by itself (defaults, status) is not looked at, and is no drift.

use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// The fingerprint of a value; the order of keys does not count.
#[must_use]
pub fn of(value: &Json) -> String {
    let mut hash = Sha256::new();
    feed(value, &mut hash);
    hex(&hash.finalize()[..12])
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The fingerprint of `live` in the fields that `manifest` has.
#[must_use]
pub fn through(manifest: &Json, live: &Json) -> String {
    of(&project(manifest, live))
}

fn feed(value: &Json, hash: &mut Sha256) {
    match value {
        Json::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            hash.update(b"{");
            for key in keys {
                hash.update(key.len().to_be_bytes());
                hash.update(key.as_bytes());
                feed(&map[key], hash);
            }
            hash.update(b"}");
        }
        Json::Array(items) => {
            hash.update(b"[");
            for item in items {
                feed(item, hash);
            }
            hash.update(b"]");
        }
        other => {
            let text = other.to_string();
            hash.update(text.len().to_be_bytes());
            hash.update(text.as_bytes());
        }
    }
}

/// What `live` has where `shape` has something.
fn project(shape: &Json, live: &Json) -> Json {
    match (shape, live) {
        (Json::Object(shape), Json::Object(live)) => {
            let seen = shape.iter().filter_map(|(key, shape)| Some((key.clone(), project(shape, live.get(key)?))));
            Json::Object(seen.collect::<Map<_, _>>())
        }
        (Json::Array(shapes), Json::Array(items)) => {
            let seen = shapes
                .iter()
                .enumerate()
                .map(|(index, shape)| counterpart(shape, index, items).map_or(Json::Null, |item| project(shape, item)));
            Json::Array(seen.collect())
        }
        (_, live) => live.clone(),
    }
}

/// The item that is the same one: by the keys that server-side apply merges lists by, else by its place. Others may have
/// put items of their own between ours.
fn counterpart<'l>(shape: &Json, index: usize, items: &'l [Json]) -> Option<&'l Json> {
    const KEYS: &[&str] = &["name", "containerPort", "port", "mountPath", "ip", "type", "topologyKey", "uid"];
    for key in KEYS {
        if let Some(value) = shape.get(*key).filter(|value| !value.is_object() && !value.is_array()) {
            let same = |item: &&Json| item.get(*key) == Some(value);
            let protocol = shape.get("protocol");
            let fits = |item: &&Json| same(item) && (protocol.is_none() || item.get("protocol") == protocol);
            return items.iter().find(fits).or_else(|| items.iter().find(same));
        }
    }
    if shape.is_object() || shape.is_array() {
        items.get(index)
    } else {
        // A set of words or a list of arguments: by place, and else anywhere.
        items
            .get(index)
            .filter(|item| *item == shape)
            .or_else(|| items.iter().find(|item| *item == shape))
            .or(items.get(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_keys_does_not_count() {
        assert_eq!(of(&json!({ "a": 1, "b": [1, 2] })), of(&json!({ "b": [1, 2], "a": 1 })));
        assert_ne!(of(&json!({ "a": [1, 2] })), of(&json!({ "a": [2, 1] })));
        assert_ne!(of(&json!({ "a": "1" })), of(&json!({ "a": 1 })));
    }

    #[test]
    fn what_the_server_adds_is_no_drift() {
        let manifest = json!({ "spec": { "replicas": 2, "containers": [{ "name": "web", "image": "a:1" }] } });
        let answer = json!({ "spec": { "replicas": 2, "strategy": {}, "containers":
            [{ "name": "web", "image": "a:1", "terminationMessagePath": "/x" }] }, "status": {} });
        let with_sidecar = json!({ "spec": { "replicas": 2, "containers":
            [{ "name": "proxy", "image": "p" }, { "name": "web", "image": "a:1" }] }, "status": { "x": 1 } });
        assert_eq!(through(&manifest, &answer), through(&manifest, &with_sidecar));
    }

    #[test]
    fn a_changed_or_lost_field_is_drift() {
        let manifest = json!({ "spec": { "replicas": 2 }, "data": { "a": "1" } });
        let answer = json!({ "spec": { "replicas": 2 }, "data": { "a": "1" } });
        for live in [
            json!({ "spec": { "replicas": 3 }, "data": { "a": "1" } }),
            json!({ "spec": { "replicas": 2 }, "data": {} }),
            json!({ "spec": { "replicas": 2 } }),
        ] {
            assert_ne!(through(&manifest, &answer), through(&manifest, &live), "{live}");
        }
    }
}
