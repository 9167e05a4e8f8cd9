//! `gitops-hooks history`: what ran in an environment, who brought it, and why.

use super::{Global, deliver::with_pipeline};
use crate::{
    cluster,
    deliver::{Kind, Past, Running},
    git::{Prompts, Repository},
    pipeline, status, sync,
    ui::{Table, Tone, clean},
    values::{EnvironmentName, ImageName},
};
use jiff::Timestamp;
use miette::Result;
use serde::Serialize;
use serde_json::json;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The environment.
    environment: EnvironmentName,
    /// How many of the newest to show.
    #[arg(long, short = 'n', default_value_t = 20)]
    limit: usize,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    /// The context of the kubeconfig; the current one without it.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// How long a cluster may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// One line of the history. `history --json` prints a list of these under `entries`.
#[derive(Debug, Serialize)]
struct Told {
    /// When, by the clock of whoever did it.
    time: Timestamp,
    /// Who.
    who: String,
    /// `delivered`, `noted`, `promoted`, `rolled back`, `held`, `released` or `by hand`.
    what: &'static str,
    /// Where it was promoted from.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<EnvironmentName>,
    /// Why it was held or rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// The images that ran something else afterwards.
    images: Vec<Image>,
    /// `passed`: nothing is delivered before its checks have. `unknown` for what somebody wrote by hand, empty where nothing
    /// new was to run.
    checks: &'static str,
    /// What became of it.
    result: String,
    /// The commit on the manifest branch.
    manifest_commit: String,
}

#[derive(Debug, Serialize)]
struct Image {
    name: ImageName,
    source: String,
    /// The first line of the source commit, where this clone has it.
    subject: Option<String>,
    reference: String,
}

pub(super) fn run(arguments: &Arguments, global: Global) -> Result<()> {
    let prompts = if arguments.json { Prompts::Never } else { Prompts::Allowed };
    with_pipeline(global, prompts, |pipeline| {
        let past = pipeline::history(pipeline, &arguments.environment, arguments.limit)?;
        let report = report(&arguments.environment, arguments.context.as_deref());
        let told: Vec<Told> =
            (0..past.entries.len()).map(|at| told(pipeline.repository, &past, at, report.as_ref())).collect();
        if arguments.json {
            super::print_json(&json!({ "version": 1, "environment": arguments.environment, "entries": told }));
        } else if told.is_empty() {
            crate::ui::say!("nothing was delivered to {} yet", arguments.environment);
        } else {
            crate::ui::say!("{}", table(&told));
        }
        Ok(())
    })
}

/// How the cluster is, where one answers.
fn report(environment: &EnvironmentName, context: Option<&str>) -> Option<sync::Report> {
    super::block_on(async {
        let asked = async {
            let client = cluster::connect(context).await.ok()?;
            sync::read(&client, environment).await.ok()?
        };
        Ok(tokio::time::timeout(PATIENCE, asked).await.ok().flatten())
    })
    .ok()
    .flatten()
}

fn told(repository: &Repository, past: &Past, at: usize, report: Option<&sync::Report>) -> Told {
    let entry = &past.entries[at];
    let (what, from, why) = match &entry.kind {
        Kind::Delivered => ("delivered", None, None),
        Kind::Noted => ("noted", None, None),
        Kind::Promoted(from) => ("promoted", Some(from.clone()), None),
        Kind::RolledBack(hold) => ("rolled back", None, Some(hold.why.clone())),
        Kind::Held(hold) => ("held", None, Some(hold.why.clone())),
        Kind::Released => ("released", None, None),
        Kind::ByHand => ("by hand", None, None),
    };
    let image = |(image, running): (&ImageName, &Running)| Image {
        name: image.clone(),
        source: running.source.to_string(),
        subject: repository.subject(&running.source),
        reference: running.reference.to_string(),
    };
    let shown = |image: &ImageName| entry.kind == Kind::Noted || entry.changed.contains(image);
    let images = entry.state.iter().flat_map(|state| &state.images).filter(|(image, _)| shown(image)).map(image);
    Told {
        time: entry.time,
        who: entry.author.clone(),
        what,
        from,
        why,
        images: images.collect(),
        checks: match entry.kind {
            Kind::ByHand => "unknown",
            Kind::Held(_) | Kind::Released => "",
            _ => "passed",
        },
        result: status::became(past, at, report),
        manifest_commit: entry.commit.to_string(),
    }
}

fn table(told: &[Told]) -> Table {
    let mut table = Table::new(&["WHEN (UTC)", "WHO", "WHAT", "COMMIT", "IMAGE", "CHECKS", "RESULT"]);
    for told in told {
        let when = told.time.strftime("%Y-%m-%d %H:%M").to_string();
        let what = match (&told.from, &told.why) {
            (Some(from), _) => format!("{} from {from}", told.what),
            (None, Some(why)) if why.starts_with(told.what) => clean(why).into_owned(),
            (None, Some(why)) => format!("{}: {}", told.what, clean(why)),
            (None, None) => told.what.to_owned(),
        };
        let lines = |line: fn(&Image) -> String| told.images.iter().map(line).collect::<Vec<_>>().join("\n");
        let commit = lines(|image| {
            let subject = image.subject.as_deref().unwrap_or_default();
            format!("{} {subject}", image.source.get(..9).unwrap_or_default()).trim().to_owned()
        });
        let image = lines(|image| {
            let digest = image.reference.rsplit_once(':').map_or("", |(_, digest)| digest);
            format!("{} @{}", image.name, digest.get(..12).unwrap_or_default())
        });
        let tone = match told.result.as_str() {
            "healthy" => Tone::Good,
            bad if bad.starts_with("not healthy") || bad.starts_with("refused") => Tone::Bad,
            _ => Tone::Faint,
        };
        table.row([
            (when, Tone::Faint),
            (told.who.clone(), Tone::Plain),
            (what, Tone::Strong),
            (commit, Tone::Plain),
            (image, Tone::Plain),
            (told.checks.to_owned(), Tone::Faint),
            (told.result.clone(), tone),
        ]);
    }
    table
}
