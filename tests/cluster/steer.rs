//! A sync that is there already, steered from the laptop, and what it would do, seen before it does it.

use crate::{
    bed::Bed,
    context::{Done, TestContext},
    map, value,
};

fn plan(bed: &Bed) -> Done {
    TestContext::run(bed.context.command(&bed.release).args(["plan", &bed.name]))
}

#[test]
fn the_plan_tells_what_the_sync_then_does_and_suspended_it_does_nothing() {
    let Some(bed) = Bed::new("steer", "REGISTRY", &[]) else { return };
    let name = &bed.name;
    let commit = bed.commit(&[("a.yaml", &map("a", "1")), ("b.yaml", &map("b", "1"))]);
    bed.begin(name, &["--interval", "1h"]);
    bed.healthy(name, &commit);
    let told = plan(&bed);
    assert_eq!((told.code, told.stdout.trim()), (Some(0), "2 objects stay as they are"), "{}", told.stderr);

    let said = bed.run(&["suspend", name, "--reason", "the migration runs"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let commit = bed.commit(&[("a.yaml", &map("a", "2")), ("c.yaml", &map("c", "1"))]);
    let told = plan(&bed);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    for (act, object, why) in [
        ("create", "c", "it is new"),
        ("change", "a", "its manifest changed"),
        ("prune", "b", "no manifest names it any more"),
    ] {
        let object = format!("ConfigMap {name}/{object}");
        let line = told.stdout.lines().find(|line| line.trim_start().starts_with(act)).unwrap_or_default();
        assert!(line.contains(&object) && told.stdout.contains(why), "{act} {object} in\n{}", told.stdout);
    }
    let told = TestContext::run(bed.context.command(&bed.release).args(["plan", name, "--json"]));
    crate::documented::is_documented("plan ENVIRONMENT --json", &serde_json::from_str(&told.stdout).unwrap());
    assert_eq!(bed.run(&["reconcile", name]).code, Some(0));
    crate::bed::until("the report to say that it is suspended", || {
        let report = bed.report(name)?;
        (report.manifest_commit.as_ref().is_some_and(|oid| oid.as_str() == commit)
            && report.message.as_deref() == Some("suspended: the migration runs"))
        .then_some(())
    });
    assert_eq!(value(&bed.map(name, "a")), "1");
    assert_eq!(bed.run(&["resume", name]).code, Some(0));
    bed.healthy(name, &commit);
    assert_eq!(value(&bed.map(name, "a")), "2");

    // The same program with the same settings is the same pod.
    let before = bed.versions(name);
    let said = bed.run(&["upgrade", name]);
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    assert_eq!(bed.versions(name), before);

    let said = bed.run(&["suspend", "nowhere"]);
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(said.stderr.contains("this cluster has no sync of nowhere"), "{}", said.stderr);

    // What would be refused makes the plan fail, and says where.
    bed.commit(&[("a.yaml", &map("a:2", "2"))]);
    let told = plan(&bed);
    assert_eq!(told.code, Some(1), "{}", told.stdout);
    assert!(told.stdout.contains("refuse") && told.stdout.contains("a.yaml:3"), "{}", told.stdout);
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 99999}]}\n";
    bed.commit(&[("a.yaml", &map("a", "2")), ("bad.yaml", service)]);
    let told = plan(&bed);
    assert!(told.code == Some(1) && told.stdout.contains("99999"), "the server is asked: {}", told.stdout);

    // A sync of this name that applies something else is somebody else's.
    let text = bed.context.read(".gitops-hooks.yaml");
    let other = text.replace(&format!("\"namespace\":\"{name}\""), "\"namespace\":\"default\"");
    assert_ne!(text, other);
    bed.context.write(".gitops-hooks.yaml", &other);
    let told = plan(&bed);
    assert!(told.code == Some(2) && told.stderr.contains("already, which applies"), "{}", told.stderr);
    let told = TestContext::run(bed.context.command(&bed.release).arg("doctor"));
    let said = told.stdout.lines().find(|line| line.contains(&format!("sync of {name}"))).unwrap_or_default();
    assert!(said.starts_with("! ") && said.contains("already, which applies"), "{}", told.stdout);
}
