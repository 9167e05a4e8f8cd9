//! Several files as one configuration: those that it extends, itself, and one person's own. Mappings are joined key by
//! key, a hook's steps by their names; of anything else the last one counts. Every node keeps the place it was written at.

use super::{
    Config, InvalidConfig, Mistake, PATHS,
    decode::{Decode, Problem, Problems, wrong_type},
    step::{self, Said},
    validate,
};
use crate::{
    values::{HookName, RelativePath, Version},
    yaml::{self, Node, Place, Position, Value},
};
use std::collections::HashMap;

/// What one person lays over the configuration of a repository, from the root of a work tree. Never tracked.
pub const LOCAL_PATH: &str = "gitops-hooks.local.yaml";

/// A file larger than this is refused unread.
const MAX_BYTES: usize = 1 << 20;
/// More files than this are no configuration.
const MAX_FILES: usize = 16;
/// More mistakes than this nobody reads at once.
pub(super) const MAX_MISTAKES: usize = 100;

/// A file and what it holds.
#[derive(Debug, Clone)]
pub struct Source {
    path: String,
    text: String,
    /// The first byte that is no UTF-8. What follows it in `text` is not what the file holds.
    broken: Option<usize>,
}

impl Source {
    /// A file by its path from the root of the repository, which is only for messages.
    #[must_use]
    pub fn new(path: &str, bytes: Vec<u8>) -> Self {
        let (text, broken) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let broken = error.utf8_error().valid_up_to();
                (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some(broken))
            }
        };
        Self { path: path.to_owned(), text, broken }
    }
}

/// What a path of the configuration must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
}

/// The files of a configuration.
#[derive(Debug)]
pub struct Layers {
    layers: Vec<Layer>,
    problems: Problems,
}

/// Whether one person's file says anything of a hook's steps.
#[must_use]
pub fn touches(own: &Source, hook: HookName) -> bool {
    let root = root(own, &mut Problems::default());
    let hooks = root.as_ref().and_then(|root| root.get("hooks"));
    hooks.is_some_and(|hooks| hooks.get(hook.as_str()).is_some())
}

#[derive(Debug)]
struct Layer {
    source: Source,
    /// Where its first byte stands when all files stand one after the other.
    start: usize,
    /// The files that it is laid over.
    extends: Vec<usize>,
    whose: Whose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Everybodys,
    OnePersons,
}

impl Layers {
    /// Gathers a configuration's files. `read` gives the text of a file of the same snapshot.
    ///
    /// # Errors
    /// When `read` fails. Mistakes in the files are told by [`Layers::parse`].
    pub fn gather<E>(
        main: Source,
        own: Option<Source>,
        mut read: impl FnMut(&str) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let mut gathered = Self { layers: Vec::new(), problems: Problems::default() };
        gathered.add(main, Whose::Everybodys);
        let mut at = 0;
        while at < gathered.layers.len() {
            for (path, place) in gathered.extended(at) {
                let problem = if gathered.layers.iter().any(|layer| layer.source.path == path.as_str()) {
                    format!("{} is read already", path.as_str())
                } else if gathered.layers.len() == MAX_FILES {
                    format!("more than {MAX_FILES} files")
                } else if let Some(bytes) = read(path.as_str())? {
                    let extended = gathered.add(Source::new(path.as_str(), bytes), Whose::Everybodys);
                    gathered.layers[at].extends.push(extended);
                    continue;
                } else {
                    format!("there is no file {}", path.as_str())
                };
                gathered.problems.add(&place, problem);
            }
            at += 1;
        }
        if let Some(own) = own {
            gathered.add(own, Whose::OnePersons);
        }
        Ok(gathered)
    }

    fn add(&mut self, source: Source, whose: Whose) -> usize {
        let start = self.layers.last().map_or(0, |layer| layer.start + layer.source.text.len() + 1);
        self.layers.push(Layer { source, start, extends: Vec::new(), whose });
        self.layers.len() - 1
    }

