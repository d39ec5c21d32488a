//! The signals by which people and systems ask a program to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT (ctrl-C), SIGTERM and SIGHUP (the terminal is gone), from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    signals: [(SignalKind, Signal); 3],
}

impl Signals {
    /// Takes the signals over; from now on none of them ends the process by itself.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn install() -> io::Result<Self> {
        let install = |kind| signal(kind).map(|signal| (kind, signal));
        Ok(Self {
            signals: [
                install(SignalKind::interrupt())?,
                install(SignalKind::terminate())?,
                install(SignalKind::hangup())?,
            ],
        })
    }

    /// Waits for the next of them and returns its number.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next(&mut self) -> i32 {
        let [(a, interrupt), (b, terminate), (c, hangup)] = &mut self.signals;
        let kind = tokio::select! {
            biased;
            _ = interrupt.recv() => a,
            _ = terminate.recv() => b,
            _ = hangup.recv() => c,
        };
        kind.as_raw_value()
    }
}
