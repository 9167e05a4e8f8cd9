//! Commits that must be signed.

use crate::bed::{Bed, git, map, text};
use std::{fs, process::Command};

#[test]
fn only_commits_that_a_given_key_has_signed_are_applied() {
    let Some(bed) = Bed::new("signed") else { return };
    let folder = bed.folder.path();
    let pair = |kind: &str, name: &str| {
        let file = folder.join(name);
        let made = Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-f"]).arg(&file).status().unwrap();
        assert!(made.success());
        (file.clone(), fs::read_to_string(file.with_extension("pub")).unwrap().trim().to_owned())
    };
    let (ours, line) = pair("ed25519", "ours");
    let (rsa, rsa_line) = pair("rsa", "rsa");
    let (theirs, _) = pair("ed25519", "theirs");
    bed.set(&format!("verify: ['{line}', '{rsa_line}']"));
    let sign = |key: &std::path::Path| {
        for (name, value) in
            [("gpg.format", "ssh"), ("user.signingKey", key.to_str().unwrap()), ("commit.gpgSign", "true")]
        {
            git(&bed.work(), &["config", name, value]);
        }
    };
    for (key, value) in [(&ours, "1"), (&rsa, "2")] {
        sign(key);
        bed.commit(&[("a.yaml", &map("a", value))]);
        bed.synced();
        assert_eq!(bed.value("a").unwrap(), value);
    }
    let good = bed.report()["manifest_commit"].clone();
    sign(&theirs);
    bed.commit(&[("a.yaml", &map("a", "3"))]);
    let output = bed.sync();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("which is not among the given keys") && said.contains("SHA256:"), "{said}");
    git(&bed.work(), &["config", "commit.gpgSign", "false"]);
    let unsigned = bed.commit(&[("a.yaml", &map("a", "4"))]);
    let said = text(&bed.sync().stderr);
    assert!(said.contains("it is not signed"), "{said}");
    assert_eq!(bed.value("a").unwrap(), "2");
    let report = bed.report();
    assert_eq!((&report["phase"], &report["manifest_commit"]), (&"failed".into(), &good));
    assert_eq!(report["not_taken"], unsigned);
}
