//! `gitops-hooks config`: check the configuration, print its schema.

use crate::{config, git};
use miette::Result;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Say every mistake in the configuration with its line and column.
    Check,
    /// Print the JSON schema of the configuration, for editors.
    Schema,
    /// Print every key with what it says, as Markdown.
    Reference,
}

pub(super) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Check => {
            let repository = git::Repository::discover()?;
            let (path, _) = super::configuration(&repository)?;
            crate::ui::say!("{path} is fine");
        }
        Command::Schema => {
            crate::ui::say!("{:#}", config::schema());
        }
        Command::Reference => crate::ui::print(&config::reference()),
    }
    Ok(())
}
