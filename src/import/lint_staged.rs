//! lint-staged's configuration as steps: a pattern's commands one after the other, all patterns side by side, whatever they
//! change is part of the commit. One that is a program (JavaScript) cannot be read, and lint-staged stays the step.

use super::{
    Error,
    draft::{Effects, Names, Step},
    foreign,
    globs::{self, Dialect},
    shell,
};
use serde_json::Value;
use std::path::Path;

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    /// What it says, and where.
    Data(String, Value),
    /// A program that only node can read.
    Program(String),
    /// Nothing.
    Nothing,
}

/// The configuration below a folder, as lint-staged looks for it.
pub(super) fn find(root: &Path, package: &Value) -> Result<Found, Error> {
    if let Some(value) = package.get("lint-staged").filter(|value| value.is_object()) {
        return Ok(Found::Data("package.json".to_owned(), value.clone()));
    }
    for path in ["package.yaml", "package.yml"] {
        let package = foreign::value(root, path)?.unwrap_or_default();
        if let Some(value) = package.get("lint-staged").filter(|value| value.is_object()) {
            return Ok(Found::Data(path.to_owned(), value.clone()));
        }
    }
    for path in [".lintstagedrc", ".lintstagedrc.json", ".lintstagedrc.yaml", ".lintstagedrc.yml"] {
        if let Some(value) = foreign::value(root, path)? {
            return Ok(Found::Data(path.to_owned(), value));
        }
    }
    for stem in [".lintstagedrc", "lint-staged.config"] {
        for kind in ["mjs", "mts", "js", "ts", "cjs", "cts"] {
            let path = format!("{stem}.{kind}");
            if root.join(&path).is_file() {
                return Ok(Found::Program(path));
            }
        }
    }
    Ok(Found::Nothing)
}

/// Its steps; or why it has no equal, as a sentence.
pub(super) fn steps(path: &str, value: &Value, names: &mut Names) -> Result<Vec<Step>, String> {
    // Before its version 8 the patterns could stand under `linters`, beside what to ignore.
    let (linters, ignored) = match value.get("linters") {
        Some(linters) => (linters, foreign::words(value, "ignore")),
        None => (value, Vec::new()),
    };
    let no_equal = |what: &str| format!("{what} in {path} has no equal here");
    let exclude = globs::translate(&ignored, Dialect::Micromatch).ok_or_else(|| no_equal("`ignore`"))?;
    let mut steps: Vec<Step> = Vec::new();
    for (pattern, commands) in foreign::entries(Some(linters)) {
        let files =
            globs::translate(&[pattern], Dialect::Micromatch).ok_or_else(|| no_equal(&format!("`{pattern}`")))?;
        let items = foreign::items(Some(commands));
        let commands: Option<Vec<String>> = items.iter().map(foreign::scalar).collect();
        let commands = commands.ok_or_else(|| no_equal(&format!("what runs for `{pattern}`")))?;
        let mut before: Option<String> = None;
        for command in commands {
            let command = command.trim();
            let is_add = command == "git add" || command.starts_with("git add ");
            if command.is_empty() || is_add {
                continue;
            }
            let words = shell::words(command).ok_or_else(|| no_equal(&format!("`{command}`")))?;
            if words.iter().any(|word| word.contains('{') && word.contains('}')) {
                return Err(no_equal(&format!("`{command}`")));
            }
            let name = names.free(&shell::label(&words));
            steps.push(Step {
                name: name.clone(),
                run: local(&format!("{} {{files}}", shell::join(&words))),
                files: files.clone(),
                exclude: exclude.clone(),
                needs: before.replace(name).into_iter().collect(),
                effects: Effects { fix: true, ..Effects::default() },
                ..Step::default()
            });
        }
    }
    if steps.is_empty() { Err(no_equal("what it holds")) } else { Ok(steps) }
}

/// A command that may be one of the packages installed here, which husky and lint-staged put ahead of the `PATH`.
pub(super) fn local(command: &str) -> String {
    const OTHERS: &[&str] = &[
        "npm",
        "npx",
        "yarn",
        "pnpm",
        "pnpx",
        "bun",
        "bunx",
        "node",
        "deno",
        "git",
        "sh",
        "bash",
        "env",
        "echo",
        "make",
        "cargo",
        "rustfmt",
        "go",
        "gofmt",
        "python",
        "python3",
        "php",
        "composer",
        "ruby",
        "bundle",
        "docker",
        "set",
        "cat",
        "grep",
        "printf",
        "uv",
        "uvx",
        "mise",
        "task",
        "just",
        "prek",
        "pre-commit",
        "gitleaks",
        "swift",
        "dotnet",
    ];
    let first = command.split_whitespace().next().unwrap_or_default();
    if first.contains(['/', '=', '$', '\'', '"']) || OTHERS.contains(&first) {
        return command.to_owned();
    }
    format!("PATH=node_modules/.bin:$PATH {command}")
}
