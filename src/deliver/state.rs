//! `.gitops-hooks/state.yaml` beside an environment's manifests: what runs there and from which source commit. Everybody
//! who delivers reads it first; it is read strictly, because a guess here would deliver backwards.

use super::Error;
use crate::{
    values::{ImageName, ImageRef, Oid, RelativePath},
    yaml::{self, Node, Position, Value},
};
use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

/// The file, below the environment's path.
pub const FILE: &str = ".gitops-hooks/state.yaml";

/// More is no state file.
const MAX_BYTES: usize = 1 << 20;

const HEAD: &str = "\
# Written by gitops-hooks with each delivery: the images that run here, and the source commits they were built from.
# Not for editing by hand. If it is broken, restore it from the last delivery commit.
";

/// What runs in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// The branch of the source that the last delivery came from.
    pub branch: Option<String>,
    /// Who said that nothing newer is delivered, and why.
    pub hold: Option<Hold>,
    /// By the image's name in the configuration.
    pub images: BTreeMap<ImageName, Running>,
}

/// One image of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The source commit that was delivered.
    pub source: Oid,
    /// The reference that was written, with its digest.
    pub reference: ImageRef,
}

/// A word that an environment stays as it is, until somebody takes it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Who said so: `Ada <ada@example.com>`.
    pub by: String,
    /// Why.
    pub why: String,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.by.split_once(" <").map_or(self.by.as_str(), |(name, _)| name);
        write!(f, "held by {who}: {}", self.why)
    }
}

impl State {
    /// The path of an environment's state file.
    #[must_use]
    pub fn path(environment: &RelativePath) -> String {
        environment.join(FILE)
    }

    /// What each image runs.
    pub(super) fn references(&self) -> impl Iterator<Item = (&ImageName, &ImageRef)> {
        self.images.iter().map(|(image, running)| (image, &running.reference))
    }

    /// Reads a state file. `path` is for messages.
    ///
    /// # Errors
    /// Anything that this program would not have written, with its place.
    pub fn parse(path: &str, bytes: &[u8]) -> Result<Self, Error> {
        let refuse = |position: Position, why: String| Error::State { path: path.to_owned(), position, why };
        let start = Position { line: 1, column: 1 };
        if bytes.len() > MAX_BYTES {
            return Err(refuse(start, format!("it is larger than {MAX_BYTES} bytes")));
        }
        let text = str::from_utf8(bytes).map_err(|_| refuse(start, "it is no UTF-8".to_owned()))?;
        let marks = ["<<<<<<< ", "||||||| ", ">>>>>>> "];
        if let Some(line) = text.lines().position(|line| marks.iter().any(|mark| line.starts_with(mark))) {
            return Err(refuse(
                Position { line: line + 1, column: 1 },
                "a merge left its conflict marks here".to_owned(),
            ));
        }
        let documents = yaml::parse(text).map_err(|error| refuse(error.position, error.message))?;
        let [document] = documents.as_slice() else {
            return Err(refuse(start, format!("it has {} documents instead of one", documents.len())));
        };
        let Some(root) = &document.root else { return Err(refuse(start, "it is empty".to_owned())) };
        read(root).map_err(|(byte, why)| refuse(Position::of(text, byte), why))
    }

    /// The file's text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("{HEAD}version: 1\n");
        if let Some(branch) = &self.branch {
            let _ = writeln!(text, "branch: {}", quoted(branch));
        }
        if let Some(hold) = &self.hold {
            let (by, why) = (quoted(&hold.by), quoted(&hold.why));
            let _ = writeln!(text, "hold:\n  by: {by}\n  why: {why}");
        }
        text.push_str("images:");
        text.push_str(if self.images.is_empty() { " {}\n" } else { "\n" });
        for (name, running) in &self.images {
            let source = running.source.as_str();
            // Only digits, or digits around one `e`, would be a number to other readers of YAML.
            let quote = if source.bytes().all(|b| b.is_ascii_digit() || b == b'e') { "\"" } else { "" };
            let name_quote = if name.as_str().bytes().all(|b| b.is_ascii_digit() || b == b'-') { "\"" } else { "" };
            let _ = writeln!(text, "  {name_quote}{name}{name_quote}:\n    source: {quote}{source}{quote}");
            let _ = writeln!(text, "    reference: {}", running.reference);
        }
        text
    }
}

/// A text in double quotes. JSON's are YAML's, except that YAML takes fewer characters as they are (YAML 1.2, `c-printable`)
/// and that some of those end a line or mark the order of bytes.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    let mut quoted = String::with_capacity(json.len());
    for c in json.chars() {
        if matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') {
            let _ = write!(quoted, "\\u{:04x}", u32::from(c));
        } else {
            quoted.push(c);
        }
    }
    quoted
}

/// A mistake: its byte and what it is.
type Mistake = (usize, String);

fn read(root: &Node<'_>) -> Result<State, Mistake> {
    let [version, branch, hold, images] = keys(root, ["version", "branch", "hold", "images"])?;
    let version = version.ok_or_else(|| (root.place.start, "it has no version".to_owned()))?;
    if version.as_str() != Some("1") {
        return Err((version.place.start, "this version of gitops-hooks reads version 1 only".to_owned()));
    }
    let images = images.ok_or_else(|| (root.place.start, "it has no images".to_owned()))?;
    let (branch, hold) = (branch.map(scalar::<String>).transpose()?, hold.map(read_hold).transpose()?);
    let mut state = State { branch, hold, images: BTreeMap::new() };
    for entry in mapping(images)? {
        let name: ImageName = scalar(&entry.key)?;
        let [source, reference] = keys(&entry.value, ["source", "reference"])?;
        let missing = |key: &str| (entry.key.place.start, format!("{name} has no {key}"));
        let source = scalar(source.ok_or_else(|| missing("source"))?)?;
        let node = reference.ok_or_else(|| missing("reference"))?;
        let reference: ImageRef = scalar(node)?;
        if reference.digest.is_none() {
            return Err((node.place.start, "the reference has no digest".to_owned()));
        }
        if state.images.insert(name.clone(), Running { source, reference }).is_some() {
            return Err((entry.key.place.start, format!("{name} stands here twice")));
        }
    }
    Ok(state)
}

