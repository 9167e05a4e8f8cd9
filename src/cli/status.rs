//! `gitops-hooks status`: one table from commit to pods.

use crate::{
    check::Interrupt,
    cluster, config,
    git::Repository,
    pipeline,
    status::{self, Checks, Status, Trace, Unanswered, Verdict},
    sync::Phase,
    ui::{Table, Tone, clean, paint, seconds},
    values::EnvironmentName,
};
use jiff::Timestamp;
use miette::{IntoDiagnostic, Result};
use serde_json::json;
use std::{io::IsTerminal, time::Duration};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The environments; all without a name.
    #[arg(value_name = "ENVIRONMENT")]
    environments: Vec<EnvironmentName>,
    /// Go on until nothing moves any more. Exit code 1 where something is stuck.
    #[arg(long, short)]
    follow: bool,
    /// Print it as JSON.
    #[arg(long, conflicts_with = "follow")]
    json: bool,
    /// The context of the kubeconfig; the current one without it.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// Something waits for somebody.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{environment}: {why}")]
#[diagnostic(code(check), help("{next}"))]
struct Stuck {
    environment: String,
    why: String,
    next: String,
}

impl Stuck {
    /// Where the table stays in place the reason stands right above.
    fn of(trace: &Trace, in_place: bool) -> Option<Self> {
        let Verdict::Stuck(why) = &trace.verdict else { return None };
        let why = if in_place { "stuck, as said above".to_owned() } else { why.clone() };
        let report = trace.cluster.as_ref().ok().and_then(Option::as_ref);
        let next = match (&trace.outbox, report) {
            (None, Some(report)) if report.phase == Phase::Suspended => {
                format!("`gitops-hooks cluster resume {}` lets it go on", trace.environment)
            }
            (None, Some(report)) if !report.refused.is_empty() => {
                "mend it in the manifest repository and push: the sync takes it up by itself".to_owned()
            }
            _ => "mend what it says; `gitops-hooks deliver` tries a delivery again".to_owned(),
        };
        Some(Self { environment: trace.environment.to_string(), why, next })
    }
}

