//! The pipeline: a row for each commit, and above them what was stopped before it became one.

use super::{
    facts::Facts,
    live::Fragment,
    parts::{Links, badge, cell, empty, moment},
    row::{Joined, Mark, Row, is_hook},
};
use crate::check::log::{LoggedRun, State};
use maud::{Markup, html};

/// How many rows a page has.
pub(super) const ROWS: usize = 100;

/// The list of which every row is a fragment.
pub(super) const LIST: &str = "rows";

/// One page of the rows.
pub(super) fn view(facts: &Facts, links: &Links, from: usize, count: usize) -> Markup {
    let joined = Joined::of(facts);
    let rows = joined.rows(from, count);
    let total = facts.near.commits.len();
    html! {
        h1 class="unseen" { "Pipeline" }
        (trouble(facts))
        @if from == 0 { (stopped(facts).html) }
        @if total == 0 {
            (empty("No commits yet", "A row appears here with the first commit. Each commit shows its checks, its image, and how far it has come.", Some("git commit")))
        }
        div class="table" data-environments=(facts.environments().len()) {
            div class="heads" aria-hidden="true" {
                span { "Commit" } span { "Checks" } span { "Image" }
                @for name in facts.environments() { span { (name) } }
            }
            ol id=(LIST) class="rows" { @for row in &rows { (one(row, links)) } }
        }
        @if from + count < total {
            nav class="more" aria-label="Pages" {
                @if let Some(address) = links.served(&format!("?from={}", from + count)) {
                    a class="button" rel="next" data-more href=(address) { "Older commits" }
                }
                span { (from + rows.len()) " of " (total) @if total == super::facts::MOST { " (the newest)" } }
            }
        }
    }
}

/// Each row as a fragment of its own.
pub(super) fn fragments(facts: &Facts, links: &Links) -> Vec<Fragment> {
    let rows = Joined::of(facts).rows(0, super::facts::MOST);
    let mut fragments: Vec<Fragment> = rows
        .iter()
        .map(|row| Fragment { id: id(row), list: Some(LIST), html: one(row, links).into_string() })
        .collect();
    let stopped = stopped(facts);
    fragments.push(Fragment { html: stopped.html.into_string(), id: stopped.id.to_owned(), list: None });
    fragments.push(Fragment { id: "trouble".to_owned(), list: None, html: trouble(facts).into_string() });
    fragments
}

fn id(row: &Row<'_>) -> String {
    format!("row-{}", row.commit.id)
}

fn one(row: &Row<'_>, links: &Links) -> Markup {
    html! {
        li id=(id(row)) data-frag=(id(row)) class="row" {
            div class="commit" {
                a class="subject" data-sheet data-row href=(links.commit(&row.commit.id)) { (row.commit.subject) }
                span class="by" {
                    code { (row.commit.id.short()) } " " span class="who" { (row.commit.author) } " " (moment(row.commit.time))
                    @if !row.is_pushed { " " span class="tag" { "not pushed" } }
                }
            }
            (cell("Checks", &row.checks))
            (cell("Image", &row.image))
            @for (name, place) in &row.places { (cell(name.as_str(), place)) }
        }
    }
}

struct Stopped {
    id: &'static str,
    html: Markup,
}

/// The commit that was stopped, or is being judged: its tree is no commit's yet.
fn stopped(facts: &Facts) -> Stopped {
    let newest = facts.near.commits.iter().map(|commit| commit.time).max();
    let waiting = |run: &&LoggedRun| {
        is_hook(run)
            && run.commit.is_none()
            && run.tree.as_ref().is_some_and(|tree| facts.near.commits.iter().all(|commit| commit.tree != *tree))
            && newest.is_none_or(|newest| run.began >= newest)
    };
    let last = facts.near.told.runs.iter().rev().find(|run| is_hook(run)).filter(waiting);
    let html = html! {
        div id="stopped" data-frag="stopped" {
            @if let Some(run) = last.filter(|run| matches!(run.state(), State::Failed | State::Running | State::Waiting)) {
                section class={ "notice " (if run.state() == State::Failed { "bad" } else { "moving" }) } aria-label="The next commit" {
                    h2 {
                        @if run.state() == State::Failed { (badge(Mark::Bad, "stopped")) " Nothing was committed: " (run.what) " failed " (moment(run.began)) }
                        @else { (badge(Mark::Moving, "running")) " " (run.what) " judges the next commit" }
                    }
                    (super::detail::steps(run))
                }
            }
        }
    };
    Stopped { id: "stopped", html }
}

/// What keeps the page from being whole.
pub(super) fn trouble(facts: &Facts) -> Markup {
    let manifests = facts
        .far
        .iter()
        .flat_map(|far| &far.places)
        .filter_map(|(name, place)| Some((name, place.past.as_ref().err()?)));
    html! {
        div id="trouble" data-frag="trouble" class="troubles" {
            @if let Some(Err(why)) = &facts.near.config {
                section class="notice bad" { h2 { (badge(Mark::Bad, "configuration")) " The configuration cannot be used" } pre { (why) } }
            }
            @for (name, why) in manifests {
                section class="notice waiting" { h2 { (badge(Mark::Waiting, "not reached")) " The manifests of " (name) " cannot be read" } pre { (why) } }
            }
        }
    }
}