    /// The files that a file names under `extends`. What is wrong with it is told when all is decoded.
    fn extended(&self, at: usize) -> Vec<(RelativePath, Place)> {
        let text = &self.layers[at].source.text;
        // Most files extend nothing and need not be parsed twice.
        if !text.contains("extends") || text.len() > MAX_BYTES {
            return Vec::new();
        }
        let root = self.root(at, &mut Problems::default());
        let listed = root.as_ref().and_then(|root| root.get("extends")).map(Node::items).unwrap_or_default();
        listed.iter().filter_map(|item| Some((item.as_str()?.parse().ok()?, item.place.clone()))).collect()
    }

    /// Reads the files as one.
    ///
    /// # Errors
    /// Every mistake in any of them, with its place.
    pub fn parse(self) -> Result<Config, InvalidConfig> {
        self.check(|_, _| true)
    }

    /// Reads the files as one; `there` says whether a path from the root of the repository leads to a file or folder.
    ///
    /// # Errors
    /// Every mistake in any of them, with its place.
    pub fn check(mut self, there: impl Fn(&str, Kind) -> bool) -> Result<Config, InvalidConfig> {
        let mut problems = std::mem::take(&mut self.problems);
        let mut root = self.laid_over(0, &mut problems);
        if let Some((at, _)) = self.layers.iter().enumerate().find(|(_, layer)| layer.whose == Whose::OnePersons) {
            root = joined(root, self.root(at, &mut problems));
        }
        // Before anything else: what a newer version has brought is a mistake to this one.
        if let Some(problem) = root.as_ref().and_then(needs_newer) {
            return Err(self.invalid(vec![problem]));
        }
        let config = root.as_ref().and_then(|root| {
            let mut config = Config::decode(root, &mut problems)?;
            config.hooks.values_mut().for_each(|steps| step::name(steps));
            validate::validate(root, &config, &mut problems);
            validate::paths(&config, &there, &mut problems);
            Some(config)
        });
        match config {
            Some(config) if problems.0.is_empty() => Ok(config),
            _ => Err(self.invalid(problems.0)),
        }
    }

    fn laid_over(&self, at: usize, problems: &mut Problems) -> Option<Node<'_>> {
        let below = self.layers[at].extends.iter().fold(None, |below, extended| {
            let above = self.laid_over(*extended, problems);
            joined(below, above)
        });
        let above = self.root(at, problems);
        joined(below, above)
    }

    /// The root of one file, its places counted from the first byte of the first file.
    fn root(&self, at: usize, problems: &mut Problems) -> Option<Node<'_>> {
        let Layer { source, start, whose, .. } = &self.layers[at];
        let mut own = Problems::default();
        let mut root = root(source, &mut own);
        if *whose == Whose::OnePersons {
            for entry in root.iter().flat_map(Node::entries) {
                if !matches!(entry.key.as_str(), Some("hooks" | "scratch")) {
                    own.add(
                        &entry.key.place,
                        "one person's file changes `hooks` and `scratch`; the rest is everybody's",
                    );
                }
            }
        }
        if *start > 0
            && let Some(root) = &mut root
        {
            shift(root, *start);
        }
        let moved = own.0.into_iter().map(|problem| Problem {
            place: problem.place.start + start..problem.place.end + start,
            message: problem.message,
        });
        problems.0.extend(moved);
        root
    }

    fn invalid(&self, mut problems: Vec<Problem>) -> InvalidConfig {
        problems.sort_by_key(|problem| problem.place.start);
        let more = problems.len().saturating_sub(MAX_MISTAKES);
        problems.truncate(MAX_MISTAKES);
        let mistake = |problem: Problem| {
            let layer = self.layers.iter().rev().find(|layer| layer.start <= problem.place.start);
            let (path, position) = layer.map_or((PATHS[0], Position { line: 1, column: 1 }), |layer| {
                let byte = problem.place.start - layer.start;
                (&layer.source.path, Position::of(&layer.source.text, byte))
            });
            Mistake { path: path.to_owned(), position, message: problem.message }
        };
        InvalidConfig { mistakes: problems.into_iter().map(mistake).collect(), more }
    }
}

