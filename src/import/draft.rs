//! What an import found, before it is written: hooks, steps and what there is to say about them.

use super::shell;
use crate::values::HookName;
use std::collections::{BTreeMap, BTreeSet};

/// A whole configuration.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// What to say ahead of everything.
    pub(super) notes: Vec<String>,
    pub(super) hooks: Vec<Hook>,
}

/// A hook of git's and its steps.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) name: HookName,
    pub(super) notes: Vec<String>,
    pub(super) steps: Vec<Step>,
}

/// A step. What is empty is not written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) notes: Vec<String>,
    pub(super) name: String,
    pub(super) run: String,
    pub(super) files: Vec<String>,
    pub(super) exclude: Vec<String>,
    pub(super) root: String,
    pub(super) tags: Vec<String>,
    pub(super) needs: Vec<String>,
    pub(super) priority: u16,
    pub(super) env: Vec<(String, String)>,
    pub(super) timeout: String,
    pub(super) only: Condition,
    pub(super) skip: Condition,
    pub(super) fail_text: String,
    pub(super) effects: Effects,
}

/// What a step may do beside giving its verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Effects {
    pub(super) fix: bool,
    pub(super) interactive: bool,
    pub(super) stdin: bool,
}

/// What a step's running depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing is said.
    #[default]
    Unsaid,
    /// It holds always.
    Always,
    /// These, each of which may be empty.
    When { branch: Vec<String>, state: Vec<&'static str>, run: String },
}

impl Draft {
    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The steps that this has and the other has not, or has otherwise.
    pub(super) fn changed_from(mut self, other: &Self) -> Self {
        self.notes.clear();
        for hook in &mut self.hooks {
            hook.notes.clear();
            if let Some(other) = other.hooks.iter().find(|other| other.name == hook.name) {
                hook.steps.retain(|step| !other.steps.contains(step));
            }
        }
        self.hooks.retain(|hook| !hook.steps.is_empty());
        self
    }

    /// The steps of a hook, which is added where it is new.
    pub(super) fn hook(&mut self, name: HookName) -> &mut Hook {
        let at = self.hooks.iter().position(|hook| hook.name == name).unwrap_or_else(|| {
            self.hooks.push(Hook { name, notes: Vec::new(), steps: Vec::new() });
            self.hooks.len() - 1
        });
        &mut self.hooks[at]
    }

    /// The same with hooks in git's order, and nothing in it that the configuration room would refuse.
    pub(super) fn tidied(mut self) -> Self {
        self.hooks.sort_by_key(|hook| hook.name);
        for hook in &mut self.hooks {
            hook.tidy();
        }
        self
    }
}

impl Hook {
    fn tidy(&mut self) {
        let names: BTreeSet<&str> = self.steps.iter().map(|step| step.name.as_str()).collect();
        let names: BTreeSet<String> = names.into_iter().map(str::to_owned).collect();
        let alone = self.steps.len() == 1;
        let judges = self.name == HookName::PreCommit;
        let fixers: BTreeSet<String> =
            self.steps.iter().filter(|step| judges && step.effects.fix).map(|step| step.name.clone()).collect();
        // What several steps would say, their hook says once.
        let all: Vec<String> = self.steps.iter().flat_map(|step| step.notes.clone()).collect();
        let shared = |note: &String| all.iter().filter(|other| *other == note).count() > 1;
        for note in all.iter().filter(|note| shared(note)) {
            if !self.notes.contains(note) {
                self.notes.push(note.clone());
            }
        }
        for step in &mut self.steps {
            step.notes.retain(|note| !shared(note));
            step.run = shell::settled(self.name, &step.run);
            // `needs` takes tags too: one that is a step's name could make a step wait for itself.
            step.tags.retain(|tag| !names.contains(tag));
            // No process can be given such a variable.
            step.env.retain(|(name, value)| !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'));
            if judges && step.effects.fix {
                let before = step.needs.len();
                step.needs.retain(|need| fixers.contains(need));
                if step.needs.len() < before {
                    step.notes.push(
                        "steps that `fix` run ahead of all others, so this one waits for none of them".to_owned(),
                    );
                }
            }
            if alone {
                step.priority = 0;
            }
            if !judges && step.effects.fix {
                step.effects.fix = false;
                step.notes.push("`fix` is for pre-commit: only there a change can join the commit".to_owned());
            }
            if step.effects.interactive && step.effects.stdin {
                step.effects.stdin = false;
                step.notes.push("a step gets the terminal or the hook's standard input, not both".to_owned());
            }
        }
    }
}

/// Gives names that are free in their hook.
#[derive(Debug, Default)]
pub(super) struct Names {
    given: BTreeSet<String>,
    counts: BTreeMap<String, usize>,
}

impl Names {
    /// The wanted name, with a number where it is taken.
    pub(super) fn free(&mut self, wanted: &str) -> String {
        const LONGEST: usize = 80;
        let line = wanted.lines().next().unwrap_or_default().trim();
        let base: String = line.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
        let base = if base.is_empty() { "step".to_owned() } else { base };
        let count = self.counts.entry(base.clone()).or_insert(0);
        loop {
            *count += 1;
            let name = if *count == 1 { base.clone() } else { format!("{base}-{count}") };
            if self.given.insert(name.clone()) {
                return name;
            }
        }
    }
}
