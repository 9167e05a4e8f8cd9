//! What a step sees, whatever form of commit, push or repository it is: exactly what git is about to record, and nothing of
//! the user's is changed by looking. The real binary under the real git.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this is tests, also what clippy does not know for one")]

mod context;
#[path = "context/testbed.rs"]
mod testbed;
mod snapshots {
    mod case_folding;
    mod commits;
    mod every_hook;
    mod fixers;
    mod large_files;
    mod meanwhile;
    mod names;
    mod nested;
    mod pushes;
    mod rebases;
    mod repositories;
    mod seen;
    mod trials;
}
