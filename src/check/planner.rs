//! Makes a plan: which steps run, on which files, and what a record of each would be called. Nothing is run but the
//! commands that a step's conditions and `tools` name, and nothing is written.

use super::{
    CachePolicy, Context, Error,
    command::{self, Values},
    condition::{self, Questions},
    plan::{Action, Decision, Input, Plan, Planned, RunReason, SkipReason},
    record::{Found, Key, KeyBuilder, Record, Records},
};
use crate::{
    config::Step,
    git::{ChangeKind, EntryKind, TreeEntry},
    values::{Command, Globs, HookName, List, OperationState},
};
use gix::bstr::{BStr, BString, ByteSlice};
use std::{cell::OnceCell, collections::HashMap, ffi::OsStr, os::unix::ffi::OsStrExt};

/// Plans a hook's steps on a snapshot. Nothing is written.
///
/// # Errors
/// A command that cannot be filled in safely, or a snapshot that cannot be read.
pub fn plan(steps: &[Step], context: &Context<'_>) -> Result<Plan, Error> {
    let facts = Facts {
        context,
        records: Records::of(context.repository),
        entries: OnceCell::new(),
        questions: Questions::default(),
    };
    let planned =
        steps.iter().enumerate().map(|(at, step)| facts.planned(at, step, steps)).collect::<Result<_, _>>()?;
    let whole = super::passed::whole(context.hook, steps, &context.snapshot.tree);
    Ok(Plan { entries: in_order(planned), whole })
}

/// What a plan is made of; the snapshot's paths and the records are read only when a step asks for them.
struct Facts<'a> {
    context: &'a Context<'a>,
    records: Records,
    entries: OnceCell<Vec<TreeEntry>>,
    questions: Questions,
}

impl Facts<'_> {
    fn planned(&self, at: usize, step: &Step, steps: &[Step]) -> Result<Planned, Error> {
        let needed = |other: &Step| step.needs.iter().any(|need| other.is_called(need));
        let needs = steps.iter().enumerate().filter(|(other, step)| *other != at && needed(step));
        let mut planned = Planned {
            step: at,
            label: step.label().to_owned(),
            action: Action::Work,
            decision: Decision::Run(RunReason::Work),
            needs: needs.map(|(other, _)| other).collect(),
            priority: step.priority,
            fixes: step.fix,
            writes: Vec::new(),
            fail_text: step.fail_text.clone(),
            timeout: step.timeout.duration(),
            key: None,
        };
        let skip = self.skipped(step)?;
        let Some(command) = &step.run else {
            if let Some(reason) = skip {
                planned.decision = Decision::Skip(reason);
            }
            return Ok(planned);
        };
        if command.takes_message_file() && self.context.message_file.is_none() {
            return Err(Error::NoMessageFile { step: step.label().to_owned(), hook: self.context.hook });
        }
        let files = self.files(step, command.list())?;
        let bytes: Vec<&[u8]> = files.iter().map(|path| below_root(step, path)).collect();
        let message_file = self.context.message_file.map(std::path::absolute).transpose();
        let message_file = message_file.map_err(|source| Error::File { path: "the message file".into(), source })?;
        let mut arguments: Vec<&[u8]> = self.context.arguments.iter().map(|argument| argument.as_bytes()).collect();
        // git names it from the root of the work tree; a step may run elsewhere.
        if let (Some(first), Some(file)) = (arguments.first_mut(), &message_file) {
            *first = file.as_os_str().as_bytes();
        }
        let values = Values {
            files: &bytes,
            message_file: message_file.as_ref().map_or(b"", |path| path.as_os_str().as_bytes()),
            arguments: &arguments,
        };
        planned.action = Action::Command {
            written: command.written().to_owned(),
            scripts: command::scripts(command, &values),
            env: step.env.clone(),
            shell: step.shell.to_string(),
            root: (*step.root).clone(),
            input: match (step.stdin, step.interactive) {
                (_, true) => Input::Terminal,
                (true, false) => Input::Hook,
                (false, false) => Input::Nothing,
            },
        };
        if step.fix {
            // It may change whatever it is handed; without a list, what it is about.
            planned.writes = if command.list().is_some() { files.clone() } else { self.changed(step) };
        }
        let skip =
            skip.or_else(|| (command.list().is_some() && files.is_empty()).then_some(SkipReason::NothingToHandOver));
        if let Some(reason) = skip {
            planned.decision = Decision::Skip(reason);
            return Ok(planned);
        }
        if !self.context.judges() {
            planned.decision = Decision::Run(RunReason::Acts);
            return Ok(planned);
        }
        let key = self.key(step, command, &files, &values)?;
        planned.decision = match self.context.cache {
            CachePolicy::Ignore => Decision::Run(RunReason::CacheIgnored),
            CachePolicy::Use => match self.records.find(&key) {
                Found::Record(Record { passed_at, .. }) => {
                    Decision::Skip(SkipReason::Passed { at: passed_at, record: key.clone() })
                }
                Found::Nothing if step.fix => Decision::Run(RunReason::Fixes),
                Found::Nothing => Decision::Run(RunReason::NoRecord),
                Found::Unreadable(why) => Decision::Run(RunReason::UnreadableRecord(why)),
            },
        };
        planned.key = Some(key);
        Ok(planned)
    }

    /// Why a step has no need to run, whatever it would do.
    fn skipped(&self, step: &Step) -> Result<Option<SkipReason>, Error> {
        if let Some(state) = self.stays_out(step) {
            return Ok(Some(SkipReason::StaysOut(state)));
        }
        let chooses = step.files.is_some() || step.exclude.is_some() || !step.root.as_str().is_empty();
        if chooses && !self.context.snapshot.changed.iter().any(|change| chosen(step, change.path.as_bstr())) {
            return Ok(Some(SkipReason::NoFileMatches));
        }
        condition::excluded(step, self.context, &self.questions)
    }

    /// While git picks one commit after the other, what acts on the work tree would act on each: it waits for the end,
    /// unless its conditions ask for this.
    fn stays_out(&self, step: &Step) -> Option<OperationState> {
        let moved_by: &[OperationState] = match self.context.hook {
            HookName::PostCheckout | HookName::PostCommit | HookName::PostIndexChange => {
                &[OperationState::Rebase, OperationState::Am]
            }
            // It is there for `git am`; a rebase borrows it.
            HookName::PostApplypatch => &[OperationState::Rebase],
            _ => return None,
        };
        let asked = |state: OperationState| match &step.only {
            crate::config::Condition::When(conditions) => conditions.state.contains(&state),
            _ => false,
        };
        self.context.repository.operation().filter(|state| moved_by.contains(state) && !asked(*state))
    }

    /// The snapshot's paths that are no tree.
    fn entries(&self) -> Result<&[TreeEntry], Error> {
        if let Some(entries) = self.entries.get() {
            return Ok(entries);
        }
        let read = self.context.snapshot.entries(self.context.repository)?;
        Ok(self.entries.get_or_init(|| read))
    }

    /// The paths that a command is given, from the root of the repository.
    fn files(&self, step: &Step, list: Option<List>) -> Result<Vec<BString>, Error> {
        match list {
            None => Ok(Vec::new()),
            Some(List::All) => {
                let entries = self.entries()?.iter();
                let files = entries
                    .filter(|entry| handed_over(ChangeKind::Written(entry.kind)) && chosen(step, entry.path.as_bstr()));
                Ok(files.map(|entry| entry.path.clone()).collect())
            }
            Some(_) => Ok(self.changed(step)),
        }
    }

    /// The changed paths that a step is about and that are still there.
    fn changed(&self, step: &Step) -> Vec<BString> {
        let changed = self.context.snapshot.changed.iter();
        let files = changed.filter(|change| handed_over(change.kind) && chosen(step, change.path.as_bstr()));
        files.map(|change| change.path.clone()).collect()
    }

    /// What decides the step's result. Without `inputs` that is the whole tree.
    fn key(&self, step: &Step, command: &Command, files: &[BString], values: &Values<'_>) -> Result<Key, Error> {
        let mut key = KeyBuilder::new("step");
        for (name, value) in [("run", command.written()), ("shell", &step.shell), ("root", step.root.as_str())] {
            key.field(name, value.as_bytes());
        }
        for (name, value) in &step.env {
            key.field("env", name.as_bytes());
            key.field("value", value.as_bytes());
        }
        for tool in &step.tools {
            let (end, said) = self.questions.ask(tool, self.context)?;
            key.field("tool", tool.as_bytes());
            key.field("says", &said);
            key.field("ends", format!("{end:?}").as_bytes());
        }
        if let Some(inputs) = &step.inputs {
            for entry in self.entries()? {
                if matches(inputs, entry.path.as_bstr()) || files.binary_search(&entry.path).is_ok() {
                    key.entry(entry);
                }
            }
        } else {
            key.field("tree", self.context.snapshot.tree.as_str().as_bytes());
        }
        for file in files {
            key.field("file", file);
        }
        // However a command finds it: as `{message_file}`, as `{1}`, as `.git/COMMIT_EDITMSG`.
        if let Some(path) = self.context.message_file {
            key.field("message", &std::fs::read(path).map_err(Error::file(path))?);
        }
        for place in command.takes_arguments() {
            key.field("argument", values.arguments.get(place - 1).copied().unwrap_or_default());
        }
        if step.stdin {
            key.field("stdin", self.context.input);
        }
        Ok(key.finish())
    }
}

