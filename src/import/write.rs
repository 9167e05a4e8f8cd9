//! A draft as YAML that people read: comments where something is to be known, plain scalars where that is safe, everything
//! else in quotes.

use super::draft::{Condition, Draft, Step};
use std::fmt::Write as _;

/// Where a line of text is folded.
const WIDTH: usize = 110;

/// The text of a configuration.
pub(super) fn write(path: &str, draft: &Draft) -> String {
    let mut out = String::new();
    comment(&mut out, 0, &format!("Made of {path} by `gitops-hooks import`."));
    for note in &draft.notes {
        comment(&mut out, 0, note);
    }
    out.push_str("hooks:\n");
    for hook in draft.hooks.iter().filter(|hook| !hook.steps.is_empty()) {
        for note in &hook.notes {
            comment(&mut out, 2, note);
        }
        line(&mut out, 2, &format!("{}:", hook.name));
        for step in &hook.steps {
            write_step(&mut out, step);
        }
    }
    out
}

fn write_step(out: &mut String, step: &Step) {
    for note in &step.notes {
        comment(out, 4, note);
    }
    line(out, 4, &format!("- name: {}", scalar(&step.name)));
    run(out, &step.run);
    for (key, values) in [("files", &step.files), ("exclude", &step.exclude)] {
        if !values.is_empty() {
            list(out, key, values);
        }
    }
    for (key, value) in [("root", &step.root), ("timeout", &step.timeout), ("fail_text", &step.fail_text)] {
        if !value.is_empty() {
            line(out, 6, &format!("{key}: {}", scalar(value)));
        }
    }
    for (key, values) in [("tags", &step.tags), ("needs", &step.needs)] {
        if !values.is_empty() {
            list(out, key, values);
        }
    }
    if step.priority > 0 {
        line(out, 6, &format!("priority: {}", step.priority));
    }
    if !step.env.is_empty() {
        line(out, 6, "env:");
        for (name, value) in &step.env {
            line(out, 8, &format!("{}: {}", scalar(name), scalar(value)));
        }
    }
    for (key, set) in
        [("fix", step.effects.fix), ("interactive", step.effects.interactive), ("stdin", step.effects.stdin)]
    {
        if set {
            line(out, 6, &format!("{key}: true"));
        }
    }
    condition(out, "only", &step.only);
    condition(out, "skip", &step.skip);
}

fn condition(out: &mut String, key: &str, condition: &Condition) {
    match condition {
        Condition::Unsaid => {}
        Condition::Always => line(out, 6, &format!("{key}: true")),
        Condition::When { branch, state, run } => {
            let mut parts = Vec::new();
            if !branch.is_empty() {
                parts.push(format!("branch: {}", flow(branch)));
            }
            if !state.is_empty() {
                parts.push(format!("state: [{}]", state.join(", ")));
            }
            if !run.is_empty() {
                parts.push(format!("run: {}", scalar(run)));
            }
            if parts.len() == 1 && run.is_empty() {
                line(out, 6, &format!("{key}: {{ {} }}", parts[0]));
            } else {
                line(out, 6, &format!("{key}:"));
                for part in parts {
                    line(out, 8, &part);
                }
            }
        }
    }
}

/// A command: on its line, or as a block where it has several.
fn run(out: &mut String, command: &str) {
    let command = command.trim();
    let block = command.contains('\n') && command.chars().all(|c| c == '\n' || c == '\t' || is_printable(c));
    if block && !command.lines().any(|line| line.ends_with([' ', '\t'])) {
        line(out, 6, "run: |");
        for text in command.lines() {
            line(out, 8, text);
        }
    } else {
        line(out, 6, &format!("run: {}", scalar(command)));
    }
}

fn list(out: &mut String, key: &str, values: &[String]) {
    let flow = flow(values);
    if flow.len() + key.len() < WIDTH {
        line(out, 6, &format!("{key}: {flow}"));
        return;
    }
    line(out, 6, &format!("{key}:"));
    for value in values {
        line(out, 8, &format!("- {}", scalar(value)));
    }
}

