//! The page as people meet it: served by the real binary, looked at in a real browser (Debian's chromium, headless), its buttons
//! pressed against the real cluster.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]
#![allow(clippy::needless_pass_by_value, reason = "a call's body is written where it is sent")]

mod context;
mod page {
    mod browser;
    mod gate;
    mod look;
    mod served;
    mod story;
}
#[path = "context/testbed.rs"]
mod testbed;
