use super::Error;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// What a Ctrl-C, TERM or HUP leaves behind for those who watch long work: they stop what they started, then the process
/// dies of the signal as its parent expects.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// Listens from now on. The signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> Result<Self, Error> {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGINT, SIGTERM, SIGHUP] {
            let value = usize::try_from(number).unwrap_or_default();
            signal_hook::flag::register_usize(number, Arc::clone(&signal), value).map_err(Error::Signals)?;
        }
        Ok(Self(signal))
    }

    /// Never comes by itself; only [`Interrupt::raise`] makes it.
    #[must_use]
    pub fn never() -> Self {
        Self(Arc::default())
    }

    /// As if this signal had come.
    pub fn raise(&self, signal: i32) {
        self.0.store(usize::try_from(signal).unwrap_or_default(), Ordering::Relaxed);
    }

    /// The signal that came, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        i32::try_from(self.0.load(Ordering::Relaxed)).ok().filter(|signal| *signal != 0)
    }

    /// Ends the process by the signal that came, after all has been put away, so that the parent sees what it sent.
    pub fn die(&self) {
        if let Some(signal) = self.signal() {
            // It fails only for signals that we never listen to; the caller's exit code stands then.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    }
}
