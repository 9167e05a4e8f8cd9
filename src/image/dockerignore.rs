//! `.dockerignore` as Docker reads it (moby/patternmatcher): the last matching line decides, `!` takes a path back, a line that
//! matches a folder matches what lies in it. Its rules differ from `.gitignore`'s: a name without a slash is anchored at the
//! root of the context, and `**` at the beginning before plain text compares only the end of the path.

use super::Error;

/// The rules of one file.
#[derive(Debug, Default)]
pub(super) struct Dockerignore {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    /// Whether a match leaves the path out; `!` takes it back in.
    leaves_out: bool,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// `**` and plain text: the path ends with it.
    Suffix(String),
    Tokens(Vec<Token>),
}

#[derive(Debug, PartialEq)]
enum Token {
    Char(char),
    /// `?`: one character of a name.
    One,
    /// `*`: any characters of a name.
    Any,
    /// `**/`: any folders, or none.
    Folders,
    /// `**` at the end: all that is left.
    Rest,
    /// `[a-z]`, `[^a-z]`.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Dockerignore {
    /// Reads a file; `name` is for messages.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let mut rules = Vec::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            // A comment only without indentation (moby/patternmatcher, `ignorefile.ReadAll`).
            if line.starts_with('#') {
                continue;
            }
            let written = line.trim();
            let (leaves_out, pattern) = match written.strip_prefix('!') {
                Some(rest) => (false, rest.trim()),
                None => (true, written),
            };
            let wrong =
                |reason| Error::Pattern { file: name.to_owned(), line: index + 1, pattern: written.to_owned(), reason };
            if pattern.is_empty() {
                if leaves_out {
                    continue;
                }
                return Err(wrong("`!` needs a path"));
            }
            rules.push(Rule { leaves_out, form: Form::parse(&cleaned(pattern)).map_err(wrong)? });
        }
        Ok(Self { rules })
    }

    /// Whether a path of the context, with `/`, is left out.
    pub(super) fn leaves_out(&self, path: &str) -> bool {
        let mut out = false;
        for rule in &self.rules {
            if rule.leaves_out != out && rule.form.matches_with_parents(path) {
                out = rule.leaves_out;
            }
        }
        out
    }
}

/// Go's `filepath.Clean`, and no leading slash: `./a//b/../c/` is `a/c`.
fn cleaned(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            // Above the root there is nothing.
            ".." if pattern.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

impl Form {
    fn parse(pattern: &str) -> Result<Self, &'static str> {
        let tokens = tokens(pattern)?;
        let plain_after_folders = matches!(tokens.first(), Some(Token::Folders | Token::Rest))
            && tokens[1..].iter().all(|token| matches!(token, Token::Char(_)))
            && !pattern.contains('\\');
        Ok(match pattern.strip_prefix("**") {
            Some(suffix) if plain_after_folders => Self::Suffix(suffix.to_owned()),
            _ => Self::Tokens(tokens),
        })
    }

    fn matches_with_parents(&self, path: &str) -> bool {
        self.matches(path) || path.match_indices('/').any(|(end, _)| self.matches(&path[..end]))
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Suffix(suffix) => {
                path.ends_with(suffix.as_str()) || suffix.strip_prefix('/').is_some_and(|name| name == path)
            }
            Self::Tokens(tokens) => {
                let path: Vec<char> = path.chars().collect();
                matches_from(tokens, &path)
            }
        }
    }
}

fn tokens(pattern: &str) -> Result<Vec<Token>, &'static str> {
    let mut chars = pattern.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        let token = match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_none() { Token::Rest } else { Token::Folders }
            }
            '*' => Token::Any,
            '?' => Token::One,
            '[' => class(&mut chars)?,
            '\\' => Token::Char(chars.next().ok_or("it ends with a backslash")?),
            c => Token::Char(c),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, &'static str> {
    const OPEN: &str = "`[` is never closed";
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let mut next = || match chars.next() {
            Some('\\') => chars.next().ok_or(OPEN).map(|c| (c, true)),
            Some(c) => Ok((c, false)),
            None => Err(OPEN),
        };
        let (low, escaped) = next()?;
        if low == ']' && !escaped {
            return if ranges.is_empty() { Err("`[]` is empty") } else { Ok(Token::Class { negated, ranges }) };
        }
        let high = if chars.next_if_eq(&'-').is_some() {
            match chars.next() {
                Some('\\') => chars.next().ok_or(OPEN)?,
                Some(']') | None => return Err("a range in `[]` has no end"),
                Some(c) => c,
            }
        } else {
            low
        };
        ranges.push((low, high));
    }
}

