//! A Dockerfile's instructions with their lines, as far as messages need them: which line a failed step is, and which
//! registries a build will ask. What an instruction means is the engine's business.

use super::engine::Kind;
use crate::values::ImageRef;
use std::collections::{BTreeMap, BTreeSet};

/// The instructions of a Dockerfile, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dockerfile {
    instructions: Vec<Instruction>,
    /// The image that reads the Dockerfile, where a `# syntax=` line names one.
    syntax: Option<String>,
}

/// One instruction.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    /// The line it starts on, from 1.
    pub line: usize,
    /// Its first word in capitals: `RUN`.
    pub keyword: String,
    /// All of it on one line, heredocs left out.
    pub text: String,
    has_heredoc: bool,
    /// Which stage it belongs to: 0 for the first `FROM`; `None` before it.
    stage: Option<usize>,
}

impl Dockerfile {
    pub(super) fn parse(text: &str) -> Self {
        let mut escape = '\\';
        let mut syntax = None;
        let mut instructions: Vec<Instruction> = Vec::new();
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let trimmed = line.trim();
            if let Some(comment) = trimmed.strip_prefix('#') {
                // Parser directives stand before everything else (Dockerfile reference).
                if let (true, Some((name, value))) = (instructions.is_empty(), comment.split_once('=')) {
                    match name.trim().to_ascii_lowercase().as_str() {
                        "escape" => escape = value.trim().chars().next().unwrap_or('\\'),
                        "syntax" => syntax = Some(value.trim().to_owned()),
                        _ => {}
                    }
                }
                continue;
            }
            if trimmed.is_empty() {
                continue;
            }
            let mut text = String::new();
            let mut part = trimmed;
            while let Some(unfinished) = part.strip_suffix(escape) {
                text.extend([unfinished.trim(), " "]);
                // Comments and empty lines do not end a continued instruction.
                let next = lines.find(|(_, line)| !line.trim().is_empty() && !line.trim().starts_with('#'));
                part = next.map_or("", |(_, line)| line.trim());
            }
            text.push_str(part);
            let heredocs = heredocs(&text);
            for word in &heredocs {
                lines.find(|(_, line)| line.trim_start_matches('\t') == *word);
            }
            let keyword = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            let before = instructions.last().and_then(|last| last.stage);
            let stage = if keyword == "FROM" { Some(before.map_or(0, |stage| stage + 1)) } else { before };
            let has_heredoc = !heredocs.is_empty();
            instructions.push(Instruction { line: index + 1, keyword, text, has_heredoc, stage });
        }
        Self { instructions, syntax }
    }

    /// The instruction of `BuildKit`'s step `index` of `total` in a stage (`[builder 2/5]`; without a name the only one).
    ///
    /// Counted from the end, since what stands at the beginning differs: `FROM scratch` and another stage as the base are
    /// no steps, `ONBUILD` of a base adds some.
    pub(super) fn step(&self, stage: Option<&str>, index: usize, total: usize) -> Option<&Instruction> {
        let stage = match stage {
            None => self.instructions.last()?.stage?,
            Some(name) => self.stage_named(name)?,
        };
        let steps = self.instructions.iter().filter(|instruction| {
            instruction.stage == Some(stage)
                && matches!(instruction.keyword.as_str(), "RUN" | "COPY" | "ADD" | "WORKDIR")
        });
        steps.rev().nth(total.checked_sub(index)?)
    }

    /// The first step that runs this command, whatever the spaces.
    pub(super) fn running(&self, command: &str) -> Option<&Instruction> {
        let mut steps = self.instructions.iter().filter(|found| found.keyword == "RUN");
        steps.find(|found| single_spaced(&found.text).ends_with(command))
    }

    /// The first step that copies this path.
    pub(super) fn copying(&self, path: &str) -> Option<&Instruction> {
        let mut steps = self.instructions.iter().filter(|found| matches!(found.keyword.as_str(), "COPY" | "ADD"));
        steps.find(|found| found.text.split_whitespace().any(|word| word.trim_matches('/') == path))
    }

    /// The instruction of the classic builder's step, which counts all of them from 1; Podman's of those of one stage.
    pub(super) fn nth(&self, stage: Option<usize>, step: usize) -> Option<&Instruction> {
        let counted = self.instructions.iter().filter(|found| stage.is_none() || found.stage == stage);
        counted.into_iter().nth(step.checked_sub(1)?)
    }

    /// The images that a build starts from, as far as they are named: stages and what only the engine can work out are not.
    pub(super) fn bases(&self, args: &BTreeMap<String, String>) -> BTreeSet<String> {
        let mut stages: Vec<String> = Vec::new();
        let mut bases = BTreeSet::new();
        for (image, stage) in self.froms(args) {
            if !image.is_empty() && image != "scratch" && !stages.contains(&image.to_ascii_lowercase()) {
                bases.insert(image);
            }
            stages.extend(stage.map(|name| name.to_ascii_lowercase()));
        }
        bases
    }

    /// The image that the result stands on: of the stage that is built, through the stages that it is made of. `None` where
    /// that is nothing.
    pub(super) fn last_base(&self, args: &BTreeMap<String, String>, target: Option<&str>) -> Option<String> {
        let froms = self.froms(args);
        let named = |name: &str, before: usize| {
            let is = |stage: &Option<String>| stage.as_ref().is_some_and(|stage| stage.eq_ignore_ascii_case(name));
            froms[..before].iter().rposition(|(_, stage)| is(stage))
        };
        let mut at = match target {
            Some(target) => named(target, froms.len()).or_else(|| target.parse().ok())?,
            None => froms.len().checked_sub(1)?,
        };
        loop {
            let (image, _) = froms.get(at)?;
            match named(image, at) {
                Some(stage) => at = stage,
                None => return (!image.is_empty() && image != "scratch").then(|| image.clone()),
            }
        }
    }

    /// What each `FROM` names, and what the stage is called.
    fn froms(&self, args: &BTreeMap<String, String>) -> Vec<(String, Option<String>)> {
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        let mut froms = Vec::new();
        for instruction in &self.instructions {
            let mut words = instruction.text.split_whitespace().skip(1).filter(|word| !word.starts_with("--"));
            match (instruction.keyword.as_str(), instruction.stage) {
                ("ARG", None) => known.extend(words.filter_map(|word| {
                    let (name, default) = word.split_once('=')?;
                    let value = args.get(name).cloned();
                    Some((name.to_owned(), value.unwrap_or_else(|| default.trim_matches(['"', '\'']).to_owned())))
                })),
                ("FROM", _) => {
                    let image = substituted(words.next().unwrap_or_default(), &known);
                    let stage = words.next().filter(|word| word.eq_ignore_ascii_case("as")).and(words.next());
                    froms.push((image, stage.map(str::to_owned)));
                }
                _ => {}
            }
        }
        froms
    }

    /// The first line that a builder without `BuildKit` would misread, and what stands there.
    pub(super) fn needs(&self, engine: Kind) -> Option<(usize, &'static str)> {
        let found = self.instructions.iter().filter(|found| matches!(found.keyword.as_str(), "RUN" | "COPY" | "ADD"));
        found.into_iter().find_map(|found| {
            let flag = |name: &str| {
                found
                    .text
                    .split_whitespace()
                    .skip(1)
                    .take_while(|word| word.starts_with("--"))
                    .any(|word| word.starts_with(name))
            };
            let what = match engine {
                Kind::Podman { knows_heredocs } => (!knows_heredocs && found.has_heredoc).then_some("a heredoc"),
                Kind::Docker if found.has_heredoc => Some("a heredoc"),
                Kind::Docker if flag("--mount") => Some("RUN --mount"),
                Kind::Docker if flag("--link") => Some("COPY --link"),
                Kind::Docker if flag("--chmod") => Some("COPY --chmod"),
                Kind::Docker => None,
            };
            Some((found.line, what?))
        })
    }

    fn stage_named(&self, name: &str) -> Option<usize> {
        if let Some(number) = name.strip_prefix("stage-").and_then(|number| number.parse().ok()) {
            return Some(number);
        }
        let named = self.instructions.iter().rev().find(|instruction| {
            let mut words = instruction.text.split_whitespace().rev();
            instruction.keyword == "FROM"
                && words.next().is_some_and(|word| word.eq_ignore_ascii_case(name))
                && words.next().is_some_and(|word| word.eq_ignore_ascii_case("as"))
        });
        named?.stage
    }

    /// The registries whose images the build may pull. Those that only the engine can find out (arguments computed from
    /// arguments) are missed, and then pulled without credentials.
    pub(super) fn registries(&self, args: &BTreeMap<String, String>) -> BTreeSet<String> {
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        let mut images: Vec<String> = self.syntax.iter().cloned().collect();
        for instruction in &self.instructions {
            let words: Vec<&str> = instruction.text.split_whitespace().skip(1).collect();
            match instruction.keyword.as_str() {
                "ARG" => known.extend(words.iter().filter_map(|word| {
                    let (name, default) = word.split_once('=')?;
                    Some((name.to_owned(), default.trim_matches(['"', '\'']).to_owned()))
                })),
                "FROM" => {
                    images.extend(words.iter().find(|word| !word.starts_with("--")).map(|word| (*word).to_owned()));
                }
                "COPY" | "ADD" | "RUN" => {
                    images.extend(words.iter().filter(|word| word.starts_with("--")).filter_map(|word| {
                        let (_, rest) = word.split_once("from=")?;
                        rest.split(',').next().map(str::to_owned)
                    }));
                }
                _ => {}
            }
        }
        known.extend(args.iter().map(|(name, value)| (name.clone(), value.clone())));
        let resolved = images.iter().filter_map(|image| substituted(image, &known).parse::<ImageRef>().ok());
        resolved.map(|image| image.repository.registry().to_owned()).collect()
    }
}

