//! What an engine tells during a build, gathered: the steps of `BuildKit`'s trace, or the lines of a classic builder. From it come
//! the line that a person sees, the bases that were used, and the step that failed with what it printed.

use super::dockerfile::{Dockerfile, Instruction, single_spaced};
use bollard::moby::buildkit::v1::StatusResponse;
use std::collections::{BTreeMap, HashMap};

/// The most that is kept of one step's output: its end.
const LOG_BYTES: usize = 64 << 10;
/// The lines of a failed step that are shown.
const TAIL_LINES: usize = 30;

/// A build as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// Steps in the order in which they were first named.
    steps: Vec<Step>,
    by_digest: HashMap<String, usize>,
    /// Lines of a classic builder that belong to no step yet.
    unfinished: String,
    warnings: Vec<String>,
    /// Whether the engine sends `BuildKit`'s trace.
    pub is_buildkit: bool,
}

#[derive(Debug, Default)]
struct Step {
    /// `[builder 2/5] RUN go build`, or `Step 2/5 : RUN go build` of a classic builder.
    name: String,
    log: Vec<u8>,
    error: String,
    /// Whether it was found done from an earlier build.
    is_cached: bool,
    /// When it began, in seconds and nanoseconds of the engine's clock.
    began: Option<(i64, i32)>,
}

/// The step that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// Where it stands in the Dockerfile.
    pub line: Option<usize>,
    pub command: String,
    pub reason: String,
    /// The end of what it printed.
    pub tail: String,
}

impl Trace {
    /// Takes in a piece of `BuildKit`'s trace; the answer is what to show, where that changed.
    pub(super) fn status(&mut self, status: StatusResponse) -> Option<String> {
        self.is_buildkit = true;
        let mut now = None;
        for vertex in status.vertexes {
            let step = self.step(&vertex.digest);
            if vertex.started.is_some() && vertex.completed.is_none() && !vertex.name.starts_with("[internal]") {
                now = Some(vertex.name.clone());
            }
            step.name = vertex.name;
            step.is_cached |= vertex.cached;
            step.began = step.began.or(vertex.started.map(|began| (began.seconds, began.nanos)));
            if !vertex.error.is_empty() {
                step.error = vertex.error;
            }
        }
        self.warnings.extend(status.warnings.iter().map(|told| String::from_utf8_lossy(&told.short).into_owned()));
        for log in status.logs {
            self.step(&log.vertex).print(&log.msg);
        }
        now
    }

    /// Takes in text of a classic builder.
    pub(super) fn text(&mut self, text: &str) -> Option<String> {
        self.unfinished.push_str(text);
        let mut now = None;
        while let Some(end) = self.unfinished.find('\n') {
            let line: String = self.unfinished.drain(..=end).collect();
            let line = line.trim_end();
            if is_step(line) {
                now = Some(line.to_owned());
                self.steps.push(Step { name: line.to_owned(), ..Step::default() });
            } else if let Some(step) = self.steps.last_mut() {
                // Docker's own says "---> Using cache", Podman "--> Using cache 0123…".
                step.is_cached |= line.contains("--> Using cache");
                step.print(line.as_bytes());
                step.print(b"\n");
            }
        }
        now
    }

    fn step(&mut self, digest: &str) -> &mut Step {
        let index = *self.by_digest.entry(digest.to_owned()).or_insert_with(|| {
            self.steps.push(Step::default());
            self.steps.len() - 1
        });
        &mut self.steps[index]
    }

    /// All that was printed, for those who asked to see it.
    pub(super) fn output(&self) -> Vec<u8> {
        let mut output = Vec::new();
        let mut steps: Vec<&Step> = self.steps.iter().filter(|step| !step.name.starts_with("[internal]")).collect();
        // `BuildKit` names the last step first.
        steps.sort_by_key(|step| step.began);
        for step in steps {
            output.extend_from_slice(step.name.as_bytes());
            output.push(b'\n');
            output.extend_from_slice(&step.log);
        }
        output
    }

