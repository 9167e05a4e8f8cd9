//! One commit with all that is known of it: what its steps said, what its image is made of, what was delivered, how it runs.

use super::{
    Settings,
    facts::Facts,
    parts::{Links, badge, moment, short, took},
    row::{Joined, Mark},
};
use crate::{
    check::{
        CachePolicy, Failures, Interrupt, Places,
        log::{LoggedRun, LoggedStep, State},
    },
    config::Config,
    deliver::{self, Entry, Kind, Past, Session, Switch, Target},
    git::{Logged, Prompts},
    image::Explanation,
    pipeline::{self, At, Pipeline},
    status::{self, Verdict},
    sync::{Note, Phase, Report},
    ui::{Progress, Verbosity},
    values::{EnvironmentName, ImageName, Oid},
};
use maud::{Markup, html};

/// More files of a key are only counted.
const FILES: usize = 200;

/// What had to be read for one commit.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// What the key of each image holds, and how it differs from that of the commit before.
    images: Vec<(ImageName, Result<Keyed, String>)>,
    /// The patch of each delivery.
    patches: Vec<(EnvironmentName, Result<String, String>)>,
}

#[derive(Debug)]
struct Keyed {
    explanation: Explanation,
    /// What made it another key than the parent's; `None` where there is none to compare with.
    changed: Option<Vec<String>>,
}

/// Reads what only this commit's page shows.
pub(super) fn ask(settings: &Settings, facts: &Facts, commit: &Logged) -> Asked {
    let joined = Joined::of(facts);
    let Some(config) = facts.config() else { return Asked::default() };
    let patches = joined.deliveries(&commit.id).into_iter().map(|(name, past, at)| {
        let patch = patch(settings, config, &name, &past.entries[at].commit);
        (name, patch)
    });
    let patches = patches.collect();
    Asked { images: keys(settings, commit), patches }
}

fn patch(settings: &Settings, config: &Config, name: &EnvironmentName, commit: &Oid) -> Result<String, String> {
    let target = Target::of(config, name, Switch::Refused).ok_or("the configuration has no such environment")?;
    let session = Session::new(&settings.repository, Prompts::Never, [&target]);
    deliver::patch(&session, &target, commit).map_err(|error| error.to_string())
}

fn keys(settings: &Settings, commit: &Logged) -> Vec<(ImageName, Result<Keyed, String>)> {
    let (progress, interrupt) = (Progress::new(Verbosity::Quiet), Interrupt::never());
    let pipeline = Pipeline {
        repository: &settings.repository,
        progress: &progress,
        cache: CachePolicy::Use,
        choice: pipeline::Choice::default(),
        places: Places::Any,
        failures: Failures::Gather,
        prompts: Prompts::Never,
        interrupt: &interrupt,
    };
    let Ok(at) = At::revision(&settings.repository, commit.id.as_str()) else { return Vec::new() };
    let before = commit.parent.as_ref().and_then(|parent| At::revision(&settings.repository, parent.as_str()).ok());
    let Ok(images) = at.images(&[]) else { return Vec::new() };
    let one = |(name, image): (&ImageName, &crate::config::Image)| {
        // A look must run nothing of the repository's.
        if image.before.is_some() {
            return (name.clone(), Err("its `before` command makes a part of it, which only a build runs".to_owned()));
        }
        let keyed = pipeline::explain(&pipeline, &at, name).map_err(|error| error.to_string()).map(|explanation| {
            let ran_before = before.as_ref().filter(|before| {
                before
                    .images(std::slice::from_ref(name))
                    .is_ok_and(|images| images.iter().all(|(_, image)| image.before.is_none()))
            });
            let changed = ran_before
                .and_then(|before| pipeline::explain(&pipeline, before, name).ok())
                .map(|before| before.differences(&explanation).iter().map(crate::image::Difference::subject).collect());
            Keyed { explanation, changed }
        });
        (name.clone(), keyed)
    };
    images.into_iter().map(one).collect()
}

