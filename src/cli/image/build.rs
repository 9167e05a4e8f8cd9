//! `gitops-hooks image build`.

use crate::{
    image::Prepared,
    pipeline::{self, At, By, Pipeline},
    values::ImageName,
};
use miette::Result;
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The images, as the configuration names them; all of them without a name.
    images: Vec<ImageName>,
    /// The commit that is built. What is not committed is not seen.
    #[arg(long, value_name = "REVISION", default_value = "HEAD")]
    at: String,
    /// Build although the registry has it, and name it in the engine so that it can be run.
    #[arg(long)]
    load: bool,
    /// Build without the cache, on the base images as they are now; as --load.
    #[arg(long, conflicts_with = "load")]
    refresh: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, pipeline: &Pipeline<'_>) -> Result<()> {
    let at = At::revision(pipeline.repository, &arguments.at)?;
    let edits = if arguments.at == "HEAD" { pipeline.repository.edited()? } else { 0 };
    if edits > 0 && !arguments.json {
        let files = match edits {
            1 => "1 file is not committed as it stands here".to_owned(),
            _ => format!("{edits} files are not committed as they stand here"),
        };
        pipeline.progress.line(&format!("{files}: {} is built", at.commit.short()));
    }
    let by = match (arguments.load, arguments.refresh) {
        (_, true) => By::Refresh,
        (true, _) => By::Load,
        _ => By::Push,
    };
    let built = pipeline::build(pipeline, &at, &arguments.images, by)?;
    if arguments.json {
        let images = built.iter().map(|one| {
            let (built, digest, id) = match &one.prepared {
                Prepared::AlreadyPublished { digest, .. } => (false, Some(digest), None),
                Prepared::Built { id, .. } => (true, None, Some(id)),
            };
            json!({
                "image": one.name, "key": one.prepared.key().as_str(), "built": built, "digest": digest, "id": id,
                "loaded": one.loaded.as_ref().map(ToString::to_string),
            })
        });
        let images: Vec<_> = images.collect();
        crate::cli::print_json(&json!({ "version": 1, "commit": at.commit, "images": images }));
        return Ok(());
    }
    for reference in built.iter().filter_map(|one| one.loaded.as_ref()) {
        crate::ui::say!("docker run --rm -it {reference}");
    }
    Ok(())
}
