//! What is behind becomes one commit on a manifest repository. Level-triggered: [`deliver`] asks what the environment's
//! state says is delivered and closes the difference to the upstream's tip, never backwards. How YAML is edited is the
//! `manifest` room's business, how git is spoken to the `git` room's.

mod commit;
mod delivered;
mod draft;
mod error;
mod group;
mod history;
mod manifests;
mod message;
mod order;
mod outbox;
mod plan;
mod rehearse;
mod render;
mod review;
mod run;
mod same;
mod session;
mod state;

pub use delivered::{Committed, Delivered, delivered, delivered_at};
pub use error::Error;
pub use history::{Entry, Kind, Past, history, patch};
pub use outbox::{Note, Reason, is_at_work, note, waiting};
pub use plan::{Act, Build, Seen};
pub use rehearse::{Rehearsal, rehearse};
pub use render::{Error as RenderError, renderer};
pub use review::in_review;
pub use run::{Builds, Delivery, ResolveError, Wish, deliver};
pub use same::source_of;
pub use session::Session;
pub use state::{FILE as STATE_FILE, Hold, Running, State};

use crate::{
    config,
    values::{EnvironmentName, ImageName, Repository},
};
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
};

/// An environment to deliver to.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// Its name.
    pub name: &'a EnvironmentName,
    /// What the configuration says about it.
    pub environment: &'a config::Environment,
    /// The branch of the source that its images come from, be it through other environments.
    pub branch: &'a str,
    /// The repositories of the images that it runs.
    pub images: BTreeMap<ImageName, Repository>,
    /// Whether it may run a commit of another branch than it did.
    pub switch: Switch,
}

/// Whether an environment may run a commit of another branch than it did, where neither follows the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Switch {
    /// An old checkout, whose configuration names the branch of then, would go backwards so.
    #[default]
    Refused,
    /// Somebody asked for it.
    Asked,
}

impl<'a> Target<'a> {
    /// An environment of a configuration; `None` where it has none of that name.
    #[must_use]
    pub fn of(config: &'a config::Config, name: &EnvironmentName, switch: Switch) -> Option<Self> {
        let (name, environment) = config.environments.get_key_value(name)?;
        let images = environment.images.iter().filter_map(|image| {
            let repository = (*config.images.get(&**image)?.repository).clone();
            Some(((**image).clone(), repository))
        });
        Some(Self { name, environment, branch: config.source_branch(name)?, images: images.collect(), switch })
    }
}

/// Randomness good enough for a waiting time and a token.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
