//! `gitops-hooks image list`.

use crate::{
    pipeline::{self, At, Listing, Pipeline},
    ui::{Table, Tone, clean, paint},
    values::{EnvironmentName, ImageName},
};
use miette::Result;
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The images, as the configuration names them; all of them without a name.
    images: Vec<ImageName>,
    /// How many of each, the newest commits first.
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20)]
    number: usize,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, pipeline: &Pipeline<'_>) -> Result<()> {
    let at = At::revision(pipeline.repository, "HEAD")?;
    let listings = pipeline::list(pipeline, &at, &arguments.images, arguments.number)?;
    if arguments.json {
        crate::cli::print_json(&json!({ "version": 1, "images": listings }));
        return Ok(());
    }
    for listing in &listings {
        show(listing);
    }
    Ok(())
}

fn show(listing: &Listing) {
    crate::ui::say!("{} {}", paint(listing.image.as_str(), Tone::Strong), paint(&listing.repository, Tone::Faint));
    if listing.published.is_empty() {
        crate::ui::say!("  nothing was published yet");
    } else {
        let mut table = Table::new(&["COMMIT", "KEY", "DIGEST", "RUNS IN"]);
        for one in &listing.published {
            let subject = one.subject.as_deref().unwrap_or("(not in this clone)");
            let runs_in: Vec<&str> = one.runs_in.iter().map(EnvironmentName::as_str).collect();
            let short = |text: &str| text.chars().take(12).collect::<String>();
            table.row([
                (format!("{} {subject}", one.commit.short()), Tone::Plain),
                (one.key.as_deref().map_or_else(|| "–".to_owned(), short), Tone::Faint),
                (one.digest.short().to_owned(), Tone::Faint),
                (runs_in.join(", "), Tone::Good),
            ]);
        }
        crate::ui::say!("{table}");
    }
    if listing.left_out > 0 {
        crate::ui::say!("  and {} older: -n shows more", listing.left_out);
    }
    for (environment, why) in &listing.unknown {
        crate::ui::say!("  what {environment} runs is not known: {}", clean(why));
    }
}
