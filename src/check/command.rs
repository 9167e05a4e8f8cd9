//! A step's command filled in: whatever stands for a placeholder becomes one word of the shell, byte for byte, and a list of
//! files that is too long for one call is split over several.

use crate::values::{Command, Piece};
use std::{ffi::OsString, os::unix::ffi::OsStringExt};

/// The longest script that is given to `sh -c`. Linux allows 128 KiB for one argument (`MAX_ARG_STRLEN`, execve(2)).
const SCRIPT_BYTES: usize = 96 * 1024;

/// What fills the placeholders.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Values<'a> {
    pub(super) files: &'a [&'a [u8]],
    pub(super) message_file: &'a [u8],
    pub(super) arguments: &'a [&'a [u8]],
}

/// The scripts to run, one after the other: several only where the files do not fit into one.
pub(super) fn scripts(command: &Command, values: &Values<'_>) -> Vec<OsString> {
    let times = command.pieces().iter().filter(|piece| matches!(piece, Piece::Files(_))).count();
    if times == 0 {
        return vec![fill(command, values, b"")];
    }
    let room = SCRIPT_BYTES.saturating_sub(fill(command, values, b"").len()) / times;
    let mut scripts = Vec::new();
    let mut list: Vec<u8> = Vec::new();
    for file in values.files {
        let word = path_word(file);
        if !list.is_empty() && list.len() + 1 + word.len() > room {
            scripts.push(fill(command, values, &list));
            list.clear();
        }
        if !list.is_empty() {
            list.push(b' ');
        }
        list.extend(word);
    }
    if !list.is_empty() {
        scripts.push(fill(command, values, &list));
    }
    scripts
}

fn fill(command: &Command, values: &Values<'_>, files: &[u8]) -> OsString {
    let mut script = Vec::new();
    for piece in command.pieces() {
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
        let scripts = super::scripts(&written.parse().unwrap(), &values);
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
