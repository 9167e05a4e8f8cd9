//! What goes over the wire: one fetch and one push where nobody raced, however many environments there are.

use super::bed::{Bed, MANIFEST, REPOSITORY};
use std::{fmt::Write as _, fs};

/// How often git was started with this subcommand.
fn calls(trace: &str, subcommand: &str) -> usize {
    let started = format!("trace: built-in: git {subcommand} ");
    trace.lines().filter(|line| line.contains(&started)).count()
}

#[test]
fn a_delivery_that_nobody_races_is_one_fetch_and_one_push() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    for subject in ["one", "two"] {
        clone.commit_and_push(subject);
        let trace = bed.path().join(subject);
        assert_eq!(clone.deliver_in_a_process(&[("GIT_TRACE", trace.to_str().unwrap())]), Some(0));
        let trace = fs::read_to_string(trace).unwrap();
        assert_eq!((calls(&trace, "fetch"), calls(&trace, "push"), calls(&trace, "ls-remote")), (1, 1, 0), "{trace}");
    }
    assert_eq!(bed.log().len(), 3);
}

#[test]
fn fifty_environments_of_ten_repositories_are_ten_fetches_and_ten_pushes() {
    let bed = Bed::new();
    let mut text = format!("images: {{web: {{repository: {REPOSITORY}}}}}\nenvironments:\n");
    for repository in 0..10 {
        let name = format!("manifests-{repository}.git");
        super::bed::git(bed.path(), &["init", "--quiet", "--bare", "-b", "main", &name]);
        let files: Vec<(String, &str)> = (0..5).map(|n| (format!("{n}/deployment.yaml"), MANIFEST)).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        bed.push_manifests(&name, &files);
        let url = bed.path().join(&name);
        for n in 0..5 {
            let url = url.display();
            let _ = writeln!(
                text,
                "  e{repository}-{n}: {{branch: main, manifests: {{url: '{url}', path: '{n}'}}, images: [web]}}"
            );
        }
    }
    let clone = bed.clone("Ada");
    clone.commit_and_push("one");
    let trace = bed.path().join("trace");
    let variables = [("GIT_TRACE", trace.to_str().unwrap()), ("DELIVER_CONFIG", text.as_str())];
    assert_eq!(clone.deliver_in_a_process(&variables), Some(0));
    let trace = fs::read_to_string(trace).unwrap();
    assert_eq!((calls(&trace, "fetch"), calls(&trace, "push"), calls(&trace, "ls-remote")), (10, 10, 0), "{trace}");
    let tip = clone.tip();
    for repository in 0..10 {
        let folder = bed.path().join(format!("manifests-{repository}.git"));
        let log = super::bed::git(&folder, &["log", "--format=%s", "main"]);
        assert_eq!(log.lines().filter(|line| line.contains(tip.short())).count(), 5, "{log}");
    }
    assert!(clone.waiting().is_empty());
}
