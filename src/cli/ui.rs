//! `gitops-hooks ui`: the page in a browser, or as one file.

use crate::{
    check::Interrupt,
    git::Repository,
    page::{self, Serving, Settings},
    values::Span,
};
use miette::Result;
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The port on 127.0.0.1; without it, any that is free.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Open it in the browser.
    #[arg(long)]
    open: bool,
    /// End when nobody has looked for so long, at most 24h.
    #[arg(long, value_name = "TIME", default_value = "30m")]
    idle: Span,
    /// Write it into a file, and serve nothing.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["port", "open", "idle"])]
    export: Option<PathBuf>,
    /// The context of the kubeconfig; the current one without it.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let repository = Repository::discover()?;
    let settings = Settings { repository, context: arguments.context.clone(), configuration };
    if let Some(file) = &arguments.export {
        page::export(&settings, file)?;
        crate::ui::say!("{}", file.display());
        return Ok(());
    }
    let serving = Serving { port: arguments.port, idle: arguments.idle.duration() };
    let folder = settings.repository.state_dir();
    let mut opened = None;
    let interrupt = Interrupt::listen()?;
    page::serve(settings, &serving, &interrupt, |address| {
        crate::ui::say!("{address}");
        anstream::eprintln!("Whoever has this address can press its buttons; Ctrl-C ends it.");
        if arguments.open {
            opened = open(address, &folder);
        }
    })?;
    if interrupt.signal().is_none() {
        anstream::eprintln!("Nobody has looked for {}: the page has ended.", crate::ui::seconds(serving.idle));
    }
    drop(opened);
    interrupt.die();
    Ok(())
}

fn configuration(repository: &Repository) -> std::result::Result<crate::config::Config, String> {
    super::configuration(repository).map(|(_, config)| config).map_err(|error| {
        let help = error.help().map(|help| format!("\n{help}")).unwrap_or_default();
        format!("{error}{help}")
    })
}

/// Opens the page by a file that only its owner can read, and that leads there: everybody on the machine can see what a
/// program is called with. It goes when it is dropped. All of it is a courtesy: the address has been printed.
fn open(address: &str, folder: &Path) -> Option<tempfile::NamedTempFile> {
    std::fs::create_dir_all(folder).ok()?;
    let mut file = tempfile::Builder::new().prefix("page-").suffix(".html").tempfile_in(folder).ok()?;
    write!(file, "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=\"0;url={address}\">").ok()?;
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    command.arg(file.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    Some(file)
}
