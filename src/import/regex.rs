//! Regular expressions over paths, as pre-commit and older lefthooks search them, made into patterns of ours where there are
//! equal ones: anchors, choices, `.*`, `[^/]*`, optional parts, single characters of a class. A bare dot is read as a dot,
//! which is what people mean by it. Anything else has no equal, and `ere` writes it for `grep`.

use regex_syntax::{
    ParserBuilder,
    hir::{Class, ClassBytes, ClassBytesRange, Hir, HirKind, Look},
};

/// More choices than this are no pattern that people would want to read.
const MOST: usize = 48;

/// A piece of a choice that holds no other.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(char),
    /// One character of several, as a pattern: `[a-z]`, `?`.
    One(String),
    /// `.*`: anything, folders too.
    Any,
    /// `[^/]*`: anything within a name.
    Within,
    Start,
    End,
}

/// An expression as it is understood, over bytes: of `\d` and its kin only ASCII counts. `None` for what the parser does
/// not know, such as Python's lookarounds.
pub(super) fn parse(expression: &str) -> Option<Hir> {
    let mut parser = ParserBuilder::new().unicode(false).utf8(false).nest_limit(50).build();
    parser.parse(&ends_of_rust(expression.trim())).ok()
}

/// Python's `\Z` is `\z`.
fn ends_of_rust(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len());
    let mut characters = expression.chars();
    while let Some(c) = characters.next() {
        out.push(c);
        if c == '\\' {
            out.extend(characters.next().map(|escaped| if escaped == 'Z' { 'z' } else { escaped }));
        }
    }
    out
}

/// The patterns that match what the expression finds; `None` where there are none that are equal.
pub(super) fn globs(expression: &str) -> Option<Vec<String>> {
    let choices = choices(&parse(expression)?)?;
    let (mut shallow, mut globs) = (Vec::new(), Vec::new());
    for choice in choices {
        let (found, depth) = glob(&choice)?;
        match depth {
            Depth::Whole => globs.extend(found),
            Depth::Shallow => shallow.extend(found.into_iter().flat_map(|glob| [glob.clone(), format!("!{glob}/**")])),
        }
    }
    // One that takes away may stand only where nothing comes before it.
    if shallow.len() > 2 {
        return None;
    }
    let all: Vec<String> = shallow.into_iter().chain(compact(globs)).collect();
    let sound = !all.is_empty() && all.len() <= MOST && crate::values::Globs::new(&all).is_ok();
    sound.then_some(all)
}

/// The ways to match an expression, each a row of pieces.
fn choices(hir: &Hir) -> Option<Vec<Vec<Piece>>> {
    let one = |piece| Some(vec![vec![piece]]);
    match hir.kind() {
        HirKind::Empty => Some(vec![Vec::new()]),
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).ok()?;
            let special = |c: char| matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '!' | '\\') || c.is_control();
            (!text.contains(special)).then(|| vec![text.chars().map(Piece::Literal).collect()])
        }
        HirKind::Look(Look::Start) => one(Piece::Start),
        HirKind::Look(Look::End) => one(Piece::End),
        HirKind::Class(class) => match reach(class)? {
            Reach::All => one(Piece::Literal('.')),
            Reach::Name => one(Piece::One("?".to_owned())),
            Reach::Few(pattern) => one(Piece::One(pattern)),
        },
        HirKind::Repetition(repetition) => match (repetition.min, repetition.max, repetition.sub.kind()) {
            (0 | 1, None, HirKind::Class(class)) => match reach(class)? {
                Reach::All => one(Piece::Any),
                Reach::Name => one(Piece::Within),
                Reach::Few(_) => None,
            },
            (0, Some(1), _) => {
                let mut all = choices(&repetition.sub)?;
                all.push(Vec::new());
                Some(all)
            }
            (least, Some(most), _) if least == most => {
                let times = usize::try_from(least).ok().filter(|times| *times <= MOST)?;
                rows(std::iter::repeat_n(&*repetition.sub, times))
            }
            _ => None,
        },
        HirKind::Look(_) => None,
        HirKind::Capture(capture) => choices(&capture.sub),
        HirKind::Concat(parts) => rows(parts.iter()),
        HirKind::Alternation(parts) => {
            let all: Vec<Vec<Vec<Piece>>> = parts.iter().map(choices).collect::<Option<_>>()?;
            Some(all.concat()).filter(|all| all.len() <= MOST)
        }
    }
}

/// The ways to match one part after the other.
fn rows<'h>(parts: impl Iterator<Item = &'h Hir>) -> Option<Vec<Vec<Piece>>> {
    let mut all: Vec<Vec<Piece>> = vec![Vec::new()];
    for part in parts {
        let tails = choices(part)?;
        if all.len() * tails.len() > MOST {
            return None;
        }
        all = all.iter().flat_map(|head| tails.iter().map(move |tail| [head.as_slice(), tail].concat())).collect();
    }
    Some(all)
}

