//! The message of a delivery commit: a subject that people read in a log, what changed, and trailers for machines. Of a
//! delivery for review it is the description too.

use super::{Act, Session, State, Target, commit::Change, plan::Plan};
use crate::values::{ImageRef, Oid};
use std::{collections::BTreeSet, fmt::Write};

/// How much of a source commit's subject is repeated.
const SUBJECT_CHARS: usize = 100;

/// How many changed fields are listed one by one.
const LISTED: usize = 20;

/// What a delivery commit says.
pub(super) struct Message<'m> {
    pub(super) session: &'m Session<'m>,
    pub(super) target: &'m Target<'m>,
    pub(super) act: &'m Act,
    pub(super) plan: &'m Plan,
    pub(super) change: &'m Change,
    /// What the state said before.
    pub(super) before: &'m State,
    /// What it says now.
    pub(super) after: &'m State,
}

impl Message<'_> {
    pub(super) fn render(&self) -> String {
        let mut text = self.subject();
        text.push_str("\n\n");
        self.body(&mut text);
        self.trailers(&mut text);
        text
    }

    fn subject(&self) -> String {
        let Self { target, act, plan, change, .. } = self;
        let name = target.name;
        let moved = plan.goals().filter(|(image, _)| change.images.is_empty() || change.images.contains(*image));
        let moved: BTreeSet<(&str, &str)> =
            moved.map(|(_, goal)| (short_name(&goal.reference), goal.source.short())).collect();
        let sources: BTreeSet<&str> = moved.iter().map(|(_, source)| *source).collect();
        let what = match sources.len() {
            1 => {
                let names: Vec<&str> = moved.iter().map(|(image, _)| *image).collect();
                format!("{} {}", names.join(", "), sources.into_iter().next().unwrap_or_default())
            }
            _ => moved.iter().map(|(image, source)| format!("{image} {source}")).collect::<Vec<_>>().join(", "),
        };
        let line = match act {
            Act::Follow { tip, .. } if change.images.is_empty() => format!("Note {} in {name}", tip.short()),
            Act::Follow { .. } => format!("Deliver {what} to {name}"),
            Act::Promote { from, .. } => format!("Promote {what} from {from} to {name}"),
            Act::Rollback { .. } => format!("Roll {name} back to {what}"),
            Act::Hold(hold) => return format!("Hold {name}: {}", one_line(&hold.why)),
            Act::Release(_) => return format!("Release {name}"),
        };
        let subject = act.source().and_then(|source| self.session.repository.subject(source)).unwrap_or_default();
        let subject = one_line(&subject);
        if subject.is_empty() { line } else { format!("{line}: {subject}") }
    }

    fn body(&self, text: &mut String) {
        let Self { target, act, plan, change, before, after, .. } = self;
        for (file, field) in change.fields.iter().take(LISTED) {
            let _ = writeln!(text, "{file}:{} {}: {}", field.position.line, field.object, one_line(&field.old));
        }
        if change.fields.len() > LISTED {
            let _ = writeln!(text, "and {} more", change.fields.len() - LISTED);
        }
        if matches!(act, Act::Follow { .. }) && change.fields.is_empty() {
            text.push_str("Its images are those that run already. This keeps older ones from being delivered later.\n");
        }
        if let Act::Promote { proof, .. } = act {
            let _ = writeln!(text, "\nWhat runs there was {}.", one_line(proof));
        }
        if let Some(running) = &plan.rewritten {
            let branch = target.branch;
            let _ =
                writeln!(text, "\nThe branch {branch} was rewritten: {running}, which ran here, is no longer on it.");
        }
        match (&before.hold, &after.hold) {
            (_, Some(hold)) if before.hold.as_ref() != Some(hold) => {
                let (by, why) = (one_line(&hold.by), one_line(&hold.why));
                let _ = writeln!(text, "\nNothing newer is delivered here until it is released. {by}: {why}");
            }
            (Some(hold), None) => {
                let _ = writeln!(text, "\nIt was held by {}: {}", one_line(&hold.by), one_line(&hold.why));
            }
            _ => {}
        }
    }

    fn trailers(&self, text: &mut String) {
        let sources: BTreeSet<&Oid> = self.plan.goals().map(|(_, goal)| &goal.source).collect();
        text.push('\n');
        for source in &sources {
            let _ = writeln!(text, "Source-Commit: {source}");
        }
        if !sources.is_empty() {
            let upstream = self.session.repository.upstream(self.target.branch);
            let url = upstream.and_then(|upstream| self.session.repository.remote_url(&upstream.remote));
            if let Some(url) = url {
                let _ = writeln!(text, "Source-Repository: {}", one_line(&url.shown()));
            }
        }
        for (image, goal) in self.plan.goals() {
            if self.change.images.contains(image) {
                let _ = writeln!(text, "Image: {}", goal.reference);
            }
        }
        let _ = writeln!(text, "Environment: {}", self.target.name);
        if let Act::Promote { from, .. } = self.act {
            let _ = writeln!(text, "Promoted-From: {from}");
        }
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
