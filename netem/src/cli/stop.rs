//! Ends a foreground command on ctrl-C and SIGTERM.

use std::{io, os::unix::net::UnixStream};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    low_level::pipe,
};

/// Readable once either signal has come.
pub(super) fn on_signals() -> io::Result<UnixStream> {
    let (stop, signalled) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM] {
        pipe::register(signal, signalled.try_clone()?)?;
    }
    Ok(stop)
}
