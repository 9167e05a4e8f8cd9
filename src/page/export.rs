//! The page as one file to send to somebody: the same views and the details of the newest commits, without script.

use super::{
    Error, Settings, assets, detail, environments,
    facts::{self, Facts},
    layout,
    parts::{Links, View, moment},
    pipeline, trends,
};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};
use std::{io::Write, path::Path, sync::Arc};

/// How many commits it has, each with all its details.
const ROWS: usize = 100;

/// Asks everybody once and writes the page.
///
/// # Errors
/// A file that cannot be written.
pub fn export(settings: &Settings, to: &Path) -> Result<(), Error> {
    let near = Arc::new(facts::near(settings));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Server)?;
    let far = runtime.block_on(async { facts::far(settings, &facts::client(settings).await).await });
    // What was seen just now is in the log by now.
    let near = if far.is_some() { Arc::new(facts::near(settings)) } else { near };
    let facts =
        Facts { project: facts::project(&settings.repository), near, far: far.map(Arc::new), ..Facts::default() };
    let text = page(settings, &facts).into_string();
    let failed = |source| Error::Write { path: to.to_owned(), source };
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.persist(to).map_err(|error| failed(error.error))?;
    Ok(())
}

fn page(settings: &Settings, facts: &Facts) -> Markup {
    let links = Links::InAFile;
    html! {
        (DOCTYPE)
        html lang="en" {
            (layout::head(&format!("Report · {}", facts.project), Some(&assets::in_a_file())))
            body class="report" {
                a class="skip" href="#pipeline" { "Skip to the content" }
                header class="top" {
                    span class="brand" { span class="logo" aria-hidden="true" { "⎇" } b { (facts.project) } }
                    nav aria-label="Views" { @for view in View::ALL { a href=(links.view(view)) { (view.title()) } } }
                    span class="live" { "as of " (moment(Timestamp::now())) }
                }
                main {
                    section id="environments" { h2 class="part" { "Environments" } (environments::view(facts, &links)) }
                    section id="pipeline" { h2 class="part" { "Pipeline" } (pipeline::view(facts, &links, 0, ROWS)) }
                    section id="trends" { h2 class="part" { "Trends" } (trends::view(facts, &links)) }
                    h2 class="part" { "Commits" }
                    @for commit in facts.near.commits.iter().take(ROWS) {
                        section class="page" id={ "commit-" (commit.id) } { (detail::view(facts, &links, commit, &detail::ask(settings, facts, commit))) }
                    }
                }
            }
        }
    }
}
