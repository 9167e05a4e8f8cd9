use super::{Place, Position};
use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StructureStyle};
use std::{borrow::Cow, collections::HashMap};

/// How deep collections may nest. Kubernetes objects stay below 30; deeper is an attack.
const MAX_DEPTH: usize = 128;

/// One document of a stream.
#[derive(Debug)]
pub struct Document<'a> {
    /// Its root; `None` for an empty document.
    pub root: Option<Node<'a>>,
    /// Its comments, in order.
    pub comments: Vec<Comment<'a>>,
    /// The byte after the last one that belongs to this document.
    pub end: usize,
}

/// A comment and where it stands, `#` included.
#[derive(Debug, Clone)]
pub struct Comment<'a> {
    /// The text after `#`.
    pub text: Cow<'a, str>,
    /// Its bytes.
    pub place: Place,
}

/// A node and the bytes it was written with: quotes included, anchor and tag excluded.
#[derive(Debug, Clone)]
pub struct Node<'a> {
    /// What it is.
    pub value: Value<'a>,
    /// Its bytes.
    pub place: Place,
    /// The anchor defined on it, as the parser numbers them.
    pub anchor: Option<usize>,
    /// The explicit tag on it, as `handle` + `suffix`.
    pub tag: Option<String>,
}

/// What a node is. Aliases stay aliases: nothing is expanded, so that a small file stays small.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// A scalar after escapes are read, and how it was written.
    Scalar(Cow<'a, str>, Style),
    /// A sequence.
    Sequence(Vec<Node<'a>>),
    /// A mapping, in order, duplicates included.
    Mapping(Vec<Entry<'a>>),
    /// `*name`: the number of the anchor it refers to.
    Alias(usize),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The key.
    pub key: Node<'a>,
    /// The value.
    pub value: Node<'a>,
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// `'…'`.
    SingleQuoted,
    /// `"…"`.
    DoubleQuoted,
    /// `|` or `>`.
    Block,
}

impl<'a> Node<'a> {
    /// The scalar's text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// The first value under a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node<'a>> {
        self.entries().iter().find(|entry| entry.key.as_str() == Some(key)).map(|entry| &entry.value)
    }

    /// The entries of a mapping; none for anything else.
    #[must_use]
    pub fn entries(&self) -> &[Entry<'a>] {
        match &self.value {
            Value::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a sequence; none for anything else.
    #[must_use]
    pub fn items(&self) -> &[Node<'a>] {
        match &self.value {
            Value::Sequence(items) => items,
            _ => &[],
        }
    }

    /// Whether this is a scalar that YAML's core schema reads as null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(text, Style::Plain) if matches!(&**text, "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// Text that is no YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// What the parser says.
    pub message: String,
    /// The byte where it stopped.
    pub byte: usize,
    /// The same as line and column.
    pub position: Position,
}

/// Parses a stream of documents.
///
/// # Errors
/// The first place that is no YAML, or where collections nest deeper than 128.
pub fn parse(text: &str) -> Result<Vec<Document<'_>>, ParseError> {
    documents(text, usize::MAX).collect()
}

/// The same one by one, for whoever has little memory: each document may have at most so many nodes and comments. The first
/// mistake is the last item.
pub fn documents(text: &str, most: usize) -> impl Iterator<Item = Result<Document<'_>, ParseError>> {
    let mut options = Options::default();
    options.flow_nesting_limit = options.flow_nesting_limit.min(MAX_DEPTH);
    options.block_nesting_limit = options.block_nesting_limit.min(MAX_DEPTH);
    let parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Some(Builder { text, parser, comments: Vec::new(), most, left: most });
    std::iter::from_fn(move || {
        let next = builder.as_mut()?.next_document().transpose();
        if !matches!(next, Some(Ok(_))) {
            builder = None;
        }
        next
    })
}

impl<'a> Document<'a> {
    /// The nodes that aliases of this document may refer to, by the anchor's number.
    #[must_use]
    pub fn anchors(&self) -> HashMap<usize, &Node<'a>> {
        let mut found = HashMap::new();
        let mut waiting: Vec<&Node<'a>> = self.root.iter().collect();
        while let Some(node) = waiting.pop() {
            if let Some(anchor) = node.anchor {
                found.insert(anchor, node);
            }
            waiting.extend(node.items());
            waiting.extend(node.entries().iter().flat_map(|entry| [&entry.key, &entry.value]));
        }
        found
    }
}

struct Builder<'a> {
    text: &'a str,
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    comments: Vec<Comment<'a>>,
    /// The most nodes and comments of one document, and how many of them this one has left.
    most: usize,
    left: usize,
}

