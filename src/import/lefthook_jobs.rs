//! What lefthook calls commands, scripts, jobs and groups as steps. lefthook runs a list one after the other unless it is
//! `parallel`, and goes on after a failure unless it is `piped`; ours say the first with `priority` and the second with `needs`.

use super::{
    conditions,
    draft::{Condition, Effects, Names, Step},
    ere, foreign,
    globs::{self, Dialect},
    regex,
    shell::{self, Filled},
};
use crate::{
    hook,
    values::{HookName, RelativePath, Span},
};
use serde_json::Value;

/// How a list of jobs runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// All at once.
    Parallel,
    /// One after the other, the next only when the last has passed.
    Piped,
    /// One after the other, whatever comes of them.
    Sequential,
}

/// What may run at the same time as a list of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nothing: whatever stands above it is in sequence, so that `priority` can say its order.
    Nothing,
    /// Jobs of a list above it.
    Others,
}

impl Flow {
    pub(super) fn of(list: &Value) -> Self {
        match (foreign::flag(list, "piped"), foreign::flag(list, "parallel")) {
            (Some(true), _) => Self::Piped,
            (_, Some(true)) => Self::Parallel,
            _ => Self::Sequential,
        }
    }
}

/// What a hook or a group says for all of its jobs.
#[derive(Debug, Clone, Default)]
pub(super) struct Setting {
    pub(super) skip: Condition,
    pub(super) only: Condition,
    pub(super) exclude: Vec<Value>,
    pub(super) excluded_tags: Vec<String>,
    pub(super) files: String,
    pub(super) glob: Vec<String>,
    pub(super) root: String,
    pub(super) env: Vec<(String, String)>,
    pub(super) tags: Vec<String>,
}

/// The jobs of one hook while they become steps.
pub(super) struct Jobs<'c> {
    pub(super) hook: HookName,
    pub(super) dialect: Dialect,
    pub(super) source_dir: &'c str,
    pub(super) templates: &'c [(String, String)],
    pub(super) names: Names,
    pub(super) steps: Vec<Step>,
    /// How many waves of steps there are so far: each runs when the one before has ended.
    pub(super) wave: u16,
    /// Whether patterns were taken over.
    pub(super) globs: bool,
}

