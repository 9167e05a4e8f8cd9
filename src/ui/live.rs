//! Where live lines are drawn. The terminal echoes Ctrl-C as `^C` at the cursor, which stands behind the last column of a
//! line that was drawn: the echo began a line of its own, and one live line was never cleared.

use console::Term;
use indicatif::{ProgressDrawTarget, TermLike};
use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

/// Standard error, where the cursor goes back to the first column after each drawing.
#[derive(Debug)]
struct Live {
    term: Term,
    drawn: AtomicBool,
}

pub(super) fn target() -> ProgressDrawTarget {
    // Else it would be standard output that decides about the colours.
    console::set_colors_enabled(console::colors_enabled_stderr());
    ProgressDrawTarget::term_like(Box::new(Live { term: Term::buffered_stderr(), drawn: AtomicBool::new(false) }))
}

impl TermLike for Live {
    fn width(&self) -> u16 {
        TermLike::width(&self.term)
    }

    fn height(&self) -> u16 {
        TermLike::height(&self.term)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_left(n)
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.term.write_line(line)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.drawn.store(true, Ordering::Relaxed);
        self.term.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.term.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        if self.drawn.swap(false, Ordering::Relaxed) {
            self.term.write_str("\r")?;
        }
        self.term.flush()
    }
}
