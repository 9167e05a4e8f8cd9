//! One file on its way: each field is claimed by one image or left alone, its edit made in the way it was written, and all
//! of them together proven.

use super::{
    Field, File, Images, Patch, Refusal, Wanted, is_json, line_at,
    locate::{Apart, Found, Object, Shared, Spot, Tool, locate, said, with_algorithm},
    mark::{Marked, Marks, Part, is_settled, marked},
    parse, prove, readable,
    splice::{self, Edit, Format},
};
use crate::{
    values::{Digest, ImageRef, Repository},
    yaml::{Document, Node, Position},
};
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

pub(super) struct Patching<'p, 'f> {
    file: &'p File<'f>,
    text: &'p str,
    format: Format,
    images: &'p Images<'p>,
    /// The scalars that rules have taken care of, by their first bytes.
    covered: HashSet<usize>,
    edits: Vec<Edit>,
    fields: Vec<Field>,
}

impl<'p, 'f> Patching<'p, 'f> {
    pub(super) fn new(file: &'p File<'f>, text: &'p str, images: &'p Images<'p>) -> Self {
        let format = if is_json(file, text) { Format::Json } else { Format::Yaml };
        Self { file, text, format, images, covered: HashSet::new(), edits: Vec::new(), fields: Vec::new() }
    }

