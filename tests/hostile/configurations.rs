//! Configurations that are long, wrong or meant to do harm.

use crate::context::TestContext;
use std::fmt::Write as _;

#[test]
fn ten_thousand_lines_are_read_and_planned_in_bounded_memory() {
    let mut config = "hooks:\n  pre-commit:\n".to_owned();
    for at in 0..1250 {
        let _ = write!(
            config,
            "    - name: step-{at}\n      run: |\n        echo {at}\n        true\n      files:\n        - never-{at}-*\n      env:\n        AT: \"{at}\"\n"
        );
    }
    assert!(config.lines().count() > 10_000);
    let context = TestContext::with(&config);
    let run = context.measured(&["run", "pre-commit"]);
    assert_eq!(run.done.code, Some(0), "{}", run.done.stderr);
    assert_eq!(run.done.stderr.matches("no changed file matches").count(), 1250);
    assert!(run.peak < 100 && run.computed < 10, "{} MiB in {} s", run.peak, run.computed);
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let mistakes = [
        ("hooks:", ""),
        ("  pre-comit: [{ run: x }]", "pre-comit"),
        ("  pre-commit:", ""),
        ("    - runn: x", "unknown key"),
        ("    - { name: late, run: x, timeout: soon }", "expected a time"),
        ("    - { name: glob, run: x, files: ['a[']}", "is no pattern"),
        ("    - { name: priority, run: x, priority: 70000 }", "expected a number"),
        ("    - { name: out, run: x, root: ../up }", "inside the repository"),
        ("    - { name: state, run: x, only: { state: [lunch] } }", "one of merge"),
        ("    - { name: yes, run: x, fix: maybe }", "expected true or false"),
        ("extends: [missing.yaml]", "there is no file missing.yaml"),
        ("images:", ""),
        ("  web: { repository: 'not a repository', platform: Linux }", "repository"),
        ("environments:", ""),
        ("  staging: { branch: main, manifests: { url: '--upload-pack=x' }, images: [gone] }", "the address"),
        ("nonsense: 1", "unknown key"),
    ];
    told(&mistakes);
}

#[test]
fn every_contradiction_is_told_at_once_with_its_place() {
    told(&[
        ("hooks:", ""),
        ("  pre-commit:", ""),
        ("    - { run: x, image: web }", "not both"),
        ("    - { name: nothing }", "this step does nothing"),
        ("    - { name: empty, run: '' }", "`run` is empty"),
        ("    - { name: needs, run: x, needs: [nobody] }", "no step \"nobody\""),
        ("    - { name: a, run: x, needs: [b] }", "a → b → a: these steps wait for each other"),
        ("    - { name: b, run: x, needs: [a] }", ""),
        ("    - { name: twice, run: x }", ""),
        ("    - { name: twice, run: x }", "a second step \"twice\""),
        ("    - { name: both, run: x, stdin: true, interactive: true }", "not both"),
        ("    - { name: ahead, run: x, background: true }", "`background` is for pre-push"),
        ("    - { name: shell, run: x, shell: '' }", "`shell` is empty"),
        ("    - { name: early, run: x, needs: [late] }", "`priority` is higher"),
        ("    - { name: late, run: x, priority: 7 }", ""),
        ("  pre-push:", ""),
        ("    - { name: fix, run: x, fix: true }", "`fix` is for pre-commit"),
        ("    - { name: image, image: nowhere }", "no image \"nowhere\""),
        ("environments:", ""),
        (
            "  staging: { branch: main, manifests: { url: 'https://git.example.com/m' }, images: [gone] }",
            "no image \"gone\"",
        ),
    ]);
}

