//! The API server killed and the store silent, in the middle of apply, health and prune: a sync that goes on ends at what the
//! repository says, and nothing was deleted that the repository has.

use crate::{
    Random,
    bed::{Bed, app, map, until},
    count,
    own::Own,
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

/// Objects of every commit.
const ALWAYS: usize = 200;

fn state(number: usize) -> BTreeMap<String, String> {
    let always = (0..ALWAYS).map(|n| format!("always-{n}"));
    // Not more than a budget lets go at once.
    let passing = (0..4).map(|n| format!("passing-{}-{n}", number % 3));
    always.chain(passing).map(|name| (name, number.to_string())).collect()
}

fn commit(bed: &Bed, state: &BTreeMap<String, String>, workload: &str) -> String {
    let text: Vec<String> = state.iter().map(|(name, value)| map(name, value)).collect();
    bed.commit(&[("maps.yaml", &text.join("---\n")), ("app.yaml", workload)])
}

/// What is there, with the uid of each: one that was deleted and made again has another.
fn there(bed: &Bed) -> Option<BTreeMap<String, (String, String)>> {
    let list = bed.runtime.block_on(bed.api::<ConfigMap>().list(&ListParams::default())).ok()?;
    let entry = |map: ConfigMap| Some((map.metadata.name?, (map.data?.remove("key")?, map.metadata.uid?)));
    Some(list.items.into_iter().filter_map(entry).collect())
}

/// Says of the Deployment what its controller would.
fn rolled_out(bed: &Bed) -> Option<()> {
    let api = bed.api::<Deployment>();
    let generation = bed.runtime.block_on(api.get("flask-app")).ok()?.metadata.generation?;
    let status = json!({ "status": { "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1,
        "readyReplicas": 1, "availableReplicas": 1 } });
    bed.runtime.block_on(api.patch_status("flask-app", &PatchParams::default(), &Patch::Merge(status))).ok().map(drop)
}

#[test]
fn an_api_server_that_is_killed_and_a_store_that_is_silent_cost_nothing_but_time() {
    let Some(mut own) = Own::new() else { return };
    let Some(bed) = Bed::beside("restarted", Some(&own.kubeconfig())) else { return };
    bed.set("interval: 500ms");
    let mut random = Random::new();
    let mut known = BTreeMap::new();
    // A pod often comes up before its API server.
    let _sync = own.without_server(|| {
        let sync = bed.running();
        until("it to say that nobody answers", || bed.log().contains("the cluster failed at").then_some(()));
        sync
    });
    let (mut kills, mut silences) = (0, 0);
    for round in 0..count(4, 30) {
        let wanted = state(round);
        let commit = commit(&bed, &wanted, &app(1).replace("'3600'", &format!("'{}'", 3600 + round)));
        // Anywhere between the poll and the last write.
        std::thread::sleep(Duration::from_millis(300 + random.below(1500)));
        if round % 2 == 0 {
            own.restart_server(Duration::from_millis(random.below(3000)));
            kills += 1;
        } else {
            own.stop_store(Duration::from_millis(2000 + random.below(5000)));
            silences += 1;
        }
        until(&format!("the maps of round {round}, log:\n{}", bed.log()), || {
            let now = there(&bed)?;
            wanted.iter().all(|(name, value)| now.get(name).is_some_and(|(there, _)| there == value)).then_some(())
        });
        let is_waiting = || bed.reported().filter(|report| report["manifest_commit"] == commit.as_str());
        until("the report of the commit", is_waiting);
        if round % 3 == 2 {
            // While health is waited for.
            own.restart_server(Duration::from_millis(random.below(1000)));
            kills += 1;
        }
        until("the rollout to be told", || rolled_out(&bed));
        if round % 3 == 1 {
            // While prune waits for health to hold, or deletes.
            std::thread::sleep(Duration::from_millis(9000 + random.below(2000)));
            own.restart_server(Duration::ZERO);
            kills += 1;
        }
        until(&format!("the end of round {round}, log:\n{}", bed.log()), || {
            rolled_out(&bed);
            let now = there(&bed)?;
            (now.len() == wanted.len() && now.keys().eq(wanted.keys())).then_some(())
        });
        bed.says(&commit, "healthy");
        let now = there(&bed).unwrap();
        for (name, (_, uid)) in &now {
            let earlier = known.insert(name.clone(), uid.clone());
            let stayed = !name.starts_with("always") || earlier.is_none_or(|earlier| earlier == *uid);
            assert!(stayed, "{name} was deleted, which every commit has");
        }
    }
    println!("{kills} kills of the API server, {silences} silences of the store");
}
