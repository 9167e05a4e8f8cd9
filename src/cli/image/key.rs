//! `gitops-hooks image key`.

use crate::{
    image::{Difference, Explanation},
    pipeline::{self, At, Pipeline},
    ui::{Tone, clean, paint},
    values::ImageName,
};
use miette::Result;
use serde_json::{Value, json};

/// More paths are only counted, unless all of them are asked for.
const SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The image, as the configuration names it; all of them without a name.
    image: Option<ImageName>,
    /// The commit; two of them to see what differs.
    #[arg(value_name = "REVISION", num_args = 0..=2)]
    at: Vec<String>,
    /// Show all that the key holds.
    #[arg(long)]
    explain: bool,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, pipeline: &Pipeline<'_>) -> Result<()> {
    let revision = |at: usize| arguments.at.get(at).map(String::as_str);
    let first = At::revision(pipeline.repository, revision(0).unwrap_or("HEAD"))?;
    if let (Some(name), Some(second)) = (&arguments.image, revision(1)) {
        let second = At::revision(pipeline.repository, second)?;
        let (before, after) = (pipeline::explain(pipeline, &first, name)?, pipeline::explain(pipeline, &second, name)?);
        compare(arguments, name, (&first, &before), (&second, &after));
        return Ok(());
    }
    let names: Vec<ImageName> =
        first.images(arguments.image.as_slice())?.into_iter().map(|(name, _)| name.clone()).collect();
    let mut all = Vec::new();
    for name in &names {
        let explained = pipeline::explain(pipeline, &first, name)?;
        if arguments.json {
            all.push(as_json(name, &explained, arguments.explain));
        } else if arguments.explain {
            show(name, &explained);
        } else if arguments.image.is_some() {
            crate::ui::say!("{}", explained.key);
        } else {
            crate::ui::say!("{} {name}", explained.key);
        }
    }
    if arguments.json {
        crate::cli::print_json(&json!({ "version": 1, "commit": first.commit, "images": all }));
    }
    Ok(())
}

fn as_json(name: &ImageName, explained: &Explanation, whole: bool) -> Value {
    let mut value = json!({ "image": name, "key": explained.key.as_str() });
    if whole {
        value["parts"] = json!(explained.parts);
    }
    value
}

fn show(name: &ImageName, explained: &Explanation) {
    crate::ui::say!("{} {}", paint(name.as_str(), Tone::Strong), explained.key);
    for part in explained.parts.iter().filter(|part| part.kind != "entry") {
        let named = if part.name.is_empty() { String::new() } else { format!("{} = ", part.name) };
        crate::ui::say!("  {:<11} {}{}", part.kind, clean(&named), clean(&part.value));
    }
    crate::ui::say!("  {:<11} {} files, as .dockerignore leaves them", "context", explained.files());
    for part in explained.parts.iter().filter(|part| part.kind == "entry") {
        let (mode, oid) = part.value.split_once(' ').unwrap_or_default();
        crate::ui::say!("    {} {}", paint(&format!("{mode} {oid:.12}"), Tone::Faint), clean(&part.name));
    }
}

fn compare(
    arguments: &Arguments,
    name: &ImageName,
    (first, before): (&At, &Explanation),
    (second, after): (&At, &Explanation),
) {
    let differences = before.differences(after);
    if arguments.json {
        let value = json!({
            "version": 1, "image": name,
            "before": { "commit": first.commit, "key": before.key.as_str() },
            "after": { "commit": second.commit, "key": after.key.as_str() },
            "differences": differences,
        });
        crate::cli::print_json(&value);
        return;
    }
    for (at, explained) in [(first, before), (second, after)] {
        crate::ui::say!("{} {}", paint(at.commit.short(), Tone::Faint), explained.key);
    }
    if differences.is_empty() {
        crate::ui::say!(
            "the same image: {} builds nothing that {} did not",
            second.commit.short(),
            first.commit.short()
        );
        return;
    }
    let shown = if arguments.explain { differences.len() } else { SHOWN };
    for difference in differences.iter().take(shown) {
        crate::ui::say!("  {}", line(difference));
    }
    if differences.len() > shown {
        crate::ui::say!("  and {} more: --explain shows them", differences.len() - shown);
    }
}

fn line(difference: &Difference) -> String {
    let subject = difference.subject();
    let subject = clean(&subject);
    let shows_values = !matches!(difference.kind.as_str(), "entry" | "dockerfile");
    match (&difference.before, &difference.after) {
        (None, Some(value)) if shows_values => format!("{} {subject}: {}", paint("+", Tone::Good), clean(value)),
        (None, _) => format!("{} {subject}", paint("+", Tone::Good)),
        (Some(_), None) => format!("{} {subject}", paint("-", Tone::Bad)),
        (Some(before), Some(after)) if shows_values => {
            format!("{} {subject}: {} → {}", paint("~", Tone::Warn), clean(before), clean(after))
        }
        (Some(before), Some(after)) => {
            // Of a file, mode and blob: where only the mode changed, that is what people look for.
            let modes = before.split_once(' ').zip(after.split_once(' '));
            let mode = modes.filter(|(before, after)| before.1 == after.1);
            let mode = mode.map_or(String::new(), |(before, after)| format!(": mode {} → {}", before.0, after.0));
            format!("{} {subject}{mode}", paint("~", Tone::Warn))
        }
    }
}
