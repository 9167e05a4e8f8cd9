//! One of pre-commit's hooks as a step. A local one whose program is the user's own is called as it is, where its files can be
//! chosen by patterns; every other is asked of `prek` or `pre-commit` by its id, which know its environment and its files.

use super::{
    draft::{Condition, Effects, Step},
    ere, file_types, foreign,
    globs::{self, Dialect},
    regex, shell,
};
use crate::values::HookName;
use serde_json::Value;

/// Hooks of others that change files, by id.
const FIXERS: &[&str] = &[
    "add-trailing-comma",
    "alejandra",
    "auto-walrus",
    "autoflake",
    "autopep8",
    "biome-format",
    "black",
    "black-jupyter",
    "blacken-docs",
    "buf-format",
    "cargo-fmt",
    "clang-format",
    "cmake-format",
    "django-upgrade",
    "djlint-reformat",
    "docformatter",
    "double-quote-cython-strings",
    "double-quote-string-fixer",
    "end-of-file-fixer",
    "file-contents-sorter",
    "fix-byte-order-marker",
    "fix-encoding-pragma",
    "fmt",
    "go-fmt",
    "go-imports",
    "gofmt",
    "goimports",
    "helm-docs",
    "insert-license",
    "isort",
    "markdownlint-fix",
    "mdformat",
    "mixed-line-ending",
    "nbstripout",
    "nixfmt",
    "nixpkgs-fmt",
    "poetry-lock",
    "prettier",
    "pycln",
    "pyproject-fmt",
    "pyupgrade",
    "reorder-python-imports",
    "requirements-txt-fixer",
    "ruff-format",
    "rustfmt",
    "setup-cfg-fmt",
    "shfmt",
    "sort-simple-yaml",
    "sqlfluff-fix",
    "sqlfmt",
    "stylua",
    "swiftformat",
    "taplo-format",
    "terraform_docs",
    "terraform_fmt",
    "toml-sort-fix",
    "tox-ini-fmt",
    "trailing-whitespace",
    "typos",
    "uv-lock",
    "yamlfmt",
    "yapf",
];

/// What all hooks of a configuration share.
pub(super) struct Context<'c> {
    /// `prek` or `pre-commit`.
    pub(super) program: &'static str,
    /// The configuration's file.
    pub(super) path: &'c str,
    /// The expressions at its top.
    pub(super) files: String,
    pub(super) exclude: String,
}

/// A hook as it is written.
pub(super) struct Hook<'c> {
    pub(super) id: String,
    alias: String,
    from: &'c str,
    written: &'c Value,
}

/// The files of a hook: patterns, and expressions for `grep` that no pattern equals.
struct Chosen {
    files: Vec<String>,
    exclude: Vec<String>,
    keep: Option<String>,
    drop: Vec<String>,
}

impl<'c> Hook<'c> {
    pub(super) fn new(from: &'c str, written: &'c Value) -> Self {
        Self { id: foreign::word(written, "id"), alias: foreign::word(written, "alias"), from, written }
    }

    /// What `run` finds it by.
    pub(super) fn called(&self) -> &str {
        if self.alias.is_empty() { &self.id } else { &self.alias }
    }

    /// What people call it.
    pub(super) fn label(&self) -> String {
        let name = foreign::word(self.written, "name");
        if self.is_local() && !name.is_empty() { name } else { self.called().to_owned() }
    }

    pub(super) fn is_local(&self) -> bool {
        self.from == "local"
    }

    /// Whether a step asks `prek` or `pre-commit` for this hook.
    pub(super) fn is_asked(&self, program: &str, step: &Step) -> bool {
        let asks = format!("{program} run {}", shell::quote(self.called()));
        step.run.strip_prefix(&asks).is_some_and(|rest| rest.starts_with(" --"))
    }

    pub(super) fn step(&self, context: &Context<'_>, stage: HookName) -> Step {
        let mut notes = Vec::new();
        if self.id == "no-commit-to-branch"
            && let Some(step) = self.protected_branches()
        {
            return step;
        }
        let called = self.is_local().then(|| self.called_directly(context, stage, &mut notes)).flatten();
        let mut step = called.unwrap_or_else(|| self.asked(context, stage, &mut notes));
        if foreign::flag(self.written, "fail_fast") == Some(true) {
            notes.push("`fail_fast` of a hook: let those that come after it name it in `needs`".to_owned());
        }
        step.notes = notes;
        step
    }

