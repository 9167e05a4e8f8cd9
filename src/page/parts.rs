//! The small things that every view is made of: marks, times, links. Whatever comes from a repository goes through `maud`, which
//! escapes it.

use super::row::{Cell, Mark};
use crate::{
    ui,
    values::{EnvironmentName, Oid},
};
use jiff::Timestamp;
use maud::{Markup, html};
use std::time::Duration;

/// Where links lead: pages of the server, or places in one file.
#[derive(Debug, Clone)]
pub(super) enum Links {
    /// Below this path, which begins and ends with a slash.
    Served(String),
    InAFile,
}

/// The three views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Pipeline,
    Environments,
    Trends,
}

impl View {
    pub const ALL: [Self; 3] = [Self::Pipeline, Self::Environments, Self::Trends];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Pipeline => "Pipeline",
            Self::Environments => "Environments",
            Self::Trends => "Trends",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Environments => "environments",
            Self::Trends => "trends",
        }
    }
}

impl Links {
    pub fn view(&self, view: View) -> String {
        match (self, view) {
            (Self::Served(root), View::Pipeline) => root.clone(),
            (Self::Served(root), view) => format!("{root}{}", view.name()),
            (Self::InAFile, view) => format!("#{}", view.name()),
        }
    }

    pub fn commit(&self, commit: &Oid) -> String {
        match self {
            Self::Served(root) => format!("{root}commit/{commit}"),
            Self::InAFile => format!("#commit-{commit}"),
        }
    }

    /// The address of something that only a server has.
    pub fn served(&self, path: &str) -> Option<String> {
        match self {
            Self::Served(root) => Some(format!("{root}{path}")),
            Self::InAFile => None,
        }
    }
}

impl Mark {
    /// A shape beside the colour, for those who do not see that.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Bad => "✗",
            Self::Moving => "●",
            Self::Waiting => "◷",
            Self::Past => "○",
            Self::Nothing => "·",
        }
    }

    pub const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Moving => "moving",
            Self::Waiting => "waiting",
            Self::Past => "past",
            Self::Nothing => "nothing",
        }
    }
}

/// One stage. `label` is read aloud; eyes have the heading of the column.
pub(super) fn cell(label: &str, cell: &Cell) -> Markup {
    html! {
        span class={ "cell " (cell.mark.class()) } title=[(!cell.note.is_empty()).then_some(&cell.note)] {
            span class="label" { (label) ": " }
            (badge(cell.mark, &cell.word))
            @if let Some(since) = cell.since { " " (running(since)) }
            @else if let Some(seconds) = cell.seconds { " " span class="took" { (took(seconds)) } }
            @if !cell.note.is_empty() { span class="note" { (cell.note) } }
        }
    }
}

pub(super) fn badge(mark: Mark, word: &str) -> Markup {
    html! {
        span class={ "badge " (mark.class()) } { span class="sign" aria-hidden="true" { (mark.sign()) } " " span { (word) } }
    }
}

/// A moment: exact for everybody, and for a browser with script how long ago it was.
pub(super) fn moment(time: Timestamp) -> Markup {
    let exact = time.strftime("%Y-%m-%d %H:%M UTC").to_string();
    html! { time data-ago datetime=(format!("{time:.0}")) title=(exact) { (exact) } }
}

/// How long something has been running.
fn running(since: Timestamp) -> Markup {
    html! { time class="took" data-running datetime=(since.to_string()) {} }
}

pub(super) fn took(seconds: f64) -> String {
    ui::seconds(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

pub(super) fn short(links: &Links, commit: &Oid) -> Markup {
    html! { a class="id" data-sheet href=(links.commit(commit)) { (commit.short()) } }
}

/// A button that opens a confirmation.
pub(super) fn button(links: &Links, environment: &EnvironmentName, act: &str, text: &str, more: &str) -> Markup {
    html! {
        @if let Some(address) = links.served(&format!("environment/{environment}/{act}{more}")) {
            a class="button" data-sheet role="button" href=(address) { (text) }
        }
    }
}

/// A state of a whole view: nothing there yet, or something in the way, with what to do.
pub(super) fn empty(title: &str, text: &str, command: Option<&str>) -> Markup {
    html! {
        div class="empty" {
            h3 { (title) }
            p { (text) }
            @if let Some(command) = command { p { code class="command" { (command) } } }
        }
    }
}
