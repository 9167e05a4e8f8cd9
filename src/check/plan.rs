//! Which steps will run and which will not, each with its reason, as plain data, before anything runs.

use super::{
    CachePolicy, Context, Error,
    command::{Command, Quoted, Values},
    record::{Found, Key, KeyBuilder, Record, Records},
};
use crate::{
    config::Step,
    git::{ChangeKind, EntryKind, TreeEntry},
};
use gix::bstr::{BStr, ByteSlice};
use jiff::Timestamp;
use std::{
    cell::OnceCell,
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fmt,
    os::unix::ffi::OsStrExt,
    time::Duration,
};

/// What will be done, in an order in which every step stands behind those that it needs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The steps.
    pub entries: Vec<Planned>,
    /// What a record of the whole hook's passing would be called.
    pub(super) whole: Key,
}

/// One step of a plan.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Its place in the configuration's list for the hook.
    pub step: usize,
    /// What people call it.
    pub label: String,
    /// What there is to do.
    pub action: Action,
    /// Whether it will be done, and why.
    pub decision: Decision,
    /// The places in the configuration's list of the steps that must have passed before.
    pub needs: Vec<usize>,
    /// The longest that it may take.
    pub timeout: Duration,
    /// What a record of its passing would be called; none where no record is made.
    pub key: Option<Key>,
}

/// What there is to do for a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Scripts for the shell, one after the other.
    Command {
        /// The command as it was written.
        written: String,
        /// The scripts, with everything filled in.
        scripts: Vec<OsString>,
        /// The environment that the step declares.
        env: BTreeMap<String, String>,
    },
    /// Work that is handed in, such as the build of an image.
    Work,
}

/// Whether a step will run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It will.
    Run(RunReason),
    /// It will not.
    Skip(SkipReason),
}

/// Why a step runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunReason {
    /// Nothing says that it passed on these inputs.
    NoRecord,
    /// There is a record, and it cannot be read.
    UnreadableRecord(String),
    /// Records were not to be used.
    CacheIgnored,
    /// The hook acts on the work tree: what it did before says nothing.
    Acts,
    /// It decides by itself what is to be done.
    Work,
}

/// Why a step does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SkipReason {
    /// No changed path matches `files`.
    NoFileMatches,
    /// It takes files, and every changed path that matches is gone.
    NothingToHandOver,
    /// It passed on these inputs.
    Passed {
        /// When.
        at: Timestamp,
        /// The record that says so.
        record: Key,
    },
    /// Whoever asked for the plan left it out.
    LeftOut(String),
}

impl fmt::Display for RunReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecord => f.write_str("it has not passed on these inputs yet"),
            Self::UnreadableRecord(why) => write!(f, "its record cannot be read ({why})"),
            Self::CacheIgnored => f.write_str("records were not to be used"),
            Self::Acts => f.write_str("this hook acts on the work tree"),
            Self::Work => f.write_str("it finds out itself what there is to do"),
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFileMatches => f.write_str("no changed file matches `files`"),
            Self::NothingToHandOver => f.write_str("every changed file that matches is deleted"),
            Self::Passed { at, record } => {
                write!(f, "passed on these inputs at {at:.0} (record {})", record.short())
            }
            Self::LeftOut(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(reason) => write!(f, "runs: {reason}"),
            Self::Skip(reason) => write!(f, "skipped: {reason}"),
        }
    }
}

impl Plan {
    /// Leaves a step out, by its place in the configuration's list. Steps that need it run as if it had passed.
    pub fn leave_out(&mut self, step: usize, why: impl Into<String>) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.step == step) {
            entry.decision = Decision::Skip(SkipReason::LeftOut(why.into()));
        }
    }

    /// Whether anything will run.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.decision, Decision::Run(_)))
    }
}

/// Plans a hook's steps on a snapshot. Nothing is run and nothing is written.
///
/// # Errors
/// A command that cannot be filled in safely, or a snapshot that cannot be read.
pub fn plan(steps: &[Step], context: &Context<'_>) -> Result<Plan, Error> {
    let records = Records::of(context.repository);
    let entries = OnceCell::new();
    let read = || {
        if let Some(entries) = entries.get() {
            return Ok(entries);
        }
        let read = context.repository.entries(&context.snapshot.tree)?;
        Ok(entries.get_or_init(|| read))
    };
    let facts = Facts { context, read: &read, find: &|key| records.find(key) };
    let planned =
        steps.iter().enumerate().map(|(at, step)| facts.planned(at, step, steps)).collect::<Result<_, _>>()?;
    let whole = super::run::whole(context.hook, steps, &context.snapshot.tree);
    Ok(Plan { entries: in_order(planned), whole })
}

/// What a plan is made of; the snapshot's paths and the records are read only when a step asks for them.
struct Facts<'a> {
    context: &'a Context<'a>,
    read: &'a dyn Fn() -> Result<&'a Vec<TreeEntry>, Error>,
    find: &'a dyn Fn(&Key) -> Found,
}