/// A class as bytes: the parser makes one of characters of `(a|b)`.
pub(super) fn bytes(class: &Class) -> Option<ClassBytes> {
    match class {
        Class::Bytes(class) => Some(class.clone()),
        Class::Unicode(class) => class.to_byte_class(),
    }
}

/// Which characters of a path a class takes.
enum Reach {
    /// All, as `.` does.
    All,
    /// All but the slash.
    Name,
    /// These, as a pattern.
    Few(String),
}

fn reach(class: &Class) -> Option<Reach> {
    let class = &bytes(class)?;
    let printable = |slash: &[ClassBytesRange]| {
        let mut whole = ClassBytes::new([ClassBytesRange::new(b' ', 0xff)]);
        whole.difference(&ClassBytes::new(slash.iter().copied()));
        let mut rest = whole.clone();
        rest.intersect(class);
        rest == whole
    };
    let slash = ClassBytesRange::new(b'/', b'/');
    if printable(&[]) {
        return Some(Reach::All);
    }
    let takes_slash = class.ranges().iter().any(|range| range.start() <= b'/' && b'/' <= range.end());
    if printable(&[slash]) {
        return (!takes_slash).then_some(Reach::Name);
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    let mut pattern = String::from("[");
    let mut dash = "";
    for range in class.ranges() {
        let (first, last) = (range.start(), range.end());
        match (first, last) {
            (b'-', b'-') => dash = "-",
            (b'-', b'.') => (dash, pattern) = ("-", pattern + "."),
            _ if !plain(first) || !plain(last) || (first..=last).any(|byte| !plain(byte)) => return None,
            _ if first == last => pattern.push(char::from(first)),
            _ if first + 1 == last => pattern.extend([char::from(first), char::from(last)]),
            _ => pattern.extend([char::from(first), '-', char::from(last)]),
        }
    }
    Some(Reach::Few(format!("{pattern}{dash}]")))
}

/// Whether what lies below a match is matched too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    Whole,
    Shallow,
}

/// One choice as patterns.
fn glob(choice: &[Piece]) -> Option<(Vec<String>, Depth)> {
    let (start, inner) = match choice.strip_prefix(&[Piece::Start]) {
        Some(rest) => (true, rest),
        None => (false, choice),
    };
    let (end, inner) = match inner.strip_suffix(&[Piece::End]) {
        Some(rest) => (true, rest),
        None => (false, inner),
    };
    if inner.contains(&Piece::Start) || inner.contains(&Piece::End) || (start && end && inner.is_empty()) {
        return None;
    }
    let mut pieces: Vec<Piece> = Vec::new();
    let open = [Piece::Any];
    let whole = open[..usize::from(!start)].iter().chain(inner).chain(&open[..usize::from(!end)]);
    for piece in whole {
        match (pieces.last(), piece) {
            (Some(Piece::Any), Piece::Any | Piece::Within) => {}
            (Some(Piece::Within), Piece::Any) => {
                pieces.pop();
                pieces.push(Piece::Any);
            }
            _ => pieces.push(piece.clone()),
        }
    }
    let depth = if end && pieces.last() == Some(&Piece::Within) { Depth::Shallow } else { Depth::Whole };
    let mut found = vec![String::new()];
    for (at, piece) in pieces.iter().enumerate() {
        let before = if at == 0 { None } else { pieces.get(at - 1) };
        let after = pieces.get(at + 1);
        let texts: &[&str] = match piece {
            Piece::Literal(c) => {
                for text in &mut found {
                    text.push(*c);
                }
                continue;
            }
            Piece::One(pattern) => {
                for text in &mut found {
                    text.push_str(pattern);
                }
                continue;
            }
            Piece::Within => &["*"],
            Piece::Start | Piece::End => return None,
            Piece::Any => any(before, after),
        };
        if found.len() * texts.len() > MOST {
            return None;
        }
        found = found.iter().flat_map(|head| texts.iter().map(move |text| format!("{head}{text}"))).collect();
    }
    Some((found.iter().map(|text| anchored(text)).collect(), depth))
}

/// What `.*` is between its neighbours: whole folders, a part of a name, or both.
fn any(before: Option<&Piece>, after: Option<&Piece>) -> &'static [&'static str] {
    let folder = matches!(before, None | Some(Piece::Literal('/')));
    match (folder, after) {
        (_, Some(Piece::Literal('/'))) => &["*/**"],
        (true, None) => &["**"],
        (true, Some(_)) => &["**/*"],
        // A folder's name matches all that is below it.
        (false, None) => &["*"],
        (false, Some(_)) => &["*", "*/**/*"],
    }
}

/// As short as it can be written: at any depth without `**/`, at the root with a slash ahead.
fn anchored(text: &str) -> String {
    match text.strip_prefix("**/") {
        Some(name) if !name.contains('/') => name.to_owned(),
        _ if text.contains('/') || text == "**" => text.trim_end_matches('/').to_owned(),
        _ => format!("/{text}"),
    }
}