    pub(super) fn run(mut self, documents: &[Document<'_>]) -> Result<Patch<'f>, Refusal> {
        let marks = marked(self.file, self.text, documents, self.images)?;
        for document in documents {
            for found in locate(self.file, document) {
                let known = self.fields.len();
                match &found.spot {
                    Spot::Whole(node) => self.whole(&found, node, &marks)?,
                    Spot::Apart(apart) => self.apart(&found, apart, &marks)?,
                }
                if self.fields.len() > known {
                    let nodes = found.spot.nodes();
                    self.covered.extend(nodes.iter().map(|node| node.place.start));
                    self.no_duplicate(document, &nodes)?;
                }
            }
        }
        for mark in marks.values() {
            let known = self.fields.len();
            self.marked(mark, &marks)?;
            if self.fields.len() > known {
                documents.iter().try_for_each(|document| self.no_duplicate(document, &[mark.node]))?;
            }
        }
        self.finish(documents)
    }

    fn whole(&mut self, found: &Found<'_, '_>, node: &Node<'_>, marks: &Marks<'_, '_>) -> Result<(), Refusal> {
        let value = found.spot.value(self.text);
        let Ok(reference) = value.parse::<ImageRef>() else {
            // What is marked says itself whose it is.
            return if marks.contains_key(&node.place.start) { Ok(()) } else { self.foreign(node, value) };
        };
        let Some(wanted) = self.claim(&reference.repository, &found.spot, &value, marks)? else { return Ok(()) };
        if marks.contains_key(&node.place.start) {
            return Ok(());
        }
        let new = wanted.in_place_of(&reference, &value);
        if self.add(&found.object, wanted, node, found.shared, (&value, &new))? {
            self.set(node, &value, &new)?;
        }
        Ok(())
    }

    fn apart(&mut self, found: &Found<'_, '_>, apart: &Apart<'_, '_>, marks: &Marks<'_, '_>) -> Result<(), Refusal> {
        let written = apart.repository();
        let old = apart.value();
        let file = self.file.path.to_owned();
        let mark = marks.get(&apart.name.place.start);
        // The version stands elsewhere in the entry: a whole reference here would be no repository any more.
        if let Some(mark) = mark.filter(|mark| mark.part == Part::Reference) {
            let (position, image) = (Position::of(self.text, apart.name.place.start), mark.image.clone());
            return Err(Refusal::NoPart { file, position, value: written, what: mark.part.word(), image });
        }
        let position = Position::of(self.text, found.spot.place().start);
        // Whatever stands there now, the mark says whose the entry is.
        let marked = mark.filter(|mark| mark.part == Part::Name).and_then(|mark| self.images.wanted(&mark.image));
        let wanted = match (written.parse::<Repository>(), marked) {
            (Ok(repository), _) => match self.claim(&repository, &found.spot, &old, marks)?.or(marked) {
                Some(wanted) => wanted,
                None => return self.replaced(apart, &repository, position, marks),
            },
            (Err(_), Some(wanted)) => wanted,
            // An address under `repository` is a chart's or a git repository's.
            (Err(_), None) if written.contains("://") => return Ok(()),
            (Err(_), None) => return self.foreign(apart.name, written),
        };
        let unproven = || Refusal::Unproven { file: file.clone(), position, value: old.clone() };
        let (Some(tag), Some(digest)) = (&wanted.reference.tag, &wanted.reference.digest) else {
            return Err(unproven());
        };
        if let Some(template) = [apart.tag, apart.digest].into_iter().flatten().find(|node| is_template(node)) {
            let (position, value) = (Position::of(self.text, template.place.start), old);
            return Err(Refusal::Template { file, position, value });
        }
        let pinned = said(apart.tag).and_then(|tag| tag.split_once('@')).map(|(_, digest)| digest);
        let repository = wanted.reference.repository.clone();
        // A marked name is written by its mark.
        let moves = mark.is_none() && written.parse::<Repository>().is_ok_and(|known| known != repository);
        let same = match said(apart.digest).or(pinned) {
            _ if moves => false,
            Some(now) => with_algorithm(now) == digest.as_str(),
            None => apart.tool == Tool::Helm && said(apart.tag) == Some(tag.as_str()),
        };
        let node = if apart.tool == Tool::Kustomize { apart.mapping } else { apart.name };
        if same {
            return self.add(&found.object, wanted, node, found.shared, (&old, &old)).map(|_| ());
        }
        if apart.tag.is_none() && apart.digest.is_none_or(Node::is_null) {
            let key = if apart.tool == Tool::Kustomize { "newTag" } else { "tag" };
            return Err(Refusal::NoVersion { file, position, image: wanted.image.clone(), key });
        }
        if let Some(sha) = apart.digest.filter(|node| apart.key_of(node).starts_with("sha"))
            && with_algorithm(sha.as_str().unwrap_or_default()).parse::<Digest>().is_err()
        {
            let (key, value) = (apart.key_of(sha).to_owned(), sha.as_str().unwrap_or_default().to_owned());
            let (position, image) = (Position::of(self.text, sha.place.start), wanted.image.clone());
            return Err(Refusal::NoDigest { file, position, key, value, image });
        }
        let is_blank = |node: &&Node<'_>| node.place.is_empty();
        if let Some(blank) = [apart.tag, apart.digest].into_iter().flatten().find(is_blank) {
            let (position, image) = (Position::of(self.text, blank.place.start), wanted.image.clone());
            return Err(Refusal::Blank { file, position, key: apart.key_of(blank).to_owned(), image });
        }
        // What stands under `name` alone is what containers have.
        if moves && apart.tool == Tool::Kustomize && apart.replaces.is_none() {
            let (image, repository) = (wanted.image.clone(), repository.to_string());
            return Err(Refusal::NoNewName { file, position, image, repository, written });
        }
        let shown = apart.tag.map(|_| tag.clone());
        let mut new = ImageRef { repository: repository.clone(), tag: shown, digest: Some(digest.clone()) };
        if apart.tool == Tool::Helm && apart.digest.is_none() && pinned.is_none() {
            new.digest = None;
        }
        if !self.add(&found.object, wanted, node, found.shared, (&old, &new.to_string()))? {
            return Ok(());
        }
        if moves {
            let registry = apart.registry.filter(|node| said(Some(node)).is_some());
            let name = registry.map_or_else(|| repository.to_string(), |_| repository.path().to_owned());
            let parts = [(registry, repository.registry()), (Some(apart.name), name.as_str())];
            for (node, text) in parts.into_iter().filter_map(|(node, text)| Some((node?, text))) {
                self.set(node, node.as_str().unwrap_or_default(), text)?;
            }
        }
        if let Some(node) = apart.tag {
            let text = if pinned.is_some() { format!("{tag}@{digest}") } else { tag.to_string() };
            self.set(node, node.as_str().unwrap_or_default(), &text)?;
        }
        match apart.digest {
            Some(node) => {
                let old = node.as_str().unwrap_or_default();
                let digits_alone = with_algorithm(old) != old;
                self.set(node, old, if digits_alone { digest.hex() } else { digest.as_str() })
            }
            None if apart.tool == Tool::Helm => Ok(()),
            None => {
                let key = apart.mapping.entries().iter().find(|entry| entry.key.as_str() == Some("newTag"));
                let key = &key.ok_or_else(unproven)?.key;
                let edit = splice::insert(self.text, apart.mapping, key, "digest", digest.as_str());
                self.edits.push(edit.ok_or_else(unproven)?);
                Ok(())
            }
        }
    }

    /// A kustomization that puts another image in the place of ours: whatever is written for ours would not run.
    fn replaced(
        &self,
        apart: &Apart<'_, '_>,
        by: &Repository,
        position: Position,
        marks: &Marks<'_, '_>,
    ) -> Result<(), Refusal> {
        let marked = [Some(apart.name), apart.tag, apart.digest];
        let marked = marked.into_iter().flatten().any(|node| marks.contains_key(&node.place.start));
        let name = said(apart.replaces).and_then(|name| name.parse::<Repository>().ok());
        let ours = name.and_then(|name| self.images.known.iter().find(|(_, known)| **known == name));
        let ours = ours.and_then(|(image, _)| self.images.wanted(image));
        match ours.filter(|_| !marked && !self.images.known.values().any(|known| known == by)) {
            Some(wanted) => Err(Refusal::Replaced {
                file: self.file.path.to_owned(),
                position,
                image: wanted.image.clone(),
                by: by.to_string(),
            }),
            None => Ok(()),
        }
    }

    fn marked(&mut self, mark: &Marked<'_, '_>, marks: &Marks<'_, '_>) -> Result<(), Refusal> {
        let Some(wanted) = self.images.wanted(&mark.image) else { return Ok(()) };
        let node = mark.node;
        let position = Position::of(self.text, node.place.start);
        let file = self.file.path.to_owned();
        let old = node.as_str().unwrap_or_default().trim();
        if is_template(node) {
            return Err(Refusal::Template { file, position, value: old.to_owned() });
        }
        // An alias has no text of its own, and is refused below.
        let alias = node.as_str().is_none().then(|| wanted.reference.to_string());
        let Some(new) = alias.or_else(|| mark.part.filled(wanted, old)) else {
            let (value, image) = (old.to_owned(), mark.image.clone());
            return Err(Refusal::NoPart { file, position, value, what: mark.part.word(), image });
        };
        if mark.part == Part::Tag
            && let Some(digest) = mark.digest.filter(|digest| said(Some(digest)).is_some())
            && !marks.contains_key(&digest.place.start)
            && !self.covered.contains(&digest.place.start)
        {
            let (position, image) = (Position::of(self.text, digest.place.start), mark.image.clone());
            return Err(Refusal::StaleDigest { file, position, image });
        }
        let repository = &wanted.reference.repository;
        let moves = self.images.known.get(&mark.image).is_some_and(|known| known != repository);
        let names = |other: &Marked<'_, '_>| other.image == mark.image && other.part == Part::Name;
        let is_bare = matches!(mark.part, Part::Tag | Part::Digest) && !self.covered.contains(&node.place.start);
        if moves && is_bare && old != new && !marks.values().any(names) {
            let (image, repository) = (mark.image.clone(), repository.to_string());
            return Err(Refusal::NoName { file, position, what: mark.part.word(), image, repository });
        }
        let new = if mark.part == Part::Tag && is_settled(wanted, marks) { old.to_owned() } else { new };
        if self.add(&mark.object, wanted, node, mark.shared, (old, &new))? {
            self.set(node, old, &new)?;
        }
        Ok(())
    }

    /// Text that is no reference: somebody else's, or ours in a way that nobody can edit.
    fn foreign(&self, node: &Node<'_>, value: String) -> Result<(), Refusal> {
        let (file, position) = (self.file.path.to_owned(), Position::of(self.text, node.place.start));
        match (self.images.named_in(&value), value.contains("{{")) {
            (true, true) => Err(Refusal::Template { file, position, value }),
            (true, false) => Err(Refusal::NoReference { file, position, value }),
            (false, _) => Ok(()),
        }
    }

    /// The one image that a field is of, where it is wanted.
    fn claim(
        &self,
        repository: &Repository,
        spot: &Spot<'_, '_>,
        value: &str,
        marks: &Marks<'_, '_>,
    ) -> Result<Option<&'p Wanted>, Refusal> {
        let marked = spot.nodes().into_iter().filter_map(|node| marks.get(&node.place.start)).map(|mark| &mark.image);
        let mut all = self.images.claims(repository, value);
        let wanted = all.first().and_then(|image| self.images.wanted(image));
        if !all.is_empty() {
            all.extend(marked);
        }
        all.dedup();
        match all.as_slice() {
            [first, second, ..] => Err(Refusal::TwoImages {
                file: self.file.path.to_owned(),
                position: Position::of(self.text, spot.place().start),
                first: (*first).clone(),
                second: (*second).clone(),
                value: value.to_owned(),
            }),
            _ => Ok(wanted),
        }
    }

    /// Notes a field, and says whether it is to be changed.
    fn add(
        &mut self,
        object: &Object,
        wanted: &Wanted,
        node: &Node<'_>,
        shared: Shared,
        (old, new): (&str, &str),
    ) -> Result<bool, Refusal> {
        let position = Position::of(self.text, node.place.start);
        if shared == Shared::Yes && old != new {
            let (image, object) = (wanted.image.clone(), object.to_string());
            return Err(Refusal::Alias { file: self.file.path.to_owned(), position, image, object });
        }
        let (object, old, new) = (object.clone(), old.to_owned(), new.to_owned());
        let field = Field { image: wanted.image.clone(), object, position, old, new };
        let changed = field.is_changed();
        self.fields.push(field);
        Ok(changed)
    }

    fn set(&mut self, node: &Node<'_>, old: &str, new: &str) -> Result<(), Refusal> {
        // A tag that is right already needs no edit beside a digest that is new.
        if old == new {
            return Ok(());
        }
        let edit =
            splice::set(self.text, self.format, node, old, new).ok_or_else(|| self.unproven(node.place.start))?;
        // A rule and a mark may say the same of one scalar.
        if !self.edits.contains(&edit) {
            self.edits.push(edit);
        }
        Ok(())
    }

    /// A key that stands a second time in its mapping, where either of the two leads to the field. Only on the way to a
    /// field of ours: other people's mistakes are theirs.
    fn no_duplicate(&self, document: &Document<'_>, field: &[&Node<'_>]) -> Result<(), Refusal> {
        let leads = |node: &Node<'_>| {
            let inside = |part: &&Node<'_>| node.place.start <= part.place.start && part.place.end <= node.place.end;
            field.iter().any(inside)
        };
        let mut waiting: Vec<&Node<'_>> = document.root.iter().collect();
        while let Some(node) = waiting.pop() {
            let mut keys: HashMap<&str, bool> = HashMap::new();
            for entry in node.entries() {
                let Some(key) = entry.key.as_str() else { continue };
                let matters = leads(&entry.value);
                if keys.insert(key, matters).is_some_and(|before| before || matters) {
                    let position = Position::of(self.text, entry.key.place.start);
                    return Err(Refusal::DuplicateKey {
                        file: self.file.path.to_owned(),
                        position,
                        key: key.to_owned(),
                    });
                }
            }
            waiting.extend(node.entries().iter().map(|entry| &entry.value).chain(node.items()));
        }
        Ok(())
    }

    fn unproven(&self, byte: usize) -> Refusal {
        let value = line_at(self.text, byte).trim().to_owned();
        Refusal::Unproven { file: self.file.path.to_owned(), position: Position::of(self.text, byte), value }
    }

    fn finish(mut self, before: &[Document<'_>]) -> Result<Patch<'f>, Refusal> {
        self.fields.sort_by_key(|field| field.position);
        let Some(first) = self.edits.first().map(|edit| edit.place.start) else {
            return Ok(Patch { bytes: Cow::Borrowed(self.file.bytes), fields: self.fields });
        };
        let after = splice::splice(self.text, &self.edits).ok_or_else(|| self.unproven(first))?;
        if self.format == Format::Json && !is_json(self.file, &after) {
            return Err(self.unproven(first));
        }
        let parsed = readable(self.file, &after);
        let parsed = parse(self.file, &parsed).map_err(|_| self.unproven(first))?;
        prove::prove(before, &parsed, &self.edits).map_err(|byte| self.unproven(byte))?;
        Ok(Patch { bytes: Cow::Owned(after.into_bytes()), fields: self.fields })
    }
}

fn is_template(node: &Node<'_>) -> bool {
    node.as_str().is_some_and(|text| text.contains("{{"))
}
