//! Deliveries against real remotes: bare ones in a folder always, servers over SSH and HTTPS where the test bed is there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this is tests, also what clippy does not know for one")]

#[path = "context/documented.rs"]
mod documented;
#[path = "crowd/registry.rs"]
mod registry;
#[path = "context/testbed.rs"]
mod testbed;
mod deliver {
    mod acts;
    mod bad_input;
    mod bed;
    mod delivery;
    mod keys;
    mod machines;
    mod pull_requests;
    mod review;
    mod same_repository;
    mod servers;
    mod wire;
}
