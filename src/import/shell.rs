//! Shell commands of other tools: split into words, quoted again, and their placeholders put where ours may stand. A file
//! may be called `$(reboot)`, so a list of files never stays within quotes.

use crate::values::{Command, HookName, InvalidCommand, List, Quotes, Within};
use std::fmt::Write as _;

/// What stands in a placeholder's stead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filled {
    /// Paths, each of which becomes a word: such as `{files}`.
    List(&'static str),
    /// One word: such as `{1}`.
    Word(String),
    /// Text of the script itself.
    Script(String),
}

/// Replaces placeholders. `known` gives what stands at the head of a text, and how long that is.
pub(super) fn replace(script: &str, known: impl Fn(&str) -> Option<(Filled, usize)>) -> String {
    let mut out = String::with_capacity(script.len());
    let mut list = None;
    let mut walk = Quotes::new(script);
    loop {
        let within = walk.within();
        let ours = within != Within::Comment && !matches!(walk.before(), Some('$' | '@' | '\\'));
        let Some((filled, length)) = known(walk.rest()).filter(|_| ours) else {
            match walk.next() {
                Some(passed) => out.push_str(passed),
                None => break,
            }
            continue;
        };
        walk.pass(length);
        let mark = if within == Within::Single { '\'' } else { '"' };
        let quoted = matches!(within, Within::Single | Within::Double);
        // `"{files}"` as a word of its own: ours are quoted already.
        let alone = quoted && out.ends_with(mark) && walk.rest().starts_with(mark);
        if alone && !matches!(filled, Filled::Script(_)) {
            out.pop();
            walk.next();
        }
        match filled {
            Filled::Script(text) => out.push_str(&text),
            Filled::List(text) if alone || !quoted => out.push_str(text),
            Filled::Word(text) if alone || !quoted => out.push_str(&text),
            Filled::List(text) => {
                list = Some(text);
                out.push_str(if within == Within::Single { "'\"$*\"'" } else { "$*" });
            }
            Filled::Word(text) => {
                out.push(mark);
                out.push_str(&text);
                out.push(mark);
            }
        }
    }
    match list {
        Some(list) => format!("set -- {list}; {out}"),
        None => out,
    }
}

/// A command that is run on those of its files only in whose path `grep -E` finds `keep` and none of `drop`; without any, it
/// is not run.
pub(super) fn choosing(command: &str, keep: Option<&str>, drop: &[String]) -> String {
    let list = if command.contains("{all_files}") { "{all_files}" } else { "{files}" };
    let mut script = format!("for file in {list}; do\n");
    let tests = keep.map(|keep| (keep, "||")).into_iter().chain(drop.iter().map(|drop| (drop.as_str(), "&&")));
    for (expression, otherwise) in tests {
        let expression = format!("'{}'", expression.replace('\'', r"'\''"));
        let _ = writeln!(script, "  printf '%s\\n' \"$file\" | LC_ALL=C grep -Eq -e {expression} {otherwise} continue");
    }
    script.push_str("  set -- \"$@\" \"$file\"\ndone\n[ $# -gt 0 ] || exit 0\n");
    script + &replace(command, |rest| rest.starts_with(list).then(|| (Filled::Script("\"$@\"".to_owned()), list.len())))
}

/// A command in which whatever only looks like a placeholder of ours, and would be refused, is the shell's text again.
pub(super) fn settled(hook: HookName, run: &str) -> String {
    let mut run = run.to_owned();
    loop {
        let other = match run.parse::<Command>() {
            Err(InvalidCommand::Quoted(name)) => {
                run = broken(&run, name, &[Within::Single, Within::Double]);
                continue;
            }
            Err(InvalidCommand::Unknown { written, .. }) => written,
            Err(InvalidCommand::TwoLists(_, list)) => list.to_string(),
            Ok(command) if command.takes_message_file() && !hook.takes_message_file() => "{message_file}".to_owned(),
            Ok(command) => match command.list() {
                Some(list @ List::Staged) if hook == HookName::PrePush => list.to_string(),
                Some(list @ List::Pushed) if hook != HookName::PrePush => list.to_string(),
                _ => return run,
            },
        };
        run = broken(&run, &other, &[Within::Nothing]);
    }
}

/// A script in which a text begins with a brace in quotes of its own, wherever it stands within one of these.
fn broken(script: &str, text: &str, where_within: &[Within]) -> String {
    let mut out = String::with_capacity(script.len() + 2);
    let mut quotes = Quotes::new(script);
    loop {
        let within = quotes.within();
        if where_within.contains(&within) && quotes.rest().starts_with(text) {
            quotes.pass(1);
            out.push_str(match within {
                Within::Single => "{''",
                Within::Double => "{\"\"",
                Within::Nothing | Within::Comment => "'{'",
            });
        } else if let Some(passed) = quotes.next() {
            out.push_str(passed);
        } else {
            return out;
        }
    }
}