impl<'a> Builder<'a> {
    /// The next document; `None` at the end of the stream.
    fn next_document(&mut self) -> Result<Option<Document<'a>>, ParseError> {
        self.left = self.most;
        loop {
            match self.next()?.0 {
                Event::StreamEnd => return Ok(None),
                Event::DocumentStart(..) => return self.document().map(Some),
                _ => {}
            }
        }
    }

    /// Makes room for one node or comment more.
    fn charge(&mut self, byte: usize) -> Result<(), ParseError> {
        let Some(left) = self.left.checked_sub(1) else {
            let message = format!("one document has more than {} nodes and comments; split it", self.most);
            return Err(self.error(message, byte));
        };
        self.left = left;
        Ok(())
    }

    /// The next event that is no comment.
    fn next(&mut self) -> Result<(Event<'a>, Span), ParseError> {
        loop {
            match self.parser.next_event() {
                Some(Ok((Event::Comment(text, _), span))) => {
                    let place = span.byte_range().unwrap_or_default();
                    self.charge(place.start)?;
                    self.comments.push(Comment { text, place });
                }
                Some(Ok(found)) => return Ok(found),
                Some(Err(error)) => {
                    let byte = error.marker().byte_offset().unwrap_or(self.text.len());
                    return Err(self.error(error.info(), byte));
                }
                None => return Err(self.error("the stream ends early".to_owned(), self.text.len())),
            }
        }
    }

    fn error(&self, message: String, byte: usize) -> ParseError {
        ParseError { message, byte, position: Position::of(self.text, byte) }
    }

    fn document(&mut self) -> Result<Document<'a>, ParseError> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::DocumentEnd) {
                let end = span.byte_range().map_or(self.text.len(), |range| range.end);
                return Ok(Document { root, comments: std::mem::take(&mut self.comments), end });
            }
            root = Some(self.node(event, span, 0)?);
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node<'a>, ParseError> {
        let mut place = span.byte_range().unwrap_or_default();
        if depth > MAX_DEPTH {
            return Err(self.error(format!("collections nest deeper than {MAX_DEPTH}"), place.start));
        }
        self.charge(place.start)?;
        let anchor = event.anchor_id();
        let tag = event.tag().map(granit_parser::Tag::original);
        let value = match event {
            Event::Scalar(text, style, ..) => {
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted => Style::SingleQuoted,
                    ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
                    _ => Style::Block,
                };
                Value::Scalar(text, style)
            }
            Event::SequenceStart(style, ..) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        place.end = end_of(style, &span, items.last());
                        break Value::Sequence(items);
                    }
                    items.push(self.node(event, span, depth + 1)?);
                }
            }
            Event::MappingStart(style, ..) => {
                let mut entries: Vec<Entry<'a>> = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::MappingEnd) {
                        place.end = end_of(style, &span, entries.last().map(|entry| &entry.value));
                        break Value::Mapping(entries);
                    }
                    let key = self.node(event, span, depth + 1)?;
                    let (event, span) = self.next()?;
                    let value = self.node(event, span, depth + 1)?;
                    entries.push(Entry { key, value });
                }
            }
            Event::Alias(id) => Value::Alias(id),
            other => return Err(self.error(format!("unexpected {other:?}"), place.start)),
        };
        Ok(Node { value, place, anchor, tag })
    }
}

/// A flow collection ends with its bracket, a block collection with its last node: the parser's own end of a block is
/// only where the next token starts.
fn end_of(style: StructureStyle, span: &Span, last: Option<&Node<'_>>) -> usize {
    let token = span.byte_range().unwrap_or_default();
    match (style, last) {
        (StructureStyle::Block, Some(node)) => node.place.end,
        (StructureStyle::Block, None) => token.start,
        (StructureStyle::Flow, _) => token.end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(text: &str) -> Node<'_> {
        parse(text).unwrap().remove(0).root.unwrap()
    }

    #[test]
    fn places_are_bytes_as_written() {
        let text = "# ü\nimage: 'a''b' # why\nlist: [x, \"y\"]\nmap:\n  deep: é\nend: 1\n";
        let root = root(text);
        let written = |key: &str| &text[root.get(key).unwrap().place.clone()];
        assert_eq!(written("image"), "'a''b'");
        assert_eq!(written("list"), "[x, \"y\"]");
        assert_eq!(written("map"), "deep: é");
        assert_eq!(root.get("image").unwrap().as_str(), Some("a'b"));
    }

    #[test]
    fn documents_and_comments_are_kept_apart() {
        let documents = parse("a: 1 # one\n---\n# two\nb: 2\n---\n").unwrap();
        assert_eq!(documents.len(), 3);
        assert_eq!(documents[0].comments[0].text, " one");
        assert!(documents[2].root.as_ref().is_none_or(Node::is_null));
    }

    #[test]
    fn a_bomb_stays_small_and_a_tower_is_refused() {
        let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n";
        assert_eq!(root(bomb).get("c").unwrap().items().len(), 2);
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&"- ".repeat(100_000)).is_err());
    }

    #[test]
    fn a_document_with_more_nodes_than_allowed_is_refused_where_it_has_them_and_many_small_ones_are_not() {
        let read = |text: &str| documents(text, 10).map(|document| document.map(drop)).collect::<Result<Vec<()>, _>>();
        assert_eq!(read(&"a: 1\n---\n".repeat(100)).unwrap().len(), 101);
        let error = read(&format!("a: 1\n---\n{}", "- x\n".repeat(20))).unwrap_err();
        assert_eq!((error.position.line, error.message.contains("more than 10")), (12, true), "{error:?}");
        assert!(read(&"# x\n".repeat(20)).is_err());
        assert_eq!(parse(&"- x\n".repeat(20)).unwrap().len(), 1);
    }

    #[test]
    fn a_mistake_has_a_line_and_a_column() {
        let error = parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(error.position.line >= 2, "{error:?}");
    }
}
