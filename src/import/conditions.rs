//! lefthook's `skip` and `only` as ours. Of lefthook's `only` any entry is enough, of ours each kind must hold: what cannot be
//! said both ways is left out with a note, and the step then runs too often rather than too seldom.

use super::{
    draft::Condition,
    foreign,
    globs::{self, Dialect},
};
use serde_json::Value;

/// What lefthook's entries say, by kind.
#[derive(Debug, Default)]
struct Entries {
    always: bool,
    branch: Vec<String>,
    state: Vec<&'static str>,
    run: Vec<String>,
}

/// `skip`: any entry is enough, for both.
pub(super) fn skip(value: Option<&Value>, notes: &mut Vec<String>) -> Condition {
    entries("skip", value, notes).condition()
}

/// `only`: any entry is enough for lefthook.
pub(super) fn only(value: Option<&Value>, notes: &mut Vec<String>) -> Condition {
    let entries = entries("only", value, notes);
    let kinds = [!entries.branch.is_empty(), !entries.state.is_empty(), !entries.run.is_empty()]
        .iter()
        .filter(|kind| **kind)
        .count();
    if entries.always || kinds == 0 {
        return Condition::Unsaid;
    }
    if kinds > 1 {
        let written = value.map(ToString::to_string).unwrap_or_default();
        notes.push(format!(
            "left out, as lefthook ran this when any of these held and ours asks for all: only: {written}"
        ));
        return Condition::Unsaid;
    }
    entries.condition()
}

/// Both of two `skip`s: any entry of either is enough.
pub(super) fn either(one: &Condition, other: &Condition) -> Condition {
    match (one, other) {
        (Condition::Unsaid, said) | (said, Condition::Unsaid) => said.clone(),
        (Condition::Always, _) | (_, Condition::Always) => Condition::Always,
        (
            Condition::When { branch, state, run },
            Condition::When { branch: more_branches, state: more_states, run: more_run },
        ) => Condition::When {
            branch: joined(branch, more_branches),
            state: joined(state, more_states),
            run: commands(&[run.clone(), more_run.clone()], "||"),
        },
    }
}

/// Both of two `only`s must hold; `None` where they speak of the same thing differently.
pub(super) fn both(one: &Condition, other: &Condition) -> Option<Condition> {
    match (one, other) {
        (Condition::Unsaid | Condition::Always, said) | (said, Condition::Unsaid | Condition::Always) => {
            Some(said.clone())
        }
        (
            Condition::When { branch, state, run },
            Condition::When { branch: more_branches, state: more_states, run: more_run },
        ) => {
            let clash = |one: bool, other: bool, same: bool| !one && !other && !same;
            if clash(branch.is_empty(), more_branches.is_empty(), branch == more_branches)
                || clash(state.is_empty(), more_states.is_empty(), state == more_states)
            {
                return None;
            }
            Some(Condition::When {
                branch: joined(branch, more_branches),
                state: joined(state, more_states),
                run: commands(&[run.clone(), more_run.clone()], "&&"),
            })
        }
    }
}

impl Entries {
    fn condition(self) -> Condition {
        if self.always {
            return Condition::Always;
        }
        if self.branch.is_empty() && self.state.is_empty() && self.run.is_empty() {
            return Condition::Unsaid;
        }
        Condition::When { branch: self.branch, state: self.state, run: commands(&self.run, "||") }
    }
}

fn entries(key: &str, value: Option<&Value>, notes: &mut Vec<String>) -> Entries {
    let mut found = Entries::default();
    for item in foreign::items(value) {
        let reference = foreign::word(item, "ref");
        let run = foreign::word(item, "run");
        match item.as_str() {
            _ if item.as_bool().is_some() => found.always |= item == &Value::Bool(true),
            Some("merge") => found.state.push("merge"),
            Some("rebase") => found.state.push("rebase"),
            Some("merge-commit") => found.run.push("git rev-parse --quiet --verify HEAD^2 >/dev/null".to_owned()),
            None if !reference.is_empty() => match globs::translate(&[&reference], Dialect::Gobwas) {
                Some(globs) => found.branch.extend(globs),
                None => notes.push(format!("no equal for lefthook's {key}: ref: {reference}")),
            },
            None if !run.is_empty() => found.run.push(run),
            _ => notes.push(format!("no equal for lefthook's {key}: {item}")),
        }
    }
    found
}

fn joined<T: Clone + PartialEq>(one: &[T], other: &[T]) -> Vec<T> {
    let more = other.iter().filter(|item| !one.contains(item));
    one.iter().chain(more).cloned().collect()
}

/// Several commands as one.
fn commands(all: &[String], operator: &str) -> String {
    let all: Vec<&str> = all.iter().map(|command| command.trim()).filter(|command| !command.is_empty()).collect();
    match all.as_slice() {
        [one] => (*one).to_owned(),
        many => {
            let grouped: Vec<String> = many.iter().map(|command| format!("{{ {command}; }}")).collect();
            grouped.join(&format!(" {operator} "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn when(branch: &[&str], state: &[&'static str], run: &str) -> Condition {
        let branch = branch.iter().map(|name| (*name).to_owned()).collect();
        Condition::When { branch, state: state.to_vec(), run: run.to_owned() }
    }

    #[test]
    fn each_form_of_skip_is_read() {
        let mut notes = Vec::new();
        for (written, expected) in [
            (json!(true), Condition::Always),
            (json!(false), Condition::Unsaid),
            (json!("merge"), when(&[], &["merge"], "")),
            (json!(["merge", "rebase"]), when(&[], &["merge", "rebase"], "")),
            (json!({"ref": "main"}), when(&["/main"], &[], "")),
            (json!([{"ref": "dev/*"}, {"run": "a"}, {"run": "b"}]), when(&["dev/*"], &[], "{ a; } || { b; }")),
            (json!("merge-commit"), when(&[], &[], "git rev-parse --quiet --verify HEAD^2 >/dev/null")),
        ] {
            assert_eq!(skip(Some(&written), &mut notes), expected, "{written}");
        }
        assert!(notes.is_empty());
        skip(Some(&json!(["never-heard-of"])), &mut notes);
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn an_only_that_cannot_be_said_is_left_out_with_a_note() {
        let mut notes = Vec::new();
        assert_eq!(only(Some(&json!([{"ref": "main"}, "merge"])), &mut notes), Condition::Unsaid);
        assert_eq!(notes.len(), 1);
        assert_eq!(
            only(Some(&json!([{"ref": "main"}, {"ref": "dev"}])), &mut notes),
            when(&["/main", "/dev"], &[], "")
        );
        assert_eq!(both(&when(&["/a"], &[], ""), &when(&[], &["merge"], "")), Some(when(&["/a"], &["merge"], "")));
        assert_eq!(both(&when(&["/a"], &[], ""), &when(&["/b"], &[], "")), None);
        assert_eq!(either(&when(&["/a"], &[], "x"), &when(&["/b"], &[], "")), when(&["/a", "/b"], &[], "x"));
    }
}
