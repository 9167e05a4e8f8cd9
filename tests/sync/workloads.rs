//! Workloads that do not come up, and fields that cannot be changed.

use crate::bed::{Bed, app, map, text, until, variable};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};

#[test]
fn a_crash_is_told_with_the_last_lines_of_its_log_and_stops_nothing_else() {
    let Some(bed) = Bed::new("crash") else { return };
    bed.set("interval: 1s");
    // Never ready: without a probe Kubernetes calls a container ready for as long as it takes to crash.
    let crash = app(1).replace(
        "command: [sleep, '3600']",
        "readinessProbe: {exec: {command: ['false']}}, command: [sh, -c, 'echo starting; echo no database at db:5432; exit 3']",
    );
    let commit = bed.commit(&[("app.yaml", &crash), ("b.yaml", &map("b", "1"))]);
    let _sync = bed.running();
    let report = bed.says(&commit, "unhealthy");
    let said = report["unhealthy"][0]["reason"].as_str().unwrap();
    assert!(said.contains("container flask-app of pod flask-app-") && said.contains("exit code 3"), "{said}");
    assert!(said.ends_with("its last lines: starting | no database at db:5432"), "{said}");
    assert_eq!(bed.value("b").unwrap(), "1");
    // While it crashes, what has nothing to do with it is applied, and the fix is taken at once; only prune waits.
    let commit = bed.commit(&[("app.yaml", &crash), ("c.yaml", &map("c", "1"))]);
    let report = bed.says(&commit, "unhealthy");
    assert_eq!(bed.value("c").unwrap(), "1");
    assert_eq!(bed.value("b").unwrap(), "1");
    assert!(report["waiting"][0]["reason"].as_str().unwrap().contains("once all"), "{report}");
    let commit = bed.commit(&[("app.yaml", &app(1)), ("c.yaml", &map("c", "1"))]);
    bed.says(&commit, "healthy");
    until("the prune", || bed.value("b").is_none().then_some(()));
}

#[test]
fn the_moment_in_which_a_crashing_container_is_called_ready_prunes_nothing() {
    let Some(bed) = Bed::new("moment") else { return };
    bed.set("interval: 1s");
    let commit = bed.commit(&[("app.yaml", &app(1)), ("b.yaml", &map("b", "1"))]);
    let _sync = bed.running();
    bed.says(&commit, "healthy");
    // Without a probe Kubernetes calls it ready until it ends.
    let crash = app(1).replace("command: [sleep, '3600']", "command: [sh, -c, 'sleep 2; exit 3']");
    let commit = bed.commit(&[("app.yaml", &crash)]);
    until("the moment", || bed.log().contains("once every workload has been healthy").then_some(()));
    bed.says(&commit, "unhealthy");
    // Twice more it is called ready.
    until("two more crashes", || {
        let pods = bed.runtime.block_on(bed.api::<Pod>().list(&kube::api::ListParams::default())).unwrap();
        let restarts = |pod: &Pod| pod.status.as_ref()?.container_statuses.as_ref()?.first().map(|it| it.restart_count);
        pods.items.iter().any(|pod| restarts(pod).is_some_and(|count| count > 2)).then_some(())
    });
    assert_eq!(bed.value("b").unwrap(), "1");
    let commit = bed.commit(&[("app.yaml", &app(1))]);
    bed.says(&commit, "healthy");
    until("the prune", || bed.value("b").is_none().then_some(()));
}

#[test]
fn an_immutable_field_makes_a_new_object_only_where_that_is_allowed() {
    let Some(bed) = Bed::new("immutable") else { return };
    let job = |message: &str, annotation: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: once, annotations: {{{annotation}}}}}\nspec:\n  template:\n    spec:\n      restartPolicy: Never\n      containers: [{{name: once, image: '{}', command: [echo, {message}]}}]\n",
            variable("BASE_BUSYBOX").unwrap()
        )
    };
    bed.commit(&[("job.yaml", &job("one", "a: b"))]);
    bed.synced();
    bed.commit(&[("job.yaml", &job("two", "a: b")), ("map.yaml", &map("a", "1"))]);
    let output = bed.sync();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("field is immutable") && said.contains("gitops-hooks.dev/recreate: allowed"), "{said}");
    assert_eq!(bed.value("a").unwrap(), "1", "the other object does not wait");

    bed.set("interval: 1s");
    let allowed = job("two", "gitops-hooks.dev/recreate: allowed");
    let commit = bed.commit(&[("job.yaml", &allowed), ("map.yaml", &map("a", "1"))]);
    let _sync = bed.running();
    bed.says(&commit, "healthy");
    let api = bed.api::<k8s_openapi::api::batch::v1::Job>();
    let live = bed.runtime.block_on(api.get("once")).unwrap();
    let container = &live.spec.unwrap().template.spec.unwrap().containers[0];
    assert_eq!(container.command.as_ref().unwrap()[1], "two");
}

#[test]
fn an_autoscalers_replicas_stay_its_own() {
    let Some(bed) = Bed::new("scale") else { return };
    bed.commit(&[("app.yaml", &app(1))]);
    bed.synced();
    let api = bed.api::<Deployment>();
    let scale = kube::api::Patch::Merge(serde_json::json!({ "spec": { "replicas": 2 } }));
    let by = |manager: &str| kube::api::PatchParams {
        field_manager: Some(manager.to_owned()),
        ..kube::api::PatchParams::default()
    };
    // A person is no autoscaler.
    bed.runtime.block_on(api.patch_scale("flask-app", &by("kubectl"), &scale)).unwrap();
    assert_eq!(bed.deployment("flask-app").unwrap().spec.replicas, Some(2));
    bed.synced();
    assert_eq!(bed.deployment("flask-app").unwrap().spec.replicas, Some(1));
    let events = bed.events();
    let is_told = |event: &String| event.contains("spec.replicas") && event.contains("kubectl");
    assert!(events.iter().any(is_told), "{events:?}");
    bed.runtime.block_on(api.patch_scale("flask-app", &by("hpa"), &scale)).unwrap();
    bed.synced();
    assert_eq!(bed.deployment("flask-app").unwrap().spec.replicas, Some(2));
    // A new image changes the image alone.
    bed.commit(&[("app.yaml", &app(1).replace("'3600'", "'3601'"))]);
    bed.synced();
    let spec = bed.deployment("flask-app").unwrap().spec;
    assert_eq!(spec.replicas, Some(2));
    assert_eq!(spec.template.spec.unwrap().containers[0].command.as_ref().unwrap()[1], "3601");
}
