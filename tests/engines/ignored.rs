//! What `.dockerignore` leaves out, compared with Docker's own choice over random trees and rules.

use super::{
    bed, busybox,
    images::{Source, run},
    on_each,
};
use gitops_hooks::{image, values::Oid};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use std::{collections::BTreeSet, path::Path, process::Command};

/// `.dockerignore` rules as people write them, and worse.
fn rules() -> impl Strategy<Value = Vec<String>> {
    let part = prop_oneof![
        3 => "[abc]", 2 => Just("*".to_owned()), 1 => Just("**".to_owned()), 1 => "[abc]\\*", 1 => Just("?".to_owned()),
        1 => Just("[ab]".to_owned()), 1 => Just("[^a]".to_owned()), 1 => Just("..".to_owned()), 1 => Just(".".to_owned()),
        1 => "\\*[abc]", 1 => Just("**a".to_owned()), 1 => Just("a**".to_owned()), 1 => Just(String::new())
    ];
    let pattern = prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"));
    // Older commands do not look into a folder that is left out for a `!` with `*` in it; those of today do.
    let plain = prop::collection::vec("[abc]{1,2}", 1..4).prop_map(|parts| format!("!{}", parts.join("/")));
    let rule = prop_oneof![
        3 => ("/?", pattern, "/?").prop_map(|(lead, pattern, end)| format!("{lead}{pattern}{end}")),
        1 => plain,
    ];
    let rules = prop::collection::vec(rule.prop_filter("read in two ways", |rule| !compares_only_the_end(rule)), 0..6);
    rules.prop_filter("read in two ways", |rules| !looks_into_folders_of_any_depth(rules))
}

/// Where a `!` lets Docker look into a folder that is left out, a line leaves out what is in each folder that it matches, at any
/// depth (moby/patternmatcher, `MatchesOrParentMatches`). Older ones compared a folder of as many parts as the line has, so that
/// `**/b` left out `a/b` with all that is in it, and of `b` only what matches itself.
fn looks_into_folders_of_any_depth(rules: &[String]) -> bool {
    rules.iter().any(|rule| rule.contains("**")) && rules.iter().any(|rule| rule.starts_with('!'))
}

/// `**a` at the beginning is any path that ends with `a` for Docker of today, and was the name `a` in any folder for older ones.
fn compares_only_the_end(rule: &str) -> bool {
    let mut parts = Vec::new();
    for part in rule.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match part {
            ".." if parts.pop().is_none() && !rule.starts_with('/') => return false,
            ".." => {}
            part => parts.push(part),
        }
    }
    parts.first().is_some_and(|first| first.len() > 2 && first.starts_with("**"))
}

/// The paths of small trees: a name is never a file and a folder.
fn paths() -> impl Strategy<Value = BTreeSet<String>> {
    let path = prop::collection::vec("[abc]{1,2}", 1..4).prop_map(|parts| parts.join("/"));
    prop::collection::btree_set(path, 1..8).prop_map(|paths| {
        let is_folder = |path: &String| paths.iter().any(|other| other.starts_with(&format!("{path}/")));
        paths.iter().filter(|path| !is_folder(path)).cloned().collect()
    })
}

/// What Docker's own command gives the engine of a folder: it is the one that leaves out, for every engine.
fn dockers_choice(source: &Source, programs: &str) -> Result<BTreeSet<String>, String> {
    let dockerfile = format!("FROM {}\nCOPY . /ctx/\nRUN cd /ctx && echo listed $(find . -type f) listed\n", busybox());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), dockerfile).unwrap();
    let mut build = Command::new(Path::new(programs).join("usr/bin/docker"));
    build.args(["build", "--no-cache", "--force-rm", "-f"]).arg(file.path()).arg(source.folder.path());
    // Its older builder says what a step prints as it is.
    let output = build.env("DOCKER_BUILDKIT", "0").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let listed = said.lines().find_map(|line| line.strip_prefix("listed")?.strip_suffix("listed")).unwrap_or_default();
    let paths = listed.split_whitespace().map(|path| path.trim_start_matches("./").to_owned());
    Ok(paths.filter(|path| !path.starts_with(".git/") && !path.starts_with(".dockerfile.")).collect())
}

#[test]
fn dockerignore_leaves_out_what_docker_leaves_out() {
    on_each("ignored::dockerignore_leaves_out_what_docker_leaves_out", &["docker20"], |_| {
        let programs = bed("GITOPS_HOOKS_TEST_DOCKER20_PROGRAMS").unwrap();
        let cases = if std::env::var_os("SOAK").is_some() { 600 } else { 25 };
        let mut runner =
            TestRunner::new(Config { cases, max_shrink_iters: 40, failure_persistence: None, ..Config::default() });
        runner
            .run(&(paths(), rules()), |(paths, rules)| {
                let source = Source::new("", "FROM scratch\n");
                source.write(".dockerignore", rules.join("\n"));
                for path in &paths {
                    source.write(path, path);
                }
                let commit = source.commit("one");
                let ours = image_paths(&source, &commit);
                let theirs = dockers_choice(&source, &programs);
                match (ours, theirs) {
                    (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs, "{:?} of {:?}", rules, paths),
                    (Err(_), Err(_)) => {}
                    // Docker of today takes `!/` for the root of the context, and this one refused it.
                    (_, Err(said)) if said.contains("illegal exclusion pattern") => {}
                    // An engine that fails for want of any file to copy has chosen none.
                    (Ok(ours), Err(_)) if ours.is_empty() => {}
                    (ours, theirs) => prop_assert!(false, "{rules:?} of {paths:?}: {ours:?} and {theirs:?}"),
                }
                Ok(())
            })
            .unwrap();
    });
}

/// The paths that our build may see.
fn image_paths(source: &Source, commit: &Oid) -> Result<BTreeSet<String>, String> {
    let (name, image) = ("web".parse().unwrap(), source.image());
    let request = image::Request {
        repository: &source.repository,
        commit: commit.clone(),
        name: &name,
        image: &image,
        source: None,
    };
    let paths = run(image::paths(&request)).map_err(|error| error.to_string())?;
    Ok(paths.iter().map(ToString::to_string).collect())
}
