use owo_colors::{OwoColorize, Style};
use std::{borrow::Cow, time::Duration};

/// What a word means, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It went well.
    Good,
    /// It failed.
    Bad,
    /// It waits, or needs a look.
    Warn,
    /// It matters less than what stands around it.
    Faint,
    /// It matters more.
    Strong,
    /// As it is.
    Plain,
}

/// A word in the colour of its meaning. `anstream` takes colours out again where nobody can see them (`NO_COLOR`, pipes).
#[must_use]
pub fn paint(text: &str, tone: Tone) -> String {
    let style = match tone {
        Tone::Good => Style::new().green(),
        Tone::Bad => Style::new().red().bold(),
        Tone::Warn => Style::new().yellow(),
        Tone::Faint => Style::new().dimmed(),
        Tone::Strong => Style::new().bold(),
        Tone::Plain => return text.to_owned(),
    };
    text.style(style).to_string()
}

/// Text from elsewhere (a branch name, a server's message) without control characters, so that it cannot drive the terminal.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        Cow::Owned(
            text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect(),
        )
    } else {
        Cow::Borrowed(text)
    }
}

/// A duration as people read it: `0.4s`, `12s`, `3m 05s`.
#[must_use]
pub fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    match whole {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..60 => format!("{whole}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}
