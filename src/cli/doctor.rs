//! `gitops-hooks doctor`: what is wrong with this clone's set-up, and what to do about it.

use super::Global;
use crate::{
    doctor::{self, Finding, Reach, State, Subject},
    git::Repository,
    ui::{Tone, Verbosity, clean, paint},
};
use miette::{IntoDiagnostic, Result};
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
    /// Ask no engine, no registry, no git host and no cluster.
    #[arg(long)]
    offline: bool,
}

/// Something does not work.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum AtFault {
    /// Something of the environment, and perhaps of the configuration too.
    #[error("{0}")]
    #[diagnostic(code(environment), help("do what stands under each ✗, then run `gitops-hooks doctor` again"))]
    Environment(String),
    /// Nothing but the configuration.
    #[error("{0}")]
    #[diagnostic(code(config), help("do what stands under each ✗, then run `gitops-hooks doctor` again"))]
    Configuration(String),
}

pub(super) fn run(arguments: &Arguments, global: Global) -> Result<()> {
    let repository = Repository::discover()?;
    let config = super::configuration(&repository).map(|(_, config)| config);
    let program = super::program().into_diagnostic()?;
    let findings = doctor::examine(&Subject {
        repository: &repository,
        config: config.as_ref(),
        program: &program,
        reach: if arguments.offline { Reach::Here } else { Reach::Everybody },
    });
    if arguments.json {
        super::print_json(&json!({ "version": 1, "findings": findings }));
    } else {
        let quiet = global.verbosity() == Verbosity::Quiet;
        for finding in findings.iter().filter(|finding| !quiet || finding.state != State::Fine) {
            show(finding);
        }
    }
    at_fault(&findings).map_or(Ok(()), |error| Err(error.into()))
}

/// A line with the mark; what follows belongs to it.
fn show(finding: &Finding) {
    let (mark, tone) = match finding.state {
        State::Fine => (paint("✓", Tone::Good), Tone::Faint),
        State::Warning => (paint("!", Tone::Warn), Tone::Plain),
        State::Configuration | State::Environment => (paint("✗", Tone::Bad), Tone::Plain),
    };
    let message = clean(&finding.message);
    let mut lines = message.lines();
    let first = paint(lines.next().unwrap_or_default(), tone);
    crate::ui::say!("{mark} {}  {first}", paint(&clean(&finding.check), Tone::Strong));
    for line in lines {
        crate::ui::say!("  {} {line}", paint("│", Tone::Faint));
    }
    if let Some(next) = &finding.next {
        crate::ui::say!("  {} {}", paint("next:", Tone::Strong), clean(next));
    }
}

/// The one error that all of the findings come to.
fn at_fault(findings: &[Finding]) -> Option<AtFault> {
    let wrong = findings.iter().filter(|finding| finding.state.is_wrong()).count();
    let what = format!("{wrong} {} wrong", if wrong == 1 { "thing is" } else { "things are" });
    match findings.iter().map(|finding| finding.state).max() {
        Some(State::Environment) => Some(AtFault::Environment(what)),
        Some(State::Configuration) => Some(AtFault::Configuration(what)),
        _ => None,
    }
}
