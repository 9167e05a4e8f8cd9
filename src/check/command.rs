//! A step's command as it was written, with what stands in braces: `{files}` and its kin, `{message_file}`, `{1}`. Whatever
//! fills them becomes one word of the shell, byte for byte; `${VAR}`, `HEAD@{1}` and braces in quotes are the shell's.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

/// The longest script that is given to `sh -c`. Linux allows 128 KiB for one argument (`MAX_ARG_STRLEN`, execve(2)).
const SCRIPT_BYTES: usize = 96 * 1024;

/// A command, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Files(List),
    MessageFile,
    Argument(usize),
}

/// Which paths stand in a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// Those that the event changes.
    Changed,
    /// The same, by the name they have in hooks that judge the index.
    Staged,
    /// The same, by the name they have in pre-push.
    Pushed,
    /// Every path of the snapshot.
    All,
}

/// A command that cannot be filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfillable {
    /// A placeholder in quotes, where no value of it could be safe: a file may be called `$(reboot)`.
    Quoted(&'static str),
    /// Two lists of files, which cannot both be split over several calls.
    TwoLists,
}

/// What fills the placeholders.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Values<'a> {
    pub(super) files: &'a [&'a [u8]],
    pub(super) message_file: &'a [u8],
    pub(super) arguments: &'a [&'a [u8]],
}

/// Where in a shell script a byte stands, as far as quotes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    Single,
    Double,
    Comment,
}

impl Command {
    /// Reads a command.
    pub(super) fn parse(written: &str) -> Result<Self, Unfillable> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut within = Within::Nothing;
        let mut rest = written;
        while let Some(first) = rest.chars().next() {
            let before = written[..written.len() - rest.len()].chars().next_back();
            if let Some((piece, name, length)) = placeholder(rest).filter(|_| !matches!(before, Some('$' | '@'))) {
                let positional = matches!(piece, Piece::Argument(_));
                match within {
                    Within::Nothing => {
                        pieces.push(Piece::Text(std::mem::take(&mut text)));
                        pieces.push(piece);
                        rest = &rest[length..];
                        continue;
                    }
                    Within::Single | Within::Double if !positional => return Err(Unfillable::Quoted(name)),
                    // `awk '{1}'`, and whatever a comment says.
                    _ => {}
                }
            }
            let mut length = first.len_utf8();
            within = match (within, first) {
                (Within::Nothing | Within::Double, '\\') => {
                    length += rest[length..].chars().next().map_or(0, char::len_utf8);
                    within
                }
                (Within::Nothing, '\'') => Within::Single,
                (Within::Nothing, '"') => Within::Double,
                (Within::Nothing, '#') if before.is_none_or(|c| c.is_whitespace() || c == ';') => Within::Comment,
                (Within::Single, '\'') | (Within::Double, '"') | (Within::Comment, '\n') => Within::Nothing,
                _ => within,
            };
            text.push_str(&rest[..length]);
            rest = &rest[length..];
        }
        pieces.push(Piece::Text(text));
        let command = Self { pieces };
        match command.list() {
            Some(list) if command.lists().any(|other| other != list) => Err(Unfillable::TwoLists),
            _ => Ok(command),
        }
    }

    fn lists(&self) -> impl Iterator<Item = List> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Files(list) => Some(*list),
            _ => None,
        })
    }

    /// The list of files that it takes, if it takes one.
    pub(super) fn list(&self) -> Option<List> {
        self.lists().next()
    }

    pub(super) fn takes_message_file(&self) -> bool {
        self.pieces.contains(&Piece::MessageFile)
    }

    /// The places of the hook's arguments that it takes, from 1.
    pub(super) fn takes_arguments(&self) -> impl Iterator<Item = usize> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Argument(place) => Some(*place),
            _ => None,
        })
    }

    /// The scripts to run, one after the other: several only where the files do not fit into one.
    pub(super) fn scripts(&self, values: &Values<'_>) -> Vec<OsString> {
        let times = self.lists().count();
        if times == 0 {
            return vec![self.fill(values, b"")];
        }
        let room = SCRIPT_BYTES.saturating_sub(self.fill(values, b"").len()) / times;
        let mut scripts = Vec::new();
        let mut list: Vec<u8> = Vec::new();
        for file in values.files {
            let word = path_word(file);
            if !list.is_empty() && list.len() + 1 + word.len() > room {
                scripts.push(self.fill(values, &list));
                list.clear();
            }
            if !list.is_empty() {
                list.push(b' ');
            }
            list.extend(word);
        }
        if !list.is_empty() {
            scripts.push(self.fill(values, &list));
        }
        scripts
    }

    fn fill(&self, values: &Values<'_>, files: &[u8]) -> OsString {
        let mut script = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => script.extend(text.as_bytes()),
                Piece::Files(_) => script.extend(files),
                Piece::MessageFile => script.extend(quote(values.message_file)),
                Piece::Argument(place) => {
                    script.extend(quote(values.arguments.get(place - 1).copied().unwrap_or_default()));
                }
            }
        }
        OsString::from_vec(script)
    }
}

