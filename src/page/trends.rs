//! The trends, each with one sentence that says what the picture shows.

use super::{
    facts::Facts,
    live::Fragment,
    parts::{Links, badge, empty, short, took},
    row::Mark,
    svg::{self, Dots, Rest},
    trend::{Bar, Line, Point, Trend, median},
};
use jiff::Timestamp;
use maud::{Markup, html};

/// More steps than this are left to the export's reader's patience.
const STEPS: usize = 12;

pub(super) fn view(facts: &Facts, links: &Links) -> Markup {
    html! {
        h1 class="unseen" { "Trends" }
        (all(facts, links))
    }
}

pub(super) fn fragment(facts: &Facts, links: &Links) -> Fragment {
    Fragment { id: "trends".to_owned(), list: None, html: all(facts, links).into_string() }
}

fn all(facts: &Facts, links: &Links) -> Markup {
    let trend = Trend::of(facts, Timestamp::now());
    let (deliveries, failed) = sum(&trend.deliveries);
    let (known, ran) = sum(&trend.cache);
    html! {
        div data-frag="trends" {
            section class="figures" aria-label="In short" {
                (figure("Commit to healthy", &usual(&trend.lead), "usually, from the source commit"))
                (figure("Deliveries", &format!("{:.1}", weekly(deliveries + failed)), "a week"))
                (figure("Taken back or not healthy", &share(failed, deliveries + failed), "of the deliveries of twelve weeks"))
                (figure("Time to restore", &usual(&trend.restore), "usually, to the next that was healthy"))
                (figure("Not run again", &share(known, known + ran), "of the steps of two weeks"))
            }
            h2 { "Time of each step" }
            @if trend.steps.is_empty() {
                (empty("No step has run yet", "The run log of this clone begins with the next commit or push.", Some("gitops-hooks run pre-push")))
            }
            div class="charts" {
                @for line in trend.steps.iter().take(STEPS) { (step(line, links)) }
            }
            h2 { "Deliveries" }
            div class="charts" {
                (panel("Deliveries a week", &format!("{deliveries} stayed, {failed} were taken back or not healthy."), &svg::bars(&trend.deliveries, "stayed", &Rest::Bad("taken back or not healthy"), "Deliveries a week")))
                (times("Commit to healthy", &trend.lead, "No delivery was seen healthy yet. This page notes it when it sees it, and so does gitops-hooks status."))
                (times("Time to restore", &trend.restore, "Nothing had to be restored, as far as was seen."))
                (panel("Steps that were not run again", &format!("{known} had passed on the same inputs, {ran} ran."), &svg::bars(&trend.cache, "known", &Rest::Other("ran"), "Steps that were not run again, day by day")))
            }
        }
    }
}

fn step(line: &Line, links: &Links) -> Markup {
    html! {
        section class="panel" {
            h3 { (line.name) }
            p class="quiet" { "usually " (took(line.median)) ", last " (line.points.last().map(|point| took(point.seconds)).unwrap_or_default()) }
            (svg::dots(&Dots::from(line)))
            @if let Some(slower) = &line.slower {
                p { (badge(Mark::Waiting, "slower")) " " (took(slower.before)) " → " (took(slower.after))
                    @if let Some(commit) = line.points.get(slower.point).and_then(|point| point.commit.as_ref()) { " since " (short(links, commit)) }
                }
            }
        }
    }
}

fn times(title: &str, points: &[Point], none: &str) -> Markup {
    if points.is_empty() {
        return html! { section class="panel" { h3 { (title) } p class="quiet" { (none) } } };
    }
    let dots = Dots { points, slower: None, label: format!("{title}: usually {}", usual(points)) };
    panel(title, &format!("usually {}", usual(points)), &svg::dots(&dots))
}

fn panel(title: &str, text: &str, chart: &Markup) -> Markup {
    html! { section class="panel" { h3 { (title) } p class="quiet" { (text) } (chart) } }
}

fn figure(title: &str, value: &str, text: &str) -> Markup {
    html! { div class="figure" { span class="title" { (title) } b { (value) } span class="quiet" { (text) } } }
}

fn usual(points: &[Point]) -> String {
    let seconds: Vec<f64> = points.iter().map(|point| point.seconds).collect();
    if seconds.is_empty() { "–".to_owned() } else { took(median(&seconds)) }
}

fn share(part: usize, whole: usize) -> String {
    match whole {
        0 => "–".to_owned(),
        whole => format!("{} %", (100 * part + whole / 2) / whole),
    }
}

fn weekly(count: usize) -> f64 {
    let weeks = f64::from(u32::try_from(super::trend::WEEKS).unwrap_or(1));
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / weeks
}

fn sum(bars: &[Bar]) -> (usize, usize) {
    bars.iter().fold((0, 0), |(good, rest), bar| (good + bar.good, rest + bar.rest))
}
