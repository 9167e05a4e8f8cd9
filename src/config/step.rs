//! What a step says: what it runs, on which paths, when, and beside what.

use super::decode::{Decode, Located, Problems, object, wrong_type};
use crate::{
    values::{Command, Globs, ImageName, OperationState, RelativePath, Span},
    yaml::{Node, Value},
};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

object! {
    /// One thing to run on a snapshot: a command (`run`) or the build of an image (`image`).
    Step, "a step" at place {
        /// What people call the step. Without it, the image's name or the command's first word; more words where commands of the hook begin alike.
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
        self.name.as_deref().map_or(UNNAMED, String::as_str)
    }

    /// Whether a name in `needs`, `--step` or `GITOPS_HOOKS_SKIP` means this step.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.label() == name || self.tags.iter().any(|tag| tag == name)
    }
}

/// What a step without a name, an image and a command is called.
const UNNAMED: &str = "step";
/// This many words of a command are a name at most.
const WORDS: usize = 8;

/// What a step may be called by.
pub(super) struct Said<'s> {
    pub(super) name: Option<&'s str>,
    pub(super) image: Option<&'s str>,
    pub(super) run: Option<&'s str>,
}

impl<'s> Said<'s> {
    fn written(&self) -> Option<&'s str> {
        self.name.or(self.image)
    }

    /// Whether its command's words may be its name. A layer above may have written them, to say which step it means.
    fn is_called_by_its_command(&self) -> bool {
        self.written().is_none_or(|name| self.words(WORDS).starts_with(name))
    }

    /// The first words of the command's first line.
    fn words(&self, count: usize) -> String {
        let line = self.run.and_then(|run| run.trim_start().lines().next()).unwrap_or(UNNAMED);
        line.split_whitespace().take(count).collect::<Vec<_>>().join(" ")
    }
}

/// What the steps of a hook are called. Commands that begin alike have as many words as tell them apart.
pub(super) fn labels(steps: &[Said<'_>]) -> Vec<String> {
    let written: BTreeSet<&str> = steps.iter().filter_map(Said::written).collect();
    let mut labels: Vec<Option<String>> = steps.iter().map(|step| step.written().map(str::to_owned)).collect();
    for count in 1..=WORDS {
        let begin: Vec<String> = steps.iter().map(|step| step.words(count)).collect();
        let mut alike: HashMap<&str, usize> = HashMap::new();
        for (words, _) in begin.iter().zip(steps).filter(|(_, step)| step.is_called_by_its_command()) {
            *alike.entry(words).or_default() += 1;
        }
        for (label, words) in labels.iter_mut().zip(&begin).filter(|(label, _)| label.is_none()) {
            if count == WORDS || (alike[words.as_str()] == 1 && !written.contains(words.as_str())) {
                *label = Some(words.clone());
            }
        }
    }
    labels.into_iter().flatten().collect()
}

/// Gives the steps of a hook that have no name the one that they are called by.
pub(super) fn name(steps: &mut [Step]) {
    let said = steps.iter().map(|step| Said {
        name: step.name.as_deref().map(String::as_str),
        image: step.image.as_deref().map(ImageName::as_str),
        run: step.run.as_deref().map(Command::written),
    });
    let labels = labels(&said.collect::<Vec<_>>());
    for (step, label) in steps.iter_mut().zip(labels) {
        step.name.get_or_insert(Located::unwritten(label));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_begin_alike_are_called_by_the_words_that_tell_them_apart() {
        let called = |runs: &[&str]| {
            let said = runs.iter().map(|run| match run.strip_prefix("name ") {
                Some(name) => Said { name: Some(name), image: None, run: None },
                None => Said { name: None, image: None, run: Some(run) },
            });
            labels(&said.collect::<Vec<_>>())
        };
        assert_eq!(called(&["npm run lint", "pytest -q"]), ["npm", "pytest"]);
        assert_eq!(called(&["npm run lint", "npm run  test -- -q"]), ["npm run lint", "npm run test"]);
        assert_eq!(called(&["npm test", "npm run a", "npm run b"]), ["npm test", "npm run a", "npm run b"]);
        assert_eq!(called(&["make", "make test", "name lint", "lint ."]), ["make", "make test", "lint", "lint ."]);
        assert_eq!(called(&["set -e\nmake a", "set -e\nmake b"]), ["set -e", "set -e"]);
        assert_eq!(called(&["a b c d e f g h 1", "a b c d e f g h 2"]), ["a b c d e f g h", "a b c d e f g h"]);
    }
}
