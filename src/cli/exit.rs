//! Errors as people see them, and the exit code that each stands for.

use crate::{check, pipeline};
use std::process::ExitCode;

/// Shows an error and gives the exit code. Every room's errors carry a `miette` code that says whose fault it is:
/// `check`, `config`, `usage` or `environment`.
pub(super) fn report(result: miette::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let code = error.code().map(|code| code.to_string());
    let exit = match code.as_deref() {
        Some("check") => 1,
        Some("config" | "usage") => 2,
        _ => 3,
    };
    if error.downcast_ref::<Told>().is_none() {
        show(&error);
    }
    if let Some(pipeline::Error::Check(check::Error::Interrupted { signal })) = error.downcast_ref() {
        let interrupt = check::Interrupt::never();
        interrupt.raise(*signal);
        interrupt.die();
    }
    ExitCode::from(exit)
}

/// What failed, why (each cause on a line), and what to do next.
pub(super) fn show(error: &miette::Report) {
    use crate::ui::{Tone, clean, paint};
    anstream::eprintln!("{} {}", paint("error:", Tone::Bad), clean(&error.to_string()));
    for cause in error.chain().skip(1) {
        anstream::eprintln!("  {} {}", paint("because", Tone::Faint), clean(&cause.to_string()));
    }
    if let Some(help) = error.help() {
        anstream::eprintln!("  {} {}", paint("next:", Tone::Strong), clean(&help.to_string()));
    }
}

/// An error that the user has read already, with its next step.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Told(pub(super) pipeline::Error);

impl miette::Diagnostic for Told {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.0.code()
    }
}

/// The user did not confirm what the configuration names, or could not be asked.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("nothing was installed: these were not confirmed\n{}", lines.join("\n"))]
#[diagnostic(code(usage), help("look at them and answer y, or give --yes where nobody can be asked"))]
pub(super) struct Declined {
    pub(super) lines: Vec<String>,
}