/// The words of a text with one space between them.
pub(super) fn single_spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The words that end the heredocs which a line begins: `<<EOF`, `<<-"EOF"`.
fn heredocs(text: &str) -> Vec<String> {
    let keyword = text.split_whitespace().next().unwrap_or_default();
    if !["RUN", "COPY", "ADD"].iter().any(|known| keyword.eq_ignore_ascii_case(known)) {
        return Vec::new();
    }
    let begins = text.match_indices("<<").filter(|(at, _)| {
        let (before, after) = (text[..*at].chars().next_back(), text[at + 2..].chars().next());
        before != Some('<') && after != Some('<')
    });
    let words = begins.filter_map(|(at, _)| {
        let word = text[at + 2..].trim_start_matches('-').split_whitespace().next()?.trim_matches(['"', '\'']);
        let fits = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
        fits.then(|| word.to_owned())
    });
    words.collect()
}

/// `$NAME`, `${NAME}` and `${NAME:-default}` with what is known.
fn substituted(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut done = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        done.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (name, default, left) = if let Some((inner, left)) = braced {
            let (name, default) = inner.split_once(":-").unwrap_or((inner, ""));
            (name, default, left)
        } else {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            (&after[..end], "", &after[end..])
        };
        done.push_str(known.get(name).map_or(default, String::as_str));
        rest = left;
    }
    done.push_str(rest);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# syntax=docker/dockerfile:1