impl Facts<'_> {
    fn planned(&self, at: usize, step: &Step, steps: &[Step]) -> Result<Planned, Error> {
        let needs = step.needs.iter().filter_map(|need| steps.iter().position(|other| other.label() == need.as_str()));
        let mut planned = Planned {
            step: at,
            label: step.label().to_owned(),
            action: Action::Work,
            decision: Decision::Run(RunReason::Work),
            needs: needs.collect(),
            timeout: step.timeout.duration(),
            key: None,
        };
        let matching = self.matching(step);
        if step.files.is_some() && matching.is_empty() {
            planned.decision = Decision::Skip(SkipReason::NoFileMatches);
        }
        let Some(written) = &step.run else { return Ok(planned) };
        let command = self.command(step, written)?;
        let files: Vec<&BStr> = matching.iter().filter(|(_, kind)| handed_over(*kind)).map(|(path, _)| *path).collect();
        let bytes: Vec<&[u8]> = files.iter().map(|path| path.as_bytes()).collect();
        let arguments: Vec<&[u8]> = self.context.arguments.iter().map(|argument| argument.as_bytes()).collect();
        let message_file = self.context.message_file.map(std::path::absolute).transpose();
        let message_file = message_file.map_err(|source| Error::File { path: "the message file".into(), source })?;
        let values = Values {
            files: &bytes,
            message_file: message_file.as_ref().map_or(b"", |path| path.as_os_str().as_bytes()),
            arguments: &arguments,
        };
        planned.action =
            Action::Command { written: written.to_string(), scripts: command.scripts(&values), env: step.env.clone() };
        if planned.decision != Decision::Run(RunReason::Work) {
            return Ok(planned);
        }
        if command.takes_files() && files.is_empty() {
            planned.decision = Decision::Skip(SkipReason::NothingToHandOver);
            return Ok(planned);
        }
        if !self.context.judges() {
            planned.decision = Decision::Run(RunReason::Acts);
            return Ok(planned);
        }
        let key = self.key(step, &command, &files, &values)?;
        planned.decision = match self.context.cache {
            CachePolicy::Ignore => Decision::Run(RunReason::CacheIgnored),
            CachePolicy::Use => match (self.find)(&key) {
                Found::Record(Record { passed_at, .. }) => {
                    Decision::Skip(SkipReason::Passed { at: passed_at, record: key.clone() })
                }
                Found::Nothing => Decision::Run(RunReason::NoRecord),
                Found::Unreadable(why) => Decision::Run(RunReason::UnreadableRecord(why)),
            },
        };
        planned.key = Some(key);
        Ok(planned)
    }

    fn command(&self, step: &Step, written: &str) -> Result<Command, Error> {
        let command = Command::parse(written).map_err(|Quoted(placeholder)| Error::Placeholder {
            step: step.label().to_owned(),
            placeholder,
            problem: format!("{placeholder} stands in quotes"),
        })?;
        if command.takes_message_file() && self.context.message_file.is_none() {
            return Err(Error::NoMessageFile { step: step.label().to_owned(), hook: self.context.hook });
        }
        Ok(command)
    }

    /// The changed paths that a step is about.
    fn matching(&self, step: &Step) -> Vec<(&BStr, ChangeKind)> {
        let changed = self.context.snapshot.changed.iter();
        let fits = |path: &BStr| {
            step.files.as_ref().is_none_or(|files| files.matches(std::ffi::OsStr::from_bytes(path).as_ref()))
        };
        changed.map(|change| (change.path.as_bstr(), change.kind)).filter(|(path, _)| fits(path)).collect()
    }

    /// What decides the step's result. Without `inputs` that is the whole tree.
    fn key(&self, step: &Step, command: &Command, files: &[&BStr], values: &Values<'_>) -> Result<Key, Error> {
        let mut key = KeyBuilder::new("step");
        if let Some(run) = &step.run {
            key.field("run", run.as_bytes());
        }
        for (name, value) in &step.env {
            key.field("env", name.as_bytes());
            key.field("value", value.as_bytes());
        }
        if let Some(inputs) = &step.inputs {
            for entry in (self.read)()? {
                let handed = command.takes_files() && files.binary_search(&entry.path.as_bstr()).is_ok();
                if handed || inputs.matches(std::ffi::OsStr::from_bytes(&entry.path).as_ref()) {
                    key.entry(entry);
                }
            }
        } else {
            key.field("tree", self.context.snapshot.tree.as_str().as_bytes());
        }
        if command.takes_files() {
            for file in files {
                key.field("file", file);
            }
        }
        if command.takes_message_file() {
            let message = self.context.message_file.map(|path| std::fs::read(path).map_err(Error::file(path)));
            key.field("message", &message.transpose()?.unwrap_or_default());
        }
        for place in command.takes_arguments() {
            key.field("argument", values.arguments.get(place - 1).copied().unwrap_or_default());
        }
        Ok(key.finish())
    }
}

/// What is gone cannot be handed to a command, and a submodule is no file.
fn handed_over(kind: ChangeKind) -> bool {
    !matches!(kind, ChangeKind::Deleted | ChangeKind::Written(EntryKind::Submodule))
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
