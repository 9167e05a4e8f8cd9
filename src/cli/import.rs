//! `gitops-hooks import`: another hook manager's configuration becomes one of ours. What stands there is never overwritten.

use super::present::Present;
use crate::{
    config::{self, Source},
    git::Repository,
    import, ui,
};
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

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let repository = Repository::discover()?;
    let Some(root) = repository.work_dir() else {
        return Err(crate::git::Error::NoRepository { path: repository.git_dir().display().to_string() }.into());
    };
    if !arguments.print {
        Present::refuse(root, "look at what would be written with `gitops-hooks import --print`")?;
    }
    let imported = import::import(root, repository.common_dir(), arguments.from, runner())?;
    // What is written is read back before anybody else has to.
    let main = Source::new(config::PATHS[0], imported.text.clone().into_bytes());
    let own = imported.own.as_ref().map(|(text, _)| Source::new(config::LOCAL_PATH, text.clone().into_bytes()));
    config::Layers::gather(main, own, |_| Ok::<_, miette::Report>(None))?.parse()?;
    if arguments.print {
        crate::ui::print(&imported.text);
        return Ok(());
    }
    let mut file = fs::File::create_new(root.join(config::PATHS[0])).into_diagnostic()?;
    file.write_all(imported.text.as_bytes()).into_diagnostic()?;
    let steps = if imported.steps == 1 { "1 step".to_owned() } else { format!("{} steps", imported.steps) };
    crate::ui::say!("{} {}: {steps} of {}", ui::paint("wrote", ui::Tone::Good), config::PATHS[0], imported.path);
    if let Some((text, from)) = &imported.own {
        let path = root.join(config::LOCAL_PATH);
        if path.exists() {
            crate::ui::say!("kept {}: {from} was not taken over", config::LOCAL_PATH);
        } else {
            fs::write(path, text).into_diagnostic()?;
            crate::ui::say!(
                "{} {}: what {from} changes for you",
                ui::paint("wrote", ui::Tone::Good),
                config::LOCAL_PATH
            );
        }
    }
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
