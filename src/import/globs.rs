//! Patterns of other tools as ours, which are read as in `.gitignore`: without a slash they match at any depth, a folder's
//! name matches all below it, `*` stays within a folder.

/// How a tool reads its patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// lefthook's default: `*` crosses folders, and a pattern is the whole path.
    Gobwas,
    /// lefthook's other one, and prek's: a pattern is the whole path.
    WholePath,
    /// lint-staged's micromatch: a pattern without a slash is a file's name.
    Micromatch,
}

/// Longer lists are no pattern that people write.
const MOST: usize = 64;

/// The same patterns as ours; `None` where one has no equal.
pub(super) fn translate<S: AsRef<str>>(patterns: &[S], dialect: Dialect) -> Option<Vec<String>> {
    let (mut shallow, mut ours) = (Vec::new(), Vec::new());
    let written = patterns.iter().flat_map(|pattern| without_empty(pattern.as_ref()));
    for pattern in written {
        let found = one(&pattern, dialect)?;
        if found.len() == 2 && found[1].starts_with('!') { shallow.push(found) } else { ours.extend(found) }
    }
    // The last that matches decides: what takes away stands before all that it must not take from.
    shallow.sort_by_key(|pair| pair[0].matches('/').count());
    let ours: Vec<String> = shallow.into_iter().flatten().chain(ours).collect();
    let sound = ours.len() <= MOST && crate::values::Globs::new(&ours).is_ok();
    sound.then_some(ours)
}

/// `a{,.b}` as `a` and `a.b`: ours have no empty choice.
fn without_empty(pattern: &str) -> Vec<String> {
    let whole = || vec![pattern.to_owned()];
    let Some((head, (inner, tail))) =
        pattern.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?)))
    else {
        return whole();
    };
    let choices: Vec<&str> = inner.split(',').collect();
    if inner.contains('{') || !choices.contains(&"") || choices.len() > MOST {
        return whole();
    }
    choices.iter().map(|choice| format!("{head}{choice}{tail}")).collect()
}

/// Adds patterns to a list, where that changes nothing of what each of them means; `None` where it would.
pub(super) fn add(list: &mut Vec<String>, more: Vec<String>) -> Option<()> {
    let takes_away = more.iter().any(|pattern| pattern.starts_with('!'));
    (list.is_empty() || !takes_away).then(|| list.extend(more))
}

fn one(pattern: &str, dialect: Dialect) -> Option<Vec<String>> {
    let pattern = pattern.trim();
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    let is_all_but = dialect == Dialect::Micromatch && pattern.starts_with("!(");
    if pattern.is_empty() || (pattern.starts_with('!') && !is_all_but) || pattern.contains("..") {
        return None;
    }
    match dialect {
        Dialect::Gobwas => gobwas(pattern),
        Dialect::WholePath => Some(exact(&rooted(pattern))),
        Dialect::Micromatch => all_but(pattern).or_else(|| without_extglob(pattern).map(|pattern| exact(&pattern))),
    }
}

/// `src/!(a|b).js` as `src/*.js` without `src/a.js` and `src/b.js`.
fn all_but(pattern: &str) -> Option<Vec<String>> {
    let begins = pattern.rfind('/').map_or(0, |slash| slash + 1);
    let (folder, name) = pattern.split_at(begins);
    let (left_out, tail) = name.strip_prefix("!(")?.split_once(')')?;
    if folder.contains('(') || left_out.contains('(') || tail.contains(['(', '*', '?']) {
        return None;
    }
    let mut found = exact(&format!("{folder}*{tail}"));
    found.extend(left_out.split('|').map(|choice| format!("!{folder}{choice}{tail}")));
    Some(found)
}

/// A pattern without a slash is anchored where the other tool reads it as a whole path.
fn rooted(pattern: &str) -> String {
    if pattern.contains('/') { pattern.to_owned() } else { format!("/{pattern}") }
}

/// `src/*` means what is right below; ours would take in what is below that.
fn exact(pattern: &str) -> Vec<String> {
    match pattern.strip_suffix("/*") {
        Some(folder) if !folder.is_empty() && !folder.ends_with("**") => {
            vec![pattern.to_owned(), format!("!{pattern}/**")]
        }
        _ => vec![pattern.to_owned()],
    }
}

/// `@(a|b)` and `+(a|b)` as `{a,b}`; other extended patterns have no equal.
fn without_extglob(pattern: &str) -> Option<String> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(open) = rest.find('(') {
        let kind = rest[..open].chars().next_back()?;
        let close = rest.find(')').filter(|close| *close > open)?;
        let inner = &rest[open + 1..close];
        if !matches!(kind, '@' | '+') || inner.contains(['(', '*', '?', '{', ',']) {
            return None;
        }
        out.push_str(&rest[..open - 1]);
        out.push('{');
        out.push_str(&inner.replace('|', ","));
        out.push('}');
        rest = &rest[close + 1..];
    }
    out.push_str(rest);
    Some(out)
}

