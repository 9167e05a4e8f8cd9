//! husky's hooks: the shell files of `.husky/`, or what version 4 kept in `package.json`. A file that is nothing but commands
//! becomes a step for each, and lint-staged among them becomes its own commands; any other file stays as it is and is called.

use super::{
    Error, Read,
    draft::{Draft, Effects, Names, Step},
    foreign,
    lefthook_jobs::arguments,
    lint_staged::{self, Found, local},
    shell::{self, Filled, label, unwrap},
};
use crate::{hook, values::HookName};
use serde_json::Value;
use std::{fmt::Write as _, path::Path};

const FOLDER: &str = ".husky";

/// Whether husky has hooks below a folder.
pub(super) fn is_configured(root: &Path) -> bool {
    let file = |hook: &HookName| root.join(FOLDER).join(hook.as_str()).is_file();
    HookName::ALL.iter().any(file) || old(root).is_ok_and(|old| old.is_some()) || program(root).is_some()
}

/// The configuration below a folder.
pub(super) fn read(root: &Path) -> Result<Read, Error> {
    let package = foreign::value(root, "package.json")?.unwrap_or_default();
    let mut reader = Reader { root, lint_staged: lint_staged::find(root, &package)?, package, draft: Draft::default() };
    let mut path = format!("{FOLDER}/");
    for hook in HookName::ALL.iter().copied() {
        if let Some(text) = foreign::text(root, &format!("{FOLDER}/{hook}"))? {
            reader.file(hook, &text);
        }
    }
    if reader.draft.hooks.is_empty()
        && let Some((from, hooks)) = old(root)?
    {
        path = from;
        for (name, command) in foreign::entries(Some(&hooks)) {
            match (name.parse::<HookName>(), foreign::scalar(command)) {
                (Ok(hook), Some(command)) => reader.command(hook, &command),
                _ => reader.draft.note(format!("`{name}` of husky's has no equal here.")),
            }
        }
    }
    if reader.draft.hooks.is_empty()
        && let Some(from) = program(root)
    {
        reader.program(&from, &foreign::text(root, &from)?.unwrap_or_default());
        path = from;
    }
    if let Found::Data(from, _) = &reader.lint_staged
        && reader.draft.hooks.iter().flat_map(|hook| &hook.steps).any(|step| step.effects.fix)
        && *from != path
    {
        path = format!("{path} and {from}");
    }
    Ok(Read { path, draft: reader.draft, own: None })
}

/// Where version 4 kept its hooks.
fn old(root: &Path) -> Result<Option<(String, Value)>, Error> {
    let package = foreign::value(root, "package.json")?.unwrap_or_default();
    if let Some(hooks) = package.get("husky").and_then(|husky| husky.get("hooks")) {
        return Ok(Some(("package.json".to_owned(), hooks.clone())));
    }
    for path in [".huskyrc", ".huskyrc.json", ".huskyrc.yaml", ".huskyrc.yml"] {
        if let Some(hooks) = foreign::value(root, path)?.and_then(|value| value.get("hooks").cloned()) {
            return Ok(Some((path.to_owned(), hooks)));
        }
    }
    Ok(None)
}

/// Where version 4 kept its hooks as a program, which only node can read.
fn program(root: &Path) -> Option<String> {
    let names = [".huskyrc.js", ".huskyrc.cjs", "husky.config.js", "husky.config.cjs"];
    names.into_iter().find(|name| root.join(name).is_file()).map(str::to_owned)
}

struct Reader<'r> {
    root: &'r Path,
    lint_staged: Found,
    package: Value,
    draft: Draft,
}

