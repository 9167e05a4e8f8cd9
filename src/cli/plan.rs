//! `gitops-hooks plan ENVIRONMENT`: what the sync would do with what the manifest repository has, object by object.

use crate::{
    cluster,
    git::{Prompts, Repository},
    hook,
    sync::{Act, Preview},
    ui::{Table, Tone, clean},
    values::EnvironmentName,
};
use miette::Result;
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The environment, as the configuration names it.
    environment: EnvironmentName,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    /// The context of the kubeconfig; the current one without it.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// Something would be refused.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{count} of {environment} would be refused")]
#[diagnostic(
    code(check),
    help("mend what stands beside them and commit; while something is refused, nothing is pruned")
)]
struct Refused {
    count: usize,
    environment: EnvironmentName,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let repository = Repository::discover()?;
    let (_, config) = super::configuration(&repository)?;
    let environment = super::cluster::environment(&config, &arguments.environment)?;
    // Nothing is sent to an address that nobody confirmed.
    let line = hook::manifests_line(&environment.manifests);
    let lines = hook::unconfirmed(&repository, &config, hook::Subject::Publication);
    if lines.contains(&line) {
        return Err(hook::Error::Unconfirmed { lines: vec![line] }.into());
    }
    let prompts = if arguments.json { Prompts::Never } else { Prompts::Allowed };
    let preview = super::block_on(async {
        let client = cluster::connect(arguments.context.as_deref()).await?;
        // What is owned is kept for the address that the pod uses, which may be another than the laptop's.
        let settings = cluster::our_settings(&client, &arguments.environment, environment).await?;
        let settings = settings.unwrap_or_else(|| cluster::usual_settings(&arguments.environment, environment));
        Ok(cluster::foresee(&client, &repository, &environment.manifests, &settings, prompts).await?)
    })?;
    if arguments.json {
        let Preview { acts, unchanged } = &preview;
        let environment = &arguments.environment;
        super::print_json(&json!({ "version": 1, "environment": environment, "acts": acts, "unchanged": unchanged }));
    } else {
        show(&preview);
    }
    let count = preview.acts.iter().filter(|foreseen| foreseen.act == Act::Refuse).count();
    if count > 0 { Err(Refused { count, environment: arguments.environment.clone() }.into()) } else { Ok(()) }
}

fn show(preview: &Preview) {
    if !preview.acts.is_empty() {
        let mut table = Table::new(&["ACT", "OBJECT", "WHERE", "WHY"]);
        for foreseen in &preview.acts {
            let tone = match foreseen.act {
                Act::Create | Act::Change | Act::Adopt => Tone::Good,
                Act::Correct | Act::Prune | Act::Wait => Tone::Warn,
                Act::Refuse => Tone::Bad,
            };
            let text = |text: &str| (clean(text).into_owned(), Tone::Plain);
            table.row([
                (foreseen.act.as_str().to_owned(), tone),
                text(foreseen.object.as_deref().unwrap_or_default()),
                text(foreseen.origin.as_deref().unwrap_or_default()),
                text(&foreseen.reason),
            ]);
        }
        crate::ui::say!("{table}");
    }
    let unchanged = preview.unchanged;
    crate::ui::say!("{unchanged} {} as they are", if unchanged == 1 { "object stays" } else { "objects stay" });
}