    /// The user's own program, called as it is; `None` where only pre-commit knows its environment or its files.
    fn called_directly(&self, context: &Context<'_>, stage: HookName, notes: &mut Vec<String>) -> Option<Step> {
        let language = foreign::word(self.written, "language");
        let is_script = matches!(language.as_str(), "script" | "unsupported_script");
        if !is_script && !matches!(language.as_str(), "system" | "unsupported") {
            return None;
        }
        let mut words = shell::words(&foreign::word(self.written, "entry"))?;
        words.extend(foreign::words(self.written, "args"));
        let first = words.first_mut()?;
        if is_script && !first.contains('/') {
            first.insert_str(0, "./");
        }
        let passes = foreign::flag(self.written, "pass_filenames") != Some(false);
        let always = foreign::flag(self.written, "always_run") == Some(true);
        let chosen = self.chosen(context, notes)?;
        let mut step = Step { run: shell::join(&words), ..Step::default() };
        if passes {
            step.run.push_str(if stage.takes_message_file() { " {message_file}" } else { " {files}" });
        }
        if !always && !stage.takes_message_file() {
            if chosen.keep.is_some() || !chosen.drop.is_empty() {
                notes.push("no pattern equals its expressions: the shell chooses the files".to_owned());
                step.run = shell::choosing(&step.run, chosen.keep.as_deref(), &chosen.drop);
            }
            (step.files, step.exclude) = (chosen.files, chosen.exclude);
        } else if always && passes && !stage.takes_message_file() {
            notes.push(
                "`always_run` with file names: without a file that matches there is nothing to hand over".to_owned(),
            );
        }
        step.effects = Effects { fix: stage == HookName::PreCommit && fixes(&words), ..Effects::default() };
        Some(step)
    }

    /// `no-commit-to-branch` asks which branch is checked out, and none is in a scratch tree: ours ask that of the user's.
    fn protected_branches(&self) -> Option<Step> {
        let mut branch = Vec::new();
        let args = foreign::words(self.written, "args");
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let name = match arg.as_str() {
                "-b" | "--branch" => args.next()?.as_str(),
                arg => arg.strip_prefix("--branch=")?,
            };
            branch.push(name);
        }
        if branch.is_empty() {
            branch = vec!["main", "master"];
        }
        let branch = globs::translate(&branch, Dialect::WholePath)?;
        Some(Step {
            run: "exit 1".to_owned(),
            fail_text: "this branch takes no commits: make one of your own".to_owned(),
            only: Condition::When { branch, state: Vec::new(), run: String::new() },
            ..Step::default()
        })
    }

    /// The hook by its id.
    fn asked(&self, context: &Context<'_>, stage: HookName, notes: &mut Vec<String>) -> Step {
        let mut run = format!("{} run {}", context.program, shell::quote(self.called()));
        if stage != HookName::PreCommit {
            run = format!("{run} --hook-stage {stage}");
        }
        match stage {
            HookName::PrepareCommitMsg => {
                run.push_str(" --commit-msg-filename {message_file} --prepare-commit-message-source {2}");
            }
            HookName::CommitMsg => run.push_str(" --commit-msg-filename {message_file}"),
            HookName::PostCheckout => run.push_str(" --from-ref {1} --to-ref {2} --checkout-type {3}"),
            HookName::PostMerge => run.push_str(" --is-squash-merge {1}"),
            HookName::PostRewrite => run.push_str(" --rewrite-command {1}"),
            HookName::PreRebase => run.push_str(" --pre-rebase-upstream {1}"),
            HookName::PostCommit => {}
            _ => run.push_str(" --files {files}"),
        }
        if self.id == "no-commit-to-branch" {
            notes.push("it asks which branch is checked out: in a scratch tree none is, and it passes".to_owned());
        }
        let mut words = foreign::words(self.written, "args");
        words.insert(0, String::new());
        let fixes = FIXERS.contains(&self.id.as_str()) || fixes(&words);
        let mut step = Step::default();
        if fixes && stage == HookName::PreCommit {
            run = format!("{run} || {run}");
            step.effects.fix = true;
        }
        step.run = run;
        if self.from == "meta" {
            step.files = vec![format!("/{}", context.path)];
            if self.id == "identity" {
                notes.push(
                    "pre-commit shows with it which files it hands over; `gitops-hooks run --plan` does".to_owned(),
                );
            }
            return step;
        }
        // What it is handed it chooses from itself: patterns here only save the call.
        let mut unequal = Vec::new();
        for (key, place) in [("files", &mut step.files), ("exclude", &mut step.exclude)] {
            match self.expression(key) {
                Some(Ok(globs)) => *place = globs,
                Some(Err(expression)) => unequal.push(format!("{key}: {}", one_line(&expression))),
                None => {}
            }
        }
        if foreign::flag(self.written, "always_run") == Some(true) || !run_takes_files(&step.run) {
            step.files.clear();
            step.exclude.clear();
        }
        if !unequal.is_empty() {
            notes.push(format!("{} chooses the files, no pattern says: {}", context.program, unequal.join(" and ")));
        }
        let dependencies = foreign::words(self.written, "additional_dependencies");
        if !dependencies.is_empty() && self.is_local() {
            notes.push(format!("{} installs what it needs: {}", context.program, dependencies.join(", ")));
        }
        step
    }

    /// Its files by patterns; `None` where an expression or a type has none.
    fn chosen(&self, context: &Context<'_>, notes: &mut Vec<String>) -> Option<Chosen> {
        let mut files = Vec::new();
        let mut exclude = Vec::new();
        let (mut keep, mut drop) = (None, Vec::new());
        match self.expression("files") {
            Some(Ok(globs)) => files = globs,
            Some(Err(expression)) => keep = Some(ere::extended(&expression)?),
            None => {}
        }
        for expression in [self.expression("exclude"), Some(expression_globs(&context.exclude))] {
            match expression {
                Some(Ok(globs)) => globs::add(&mut exclude, globs)?,
                Some(Err(expression)) => drop.push(ere::extended(&expression)?),
                None => {}
            }
        }
        let all = expression_globs(&context.files).ok()?;
        if !all.is_empty() {
            files = both(files, &all, &mut exclude)?;
        }
        let types = self.types("types")?;
        let any: Vec<String> = self.types("types_or")?.into_iter().flatten().collect();
        let mut lists: Vec<Vec<String>> = types.into_iter().filter(|patterns| !patterns.is_empty()).collect();
        if !any.is_empty() {
            lists.push(any);
        }
        if lists.len() > 1 {
            return None;
        }
        if let Some(patterns) = lists.pop() {
            let extensionless = ["python", "shell", "sh", "bash", "ruby"];
            if foreign::words(self.written, "types").iter().any(|name| extensionless.contains(&name.as_str())) {
                notes.push("scripts that only their first line shows are not matched; add them to `files`".to_owned());
            }
            files = both(files, &patterns, &mut exclude)?;
        }
        for patterns in self.types("exclude_types")? {
            globs::add(&mut exclude, patterns)?;
        }
        Some(Chosen { files, exclude, keep, drop })
    }

    /// The patterns of each type that a key names; `None` where one is not known.
    fn types(&self, key: &str) -> Option<Vec<Vec<String>>> {
        let known = |name: &String| {
            let patterns = file_types::patterns(name)?;
            Some(patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
        };
        foreign::words(self.written, key).iter().map(known).collect()
    }

    /// An expression as patterns, or as it is written where it has none. prek also takes patterns.
    fn expression(&self, key: &str) -> Option<Result<Vec<String>, String>> {
        let value = self.written.get(key)?;
        if value.get("glob").is_some() {
            let written = foreign::words(value, "glob");
            return Some(globs::translate(&written, Dialect::WholePath).ok_or_else(|| written.join(" ")));
        }
        Some(expression_globs(&foreign::scalar(value)?))
    }
}

