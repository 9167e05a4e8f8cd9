//! The filters that the attributes of a tree name (gitattributes(5)), whatever is checked out.

use super::{Error, Repository};
use crate::values::Oid;
use gix::{
    attrs::StateRef,
    bstr::{BString, ByteSlice},
    worktree::stack::state::attributes::Source,
};
use std::collections::BTreeSet;

impl Repository {
    /// Whether some `.gitattributes` of a tree speaks of a filter at all: quick, where none does.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn has_filter(&self, treeish: &Oid, filter: &str) -> Result<bool, Error> {
        let wanted = format!("filter={filter}");
        let own = [self.common_dir().join("info/attributes")];
        if own.iter().any(|path| std::fs::read(path).is_ok_and(|text| text.contains_str(&wanted))) {
            return Ok(true);
        }
        for entry in self.entries(treeish)? {
            let is_one = entry.path == ".gitattributes" || entry.path.ends_with(b"/.gitattributes");
            if is_one && self.blob(&entry.oid)?.contains_str(&wanted) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Those of some paths of a tree that a filter is for.
    ///
    /// # Errors
    /// When the attributes cannot be read.
    pub fn filtered<'p>(
        &self,
        treeish: &Oid,
        filter: &str,
        paths: impl Iterator<Item = &'p BString>,
    ) -> Result<BTreeSet<BString>, Error> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::read(format!("the attributes of {treeish}"), error)
        };
        let repository = self.gix();
        let id = gix::ObjectId::from_hex(treeish.as_str().as_bytes()).map_err(|error| failed(error.into()))?;
        let object = repository.find_object(id).map_err(|error| failed(error.into()))?;
        let tree = object.peel_to_tree().map_err(|error| failed(error.into()))?;
        let index = repository.index_from_tree(&tree.id).map_err(|error| failed(error.into()))?;
        let mut attributes =
            repository.attributes_only(&index, Source::IdMapping).map_err(|error| failed(error.into()))?;
        let mut selected = attributes.selected_attribute_matches(["filter"]);
        let mut found = BTreeSet::new();
        for path in paths {
            let platform = attributes.at_entry(path.as_bstr(), None).map_err(|error| failed(error.into()))?;
            selected.reset();
            platform.matching_attributes(&mut selected);
            let is_filtered = selected.iter_selected().any(|found| {
                matches!(found.assignment.state, StateRef::Value(value) if value.as_bstr() == filter.as_bytes())
            });
            if is_filtered {
                found.insert(path.clone());
            }
        }
        Ok(found)
    }
}
