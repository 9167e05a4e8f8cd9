//! `gitops-hooks import`: another hook manager's configuration becomes one of ours. What stands there is never overwritten.

use crate::{config, git::Repository, import, ui};
use miette::{IntoDiagnostic, Result};
use std::{fs, io::Write};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Whose configuration to read, where there is more than one: lefthook, pre-commit or husky.
    #[arg(long)]
    from: Option<import::Source>,
    /// Print it instead of writing .gitops-hooks.yaml.
    #[arg(long)]
    print: bool,
}

/// What is written when a configuration stands there already.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{path} is there already")]
#[diagnostic(code(usage), help("look at what would be written with `gitops-hooks import --print`"))]
struct Present {
    path: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let repository = Repository::discover()?;
    let Some(root) = repository.work_dir() else {
        return Err(crate::git::Error::NoRepository { path: repository.git_dir().display().to_string() }.into());
    };
    if let Some(path) = config::PATHS.iter().find(|path| !arguments.print && root.join(path).exists()) {
        return Err(Present { path: (*path).to_owned() }.into());
    }
    let imported = import::import(root, arguments.from, runner())?;
    // What is written is read back before anybody else has to.
    config::parse(config::PATHS[0], &imported.text)?;
    if arguments.print {
        crate::ui::print(&imported.text);
        return Ok(());
    }
    let mut file = fs::File::create_new(root.join(config::PATHS[0])).into_diagnostic()?;
    file.write_all(imported.text.as_bytes()).into_diagnostic()?;
    let steps = if imported.steps == 1 { "1 step".to_owned() } else { format!("{} steps", imported.steps) };
    crate::ui::say!("{} {}: {steps} of {}", ui::paint("wrote", ui::Tone::Good), config::PATHS[0], imported.path);
    crate::ui::say!("next: read it and its comments, `{}`, then `gitops-hooks install`", imported.source.farewell());
    Ok(())
}

/// The program that runs hooks of pre-commit's repositories on this machine.
fn runner() -> import::Runner {
    match (which::which("prek"), which::which("pre-commit")) {
        (Ok(_), _) => import::Runner::Prek,
        (_, Ok(_)) => import::Runner::PreCommit,
        _ => import::Runner::Missing,
    }
}
