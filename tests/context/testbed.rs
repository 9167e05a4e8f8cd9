//! The values of the test bed's `env` file, where the process has them.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::io::Write;

/// A value of the test bed; `None`, with a word, where there is no bed. A test that gets `None` ends at once.
pub fn value(name: &str) -> Option<String> {
    let found = std::env::var(name).ok().filter(|value| !value.is_empty());
    if found.is_none() {
        skipped(&format!("needs {name}: start the test bed with `make testbed`, or run `make test`"));
    }
    found
}

/// Says what was not tested, past the harness, which keeps to itself what a passing test prints.
pub fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped {test}: {why}");
}
