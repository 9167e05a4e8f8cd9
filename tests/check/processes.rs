//! How steps are run: order, files, limits, output.

use crate::context::TestContext;
use gitops_hooks::{
    check::{self, CachePolicy, Context, Interrupt, Outcome, Snapshot},
    config, git, ui,
    values::HookName,
};
use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt, process::ExitStatusExt},
    time::{Duration, Instant},
};

fn alive(pid: &str) -> bool {
    std::fs::read(format!("/proc/{}/cmdline", pid.trim())).is_ok_and(|line| !line.is_empty())
}

pub fn wait_for(what: impl Fn() -> bool) {
    let since = Instant::now();
    while !what() {
        assert!(since.elapsed() < Duration::from_secs(20), "it did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_name_reaches_the_step_as_it_is() {
    let context = TestContext::new();
    context.seed();
    let names: &[&[u8]] =
        &[b"a b", b"it's", b"quo\"te", b"new\nline", b"-rf", b"$(touch pwned)", b"back\\slash", b"l\xe4tin", b"*"];
    for name in names {
        std::fs::write(context.work.join(OsStr::from_bytes(name)), "x").unwrap();
    }
    context.git(&["rm", "-q", "lib.sh"]);
    context.git(&["add", "."]);
    let steps = "    - { name: s, run: 'for f in {files}; do test -f \"$f\" || exit 1; printf \"%s\\0\" \"$f\" >> $LOG; done', files: ['*', '!main.sh'] }";
    context.check("pre-commit", steps).env("LOG", context.log()).passes();
    let given = std::fs::read(context.log()).unwrap();
    let mut given: Vec<&[u8]> = given.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    let mut wanted: Vec<&[u8]> = names.to_vec();
    wanted.retain(|name| *name != b"-rf");
    wanted.push(b"./-rf");
    given.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(given, wanted);
    assert!(!context.work.join("pwned").exists());
}

#[test]
fn no_changed_file_that_matches_means_no_run() {
    let context = TestContext::new();
    context.seed();
    context.git(&["rm", "-q", "lib.sh"]);
    context.write("f.txt", "x");
    context.git(&["add", "."]);
    let steps = "    - { name: a, run: 'false {files}', files: ['*.py'] }\n    - { name: b, run: 'false {files}', files: ['*.sh'] }\n    - { name: c, run: 'echo tested', files: ['*.sh'] }";
    let done = context.check("pre-commit", steps).passes();
    assert!(done.stdout.contains("plan a: skipped: no changed file matches"), "{}", done.stdout);
    assert!(done.stdout.contains("plan b: skipped: what matches was deleted, or is a link"), "{}", done.stdout);
    assert!(done.stderr.contains("tested"), "{}", done.stderr);
}

#[test]
fn a_long_list_is_split_over_several_calls() {
    let context = TestContext::new();
    for n in 0..4000 {
        context.write(&format!("a folder with a long name/and a file with a longer one {n}"), "");
    }
    context.git(&["add", "."]);
    let steps = "    - { name: s, run: 'for f in {files}; do echo \"$f\"; done >> $LOG; echo call >> $LOG.calls' }";
    context.check("pre-commit", steps).env("LOG", context.log()).passes();
    assert_eq!(context.logged().len(), 4000);
    let calls = std::fs::read_to_string(context.beside("log.calls")).unwrap();
    assert!((2..20).contains(&calls.lines().count()), "{calls}");
}

#[test]
fn needs_give_order_and_a_failure_withholds_what_needs_it() {
    let context = TestContext::new();
    context.seed();
    let steps = "    - { name: last, run: 'echo last >> $LOG', needs: [first, middle] }\n    - { name: middle, run: 'sleep 0.2; echo middle >> $LOG', needs: [first] }\n    - { name: first, run: 'sleep 0.2; echo first >> $LOG' }\n    - { name: bad, run: 'echo why; exit 3' }\n    - { name: after, run: 'echo never >> $LOG', needs: [bad] }\n    - { name: later, run: 'echo never >> $LOG', needs: [after] }";
    let done = context.check("pre-commit", steps).env("LOG", context.log()).fails();
    assert_eq!(context.logged(), ["first", "middle", "last"]);
    assert!(done.stderr.contains("exit code 3") && done.stderr.contains("│ why"), "{}", done.stderr);
    assert!(done.stderr.contains("after  it needs bad, which did not pass"), "{}", done.stderr);
    assert!(done.stderr.contains("later  it needs after, which did not pass"), "{}", done.stderr);
    assert!(done.stderr.contains("1 step failed: bad"), "{}", done.stderr);
}

#[test]
fn what_needs_nothing_runs_side_by_side() {
    let context = TestContext::new();
    context.seed();
    // Each waits for the other.
    let steps = "    - { name: a, run: 'touch $LOG.a; until test -e $LOG.b; do sleep 0.05; done', timeout: 10s }\n    - { name: b, run: 'touch $LOG.b; until test -e $LOG.a; do sleep 0.05; done', timeout: 10s }";
    context.check("pre-commit", steps).env("LOG", context.log()).passes();
}

#[test]
fn at_its_limit_a_step_ends_with_all_that_it_started() {
    let context = TestContext::new();
    context.seed();
    let steps = "    - { name: s, timeout: 1s, run: \"sh -c 'trap \\\"\\\" TERM; echo $$ > $LOG; while :; do sleep 1; done' & wait\" }";
    let started = Instant::now();
    let done = context.check("pre-commit", steps).env("LOG", context.log()).fails();
    assert!(started.elapsed() < Duration::from_secs(12));
    assert!(done.stderr.contains("stopped after its time limit of 1.0s"), "{}", done.stderr);
    assert!(!alive(&context.logged()[0]));
}

#[test]
fn a_step_that_prints_fifty_megabytes_is_kept_within_bounds() {
    let context = TestContext::new();
    context.seed();
    let steps = "    - { name: s, run: 'echo begin; yes | head -c 50000000; echo end; exit 1' }";
    let done = context.check("pre-commit", steps).fails();
    assert!(done.stderr.contains("│ begin") && done.stderr.contains("│ end") && done.stderr.len() < 6 << 20);
    let peak: u64 =
        done.stdout.split_whitespace().skip_while(|word| *word != "VmHWM:").nth(1).unwrap().parse().unwrap();
    assert!(peak < 60_000, "{peak} kB");
}

#[test]
fn a_ctrl_c_ends_every_step_and_then_us() {
    let context = TestContext::new();
    context.seed();
    let steps = "    - { name: a, run: 'echo $$ >> $LOG; sleep 60' }\n    - { name: b, run: 'echo $$ >> $LOG; sleep 60' }\n    - { name: c, run: 'echo $$ >> $LOG', needs: [a] }";
    for (name, number) in [("-INT", 2), ("-TERM", 15), ("-HUP", 1)] {
        let _ = std::fs::remove_file(context.log());
        let mut child = context.check("pre-commit", steps).env("LOG", context.log()).started();
        wait_for(|| context.logged().len() == 2);
        std::process::Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(number), "{status:?}");
        assert_eq!(context.logged().len(), 2);
        assert!(!context.logged().iter().any(|pid| alive(pid)));
    }
}

/// A run in this process, with work that is handed in for the steps that are no command.
fn handed_in(context: &TestContext, steps: &str, work: check::Work) -> Result<check::Report, check::Error> {
    let images = "images:\n  web: { repository: registry.example.com/web }";
    let path = context.configuration("pre-push", steps, images);
    let config = config::parse("c.yaml", &std::fs::read_to_string(path).unwrap()).unwrap();
    let repository = git::Repository::open(&context.work).unwrap();
    let snapshot = Snapshot::of_commit(&repository, repository.commit("HEAD").unwrap(), None).unwrap();
    let context = Context {
        repository: &repository,
        hook: HookName::PrePush,
        snapshot: &snapshot,
        branches: &[],
        scratch: &config.scratch,
        arguments: &[],
        message_file: None,
        progress: &ui::Progress::new(ui::Verbosity::Quiet),
        cache: CachePolicy::Use,
        input: b"",
        places: check::Places::Any,
        failures: check::Failures::Gather,
        coverage: check::Coverage::Whole,
        cache_folder: Some(&context.beside("cache")),
        interrupt: &Interrupt::never(),
    };
    let steps = &config.hooks[&HookName::PrePush];
    let report = check::run(&check::plan(steps, &context)?, work, &context)?;
    let passed = check::passed(&repository, HookName::PrePush, steps, &repository.commit("HEAD").unwrap())?;
    let commands = report.entries.iter().filter(|entry| entry.label != "web");
    assert_eq!(passed, commands.clone().all(|entry| matches!(entry.outcome, Outcome::Passed | Outcome::Skipped(_))));
    Ok(report)
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the build broke")]
#[diagnostic(help("mend line 3"))]
struct Broke;

#[test]
fn work_that_is_handed_in_runs_beside_the_commands() {
    let context = TestContext::new();
    context.seed();
    let (log, flag) = (context.log(), context.beside("flag"));
    let steps = format!(
        "    - {{ name: test, run: 'touch {log}; until test -e {flag}; do sleep 0.05; done', timeout: 10s }}\n    - image: web",
        log = log.display(),
        flag = flag.display()
    );
    let mut work = check::Work::new();
    work.insert(
        1,
        Box::new(move |task| {
            task.message("building");
            wait_for(|| log.exists());
            std::fs::write(flag, "").unwrap();
            Ok("sha256:1".to_owned())
        }),
    );
    let report = handed_in(&context, &steps, work).unwrap();
    check::verdict(HookName::PrePush, &report.entries).unwrap();
    assert!(report.entries.iter().all(|entry| entry.outcome == Outcome::Passed));
    assert!(report.entries[0].record.is_some() && report.entries[1].record.is_none());
}

#[test]
fn work_that_fails_or_panics_is_a_step_that_failed() {
    let context = TestContext::new();
    context.seed();
    let steps = "    - { name: test, run: 'true' }\n    - image: web\n    - { name: after, run: 'true', needs: [web] }";
    let mut work = check::Work::new();
    work.insert(1, Box::new(|_| Err(Box::new(Broke))));
    let report = handed_in(&context, steps, work).unwrap();
    assert_eq!(report.entries[1].outcome, Outcome::Failed("the build broke; next: mend line 3".to_owned()));
    assert!(matches!(report.entries[2].outcome, Outcome::Withheld(_)));
    let verdict = check::verdict(HookName::PrePush, &report.entries);
    assert!(matches!(verdict, Err(check::Error::Failed { steps, .. }) if steps == ["web"]));
    let mut work = check::Work::new();
    work.insert(1, Box::new(|_| panic!("a bug")));
    let report = handed_in(&context, steps, work).unwrap();
    assert!(matches!(report.entries[1].outcome, Outcome::Failed(_)));
}

#[test]
fn work_that_nobody_handed_in_stops_the_run() {
    let context = TestContext::new();
    context.seed();
    let report = handed_in(&context, "    - image: web", check::Work::new());
    assert!(matches!(report, Err(check::Error::NoWork { step }) if step == "web"));
}
