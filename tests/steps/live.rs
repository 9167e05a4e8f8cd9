//! What a person sees while steps run and once they have ended, in a terminal of 60 columns.

use super::{screen::Screen, terminal::Terminal};
use crate::{context::TestContext, with};

const COLUMNS: usize = 60;

/// `run pre-commit` in a terminal, with colours.
fn runs(context: &TestContext, environment: &str) -> Option<Terminal> {
    let program = assert_cmd::cargo::cargo_bin!("gitops-hooks").display();
    let line = format!(
        "stty cols {COLUMNS} rows 20; exec env -u CI -u NO_COLOR {environment} {program} run pre-commit --no-cache"
    );
    Terminal::runs(context, &line)
}

fn lines(terminal: &Terminal) -> Vec<String> {
    Screen::of(COLUMNS, terminal.written()).lines()
}

/// The first two words of each line.
fn names(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect()
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

#[test]
fn ctrl_c_leaves_no_live_line_behind() {
    let context = with(
        "hooks:\n  pre-commit:\n    - {name: one, run: echo begun; sleep 300}\n    - {name: two, run: echo begun; sleep 300}\n",
    );
    let Some(mut terminal) = runs(&context, "") else { return };
    terminal.until(|terminal| lines(terminal).iter().filter(|line| line.ends_with("begun")).count() == 2);
    terminal.types("\u{3}");
    assert_ne!(terminal.waits(), Some(0));
    let shown = lines(&terminal);
    let mut ended = names(&shown);
    ended.sort();
    assert_eq!(ended, ["error: stopped", "│ begun", "│ begun", "✗ one", "✗ two"], "{shown:?}");
}
