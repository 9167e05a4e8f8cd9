//! Finds the image fields of a document: container lists at any depth of Kubernetes objects, `images` of a kustomization,
//! and what the values of a chart hold. It decides where a reference stands, not whose it is.

use super::{File, Form};
use crate::{
    values::Digest,
    yaml::{Document, Entry, Node, Place, Value},
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    rc::Rc,
};

/// The lists of a pod that hold containers (Kubernetes API, `PodSpec`).
const CONTAINERS: &[&str] = &["containers", "initContainers", "ephemeralContainers"];

/// The object that a field belongs to, as people name it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Object {
    /// Its kind, such as `Deployment`.
    pub kind: String,
    /// Its name; empty where it has none.
    pub name: String,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => f.write_str(&self.kind),
            name => write!(f, "{} {name}", self.kind),
        }
    }
}

/// A field that names an image.
#[derive(Debug)]
pub(super) struct Found<'t, 'a> {
    pub(super) spot: Spot<'t, 'a>,
    pub(super) object: Rc<Object>,
    /// Whether a change here would also show somewhere else, through an alias.
    pub(super) shared: Shared,
}

/// What stands at an image field.
#[derive(Debug, Clone)]
pub(super) enum Spot<'t, 'a> {
    /// A scalar that holds the whole reference.
    Whole(&'t Node<'a>),
    /// Name, tag and digest in fields of their own.
    Apart(Apart<'t, 'a>),
}

/// A reference in several fields of one mapping.
#[derive(Debug, Clone)]
pub(super) struct Apart<'t, 'a> {
    pub(super) tool: Tool,
    pub(super) mapping: &'t Node<'a>,
    /// What stands before the name, in a field of its own.
    pub(super) registry: Option<&'t Node<'a>>,
    pub(super) name: &'t Node<'a>,
    /// The name that containers have and that this one takes the place of.
    pub(super) replaces: Option<&'t Node<'a>>,
    pub(super) tag: Option<&'t Node<'a>>,
    pub(super) digest: Option<&'t Node<'a>>,
}

/// Whose rules the fields of a mapping follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    /// It takes a digest beside the tag, whether or not one stood there.
    Kustomize,
    /// A chart knows the keys that it has, and a new one may mean nothing to it.
    Helm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shared {
    No,
    Yes,
}

impl<'t, 'a> Spot<'t, 'a> {
    /// The scalar as written, or the whole entry of a kustomization.
    pub(super) fn place(&self) -> Place {
        match self {
            Self::Whole(node) => node.place.clone(),
            Self::Apart(Apart { tool: Tool::Kustomize, mapping, .. }) => mapping.place.clone(),
            Self::Apart(apart) => apart.name.place.clone(),
        }
    }

    /// The scalars that the reference is made of.
    pub(super) fn nodes(&self) -> Vec<&'t Node<'a>> {
        match self {
            Self::Whole(node) => vec![*node],
            Self::Apart(Apart { registry, name, tag, digest, .. }) => {
                std::iter::once(*name).chain([*registry, *tag, *digest].into_iter().flatten()).collect()
            }
        }
    }

    /// What it says: `repository:tag@digest`.
    pub(super) fn value(&self, text: &str) -> String {
        match self {
            Self::Whole(node) => node.as_str().unwrap_or_else(|| &text[node.place.clone()]).trim().to_owned(),
            Self::Apart(apart) => apart.value(),
        }
    }
}

impl Apart<'_, '_> {
    /// The repository as it is written, the registry before it.
    pub(super) fn repository(&self) -> String {
        let name = said(Some(self.name)).unwrap_or_default();
        match said(self.registry) {
            Some(registry) => format!("{registry}/{name}"),
            None => name.to_owned(),
        }
    }

    pub(super) fn value(&self) -> String {
        let mut value = self.repository();
        value.extend(said(self.tag).map(|tag| format!(":{tag}")));
        value.extend(said(self.digest).map(|digest| format!("@{}", with_algorithm(digest))));
        value
    }

    /// The key of one of its fields.
    pub(super) fn key_of(&self, part: &Node<'_>) -> &str {
        let entry = self.mapping.entries().iter().find(|entry| entry.value.place == part.place);
        entry.and_then(|entry| entry.key.as_str()).unwrap_or_default()
    }
}

/// A digest as registries have it. Some charts have the algorithm in their templates and take the digits alone.
pub(super) fn with_algorithm(digest: &str) -> Cow<'_, str> {
    let whole = format!("sha256:{digest}");
    if whole.parse::<Digest>().is_ok() { whole.into() } else { digest.into() }
}