impl Jobs<'_> {
    /// Adds a list of jobs that wait for `needs`; gives the names of those that whoever waits for the list waits for.
    pub(super) fn all(
        &mut self,
        jobs: &[(String, &Value)],
        flow: Flow,
        setting: &Setting,
        needs: &[String],
        beside: Beside,
    ) -> Vec<String> {
        let waves = beside == Beside::Nothing && flow != Flow::Parallel;
        let chained = flow == Flow::Piped || (flow == Flow::Sequential && !waves);
        let at = self.steps.len();
        let (mut before, mut all) = (needs.to_vec(), Vec::new());
        for (name, job) in jobs {
            let list = job.get("group").filter(|group| Flow::of(group) != Flow::Parallel);
            if waves && list.is_none() {
                self.wave = self.wave.saturating_add(1);
            }
            let names = self.one(name, job, setting, &before, if waves { Beside::Nothing } else { Beside::Others });
            if chained {
                if !names.is_empty() {
                    before.clone_from(&names);
                    all = names;
                }
            } else {
                all.extend(names);
            }
        }
        if flow == Flow::Sequential
            && chained
            && jobs.len() > 1
            && let Some(first) = self.steps.get_mut(at)
        {
            first
                .notes
                .push("lefthook ran the rest of this group after a failure too; with `needs` it does not".to_owned());
        }
        all
    }

    fn one(&mut self, name: &str, job: &Value, setting: &Setting, needs: &[String], beside: Beside) -> Vec<String> {
        let mut notes = Vec::new();
        let setting = Self::narrowed(setting, job, &mut notes);
        if let Some(group) = job.get("group") {
            let jobs: Vec<(String, &Value)> =
                foreign::items(group.get("jobs")).iter().map(|job| (foreign::word(job, "name"), job)).collect();
            let at = self.steps.len();
            let names = self.all(&jobs, Flow::of(group), &setting, needs, beside);
            if let Some(first) = self.steps.get_mut(at) {
                first.notes.splice(0..0, notes);
            }
            return names;
        }
        let Some(step) = self.step(name, job, &setting, needs, notes) else { return Vec::new() };
        let names = vec![step.name.clone()];
        self.steps.push(step);
        names
    }

    /// What a group or job says beside what stands above it.
    fn narrowed(above: &Setting, job: &Value, notes: &mut Vec<String>) -> Setting {
        let mut setting = above.clone();
        setting.skip = conditions::either(&above.skip, &conditions::skip(job.get("skip"), notes));
        let only = conditions::only(job.get("only"), notes);
        setting.only = conditions::both(&above.only, &only).unwrap_or_else(|| {
            notes.push("the hook's own `only` speaks of the same thing and is left out here".to_owned());
            only
        });
        let globs = foreign::words(job, "glob");
        if !globs.is_empty() {
            setting.glob = globs;
        }
        setting.exclude.extend(job.get("exclude").cloned());
        for (key, place) in [("root", &mut setting.root), ("files", &mut setting.files)] {
            let word = foreign::word(job, key);
            if !word.is_empty() {
                *place = word;
            }
        }
        for (name, value) in foreign::entries(job.get("env")) {
            setting.env.retain(|(known, _)| known != name);
            setting.env.extend(foreign::scalar(value).map(|value| (name.to_owned(), value)));
        }
        let tags = foreign::words(job, "tags");
        setting.tags.extend(tags.iter().flat_map(|tags| tags.split_whitespace()).map(str::to_owned));
        setting
    }

    fn step(
        &mut self,
        name: &str,
        job: &Value,
        setting: &Setting,
        needs: &[String],
        mut notes: Vec<String>,
    ) -> Option<Step> {
        let written = self.written(name, job)?;
        let added = shell::without_add(&written).filter(|_| self.hook == HookName::PreCommit);
        if added == Some("") {
            // What steps with `fix` change is part of the commit already.
            return None;
        }
        let script = foreign::word(job, "script");
        let name = match (name, script.as_str()) {
            ("", "") => self.names.free(&shell::label(&shell::words(&written).unwrap_or_default())),
            ("", script) => self.names.free(script),
            (name, _) => self.names.free(name),
        };
        let fixes = added.is_some();
        let written = added.unwrap_or(&written).to_owned();
        let run = self.command(&written, &name, &mut notes);
        let mut step = Step { name, needs: needs.to_vec(), priority: self.wave, run, ..Step::default() };
        step.tags.clone_from(&setting.tags);
        step.env.clone_from(&setting.env);
        step.only = setting.only.clone();
        step.skip = setting.skip.clone();
        if let Some(tag) = step.tags.iter().find(|tag| setting.excluded_tags.contains(tag)) {
            notes.push(format!("lefthook left out what is tagged {tag} (`exclude_tags`)"));
            step.skip = Condition::Always;
        }
        self.choose(&mut step, setting, &mut notes);
        step.fail_text = foreign::word(job, "fail_text");
        let timeout = foreign::word(job, "timeout");
        if timeout.parse::<Span>().is_ok() {
            step.timeout = timeout;
        } else if !timeout.is_empty() {
            notes.push(format!("no equal for lefthook's timeout: {timeout}"));
        }
        let yes = |key| foreign::flag(job, key) == Some(true);
        step.effects =
            Effects { fix: fixes || yes("stage_fixed"), interactive: yes("interactive"), stdin: yes("use_stdin") };
        let types = foreign::words(job, "file_types");
        if !types.is_empty() {
            notes.push(format!("no equal for lefthook's file_types: {}", types.join(", ")));
        }
        step.notes = notes;
        Some(step)
    }

    /// The files that a step is about.
    fn choose(&mut self, step: &mut Step, setting: &Setting, notes: &mut Vec<String>) {
        let root = setting.root.trim_start_matches("./").trim_end_matches('/');
        match root.parse::<RelativePath>() {
            Ok(root) => root.as_str().clone_into(&mut step.root),
            Err(_) => notes.push(format!("no equal for lefthook's root: {root}")),
        }
        // In other hooks lefthook's patterns only choose what is handed over.
        let chooses = matches!(self.hook, HookName::PreCommit | HookName::PrePush)
            || step.run.contains("files}")
            || !setting.files.is_empty();
        if !setting.glob.is_empty() && chooses {
            self.globs = true;
            match globs::translate(&setting.glob, self.dialect) {
                Some(globs) => step.files = globs,
                None => notes.push(format!(
                    "all files are handed over: no equal for lefthook's glob: {}",
                    setting.glob.join(" ")
                )),
            }
        }
        let mut searched = Vec::new();
        for exclude in &setting.exclude {
            let expression = exclude.as_str().filter(|expression| !looks_like_a_glob(expression));
            let translated = match (expression, exclude) {
                (Some(expression), _) => regex::globs(expression),
                (None, list) => {
                    let list: Vec<String> = foreign::items(Some(list)).iter().filter_map(foreign::scalar).collect();
                    globs::translate(&list, self.dialect)
                }
            };
            if translated.and_then(|globs| globs::add(&mut step.exclude, globs)).is_some() {
                continue;
            }
            // Within a folder the paths that a command sees are not those that lefthook searched.
            match expression.filter(|_| step.root.is_empty()).and_then(ere::extended) {
                Some(extended) => searched.push(extended),
                None => notes.push(format!("all files are handed over: no equal for lefthook's exclude: {exclude}")),
            }
        }
        if !searched.is_empty() {
            notes.push("`exclude` was an expression that no pattern equals: the shell chooses the files".to_owned());
            step.run = shell::choosing(&step.run, None, &searched);
        }
        if !setting.files.is_empty() {
            notes.push(format!(
                "lefthook asked `{}` for the files; here it is what the event changes that counts",
                setting.files
            ));
        }
    }

    /// The command as it is written, a script by its path.
    fn written(&self, name: &str, job: &Value) -> Option<String> {
        let run = foreign::word(job, "run");
        if !run.trim().is_empty() {
            return Some(run.trim().to_owned());
        }
        let script = Some(foreign::word(job, "script")).filter(|script| !script.is_empty());
        // Among `scripts` the key is the file, and there is a runner or nothing at all.
        let is_script =
            script.is_some() || job.get("runner").is_some() || (job.get("group").is_none() && !name.is_empty());
        if !is_script {
            return None;
        }
        let file = shell::quote(&format!("{}/{}/{}", self.source_dir, self.hook, script.as_deref().unwrap_or(name)));
        let runner = foreign::word(job, "runner");
        let called = if runner.contains("{cmd}") { runner.replace("{cmd}", &file) } else { format!("{runner} {file}") };
        let args = foreign::word(job, "args");
        let args = if args.is_empty() { arguments(self.hook) } else { args };
        Some(format!("{} {args}", called.trim()).trim().to_owned())
    }

    /// A command with our placeholders.
    fn command(&self, written: &str, name: &str, notes: &mut Vec<String>) -> String {
        let written = shell::replace(written, |rest| {
            let wanted = shell::placeholder(rest)?;
            let (_, text) = self.templates.iter().find(|(template, _)| template == wanted)?;
            Some((Filled::Script(text.clone()), wanted.len() + 2))
        });
        let all_files = written.contains("{all_files}");
        let changed = ["{staged_files}", "{push_files}", "{files}"].iter().any(|list| written.contains(list));
        if written.contains("{staged_files}") && self.hook != HookName::PreCommit {
            notes.push("lefthook handed over staged files here; {files} are those that the event changes".to_owned());
        } else if all_files && changed {
            notes.push("lefthook handed over two lists here; a step takes one".to_owned());
        }
        if written.contains("{cmd}") {
            notes.push("{cmd} stands for a command of another file of lefthook's and has no equal".to_owned());
        }
        shell::replace(&written, |rest| {
            let wanted = shell::placeholder(rest)?;
            let filled = match wanted {
                "all_files" => Filled::List("{all_files}"),
                "files" | "staged_files" | "push_files" if all_files => Filled::List("{all_files}"),
                "files" | "staged_files" | "push_files" => Filled::List("{files}"),
                "lefthook_job_name" => Filled::Word(shell::quote(name)),
                "0" => Filled::Script(arguments(self.hook)),
                "1" if self.hook.takes_message_file() => Filled::Word("{message_file}".to_owned()),
                digit if digit.len() == 1 && digit.as_bytes()[0].is_ascii_digit() => {
                    Filled::Word(format!("{{{digit}}}"))
                }
                _ => return None,
            };
            Some((filled, wanted.len() + 2))
        })
    }
}

/// Newer lefthooks take patterns where older ones took an expression.
fn looks_like_a_glob(text: &str) -> bool {
    text.starts_with('*') || text.contains("/*") || text.contains("**")
}

/// All arguments that git gives to a hook (`githooks(5)`).
pub(super) fn arguments(hook: HookName) -> String {
    let name = |place| match place {
        1 if hook.takes_message_file() => "{message_file}".to_owned(),
        place => format!("{{{place}}}"),
    };
    let all: Vec<String> = (1..=hook::most_arguments(hook)).map(name).collect();
    all.join(" ")
}
