//! The message of a delivery commit: a subject that people read in a log, what changed, and trailers for machines.

use super::Target;
use crate::{
    manifest::Field,
    values::{ImageRef, Oid},
};
use std::{collections::BTreeSet, fmt::Write};

/// How much of a source commit's subject is repeated.
const SUBJECT_CHARS: usize = 100;

/// How many changed fields are listed one by one.
const LISTED: usize = 20;

/// What a delivery commit says.
pub(super) struct Message<'m> {
    pub(super) target: &'m Target<'m>,
    pub(super) source: &'m Oid,
    /// The first line of the source commit.
    pub(super) subject: &'m str,
    /// The source's remote, for people.
    pub(super) repository: Option<String>,
    pub(super) images: &'m [ImageRef],
    /// Changed fields with their files.
    pub(super) changes: &'m [(String, Field)],
    /// The commit that was running, where the branch was rewritten and no longer has it.
    pub(super) rewritten: Option<&'m Oid>,
}

impl Message<'_> {
    pub(super) fn render(&self) -> String {
        let Self { target, source, .. } = self;
        let names: BTreeSet<&str> = self.images.iter().map(short_name).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        let mut text = format!("Deliver {names} {} to {}", source.short(), target.name);
        let subject = one_line(self.subject);
        if !subject.is_empty() {
            let _ = write!(text, ": {subject}");
        }
        text.push_str("\n\n");
        for (file, field) in self.changes.iter().take(LISTED) {
            let _ = writeln!(text, "{file}:{} {}: {}", field.position.line, field.object, one_line(&field.old));
        }
        if self.changes.len() > LISTED {
            let _ = writeln!(text, "and {} more", self.changes.len() - LISTED);
        }
        if let Some(running) = self.rewritten {
            let branch = target.environment.branch.as_str();
            let _ =
                writeln!(text, "\nThe branch {branch} was rewritten: {running}, which ran here, is no longer on it.");
        }
        let _ = writeln!(text, "\nSource-Commit: {source}");
        if let Some(repository) = &self.repository {
            let _ = writeln!(text, "Source-Repository: {}", one_line(repository));
        }
        for image in self.images {
            let _ = writeln!(text, "Image: {image}");
        }
        let _ = writeln!(text, "Environment: {}", target.name);
        text
    }
}

/// The last part of a repository, as people call an image.
fn short_name(image: &ImageRef) -> &str {
    image.repository.path().rsplit('/').next().unwrap_or_default()
}

/// Text of somebody else's as part of a line: no control characters, no end.
fn one_line(text: &str) -> String {
    let cleaned = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = cleaned.take(SUBJECT_CHARS + 1).collect();
    if line.chars().count() > SUBJECT_CHARS {
        line.pop();
        line.push('…');
    }
    line.trim().to_owned()
}
