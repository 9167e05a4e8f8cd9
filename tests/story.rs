//! The story of the README against the real engine, registry, git server and cluster: the demo is played in a namespace of
//! its own, and what its pods answer is read from the pods themselves.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "context/documented.rs"]
mod documented;
#[path = "context/testbed.rs"]
mod testbed;

use std::process::Command;

const NAMESPACE: &str = "story";
const PORT: &str = "32001";

#[test]
fn a_change_goes_from_commit_to_pods() {
    let (Some(_), Some(_)) = (testbed::value("GITOPS_HOOKS_TEST_GIT_SSH"), testbed::value("KUBECONFIG")) else {
        return;
    };
    let Some(binary) = testbed::value("GITOPS_HOOKS_RELEASE") else { return };
    let root = env!("CARGO_MANIFEST_DIR");
    let home = tempfile::tempdir().unwrap();
    let play = |script: &str| {
        let mut command = Command::new(format!("{root}/tests/demo/{script}"));
        command
            .env("DEMO_HOME", home.path().join("demo"))
            .env("DEMO_ENVIRONMENT", NAMESPACE)
            .env("DEMO_NAMESPACE", NAMESPACE)
            .env("DEMO_PORT", PORT);
        command
    };

    let played = play("run").arg(&binary).output().unwrap();
    let told = format!("{}\n{}", String::from_utf8_lossy(&played.stdout), String::from_utf8_lossy(&played.stderr));
    println!("{told}");
    assert!(played.status.success(), "the demo failed");

    // Every replica answers with the merged version, asked one by one past the Service.
    let pods: serde_json::Value =
        serde_json::from_str(&kubectl(&["get", "pods", "-l", "app=flask-app", "-o", "json"])).unwrap();
    // Pods of earlier versions may still be on their way out.
    let staying = pods["items"].as_array().unwrap().iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let addresses: Vec<&str> = staying.map(|pod| pod["status"]["podIP"].as_str().unwrap()).collect();
    assert_eq!(addresses.len(), 2, "{pods}");
    for address in addresses {
        assert_eq!(answer(&format!("http://{address}:5000/")), "version 2\n");
    }

    // Only the image changed: names, labels and selectors carry the same word.
    let before = std::fs::read_to_string(format!("{root}/tests/sample/manifests/deployment.yaml")).unwrap();
    let after = std::fs::read_to_string(home.path().join("demo/manifests/staging/deployment.yaml")).unwrap();
    let changed: Vec<(&str, &str)> = before.lines().zip(after.lines()).filter(|(a, b)| a != b).collect();
    assert_eq!(before.lines().count(), after.lines().count());
    assert!(changed.iter().all(|(line, _)| line.contains("image: ") || line.contains("nodePort: ")), "{changed:#?}");

    // The delivery says where it comes from.
    let message = Command::new("git")
        .args(["-C", home.path().join("demo/manifests").to_str().unwrap(), "log", "-1", "--format=%B"])
        .output()
        .unwrap();
    let message = String::from_utf8(message.stdout).unwrap();
    for trailer in ["Source-Commit: ", "Source-Repository: ", "Image: ", "Environment: story"] {
        assert!(message.contains(trailer), "{trailer} in {message}");
    }

    for part in ["✗ test", "verson", "Merge version-2", "healthy"] {
        assert!(told.contains(part), "{part}");
    }

    let status = Command::new(&binary)
        .args(["status", "--json"])
        .current_dir(home.path().join("demo/flask-app"))
        .env("GIT_CONFIG_GLOBAL", home.path().join("demo/gitconfig"))
        .output()
        .unwrap();
    let status = serde_json::from_slice(&status.stdout).unwrap();
    documented::is_documented("status --json", &status);
    assert_eq!(status["environments"][0]["verdict"]["state"], "live", "{status}");
    assert!(play("clean").status().unwrap().success());
}

fn kubectl(args: &[&str]) -> String {
    let cache = testbed::value("GITOPS_HOOKS_TESTBED_CACHE").map(|cache| format!("{cache}/bin/kubectl"));
    let program = cache.filter(|path| std::path::Path::new(path).exists()).unwrap_or_else(|| "kubectl".to_owned());
    let output = Command::new(program).args(["-n", NAMESPACE]).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn answer(url: &str) -> String {
    let output = Command::new("curl").args(["-s", "-m", "5", url]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
