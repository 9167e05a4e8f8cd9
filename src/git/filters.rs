use gix::{
    attrs::StateRef,
    bstr::{BStr, ByteSlice},
    index::State,
    worktree::stack::state::attributes::Source,
};

/// Where git may change a file's bytes on their way between the work tree and a blob (gitattributes(5)).
pub(super) struct Filters<'a> {
    attributes: gix::AttributeStack<'a>,
    selected: gix::attrs::search::Outcome,
    /// Whether the configuration asks for CR LF in the work tree.
    line_ends: bool,
}

/// `text` alone changes nothing on a system whose lines end with LF.
const CHANGING: [&str; 4] = ["filter", "ident", "working-tree-encoding", "eol"];

impl<'a> Filters<'a> {
    /// `None` where the attributes cannot be read.
    pub(super) fn of(repository: &'a gix::Repository, index: &State) -> Option<Self> {
        let attributes = repository.attributes_only(index, Source::WorktreeThenIdMapping).ok()?;
        let selected = attributes.selected_attribute_matches(CHANGING);
        let config = repository.config_snapshot();
        let other = |key, harmless: [&str; 2]| match config.string(key) {
            Some(value) => !harmless.iter().any(|harmless| value.as_bytes() == harmless.as_bytes()),
            // A key without a value means true.
            None => config.boolean(key) == Some(true),
        };
        let line_ends = other("core.autocrlf", ["false", "input"]) || other("core.eol", ["lf", "native"]);
        Some(Self { attributes, selected, line_ends })
    }

    /// Whether the blob of this path is sure to have these bytes: a text without CR is the same on both sides.
    pub(super) fn keep(&mut self, path: &BStr, bytes: &[u8]) -> bool {
        !bytes.contains(&b'\r') && self.changes_nothing(path, &["lf", "crlf"])
    }

    /// Whether the file at this path is sure to have its blob's bytes.
    pub(super) fn keep_blob(&mut self, path: &BStr) -> bool {
        !self.line_ends && self.changes_nothing(path, &["lf"])
    }

    fn changes_nothing(&mut self, path: &BStr, harmless: &[&str]) -> bool {
        let Ok(platform) = self.attributes.at_entry(path, None) else { return false };
        self.selected.reset();
        platform.matching_attributes(&mut self.selected);
        self.selected.iter_selected().all(|found| match found.assignment.state {
            StateRef::Unspecified | StateRef::Unset => true,
            StateRef::Value(value) if found.assignment.name.as_str() == "eol" => {
                harmless.iter().any(|harmless| value.as_bstr() == *harmless)
            }
            StateRef::Value(_) | StateRef::Set => false,
        })
    }
}
