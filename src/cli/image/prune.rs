//! `gitops-hooks image prune`.

use crate::{
    image::Fate,
    pipeline::{self, At, Clearing, Pipeline},
    ui::{Table, Tone, paint},
    values::{ImageName, Tag},
};
use miette::Result;
use serde_json::json;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
An image goes when every commit that has it is older than what each environment runs now, and none of the last deliveries \
of any environment names it. The registry frees the space in its own time.")]
pub(in crate::cli) struct Arguments {
    /// The images, as the configuration names them; all of them without a name.
    images: Vec<ImageName>,
    /// How many deliveries of each environment count as the last ones.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    keep: usize,
    /// Remove it. Without this, only what would go is told.
    #[arg(long, short)]
    yes: bool,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, pipeline: &Pipeline<'_>) -> Result<()> {
    let at = At::revision(pipeline.repository, "HEAD")?;
    let clearings = pipeline::plan_prune(pipeline, &at, &arguments.images, arguments.keep)?;
    let something = clearings.iter().any(|clearing| clearing.removed().next().is_some());
    if !arguments.json {
        for clearing in &clearings {
            show(clearing, pipeline);
        }
    }
    if arguments.yes && something {
        pipeline::prune(pipeline, &at, &clearings)?;
    } else if something && !arguments.json {
        crate::ui::say!("nothing was removed: --yes removes it");
    }
    if arguments.json {
        crate::cli::print_json(&json!({ "version": 1, "removed": arguments.yes, "images": clearings }));
    }
    Ok(())
}

fn show(clearing: &Clearing, pipeline: &Pipeline<'_>) {
    crate::ui::say!("{} {}", paint(clearing.image.as_str(), Tone::Strong), paint(&clearing.repository, Tone::Faint));
    let mut table = Table::new(&["GOES", "COMMITS"]);
    for shelved in clearing.removed() {
        let commits = shelved.tags.iter().filter_map(Tag::commit).map(|commit| {
            let subject = pipeline.repository.subject(&commit).unwrap_or_default();
            format!("{} {subject}", commit.short())
        });
        table.row([
            (shelved.digest.short().to_owned(), Tone::Warn),
            (commits.collect::<Vec<_>>().join("\n"), Tone::Plain),
        ]);
    }
    if clearing.removed().next().is_some() {
        crate::ui::say!("{table}");
    }
    let count = |fate: Fate| clearing.fates.iter().filter(|fated| fated.fate == fate).count();
    let kept = [
        (count(Fate::Named), "named by an environment's recent deliveries"),
        (count(Fate::Newer), "of commits that may still be delivered"),
        (count(Fate::Foreign), "with a tag of somebody else's"),
        (count(Fate::Unfinished), "with a key and no commit, perhaps being published"),
    ];
    crate::ui::say!("  {} go; what stays:", clearing.removed().count());
    for (count, what) in kept.iter().filter(|(count, _)| *count > 0) {
        crate::ui::say!("  {count:>4} {what}");
    }
}
