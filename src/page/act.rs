//! What a button does: one command of this program's own, shown before it runs and run as a person would run it, with nobody
//! there to ask. The page itself changes nothing.

use super::{
    facts::Facts,
    parts::{Links, badge, moment, took},
    row::Mark,
};
use crate::{
    git::{self, Repository},
    ui::clean,
    values::{EnvironmentName, Oid},
};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;
use std::{
    io,
    process::{Command, Stdio},
};

/// The most that is kept of what a command says.
const MAX_OUTPUT: usize = 32 << 10;

/// The commands that have a button.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verb {
    Promote,
    Rollback,
    Hold,
    Release,
    Deliver,
}

/// What a form sends.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Wanted {
    pub verb: Verb,
    pub environment: EnvironmentName,
    /// Why: of a hold or a rollback.
    #[serde(default)]
    pub message: String,
    /// The commit to go back to.
    #[serde(default)]
    pub to: String,
    /// Whether the cluster before is not to be asked: `yes`.
    #[serde(default)]
    pub unverified: String,
}

/// A command that was run.
#[derive(Debug, Clone)]
pub(super) struct Act {
    pub id: usize,
    pub environment: EnvironmentName,
    pub words: Vec<String>,
    pub began: Timestamp,
    /// When it ended, and whether all was well.
    pub ended: Option<(Timestamp, Option<i32>)>,
    pub output: String,
}

impl Verb {
    pub fn parse(word: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::from(word)).ok()
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Deliver => "deliver",
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Promote => "It will run exactly what runs healthy in the environment before it.",
            Self::Rollback => {
                "It will run what ran before, and nothing newer until it is released. Everybody sees the reason."
            }
            Self::Hold => "Nothing newer is delivered until it is released. Everybody sees the reason.",
            Self::Release => "Newer commits are let in again, and what waited is delivered at once.",
            Self::Deliver => {
                "What its branch has at the upstream is delivered; what is not built yet is checked and built first."
            }
        }
    }
}

impl Wanted {
    /// The command, word by word: no shell ever reads it. The cluster that is asked is the one that the page asks.
    pub fn words(&self, context: Option<&str>) -> Vec<String> {
        let mut words = vec![self.verb.word().to_owned()];
        match self.verb {
            Verb::Rollback => {
                if !self.to.is_empty() {
                    words.push(format!("--to={}", self.to));
                }
                if !self.message.trim().is_empty() {
                    words.push(format!("--message={}", self.message.trim()));
                }
                words.push(self.environment.to_string());
            }
            // What stands behind the two dashes is no option, whatever somebody writes.
            Verb::Hold => words.extend(["--".to_owned(), self.environment.to_string(), self.message.trim().to_owned()]),
            Verb::Promote => {
                words.extend(context.map(|context| format!("--context={context}")));
                if self.unverified == "yes" {
                    words.push("--unverified".to_owned());
                }
                words.push(self.environment.to_string());
            }
            Verb::Release | Verb::Deliver => words.push(self.environment.to_string()),
        }
        words
    }

    /// Why it cannot be done, before anything is run.
    pub fn refusal(&self, facts: &Facts) -> Option<String> {
        let known = facts.config().is_some_and(|config| config.environments.contains_key(&self.environment));
        if !known {
            return Some(format!("the configuration has no environment {}", self.environment));
        }
        if self.verb == Verb::Hold && self.message.trim().is_empty() {
            return Some("a hold needs a reason that everybody sees".to_owned());
        }
        let busy = facts.acts.iter().any(|act| act.ended.is_none() && act.environment == self.environment);
        busy.then(|| format!("another command for {} is running; wait for its end", self.environment))
    }
}

/// Runs a command of this program and gives how it ended and what it said.
pub(super) fn run(repository: &Repository, words: &[String]) -> io::Result<(Option<i32>, String)> {
    let mut command = Command::new(std::env::current_exe()?);
    git::scrub(&mut command)
        .args(words)
        .current_dir(repository.work_dir().unwrap_or_else(|| repository.git_dir()))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    for (name, value) in git::WITHOUT_PROMPTS {
        command.env(name, value);
    }
    let output = command.output()?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok((output.status.code(), clean(&text).chars().take(MAX_OUTPUT).collect()))
}

/// The command as one would type it.
fn typed(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:@=".contains(c));
        if plain { word.clone() } else { format!("'{}'", word.replace('\'', r"'\''")) }
    });
    std::iter::once("gitops-hooks".to_owned()).chain(quoted).collect::<Vec<_>>().join(" ")
}

/// A command that was asked for, and what became of it.
pub(super) fn told(act: &Act) -> Markup {
    let (mark, word) = match act.ended {
        None => (Mark::Moving, "running"),
        Some((_, Some(0))) => (Mark::Good, "done"),
        Some(_) => (Mark::Bad, "failed"),
    };
    html! {
        div class="act" data-frag=(format!("act-{}", act.id)) data-state=(word) {
            p { (badge(mark, word)) " " code class="command" { (typed(&act.words)) } " "
                @if let Some((ended, _)) = act.ended { span class="took" { (took(ended.duration_since(act.began).as_secs_f64())) } } @else { (moment(act.began)) }
            }
            @if !act.output.is_empty() { pre class="output" tabindex="0" { (act.output) } }
        }
    }
}