/// The page of a commit.
pub(super) fn view(facts: &Facts, links: &Links, commit: &Logged, asked: &Asked) -> Markup {
    let joined = Joined::of(facts);
    let row = joined.row(commit);
    let runs = joined.runs(commit);
    html! {
        article class="detail" data-refresh=(format!("row-{}", commit.id)) data-href=(links.commit(&commit.id)) {
            h2 { (commit.subject) }
            p class="by" { code { (commit.id) } br; (commit.author) ", " (moment(commit.time)) @if !row.is_pushed { " " span class="tag" { "not pushed" } } }
            section {
                h3 { "What ran" }
                @if runs.is_empty() { p class="quiet" { "Nothing ran for it in this clone. " (if row.checks.mark == Mark::Good { "It was published elsewhere, which happens only after its steps passed." } else { "Its steps run when it is pushed or delivered." }) } }
                @for run in runs.iter().rev() { (one_run(run)) }
            }
            section {
                h3 { "Image" }
                @if asked.images.is_empty() { p class="quiet" { "The configuration of this commit names no image." } }
                @for (name, keyed) in &asked.images { (image(name, keyed.as_ref())) }
            }
            @for (name, past, at) in joined.deliveries(&commit.id) {
                (delivery(facts, &joined, &name, past, at, asked))
            }
            @for (name, cell) in row.places.iter().filter(|(name, _)| joined.deliveries(&commit.id).iter().all(|(there, ..)| there != name)) {
                section { h3 { (name) } p class="quiet" {
                    @if cell.mark == Mark::Nothing { "It was not delivered there." } @else { (badge(cell.mark, &cell.word)) " " (cell.note) }
                } }
            }
            @if let Some(parent) = &commit.parent { p class="quiet" { "After " (short(links, parent)) } }
        }
    }
}

fn one_run(run: &LoggedRun) -> Markup {
    html! {
        div class="run" {
            h4 { (run.what) " " span class="quiet" { (moment(run.began)) @if run.seconds() > 0.0 { ", " (took(run.seconds())) } } }
            (steps(run))
        }
    }
}

/// The steps of a run, each with its reason; what failed with all it said.
pub(super) fn steps(run: &LoggedRun) -> Markup {
    html! {
        ul class="steps" {
            @for step in &run.steps {
                li {
                    (badge(mark(step), state(step))) " " b { (step.name) } " "
                    @if step.seconds > 0.0 { span class="took" { (took(step.seconds)) } " " }
                    span class="why" { (step.why) }
                    @if !step.output.is_empty() { pre class="output" tabindex="0" aria-label={ "Output of " (step.name) } { (step.output) } }
                }
            }
        }
    }
}

fn mark(step: &LoggedStep) -> Mark {
    match step.state {
        State::Passed => Mark::Good,
        State::Failed => Mark::Bad,
        State::Running => Mark::Moving,
        State::Waiting | State::Withheld => Mark::Waiting,
        State::Skipped => Mark::Past,
    }
}

fn state(step: &LoggedStep) -> &'static str {
    match step.state {
        State::Passed => "passed",
        State::Failed => "failed",
        State::Running => "running",
        State::Waiting => "waits",
        State::Withheld => "not run",
        State::Skipped => "skipped",
    }
}

fn image(name: &ImageName, keyed: Result<&Keyed, &String>) -> Markup {
    html! {
        h4 { (name) }
        @match keyed {
            Err(why) => p class="quiet" { "Its key is not shown: " (why) },
            Ok(keyed) => {
                p { "Key " code { (keyed.explanation.key.as_str().get(..12).unwrap_or_default()) } " "
                    @match &keyed.changed {
                        None => {},
                        Some(changed) if changed.is_empty() => "is the same as that of the commit before: nothing had to be built.",
                        Some(changed) => { "is new because of " b { (changed.iter().take(5).cloned().collect::<Vec<_>>().join(", ")) } @if changed.len() > 5 { " and " (changed.len() - 5) " more" } "." },
                    }
                }
                details {
                    summary { "What the key holds: " (keyed.explanation.files()) " files" }
                    table class="key" {
                        thead { tr { th { "Kind" } th { "Name" } th { "Value" } } }
                        tbody {
                            @for part in keyed.explanation.parts.iter().take(FILES) {
                                tr { td { (part.kind) } td { (part.name) } td { code { (part.value.chars().take(72).collect::<String>()) } } }
                            }
                        }
                    }
                    @if keyed.explanation.parts.len() > FILES { p class="quiet" { "and " (keyed.explanation.parts.len() - FILES) " more" } }
                }
            }
        }
    }
}

