//! What a person sees: progress, tables, colours, JSON. This room knows nothing of what it shows.
//!
//! Work that takes time gets a [`Task`] from a [`Progress`]: on a terminal a live line each, elsewhere a plain line when
//! it ends. The output of a task is shown only when it failed, or with `--verbose`.

mod live;
mod progress;
mod say;
mod style;
mod table;

pub use progress::{Outcome, Progress, Task, Verbosity};
pub use say::print;
pub(crate) use say::say;
pub use style::{Tone, clean, paint, seconds};
pub use table::Table;