/// The confirmation: what will be run, word by word, and what that means.
pub(super) fn confirm(
    facts: &Facts,
    links: &Links,
    verb: Verb,
    name: &EnvironmentName,
    context: Option<&str>,
) -> Markup {
    let context = context.filter(|_| verb == Verb::Promote);
    let unwritten = if verb == Verb::Hold { "…" } else { "" };
    let (message, to, unverified) = (unwritten.to_owned(), String::new(), String::new());
    let words = Wanted { verb, environment: name.clone(), message, to, unverified }.words(context);
    let past = facts.past(name);
    let runs = past.map(|past| &past.state.images);
    let mut earlier = Vec::new();
    for entry in past.iter().flat_map(|past| &past.entries) {
        let Some(source) =
            entry.state.as_ref().and_then(|state| state.images.values().next()).map(|running| &running.source)
        else {
            continue;
        };
        let is_now = runs.is_some_and(|images| images.values().any(|running| running.source == *source));
        if !is_now && !earlier.contains(&source) {
            earlier.push(source);
        }
    }
    let subject = |source: &Oid| {
        facts.near.commits.iter().find(|commit| commit.id == *source).map_or("", |commit| commit.subject.as_str())
    };
    html! {
        form class="confirm" method="post" action=[links.served("act")] {
            h2 { (title(verb)) " " (name) "?" }
            p { (verb.meaning()) }
            input type="hidden" name="verb" value=(verb.word());
            input type="hidden" name="environment" value=(name);
            @if verb == Verb::Rollback {
                label for="to" { "To" }
                select id="to" name="to" data-flag="--to=" {
                    option value="" { "what ran before" }
                    @for source in earlier.iter().take(20) { option value=(source) { (source.short()) " " (subject(source)) } }
                }
            }
            @if matches!(verb, Verb::Rollback | Verb::Hold) {
                label for="message" { "Reason" }
                input id="message" name="message" maxlength="200" autocomplete="off" required[verb == Verb::Hold] data-flag=(if verb == Verb::Hold { "" } else { "--message=" });
            }
            @if let Some(context) = context { input type="hidden" data-flag="--context=" value=(context); }
            @if verb == Verb::Promote {
                label class="check" { input type="checkbox" name="unverified" value="yes" data-flag="--unverified"; " without asking the cluster whether it is healthy there" }
            }
            p class="quiet" { "This runs, in this clone, as you:" }
            p { code class="command" data-verb=(verb.word()) data-environment=(name) { (typed(&words)) } }
            div class="buttons" {
                button type="submit" class="button primary" { (title(verb)) }
                a class="button" data-close href=(links.view(super::parts::View::Environments)) { "Cancel" }
            }
        }
    }
}

const fn title(verb: Verb) -> &'static str {
    match verb {
        Verb::Promote => "Promote",
        Verb::Rollback => "Roll back",
        Verb::Hold => "Hold",
        Verb::Release => "Release",
        Verb::Deliver => "Deliver",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(verb: Verb, message: &str, to: &str) -> Wanted {
        let environment = "staging".parse().unwrap();
        Wanted { verb, environment, message: message.to_owned(), to: to.to_owned(), unverified: String::new() }
    }

    #[test]
    fn what_people_write_is_never_an_option_or_a_shell_word() {
        assert_eq!(
            wanted(Verb::Hold, "--help; rm -rf /", "").words(None),
            ["hold", "--", "staging", "--help; rm -rf /"]
        );
        assert_eq!(
            wanted(Verb::Rollback, "-x", "--help").words(None),
            ["rollback", "--to=--help", "--message=-x", "staging"]
        );
        assert_eq!(
            typed(&wanted(Verb::Hold, "it's $(late)", "").words(None)),
            r"gitops-hooks hold -- staging 'it'\''s $(late)'"
        );
    }

    #[test]
    fn each_button_has_its_command() {
        let words = |verb| wanted(verb, "", "").words(None).join(" ");
        assert_eq!(words(Verb::Promote), "promote staging");
        let mut elsewhere = wanted(Verb::Promote, "", "");
        assert_eq!(elsewhere.words(Some("prod")), ["promote", "--context=prod", "staging"]);
        elsewhere.unverified = "yes".to_owned();
        assert_eq!(elsewhere.words(Some("prod")), ["promote", "--context=prod", "--unverified", "staging"]);
        assert_eq!(wanted(Verb::Deliver, "", "").words(Some("prod")), ["deliver", "staging"]);
        assert_eq!(words(Verb::Rollback), "rollback staging");
        assert_eq!(words(Verb::Release), "release staging");
        assert_eq!(words(Verb::Deliver), "deliver staging");
        assert_eq!(Verb::parse("rollback"), Some(Verb::Rollback));
        assert_eq!(Verb::parse("uninstall"), None);
    }
}
