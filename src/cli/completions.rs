//! `gitops-hooks completions` and the hidden `man`: what shells and manual pages are told, made of the command line itself.

use miette::{IntoDiagnostic, Result};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// Where the pages go; the folder must be there.
    folder: PathBuf,
}

pub(super) fn print(arguments: &Completions) -> Result<()> {
    let mut command = super::examples::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    crate::ui::print(&String::from_utf8(script).into_diagnostic()?);
    Ok(())
}

pub(super) fn write_pages(arguments: &Man) -> Result<()> {
    clap_mangen::generate_to(super::examples::command(), &arguments.folder).into_diagnostic()
}