ARG BASE=reg.example.com:5000/python:3.12
FROM golang:1 AS build
WORKDIR /src
RUN <<EOF
FROM nowhere
echo heredoc
EOF
RUN go build \
    # a comment in between
    -o /app \

    ./...

FROM ${BASE}
COPY --from=build /app /app
COPY --from=ghcr.io/team/tool:1 /t /t
RUN --mount=type=bind,from=quay.io/a/b,target=/m true
CMD ["/app"]
"#;

    #[test]
    fn a_step_is_found_by_its_place_in_its_stage() {
        let file = Dockerfile::parse(TEXT);
        // golang is a step of its own: [build 1/4] FROM, 2 WORKDIR, 3 and 4 RUN.
        let failed = file.step(Some("build"), 4, 4).unwrap();
        assert_eq!((failed.line, failed.text.as_str()), (9, "RUN go build -o /app ./..."));
        assert_eq!(file.step(Some("build"), 3, 4).unwrap().line, 5);
        assert_eq!(file.step(Some("stage-1"), 2, 4).unwrap().line, 16);
        assert_eq!(file.step(None, 4, 4).unwrap().line, 18);
        assert_eq!(file.step(None, 9, 9).unwrap().line, 18);
        assert_eq!(file.step(Some("other"), 1, 1), None);
        assert_eq!(file.nth(None, 2).unwrap().line, 3);
        assert_eq!(file.nth(Some(1), 2).unwrap().line, 16);
    }

    #[test]
    fn the_registries_of_a_build_are_known_beforehand() {
        let found = |args: &[(&str, &str)]| {
            let args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Dockerfile::parse(TEXT).registries(&args).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(found(&[]), ["docker.io", "ghcr.io", "quay.io", "reg.example.com:5000"]);
        assert_eq!(found(&[("BASE", "10.0.0.1:5000/x")]), ["10.0.0.1:5000", "docker.io", "ghcr.io", "quay.io"]);
    }

    #[test]
    fn the_bases_of_a_build_are_its_images_and_not_its_stages() {
        let text = "ARG BASE=a:1\nFROM $BASE AS one\nFROM scratch\nFROM One\nFROM --platform=linux/amd64 b\n";
        let bases = |args: &[(&str, &str)]| {
            let args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Dockerfile::parse(text).bases(&args).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(bases(&[]), ["a:1", "b"]);
        assert_eq!(bases(&[("BASE", "c@sha256:1")]), ["b", "c@sha256:1"]);
    }

    #[test]
    fn the_last_base_is_found_through_stages() {
        let text = "FROM a AS one\nFROM b AS two\nFROM one AS three\nFROM Three\nFROM scratch AS none\nFROM three\n";
        let last = |target| Dockerfile::parse(text).last_base(&BTreeMap::new(), target);
        assert_eq!(last(None).as_deref(), Some("a"));
        assert_eq!(last(Some("TWO")).as_deref(), Some("b"));
        assert_eq!((last(Some("none")), last(Some("nowhere"))), (None, None));
    }

    #[test]
    fn what_a_builder_would_misread_is_told_with_its_line() {
        let needs = |text: &str, engine| Dockerfile::parse(text).needs(engine);
        let podman = |knows_heredocs| Kind::Podman { knows_heredocs };
        let heredoc = "FROM a\nRUN <<EOF\ntrue\nEOF\n";
        assert_eq!(needs(heredoc, Kind::Docker), Some((2, "a heredoc")));
        assert_eq!(needs(heredoc, podman(false)), Some((2, "a heredoc")));
        assert_eq!(needs(heredoc, podman(true)), None);
        let mount = "FROM a\n\nRUN --mount=type=cache,target=/c make --mount\nRUN echo --mount\n";
        assert_eq!(needs(mount, Kind::Docker), Some((3, "RUN --mount")));
        assert_eq!(needs(mount, podman(false)), None);
        assert_eq!(needs("FROM a\nRUN echo --mount\n", Kind::Docker), None);
    }
}