/// What a scalar says, where it says something.
pub(super) fn said<'t>(node: Option<&'t Node<'_>>) -> Option<&'t str> {
    node.filter(|node| !node.is_null()).and_then(Node::as_str).filter(|text| !text.is_empty())
}

/// Every image field of a document, in the order of the file.
pub(super) fn locate<'t, 'a>(file: &File<'_>, document: &'t Document<'a>) -> Vec<Found<'t, 'a>> {
    let Some(root) = &document.root else { return Vec::new() };
    let mut walk = Walk {
        anchors: document.anchors(),
        uses: uses(root),
        image_uses: HashMap::new(),
        followed: HashSet::new(),
        found: BTreeMap::new(),
        written_as_image: HashSet::new(),
    };
    match file.form {
        Form::Values => walk.values(root, &mut Vec::new(), Shared::No),
        Form::Manifest => {
            walk.visit(root, None, Shared::No);
            if is_kustomization(file.path, root) {
                walk.kustomization(root);
            }
        }
    }
    walk.finish()
}

/// How many aliases refer to each anchor.
pub(super) fn uses(root: &Node<'_>) -> HashMap<usize, usize> {
    let mut uses = HashMap::new();
    let mut waiting = vec![root];
    while let Some(node) = waiting.pop() {
        if let Value::Alias(id) = node.value {
            *uses.entry(id).or_default() += 1;
        }
        waiting.extend(node.items());
        waiting.extend(node.entries().iter().flat_map(|entry| [&entry.key, &entry.value]));
    }
    uses
}

fn is_kustomization(file: &str, root: &Node<'_>) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    match root.get("kind").and_then(Node::as_str) {
        Some(kind) => {
            let version = root.get("apiVersion").and_then(Node::as_str).unwrap_or_default();
            matches!(kind, "Kustomization" | "Component")
                && (version.is_empty() || version.starts_with("kustomize.config.k8s.io/"))
        }
        // kustomize fills in kind and version by the file's name (kustomize, `FixKustomizationPostUnmarshalling`).
        None => matches!(name, "kustomization.yaml" | "kustomization.yml" | "Kustomization"),
    }
}

pub(super) struct Walk<'t, 'a> {
    anchors: HashMap<usize, &'t Node<'a>>,
    /// How many aliases refer to an anchor.
    uses: HashMap<usize, usize>,
    /// Where of these an alias is itself the value of an image field.
    image_uses: HashMap<usize, HashSet<usize>>,
    /// Aliases already followed, within and outside an object: each once, so that a bomb stays small.
    followed: HashSet<(usize, Option<Rc<str>>)>,
    /// By the first byte of the field.
    found: BTreeMap<usize, Found<'t, 'a>>,
    /// Fields whose reference is written right there, not behind an alias.
    written_as_image: HashSet<usize>,
}

impl<'t, 'a> Walk<'t, 'a> {
    fn visit(&mut self, node: &'t Node<'a>, object: Option<&Rc<Object>>, shared: Shared) {
        let shared = self.shared(node, shared);
        match &node.value {
            Value::Alias(id) => {
                let context = object.map(|object| Rc::from(object.kind.as_str()));
                if let Some(target) = self.anchors.get(id).copied()
                    && self.followed.insert((*id, context))
                {
                    self.visit(target, object, Shared::Yes);
                }
            }
            Value::Sequence(items) => items.iter().for_each(|item| self.visit(item, object, shared)),
            Value::Mapping(entries) => {
                let own = object_of(node).map(Rc::new);
                let object = own.as_ref().or(object);
                for Entry { key, value } in entries {
                    if let (Some(object), Some(key)) = (object, key.as_str())
                        && CONTAINERS.contains(&key)
                    {
                        self.containers(value, object, shared);
                    }
                    self.visit(value, object, shared);
                }
            }
            Value::Scalar(..) => {}
        }
    }

    /// Whether what lies below a node is shared, given that the node itself is.
    pub(super) fn shared(&self, node: &Node<'a>, outer: Shared) -> Shared {
        let aliased = node.anchor.is_some_and(|id| self.uses.contains_key(&id));
        if aliased && !matches!(node.value, Value::Scalar(..)) { Shared::Yes } else { outer }
    }

    pub(super) fn resolve(&self, node: &'t Node<'a>, shared: Shared) -> (&'t Node<'a>, Shared) {
        match node.value {
            Value::Alias(id) => (self.anchors.get(&id).copied().unwrap_or(node), Shared::Yes),
            _ => (node, self.shared(node, shared)),
        }
    }

    fn containers(&mut self, list: &'t Node<'a>, object: &Rc<Object>, shared: Shared) {
        let (list, shared) = self.resolve(list, shared);
        for item in list.items() {
            let (container, shared) = self.resolve(item, shared);
            self.container(container, object, shared);
        }
    }

