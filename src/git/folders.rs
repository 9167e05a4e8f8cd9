use gix::{
    bstr::{BStr, ByteSlice},
    index::State,
};

/// A folder that the index implies, with what it holds directly.
pub(super) struct Folder {
    /// An entry somewhere in it, whose path begins with the folder's.
    entry: usize,
    length: usize,
    /// Its files: places in the index, in order.
    pub(super) files: Vec<usize>,
    /// Its folders: places in the list.
    pub(super) folders: Vec<usize>,
}

impl Folder {
    /// Its path from the root, without a slash at the end; empty for the root.
    pub(super) fn path<'a>(&self, index: &'a State) -> &'a BStr {
        match index.entries().get(self.entry) {
            Some(entry) => entry.path(index)[..self.length].as_bstr(),
            None => b"".as_bstr(),
        }
    }

    /// A path without the folder's.
    pub(super) fn name_of<'a>(&self, path: &'a BStr) -> &'a BStr {
        let start = if self.length == 0 { 0 } else { self.length + 1 };
        path.get(start..).unwrap_or_default().as_bstr()
    }
}

/// Every folder of an index, the root first, each before those in it.
pub(super) fn folders(index: &State) -> Vec<Folder> {
    let new = |entry, length| Folder { entry, length, files: Vec::new(), folders: Vec::new() };
    let mut folders = vec![new(0, 0)];
    // Where we are; the entries of a folder stand beside each other in git's order.
    let mut within: Vec<usize> = vec![0];
    for (at, entry) in index.entries().iter().enumerate() {
        let path = entry.path(index);
        while let [.., _, last] = within[..]
            && !is_in(path, folders[last].path(index))
        {
            within.pop();
        }
        let mut here = within.last().copied().unwrap_or_default();
        let mut start = if folders[here].length == 0 { 0 } else { folders[here].length + 1 };
        while let Some(slash) = path[start..].find_byte(b'/') {
            let below = folders.len();
            folders.push(new(at, start + slash));
            folders[here].folders.push(below);
            within.push(below);
            here = below;
            start += slash + 1;
        }
        folders[here].files.push(at);
    }
    folders
}

fn is_in(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.first() == Some(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gix::index::entry::{Flags, Mode, Stat};

    #[test]
    fn each_folder_knows_its_own() {
        let mut index = State::new(gix::hash::Kind::Sha1);
        for path in ["a", "a-b/x", "a.txt", "b/c/d", "b/c0", "b/e/f/g"] {
            let id = gix::hash::Kind::Sha1.null();
            index.dangerously_push_entry(Stat::default(), id, Flags::empty(), Mode::FILE, path.into());
        }
        let folders = folders(&index);
        let told: Vec<String> = folders
            .iter()
            .map(|folder| {
                let names = folder.files.iter().map(|at| folder.name_of(index.entries()[*at].path(&index)));
                let below = folder.folders.iter().map(|at| folder.name_of(folders[*at].path(&index)));
                let names: Vec<String> = names.chain(below).map(ToString::to_string).collect();
                format!("{}: {}", folder.path(&index), names.join(" "))
            })
            .collect();
        assert_eq!(told, [": a a.txt a-b b", "a-b: x", "b: c0 c e", "b/c: d", "b/e: f", "b/e/f: g"]);
    }
}
