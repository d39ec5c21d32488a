//! What a task waits for.

/// Declares the closed list of waits with the word for each.
macro_rules! waits {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// What a task waits for, as its owner's operator reads it in the task list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Wait {
            $($(#[$doc])* $variant,)*
        }

        impl Wait {
            /// Every wait.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word for tables and logs.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

waits! {
    /// It runs, or has not said.
    Nothing = "nothing",
    /// A connection or stream that a peer may open.
    Accept = "accept",
    /// The end of a backoff.
    Backoff = "backoff",
    /// The end of something that is being closed.
    Close = "close",
    /// A packet from the peer.
    Datagram = "datagram",
    /// A dial, up to the peer's Hello.
    Dial = "dial",
    /// An accepted connection's handshake or Hello.
    Hello = "hello",
    /// A local program that may connect.
    LocalAccept = "local_accept",
    /// A local endpoint to take the connection.
    LocalConnect = "local_connect",
    /// Bytes from a local program.
    LocalRead = "local_read",
    /// A local program to take bytes.
    LocalWrite = "local_write",
    /// An event from another task.
    Message = "message",
    /// Its turn for a permit.
    Permit = "permit",
    /// A peer's bytes on a stream.
    Read = "read",
    /// A reply that was asked for.
    Reply = "reply",
    /// A name to be resolved.
    Resolve = "resolve",
    /// Room to send packets.
    Room = "room",
    /// The next tick of its own timer.
    Timer = "timer",
    /// A peer to take bytes of a stream.
    Write = "write",
}

impl Wait {
    /// The wait behind a stored number.
    pub(super) fn from_stored(number: u8) -> Self {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .unwrap_or(Self::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wait_comes_back_from_its_stored_number() {
        for wait in Wait::ALL {
            assert_eq!(Wait::from_stored(*wait as u8), *wait);
        }
    }
}
