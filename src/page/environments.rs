//! The environments: what runs where since when, what waits and why, and what a person can do about it.

use super::{
    act::{self, Act},
    detail::{objects, what},
    facts::{Facts, Place, chains},
    live::Fragment,
    parts::{Links, badge, button, empty, moment, short},
    pipeline::trouble,
    row::Mark,
};
use crate::{
    config::Environment,
    deliver::Past,
    status::{Trace, Verdict, became},
    values::{EnvironmentName, Oid},
};
use maud::{Markup, html};

/// How many of the last entries a card shows.
const SHOWN: usize = 6;

pub(super) fn view(facts: &Facts, links: &Links) -> Markup {
    let chains = facts.config().map(chains).unwrap_or_default();
    html! {
        h1 class="unseen" { "Environments" }
        (trouble(facts))
        (acts(facts))
        @if chains.is_empty() && facts.config().is_some() {
            (empty("No environments", "An environment is a place that runs images: a path in a manifest repository. Name one under `environments` in .gitops-hooks.yaml.", Some("gitops-hooks config schema")))
        }
        @for chain in &chains {
            div class="chain" {
                @for (at, name) in chain.iter().enumerate() {
                    @if at > 0 { (arrow(facts, links, name)) }
                    (card(facts, links, name))
                }
            }
        }
        (asked(facts))
    }
}

/// How old all of this is.
fn asked(facts: &Facts) -> Markup {
    html! {
        p class="quiet" data-frag="asked" {
            @if let Some(far) = &facts.far { "The manifest repository and the cluster were asked " (moment(far.asked)) "." }
        }
    }
}

pub(super) fn fragments(facts: &Facts, links: &Links) -> Vec<Fragment> {
    let mut fragments = vec![Fragment { id: "acts".to_owned(), list: None, html: acts(facts).into_string() }];
    fragments.push(Fragment { id: "asked".to_owned(), list: None, html: asked(facts).into_string() });
    for act in &facts.acts {
        let id = format!("act-{}", act.id);
        fragments.push(Fragment { id, list: None, html: act::told(act).into_string() });
    }
    for name in facts.environments() {
        let card = card(facts, links, &name).into_string();
        fragments.push(Fragment { id: format!("environment-{name}"), list: None, html: card });
        let arrow = arrow(facts, links, &name).into_string();
        fragments.push(Fragment { id: format!("arrow-{name}"), list: None, html: arrow });
    }
    fragments
}

/// What was asked for with a button.
fn acts(facts: &Facts) -> Markup {
    let shown: Vec<&Act> = facts.acts.iter().take(3).collect();
    html! {
        div id="acts" data-frag="acts" aria-live="polite" {
            @if !shown.is_empty() { section class="acts" aria-label="What you asked for" { @for act in shown { (act::told(act)) } } }
        }
    }
}

/// The way from one environment to the next.
fn arrow(facts: &Facts, links: &Links, name: &EnvironmentName) -> Markup {
    let from = facts.config().and_then(|config| config.environments.get(name)?.promote.as_deref().cloned());
    let running = |name: &EnvironmentName| {
        let past = facts.past(name)?;
        past.state.images.values().next().map(|running| running.source.clone())
    };
    let (there, here) = (from.as_ref().and_then(running), running(name));
    let is_same = there.is_some() && there == here;
    let commits = |count| if count == 1 { "1 commit".to_owned() } else { format!("{count} commits") };
    let text = match there.zip(here) {
        _ if is_same => "the same".to_owned(),
        None => "to promote".to_owned(),
        Some((there, here)) => match (distance(facts, &here, &there), distance(facts, &there, &here)) {
            (Some(ahead), _) => commits(ahead),
            (None, Some(behind)) => format!("{} back", commits(behind)),
            (None, None) => "another commit".to_owned(),
        },
    };
    html! {
        div class={ "arrow" @if is_same { " same" } } id=(format!("arrow-{name}")) data-frag=(format!("arrow-{name}")) {
            svg viewBox="0 0 96 24" aria-hidden="true" { path d="M2 12H84" {} path d="M76 4l10 8-10 8" {} }
            span class="way" { (text) }
            @if from.is_some() && !is_same { (button(links, name, "promote", "Promote", "")) }
        }
    }
}

/// How many commits of the list lie from one to the other.
fn distance(facts: &Facts, from: &Oid, to: &Oid) -> Option<usize> {
    let place = |wanted: &Oid| facts.near.commits.iter().position(|commit| commit.id == *wanted);
    place(from)?.checked_sub(place(to)?)
}

fn card(facts: &Facts, links: &Links, name: &EnvironmentName) -> Markup {
    let environment = facts.config().and_then(|config| config.environments.get(name));
    let (trace, place) = (facts.trace(name), facts.place(name));
    let id = format!("environment-{name}");
    let (mark, word) = match trace.map(|trace| &trace.verdict) {
        Some(Verdict::Live) => (Mark::Good, "healthy"),
        Some(Verdict::Moving(_)) => (Mark::Moving, "on its way"),
        Some(Verdict::Stuck(_)) => (Mark::Bad, "stuck"),
        None if facts.far.is_none() => (Mark::Moving, "asking"),
        Some(Verdict::Unknown(_)) | None => (Mark::Waiting, "not known"),
    };
    html! {
        section class={ "card " (mark.class()) } id=(id) data-frag=(id) aria-labelledby={ "name-" (name) } {
            header { h2 id={ "name-" (name) } { (name) } (badge(mark, word)) }
            @if let Some(environment) = environment { (follows(environment)) }
            @if let Some(past) = facts.past(name) { (running(facts, links, past)) }
            @else if facts.far.is_none() { p class="quiet skeleton" { "Asking the manifest repository and the cluster …" } }
            (waits(facts, name, trace, place))
            @if let Some(report) = trace.and_then(|trace| trace.cluster.as_ref().ok()?.as_ref()) { (objects(report)) }
            @if let Some(environment) = environment { (buttons(links, name, environment, trace)) }
            @if let Some(past) = facts.past(name) { (history(links, past, trace)) }
        }
    }
}

