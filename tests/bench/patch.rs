//! What a delivery does to the files of a manifest repository, without git's network and without a commit: every manifest of a
//! revision is read from the object database, and what changed is written into the work tree. `tests/bench/run` measures it.
//!   bench-patch FOLDER REVISION REFERENCE

use gitops_hooks::{
    git::{ManifestFiles, Repository},
    manifest::{self, File, Form, Images, Wanted},
    values::ImageRef,
};
use std::{collections::BTreeMap, error::Error, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, revision, reference] = arguments.as_slice() else { return Err("FOLDER REVISION REFERENCE".into()) };
    let reference: ImageRef = reference.parse()?;
    let wanted = [Wanted { image: "web".parse()?, reference }];
    let known = BTreeMap::from([(wanted[0].image.clone(), wanted[0].reference.repository.clone())]);
    let images = Images::new(&wanted, &known);
    let repository = Repository::open(Path::new(folder))?;
    let commit = repository.commit(revision).ok_or("no such revision")?;
    let contents = ManifestFiles::open(repository.common_dir())?;
    let mut changed = 0;
    for entry in repository.entries(&commit)? {
        let path = str::from_utf8(&entry.path)?;
        let bytes = contents.read(&entry.oid)?;
        let done = manifest::patch(&File { path, form: Form::Manifest, bytes: &bytes }, &images)?;
        if done.is_changed() {
            std::fs::write(Path::new(folder).join(path), &done.bytes)?;
            changed += 1;
        }
    }
    println!("{changed} files changed");
    Ok(())
}
