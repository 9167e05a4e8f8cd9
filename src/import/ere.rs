//! Expressions that no pattern of ours equals, written for `grep -E`, which every system has: a step then chooses its files
//! in the shell.

use super::regex;
use regex_syntax::hir::{ClassBytes, Hir, HirKind, Look};
use std::fmt::Write as _;

/// POSIX promises no more repetitions (`RE_DUP_MAX`).
const MOST_TIMES: u32 = 255;

/// The same as POSIX's extended regular expression; `None` for what that cannot say, such as `\b`.
pub(super) fn extended(expression: &str) -> Option<String> {
    let mut out = String::new();
    write(&mut out, &regex::parse(expression)?)?;
    (out.len() < 2000).then_some(out)
}

fn write(out: &mut String, hir: &Hir) -> Option<()> {
    match hir.kind() {
        HirKind::Empty => {}
        HirKind::Literal(literal) => {
            for c in std::str::from_utf8(&literal.0).ok()?.chars() {
                if c.is_control() {
                    return None;
                }
                if ".[]{}()*+?^$|\\".contains(c) {
                    out.push('\\');
                }
                out.push(c);
            }
        }
        HirKind::Class(class) => out.push_str(&bracket(&regex::bytes(class)?)?),
        HirKind::Look(Look::Start) => out.push('^'),
        HirKind::Look(Look::End) => out.push('$'),
        HirKind::Look(_) => return None,
        HirKind::Repetition(repetition) => {
            group(out, &[&*repetition.sub])?;
            match (repetition.min, repetition.max) {
                (least, most) if least.max(most.unwrap_or_default()) > MOST_TIMES => return None,
                (0, None) => out.push('*'),
                (1, None) => out.push('+'),
                (0, Some(1)) => out.push('?'),
                (least, None) => write!(out, "{{{least},}}").ok()?,
                (least, Some(most)) => write!(out, "{{{least},{most}}}").ok()?,
            }
        }
        HirKind::Capture(capture) => group(out, &[&*capture.sub])?,
        HirKind::Concat(parts) => {
            for part in parts {
                // A choice within a row needs its own brackets.
                if matches!(part.kind(), HirKind::Alternation(_)) { group(out, &[part])? } else { write(out, part)? }
            }
        }
        HirKind::Alternation(parts) => group(out, &parts.iter().collect::<Vec<_>>())?,
    }
    Some(())
}

/// `(a|b)`; nothing in brackets may be empty, which POSIX leaves undefined.
fn group(out: &mut String, parts: &[&Hir]) -> Option<()> {
    if let [part] = parts
        && matches!(part.kind(), HirKind::Class(_) | HirKind::Capture(_) | HirKind::Alternation(_))
    {
        return write(out, part);
    }
    out.push('(');
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            out.push('|');
        }
        let before = out.len();
        write(out, part)?;
        if out.len() == before {
            return None;
        }
    }
    out.push(')');
    Some(())
}

/// `[a-z]` or `[^/]`, in the C locale.
fn bracket(class: &ClassBytes) -> Option<String> {
    let mut rest = class.clone();
    rest.negate();
    let newline =
        |class: &ClassBytes| class.ranges().iter().all(|range| (range.start(), range.end()) == (b'\n', b'\n'));
    if newline(&rest) {
        return Some(".".to_owned());
    }
    match members(class) {
        Some(members) => Some(format!("[{members}]")),
        None => members(&rest).map(|members| format!("[^{members}]")),
    }
}

/// The inside of a bracket expression; a line never holds the newline.
fn members(class: &ClassBytes) -> Option<String> {
    let (mut first, mut out, mut last) = (String::new(), String::new(), String::new());
    for range in class.ranges() {
        match (range.start(), range.end()) {
            (b'\n', b'\n') => {}
            (b']', b']') => first.push(']'),
            (b'-', b'-') => last.insert(0, '-'),
            (b'^', b'^') => last.push('^'),
            (from, to) if from == to && (b' '..=b'~').contains(&from) && !b"[\\".contains(&from) => {
                out.push(char::from(from));
            }
            (from, to) if from.is_ascii_alphanumeric() && to.is_ascii_alphanumeric() => {
                out.extend([char::from(from), '-', char::from(to)]);
            }
            // `\s`.
            (b'\t', b'\r') => out.push_str("[:space:]"),
            _ => return None,
        }
    }
    let whole = format!("{first}{out}{last}");
    // `^` alone would say the opposite.
    (!whole.is_empty() && !whole.starts_with('^')).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write as _, process::Stdio};

    const PATHS: &[&str] =
        &["a.py", "src/a.py", "src/deep/a-1.py", "docs/x_1.md", "docs/x y.md", "12.rst", "a[1].txt", "^x", "AB.Txt"];

    fn grepped(expression: &str) -> Vec<String> {
        let mut grep = std::process::Command::new("grep");
        grep.args(["-E", "-e", expression]).env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = grep.spawn().unwrap();
        child.stdin.take().unwrap().write_all(PATHS.join("\n").as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.code() < Some(2), "grep refuses {expression}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn grep_finds_what_the_expression_finds() {
        let cases: &[(&str, &[&str])] = &[
            (r"^docs/\w+\.md$", &["docs/x_1.md"]),
            (r"^\d+\.rst$", &["12.rst"]),
            (r"(?i)^[a-c]+\.(txt|md)", &["AB.Txt"]),
            (
                r"^(src|docs)/(.*/)?[a-z]([-_ ][0-9y])?\.(py|md)$",
                &["src/a.py", "src/deep/a-1.py", "docs/x_1.md", "docs/x y.md"],
            ),
            (r"\[\d\]", &["a[1].txt"]),
            (r"^\^", &["^x"]),
            (r"^[^/]+\.py$", &["a.py"]),
            (r"^.{4}$", &["a.py"]),
            (r"x\sy|^$", &["docs/x y.md"]),
        ];
        for (expression, expected) in cases {
            let written = extended(expression).unwrap_or_else(|| panic!("{expression}"));
            assert_eq!(grepped(&written), *expected, "{expression} as {written}");
        }
    }

    #[test]
    fn what_grep_cannot_say_is_not_written() {
        for expression in [r"\bx", r"^(?!a)", "(a|)b", "a{9999}{9999}", "\u{7}"] {
            assert_eq!(extended(expression), None, "{expression}");
        }
    }
}