fn read_hold(node: &Node<'_>) -> Result<Hold, Mistake> {
    let [by, why] = keys(node, ["by", "why"])?;
    let missing = |key: &str| (node.place.start, format!("the hold has no {key}"));
    let text = |value: Option<&Node<'_>>, key: &str| scalar::<String>(value.ok_or_else(|| missing(key))?);
    Ok(Hold { by: text(by, "by")?, why: text(why, "why")? })
}

/// The values of the known keys of a mapping; any other key, and any key twice, is a mistake.
fn keys<'t, 'a, const N: usize>(node: &'t Node<'a>, known: [&str; N]) -> Result<[Option<&'t Node<'a>>; N], Mistake> {
    let mut values = [None; N];
    for entry in mapping(node)? {
        let key = entry.key.as_str().unwrap_or_default();
        let slot = known.iter().position(|known| *known == key).map(|at| &mut values[at]);
        match slot {
            Some(slot @ None) => *slot = Some(&entry.value),
            Some(Some(_)) => return Err((entry.key.place.start, format!("the key {key:?} stands here twice"))),
            None => return Err((entry.key.place.start, format!("unknown key {key:?}"))),
        }
    }
    Ok(values)
}

fn mapping<'t, 'a>(node: &'t Node<'a>) -> Result<&'t [yaml::Entry<'a>], Mistake> {
    match &node.value {
        Value::Mapping(entries) if node.anchor.is_none() && node.tag.is_none() => Ok(entries),
        _ => Err((node.place.start, "a mapping should stand here".to_owned())),
    }
}

fn scalar<T: std::str::FromStr<Err: std::fmt::Display>>(node: &Node<'_>) -> Result<T, Mistake> {
    match node.as_str() {
        Some(text) if node.anchor.is_none() && node.tag.is_none() => {
            text.parse().map_err(|error: T::Err| (node.place.start, error.to_string()))
        }
        _ => Err((node.place.start, "plain text should stand here".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn running(source: &str) -> Running {
        let reference = format!("registry.example.com/team/web:git-{source}@sha256:{}", "a".repeat(64));
        Running { source: source.parse().unwrap(), reference: reference.parse().unwrap() }
    }

    #[test]
    fn it_reads_as_people_expect() {
        let state = State {
            branch: Some("main".to_owned()),
            hold: None,
            images: [("web".parse().unwrap(), running(&"1a".repeat(20)))].into(),
        };
        let text = state.render();
        let expected = format!(
            "version: 1\nbranch: \"main\"\nimages:\n  web:\n    source: {0}\n    reference: registry.example.com/team/web:git-{0}@sha256:{1}\n",
            "1a".repeat(20),
            "a".repeat(64)
        );
        assert_eq!(text.strip_prefix(HEAD), Some(expected.as_str()));
    }

    #[test]
    fn what_is_broken_is_refused_with_its_place() {
        let good = State {
            branch: Some("main".to_owned()),
            hold: None,
            images: [("web".parse().unwrap(), running(&"1a".repeat(20)))].into(),
        }
        .render();
        let cases = [
            (good.replace("version: 1", "version: 2"), ":3:10: this state file"),
            (good.replace("version: 1\n", ""), "it has no version"),
            (
                good.replace("    source:", "    sauce:"),
                ":7:5: this state file cannot be trusted: unknown key \"sauce\"",
            ),
            (good.replace("@sha256", "#sha256"), "expected"),
            (format!("{good}<<<<<<< HEAD\n"), "conflict marks"),
            (format!("{good}version: 1\n"), "twice"),
            (format!("{good}---\na: 1\n"), "2 documents"),
            (good.replace("web:\n", "web: [\n"), ""),
            (good.replace("source: ", "source: &a "), "plain text"),
            (String::new(), "instead of one"),
        ];
        for (text, expected) in cases {
            let error = State::parse("staging/.gitops-hooks/state.yaml", text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("staging/.gitops-hooks/state.yaml:") && error.contains(expected), "{error}");
        }
    }

    /// Any characters, those oftener that YAML does not take as they are.
    fn text() -> impl Strategy<Value = String> {
        let odd = "\u{0}\t\n\r\u{1b}\"\\\u{7f}\u{80}\u{85}\u{9f}\u{a0}\u{2028}\u{2029}\u{feff}\u{fffd}\u{fffe}\u{ffff}\u{1ffff}";
        let odd = proptest::sample::select(odd.chars().collect::<Vec<_>>());
        let character = prop_oneof![any::<char>(), odd];
        proptest::collection::vec(character, 0..20).prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            sources in proptest::collection::btree_map("[a-z0-9]{1,5}", "[0-9a-f]{40}", 0..4),
            hold in proptest::option::of((text(), text())),
            branch in proptest::option::of(text()),
        ) {
            let images = sources.iter().map(|(name, source)| (name.parse().unwrap(), running(source)));
            let hold = hold.map(|(by, why)| Hold { by, why });
            let state = State { branch, hold, images: images.collect() };
            prop_assert_eq!(State::parse("state.yaml", state.render().as_bytes()).unwrap(), state);
        }

        #[test]
        fn no_text_makes_it_fall_over(text in "\\PC{0,40}") {
            let _ = State::parse("state.yaml", text.as_bytes());
        }
    }
}