/// Whether a path is one that a step is about.
pub(super) fn chosen(step: &Step, path: &BStr) -> bool {
    let below = step.root.as_str().is_empty()
        || path.strip_prefix(step.root.as_str().as_bytes()).is_some_and(|rest| rest.starts_with(b"/"));
    below
        && step.files.as_ref().is_none_or(|files| matches(files, path))
        && !step.exclude.as_ref().is_some_and(|exclude| matches(exclude, path))
}

fn matches(globs: &Globs, path: &BStr) -> bool {
    globs.matches(OsStr::from_bytes(path).as_ref())
}

/// A path as the command sees it from the folder that it runs in.
fn below_root<'p>(step: &Step, path: &'p BString) -> &'p [u8] {
    match step.root.as_str() {
        "" => path,
        root => &path[root.len() + 1..],
    }
}

/// What is gone cannot be handed to a command, and neither a submodule nor a link is a file: what a command does to a link it
/// does to another file, or it puts a file in its place.
fn handed_over(kind: ChangeKind) -> bool {
    matches!(kind, ChangeKind::Written(EntryKind::File | EntryKind::Executable))
}

/// The order of the configuration, except that a step comes after what it needs. A circle, which the configuration room
/// refuses, would be left in the order it was written.
fn in_order(planned: Vec<Planned>) -> Vec<Planned> {
    fn visit(at: usize, waiting: &mut HashMap<usize, Planned>, ordered: &mut Vec<Planned>) {
        let Some(entry) = waiting.remove(&at) else { return };
        for need in &entry.needs {
            visit(*need, waiting, ordered);
        }
        ordered.push(entry);
    }
    let count = planned.len();
    let mut waiting: HashMap<usize, Planned> = planned.into_iter().map(|entry| (entry.step, entry)).collect();
    let mut ordered = Vec::with_capacity(count);
    for at in 0..count {
        visit(at, &mut waiting, &mut ordered);
    }
    ordered
}
