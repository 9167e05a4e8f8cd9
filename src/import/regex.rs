//! Regular expressions over paths, as pre-commit and older lefthooks search them, made into patterns of ours where there are
//! equal ones. What is read: anchors, choices, `.*`, `.+`, `[^/]*`, optional parts, escapes and `(?x)`; a bare dot is read as a
//! dot, which is what people mean by it. Anything else has no equal, and the caller keeps the expression.

/// More choices than this are no pattern that people would want to read.
const MOST: usize = 48;

/// A piece of a choice that holds no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Literal(char),
    /// `.*`: anything, folders too.
    Any,
    /// `[^/]*`: anything within a name.
    Within,
    Start,
    End,
}

/// The patterns that match what the expression finds; `None` where there are none that are equal.
pub(super) fn globs(expression: &str) -> Option<Vec<String>> {
    let text = match expression.trim_start().strip_prefix("(?x)") {
        Some(verbose) => without_space(verbose),
        None => expression.trim().to_owned(),
    };
    let characters: Vec<char> = text.chars().collect();
    let mut parser = Parser { characters: &characters, at: 0 };
    let choices = parser.choices(0)?;
    if parser.at < characters.len() {
        return None;
    }
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
    let sound = all.len() <= MOST && crate::values::Globs::new(&all).is_ok();
    sound.then_some(all)
}

/// `(?x)`: space and comments mean nothing unless they are escaped.
fn without_space(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => {
                out.push(c);
                out.extend(characters.next());
            }
            '#' => {
                characters.by_ref().find(|c| *c == '\n');
            }
            c if c.is_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

struct Parser<'t> {
    characters: &'t [char],
    at: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let found = self.characters.get(self.at).copied();
        self.at += usize::from(found.is_some());
        found
    }

    fn takes(&mut self, text: &str) -> bool {
        let wanted: Vec<char> = text.chars().collect();
        let found = self.characters[self.at..].starts_with(&wanted);
        self.at += if found { wanted.len() } else { 0 };
        found
    }

    /// `a|b`, up to the end or a closing bracket.
    fn choices(&mut self, depth: usize) -> Option<Vec<Vec<Piece>>> {
        if depth > 8 {
            return None;
        }
        let mut all = Vec::new();
        loop {
            all.extend(self.sequence(depth)?);
            if all.len() > MOST {
                return None;
            }
            if !self.takes("|") {
                return Some(all);
            }
        }
    }

    fn sequence(&mut self, depth: usize) -> Option<Vec<Vec<Piece>>> {
        let mut all: Vec<Vec<Piece>> = vec![Vec::new()];
        while !matches!(self.characters.get(self.at), None | Some('|' | ')')) {
            let mut part = self.atom(depth)?;
            if self.takes("?") {
                part.push(Vec::new());
            } else if matches!(self.characters.get(self.at), Some('*' | '+' | '{')) {
                return None;
            }
            if all.len() * part.len() > MOST {
                return None;
            }
            all = all.iter().flat_map(|head| part.iter().map(|tail| [head.as_slice(), tail].concat())).collect();
        }
        Some(all)
    }

    fn atom(&mut self, depth: usize) -> Option<Vec<Vec<Piece>>> {
        for (text, piece) in
            [(".*", Piece::Any), (".+", Piece::Any), ("[^/]*", Piece::Within), ("[^/]+", Piece::Within)]
        {
            if self.takes(text) {
                // A lazy `.*?` finds the same paths.
                self.takes("?");
                return Some(vec![vec![piece]]);
            }
        }
        let piece = match self.next()? {
            '(' => {
                if self.takes("?") && !self.takes(":") {
                    return None;
                }
                let choices = self.choices(depth + 1)?;
                return self.takes(")").then_some(choices);
            }
            '^' => Piece::Start,
            '$' => Piece::End,
            '.' => Piece::Literal('.'),
            '\\' => match self.next()? {
                'Z' | 'z' => Piece::End,
                'A' => Piece::Start,
                c if c.is_ascii_alphanumeric() => return None,
                c => Piece::Literal(c),
            },
            '[' => {
                // `[.]` is how some escape a dot; a real class has no equal.
                let (c, end) = (self.next()?, self.next()?);
                if end != ']' || c == '^' {
                    return None;
                }
                Piece::Literal(c)
            }
            c => Piece::Literal(c),
        };
        let literal = |c| !matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '!' | '\\') && !char::is_control(c);
        match piece {
            Piece::Literal(c) if !literal(c) => None,
            piece => Some(vec![vec![piece]]),
        }
    }
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
            _ => pieces.push(*piece),
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
            (r"^$", ""),
        ] {
            let found = globs(expression).map(|globs| globs.join(" "));
            assert_eq!(found.as_deref(), (!expected.is_empty()).then_some(expected), "{expression}");
        }
    }

    #[test]
    fn what_has_no_equal_is_left_to_its_tool() {
        for expression in
            [r"^(?!examples/)", r"\d+\.rst", r"^docs/\w+\.md$", "[a-z]+", "(a", "a{2}", "(a)+", "(?i)x", "x*"]
        {
            assert_eq!(globs(expression), None, "{expression}");
        }
        let many = format!("({})({})({})", "a|b|c|d|e", "f|g|h|i|j", "k|l|m");
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
