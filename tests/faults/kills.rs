//! The process killed at any moment, again and again, while commits come in.

use crate::{
    Random,
    bed::{Bed, Running, map, until},
    count,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::ListParams};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Objects that every commit has: should one ever be missing, something was deleted that the repository has. So many that all the
/// others are within the budget of deletions, where a sync that was killed again and again comes to none before the end.
const ALWAYS: usize = 30;

/// What the commit of that number holds: the constant objects with a new value, and some that come and go.
fn state(number: usize) -> BTreeMap<String, String> {
    let constant = (0..ALWAYS).map(|n| format!("always-{n}"));
    let passing = (0..4).map(|n| format!("passing-{}", (number * 3 + n) % 12));
    constant.chain(passing).map(|name| (name, number.to_string())).collect()
}

fn commit(bed: &Bed, state: &BTreeMap<String, String>) -> String {
    let files: Vec<(String, String)> =
        state.iter().map(|(name, value)| (format!("{name}.yaml"), map(name, value))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    bed.commit(&files)
}

fn there(client: &kube::Client, runtime: &tokio::runtime::Runtime, namespace: &str) -> BTreeMap<String, String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let list = runtime.block_on(api.list(&ListParams::default())).unwrap();
    let entry = |map: ConfigMap| Some((map.metadata.name?, map.data?.remove("key")?));
    list.items.into_iter().filter_map(entry).collect()
}

#[test]
fn killed_at_random_during_commits_it_ends_at_what_the_repository_says_and_deletes_nothing_else() {
    let Some(bed) = Bed::new("kills") else { return };
    bed.set("interval: 500ms");
    let mut random = Random::new();
    let (commits, kills) = (count(15, 50), count(20, 200));
    commit(&bed, &state(0));
    bed.synced();
    // A witness of its own sees every deletion, however short the absence.
    let missing = AtomicBool::new(false);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let client = runtime.block_on(gitops_hooks::cluster::connect(None)).unwrap();
            while !ended.load(Ordering::Relaxed) {
                let names = there(&client, &runtime, &bed.name);
                let all = (0..ALWAYS).all(|n| names.contains_key(&format!("always-{n}")));
                missing.fetch_or(!all, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let mut killed = 0;
        for number in 1..=commits {
            commit(&bed, &state(number));
            let share = kills * number / commits - killed;
            for _ in 0..share {
                let sync = Running::begin(bed.command(), &bed.folder.path().join("log"));
                std::thread::sleep(Duration::from_millis(random.below(1500)));
                // SIGKILL, wherever it is.
                drop(sync);
                killed += 1;
            }
        }
        ended.store(true, Ordering::Relaxed);
        println!("{killed} kills during {commits} commits");
    });
    let last = state(commits);
    let commit = commit(&bed, &last);
    let _sync = bed.running();
    let report = bed.says(&commit, "healthy");
    until(&format!("the cluster to be what the repository says, report: {report}"), || {
        (there(&bed.client, &bed.runtime, &bed.name) == last).then_some(())
    });
    assert!(!missing.load(Ordering::Relaxed), "something was deleted that every commit has");
    assert!(bed.report()["waiting"].as_array().unwrap().is_empty());
}