fn flow(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| flow_scalar(value)).collect();
    format!("[{}]", values.join(", "))
}

fn line(out: &mut String, indent: usize, text: &str) {
    let indent = if text.is_empty() { 0 } else { indent };
    let _ = writeln!(out, "{:indent$}{text}", "");
}

/// A comment, folded. What it says may be anybody's text: no character of it ends the comment.
fn comment(out: &mut String, indent: usize, text: &str) {
    const LONGEST: usize = 1000;
    let shown: String = text.chars().map(|c| if is_printable(c) { c } else { ' ' }).take(LONGEST).collect();
    let mut row = String::new();
    for word in shown.split_whitespace() {
        if !row.is_empty() && indent + row.chars().count() + word.chars().count() + 3 > WIDTH {
            line(out, indent, &format!("# {row}"));
            row.clear();
        }
        if !row.is_empty() {
            row.push(' ');
        }
        row.push_str(word);
    }
    line(out, indent, &format!("# {row}"));
}

/// What YAML allows in a line and an editor shows as itself.
fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// A scalar on a line of its own: plain where nothing could read it as anything else, else in double quotes.
fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

/// A scalar within brackets, which would take more for their own.
fn flow_scalar(text: &str) -> String {
    if is_plain(text) && !text.contains(['{', '}', '[', ']', ',']) { text.to_owned() } else { quoted(text) }
}

fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || " /.-_=+:$(){}[]<>,;\"'\\~^%&|*?@!#".contains(c);
    let word = |word: &str| matches!(word, "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n");
    text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '.' | '$'))
        && text.chars().all(plain)
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with([' ', ':'])
        && !text.starts_with("..")
        && !word(&text.to_ascii_lowercase())
        && text.parse::<f64>().is_err()
}

/// In double quotes, with everything escaped that is not to be seen.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if is_printable(c) => out.push(c),
            c => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, values::HookName};
    use proptest::prelude::*;

    fn written(step: Step) -> String {
        let mut draft = Draft::default();
        draft.hook(HookName::PreCommit).steps.push(step);
        write("x", &draft)
    }

    proptest! {
        #[test]
        fn whatever_a_text_holds_it_is_read_back_as_it_was(text in "\\PC{0,40}|[ -~\n\t]{1,60}|[\u{0}-\u{ff}]{1,20}", note in ".{0,60}") {
            let text = format!("x{text}x");
            let step = Step {
                name: text.clone(),
                run: text.clone(),
                fail_text: text.clone(),
                tags: vec![text.clone()],
                notes: vec![note],
                env: vec![("KEY".to_owned(), text.clone())],
                skip: Condition::When { branch: Vec::new(), state: vec!["merge"], run: text.clone() },
                ..Step::default()
            };
            let yaml = written(step);
            let config = config::parse("c.yaml", &yaml).map_err(|error| TestCaseError::fail(format!("{error}\n{yaml}")))?;
            let step = &config.hooks[&HookName::PreCommit][0];
            prop_assert_eq!(step.label(), text.as_str());
            prop_assert_eq!(step.run.as_ref().unwrap().written().trim_end(), text.as_str());
            prop_assert_eq!(step.fail_text.as_deref(), Some(text.as_str()));
            prop_assert_eq!(&step.tags, std::slice::from_ref(&text));
            prop_assert_eq!(&step.env["KEY"], &text);
        }
    }

    #[test]
    fn what_people_write_stays_as_they_wrote_it() {
        for plain in ["npx lint-staged && npm test", "ruff check {files}", "/setup.py", "a | b > c", "sh -c 'x: y'x"] {
            assert_eq!(scalar(plain) == plain, !plain.contains(": "), "{plain}");
        }
        for quoted in ["*.py", "yes", "1.5", "a #b", "a: b", "", "- x", "&a", "..", "é"] {
            assert!(scalar(quoted).starts_with('"'), "{quoted}");
        }
        assert_eq!(flow(&["*.{js,ts}".to_owned(), "src/**/*.py".to_owned()]), "[\"*.{js,ts}\", src/**/*.py]");
    }
}