    /// The platform of a base image that is not there for the one that is built (`BuildKit`'s check
    /// `InvalidBaseImagePlatform`).
    pub(super) fn other_platform(&self) -> Option<String> {
        let told = self.warnings.iter().find(|told| told.contains("InvalidBaseImagePlatform"))?;
        let (_, rest) = told.split_once("pulled with platform \"")?;
        rest.split('"').next().map(str::to_owned)
    }

    /// How many of the Dockerfile's steps were found done: `4 of 6 steps cached`.
    pub(super) fn note(&self) -> String {
        let steps: Vec<&Step> = self.steps.iter().filter(|step| step.is_of_the_dockerfile()).collect();
        let cached = steps.iter().filter(|step| step.is_cached).count();
        if steps.is_empty() { String::new() } else { format!("{cached} of {} steps cached", steps.len()) }
    }

    /// The base images that were used and the digests they had, as far as the engine names them.
    pub(super) fn bases(&self) -> BTreeMap<String, String> {
        let named = self.steps.iter().filter_map(|step| {
            let (_, image) = step.name.rsplit_once("FROM ")?;
            let (name, digest) = image.split_once('@')?;
            digest.starts_with("sha256:").then(|| (name.to_owned(), digest.to_owned()))
        });
        named.collect()
    }

    /// The step that failed, given what the engine said at the end; `None` where the build failed outside of any.
    pub(super) fn failed(&self, file: &Dockerfile, said: &str) -> Option<Failed> {
        if !self.is_buildkit {
            let step = self.steps.last()?;
            let (stage, name) = staged(&step.name);
            let (_, rest) = name.split_once(' ')?;
            let (numbers, text) = rest.split_once(':')?;
            let instruction = file.nth(stage, numbers.split('/').next()?.trim().parse().ok()?);
            return Some(step.failed(instruction, text.trim(), said));
        }
        // When one fails the others are cancelled, which is not what went wrong.
        let failed =
            self.steps.iter().filter(|step| !step.error.is_empty() && !step.error.contains("context canceled"));
        let told = failed.into_iter().find_map(|step| {
            let (place, text) = step.name.strip_prefix('[')?.split_once("] ")?;
            let mut words = place.split_whitespace().rev();
            let (index, total) = words.next()?.split_once('/')?;
            let instruction = file.step(words.next(), index.parse().ok()?, total.parse().ok()?);
            Some(step.failed(instruction, text, &step.error))
        });
        // An engine may end its trace before the step's own error is in it; what it says at the end names the step.
        told.or_else(|| {
            if let Some(path) = missing_path(said) {
                return Some(Step::default().failed(Some(file.copying(path)?), "", said));
            }
            let command = failed_command(said)?;
            let instruction = Some(file.running(&command)?);
            let mut steps = self.steps.iter().filter(|step| single_spaced(&step.name).ends_with(&command));
            Some(steps.next_back().unwrap_or(&Step::default()).failed(instruction, "", said))
        })
    }
}

/// Docker's own says `Step 2/5 : RUN x`, Podman `STEP 2/5: RUN x` or, with several stages, `[1/2] STEP 2/5: RUN x`.
fn is_step(line: &str) -> bool {
    staged(line).1.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("step "))
}

/// The stage that Podman names before a step, from 0, and the rest.
fn staged(line: &str) -> (Option<usize>, &str) {
    let named = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    let stage = named.and_then(|(numbers, _)| numbers.split('/').next()?.parse::<usize>().ok()?.checked_sub(1));
    match (stage, named) {
        (Some(stage), Some((_, rest))) => (Some(stage), rest),
        _ => (None, line),
    }
}

impl Step {
    fn is_of_the_dockerfile(&self) -> bool {
        let classic = is_step(&self.name);
        let numbered = self.name.strip_prefix('[').and_then(|name| name.split_once(']'));
        let name = numbered.map_or("", |(place, _)| place);
        let is_numbered = name.rsplit(' ').next().is_some_and(|number| number.contains('/'));
        (classic || (is_numbered && name != "internal")) && !self.name.contains("FROM ")
    }