/// Every line that is wrong is told, with its number.
#[track_caller]
fn told(mistakes: &[(&str, &str)]) {
    let context = TestContext::new();
    let config = mistakes.iter().fold(String::new(), |text, (line, _)| text + line + "\n");
    context.write(".gitops-hooks.yaml", &config);
    let run = context.measured(&["config", "check"]);
    assert_eq!(run.done.code, Some(2), "{}", run.done.stderr);
    let mut missing = Vec::new();
    for (at, (line, told)) in mistakes.iter().enumerate().filter(|(_, (_, told))| !told.is_empty()) {
        let place = format!(".gitops-hooks.yaml:{}:", at + 1);
        let found = run.done.stderr.lines().any(|said| said.contains(&place) && said.contains(told));
        if !found {
            missing.push(format!("{place} {told:?} of {line}"));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}\n{}", run.done.stderr);
}

/// Steps by number, each with the numbers of those that it needs; the last one needs somebody who is not there.
fn chain(count: usize, needs: impl Fn(usize) -> Vec<usize>) -> String {
    (0..count).fold("hooks:\n  pre-commit:\n".to_owned(), |mut text, at| {
        let needs: Vec<String> = needs(at).iter().map(|need| format!("s{need}")).collect();
        let _ = writeln!(text, "    - {{ run: x, name: s{at}, needs: [{}] }}", needs.join(", "));
        text
    })
}

#[test]
fn what_is_meant_to_burst_the_reader_is_refused() {
    let laughs = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, at| {
        let before = format!("*a{}", at - 1);
        text + &format!("a{at}: &a{at} [{before}, {before}, {before}, {before}]\n")
    }) + "hooks: *a29\n";
    let deep = |open: &str, close: &str| format!("hooks: {}{}\n", open.repeat(100_000), close.repeat(100_000));
    let stairs = (0..3000).fold(String::new(), |text, at| text + &" ".repeat(at) + "a:\n");
    let bombs: Vec<(&str, Vec<u8>)> = vec![
        ("aliases of aliases", laughs.into_bytes()),
        ("an alias of itself", b"hooks: &a [*a]\n".to_vec()),
        ("lists in lists", deep("[", "]").into_bytes()),
        ("mappings in mappings", deep("{a: ", "}").into_bytes()),
        ("open brackets alone", "[".repeat(500_000).into_bytes()),
        ("deep indentation", stairs.into_bytes()),
        ("dashes", format!("hooks:\n  {}x\n", "- ".repeat(100_000)).into_bytes()),
        ("a long key", format!("{}: 1\n", "k".repeat(900_000)).into_bytes()),
        ("a chain of steps", chain(2000, |at| vec![at + 1]).into_bytes()),
        ("ways that double with each step", chain(1000, |at| (at + 1..at + 3).collect()).into_bytes()),
        ("circles of circles", chain(1000, |at| vec![(at + 1) % 1000, (at + 7) % 1000, at / 2]).into_bytes()),
        ("very many steps", chain(12_000, |_| Vec::new()).into_bytes()),
        ("very many keys", (0..90_000).fold(String::new(), |text, at| text + &format!("k{at}: 1\n")).into_bytes()),
        ("too large a file", vec![b'#'; 5 << 20]),
        ("no text", (0..=255).cycle().take(10_000).collect()),
        ("zero bytes", vec![0; 10_000]),
        ("two documents", b"hooks: {}\n---\nhooks: {}\n".to_vec()),
        ("a key twice", b"hooks: {}\nhooks: {}\n".to_vec()),
        ("a merge key", b"x: &x { run: id }\nhooks: { pre-commit: [ { <<: *x } ] }\n".to_vec()),
        ("a tag", b"hooks: !!python/object:os.system { pre-commit: [] }\nx: 1\n".to_vec()),
        (
            "a number as wide as the page",
            format!("hooks: {{ pre-commit: [ {{ run: x, priority: {} }} ] }}\n", "9".repeat(5000)).into_bytes(),
        ),
    ];
    for (name, bytes) in bombs {
        let context = TestContext::new();
        std::fs::write(context.work.join(".gitops-hooks.yaml"), bytes).unwrap();
        for args in [&["config", "check"][..], &["install", "--yes"]] {
            let run = context.measured(args);
            assert!(matches!(run.done.code, Some(2 | 3)), "{name}: {:?} {}", run.done.code, run.done.stderr);
            assert!(run.done.stderr.starts_with("error:"), "{name}: {}", run.done.stderr);
            assert!(run.done.stderr.len() < 200_000, "{name}: {} bytes", run.done.stderr.len());
            assert!(run.peak < 200 && run.computed < 10, "{name}: {} MiB in {} s", run.peak, run.computed);
        }
        assert!(!context.work.join(".git/hooks/pre-commit").exists(), "{name}");
    }
}
