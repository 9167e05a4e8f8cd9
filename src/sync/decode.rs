//! From files to manifests: multi-document YAML and JSON, lists taken apart, each object with its file, document and
//! line. A file with a mistake gives none of its objects; no other file is touched by it. Pure: bytes in, values out.

use super::{
    object::{Manifest, ObjectId, Origin, Problem},
    to_json::{Budget, Reader},
    validate::{self, Mistake},
};
use crate::yaml::{self, Node, Position};
use serde::de::IgnoredAny;
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// The most objects that one environment may have.
const MAX_OBJECTS: usize = 20_000;

/// The most nodes of YAML, keys and comments among them, that one document may have: its tree is in memory while it is read.
const MAX_NODES: usize = 400_000;

/// A file below the environment's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path from the root of the repository.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What the files say.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The objects of every file without a mistake.
    pub manifests: Vec<Manifest>,
    /// Every mistake.
    pub problems: Vec<Problem>,
}

/// Files whose presence says that the folder is the source of manifests, not manifests.
const KUSTOMIZATIONS: &[&str] = &["kustomization.yaml", "kustomization.yml", "Kustomization"];
const CHART: &str = "Chart.yaml";

/// Reads all files.
#[must_use]
pub fn decode(files: &[File]) -> Decoded {
    let mut decoded = Decoded::default();
    let unrendered = Unrendered::among(files.iter().map(|file| file.path.as_str()), &mut decoded.problems);
    for file in files.iter().filter(|file| !unrendered.holds(&file.path)) {
        match decode_file(file) {
            Ok(manifests) => decoded.manifests.extend(manifests),
            Err(problems) => decoded.problems.extend(problems),
        }
    }
    if let Some(problem) = too_many(decoded.manifests.iter().map(|manifest| &manifest.origin)) {
        decoded.problems.push(problem);
        decoded.manifests.clear();
    }
    decoded
}

/// What is said of more objects than one environment may have.
pub(super) fn too_many<'o>(mut origins: impl ExactSizeIterator<Item = &'o Origin>) -> Option<Problem> {
    let count = origins.len();
    let first = origins.nth(MAX_OBJECTS)?;
    let message = format!("{count} objects are more than the {MAX_OBJECTS} that one environment may have");
    Some(Problem::file(&first.file, message))
}

/// The folders that need rendering. Their files are patches and templates, which must not be mistaken for objects.
pub(super) struct Unrendered(BTreeSet<String>);

impl Unrendered {
    /// Finds them, and says so of each.
    pub(super) fn among<'p>(paths: impl Iterator<Item = &'p str>, problems: &mut Vec<Problem>) -> Self {
        Self(unrendered(paths, problems))
    }

    /// Whether a file is below one of them.
    pub(super) fn holds(&self, path: &str) -> bool {
        let below = |folder: &String| {
            folder.is_empty() || path.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        self.0.iter().any(below)
    }
}

fn unrendered<'p>(paths: impl Iterator<Item = &'p str>, problems: &mut Vec<Problem>) -> BTreeSet<String> {
    let mut folders = BTreeSet::new();
    for path in paths {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let message = if KUSTOMIZATIONS.contains(&name) {
            "a kustomization is not rendered in the cluster; `render: true` lets deliveries commit the output of `kustomize build`"
        } else if name == CHART {
            "a chart is not rendered in the cluster; `render: true` lets deliveries commit the output of `helm template`"
        } else {
            continue;
        };
        problems.push(Problem::file(path, message));
        folders.insert(folder.to_owned());
    }
    folders
}

