use super::{
    closest,
    quotes::{Quotes, Within},
};
use std::{fmt, str::FromStr};

/// A step's command as it was written, with what stands in braces: `{files}` and its kin, `{message_file}`, `{1}`. Whatever
/// fills them becomes one word of the shell, so none may stand in quotes; `${VAR}`, `HEAD@{1}`, `v1^{commit}` and braces in
/// quotes are the shell's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    written: Box<str>,
    pieces: Vec<Piece>,
}

/// A piece of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The shell's own text.
    Text(String),
    /// A list of paths.
    Files(List),
    /// The file of the commit message.
    MessageFile,
    /// An argument of the hook, from 1.
    Argument(usize),
}

/// Which paths stand in a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// Those that the event changes.
    Changed,
    /// The same, by the name they have in hooks that judge the index.
    Staged,
    /// The same, by the name they have in pre-push.
    Pushed,
    /// Every path of the snapshot.
    All,
}

/// A command that could not be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCommand {
    /// A placeholder in quotes, where no value of it could be safe: a file may be called `$(reboot)`.
    #[error("{0} stands in quotes: write it outside of them, as its value is quoted already")]
    Quoted(&'static str),
    /// Two lists of files, which cannot both be split over several calls.
    #[error("{0} and {1} in one command: make two steps of it, as each list may have to be split over several calls")]
    TwoLists(List, List),
    /// What looks like a placeholder and is none.
    #[error("there is no placeholder {written}; did you mean {meant}?")]
    Unknown {
        /// As it stands there.
        written: String,
        /// The one that was probably meant.
        meant: &'static str,
    },
}

const NAMED: &[(&str, Piece)] = &[
    ("{files}", Piece::Files(List::Changed)),
    ("{staged_files}", Piece::Files(List::Staged)),
    ("{push_files}", Piece::Files(List::Pushed)),
    ("{all_files}", Piece::Files(List::All)),
    ("{message_file}", Piece::MessageFile),
];

const ARGUMENTS: &[&str] = &["{1}", "{2}", "{3}", "{4}", "{5}", "{6}", "{7}", "{8}", "{9}"];

impl Command {
    /// The command as it stands in the configuration.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Its pieces, in order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The list of files that it takes, if it takes one.
    #[must_use]
    pub fn list(&self) -> Option<List> {
        self.lists().next()
    }

    fn lists(&self) -> impl Iterator<Item = List> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Files(list) => Some(*list),
            _ => None,
        })
    }

    /// Whether it names the file of the commit message.
    #[must_use]
    pub fn takes_message_file(&self) -> bool {
        self.pieces.contains(&Piece::MessageFile)
    }

    /// The places of the hook's arguments that it takes, from 1.
    pub fn takes_arguments(&self) -> impl Iterator<Item = usize> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Argument(place) => Some(*place),
            _ => None,
        })
    }
}

impl FromStr for Command {
    type Err = InvalidCommand;

    fn from_str(written: &str) -> Result<Self, InvalidCommand> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut quotes = Quotes::new(written);
        loop {
            // `${files}`, `HEAD@{1}`, `v1^{tree}`, curl's `%{http_code}`.
            let ours = !matches!(quotes.before(), Some('$' | '@' | '^' | '%'));
            match (placeholder(quotes.rest()).filter(|_| ours), quotes.within()) {
                (Some((piece, name)), Within::Nothing) => {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                    pieces.push(piece);
                    quotes.pass(name.len());
                    continue;
                }
                (Some((piece, name)), Within::Single | Within::Double) if !matches!(piece, Piece::Argument(_)) => {
                    return Err(InvalidCommand::Quoted(name));
                }
                (None, Within::Nothing) if ours => unknown(written, quotes.rest())?,
                // `awk '{1}'`, and whatever a comment says.
                _ => {}
            }
            match quotes.next() {
                Some(passed) => text.push_str(passed),
                None => break,
            }
        }
        pieces.push(Piece::Text(text));
        let command = Self { written: written.into(), pieces };
        match command.list().and_then(|list| Some((list, command.lists().find(|other| *other != list)?))) {
            Some((list, other)) => Err(InvalidCommand::TwoLists(list, other)),
            None => Ok(command),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMED.iter().find(|(_, piece)| *piece == Piece::Files(*self)).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// The placeholder that a text begins with, and how it is written.
fn placeholder(text: &str) -> Option<(Piece, &'static str)> {
    if let Some((name, piece)) = NAMED.iter().find(|(name, _)| text.starts_with(name)) {
        return Some((piece.clone(), name));
    }
    let (at, name) = ARGUMENTS.iter().enumerate().find(|(_, name)| text.starts_with(*name))?;
    Some((Piece::Argument(at + 1), name))
}

/// Refuses what a text begins with where it is a placeholder of ours but for a letter or two. `xargs -I{file}` names its own.
fn unknown(command: &str, text: &str) -> Result<(), InvalidCommand> {
    let name = |text: &str| {
        let (name, _) = text.strip_prefix('{')?.split_once('}')?;
        let sound =
            !name.is_empty() && name.len() < 40 && name.bytes().all(|b| b.is_ascii_lowercase() || b"_-".contains(&b));
        sound.then(|| format!("{{{name}}}"))
    };
    let Some(written) = name(text) else { return Ok(()) };
    if command.contains(&format!("-I{written}")) || command.contains(&format!("-I {written}")) {
        return Ok(());
    }
    let known: Vec<&'static str> = NAMED.iter().map(|(name, _)| *name).collect();
    match closest(&written, &known) {
        Some(meant) => Err(InvalidCommand::Unknown { written, meant }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(written: &str) -> String {
        written.parse::<Command>().unwrap_err().to_string()
    }

    #[test]
    fn what_the_shell_means_stays_the_shells() {
        for written in [
            "echo ${files} ${1} HEAD@{1} v1^{commit}",
            "awk '{1}' x",
            "awk '{print}' x",
            "f() { :; }; f",
            "a{b,c} # isn't {files}\nx",
            "curl -w %{http_code} x",
            "find . -exec wc {} +",
            "xargs -I{file} cp {file} x",
            "echo '{filez}' \"{filez}\" ${filez}",
            "echo {anything_else}",
        ] {
            let command: Command = written.parse().unwrap();
            assert_eq!(command.pieces(), [Piece::Text(written.to_owned())]);
        }
    }

    #[test]
    fn a_placeholder_in_quotes_is_refused() {
        assert_eq!("lint \"{files}\"".parse::<Command>(), Err(InvalidCommand::Quoted("{files}")));
        assert_eq!("x '{message_file}'".parse::<Command>(), Err(InvalidCommand::Quoted("{message_file}")));
        assert!("x \"quo\\\"ted\" {files} it\\'s {files}".parse::<Command>().unwrap().list().is_some());
        assert!(refused("x {files} {all_files}").starts_with("{files} and {all_files} in one command"));
    }

    #[test]
    fn a_placeholder_with_a_slip_is_refused() {
        for (written, meant) in [
            ("lint {filez}", "{files}"),
            ("lint {file}", "{files}"),
            ("lint {staged-files}", "{staged_files}"),
            ("lint --path={message_fle}", "{message_file}"),
        ] {
            assert!(refused(written).ends_with(&format!("did you mean {meant}?")), "{}", refused(written));
        }
    }
}