/// The placeholder that a text begins with, its name and its length.
fn placeholder(text: &str) -> Option<(Piece, &'static str, usize)> {
    const NAMED: &[(&str, Piece)] = &[
        ("{files}", Piece::Files(List::Changed)),
        ("{staged_files}", Piece::Files(List::Staged)),
        ("{push_files}", Piece::Files(List::Pushed)),
        ("{all_files}", Piece::Files(List::All)),
        ("{message_file}", Piece::MessageFile),
    ];
    if let Some((name, piece)) = NAMED.iter().find(|(name, _)| text.starts_with(name)) {
        return Some((piece.clone(), name, name.len()));
    }
    let digit = text.strip_prefix('{')?.bytes().next().filter(|digit| (b'1'..=b'9').contains(digit))?;
    text[2..].starts_with('}').then(|| (Piece::Argument(usize::from(digit - b'0')), "{1}", 3))
}

/// A path as one word that no program takes for an option.
fn path_word(path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"-") { quote(&[b"./", path].concat()) } else { quote(path) }
}

/// Any bytes as one word of a POSIX shell.
fn quote(bytes: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+,@%:".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return bytes.to_vec();
    }
    let mut word = vec![b'\''];
    for byte in bytes {
        match byte {
            b'\'' => word.extend(b"'\\''"),
            byte => word.push(*byte),
        }
    }
    word.push(b'\'');
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn scripts(written: &str, files: &[&[u8]]) -> Vec<String> {
        let values = Values { files, message_file: b"/a b/MSG", arguments: &[b"one", b"$(two)"] };
        let scripts = Command::parse(written).unwrap().scripts(&values);
        scripts.iter().map(|script| String::from_utf8_lossy(script.as_bytes()).into_owned()).collect()
    }

    #[test]
    fn every_value_is_one_word() {
        assert_eq!(
            scripts("lint {files}", &[b"a.py", b"b c.py", b"it's", b"-rf"]),
            [r"lint a.py 'b c.py' 'it'\''s' ./-rf"]
        );
        assert_eq!(scripts("check {message_file} {1} {2} {3}", &[]), ["check '/a b/MSG' one '$(two)' ''"]);
    }

    #[test]
    fn what_the_shell_means_stays_the_shells() {
        for written in ["echo ${files} ${1} HEAD@{1}", "awk '{1}' x", "f() { :; }; f", "a{b,c} # isn't {files}\nx"] {
            assert_eq!(scripts(written, &[]), [written]);
        }
    }

    #[test]
    fn a_placeholder_in_quotes_is_refused() {
        assert_eq!(Command::parse("lint \"{files}\""), Err(Unfillable::Quoted("{files}")));
        assert_eq!(Command::parse("x '{message_file}'"), Err(Unfillable::Quoted("{message_file}")));
        assert!(Command::parse("x \"quo\\\"ted\" {files} it\\'s {files}").unwrap().list().is_some());
        assert_eq!(Command::parse("x {files} {all_files}"), Err(Unfillable::TwoLists));
    }

    #[test]
    fn a_long_list_is_split_and_none_is_lost() {
        let names: Vec<Vec<u8>> = (0..20_000).map(|n| format!("folder/file {n}.py").into_bytes()).collect();
        let files: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let scripts = scripts("echo {files} then {files}", &files);
        assert!(scripts.len() > 5 && scripts.iter().all(|script| script.len() <= SCRIPT_BYTES));
        let words: usize = scripts.iter().map(|script| script.matches("'folder/").count()).sum();
        assert_eq!(words, 2 * files.len());
    }

    #[test]
    fn no_files_means_no_call() {
        assert!(scripts("lint {files}", &[]).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn the_shell_gives_every_name_back(name in proptest::collection::vec(1u8.., 1..40)) {
            let script = OsString::from_vec([b"printf %s ".as_slice(), &quote(&name)].concat());
            // `printf` of an empty operand aside, the word comes back as it went in.
            let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
            proptest::prop_assert_eq!(output.stdout, name);
        }
    }
}