/// Who did what to an environment.
pub(super) fn what(entry: &Entry) -> Markup {
    html! {
        @match &entry.kind {
            Kind::Delivered => "delivered",
            Kind::Noted => "noted as running already",
            Kind::Promoted(from) => { "promoted from " (from) },
            Kind::RolledBack(hold) => { "rolled back: " (hold.why) },
            Kind::Held(hold) => { "held: " (hold.why) },
            Kind::Released => "released",
            Kind::ByHand => "edited by hand",
        }
    }
}

fn delivery(
    facts: &Facts,
    joined: &Joined<'_>,
    name: &EnvironmentName,
    past: &Past,
    at: usize,
    asked: &Asked,
) -> Markup {
    let entry = &past.entries[at];
    let report = facts.trace(name).and_then(|trace| trace.cluster.as_ref().ok()?.as_ref());
    let is_current = !past.entries[..at].iter().any(|later| !later.changed.is_empty());
    let patch = asked.patches.iter().find(|(there, _)| there == name).map(|(_, patch)| patch);
    html! {
        section {
            h3 { (name) }
            p { (entry.author) " " (what(entry)) " " (moment(entry.time)) ", manifest commit " code { (entry.commit.short()) } ". "
                @let became = status::became(past, at, report);
                @if !became.is_empty() { "Now: " b { (became) } "." }
                @if let Some(seen) = joined.sighting(name, &entry.commit) { " Seen " (seen.phase) " " (moment(seen.since)) "." }
            }
            @match patch {
                Some(Ok(patch)) => details { summary { "The delivered patch" } (diff(patch)) },
                Some(Err(why)) => p class="quiet" { "The patch cannot be read: " (why) },
                None => {},
            }
            @if let Some(trace) = facts.trace(name).filter(|_| is_current) {
                @match &trace.verdict {
                    Verdict::Live => {},
                    Verdict::Moving(why) => p { (badge(Mark::Moving, "rolling out")) " " (why) },
                    Verdict::Stuck(why) => p { (badge(Mark::Bad, "stuck")) " " (why) },
                    Verdict::Unknown(why) => p { (badge(Mark::Waiting, "not known")) " " (why) },
                }
                @if let Some(report) = report { (objects(report)) }
            }
        }
    }
}

/// What a cluster has to say about its objects.
pub(super) fn objects(report: &Report) -> Markup {
    let unhealthy = match report.phase {
        Phase::Syncing => ("rolling out", Mark::Moving),
        _ => ("not healthy", Mark::Bad),
    };
    let notes: [(&str, Mark, &[Note]); 4] = [
        ("refused", Mark::Bad, &report.refused),
        (unhealthy.0, unhealthy.1, &report.unhealthy),
        ("waits", Mark::Waiting, &report.waiting),
        ("drifted", Mark::Waiting, &report.drifted),
    ];
    html! {
        ul class="objects" {
            @for workload in &report.workloads {
                @let mark = if workload.ready >= workload.wanted { Mark::Good } else { Mark::Moving };
                li { (badge(mark, &format!("{}/{}", workload.ready, workload.wanted))) " " b { (workload.object) } }
            }
            @for (word, mark, notes) in notes {
                @for note in notes {
                    li { (badge(mark, word)) " " b { (note.object.as_deref().or(note.origin.as_deref()).unwrap_or_default()) } pre class="output" { (note.reason) } }
                }
            }
        }
        p class="quiet" { (report.objects) " objects in namespace " (report.namespace) "." }
    }
}

/// A patch, its lines marked.
pub(super) fn diff(patch: &str) -> Markup {
    html! {
        pre class="diff" tabindex="0" {
            @for line in patch.lines() {
                @let class = match line.as_bytes() {
                    [b'+', b'+', ..] | [b'-', b'-', ..] | [b'd' | b'i', ..] => "file",
                    [b'+', ..] => "added",
                    [b'-', ..] => "removed",
                    [b'@', ..] => "place",
                    _ => "same",
                };
                span class=(class) { (line) "\n" }
            }
        }
    }
}
