//! The values of the test bed's `env` file, where the process has them.

/// A value of the test bed; `None`, with a word, where there is no bed. A test that gets `None` ends at once.
pub fn value(name: &str) -> Option<String> {
    let found = std::env::var(name).ok().filter(|value| !value.is_empty());
    if found.is_none() {
        eprintln!("skipped: needs {name} (start the test bed with `make testbed`, run with `make test`)");
    }
    found
}
