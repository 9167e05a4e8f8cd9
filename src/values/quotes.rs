/// Where in a shell script a character stands, as far as quotes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within {
    /// Neither in quotes nor in a comment.
    Nothing,
    /// `'…'`
    Single,
    /// `"…"`
    Double,
    /// From `#` to the end of the line.
    Comment,
}

/// A walk through a shell script that knows its quotes. It reads no more of the shell than that: here-documents and
/// `$(…)` are text like any other.
#[derive(Debug, Clone)]
pub struct Quotes<'s> {
    rest: &'s str,
    within: Within,
    before: Option<char>,
}

impl<'s> Quotes<'s> {
    /// A walk that stands before the first character.
    #[must_use]
    pub const fn new(script: &'s str) -> Self {
        Self { rest: script, within: Within::Nothing, before: None }
    }

    /// What lies ahead.
    #[must_use]
    pub const fn rest(&self) -> &'s str {
        self.rest
    }

    /// Where the next character stands; an opening quote still stands outside.
    #[must_use]
    pub const fn within(&self) -> Within {
        self.within
    }

    /// The character that was passed last.
    #[must_use]
    pub const fn before(&self) -> Option<char> {
        self.before
    }

    /// Passes bytes that are none of the shell's, such as a placeholder.
    pub fn pass(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes);
        self.before = passed.chars().next_back().or(self.before);
        self.rest = rest;
    }
}

impl<'s> Iterator for Quotes<'s> {
    type Item = &'s str;

    /// The next character, with the one that it escapes.
    fn next(&mut self) -> Option<&'s str> {
        let first = self.rest.chars().next()?;
        let mut length = first.len_utf8();
        self.within = match (self.within, first) {
            (within @ (Within::Nothing | Within::Double), '\\') => {
                length += self.rest[length..].chars().next().map_or(0, char::len_utf8);
                within
            }
            (Within::Nothing, '\'') => Within::Single,
            (Within::Nothing, '"') => Within::Double,
            (Within::Nothing, '#') if self.before.is_none_or(|c| c.is_whitespace() || c == ';') => Within::Comment,
            (Within::Single, '\'') | (Within::Double, '"') | (Within::Comment, '\n') => Within::Nothing,
            (within, _) => within,
        };
        let passed = &self.rest[..length];
        self.pass(length);
        Some(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_escapes_and_comments_are_the_shells() {
        let mut quotes = Quotes::new("a\\' 'b\\' \"c\\\"\" x#y # it's\nd");
        let mut seen = String::new();
        loop {
            let within = quotes.within();
            let Some(passed) = quotes.next() else { break };
            let mark = match within {
                Within::Nothing => ".",
                Within::Single => "S",
                Within::Double => "D",
                Within::Comment => "#",
            };
            seen.push_str(&mark.repeat(passed.len()));
        }
        assert_eq!(seen, ".....SSS..DDDD......######.");
    }
}