/// That the configuration was written for a newer version of this program.
fn needs_newer(root: &Node<'_>) -> Option<Problem> {
    let (node, ours) = (root.get("min_version")?, Version::of_this_program());
    let wanted = node.as_str()?.parse::<Version>().ok().filter(|wanted| *wanted > ours)?;
    let message = format!(
        "this configuration needs gitops-hooks {wanted} or newer, and this is {ours}; put the newer one in its place"
    );
    Some(Problem { place: node.place.clone(), message })
}

/// The root of a file that holds one document.
fn root<'a>(Source { text, broken, .. }: &'a Source, problems: &mut Problems) -> Option<Node<'a>> {
    if let Some(at) = *broken {
        problems.add(&(at..at), format!("byte {} of the file is no UTF-8; save the file as UTF-8", at + 1));
        return None;
    }
    if text.len() > MAX_BYTES {
        problems.add(&(0..0), format!("the file is larger than {MAX_BYTES} bytes"));
        return None;
    }
    let documents = match yaml::parse(text) {
        Ok(documents) => documents,
        Err(error) => {
            let line = text.lines().nth(error.position.line - 1).unwrap_or_default();
            let braces = ["{files}", "_files}", "{1}"].iter().any(|placeholder| line.contains(placeholder));
            let hint = if braces { "; between braces a command that holds braces needs quotes" } else { "" };
            problems.add(&(error.byte..error.byte), format!("this is no YAML: {}{hint}", error.message));
            return None;
        }
    };
    if let Some(second) = documents.get(1) {
        let start = second.root.as_ref().map_or(second.end, |root| root.place.start);
        problems.add(&(start..start), "a second document; the configuration is one document");
    }
    let root = documents.into_iter().next().and_then(|document| document.root);
    match &root {
        None => problems.add(&(0..0), "the file is empty; `gitops-hooks init` writes one to start from"),
        Some(node) if !matches!(node.value, Value::Mapping(_)) => {
            wrong_type::<()>(node, "a mapping", problems);
            return None;
        }
        Some(_) => {}
    }
    root
}

fn shift(node: &mut Node<'_>, by: usize) {
    node.place = node.place.start + by..node.place.end + by;
    match &mut node.value {
        Value::Sequence(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Value::Mapping(entries) => {
            for entry in entries {
                shift(&mut entry.key, by);
                shift(&mut entry.value, by);
            }
        }
        Value::Scalar(..) | Value::Alias(_) => {}
    }
}

/// A whole file over another.
fn joined<'a>(below: Option<Node<'a>>, above: Option<Node<'a>>) -> Option<Node<'a>> {
    match (below, above) {
        (Some(below), Some(mut above)) => {
            lay(&mut above, below, &["hooks", "*"]);
            Some(above)
        }
        (below, above) => above.or(below),
    }
}

/// Lays a node over another. `steps` leads from here to the lists whose items are steps; elsewhere a list is one value.
fn lay<'a>(above: &mut Node<'a>, below: Node<'a>, steps: &[&str]) {
    let new = std::mem::replace(&mut above.value, Value::Sequence(Vec::new()));
    above.value = match (below.value, new) {
        (Value::Mapping(mut entries), Value::Mapping(new)) => {
            let known = places(entries.iter().map(|entry| entry.key.as_str()));
            for entry in new {
                let name = entry.key.as_str();
                let deeper = match steps {
                    [first, rest @ ..] if *first == "*" || name == Some(first) => rest,
                    _ => NOWHERE,
                };
                match name.and_then(|name| known.get(name)) {
                    Some(at) => {
                        let before = std::mem::replace(&mut entries[*at], entry);
                        lay(&mut entries[*at].value, before.value, deeper);
                    }
                    None => entries.push(entry),
                }
            }
            Value::Mapping(entries)
        }
        (Value::Sequence(mut items), Value::Sequence(new)) if steps.is_empty() => {
            let labels = labels(&items);
            let known = places(labels.iter().map(|label| Some(label.as_str())));
            for (label, step) in self::labels(&new).iter().zip(new) {
                match known.get(label) {
                    Some(at) => {
                        let before = std::mem::replace(&mut items[*at], step);
                        lay(&mut items[*at], before, NOWHERE);
                    }
                    None => items.push(step),
                }
            }
            Value::Sequence(items)
        }
        (_, value) => value,
    };
}

