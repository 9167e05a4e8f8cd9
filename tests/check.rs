//! Checks on real repositories with the real git. The room runs in a process of its own (`the_runner` below), by hand or
//! called by git as a hook, so that it meets the environment and the signals that it meets in life.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::unused_self,
    reason = "all of this is tests, also what clippy does not know for one"
)]

mod check {
    mod places;
    mod processes;
    mod records;
    pub mod runner;
    mod safety;
    mod trees;
    mod walk;
}
mod context;
