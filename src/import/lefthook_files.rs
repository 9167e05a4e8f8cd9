//! The files that lefthook reads beside its own: those that it extends, those of other repositories as far as lefthook has
//! fetched them, and one person's. They are laid over each other in lefthook's order, jobs by their names.

use super::{Error, foreign};
use crate::values::RelativePath;
use globset::GlobBuilder;
use serde_json::{Map, Value};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

/// More files than this are no configuration.
const MAX_FILES: usize = 64;
/// The kinds of files that lefthook reads, in its order.
pub(super) const KINDS: [&str; 5] = ["yml", "yaml", "json", "jsonc", "toml"];

/// What all of lefthook's files say.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// For everybody.
    pub(super) shared: Value,
    /// For the person whose clone this is, where there is such a file, and its path.
    pub(super) own: Option<(String, Value)>,
    /// What could not be read.
    pub(super) notes: Vec<String>,
}

/// The first file that is there of several names.
pub(super) fn first(root: &Path, stems: &[&str]) -> Option<String> {
    let names = KINDS.iter().flat_map(|kind| stems.iter().map(move |stem| format!("{stem}.{kind}")));
    names.into_iter().find(|name| root.join(name).is_file())
}

/// Reads a configuration and all that belongs to it. `common` is the folder of git that all work trees share.
pub(super) fn read(root: &Path, common: &Path, path: &str) -> Result<Files, Error> {
    let mut reader = Reader { common, seen: HashSet::from([root.join(path)]), notes: Vec::new() };
    let mut shared = foreign::value(root, path)?.unwrap_or_default();
    // What is extended lies over what extends it.
    let extended = reader.extended(root, "", &shared)?;
    lay(&mut shared, extended);
    let remote = reader.remotes(&shared)?;
    lay(&mut shared, remote);
    let own = first(root, &["lefthook-local", ".lefthook-local", ".config/lefthook-local"]);
    let own = own.map(|path| -> Result<_, Error> {
        let mut own = foreign::value(root, &path)?.unwrap_or_default();
        let extended = reader.extended(root, "", &own)?;
        lay(&mut own, extended);
        let mut whole = shared.clone();
        lay(&mut whole, own);
        Ok((path, whole))
    });
    Ok(Files { shared, own: own.transpose()?, notes: reader.notes })
}

struct Reader<'r> {
    common: &'r Path,
    seen: HashSet<PathBuf>,
    notes: Vec<String>,
}

impl Reader<'_> {
    /// What the files say that a configuration extends; their paths are from `folder`, and that is from `root`.
    fn extended(&mut self, root: &Path, folder: &str, value: &Value) -> Result<Value, Error> {
        let mut all = Value::Object(Map::new());
        for written in foreign::words(value, "extends") {
            let Ok(pattern) = format!("{folder}/{written}").trim_start_matches('/').parse::<RelativePath>() else {
                self.notes.push(format!("lefthook also read {written} (`extends`), which is not of this repository"));
                continue;
            };
            let found = matching(root, pattern.as_str());
            if found.is_empty() {
                self.notes.push(format!("lefthook also read {written} (`extends`), which is not there"));
            }
            for path in found {
                if self.seen.len() >= MAX_FILES || !self.seen.insert(root.join(&path)) {
                    continue;
                }
                let mut one = foreign::value(root, &path)?.unwrap_or_default();
                let deeper = self.extended(root, folder, &one)?;
                lay(&mut one, deeper);
                lay(&mut all, one);
            }
        }
        Ok(all)
    }

    /// What configurations of other repositories say, as far as lefthook keeps copies of them in this clone.
    fn remotes(&mut self, value: &Value) -> Result<Value, Error> {
        let mut all = Value::Object(Map::new());
        let listed = foreign::items(value.get("remotes")).iter().chain(value.get("remote"));
        for remote in listed {
            let url = foreign::word(remote, "git_url");
            let reference = foreign::word(remote, "ref");
            let name = url.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default().trim_end_matches(".git");
            let folder = match reference.as_str() {
                "" => format!("info/lefthook-remotes/{name}"),
                reference => format!("info/lefthook-remotes/{name}-{reference}"),
            };
            let mut configs = foreign::words(remote, "configs");
            configs.extend(foreign::words(remote, "config"));
            if configs.is_empty() {
                configs.push("lefthook.yml".to_owned());
            }
            for config in configs {
                let shown = crate::values::shown(&url);
                let sound = !folder.contains("..") && config.parse::<RelativePath>().is_ok();
                let path = format!("{folder}/{config}");
                let read = if sound { foreign::value(self.common, &path)? } else { None };
                let Some(mut one) = read else {
                    self.notes.push(format!(
                        "lefthook also read {config} of {shown} (`remotes`), which it has not fetched into this clone: \
                         run `lefthook install` and import again"
                    ));
                    continue;
                };
                let deeper = self.extended(self.common, &folder, &one)?;
                lay(&mut one, deeper);
                lay(&mut all, one);
                self.notes.push(format!("{config} of {shown} (`remotes`) is taken over as it is today."));
            }
        }
        Ok(all)
    }
}

