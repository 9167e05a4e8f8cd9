//! What a scratch tree borrows from the work tree: ignored folders such as `.venv` or `node_modules`. A borrowed folder is
//! a real one whose children are links, because a pattern like `node_modules/` ignores no link.

use super::Error;
use crate::values::RelativePath;
use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::{Path, PathBuf},
};

/// The largest file that is searched for a way back into the work tree; such files are a line or two.
const POINTER_BYTES: u64 = 64 * 1024;

/// Links what the folders hold into the scratch tree, and names what leads back into the work tree: a step that follows it
/// judges other code than the snapshot.
pub(super) fn borrow(work_tree: &Path, scratch: &Path, folders: &[RelativePath]) -> Result<Vec<String>, Error> {
    let mut told = Vec::new();
    for folder in folders {
        let (from, to) = (folder.below(work_tree), folder.below(scratch));
        if from.is_dir() {
            mirror(&Trees { work_tree, scratch }, &from, &to).map_err(Error::file(&to))?;
            told.extend(ways_back(work_tree, &from));
        }
    }
    Ok(told)
}

struct Trees<'a> {
    work_tree: &'a Path,
    scratch: &'a Path,
}

/// Makes `to` a folder with a link for each child of `from`, and takes links away whose child is gone.
fn mirror(trees: &Trees<'_>, from: &Path, to: &Path) -> io::Result<()> {
    if to.symlink_metadata().is_ok_and(|metadata| !metadata.is_dir()) {
        fs::remove_file(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(to)? {
        let path = entry?.path();
        let gone = path.file_name().is_some_and(|name| from.join(name).symlink_metadata().is_err());
        if gone && path.is_symlink() {
            fs::remove_file(path)?;
        }
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (child, link) = (entry.path(), to.join(entry.file_name()));
        // A scope of npm packages, where workspaces are linked one level deeper.
        if entry.file_name().as_bytes().starts_with(b"@") && entry.file_type()?.is_dir() {
            mirror(trees, &child, &link)?;
            continue;
        }
        let target = target(trees, from, &child);
        match fs::read_link(&link) {
            Ok(current) if current == target => continue,
            Ok(_) => fs::remove_file(&link)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // A file or folder that a step made itself: it stays, as `setup` may have made it.
            Err(_) => continue,
        }
        symlink(target, link)?;
    }
    Ok(())
}

/// Where the link for a child leads: to the child; but a child that is itself a link into the work tree (a workspace of
/// npm) leads to the same place in the scratch tree.
fn target(trees: &Trees<'_>, from: &Path, child: &Path) -> PathBuf {
    let back = fs::read_link(child).ok().and_then(|_| child.canonicalize().ok());
    back.filter(|real| !real.starts_with(from))
        .and_then(|real| real.strip_prefix(trees.work_tree).ok().map(|path| trees.scratch.join(path)))
        .unwrap_or_else(|| child.to_owned())
}

/// Python's editable installs: a `.pth` file, or a finder beside it, that names the work tree.
fn ways_back(work_tree: &Path, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for python in children(&folder.join("lib")) {
        for file in children(&python.join("site-packages")) {
            let name = file.file_name().unwrap_or_default().as_bytes();
            let points = name.ends_with(b".pth") || (name.starts_with(b"__editable__") && name.ends_with(b".py"));
            let small = || fs::metadata(&file).is_ok_and(|metadata| metadata.len() <= POINTER_BYTES);
            if points && small() && fs::read(&file).is_ok_and(|text| names(&text, work_tree.as_os_str())) {
                found.push(format!(
                    "{} leads back into the work tree: what it installs is judged there and not in the snapshot; \
                     `scratch.setup` can install it anew",
                    file.display()
                ));
            }
        }
    }
    found
}

fn names(text: &[u8], path: &OsStr) -> bool {
    text.windows(path.len().max(1)).any(|window| window == path.as_bytes())
}

fn children(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Both {
        _folder: tempfile::TempDir,
        work: PathBuf,
        scratch: PathBuf,
    }

    fn both() -> Both {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (work, scratch) = (root.join("work"), root.join("scratch"));
        fs::create_dir_all(work.join("node_modules/left-pad")).unwrap();
        fs::create_dir_all(&scratch).unwrap();
        fs::write(work.join("node_modules/left-pad/index.js"), "1").unwrap();
        Both { _folder: folder, work, scratch }
    }

    fn borrow_modules(both: &Both) -> Vec<String> {
        borrow(&both.work, &both.scratch, &["node_modules".parse().unwrap()]).unwrap()
    }

    #[test]
    fn a_borrowed_folder_is_a_folder_of_links_and_follows_the_original() {
        let both = both();
        borrow_modules(&both);
        assert!(!both.scratch.join("node_modules").is_symlink());
        assert_eq!(fs::read_to_string(both.scratch.join("node_modules/left-pad/index.js")).unwrap(), "1");
        fs::remove_dir_all(both.work.join("node_modules/left-pad")).unwrap();
        fs::create_dir(both.work.join("node_modules/new")).unwrap();
        borrow_modules(&both);
        assert!(both.scratch.join("node_modules/left-pad").symlink_metadata().is_err());
        assert!(both.scratch.join("node_modules/new").is_dir());
    }

    #[test]
    fn a_workspace_leads_into_the_scratch_tree() {
        let both = both();
        for (tree, text) in [(&both.work, "unstaged"), (&both.scratch, "snapshot")] {
            fs::create_dir_all(tree.join("packages/app")).unwrap();
            fs::write(tree.join("packages/app/index.js"), text).unwrap();
        }
        fs::create_dir(both.work.join("node_modules/@team")).unwrap();
        symlink("../../packages/app", both.work.join("node_modules/@team/app")).unwrap();
        assert_eq!(borrow_modules(&both), [""; 0]);
        let judged = fs::read_to_string(both.scratch.join("node_modules/@team/app/index.js")).unwrap();
        assert_eq!(judged, "snapshot");
    }

    #[test]
    fn an_editable_install_is_named() {
        let both = both();
        let packages = both.work.join(".venv/lib/python3.12/site-packages");
        fs::create_dir_all(&packages).unwrap();
        fs::write(packages.join("__editable__.app.pth"), both.work.join("src").as_os_str().as_bytes()).unwrap();
        fs::write(packages.join("other.pth"), "/opt/other").unwrap();
        let told = borrow(&both.work, &both.scratch, &[".venv".parse().unwrap()]).unwrap();
        assert!(told.len() == 1 && told[0].contains("__editable__.app.pth"), "{told:?}");
    }
}
