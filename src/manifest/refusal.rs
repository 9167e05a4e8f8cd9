use crate::{values::ImageName, yaml::Position};
use miette::Diagnostic;

/// Why a file is not edited. Each names the file and the place; nothing of the file was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Diagnostic)]
pub enum Refusal {
    /// Bytes that are no text.
    #[error("{file} names an image to deliver but is not UTF-8 (byte {byte})")]
    #[diagnostic(code(config), help("save the file as UTF-8"))]
    NotUtf8 {
        /// Its path.
        file: String,
        /// The first byte that is wrong.
        byte: usize,
    },

    /// Text that is no YAML.
    #[error("{file}:{position}: this file names an image to deliver but is no YAML: {message}")]
    #[diagnostic(code(config), help("mend the file in the manifest repository"))]
    NotYaml {
        /// Its path.
        file: String,
        /// Where the parser stopped.
        position: Position,
        /// What it says.
        message: String,
    },

    /// A file too large to be a manifest.
    #[error("{file} names an image to deliver but is larger than {limit} bytes")]
    #[diagnostic(code(config), help("split the file: a manifest is small"))]
    TooLarge {
        /// Its path.
        file: String,
        /// The limit.
        limit: usize,
    },

    /// A reference that a template makes.
    #[error("{file}:{position}: the reference {value:?} is made by a template")]
    #[diagnostic(
        code(config),
        help("write the whole reference there; what a chart or generator makes cannot be edited safely")
    )]
    Template {
        /// Its path.
        file: String,
        /// Where the reference starts.
        position: Position,
        /// What stands there.
        value: String,
    },

    /// Something that names the repository but is no reference.
    #[error("{file}:{position}: {value:?} names the image but is no image reference")]
    #[diagnostic(code(config), help("write it as repository:tag, without variables"))]
    NoReference {
        /// Its path.
        file: String,
        /// Where it starts.
        position: Position,
        /// What stands there.
        value: String,
    },

    /// A reference that other places share.
    #[error(
        "{file}:{position}: the reference of {image} in {object} is shared through an alias, so more would change than the image"
    )]
    #[diagnostic(code(config), help("write the reference in this field, without anchor and alias"))]
    Alias {
        /// Its path.
        file: String,
        /// Where the reference starts.
        position: Position,
        /// The image it is of.
        image: ImageName,
        /// The object that it stands in.
        object: String,
    },

    /// A key that stands twice in one mapping.
    #[error("{file}:{position}: the key {key:?} stands here a second time, and parsers disagree on which one counts")]
    #[diagnostic(code(config), help("take one of the two out"))]
    DuplicateKey {
        /// Its path.
        file: String,
        /// Where the second one stands.
        position: Position,
        /// The key.
        key: String,
    },

    /// Two images that are at one place in the registry.
    #[error("{file}:{position}: both {first} and {second} claim the reference {value:?}")]
    #[diagnostic(code(config), help("give each image a repository of its own in .gitops-hooks.yaml"))]
    TwoImages {
        /// Its path.
        file: String,
        /// Where the reference starts.
        position: Position,
        /// One image.
        first: ImageName,
        /// The other.
        second: ImageName,
        /// The reference.
        value: String,
    },

    /// A kustomization that leaves the version to its base.
    #[error("{file}:{position}: the entry of {image} has neither newTag nor digest")]
    #[diagnostic(code(config), help("give it `newTag: none`; the delivery then fills it in"))]
    NoVersion {
        /// Its path.
        file: String,
        /// Where the entry starts.
        position: Position,
        /// The image it is of.
        image: ImageName,
    },

    /// A field written so that its bytes could not be changed alone.
    #[error("{file}:{position}: the reference {value:?} cannot be changed without touching more than it")]
    #[diagnostic(code(config), help("write it plainly on one line"))]
    Unproven {
        /// Its path.
        file: String,
        /// Where it stands.
        position: Position,
        /// The reference.
        value: String,
    },
}
