use crate::{values::ImageName, yaml::Position};
use miette::Diagnostic;

/// Why a file is not edited. Each names the file and the place; nothing of the file was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Diagnostic)]
pub enum Refusal {
    /// Bytes that are no text.
    #[error("{file} may name an image to deliver but is not UTF-8 (byte {byte})")]
    #[diagnostic(code(config), help("save the file as UTF-8"))]
    NotUtf8 {
        /// Its path.
        file: String,
        /// The first byte that is wrong.
        byte: usize,
    },

    /// Text that is no YAML.
    #[error("{file}:{position}: this file may name an image to deliver but is no YAML: {message}")]
    #[diagnostic(
        code(config),
        help("mend the file in the manifest repository and push; then `gitops-hooks deliver` goes on")
    )]
    NotYaml {
        /// Its path.
        file: String,
        /// Where the parser stopped.
        position: Position,
        /// What it says.
        message: String,
    },

    /// A file too large to be a manifest.
    #[error("{file} may name an image to deliver but is larger than {limit} bytes")]
    #[diagnostic(code(config), help("split the file: a manifest is small"))]
    TooLarge {
        /// Its path.
        file: String,
        /// The limit.
        limit: usize,
    },

    /// Values that the configuration names and nobody wrote.
    #[error("{file} is not there, and `values` names it")]
    #[diagnostic(code(config), help("push it to the manifest repository, or correct `values` in .gitops-hooks.yaml"))]
    NoValues {
        /// Its path.
        file: String,
    },

    /// Values that lead elsewhere.
    #[error("{file} is a symbolic link, and `values` names it")]
    #[diagnostic(
        code(config),
        help(
            "push the file itself to the manifest repository, or let `values` in .gitops-hooks.yaml name where it leads"
        )
    )]
    LinkedValues {
        /// Its path.
        file: String,
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
    #[diagnostic(
        code(config),
        help("give each image a repository of its own in .gitops-hooks.yaml, or correct the mark")
    )]
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

    /// A kustomization that leaves the version to its base, or values that leave it to their chart.
    #[error("{file}:{position}: the entry of {image} has neither {key} nor digest")]
    #[diagnostic(code(config), help("give it `{key}: none`; the delivery then fills it in"))]
    NoVersion {
        /// Its path.
        file: String,
        /// Where the entry starts.
        position: Position,
        /// The image it is of.
        image: ImageName,
        /// The key that is missing.
        key: &'static str,
    },

    /// A kustomization that would have to name another repository than its base.
    #[error("{file}:{position}: the entry of {image} has no newName, so that it cannot name {repository}")]
    #[diagnostic(code(config), help("give it `newName: {written}`; the delivery then changes it"))]
    NoNewName {
        /// Its path.
        file: String,
        /// Where the entry starts.
        position: Position,
        /// The image it is of.
        image: ImageName,
        /// The repository that is to run.
        repository: String,
        /// The one that runs.
        written: String,
    },

    /// A marked part beside a repository that would stay behind.
    #[error(
        "{file}:{position}: the {what} of {image} is marked and its repository is not, so that it cannot become {repository}"
    )]
    #[diagnostic(code(config), help("mark the repository in this file too: `# gitops-hooks: {image}:name`"))]
    NoName {
        /// Its path.
        file: String,
        /// Where the marked value starts.
        position: Position,
        /// What it is of the reference.
        what: &'static str,
        /// The image it is of.
        image: ImageName,
        /// The repository that is to run.
        repository: String,
    },

    /// A kustomization that lets another image run.
    #[error(
        "{file}:{position}: this entry puts {by} in the place of {image}, so that a delivery of {image} would not run"
    )]
    #[diagnostic(
        code(config),
        help(
            "take the entry out, or let `repository` of {image} in .gitops-hooks.yaml name {by}; where both hold the same, mark its newTag and digest with `# gitops-hooks: {image}:tag` and `# gitops-hooks: {image}:digest`"
        )
    )]
    Replaced {
        /// Its path.
        file: String,
        /// Where the entry starts.
        position: Position,
        /// The image that would not run.
        image: ImageName,
        /// The repository that runs.
        by: String,
    },

    /// A mark that cannot be followed.
    #[error("{file}:{position}: the mark `gitops-hooks: {mark}` cannot be followed: {why}")]
    #[diagnostic(
        code(config),
        help(
            "write `# gitops-hooks: IMAGE`, `IMAGE:name`, `IMAGE:tag` or `IMAGE:digest` at the end of the value's line, or on a line of its own above it"
        )
    )]
    Mark {
        /// Its path.
        file: String,
        /// Where the mark stands.
        position: Position,
        /// What it says.
        mark: String,
        /// What is wrong with it.
        why: String,
    },

    /// A marked value that is something else than the mark says.
    #[error("{file}:{position}: {value:?} is marked for {image} but is no {what}")]
    #[diagnostic(code(config), help("mark another value, or write any {what} there for the delivery to replace"))]
    NoPart {
        /// Its path.
        file: String,
        /// Where the value starts.
        position: Position,
        /// The value.
        value: String,
        /// What the mark says that it is.
        what: &'static str,
        /// The image.
        image: ImageName,
    },

    /// A digest that would stay behind.
    #[error(
        "{file}:{position}: the tag of {image} is marked and the digest beside it is not, so that the old digest would go on running"
    )]
    #[diagnostic(code(config), help("mark the digest too: `# gitops-hooks: {image}:digest`"))]
    StaleDigest {
        /// Its path.
        file: String,
        /// Where the digest starts.
        position: Position,
        /// The image.
        image: ImageName,
    },

    /// A key with nothing behind it.
    #[error("{file}:{position}: `{key}` of {image} is blank, so that there is nothing to replace")]
    #[diagnostic(code(config), help("write `{key}: \"\"`; the delivery then fills it in"))]
    Blank {
        /// Its path.
        file: String,
        /// Where its value would be.
        position: Position,
        /// The key.
        key: String,
        /// The image.
        image: ImageName,
    },

    /// What should be a digest, and would stay behind.
    #[error("{file}:{position}: {value:?} under `{key}` is no digest, so that it cannot follow the tag of {image}")]
    #[diagnostic(
        code(config),
        help("write the 64 digits of a digest there as your chart takes them, or take `{key}` out")
    )]
    NoDigest {
        /// Its path.
        file: String,
        /// Where it starts.
        position: Position,
        /// Its key.
        key: String,
        /// What stands there.
        value: String,
        /// The image.
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
