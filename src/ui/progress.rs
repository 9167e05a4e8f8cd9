use super::{Tone, clean, live, paint, seconds, style::colours_only};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::{
    io::{IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verbosity {
    /// Only what failed.
    Quiet,
    /// A line for each task.
    #[default]
    Normal,
    /// The output of every task too.
    Verbose,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should, with a note: `12 files`, `sha256:3f2a…`.
    Done(String),
    /// There was nothing to do, with the reason.
    Skipped(String),
    /// It failed, with the reason.
    Failed(String),
}

/// Where progress is shown: on standard error, so that standard output stays for results.
#[derive(Clone)]
pub struct Progress {
    bars: Option<MultiProgress>,
    verbosity: Verbosity,
    /// Keeps the lines of one task together when several end at once.
    printing: Arc<Mutex<()>>,
}

impl Progress {
    /// Live lines where standard error is a terminal that can show them, plain lines elsewhere.
    #[must_use]
    pub fn new(verbosity: Verbosity) -> Self {
        let is_live = std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
            && std::env::var_os("CI").is_none()
            && verbosity != Verbosity::Quiet;
        Self {
            bars: is_live.then(|| MultiProgress::with_draw_target(live::target())),
            verbosity,
            printing: Arc::default(),
        }
    }

    /// Begins a task with its name.
    #[must_use]
    pub fn task(&self, name: &str) -> Task {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:.bold} {elapsed:.dim} {wide_msg:.dim}") {
                bar.set_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
            }
            bar.set_prefix(clean(name).into_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        self.begin(name, bar)
    }

    fn begin(&self, name: &str, bar: Option<ProgressBar>) -> Task {
        Task {
            progress: self.clone(),
            name: clean(name).into_owned(),
            bar,
            started: Instant::now(),
            output: Arc::default(),
        }
    }

    /// Begins a task that uses the terminal itself: no live line gets in its way.
    #[must_use]
    pub fn task_beside_a_person(&self, name: &str) -> Task {
        self.begin(name, None)
    }

    /// Prints a line of its own, above live lines.
    pub fn line(&self, text: &str) {
        if self.verbosity != Verbosity::Quiet {
            self.print(&format!("{text}\n"));
        }
    }

    fn print(&self, block: &str) {
        let _one_at_a_time = self.printing.lock().unwrap_or_else(PoisonError::into_inner);
        let write = || {
            let mut stderr = anstream::stderr().lock();
            // A closed standard error must not stop the work.
            let _ = stderr.write_all(block.as_bytes());
            let _ = stderr.flush();
        };
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

/// One piece of work that a person may be waiting for. Cheap to clone; ends with [`Task::end`].
#[derive(Clone)]
pub struct Task {
    progress: Progress,
    name: String,
    bar: Option<ProgressBar>,
    started: Instant,
    output: Arc<Mutex<Vec<u8>>>,
}

/// The most that is kept of a task's output; the beginning and the end are what people look for.
const OUTPUT_BYTES: usize = 1 << 20;

/// As much of an output's end as a line of a terminal may hold.
const LINE_BYTES: usize = 1024;

/// A line without the colours that a program gave it.
fn plain(line: &str) -> String {
    anstream::adapter::strip_str(line).to_string()
}

impl Task {
    /// Says what the task does at the moment: `pushing 3/5`.
    pub fn message(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(clean(text).into_owned());
        }
    }

    /// Keeps output, to be shown if the task fails, and shows its last line meanwhile. Of more than 1 MiB the middle is
    /// dropped.
    pub fn output(&self, bytes: &[u8]) {
        if self.bar.is_some() {
            let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LINE_BYTES)..]);
            if let Some(line) = text.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
                self.message(&plain(line));
            }
        }
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.extend_from_slice(bytes);
        if output.len() > OUTPUT_BYTES + OUTPUT_BYTES / 4 {
            let keep = OUTPUT_BYTES / 2;
            let cut = output.len() - keep;
            output.splice(keep..cut, *b"\n[...]\n");
        }
    }

    /// What was kept of its output, as text without colours.
    #[must_use]
    pub fn kept(&self) -> String {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        clean(&plain(&String::from_utf8_lossy(&output))).into_owned()
    }

    /// Whether the output of every task is shown, also of one that succeeds.
    #[must_use]
    pub fn is_verbose(&self) -> bool {
        self.progress.verbosity == Verbosity::Verbose
    }

    /// How long the task has been running.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends the task and says how.
    pub fn end(self, outcome: &Outcome) {
        self.finish(outcome, None);
    }

    /// Ends a task that failed, with the reason and what to do next.
    pub fn fail(self, reason: &str, next: Option<&str>) {
        self.finish(&Outcome::Failed(reason.to_owned()), next);
    }

    fn finish(self, outcome: &Outcome, next: Option<&str>) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let verbosity = self.progress.verbosity;
        let (mark, note, tone) = match outcome {
            Outcome::Done(note) => (paint("✓", Tone::Good), note, Tone::Faint),
            Outcome::Skipped(reason) => (paint("·", Tone::Faint), reason, Tone::Faint),
            Outcome::Failed(reason) => (paint("✗", Tone::Bad), reason, Tone::Bad),
        };
        let failed = matches!(outcome, Outcome::Failed(_));
        if verbosity == Verbosity::Quiet && !failed {
            return;
        }
        let mut block = format!("{mark} {}", paint(&self.name, Tone::Strong));
        if !matches!(outcome, Outcome::Skipped(_)) {
            block.extend([" ", &paint(&seconds(self.started.elapsed()), Tone::Faint)]);
        }
        if !note.is_empty() {
            block.extend(["  ", &paint(&clean(note), tone)]);
        }
        block.push('\n');
        if failed || verbosity == Verbosity::Verbose {
            let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
            for line in String::from_utf8_lossy(&output).lines() {
                block.extend(["  ", &paint("│", Tone::Faint), " ", &colours_only(line), "\n"]);
            }
        }
        if let Some(next) = next {
            block.extend(["  ", &paint("next:", Tone::Strong), " ", &clean(next), "\n"]);
        }
        self.progress.print(&block);
    }
}