/// Backtracks only over `*` and `**`, of which a line has few.
fn matches_from(tokens: &[Token], path: &[char]) -> bool {
    let Some((token, rest)) = tokens.split_first() else { return path.is_empty() };
    match token {
        Token::Rest if rest.is_empty() => true,
        Token::Rest => (0..=path.len()).any(|skipped| matches_from(rest, &path[skipped..])),
        Token::Folders => {
            let after_slash = path.iter().enumerate().filter(|(_, c)| **c == '/').map(|(at, _)| at + 1);
            std::iter::once(0).chain(after_slash).any(|start| matches_from(rest, &path[start..]))
        }
        Token::Any => {
            let name = path.iter().take_while(|c| **c != '/').count();
            (0..=name).any(|skipped| matches_from(rest, &path[skipped..]))
        }
        single => path.split_first().is_some_and(|(c, left)| single.takes(*c) && matches_from(rest, left)),
    }
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Char(expected) => *expected == c,
            Self::One => c != '/',
            Self::Class { negated, ranges } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
            Self::Any | Self::Folders | Self::Rest => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(lines: &[&str], path: &str) -> bool {
        Dockerignore::parse(".dockerignore", &lines.join("\n")).unwrap().leaves_out(path)
    }

    /// The behaviours of moby/patternmatcher's own test table.
    #[test]
    fn a_line_matches_as_in_docker() {
        let table = [
            ("**", "dir/file", true),
            ("**/", "file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("**/dir", "dir/file", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir3/file", true),
            ("**file", "dir/dir/file", true),
            ("**file", "dir/profile", true),
            ("**/file", "dir/profile", false),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/**/*.txt", "file.txt", true),
            ("**/**/*.txt2", "dir/dir/file.txt", false),
            ("a**/*.txt", "a/dir/dir/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a/*.txt**", "a/file.txt", true),
            ("a[b-d]e", "ae", false),
            ("a[b-d]e", "ace", true),
            ("a[^b-d]e", "aze", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcZdef", false),
            ("abc?def", "abcdef", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("abc/**", "abc", false),
            ("**/.foo", "bar.foo", false),
            ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
            ("foo", "sub/foo", false),
            ("foo", "foo/deep/file", true),
            ("/foo/", "foo/file", true),
            ("./foo//bar/../baz", "foo/baz", true),
            ("# foo", "foo", false),
            ("  *.md  ", "a.md", true),
            ("*", "a/b", true),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(out(&[pattern], path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn the_last_matching_line_decides() {
        assert!(!out(&["**", "!util/docker/web"], "util/docker/web/foo"));
        assert!(out(&["**", "!util/docker/web", "util/docker/web/foo"], "util/docker/web/foo"));
        assert!(!out(&["*.md", "!README*.md"], "README.md"));
        assert!(out(&["*.md", "!README*.md", "README-secret.md"], "README-secret.md"));
        assert!(out(&["!a", "a"], "a"));
        assert!(out(&["**/b", "!b/b"], "b/a") && !out(&["**/b", "!b/b"], "b/b"));
        assert!(out(&["**/b", "!a/c/b/d"], "a/c/b/a") && !out(&["**/b", "!a/c/b/d"], "a/c/b/d"));
    }

    #[test]
    fn a_line_that_is_no_pattern_is_named() {
        let told = Dockerignore::parse("app/.dockerignore", "ok\n[a-\n").unwrap_err().to_string();
        assert_eq!(told, "app/.dockerignore:2: \"[a-\" is no pattern: a range in `[]` has no end");
        assert!(Dockerignore::parse(".dockerignore", "!").is_err());
    }
}