/// How often a follower looks again.
const INTERVAL: Duration = Duration::from_millis(700);

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let repository = Repository::discover()?;
    let (_, config) = super::configuration(&repository)?;
    if config.environments.is_empty() {
        crate::ui::say!("the configuration has no environments");
        return Ok(());
    }
    let names = &arguments.environments;
    if let Some(name) = names.iter().find(|name| !config.environments.contains_key(*name)) {
        return Err(pipeline::Error::no_environment(name, Some(&config)).into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().into_diagnostic()?;
    runtime.block_on(async {
        let client = cluster::connect(arguments.context.as_deref()).await.map_err(|error| error.to_string());
        if arguments.follow {
            return follow(&repository, &config, names, &client).await;
        }
        let status = status::gather(&repository, &config, names, &client).await;
        status::remember(&repository, &status);
        if arguments.json {
            super::print_json(&json!(status));
        } else {
            crate::ui::say!("{}", table(&status));
            for line in waits(&status, &config) {
                crate::ui::say!("{line}");
            }
        }
        Ok(())
    })
}

/// On a terminal the table stays in place; elsewhere a line for each change.
async fn follow(
    repository: &Repository,
    config: &config::Config,
    names: &[EnvironmentName],
    client: &Result<kube::Client, String>,
) -> Result<()> {
    let in_place = std::io::stdout().is_terminal();
    let interrupt = Interrupt::listen()?;
    let (mut height, mut told) = (0, Vec::new());
    let status = loop {
        let status = status::gather(repository, config, names, client).await;
        status::remember(repository, &status);
        if in_place {
            if height > 0 {
                // Back to the first line of the last table, and away with it (ECMA-48: CPL, ED).
                crate::ui::print(&format!("\x1b[{height}F\x1b[J"));
            }
            let mut text = table(&status).to_string();
            for line in waits(&status, config) {
                text.extend(["\n", &line]);
            }
            height = rows(&text);
            crate::ui::say!("{text}");
        } else {
            for (at, trace) in status.environments.iter().enumerate() {
                let line = format!("{}: {}", trace.environment, sentence(trace));
                if told.get(at) != Some(&line) {
                    crate::ui::say!("{}", clean(&line));
                    told.resize(at + 1, String::new());
                    told[at] = line;
                }
            }
        }
        if status.environments.iter().all(|trace| trace.verdict.is_settled()) || interrupt.signal().is_some() {
            break status;
        }
        tokio::time::sleep(INTERVAL).await;
    };
    interrupt.die();
    status.environments.iter().find_map(|trace| Stuck::of(trace, in_place)).map_or(Ok(()), |stuck| Err(stuck.into()))
}

/// How many rows of the terminal a text takes: a long line goes on in the next.
fn rows(text: &str) -> usize {
    let width = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    let row = |line: &str| match width {
        0 => 1,
        width => console::measure_text_width(line).div_ceil(width).max(1),
    };
    text.lines().map(row).sum()
}

fn table(status: &Status) -> Table {
    let mut table = Table::new(&["ENVIRONMENT", "NEWEST COMMIT", "CHECKS", "IMAGE", "MANIFEST", "STATE", "SINCE"]);
    for trace in &status.environments {
        table.row(row(trace));
    }
    table
}

fn row(trace: &Trace) -> Vec<(String, Tone)> {
    let nothing = || ("–".to_owned(), Tone::Faint);
    let commit = trace.commit.as_ref();
    let commit =
        commit.map_or_else(nothing, |commit| (format!("{} {}", commit.id.short(), commit.subject), Tone::Plain));
    let checks = match trace.checks {
        Checks::Passed => ("passed".to_owned(), Tone::Good),
        Checks::Failed => ("failed".to_owned(), Tone::Bad),
        Checks::Unknown => ("not run here".to_owned(), Tone::Faint),
    };
    let (image, manifest) = match &trace.delivery {
        Ok(Some(delivery)) => {
            let images: Vec<String> = delivery
                .images
                .iter()
                .map(|(name, running)| {
                    let digest = running.reference.digest.as_ref().map_or("", |digest| digest.short());
                    format!("{name} {} @{digest}", running.source.short())
                })
                .collect();
            let manifest = delivery.commit.as_ref().unwrap_or(&delivery.tip).short().to_owned();
            ((images.join("\n"), Tone::Plain), (manifest, Tone::Plain))
        }
        Ok(None) => (nothing(), nothing()),
        Err(Unanswered::NoPlace(_)) => (nothing(), ("no place".to_owned(), Tone::Bad)),
        Err(Unanswered::Unread(_)) => (nothing(), ("not readable".to_owned(), Tone::Bad)),
    };
    let is_held = matches!(&trace.delivery, Ok(Some(delivery)) if delivery.hold.is_some());
    let cluster = match &trace.verdict {
        Verdict::Live if is_held => ("healthy, held".to_owned(), Tone::Warn),
        Verdict::Live => ("healthy".to_owned(), Tone::Good),
        Verdict::Moving(_) => ("on its way".to_owned(), Tone::Warn),
        Verdict::Stuck(_) => ("stuck".to_owned(), Tone::Bad),
        Verdict::Unknown(_) => ("not known".to_owned(), Tone::Faint),
    };
    let since = match &trace.cluster {
        Ok(Some(report)) => (ago(report.since), Tone::Faint),
        _ => nothing(),
    };
    vec![(trace.environment.to_string(), Tone::Strong), commit, checks, image, manifest, cluster, since]
}

/// A trace on one line, for where no table can stay in place.
fn sentence(trace: &Trace) -> String {
    let running = trace.delivery.as_ref().ok().and_then(Option::as_ref).map(|delivery| {
        let sources: Vec<&str> = delivery.images.values().map(|running| running.source.short()).collect();
        format!("{} by {}", sources.join(", "), delivery.commit.as_ref().unwrap_or(&delivery.tip).short())
    });
    let running = running.unwrap_or_else(|| "nothing delivered".to_owned());
    match &trace.verdict {
        Verdict::Live => format!("{running}: healthy"),
        Verdict::Moving(why) | Verdict::Stuck(why) | Verdict::Unknown(why) => format!("{running}: {why}"),
    }
}

/// What each environment waits for.
fn waits(status: &Status, config: &config::Config) -> Vec<String> {
    let line = |trace: &Trace, why: &str, tone| format!("{}: {}", trace.environment, paint(&clean(why), tone));
    let all = || status.environments.iter();
    let held = all().filter_map(|trace| {
        let hold = trace.delivery.as_ref().ok()?.as_ref()?.hold.as_ref()?;
        let why = format!("{hold}; `gitops-hooks release {}` lets newer commits in", trace.environment);
        Some(line(trace, &why, Tone::Warn))
    });
    let reviews = all().filter_map(|trace| {
        let branch = trace.review.as_ref()?;
        Some(line(trace, &format!("waits for review on {branch}"), Tone::Warn))
    });
    let unseen = all().filter_map(|trace| {
        let commit = trace.unseen.as_ref()?.short();
        let why = format!("nobody here has judged or delivered {commit}: `gitops-hooks deliver` does both");
        Some(line(trace, &why, Tone::Warn))
    });
    let lines = all().filter_map(|trace| match &trace.verdict {
        Verdict::Live => None,
        Verdict::Moving(why) | Verdict::Unknown(why) => Some(line(trace, why, Tone::Faint)),
        Verdict::Stuck(why) => Some(line(trace, why, Tone::Bad)),
    });
    let promotions = all().filter_map(|trace| {
        let why = promotion(trace, status, config)?;
        Some(line(trace, &why, Tone::Faint))
    });
    held.chain(reviews).chain(unseen).chain(lines).chain(promotions).collect()
}

/// That the environment before has something newer.
fn promotion(trace: &Trace, status: &Status, config: &config::Config) -> Option<String> {
    let name = &trace.environment;
    let before = config.environments.get(name)?.promote.as_deref()?;
    let behind = trace.behind.filter(|behind| *behind > 0)?;
    let sources = |trace: &Trace| {
        let delivery = trace.delivery.as_ref().ok()?.as_ref()?;
        Some(delivery.images.values().map(|running| running.source.clone()).collect::<Vec<_>>())
    };
    let there = status.environments.iter().find(|trace| trace.environment == *before);
    if there.is_some_and(|there| sources(there) == sources(trace)) {
        return None;
    }
    let commits = match behind {
        1 => "1 commit".to_owned(),
        status::COUNTED.. => format!("{behind} commits or more"),
        _ => format!("{behind} commits"),
    };
    let branch = config.source_branch(name)?;
    Some(format!("{commits} behind {branch}; `gitops-hooks promote {name}` takes what runs healthy in {before}"))
}

fn ago(time: Timestamp) -> String {
    let elapsed = Timestamp::now().duration_since(time);
    seconds(Duration::try_from(elapsed).unwrap_or_default())
}
