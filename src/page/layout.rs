//! The frame around every view.

use super::{
    assets,
    facts::Facts,
    parts::{Links, View},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A whole page of the server.
pub(super) fn page(facts: &Facts, links: &Links, view: Option<View>, title: &str, main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(&format!("{title} · {}", facts.project), None))
            body data-generation=(facts.generation) data-events=[links.served("events")] {
                a class="skip" href="#main" { "Skip to the content" }
                header class="top" {
                    span class="brand" { span class="logo" aria-hidden="true" { "⎇" } b { (facts.project) } }
                    nav aria-label="Views" {
                        @for (at, one) in View::ALL.into_iter().enumerate() {
                            a href=(links.view(one)) aria-current=[(view == Some(one)).then_some("page")] data-key=(at + 1) { (one.title()) }
                        }
                    }
                    span class="live" id="live" role="status" data-state="static" { span class="dot" aria-hidden="true" {} span class="text" { "as of now" } }
                }
                main id="main" tabindex="-1" { (main) }
                footer { span { "Keys: " kbd { "1" } " " kbd { "2" } " " kbd { "3" } " views, " kbd { "j" } " " kbd { "k" } " rows, " kbd { "Enter" } " open, " kbd { "Esc" } " close" } }
                dialog id="sheet" aria-label="Details" {
                    button class="close" type="button" aria-label="Close" { "✕" }
                    div id="sheet-body" aria-live="polite" {}
                }
                script { (PreEscaped(assets::SCRIPT)) }
            }
        }
    }
}

pub(super) fn head(title: &str, policy: Option<&str>) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            @if let Some(policy) = policy { meta http-equiv="Content-Security-Policy" content=(policy); }
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta name="referrer" content="same-origin";
            title { (title) }
            link rel="icon" href="data:,";
            style { (PreEscaped(assets::STYLE)) }
        }
    }
}
