//! Ends a foreground command on ctrl-C, on SIGTERM, and when its terminal is closed.

use std::{io, os::unix::net::UnixStream};

use rustix::event::{PollFd, PollFlags};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    low_level::pipe,
};

use crate::{clock, realtime};

/// Readable once one of the signals has come.
pub(super) fn on_signals() -> io::Result<UnixStream> {
    let (stop, signalled) = UnixStream::pair()?;
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        pipe::register(signal, signalled.try_clone()?)?;
    }
    Ok(stop)
}

/// Whether one of the signals has come.
pub(super) fn has_come(stop: &UnixStream) -> io::Result<bool> {
    let mut wait = [PollFd::new(stop, PollFlags::IN)];
    realtime::wait(&mut wait, Some(clock::now()))?;
    Ok(!wait[0].revents().is_empty())
}