/// gobwas without separators: every `*` crosses folders, and nothing is anchored but by what is written.
fn gobwas(pattern: &str) -> Option<Vec<String>> {
    if let Some(parts) = spread(pattern) {
        let mut all = Vec::new();
        for part in parts {
            all.extend(gobwas(&part)?);
        }
        return Some(all);
    }
    let Some((folder, last)) = pattern.rsplit_once('/') else {
        return Some(vec![if pattern.starts_with('*') { collapsed(pattern) } else { format!("/{pattern}") }]);
    };
    // People mean the root too where they write `**/`, and most tools agree with them.
    let folder = folder.trim_end_matches("/**");
    if folder == "**" {
        return Some(vec![collapsed(last)]);
    }
    let crossing = |part: &str| part.contains('*') && part != "**";
    if folder.split('/').any(crossing) {
        return None;
    }
    let last = collapsed(last);
    Some(match last.find('*') {
        None => vec![pattern.to_owned()],
        // What a folder's name matches, all below it is matched by too.
        Some(at) if at + 1 == last.len() => vec![format!("{folder}/{last}")],
        Some(0) => vec![format!("{folder}/**/{last}")],
        Some(at) => vec![format!("{folder}/{last}"), format!("{folder}/{}/**/{}", &last[..=at], &last[at..])],
    })
}

/// `**` within a name is `*`.
fn collapsed(part: &str) -> String {
    let mut part = part.to_owned();
    while part.contains("**") {
        part = part.replace("**", "*");
    }
    part
}

/// `{a/b,*.c}` as its choices, where they are anchored differently or hold slashes.
fn spread(pattern: &str) -> Option<Vec<String>> {
    let inner = pattern.strip_prefix('{')?.strip_suffix('}')?;
    if inner.contains(['{', '}']) {
        return None;
    }
    let parts: Vec<&str> = inner.split(',').collect();
    let starred = parts.iter().filter(|part| part.starts_with('*')).count();
    let alike = !inner.contains('/') && (starred == 0 || starred == parts.len());
    (!alike).then(|| parts.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Globs;
    use std::path::Path;

    fn ours(pattern: &str, dialect: Dialect) -> Option<Vec<String>> {
        translate(&[pattern], dialect)
    }

    fn agrees(pattern: &str, dialect: Dialect, cases: &[(&str, bool)]) {
        let globs = Globs::new(&ours(pattern, dialect).unwrap()).unwrap();
        for (path, expected) in cases {
            assert_eq!(globs.matches(Path::new(path)), *expected, "{pattern} on {path}: {:?}", globs.written());
        }
    }

    #[test]
    fn a_star_of_lefthooks_crosses_folders() {
        agrees("*.js", Dialect::Gobwas, &[("a.js", true), ("x/a.js", true), ("a.ts", false)]);
        agrees("src/*.js", Dialect::Gobwas, &[("src/a.js", true), ("src/x/y/a.js", true), ("x/src/a.js", false)]);
        agrees("src/a*.js", Dialect::Gobwas, &[("src/ab.js", true), ("src/ab/c.js", true), ("src/b.js", false)]);
        agrees("src/**/*.js", Dialect::Gobwas, &[("src/a.js", true), ("src/x/a.js", true), ("a.js", false)]);
        agrees("src/*", Dialect::Gobwas, &[("src/a", true), ("src/x/a", true), ("a", false)]);
        agrees("package.json", Dialect::Gobwas, &[("package.json", true), ("x/package.json", false)]);
        agrees(
            "{Gemfile,*.gemspec}",
            Dialect::Gobwas,
            &[("Gemfile", true), ("x/Gemfile", false), ("x/a.gemspec", true)],
        );
        agrees("{a,b}.json", Dialect::Gobwas, &[("a.json", true), ("x/b.json", false)]);
        agrees("*.scss{,.css}", Dialect::Gobwas, &[("a.scss", true), ("x/a.scss.css", true), ("a.css", false)]);
        assert_eq!(ours("**/*.{js,ts}", Dialect::Gobwas), Some(vec!["*.{js,ts}".to_owned()]));
        assert_eq!(ours("a*/b/*.js", Dialect::Gobwas), None);
    }

    #[test]
    fn a_whole_path_is_anchored() {
        agrees("*.js", Dialect::WholePath, &[("a.js", true), ("x/a.js", false)]);
        agrees("**/*.js", Dialect::WholePath, &[("a.js", true), ("x/a.js", true)]);
        agrees("src/*", Dialect::WholePath, &[("src/a", true), ("src/x/a", false)]);
    }

    #[test]
    fn lint_staged_reads_names_at_any_depth() {
        agrees("*.js", Dialect::Micromatch, &[("a.js", true), ("x/a.js", true)]);
        agrees("./src/*.js", Dialect::Micromatch, &[("src/a.js", true), ("src/x/a.js", false)]);
        agrees("*.@(ts|tsx)", Dialect::Micromatch, &[("x/a.tsx", true), ("a.js", false)]);
        agrees("src/*", Dialect::Micromatch, &[("src/a", true), ("src/x/a", false)]);
        agrees(
            "!(*test).js",
            Dialect::Micromatch,
            &[("a.js", true), ("x/a.js", true), ("x/atest.js", false), ("a.ts", false)],
        );
        agrees(
            "src/!(a|b)",
            Dialect::Micromatch,
            &[("src/c", true), ("src/a", false), ("src/b", false), ("src/c/d", false)],
        );
        agrees(
            "docs/**/!(*.svg)",
            Dialect::Micromatch,
            &[("docs/a", true), ("docs/x/a", true), ("docs/x/a.svg", false)],
        );
        assert_eq!(ours("!(a)*.js", Dialect::Micromatch), None);
        assert_eq!(ours("!*.js", Dialect::Micromatch), None);
    }
}