    fn print(&mut self, bytes: &[u8]) {
        self.log.extend_from_slice(bytes);
        if self.log.len() > 2 * LOG_BYTES {
            let cut = self.log.len() - LOG_BYTES;
            self.log.drain(..cut);
        }
    }

    fn failed(&self, instruction: Option<&Instruction>, text: &str, said: &str) -> Failed {
        let log = String::from_utf8_lossy(&self.log);
        let lines: Vec<&str> = log.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        Failed {
            line: instruction.map(|instruction| instruction.line),
            command: shortened(instruction.map_or(text, |instruction| &instruction.text)),
            reason: reason(said),
            tail: lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"),
        }
    }
}

/// The path that `BuildKit` says it did not find.
fn missing_path(said: &str) -> Option<&str> {
    let (_, path) = said.rsplit_once("\": not found")?.0.rsplit_once('"')?;
    Some(path.trim_matches('/')).filter(|path| !path.is_empty())
}

/// The command that `BuildKit` says did not end well.
fn failed_command(said: &str) -> Option<String> {
    let (_, rest) = said.split_once("process \"")?;
    let (command, _) = rest.rsplit_once("\" did not complete")?;
    let command = command.strip_prefix("/bin/sh -c ").unwrap_or(command).replace("\\\"", "\"");
    Some(single_spaced(&command)).filter(|command| !command.is_empty())
}

/// A command on one line of a bearable length.
fn shortened(command: &str) -> String {
    const SHOWN: usize = 120;
    let words = single_spaced(command);
    if words.chars().count() <= SHOWN {
        return words;
    }
    words.chars().take(SHOWN).chain(['…']).collect()
}

