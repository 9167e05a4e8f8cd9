//! `# gitops-hooks: IMAGE`, at the end of a value's line or on the line above it, says whose value it is where no rule can
//! know; `IMAGE:name`, `IMAGE:tag` and `IMAGE:digest` say that it is only a part of the reference.

use super::{
    File, Form, Images, Refusal, Wanted,
    locate::{Object, Shared, object_of, uses, with_algorithm},
};
use crate::{
    values::{Digest, ImageName, Repository, Tag},
    yaml::{Comment, Document, Node, Position, Style, Value},
};
use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

/// What a mark begins with.
pub(super) const PREFIX: &str = "gitops-hooks:";

/// A value that a comment marks.
#[derive(Debug)]
pub(super) struct Marked<'t, 'a> {
    pub(super) node: &'t Node<'a>,
    pub(super) image: ImageName,
    pub(super) part: Part,
    pub(super) object: Rc<Object>,
    pub(super) shared: Shared,
    /// The digest in the same mapping.
    pub(super) digest: Option<&'t Node<'a>>,
}

/// How much of the reference a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Reference,
    Name,
    Tag,
    Digest,
}

/// The marked values of a file, by their first bytes.
pub(super) type Marks<'t, 'a> = BTreeMap<usize, Marked<'t, 'a>>;

impl Part {
    /// The part's name, for messages.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Reference => "image reference",
            Self::Name => "repository",
            Self::Tag => "tag",
            Self::Digest => "digest",
        }
    }

    /// What a value becomes; `None` where it is something that the mark cannot mean. An empty one is filled.
    pub(super) fn filled(self, wanted: &Wanted, old: &str) -> Option<String> {
        let Wanted { reference, .. } = wanted;
        let (tag, digest) = (reference.tag.as_ref()?, reference.digest.as_ref()?);
        Some(match self {
            Self::Reference if old.is_empty() => reference.to_string(),
            Self::Reference => wanted.in_place_of(&old.parse().ok()?, old),
            Self::Name => match (old, old.parse::<Repository>()) {
                (_, Ok(known)) if known == reference.repository => old.to_owned(),
                ("", _) | (_, Ok(_)) => reference.repository.to_string(),
                (_, Err(_)) => return None,
            },
            Self::Tag => match old.split_once('@') {
                Some((_, pinned)) if pinned == digest.as_str() => old.to_owned(),
                Some((before, pinned)) => {
                    before.parse::<Tag>().ok()?;
                    pinned.parse::<Digest>().ok()?;
                    format!("{tag}@{digest}")
                }
                None if old.is_empty() || old.parse::<Tag>().is_ok() => tag.to_string(),
                None => return None,
            },
            Self::Digest if old.is_empty() || old.parse::<Digest>().is_ok() => digest.to_string(),
            Self::Digest if with_algorithm(old) != old => digest.hex().to_owned(),
            Self::Digest => return None,
        })
    }
}

/// Whether every marked digest of an image runs already. A new tag beside it would then be a change of nothing.
pub(super) fn is_settled(wanted: &Wanted, marks: &Marks<'_, '_>) -> bool {
    let own = marks.values().filter(|mark| mark.image == wanted.image);
    let mut pinned = own.filter(|mark| matches!(mark.part, Part::Reference | Part::Digest)).peekable();
    let same = |mark: &Marked<'_, '_>| {
        let old = mark.node.as_str().unwrap_or_default().trim();
        mark.part.filled(wanted, old).as_deref() == Some(old)
    };
    pinned.peek().is_some() && pinned.all(same)
}

/// Finds the marked values of a file.
pub(super) fn marked<'t, 'a>(
    file: &File<'_>,
    text: &str,
    documents: &'t [Document<'a>],
    images: &Images<'_>,
) -> Result<Marks<'t, 'a>, Refusal> {
    let mut marked = Marks::new();
    let marks: Vec<_> = documents.iter().flat_map(|document| &document.comments).filter_map(read).collect();
    if marks.is_empty() {
        return Ok(marked);
    }
    let values = values(file, text, documents);
    for (comment, word) in marks {
        let refuse = |why: String| Refusal::Mark {
            file: file.path.to_owned(),
            position: Position::of(text, comment.place.start),
            mark: word.to_owned(),
            why,
        };
        let (image, part) = parse(word, images).map_err(refuse)?;
        let mut beside = values.range(beside(text, comment.place.start)).map(|(_, value)| value);
        let value = match (beside.next(), beside.next()) {
            (Some(value), None) => value,
            (None, _) => return Err(refuse("it stands by no value".to_owned())),
            _ => return Err(refuse("it stands by more than one value, and may mean any of them".to_owned())),
        };
        let ValueAt { node, object, shared, digest, identifies } = value;
        if *identifies {
            return Err(refuse("it stands on what says which object this is".to_owned()));
        }
        let (object, shared, digest) = (Rc::clone(object), *shared, *digest);
        let mark = Marked { node, image, part, object, shared, digest };
        if marked.insert(node.place.start, mark).is_some() {
            return Err(refuse("it is the second mark of this value".to_owned()));
        }
    }
    Ok(marked)
}