fn expression_globs(expression: &str) -> Result<Vec<String>, String> {
    match expression.trim() {
        // Everything, and nothing to exclude.
        "" | "^$" | ".*" => Ok(Vec::new()),
        trimmed => regex::globs(trimmed).ok_or_else(|| trimmed.to_owned()),
    }
}

fn one_line(expression: &str) -> String {
    expression.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn run_takes_files(run: &str) -> bool {
    run.contains("{files}")
}

/// What both lists choose. Where one pattern cannot say it, whatever the second does not choose is excluded.
fn both(files: Vec<String>, patterns: &[String], exclude: &mut Vec<String>) -> Option<Vec<String>> {
    if files.is_empty() {
        return Some(patterns.to_vec());
    }
    let bare = |pattern: &String| !pattern.contains('/') && !pattern.starts_with('!');
    if patterns.iter().all(bare) {
        let ends = |file: &String| patterns.iter().any(|pattern| file.ends_with(pattern.trim_start_matches('*')));
        if files.iter().all(ends) {
            return Some(files);
        }
        let within: Option<Vec<Vec<String>>> = files.iter().map(|file| file_types::within(file, patterns)).collect();
        if let Some(within) = within {
            return Some(within.concat());
        }
    }
    if patterns.iter().chain(exclude.iter()).any(|pattern| pattern.starts_with('!')) {
        return None;
    }
    let mut rest = vec!["*".to_owned()];
    rest.extend(patterns.iter().map(|pattern| format!("!{pattern}")));
    rest.append(exclude);
    *exclude = rest;
    Some(files)
}

/// Whether a command changes files, by what its words say.
fn fixes(words: &[String]) -> bool {
    const PROGRAMS: &[&str] = &["black", "isort", "rustfmt", "autoflake", "pyupgrade"];
    let says = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
    if says(&["--check", "--diff", "--check-only", "--dry-run", "-n"]) {
        return false;
    }
    let program = words.first().and_then(|word| word.rsplit('/').next()).unwrap_or_default();
    says(&["--fix", "--fix-only", "--write", "--write-changes", "--in-place", "--inplace", "-w", "fmt", "format"])
        || PROGRAMS.contains(&program)
}
