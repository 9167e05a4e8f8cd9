//! Container images: built from a commit's tree by the user's engine, tried once, and published with two tags. What was
//! built before under the same key is never built again, and no existing tag is ever overwritten. This room knows nothing
//! of manifests or clusters.

mod binary;
mod context;
mod credentials;
mod dockerfile;
mod dockerignore;
mod error;
mod key;
mod registry;

pub use binary::{ExtraFile, push_binary};
pub use error::Error;
pub use key::Key;
pub use registry::Transport;
