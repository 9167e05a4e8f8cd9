use super::{Error, Repository};
use crate::values::Oid;
use jiff::Timestamp;

/// A commit as a list of them shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its id.
    pub id: Oid,
    /// Its tree.
    pub tree: Oid,
    /// The first of its parents; `None` for a root.
    pub parent: Option<Oid>,
    /// Who wrote it.
    pub author: String,
    /// When it was committed, by the clock of whoever did.
    pub time: Timestamp,
    /// The first line of its message.
    pub subject: String,
}

impl Repository {
    /// The commits that these commits have, each once, the newest first, at most `limit` of them.
    ///
    /// # Errors
    /// When git fails.
    pub fn log(&self, tips: &[Oid], limit: usize) -> Result<Vec<Logged>, Error> {
        if tips.is_empty() {
            return Ok(Vec::new());
        }
        let count = format!("--max-count={limit}");
        let shown = ["log", "--stdin", "--topo-order", &count, "--format=%H%x00%T%x00%P%x00%ct%x00%an%x00%s"];
        let tips: Vec<&str> = tips.iter().map(Oid::as_str).collect();
        let listed = self.git().args(shown).input(tips.join("\n") + "\n").run()?;
        let all = String::from_utf8_lossy(&listed.stdout);
        Ok(all.lines().filter_map(Logged::parse).collect())
    }
}

impl Logged {
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.splitn(6, '\0').collect();
        let [id, tree, parents, time, author, subject] = fields[..] else { return None };
        Some(Self {
            id: id.parse().ok()?,
            tree: tree.parse().ok()?,
            parent: parents.split(' ').next().and_then(|parent| parent.parse().ok()),
            author: author.to_owned(),
            time: Timestamp::from_second(time.parse().ok()?).ok()?,
            subject: subject.to_owned(),
        })
    }
}
