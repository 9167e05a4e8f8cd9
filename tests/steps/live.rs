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

#[test]
fn a_live_line_never_needs_two_and_only_the_results_stay() {
    let go = "until test -e ../go; do sleep 0.05; done";
    let context = with(&format!(
        "hooks:\n  pre-commit:\n    - {{name: one, run: \"printf '%0200d' 7; {go}\"}}\n    - {{name: two, run: \"printf 'é%0200d' 7; {go}\"}}\n"
    ));
    let Some(mut terminal) = runs(&context, "") else { return };
    let are_live = |shown: &[String]| {
        let mut names: Vec<_> = shown.iter().filter_map(|line| line.split(' ').nth(1)).collect();
        names.sort_unstable();
        names == ["one", "two"] && shown.iter().all(|line| line.contains("000"))
    };
    terminal.until(|terminal| are_live(&lines(terminal)));
    std::fs::write(context.beside("go"), "").unwrap();
    assert_eq!(terminal.waits(), Some(0));
    let mut ended = names(&lines(&terminal));
    ended.sort();
    assert_eq!(ended, ["✓ one", "✓ two"], "{:?}", lines(&terminal));
}

#[test]
fn colours_are_for_a_terminal_and_for_those_who_want_them() {
    let context = with("hooks:\n  pre-commit:\n    - {name: good, run: 'true'}\n");
    let green = "\u{1b}[32m✓";
    for (environment, has_colours) in [("", true), ("NO_COLOR=1", false), ("TERM=dumb", false)] {
        let Some(mut terminal) = runs(&context, environment) else { return };
        assert_eq!(terminal.waits(), Some(0));
        let shown = terminal.shown();
        assert_eq!(shown.contains(green), has_colours, "{environment}: {shown:?}");
        assert!(has_colours || shown.contains("✓ good"), "{environment}: {shown:?}");
    }
    let mut command = context.command(assert_cmd::cargo::cargo_bin!("gitops-hooks"));
    let piped =
        TestContext::run(command.args(["run", "pre-commit", "--no-cache"]).env_remove("NO_COLOR").env("TERM", "xterm"));
    assert!(piped.stderr.starts_with("✓ good") && !piped.stderr.contains('\u{1b}'), "{:?}", piped.stderr);
}

#[test]
fn the_output_of_what_passed_is_shown_to_those_who_ask() {
    let context = with("hooks:\n  pre-commit:\n    - {name: good, run: echo said}\n");
    for (arguments, is_shown) in
        [(&["run", "pre-commit"][..], false), (&["run", "-v", "pre-commit", "--no-cache"], true)]
    {
        let done = context.hooks(arguments);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(done.stderr.contains("  │ said\n"), is_shown, "{done:?}");
    }
}
