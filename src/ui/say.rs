//! Results on standard output. Whoever reads them may go away, and a disk may be full: neither is a panic.

use std::io::{ErrorKind, Write};

/// Prints a line of the result.
macro_rules! say {
    ($($words:tt)*) => { $crate::ui::print(&format!("{}\n", format_args!($($words)*))) };
}
pub(crate) use say;

/// Prints a part of the result. Where nobody reads it any more the program ends quietly, as `git log | head` does.
pub fn print(text: &str) {
    let mut stdout = anstream::stdout().lock();
    let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    anstream::eprintln!("error: cannot write to standard output: {error}");
    std::process::exit(3);
}