/// `*.js`, `*.ts` as `*.{js,ts}`.
fn compact(globs: Vec<String>) -> Vec<String> {
    let mut out: Vec<(String, Vec<String>)> = Vec::new();
    for glob in globs {
        let split = glob.rsplit_once('.').filter(|(head, tail)| {
            !head.is_empty() && !tail.is_empty() && tail.chars().all(|c| c.is_ascii_alphanumeric())
        });
        match split {
            Some((head, tail)) => match out.last_mut().filter(|(last, tails)| last == head && !tails.is_empty()) {
                Some((_, tails)) if tails.iter().any(|known| known == tail) => {}
                Some((_, tails)) => tails.push(tail.to_owned()),
                None => out.push((head.to_owned(), vec![tail.to_owned()])),
            },
            None if out.iter().any(|(whole, tails)| tails.is_empty() && *whole == glob) => {}
            None => out.push((glob, Vec::new())),
        }
    }
    let written = out.into_iter().map(|(head, tails)| match tails.as_slice() {
        [] => head,
        [one] => format!("{head}.{one}"),
        many => format!("{head}.{{{}}}", many.join(",")),
    });
    written.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Globs;
    use std::path::Path;

    #[test]
    fn what_people_write_has_an_equal() {
        for (expression, expected) in [
            (r"\.py$", "*.py"),
            (r"^setup\.py$", "/setup.py"),
            (r"^docs/conf.py$", "docs/conf.py"),
            (r"^src/", "src/**"),
            (r"^(src|tests)/.*\.(js|ts)$", "src/**/*.{js,ts} tests/**/*.{js,ts}"),
            (r"^src/[^/]+\.rs$", "src/*.rs"),
            (r"^src/[^/]+$", "src/* !src/*/**"),
            (r"\.(html|csv)$", "*.{html,csv}"),
            (r"\.jsx?$", "*.{jsx,js}"),
            (r"fixtures", "*fixtures*"),
            (r"/tests/", "*/**/tests/**"),
            (r"^vendor/.*/lib/", "vendor/*/**/lib/**"),
            (r"(^|/)routes\.rb$", "/routes.rb */**/routes.rb"),
            ("(?x)^(\n  a/.*| # why\n  b\\.txt\n)$", "a/** /b.txt"),
            (r".*", "**"),
            (r"^docs/[a-z0-9_]\.md\Z", "docs/[0-9_a-z].md"),
            (r"(?i)\.py$", "*.[Pp][Yy]"),
            (r"^v\d{2}/[^/]-x$", "v[0-9][0-9]/?-x"),
            (r"^(a|b)\.txt$", "/[ab].txt"),
            (r"^(?:src|test)/", "src/** test/**"),
            (r"^$", ""),
        ] {
            let found = globs(expression).map(|globs| globs.join(" "));
            assert_eq!(found.as_deref(), (!expected.is_empty()).then_some(expected), "{expression}");
        }
    }

    #[test]
    fn what_has_no_equal_is_left_to_its_tool() {
        for expression in [
            r"^(?!examples/)",
            r"\d+\.rst",
            r"^docs/\w+\.md$",
            "[a-z]+",
            "(a",
            "(a)+",
            "x*",
            r"\bx",
            r"(a)\1",
            "(?m)^x$",
            "a{1000}",
            "[a/]",
        ] {
            assert_eq!(globs(expression), None, "{expression}");
        }
        let many = format!("({})({})({})", "aa|bb|cc|dd|ee", "ff|gg|hh|ii|jj", "kk|ll|mm");
        assert_eq!(globs(&many), None);
        assert_eq!(globs(&"(".repeat(10_000)), None);
    }

    /// The paths that the expressions of these tests are searched in.
    const PATHS: &[&str] =
        &["a.py", "src/a.py", "src/deep/a.py", "src/ab/c.js", "tests/src/a.py", "a/b/c", "srcx/a.js", "b.txt"];

    #[test]
    fn the_patterns_find_what_the_expression_finds() {
        let cases: &[(&str, &[&str])] = &[
            (r"^src/.*a.*\.(py|js)$", &["src/a.py", "src/deep/a.py", "src/ab/c.js"]),
            (r"src/", &["src/a.py", "src/deep/a.py", "src/ab/c.js", "tests/src/a.py"]),
            (r"^src", &["src/a.py", "src/deep/a.py", "src/ab/c.js", "srcx/a.js"]),
            (r"^src/[^/]*$", &["src/a.py"]),
            (r"^[^/]+$", &["a.py", "b.txt"]),
            (r"/a\.py$", &["src/a.py", "src/deep/a.py", "tests/src/a.py"]),
        ];
        for (expression, expected) in cases {
            let globs = Globs::new(&globs(expression).unwrap_or_else(|| panic!("{expression}"))).unwrap();
            let found: Vec<&str> = PATHS.iter().copied().filter(|path| globs.matches(Path::new(path))).collect();
            assert_eq!(found, *expected, "{expression}: {:?}", globs.written());
        }
    }
}
