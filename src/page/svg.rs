//! Charts as SVG, drawn here: dots on a line of time, and bars. Colours come from the page's style, so that they follow dark and
//! light; each dot and bar says its value to a pointer, and each chart its sense to a reader.

use super::trend::{Bar, Line, Point, Slower};
use maud::{Markup, html};

const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 120.0;
const LEFT: f64 = 40.0;
const BOTTOM: f64 = 20.0;
const TOP: f64 = 10.0;

/// What a chart's points are about.
pub(super) struct Dots<'p> {
    pub points: &'p [Point],
    pub slower: Option<&'p Slower>,
    pub label: String,
}

impl<'p> From<&'p Line> for Dots<'p> {
    fn from(line: &'p Line) -> Self {
        let count = line.points.len();
        let label = format!("{}: {count} runs, usually {}", line.name, super::parts::took(line.median));
        Self { points: &line.points, slower: line.slower.as_ref(), label }
    }
}

/// Times, one after the other.
pub(super) fn dots(dots: &Dots<'_>) -> Markup {
    let most = dots.points.iter().map(|point| point.seconds).fold(0.0, f64::max).max(0.001);
    let last = count(dots.points.len().saturating_sub(1).max(1));
    let x =
        |at: usize| LEFT + 6.0 + (WIDTH - LEFT - 14.0) * if dots.points.len() == 1 { 0.5 } else { count(at) / last };
    let y = |seconds: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - seconds / most);
    let path: Vec<String> =
        dots.points.iter().enumerate().map(|(at, point)| format!("{:.1},{:.1}", x(at), y(point.seconds))).collect();
    html! {
        svg class="chart" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(dots.label) {
            (frame(&super::parts::took(most)))
            @if let Some(slower) = dots.slower {
                line class="change" x1=(x(slower.point)) x2=(x(slower.point)) y1=(TOP) y2=(HEIGHT - BOTTOM) {}
            }
            polyline class="line" points=(path.join(" ")) {}
            @for (at, point) in dots.points.iter().enumerate() {
                circle class={ "dot" @if dots.slower.is_some_and(|slower| at >= slower.point) { " late" } } cx=(format!("{:.1}", x(at))) cy=(format!("{:.1}", y(point.seconds))) r="3" {
                    title { (super::parts::took(point.seconds)) ", " (point.at.strftime("%Y-%m-%d %H:%M UTC")) @if let Some(commit) = &point.commit { ", " (commit.short()) } }
                }
            }
            @if let (Some(first), Some(last)) = (dots.points.first(), dots.points.last()) {
                text class="tick" x=(LEFT) y=(HEIGHT - 5.0) { (first.at.strftime("%b %-d")) }
                text class="tick end" x=(WIDTH - 4.0) y=(HEIGHT - 5.0) { (last.at.strftime("%b %-d")) }
            }
        }
    }
}

/// The second sort of a bar's counts, which stands on the first.
pub(super) enum Rest {
    /// What should not be.
    Bad(&'static str),
    /// What is as well as the first.
    Other(&'static str),
}

/// Counts, one after the other, each of two sorts.
pub(super) fn bars(bars: &[Bar], good: &str, rest: &Rest, label: &str) -> Markup {
    let (rest, class) = match rest {
        Rest::Bad(word) => (word, "bad"),
        Rest::Other(word) => (word, "other"),
    };
    let most = count(bars.iter().map(|bar| bar.good + bar.rest).max().unwrap_or_default().max(1));
    let step = (WIDTH - LEFT - 4.0) / count(bars.len().max(1));
    let height = |amount: usize| (HEIGHT - TOP - BOTTOM) * count(amount) / most;
    let base = HEIGHT - BOTTOM;
    html! {
        svg class="chart" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(label) {
            (frame(&format!("{most}")))
            @for (at, bar) in bars.iter().enumerate() {
                @let left = count(at).mul_add(step, LEFT);
                g {
                    title { (bar.label) ": " (bar.good) " " (good) ", " (bar.rest) " " (rest) }
                    rect class="hover" x=(format!("{left:.1}")) y=(TOP) width=(format!("{step:.1}")) height=(base - TOP) {}
                    rect class="good" x=(format!("{:.1}", left + 1.5)) y=(format!("{:.1}", base - height(bar.good))) width=(format!("{:.1}", step - 3.0)) height=(format!("{:.1}", height(bar.good))) {}
                    rect class=(class) x=(format!("{:.1}", left + 1.5)) y=(format!("{:.1}", base - height(bar.good) - height(bar.rest))) width=(format!("{:.1}", step - 3.0)) height=(format!("{:.1}", height(bar.rest))) {}
                }
            }
            @if let (Some(first), Some(last)) = (bars.first(), bars.last()) {
                text class="tick" x=(LEFT) y=(HEIGHT - 5.0) { (first.label) }
                text class="tick end" x=(WIDTH - 4.0) y=(HEIGHT - 5.0) { (last.label) }
            }
        }
    }
}

fn frame(most: &str) -> Markup {
    html! {
        line class="axis" x1=(LEFT) x2=(WIDTH) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM) {}
        line class="grid" x1=(LEFT) x2=(WIDTH) y1=(TOP) y2=(TOP) {}
        text class="tick end" x=(LEFT - 4.0) y=(TOP + 4.0) { (most) }
        text class="tick end" x=(LEFT - 4.0) y=(HEIGHT - BOTTOM + 3.0) { "0" }
    }
}

/// A count as a length.
fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