fn follows(environment: &Environment) -> Markup {
    html! {
        p class="quiet" {
            @match (&environment.branch, &environment.promote) {
                (Some(branch), _) => { "follows " code { (branch.as_str()) } },
                (None, Some(from)) => { "takes what runs in " b { (from.as_str()) } },
                (None, None) => {},
            }
            @if environment.review { ", after a review" }
        }
    }
}

fn running(facts: &Facts, links: &Links, past: &Past) -> Markup {
    let brought = past.entries.iter().find(|entry| !entry.changed.is_empty());
    html! {
        dl class="runs" {
            @for (image, running) in &past.state.images {
                @let subject = facts.near.commits.iter().find(|commit| commit.id == running.source).map(|commit| commit.subject.as_str());
                dt { (image) }
                dd { (short(links, &running.source)) " " (subject.unwrap_or_default()) br; code class="digest" { "sha256:" (running.reference.digest.as_ref().map_or("", |digest| digest.short())) } }
            }
        }
        @if let Some(entry) = brought {
            p class="by" { (entry.author) " " (what(entry)) " " (moment(entry.time)) ", manifest commit " code { (entry.commit.short()) } }
        } @else { p class="quiet" { "Nothing was delivered here yet." } }
    }
}

/// What waits, and why.
fn waits(facts: &Facts, name: &EnvironmentName, trace: Option<&Trace>, place: Option<&Place>) -> Markup {
    let hold = facts.past(name).and_then(|past| past.state.hold.as_ref());
    html! {
        ul class="waits" {
            @if let Some(hold) = hold { li class="waiting" { (badge(Mark::Waiting, "hold")) " " (hold) } }
            @if let Some(branch) = place.and_then(|place| place.review.as_ref()) {
                li class="waiting" { (badge(Mark::Waiting, "review")) " a delivery waits to be merged on " code { (branch) } }
            }
            @if let Some(waiting) = trace.and_then(|trace| trace.outbox.as_ref()) {
                @match &waiting.stopped {
                    Some(why) => li class="bad" { (badge(Mark::Bad, "outbox")) " " (why) },
                    None => li class="moving" { (badge(Mark::Moving, "outbox")) " a delivery is under way" },
                }
            }
            @match trace.map(|trace| &trace.verdict) {
                Some(Verdict::Stuck(why)) if trace.is_some_and(|trace| trace.outbox.is_none()) => li class="bad" { (badge(Mark::Bad, "stuck")) " " (why) },
                Some(Verdict::Moving(why)) if trace.is_some_and(|trace| trace.outbox.is_none()) => li class="moving" { (badge(Mark::Moving, "moving")) " " (why) },
                Some(Verdict::Unknown(why)) => li class="waiting" { (badge(Mark::Waiting, "not known")) " " (why) },
                _ => {},
            }
            @if let Some(commit) = trace.and_then(|trace| trace.unseen.as_ref()) {
                li class="waiting" { (badge(Mark::Waiting, "unseen")) " nobody here has judged or delivered " code { (commit.short()) } }
            }
            @if let Some(behind) = trace.and_then(|trace| trace.behind).filter(|behind| *behind > 0) {
                li { (badge(Mark::Past, "behind")) " " (behind) @if behind == 1 { " commit" } @else { " commits" } " newer" }
            }
        }
    }
}

fn buttons(links: &Links, name: &EnvironmentName, environment: &Environment, trace: Option<&Trace>) -> Markup {
    let delivery = trace.and_then(|trace| trace.delivery.as_ref().ok()?.as_ref());
    let is_held = delivery.is_some_and(|delivery| delivery.hold.is_some());
    html! {
        div class="buttons" {
            @if environment.branch.is_some() { (button(links, name, "deliver", "Deliver", "")) }
            @if environment.promote.is_some() { (button(links, name, "promote", "Promote", "")) }
            @if delivery.is_some() { (button(links, name, "rollback", "Roll back", "")) }
            @if is_held { (button(links, name, "release", "Release", "")) } @else { (button(links, name, "hold", "Hold", "")) }
        }
    }
}

fn history(links: &Links, past: &Past, trace: Option<&Trace>) -> Markup {
    let report = trace.and_then(|trace| trace.cluster.as_ref().ok()?.as_ref());
    html! {
        @if !past.entries.is_empty() {
            details class="history" {
                summary { "History" }
                ol {
                    @for (at, entry) in past.entries.iter().enumerate().take(SHOWN) {
                        li {
                            (moment(entry.time)) " " (entry.author) " " (what(entry)) " "
                            @if let Some(running) = entry.state.as_ref().and_then(|state| state.images.values().next()) { (short(links, &running.source)) }
                            @let became = became(past, at, report);
                            @if !became.is_empty() { " " span class="quiet" { (became) } }
                        }
                    }
                }
                @if past.entries.len() > SHOWN { p class="quiet" { (past.entries.len() - SHOWN) " older in " code { "gitops-hooks history" } } }
            }
        }
    }
}
