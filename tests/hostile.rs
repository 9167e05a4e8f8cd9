//! Input, steps and machines at their worst: each time a clear error or correct work, within bounded memory and time, and
//! nothing lost. The real binary under the real git.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this is tests, also what clippy does not know for one")]

mod context;
#[path = "context/testbed.rs"]
mod testbed;
mod hostile {
    mod configurations;
    mod machines;
    mod measured;
    mod people;
    mod steps;
}