/// The placeholder that a text begins with: `{name}`.
pub(super) fn placeholder(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('{')?;
    let end = inner.find('}')?;
    let name = &inner[..end];
    (!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))).then_some(name)
}

/// The words of a command as a POSIX shell splits them, without running anything in them; `None` where quotes stay open.
pub(super) fn words(command: &str) -> Option<Vec<String>> {
    shlex::split(command)
}

/// A word for the shell that stands for itself.
pub(super) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@%:=".contains(c);
    let assignment =
        word.split_once('=').is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    if !word.is_empty() && word.chars().all(plain) && !assignment {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Words as a command.
pub(super) fn join<'w>(words: impl IntoIterator<Item = &'w String>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| quote(word)).collect();
    quoted.join(" ")
}

/// The commands of a line that are joined by `&&` and are nothing but words; `None` where the line is more than that.
pub(super) fn chain(line: &str) -> Option<Vec<&str>> {
    const KEYWORDS: &[&str] = &[
        "if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "function", "{",
        "}", "!", ".", "source", "set", "export", "cd", "exit", "return", "exec", "trap", "eval", "unset", "shift",
        "local", "alias", "read", "test", "[", "[[", "true", "false", ":",
    ];
    let mut parts = Vec::new();
    let (mut start, mut end) = (0, line.len());
    let mut quotes = Quotes::new(line);
    loop {
        let (within, at) = (quotes.within(), line.len() - quotes.rest().len());
        let Some(passed) = quotes.next() else { break };
        match (within, passed.chars().next()?) {
            (_, '`' | '\n')
            | (Within::Single, '$')
            | (Within::Nothing, ';' | '|' | '<' | '>' | '(' | ')' | '*' | '?' | '[') => return None,
            (Within::Nothing | Within::Double, '\\') if passed.len() == 1 => return None,
            (Within::Nothing | Within::Double, '$')
                if !quotes.rest().starts_with(|c: char| c.is_ascii_digit() || "@*{".contains(c)) =>
            {
                return None;
            }
            (Within::Nothing, '#') if quotes.within() == Within::Comment => {
                end = at;
                break;
            }
            (Within::Nothing, '&') => {
                if quotes.next() != Some("&") {
                    return None;
                }
                parts.push(line[start..at].trim());
                start = at + 2;
            }
            _ => {}
        }
    }
    if matches!(quotes.within(), Within::Single | Within::Double) {
        return None;
    }
    parts.push(line.get(start..end)?.trim());
    let simple = |part: &&str| {
        let first = part.split_whitespace().next().unwrap_or_default();
        !first.is_empty() && !KEYWORDS.contains(&first) && !first.contains('=')
    };
    parts.iter().all(simple).then_some(parts)
}

/// What people call a command: what it is that `npx`, `yarn` or `npm run` runs.
pub(super) fn label(words: &[String]) -> String {
    let unwrapped = unwrap(words);
    let first = unwrapped.first().map_or("step", String::as_str);
    first.rsplit('/').next().unwrap_or(first).to_owned()
}

/// A command without what only finds it.
pub(super) fn unwrap(words: &[String]) -> &[String] {
    let Some((first, rest)) = words.split_first() else { return words };
    let skipped: &[&str] = match first.as_str() {
        "npx" | "bunx" | "pnpx" => &["--no", "--no-install", "--yes", "-y", "-q", "--quiet", "--"],
        "npm" | "pnpm" | "yarn" | "bun" => &["run", "run-script", "exec", "x", "dlx", "-s", "--silent", "--"],
        "bundle" | "poetry" | "uv" | "pdm" | "hatch" | "mise" | "composer" => &["exec", "run", "x", "--"],
        "make" | "just" | "task" => &[],
        "node" => return rest.first().filter(|file| !file.starts_with('-')).map_or(words, |_| rest),
        _ => return words,
    };
    let start = rest.iter().position(|word| !skipped.contains(&word.as_str())).unwrap_or(rest.len());
    if start == rest.len() || rest[start].starts_with('-') { words } else { &rest[start..] }
}

/// A command without a `git add` at its end, which `fix` makes needless; `None` where it has none.
pub(super) fn without_add(command: &str) -> Option<&str> {
    let at = command.rfind("git add ")?;
    let plain = !command[at..].trim_end().contains(['|', ';', '&', '<', '>', '(', '`', '\n']);
    let before = command[..at].trim_end();
    let head = before.strip_suffix("&&").or_else(|| before.strip_suffix(';')).unwrap_or(before);
    let joined = before.is_empty() || head.len() < before.len() || command[..at].ends_with('\n');
    (plain && joined).then(|| head.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(script: &str) -> String {
        replace(script, |rest| match placeholder(rest)? {
            "staged_files" => Some((Filled::List("{files}"), "{staged_files}".len())),
            "1" => Some((Filled::Word("{1}".to_owned()), 3)),
            _ => None,
        })
    }

    #[test]
    fn a_placeholder_never_stays_within_quotes() {
        for (theirs, ours) in [
            ("lint {staged_files}", "lint {files}"),
            ("lint \"{staged_files}\" '{1}'", "lint {files} {1}"),
            ("sh -c \"lint {staged_files} x\"", "set -- {files}; sh -c \"lint $* x\""),
            ("sh -c 'lint {staged_files}'", "set -- {files}; sh -c 'lint '\"$*\"''"),
            ("echo \"to {1}!\"", "echo \"to \"{1}\"!\""),
            ("echo ${1} HEAD@{1} {other} # {staged_files}", "echo ${1} HEAD@{1} {other} # {staged_files}"),
        ] {
            assert_eq!(filled(theirs), ours);
        }
    }

    #[test]
    fn the_shell_chooses_files_by_what_grep_finds_in_their_paths() {
        let script = choosing("printf '<%s>' {files}", Some(r"\.py$"), &["^it's".to_owned(), "x{2}".to_owned()]);
        let files = "'a b.py' 'it'\\''s.py' ./-e.py a.js xx.py x.py";
        let run = |files: &str| {
            let output = std::process::Command::new("sh").args(["-c", &script.replace("{files}", files)]).output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        assert_eq!(run(files), "<a b.py><./-e.py><x.py>");
        assert_eq!(run("a.js"), "");
        assert_eq!(settled(HookName::PreCommit, &script), script);
    }

    #[test]
    fn what_only_looks_like_a_placeholder_is_text_again() {
        let settled = |run: &str| settled(HookName::PrePush, run);
        for (theirs, ours) in [
            ("rg '{files}' \"{files}\"", "rg '{''files}' \"{\"\"files}\""),
            ("echo {filez}", "echo '{'filez}"),
            ("a {files} {all_files} {message_file}", "a {files} '{'all_files} '{'message_file}"),
            ("a {staged_files}", "a '{'staged_files}"),
            ("a {push_files} {1}", "a {push_files} {1}"),
        ] {
            assert_eq!(settled(theirs), ours);
        }
    }

    #[test]
    fn words_are_split_and_quoted_as_the_shell_does() {
        assert_eq!(words(r#"a 'b c' "d \" e" f\ g ''"#).unwrap(), ["a", "b c", "d \" e", "f g", ""]);
        assert!(words("a 'b").is_none());
        assert_eq!(join(&words("rg 'TODO(x)' --a=b $(reboot)").unwrap()), "rg 'TODO(x)' --a=b '$(reboot)'");
        assert_eq!(quote("A=b"), "'A=b'");
    }

    #[test]
    fn only_plain_commands_are_taken_apart() {
        assert_eq!(chain("npx lint-staged && npm test"), Some(vec!["npx lint-staged", "npm test"]));
        assert_eq!(chain("npx commitlint --edit \"$1\""), Some(vec!["npx commitlint --edit \"$1\""]));
        assert_eq!(chain("npm test # why"), Some(vec!["npm test"]));
        for more in ["a | b", "a; b", "if a", "cd x && y", "a > b", "a &", "a $HOME", "A=1 b", "a *", "a 'b", "a &&"] {
            assert_eq!(chain(more), None, "{more}");
        }
    }

    #[test]
    fn a_command_is_called_by_what_it_runs() {
        for (command, name) in [
            ("npx --no -- commitlint --edit x", "commitlint"),
            ("npm run lint", "lint"),
            ("yarn test:unit", "test:unit"),
            ("bundle exec rubocop", "rubocop"),
            ("make lint", "lint"),
            ("./scripts/check.sh x", "check.sh"),
            ("npm", "npm"),
        ] {
            assert_eq!(label(&words(command).unwrap()), name, "{command}");
        }
    }

    #[test]
    fn adding_what_was_changed_is_what_fix_does() {
        assert_eq!(without_add("a --write {files} && git add {files}"), Some("a --write {files}"));
        assert_eq!(without_add("a\ngit add b"), Some("a"));
        assert_eq!(without_add("git add ."), Some(""));
        for command in ["a", "git add x && b", "echo git add x", "a | git add x"] {
            assert_eq!(without_add(command), None, "{command}");
        }
    }

    proptest::proptest! {
        #[test]
        fn quoted_words_come_back_as_they_were(all in proptest::collection::vec(".{0,12}", 0..5)) {
            proptest::prop_assert_eq!(words(&join(&all)), Some(all));
        }
    }
}
