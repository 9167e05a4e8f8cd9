//! What a step says: what it runs, on which paths, when, and beside what.

use super::decode::{Decode, Located, Problems, object, wrong_type};
use crate::{
    values::{Command, Globs, ImageName, OperationState, RelativePath, Span},
    yaml::{Node, Value},
};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

object! {
    /// One thing to run on a snapshot: a command (`run`) or the build of an image (`image`).
    Step, "a step" at place {
        /// What people call the step. Without it, the command's first word or the image's name.
        name: Option<Located<String>>,
        /// A command for the shell. `{files}` stands for the changed paths that match `files`, quoted; `{all_files}` for all
        /// paths of the snapshot that match; `{staged_files}` and `{push_files}` are `{files}` where that is what has changed.
        /// A long list is split over several calls. `{message_file}` is the file of the commit message, `{1}`, `{2}` … are
        /// the hook's arguments. `${VAR}` and braces in quotes are the shell's.
        run: Option<Located<Command>>,
        /// The image to build and, in pre-push, to publish once every other step has passed.
        image: Option<Located<ImageName>>,
        /// Patterns as in .gitignore. The step runs only when a changed path matches.
        files: Option<Globs>,
        /// Patterns for paths that never count, whatever `files` says.
        exclude: Option<Globs>,
        /// The folder that it works in: `{files}` are relative to it, and only paths below it count.
        root: Located<RelativePath> = Located::unwritten(RelativePath::root()),
        /// Patterns for all that the step reads. Unchanged since it passed, it is not run again.
        inputs: Option<Globs>,
        /// Commands whose output belongs to what the step reads, such as `ruff --version`.
        tools: Vec<String>,
        /// Names or tags of steps of this hook that must have passed before.
        needs: Vec<Located<String>>,
        /// Names that several steps share; `needs`, `--step` and `GITOPS_HOOKS_SKIP` take them too.
        tags: Vec<String>,
        /// Steps with a lower number have ended before those with a higher one begin.
        priority: u16 = 0,
        /// Whether the step may change files: what it changes joins the commit.
        fix: bool = false,
        /// Conditions that must all hold, else the step is skipped.
        only: Condition = Condition::Always,
        /// Conditions of which any that holds skips the step.
        skip: Condition = Condition::Never,
        /// The longest that it may run before it is stopped. The build of an image has a limit only where one is written.
        timeout: Located<Span> = Located::unwritten(Span::seconds(600)),
        /// Environment variables for the command.
        env: BTreeMap<String, String>,
        /// The program that runs the command, with its options; the command follows `-c`.
        shell: Located<String> = Located::unwritten("sh".to_owned()),
        /// Whether it gets the terminal, to ask a person. It then runs alone.
        interactive: bool = false,
        /// Whether it gets the hook's standard input as git gave it.
        stdin: bool = false,
        /// In pre-push: whether it is also run ahead, in the background after each commit.
        background: bool = false,
        /// What to tell people when it fails.
        fail_text: Option<String>,
    }
}

object! {
    /// What `only` and `skip` may depend on.
    Conditions, "conditions" {
        /// Patterns for the name of the branch that is checked out; of a push, for that which is pushed. Where a push moves several branches to one commit, `only` asks for one of them, `skip` for all.
        branch: Option<Globs>,
        /// What git is in the middle of: merge, rebase, cherry-pick, revert, am, bisect.
        state: Vec<OperationState>,
        /// A command for the shell; it holds when it ends with 0. It runs while the plan is made, for at most 10 s, in the work tree; where a commit is judged that is not checked out, in a scratch tree that has it.
        run: Option<String>,
        /// Environment variables that are set and not empty, or, as `NAME=value`, have this value.
        env: Vec<String>,
        /// Patterns of which a changed path matches one.
        paths: Option<Globs>,
    }
}

/// When something holds: always, never, or under conditions.
#[derive(Debug, Clone)]
pub enum Condition {
    /// Written `true`.
    Always,
    /// Written `false`.
    Never,
    /// Written as a mapping.
    When(Box<Conditions>),
}

impl Decode for Condition {
    fn decode(node: &Node<'_>, problems: &mut Problems) -> Option<Self> {
        match (&node.value, node.as_str()) {
            (Value::Mapping(_), _) => Conditions::decode(node, problems).map(Box::new).map(Self::When),
            (_, Some("true")) => Some(Self::Always),
            (_, Some("false")) => Some(Self::Never),
            _ => wrong_type(node, "true, false or conditions", problems),
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "boolean" }, Conditions::schema()] })
    }
}

impl Step {
    /// The step's name, written or derived.
    #[must_use]
    pub fn label(&self) -> &str {
        label(
            self.name.as_deref().map(String::as_str),
            self.image.as_deref().map(ImageName::as_str),
            self.run.as_deref().map(Command::written),
        )
    }

    /// Whether a name in `needs`, `--step` or `GITOPS_HOOKS_SKIP` means this step.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.label() == name || self.tags.iter().any(|tag| tag == name)
    }
}

/// What a step is called by what it says of itself.
pub(super) fn label<'s>(name: Option<&'s str>, image: Option<&'s str>, run: Option<&'s str>) -> &'s str {
    name.or(image).or_else(|| run?.split_whitespace().next()).unwrap_or("step")
}
