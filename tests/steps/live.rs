//! What a person sees while steps run and once they have ended, in a terminal of 60 columns.

use super::{screen::Screen, terminal::Terminal};
use crate::{context::TestContext, with};

const COLUMNS: usize = 60;

/// `run pre-commit` in a terminal, with colours.
fn runs(context: &TestContext, environment: &str) -> Option<Terminal> {
    let program = assert_cmd::cargo::cargo_bin!("gitops-hooks").display();
    let line = format!("stty cols {COLUMNS} rows 20; exec env -u CI -u NO_COLOR {environment} {program} run pre-commit");
    Terminal::runs(context, &line)
}

fn lines(terminal: &Terminal) -> Vec<String> {
    Screen::of(COLUMNS, terminal.written()).lines()
}

/// Each line up to the time that it tells.
fn names(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn what_drives_the_terminal_in_a_steps_output_does_not_reach_it() {
    let context = with(
        "hooks:\n  pre-commit:\n    - {name: first, run: 'true'}\n    - name: last\n      needs: [first]\n      run: printf '50%%\\r\\033[31mred\\033[0m\\033[2J\\033[H\\033]0;title\\007\\n'; exit 1\n",
    );
    let Some(mut terminal) = runs(&context, "") else { return };
    assert_eq!(terminal.waits(), Some(1));
    let shown = lines(&terminal);
    assert_eq!(names(&shown)[..2], ["✓ first", "✗ last"], "{shown:?}");
    assert_eq!(shown[2], "  │ red", "{shown:?}");
    assert!(terminal.shown().contains("\u{1b}[31mred\u{1b}[0m"), "{}", terminal.shown());
}
