use anstyle_parse::{DefaultCharAccumulator, Params, Parser, Perform};
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

/// A line of a program's output with its colours, and with nothing else that drives the terminal. Of what the program wrote
/// over itself, as progress is, the last is left.
pub(super) fn colours_only(line: &str) -> String {
    let mut shown = Shown::default();
    let mut parser = Parser::<DefaultCharAccumulator>::new();
    for byte in line.bytes() {
        parser.advance(&mut shown, byte);
    }
    let Shown { mut line, over } = shown;
    line.extend(over);
    if line.contains('\u{1b}') {
        line.push_str("\u{1b}[0m");
    }
    line
}

/// What a line shows so far.
#[derive(Default)]
struct Shown {
    line: String,
    /// After a carriage return: colours for what is written over the line, once something is.
    over: Option<String>,
}

impl Perform for Shown {
    fn print(&mut self, c: char) {
        if let Some(colours) = self.over.take() {
            self.line = colours;
        }
        if !c.is_control() {
            self.line.push(c);
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\t' => self.line.push('\t'),
            b'\r' => self.over = Some(String::new()),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], _ignore: bool, action: u8) {
        if action == b'm' && intermediates.is_empty() {
            let params = params.iter().map(|param| param.iter().map(u16::to_string).collect::<Vec<_>>().join(":"));
            let colour = format!("\u{1b}[{}m", params.collect::<Vec<_>>().join(";"));
            self.over.as_mut().unwrap_or(&mut self.line).push_str(&colour);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_programs_output_only_its_colours_reach_the_terminal() {
        for (written, shown) in [
            ("plain\tword", "plain\tword"),
            ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m"),
            ("\x1b[38;5;208m\x1b[4:3mé", "\x1b[38;5;208m\x1b[4:3mé\x1b[0m"),
            ("a\x1b[2J\x1b[H\x1b[1A\x1b[2K\x1b[?25l\x1b[>4mb", "ab"),
            ("\x1b]0;title\x07\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\x1bc\x1bP1$q\x1b\\", "link"),
            ("bell\x07 back\x08 \u{9b}2J", "bell back 2J"),
            ("10%\r100%\r", "100%"),
            ("\x1b[31m10%\r\x1b[32m100%", "\x1b[32m100%\x1b[0m"),
        ] {
            assert_eq!(colours_only(written), shown, "{written:?}");
        }
    }
}
