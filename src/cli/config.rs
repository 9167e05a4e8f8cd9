//! `gitops-hooks config`: check the configuration, print its schema.

use crate::{
    config::{self, Kind},
    git, ui,
};
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
            check(&git::Repository::discover()?)?;
        }
        Command::Schema => {
            crate::ui::say!("{:#}", config::schema());
        }
        Command::Reference => crate::ui::print(&config::reference()),
    }
    Ok(())
}

/// Every mistake in the configuration of the work tree, also of paths that lead nowhere in it.
fn check(repository: &git::Repository) -> Result<()> {
    let (path, layers) = super::layers(repository)?;
    let Some(root) = repository.work_dir() else {
        layers.parse()?;
        crate::ui::say!("{path} is fine");
        return Ok(());
    };
    let there = |path: &str, kind: Kind| match kind {
        Kind::File => root.join(path).is_file(),
        Kind::Folder => root.join(path).is_dir(),
    };
    layers.check(there)?;
    crate::ui::say!("{path} is fine");
    for other in config::misnamed(|path| root.join(path).exists()) {
        crate::ui::say!("{} {other}", ui::paint("warning:", ui::Tone::Strong));
    }
    Ok(())
}