/// The files of a pattern, by name.
fn matching(root: &Path, pattern: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for part in pattern.split('/') {
        let below = |folder: &String| if folder.is_empty() { part.to_owned() } else { format!("{folder}/{part}") };
        if !part.contains(['*', '?', '[']) {
            found = found.iter().map(below).collect();
            continue;
        }
        let Ok(glob) = GlobBuilder::new(part).literal_separator(true).build() else { return Vec::new() };
        let glob = glob.compile_matcher();
        let mut next = Vec::new();
        for folder in &found {
            let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten().filter_map(Result::ok);
            let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            next.extend(names.filter(|name| glob.is_match(name)).map(|name| match folder.as_str() {
                "" => name,
                folder => format!("{folder}/{name}"),
            }));
        }
        next.sort();
        found = next;
    }
    found.retain(|path| root.join(path).is_file());
    found
}

/// Lays a value over another: mappings key by key, `jobs` by their names, `setup` ahead; of anything else the upper counts.
fn lay(below: &mut Value, above: Value) {
    let (Value::Object(entries), Value::Object(new)) = (&mut *below, &above) else {
        if !above.is_null() {
            *below = above;
        }
        return;
    };
    for (key, value) in new {
        match (key.as_str(), entries.get_mut(key), value) {
            ("jobs", Some(Value::Array(jobs)), Value::Array(new)) => lay_jobs(jobs, new),
            ("setup", Some(Value::Array(setup)), Value::Array(new)) => {
                setup.splice(0..0, new.iter().cloned());
            }
            // `{cmd}` stands for the command that is overridden.
            ("run", Some(Value::String(run)), Value::String(new)) => *run = new.replace("{cmd}", run),
            (_, Some(old), value) => lay(old, value.clone()),
            (_, None, value) => {
                entries.insert(key.clone(), value.clone());
            }
        }
    }
}

fn lay_jobs(jobs: &mut Vec<Value>, new: &[Value]) {
    for job in new {
        let name = job.get("name").filter(|name| name.is_string());
        match jobs.iter_mut().find(|known| name.is_some() && known.get("name") == name) {
            Some(known) => lay(known, job.clone()),
            None => jobs.push(job.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_are_laid_over_each_other_as_lefthook_does() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "lefthook.yml",
            "extends: [hooks/*.yml, ../outside.yml, gone.yml]\nremotes:\n- {git_url: 'https://me:pw@h/t/shared.git', ref: v1}\n- {git_url: git@h:t/other}\npre-commit: {jobs: [{name: a, run: one}, {run: two}]}\n",
        );
        write("hooks/1.yml", "pre-commit: {jobs: [{name: a, run: '{cmd} --more', tags: x}, {name: b, run: b}]}\n");
        write("hooks/2.yml", "extends: [hooks/deep/c.yml]\n");
        write("hooks/deep/c.yml", "pre-push: {commands: {c: {run: c}}}\n");
        write(".git/info/lefthook-remotes/shared-v1/lefthook.yml", "pre-push: {commands: {c: {skip: true}}}\n");
        write("lefthook-local.yml", "pre-commit: {jobs: [{name: b, skip: true}]}\n");
        let files = read(folder.path(), &folder.path().join(".git"), "lefthook.yml").unwrap();
        assert_eq!(
            files.shared["pre-commit"],
            json!({"jobs": [{"name": "a", "run": "one --more", "tags": "x"}, {"run": "two"}, {"name": "b", "run": "b"}]})
        );
        assert_eq!(files.shared["pre-push"], json!({"commands": {"c": {"run": "c", "skip": true}}}));
        assert_eq!(files.own.unwrap().1["pre-commit"]["jobs"][2], json!({"name": "b", "run": "b", "skip": true}));
        let notes = files.notes.join("\n");
        for part in ["../outside.yml", "gone.yml", "https://…@h/t/shared.git", "lefthook.yml of git@h:t/other"] {
            assert!(notes.contains(part), "{part} in {notes}");
        }
        assert!(!notes.contains("pw"), "{notes}");
    }
}