/// Reads one file: all of it, or none.
pub(super) fn decode_file(file: &File) -> Result<Vec<Manifest>, Vec<Problem>> {
    let whole = |message: String| vec![Problem::file(&file.path, message)];
    let text = std::str::from_utf8(&file.bytes).map_err(|_| whole("this file is no UTF-8 text".to_owned()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reading = Reading { file, text, manifests: Vec::new(), problems: Vec::new() };
    let mut budget = Budget::new();
    for (index, document) in yaml::documents(text, MAX_NODES).enumerate() {
        let document = match document {
            Ok(document) => document,
            // Not every JSON is YAML (tabs): what the YAML parser refuses may still be sound.
            Err(_) if file.path.strip_suffix(".json").is_some() && serde_json::from_str::<IgnoredAny>(text).is_ok() => {
                return decode_json(file, text);
            }
            Err(error) => {
                let origin = Origin { file: file.path.clone(), document: index + 1, line: error.position.line };
                let message = format!("this cannot be read as YAML: {}", error.message);
                return Err(vec![Problem { origin, object: None, message }]);
            }
        };
        let Some(root) = document.root.as_ref().filter(|root| !root.is_null()) else { continue };
        let origin = |start: usize| Origin {
            file: file.path.clone(),
            document: index + 1,
            line: Position::of(text, start).line,
        };
        match Reader::new(document.anchors(), &mut budget).read(root) {
            Ok(value) => reading.take(value, &origin(root.place.start), Some(root)),
            Err((place, message)) => {
                reading.problems.push(Problem { origin: origin(place.start), object: None, message });
            }
        }
    }
    reading.finish()
}

fn decode_json(file: &File, text: &str) -> Result<Vec<Manifest>, Vec<Problem>> {
    if !Budget::new().holds(text) {
        return Err(vec![Problem::file(&file.path, "this file has too many values; split it".to_owned())]);
    }
    let value = serde_json::from_str(text).map_err(|error| {
        let origin = Origin { file: file.path.clone(), document: 1, line: error.line() };
        vec![Problem { origin, object: None, message: error.to_string() }]
    })?;
    let mut reading = Reading { file, text, manifests: Vec::new(), problems: Vec::new() };
    reading.take(value, &Origin { file: file.path.clone(), document: 1, line: 1 }, None);
    reading.finish()
}

/// One file while it is read.
struct Reading<'f> {
    file: &'f File,
    text: &'f str,
    manifests: Vec<Manifest>,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn line(&self, node: &Node<'_>) -> usize {
        Position::of(self.text, node.place.start).line
    }

    /// Takes an object, or a list apart; `node` is what it was read from, where that is YAML.
    fn take(&mut self, value: Json, origin: &Origin, node: Option<&Node<'_>>) {
        let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && value["items"].is_array();
        if !is_list {
            return self.object(value, origin.clone(), node);
        }
        let nodes = node.and_then(|list| list.get("items")).map_or(&[][..], Node::items);
        let Json::Object(mut list) = value else { return };
        let Some(Json::Array(items)) = list.remove("items") else { return };
        // A typed list (`DeploymentList`) may leave out what its items are.
        let item_kind = list["kind"].as_str().and_then(|kind| kind.strip_suffix("List")).unwrap_or("").to_owned();
        for (index, mut item) in items.into_iter().enumerate() {
            let node = nodes.get(index);
            let line = node.map_or(origin.line, |node| self.line(node));
            if !item_kind.is_empty()
                && let Json::Object(object) = &mut item
                && let Some(version) = list.get("apiVersion")
            {
                object.entry("kind").or_insert_with(|| item_kind.clone().into());
                object.entry("apiVersion").or_insert_with(|| version.clone());
            }
            self.object(item, Origin { line, ..origin.clone() }, node);
        }
    }

    fn object(&mut self, value: Json, origin: Origin, node: Option<&Node<'_>>) {
        let text = |pointer: &str| value.pointer(pointer).and_then(Json::as_str).filter(|text| !text.is_empty());
        let missing = |what: &str| {
            Some(format!(
                "{what} is missing: this is no object of Kubernetes, which needs apiVersion, kind and metadata.name"
            ))
        };
        let mistake = match (text("/apiVersion"), text("/kind"), text("/metadata/name")) {
            _ if !value.is_object() => Some("expected an object of Kubernetes, found something else".to_owned()),
            (None, ..) => missing("apiVersion"),
            (_, None, _) => missing("kind"),
            (.., None) if text("/metadata/generateName").is_some() => {
                Some("metadata.generateName makes a new object each time; give it a metadata.name".to_owned())
            }
            (.., None) => missing("metadata.name"),
            (Some(version), Some(kind), Some(name)) => {
                let group = version.split_once('/').map_or("", |(group, _)| group);
                let id = ObjectId {
                    group: group.to_owned(),
                    kind: kind.to_owned(),
                    namespace: text("/metadata/namespace").map(str::to_owned),
                    name: name.to_owned(),
                };
                let manifest = Manifest { id, api_version: version.to_owned(), origin: origin.clone(), value };
                for Mistake { path, message } in validate::check(&manifest) {
                    let line = node.map_or(origin.line, |root| self.line(deepest(root, &path)));
                    let (origin, object) = (Origin { line, ..origin.clone() }, Some(manifest.id.clone()));
                    self.problems.push(Problem { origin, object, message });
                }
                self.manifests.push(manifest);
                None
            }
        };
        if let Some(message) = mistake {
            self.problems.push(Problem { origin, object: None, message });
        }
    }

    /// All of the file, or none of it: half of a file is a state that nobody wrote.
    fn finish(mut self) -> Result<Vec<Manifest>, Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(self.manifests);
        }
        let told: BTreeSet<_> = self.problems.iter().filter_map(|problem| problem.object.clone()).collect();
        for manifest in self.manifests.into_iter().filter(|manifest| !told.contains(&manifest.id)) {
            self.problems.push(Problem {
                origin: manifest.origin,
                object: Some(manifest.id),
                message: format!("held back, because {} has a mistake elsewhere", self.file.path),
            });
        }
        Err(self.problems)
    }
}