/// The end of an engine's sentence, where the news is: `process "/bin/sh -c make" did not complete successfully: exit code: 2`.
pub(super) fn reason(said: &str) -> String {
    let said = said.trim();
    if let Some((_, code)) = said.rsplit_once("did not complete successfully: ") {
        return code.replace("exit code: ", "exit code ");
    }
    // BuildKit of Docker 20.10 repeats the whole command, which stands in the message anyway.
    let failed = said.contains("executor failed running [");
    if let (true, Some((_, code))) = (failed, said.rsplit_once("]: exit code: ")) {
        return format!("exit code {code}");
    }
    if let Some((_, code)) = said.rsplit_once("returned a non-zero code: ") {
        return format!("exit code {code}");
    }
    let said = said.strip_prefix("failed to solve: ").unwrap_or(said);
    // Podman repeats the command, and "exit status" is Go's word.
    if let (true, Some((_, code))) = (said.contains("building at STEP"), said.rsplit_once("exit status ")) {
        return format!("exit code {code}");
    }
    // A path that is not in the context comes wrapped in the names of cache entries.
    let wrapped = said.split_once("failed to calculate checksum of ref ").and_then(|(_, rest)| rest.split_once(": "));
    wrapped.map_or(said, |(_, rest)| rest).replace("\" not found: not found", "\": not found")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::moby::buildkit::v1::{Vertex, VertexLog};

    fn vertex(digest: &str, name: &str, error: &str) -> Vertex {
        Vertex { digest: digest.to_owned(), name: name.to_owned(), error: error.to_owned(), ..Vertex::default() }
    }

    const FILE: &str = "FROM python:3\nWORKDIR /app\nRUN pip install \\\n  flask\nRUN false\n";

    #[test]
    fn buildkits_trace_gives_the_bases_and_the_failed_line() {
        let base = format!("sha256:{}", "a".repeat(64));
        let mut trace = Trace::default();
        trace.status(StatusResponse {
            vertexes: vec![
                vertex("1", &format!("[1/4] FROM docker.io/library/python:3@{base}"), ""),
                vertex("2", "[4/4] RUN false", ""),
                vertex("3", "[3/4] RUN pip install   flask", "context canceled"),
            ],
            logs: vec![VertexLog { vertex: "2".to_owned(), msg: b"one\ntwo\n".to_vec(), ..VertexLog::default() }],
            ..StatusResponse::default()
        });
        let error = "process \"/bin/sh -c false\" did not complete successfully: exit code: 1";
        trace.status(StatusResponse {
            vertexes: vec![vertex("2", "[4/4] RUN false", error)],
            ..StatusResponse::default()
        });

        assert_eq!(trace.bases(), BTreeMap::from([("docker.io/library/python:3".to_owned(), base)]));
        let failed = trace.failed(&Dockerfile::parse(FILE), error).unwrap();
        assert_eq!(
            (failed.line, failed.command.as_str(), failed.reason.as_str()),
            (Some(5), "RUN false", "exit code 1")
        );
        assert_eq!(failed.tail, "one\ntwo");
    }

    #[test]
    fn a_classic_builders_text_gives_the_failed_line_too() {
        let mut trace = Trace::default();
        for text in
            ["Step 1/4 : FROM python:3\n ---> ab\nStep 3/4 : RUN pip inst", "all flask\n", " ---> Running\nno flask\n"]
        {
            trace.text(text);
        }
        let said = "The command '/bin/sh -c pip install flask' returned a non-zero code: 3";
        let failed = trace.failed(&Dockerfile::parse(FILE), said).unwrap();
        assert_eq!((failed.line, failed.command.as_str()), (Some(3), "RUN pip install flask"));
        assert_eq!((failed.reason.as_str(), failed.tail.as_str()), ("exit code 3", " ---> Running\nno flask"));
    }

    #[test]
    fn an_exit_code_is_told_alike_by_all_engines() {
        for said in [
            "process \"/bin/sh -c exit 7\" did not complete successfully: exit code: 7",
            "executor failed running [/bin/sh -c exit 7]: exit code: 7",
            "The command '/bin/sh -c exit 7' returned a non-zero code: 7",
            "building at STEP \"RUN exit 7\": while running runtime: exit status 7",
        ] {
            assert_eq!(reason(said), "exit code 7");
        }
    }

    #[test]
    fn a_missing_path_is_told_without_cache_names() {
        let said = "failed to calculate checksum of ref abc::def: \"/nope\": not found";
        for wrapper in ["", "failed to compute cache key: ", "failed to solve: failed to compute cache key: "] {
            assert_eq!(reason(&format!("{wrapper}{said}")), "\"/nope\": not found");
        }
    }

    #[test]
    fn a_trace_without_its_end_is_made_up_for_by_what_the_engine_says() {
        let file = Dockerfile::parse("FROM a\nRUN touch web/dist\nCOPY web/dist /x/\nRUN echo \"a\" && \\\n  false\n");
        let mut trace = Trace::default();
        trace.status(StatusResponse {
            vertexes: vec![
                vertex("1", "[2/3] COPY web/dist /x/", ""),
                vertex("2", "[3/3] RUN echo \"a\" &&   false", ""),
            ],
            logs: vec![VertexLog { vertex: "2".to_owned(), msg: b"a\n".to_vec(), ..VertexLog::default() }],
            ..StatusResponse::default()
        });
        let told = |said: &str| {
            let failed = trace.failed(&file, said).unwrap();
            (failed.line, failed.reason, failed.tail)
        };
        assert_eq!(
            told("failed to compute cache key: failed to calculate checksum of ref a::b: \"/web/dist\": not found"),
            (Some(3), "\"/web/dist\": not found".to_owned(), String::new())
        );
        assert_eq!(
            told(r#"process "/bin/sh -c echo \"a\" &&   false" did not complete successfully: exit code: 1"#),
            (Some(4), "exit code 1".to_owned(), "a".to_owned())
        );
        assert_eq!(trace.failed(&file, "the frontend is not to be had"), None);
    }
}
