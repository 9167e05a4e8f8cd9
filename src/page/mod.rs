//! The page: what `status`, `history` and the run log know, drawn for a browser on this machine. It asks the rooms that the
//! command line asks, keeps nothing of its own, and changes nothing itself: a button runs the program's own command. Served on
//! loopback behind a random token, or written into one file.

mod act;
mod assets;
mod detail;
mod environments;
mod export;
mod facts;
mod gate;
mod layout;
mod live;
mod parts;
mod pipeline;
mod row;
mod server;
mod svg;
mod trend;
mod trends;
mod watch;

pub use export::export;
pub use server::serve;

use crate::{config::Config, git::Repository};
use std::{path::PathBuf, time::Duration};

/// What a page is about.
#[derive(Clone)]
pub struct Settings {
    /// The clone.
    pub repository: Repository,
    /// The context of the kubeconfig; the current one without it.
    pub context: Option<String>,
    /// Reads the configuration as it is now, or says why it cannot be used.
    pub configuration: fn(&Repository) -> Result<Config, String>,
}

impl Settings {
    /// The clone with git's configuration as it is now: what is confirmed, and which branch follows which, changes while a page
    /// is served.
    fn clone_now(&self) -> Repository {
        let folder = self.repository.work_dir().unwrap_or_else(|| self.repository.git_dir());
        Repository::open(folder).unwrap_or_else(|_| self.repository.clone())
    }
}

/// How a page is served.
#[derive(Debug, Clone)]
pub struct Serving {
    /// The port; 0 lets the system choose.
    pub port: u16,
    /// It ends when nobody has looked for so long.
    pub idle: Duration,
}

/// What can go wrong with the page.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum Error {
    /// The port is taken, or may not be used.
    #[error("cannot listen on 127.0.0.1:{port}")]
    #[diagnostic(code(environment), help("leave out --port, and a free one is chosen"))]
    Listen {
        /// The port.
        port: u16,
        /// Why.
        #[source]
        source: std::io::Error,
    },

    /// The system gives no randomness.
    #[error("the system gives no random bytes for the page's token: {0}")]
    #[diagnostic(code(environment))]
    Random(String),

    /// The server or one of its threads could not go on.
    #[error("the page's server cannot go on")]
    #[diagnostic(code(environment))]
    Server(#[source] std::io::Error),

    /// A file that could not be written.
    #[error("cannot write {}", path.display())]
    #[diagnostic(code(environment))]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