/// What the keys lead to, as far as they can be followed: an alias is not looked into.
fn deepest<'n, 'a>(root: &'n Node<'a>, keys: &[&str]) -> &'n Node<'a> {
    keys.iter().try_fold(root, |node, key| node.get(key).ok_or(node)).unwrap_or_else(|last| last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), bytes: text.into() }
    }

    const TWO: &str = "# the app\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: flask-app\n---\napiVersion: v1\nkind: Service\nmetadata: { name: flask-app, namespace: shop }\n";

    #[test]
    fn every_document_is_an_object_with_its_line() {
        let decoded = decode(&[file("staging/app.yaml", TWO)]);
        let seen: Vec<_> = decoded.manifests.iter().map(|m| (m.id.to_string(), m.origin.to_string())).collect();
        assert_eq!(
            seen,
            [
                ("Deployment flask-app".to_owned(), "staging/app.yaml:2".to_owned()),
                ("Service shop/flask-app".to_owned(), "staging/app.yaml:7".to_owned())
            ]
        );
        assert_eq!(decoded.manifests[1].origin.document, 2);
    }

    #[test]
    fn a_field_that_no_server_takes_is_told_with_its_line() {
        let listed = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: a\n    labels:\n      app: &it 'a b'\n      web: *it\n      -x: y\n";
        let told: Vec<_> = decode(&[file("a.yaml", listed)]).problems.iter().map(ToString::to_string).collect();
        let starts = [
            "a.yaml:9: ConfigMap a: metadata.labels.app:",
            "a.yaml:10: ConfigMap a: metadata.labels.web:",
            "a.yaml:11: ConfigMap a: metadata.labels[\"-x\"]:",
        ];
        assert!(told.iter().zip(starts).all(|(told, start)| told.starts_with(start)) && told.len() == 3, "{told:#?}");
    }

    #[test]
    fn lists_are_taken_apart() {
        let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n";
        let typed =
            "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMapList\",\"items\":[\n\t{\"metadata\":{\"name\":\"c\"}}]}";
        let decoded = decode(&[file("a.yml", list), file("b.json", typed)]);
        assert!(decoded.problems.is_empty(), "{:?}", decoded.problems);
        let names: Vec<_> = decoded.manifests.iter().map(|m| (m.id.to_string(), m.origin.line)).collect();
        assert_eq!(names[1], ("ConfigMap b".to_owned(), 7));
        assert_eq!(names[2].0, "ConfigMap c");
    }

    #[test]
    fn a_broken_file_stops_only_its_own_objects() {
        let broken = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b:16\n";
        let decoded = decode(&[file("broken.yaml", broken), file("whole.yaml", TWO), file("torn.yaml", "a: [")]);
        assert_eq!(decoded.manifests.len(), 2);
        let told: Vec<_> = decoded.problems.iter().map(ToString::to_string).collect();
        assert!(
            told[0].starts_with("broken.yaml:8: ConfigMap b:16: metadata.name: \"b:16\" is no DNS name"),
            "{told:?}"
        );
        assert!(told[1].starts_with("broken.yaml:1: ConfigMap a: held back"), "{told:?}");
        assert!(told[2].starts_with("torn.yaml:"), "{told:?}");
    }

    #[test]
    fn what_needs_rendering_is_refused_with_all_below_it() {
        let decoded = decode(&[
            file("app/kustomization.yaml", "resources: [deployment.yaml]"),
            file("app/deep/patch.yaml", TWO),
            file("chart/Chart.yaml", "name: x"),
            file("plain/app.yaml", TWO),
        ]);
        assert_eq!(decoded.manifests.len(), 2);
        assert!(decoded.problems[0].message.contains("kustomize build"));
        assert!(decoded.problems[1].message.contains("helm template"));
    }

    #[test]
    fn what_is_no_object_is_told_where() {
        let decoded = decode(&[file("a.yaml", "---\n\n---\nkind: Deployment\n"), file("b.yaml", "- 1\n")]);
        assert_eq!(decoded.problems[0].to_string().split(": ").next(), Some("a.yaml:4"));
        assert_eq!(decoded.problems.len(), 2);
    }
}