/// A comment's mark, where it has one.
fn read<'c>(comment: &'c Comment<'_>) -> Option<(&'c Comment<'c>, &'c str)> {
    Some((comment, comment.text.trim().strip_prefix(PREFIX)?.trim()))
}

fn parse(word: &str, images: &Images<'_>) -> Result<(ImageName, Part), String> {
    let (name, part) = match word.split_once(':') {
        None => (word, Part::Reference),
        Some((name, "name")) => (name, Part::Name),
        Some((name, "tag")) => (name, Part::Tag),
        Some((name, "digest")) => (name, Part::Digest),
        Some((_, part)) => return Err(format!("a reference has a name, a tag and a digest, but no {part:?}")),
    };
    let image = name.parse::<ImageName>().map_err(|error| error.to_string())?;
    if images.known.contains_key(&image) {
        return Ok((image, part));
    }
    let known: Vec<&str> = images.known.keys().map(ImageName::as_str).collect();
    Err(format!("the environment has no image {name:?}, it has {}", known.join(", ")))
}

/// The bytes in which the value of a mark starts: its own line before it, or the next line where it has its own to itself.
fn beside(text: &str, mark: usize) -> std::ops::Range<usize> {
    let line = text[..mark].rfind('\n').map_or(0, |newline| newline + 1);
    if !text[line..mark].trim_start_matches('\u{feff}').trim().is_empty() {
        return line..mark;
    }
    let next = text[mark..].find('\n').map_or(text.len(), |newline| mark + newline + 1);
    next..text[next..].find('\n').map_or(text.len(), |newline| next + newline)
}

/// A value of a mapping or a list, and what it belongs to.
struct ValueAt<'t, 'a> {
    node: &'t Node<'a>,
    object: Rc<Object>,
    shared: Shared,
    digest: Option<&'t Node<'a>>,
    /// Whether it is a part of what the object is known by.
    identifies: bool,
}

/// Every value that has bytes of its own, by where it starts.
fn values<'t, 'a>(file: &File<'_>, text: &str, documents: &'t [Document<'a>]) -> BTreeMap<usize, ValueAt<'t, 'a>> {
    let mut found = BTreeMap::new();
    for root in documents.iter().filter_map(|document| document.root.as_ref()) {
        let mut gathering = Gathering { text, form: file.form, uses: uses(root), path: Vec::new(), found: &mut found };
        gathering.visit(root, None, None, Shared::No);
    }
    found
}

struct Gathering<'g, 't, 'a> {
    text: &'g str,
    form: Form,
    uses: HashMap<usize, usize>,
    path: Vec<&'t str>,
    found: &'g mut BTreeMap<usize, ValueAt<'t, 'a>>,
}

impl<'t, 'a> Gathering<'_, 't, 'a> {
    fn visit(&mut self, node: &'t Node<'a>, parent: Option<&'t Node<'a>>, object: Option<&Rc<Object>>, outer: Shared) {
        let aliased = node.anchor.is_some_and(|id| self.uses.contains_key(&id));
        let shared = if aliased { Shared::Yes } else { outer };
        match &node.value {
            Value::Sequence(items) => items.iter().for_each(|item| self.visit(item, None, object, shared)),
            Value::Mapping(entries) => {
                let own = if self.form == Form::Manifest { object_of(node).map(Rc::new) } else { None };
                for entry in entries {
                    self.path.push(entry.key.as_str().unwrap_or_default());
                    self.visit(&entry.value, Some(node), own.as_ref().or(object), shared);
                    self.path.pop();
                }
            }
            Value::Scalar(..) | Value::Alias(_) if node.place.is_empty() => {}
            value => {
                let shared = if matches!(value, Value::Alias(_)) { Shared::Yes } else { shared };
                let kind = if self.form == Form::Values { "values" } else { "field" };
                let object = object
                    .map_or_else(|| Rc::new(Object { kind: kind.to_owned(), name: self.path.join(".") }), Rc::clone);
                let keys = ["digest", "imageDigest", "sha", "sha256"];
                let digest = parent.and_then(|parent| keys.iter().find_map(|key| parent.get(key)));
                let identifies = self.form == Form::Manifest
                    && matches!(
                        self.path.as_slice(),
                        [.., "apiVersion" | "kind"] | [.., "metadata", "name" | "namespace"]
                    );
                self.found.insert(start(self.text, node), ValueAt { node, object, shared, digest, identifies });
            }
        }
    }
}

/// Where a value starts, for a reader: a block scalar on the line of its `|` or `>`, below which its text begins.
fn start(text: &str, node: &Node<'_>) -> usize {
    if !matches!(node.value, Value::Scalar(_, Style::Block)) {
        return node.place.start;
    }
    text[..node.place.start].trim_end().rfind('\n').map_or(0, |newline| newline + 1)
}