    fn container(&mut self, container: &'t Node<'a>, object: &Rc<Object>, shared: Shared) {
        for Entry { key, value } in container.entries() {
            match key.as_str() {
                Some("image") => self.image(value, object, shared),
                // A merge key (YAML 1.1, `tag:yaml.org,2002:merge`), which Kubernetes' own parser still reads.
                Some("<<") => {
                    let merged: Vec<_> = match &value.value {
                        Value::Sequence(items) => items.iter().collect(),
                        _ => vec![value],
                    };
                    for mapping in merged {
                        let (mapping, shared) = self.resolve(mapping, shared);
                        for entry in mapping.entries() {
                            if entry.key.as_str() == Some("image") {
                                self.image(&entry.value, object, shared);
                            }
                        }
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn image(&mut self, value: &'t Node<'a>, object: &Rc<Object>, shared: Shared) {
        let node = if let Value::Alias(id) = value.value {
            self.image_uses.entry(id).or_default().insert(value.place.start);
            self.anchors.get(&id).copied().unwrap_or(value)
        } else {
            self.written_as_image.insert(value.place.start);
            value
        };
        self.add(Found { spot: Spot::Whole(node), object: Rc::clone(object), shared });
    }

    fn kustomization(&mut self, root: &'t Node<'a>) {
        let object = object_of(root)
            .unwrap_or_else(|| Object { kind: "Kustomization".to_owned(), name: metadata_name(root).to_owned() });
        let object = Rc::new(object);
        let Some(images) = root.get("images") else { return };
        let (images, shared) = self.resolve(images, Shared::No);
        for item in images.items() {
            let (mapping, mut shared) = self.resolve(item, shared);
            let [name, new_name, tag, digest] =
                ["name", "newName", "newTag", "digest"].map(|key| self.part(mapping, key, &mut shared));
            let Some(own) = new_name.filter(|node| !node.is_null()).or(name) else { continue };
            let replaces = name.filter(|name| name.place != own.place);
            let tag = tag.filter(|node| !node.is_null());
            let apart = Apart { tool: Tool::Kustomize, mapping, registry: None, name: own, replaces, tag, digest };
            self.add(Found { spot: Spot::Apart(apart), object: Rc::clone(&object), shared });
        }
    }

    /// A scalar of a mapping. What other places share makes the whole reference shared.
    pub(super) fn part(&self, mapping: &'t Node<'a>, key: &str, shared: &mut Shared) -> Option<&'t Node<'a>> {
        let node = mapping.get(key)?;
        if node.anchor.is_some_and(|id| self.uses.contains_key(&id)) {
            *shared = Shared::Yes;
        }
        let (node, now) = self.resolve(node, *shared);
        *shared = now;
        matches!(node.value, Value::Scalar(..)).then_some(node)
    }

    /// A field reached twice, directly and through an alias, is one field, and shared.
    pub(super) fn add(&mut self, field: Found<'t, 'a>) {
        let start = field.spot.place().start;
        match self.found.get_mut(&start) {
            Some(known) if field.shared == Shared::Yes => known.shared = Shared::Yes,
            Some(_) => {}
            None => {
                self.found.insert(start, field);
            }
        }
    }

    /// An anchored reference may be changed only where it is written as an image and every alias to it is an image too.
    fn finish(self) -> Vec<Found<'t, 'a>> {
        let Self { uses, image_uses, found, written_as_image, .. } = self;
        let mut found: Vec<_> = found.into_values().collect();
        for field in &mut found {
            let Spot::Whole(node) = field.spot else { continue };
            let Some(uses) = node.anchor.and_then(|id| Some((id, *uses.get(&id)?))) else { continue };
            let image_uses = image_uses.get(&uses.0).map_or(0, HashSet::len);
            if uses.1 > image_uses || !written_as_image.contains(&node.place.start) {
                field.shared = Shared::Yes;
            }
        }
        found
    }
}

fn metadata_name<'t>(node: &'t Node<'_>) -> &'t str {
    node.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Node::as_str).unwrap_or_default()
}

/// A mapping with `apiVersion` and `kind` is a Kubernetes object, at whatever depth: a `List` holds them too.
pub(super) fn object_of(node: &Node<'_>) -> Option<Object> {
    node.get("apiVersion")?.as_str()?;
    let kind = node.get("kind")?.as_str()?.to_owned();
    let name = metadata_name(node);
    let metadata = node.get("metadata");
    let prefix = metadata.and_then(|metadata| metadata.get("generateName")).and_then(Node::as_str).unwrap_or_default();
    Some(Object { kind, name: if name.is_empty() { prefix } else { name }.to_owned() })
}
