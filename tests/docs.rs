//! What the documentation says against what there is: its links lead somewhere, and the errors it explains are the program's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> =
        fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.push(root().join("README.md"));
    pages
}

/// A heading as the anchors of git hosts have it.
fn anchor(heading: &str) -> String {
    let kept = heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .collect::<String>();
    kept.trim().replace(' ', "-")
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.contains(' ') {
                continue;
            }
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            let headings = fs::read_to_string(&file).unwrap_or_default();
            let there = |line: &str| line.starts_with('#') && anchor(line.trim_start_matches('#')) == heading;
            if !file.exists() || !(heading.is_empty() || headings.lines().any(there)) {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else {
            text.push_str(&String::from_utf8_lossy(&fs::read(&path).unwrap()));
        }
    }
}

#[test]
fn every_error_that_is_explained_is_one_of_the_programs() {
    let mut program = String::new();
    sources(&root().join("src"), &mut program);
    sources(&root().join("hooks"), &mut program);
    let text = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let quoted: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("### `")?.split('`').next()).collect();
    assert!(quoted.len() > 20);
    for error in quoted {
        let pieces: Vec<&str> = error.split('…').map(str::trim).filter(|piece| piece.len() > 3).collect();
        assert!(!pieces.is_empty(), "{error}");
        for piece in pieces {
            assert!(program.contains(piece), "{error}: the program never says {piece:?}");
        }
    }
}