impl Reader<'_> {
    /// A hook's shell file.
    fn file(&mut self, hook: HookName, text: &str) {
        let own = |line: &&str| {
            let sources = line.starts_with(". ") || line.starts_with("source ");
            let silent = line.is_empty() || line.starts_with('#') || *line == "set -e";
            !silent && (!sources || !line.contains("/husky.sh"))
        };
        let lines: Vec<&str> = text.lines().map(str::trim).filter(own).collect();
        if lines.is_empty() {
            self.draft.note(format!("{FOLDER}/{hook} runs nothing."));
            return;
        }
        let chains: Option<Vec<Vec<&str>>> = lines.iter().map(|line| shell::chain(line)).collect();
        if let Some(chains) = chains {
            self.chain(hook, &chains.concat());
            return;
        }
        let shebang = text.lines().next().filter(|line| line.starts_with("#!")).unwrap_or_default();
        let through_husky = text.contains("/husky.sh");
        let shell = if shebang.ends_with("bash") && !through_husky { "bash" } else { "sh" };
        let run = format!("{shell} -e {FOLDER}/{hook} {}", arguments(hook));
        let mut notes = vec![format!("{FOLDER}/{hook} is more than a list of commands and is called as it is")];
        if lines.iter().any(|line| line.contains("lint-staged")) {
            notes.push(
                "lint-staged in it judges what it finds staged; as steps of their own its commands could be seen"
                    .to_owned(),
            );
        }
        let effects = Effects {
            fix: hook == HookName::PreCommit && lines.iter().any(|line| line.contains("lint-staged")),
            stdin: hook::takes_lines(hook),
            interactive: false,
        };
        let step = Step { notes, name: hook.to_string(), run: run.trim().to_owned(), effects, ..Step::default() };
        self.draft.hook(hook).steps.push(step);
    }

    /// A hook of version 4.
    fn command(&mut self, hook: HookName, command: &str) {
        // Its environment variable held the hook's arguments.
        let command = command.replace("-E HUSKY_GIT_PARAMS", "--edit $HUSKY_GIT_PARAMS");
        if let Some(parts) = shell::chain(&command.replace("$HUSKY_GIT_PARAMS", "$@")) {
            self.chain(hook, &parts);
            return;
        }
        let run = positional(hook, &command);
        let run = if run.contains("HUSKY_GIT_PARAMS") {
            format!("export HUSKY_GIT_PARAMS={}; {run}", arguments(hook).replace(' ', "' '"))
        } else {
            run
        };
        let effects = Effects { stdin: hook::takes_lines(hook), ..Effects::default() };
        self.draft.hook(hook).steps.push(Step { name: hook.to_string(), run: local(&run), effects, ..Step::default() });
    }

    /// A configuration that is a program: node is asked for each hook that it speaks of, whenever that hook runs.
    fn program(&mut self, path: &str, text: &str) {
        let speaks_of =
            |hook: &&HookName| ['\'', '"', '`'].iter().any(|mark| text.contains(&format!("{mark}{hook}{mark}")));
        for hook in HookName::ALL.iter().filter(speaks_of) {
            let asked = shell::quote(&format!("(require('./{path}').hooks || {{}})['{hook}'] || ''"));
            let mut run = format!("PATH=node_modules/.bin:$PATH\ncommand=$(node -p {asked}) || exit\n");
            let all = arguments(*hook);
            if !all.is_empty() {
                let _ = writeln!(run, "export HUSKY_GIT_PARAMS={}", all.replace(' ', "' '"));
            }
            run.push_str("eval \"$command\"");
            let notes = vec![format!(
                "{path} is a program: node says what runs. Write it here to see it, and to run it faster"
            )];
            let effects = Effects {
                fix: *hook == HookName::PreCommit && text.contains("lint-staged"),
                stdin: hook::takes_lines(*hook),
                interactive: false,
            };
            let step = Step { notes, name: hook.to_string(), run, effects, ..Step::default() };
            self.draft.hook(*hook).steps.push(step);
        }
    }

    /// Commands one after the other, each of which waits for those before it.
    fn chain(&mut self, hook: HookName, parts: &[&str]) {
        let mut names = Names::default();
        let mut steps: Vec<Step> = Vec::new();
        for part in parts {
            let words = shell::words(part).unwrap_or_default();
            if hook == HookName::PreCommit && shell::without_add(part) == Some("") {
                for step in &mut steps {
                    step.effects.fix = true;
                }
                continue;
            }
            let mut found = if self.calls_lint_staged(&words) { self.staged(part, &mut names) } else { Vec::new() };
            if found.is_empty() {
                let run = positional(hook, part);
                let effects = Effects { stdin: hook::takes_lines(hook) && run != *part, ..Effects::default() };
                found.push(Step { name: names.free(&label(&words)), run: local(&run), effects, ..Step::default() });
            }
            let before: Vec<String> = steps.iter().map(|step| step.name.clone()).collect();
            for step in &mut found {
                if step.needs.is_empty() {
                    step.needs.clone_from(&before);
                }
            }
            steps.extend(found);
        }
        let drafted = self.draft.hook(hook);
        if parts.len() > 1 {
            drafted
                .notes
                .push("`needs` keeps husky's order; steps without it run side by side, which is faster.".to_owned());
        }
        drafted.steps.extend(steps);
    }

    /// Whether a command is lint-staged, or a script of the package that is.
    fn calls_lint_staged(&self, words: &[String]) -> bool {
        let Some(first) = unwrap(words).first() else { return false };
        let script = self.package.get("scripts").and_then(|scripts| scripts.get(first)).and_then(Value::as_str);
        let script = script.and_then(shell::words).unwrap_or_default();
        let is = |words: &[String]| {
            words.first().is_some_and(|word| word.rsplit('/').next() == Some("lint-staged"))
                && !words.iter().any(|word| matches!(word.as_str(), "--config" | "-c" | "--cwd" | "--diff"))
        };
        is(unwrap(words)) || is(unwrap(&script))
    }

    /// lint-staged's commands, or lint-staged itself where its configuration cannot be read.
    fn staged(&self, part: &str, names: &mut Names) -> Vec<Step> {
        let why = match &self.lint_staged {
            Found::Data(path, value) => match lint_staged::steps(path, value, names) {
                Ok(steps) => return steps,
                Err(why) => format!("{why}: lint-staged stays"),
            },
            Found::Program(path) => format!("{path} is a program and cannot be read: lint-staged stays"),
            Found::Nothing => {
                let monorepo = self.root.join("packages").is_dir();
                let where_else = if monorepo { "it may stand in the packages" } else { "there is none at the root" };
                format!("lint-staged's configuration was not found ({where_else}): lint-staged stays")
            }
        };
        let notes = vec![why, "--no-stash: it works in a scratch tree, where it has nothing to set aside".to_owned()];
        let effects = Effects { fix: true, ..Effects::default() };
        vec![Step {
            notes,
            name: names.free("lint-staged"),
            run: local(&format!("{part} --no-stash")),
            effects,
            ..Step::default()
        }]
    }
}

/// `$1`, `$@` of a hook's file as ours.
fn positional(hook: HookName, command: &str) -> String {
    shell::replace(command, |rest| {
        let all = arguments(hook);
        for name in ["$@", "$*", "${@}", "${*}", "$HUSKY_GIT_PARAMS"] {
            if rest.starts_with(name) {
                return Some((Filled::Word(all), name.len()));
            }
        }
        let (digit, length) = match rest.strip_prefix("${") {
            Some(inner) => (inner.strip_suffix('}').or_else(|| inner.split('}').next())?, 4),
            None => (rest.strip_prefix('$')?.get(..1)?, 2),
        };
        let place: usize = digit.parse().ok().filter(|place| (1..=9).contains(place))?;
        let argument = all.split(' ').nth(place - 1).filter(|argument| !argument.is_empty())?.to_owned();
        Some((Filled::Word(argument), length))
    })
}