/// Where each name stands first.
fn places<'n>(names: impl Iterator<Item = Option<&'n str>>) -> HashMap<String, usize> {
    let mut places = HashMap::new();
    for (at, name) in names.enumerate() {
        if let Some(name) = name {
            places.entry(name.to_owned()).or_insert(at);
        }
    }
    places
}

/// No key is called so: no list of steps lies that way.
const NOWHERE: &[&str] = &["\0"];

fn labels(steps: &[Node<'_>]) -> Vec<String> {
    let said = steps.iter().map(|step| {
        let text = |key| step.get(key).and_then(Node::as_str);
        Said { name: text("name"), image: text("image"), run: text("run") }
    });
    step::labels(&said.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn layers(main: &str, others: &[(&str, &str)], own: Option<&str>) -> Result<Config, InvalidConfig> {
        let source = |path: &str, text: &str| Source::new(path, text.as_bytes().to_vec());
        let read = |path: &str| {
            let found = others.iter().find(|(known, _)| *known == path);
            Ok::<_, Infallible>(found.map(|(_, text)| text.as_bytes().to_vec()))
        };
        let own = own.map(|text| source(LOCAL_PATH, text));
        let Ok(layers) = Layers::gather(source("main.yaml", main), own, read);
        layers.parse()
    }

    fn mistakes(result: Result<Config, InvalidConfig>) -> Vec<String> {
        result.unwrap_err().to_string().lines().skip(1).map(str::to_owned).collect()
    }

    const TEAM: &str = "hooks:\n  pre-commit:\n    - name: lint\n      run: ruff check\n      env: {A: '1', B: '2'}\n";

    #[test]
    fn steps_are_joined_by_name_and_keys_one_by_one() {
        let main =
            "extends: [team.yaml]\nhooks:\n  pre-commit:\n    - name: lint\n      env: {B: '3'}\n    - run: mine\n";
        let config =
            layers(main, &[("team.yaml", TEAM)], Some("hooks:\n  pre-commit:\n    - {name: lint, skip: true}\n"));
        let config = config.unwrap();
        let steps = &config.hooks[&HookName::PreCommit];
        let labels: Vec<&str> = steps.iter().map(crate::config::Step::label).collect();
        assert_eq!(labels, ["lint", "mine"]);
        assert_eq!(steps[0].run.as_ref().unwrap().written(), "ruff check");
        assert_eq!((steps[0].env["A"].as_str(), steps[0].env["B"].as_str()), ("1", "3"));
        assert!(matches!(steps[0].skip, crate::config::Condition::Always));
    }

    #[test]
    fn a_step_is_also_joined_by_the_name_that_its_command_gives_it() {
        let main = "hooks:\n  pre-commit:\n    - run: npm run lint\n    - run: npm run test\n";
        let config =
            layers(main, &[], Some("hooks:\n  pre-commit:\n    - {name: npm run test, skip: true}\n")).unwrap();
        let steps = &config.hooks[&HookName::PreCommit];
        let labels: Vec<&str> = steps.iter().map(crate::config::Step::label).collect();
        assert_eq!(labels, ["npm run lint", "npm run test"]);
        assert!(matches!(steps[1].skip, crate::config::Condition::Always));
    }

    #[test]
    fn a_mistake_is_told_in_the_file_that_has_it() {
        let found = mistakes(layers(
            "extends: [team.yaml, gone.yaml]\n",
            &[("team.yaml", "hooks:\n  pre-commit:\n    - runn: x\n")],
            Some("images: {}\n"),
        ));
        assert_eq!(
            found,
            [
                "main.yaml:1:22: there is no file gone.yaml",
                "team.yaml:3:7: unknown key \"runn\" in a step; did you mean \"run\"?",
                "gitops-hooks.local.yaml:1:1: one person's file changes `hooks` and `scratch`; the rest is everybody's",
            ]
        );
    }

    #[test]
    fn files_that_extend_each_other_are_refused() {
        let found = mistakes(layers("extends: [a.yaml]\n", &[("a.yaml", "extends: [main.yaml]\n")], None));
        assert_eq!(found, ["a.yaml:1:11: main.yaml is read already"]);
    }
}
