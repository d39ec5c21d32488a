//! The typed codes with which links and streams end, and requests are refused.
//!
//! They are numbers on the wire: a number is never used again for something else. A number that a
//! newer peer made up is kept as [`CloseCode::Unknown`] and its like, never an error.

use std::fmt;

use crate::telemetry::Label;

/// Declares an enum that is a number on the wire and a word for people.
macro_rules! codes {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal, $word:literal;)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// A number that this build does not know.
            Unknown(u32),
        }

        impl $name {
            /// Every code that this build knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number on the wire.
            pub fn number(self) -> u32 {
                match self {
                    $(Self::$variant => $number,)*
                    Self::Unknown(number) => number,
                }
            }

            /// The code behind a number from the wire.
            pub fn from_number(number: u64) -> Self {
                match number {
                    $($number => Self::$variant,)*
                    other => Self::Unknown(u32::try_from(other).unwrap_or(u32::MAX)),
                }
            }

            /// The word for logs, metrics and tables.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Unknown(_) => "unknown",
                }
            }
        }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)* Self::Unknown(0)];

            fn word(self) -> &'static str {
                self.word()
            }

            fn index(self) -> usize {
                // Unknown numbers are counted together, in the last place.
                Self::ALL.iter().position(|code| *code == self).unwrap_or(Self::ALL.len())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::Unknown(number) => write!(f, "unknown code {number}"),
                    known => f.write_str(known.word()),
                }
            }
        }
    };
}

codes! {
    /// Why a link was closed: the application error code of the QUIC connection.
    CloseCode {
        /// Dropped without a word, as quinn does: a dial that was cancelled, most likely.
        Dropped = 0, "dropped";
        /// The node is ending.
        Shutdown = 1, "shutdown";
        /// A newer link of the same pair took over.
        Superseded = 2, "superseded";
        /// The dialer's node generation is below one that is known.
        Stale = 3, "stale_generation";
        /// A deadline of link set-up passed: handshake, Hello or promotion.
        SetupTimeout = 5, "setup_timeout";
        /// A control frame could not be decoded, or came where it must not.
        Malformed = 6, "malformed";
        /// Hello and certificate name different nodes, or not the node that was dialed.
        WrongName = 7, "wrong_name";
        /// No protocol minor in common.
        NoCommonProtocol = 8, "no_common_protocol";
        /// Two names with one node key.
        KeyCollision = 9, "key_collision";
        /// No reply to probes for as long as a silent link is kept.
        Silent = 10, "silent";
        /// The peer's certificate no longer passes.
        Untrusted = 11, "untrusted";
        /// The peer is no longer wanted here.
        Removed = 12, "removed";
        /// A limit was hit.
        Overloaded = 13, "overloaded";
        /// The node dialed itself.
        Myself = 15, "myself";
    }
}

codes! {
    /// Why a stream was reset or stopped: the application error code of the QUIC stream.
    StreamCode {
        /// Dropped before it was done.
        Cancelled = 1, "cancelled";
        /// A deadline passed.
        Deadline = 2, "deadline";
        /// The reader took nothing for as long as a stalled stream is kept.
        Stalled = 3, "stalled";
        /// The local program reset its connection.
        LocalReset = 4, "local_reset";
        /// `Open` was refused; the answer says why.
        Refused = 5, "refused";
        /// A limit was hit.
        Overloaded = 6, "overloaded";
        /// The node is ending.
        Shutdown = 7, "shutdown";
        /// What was read could not be decoded.
        Malformed = 8, "malformed";
    }
}

codes! {
    /// Why a flow was closed.
    FlowCode {
        /// No packet for as long as an idle flow is kept.
        Idle = 1, "idle";
        /// There is no such flow here, or no more: packets came for it.
        UnknownFlow = 2, "unknown_flow";
        /// The local socket failed.
        LocalFailed = 3, "local_failed";
        /// The service or listen is no longer configured, or no longer allows it.
        Removed = 4, "removed";
        /// A limit was hit.
        Overloaded = 5, "overloaded";
        /// The node is ending.
        Shutdown = 6, "shutdown";
        /// A node on the way cannot go on.
        Unreachable = 7, "unreachable";
    }
}

codes! {
    /// Why an `Open` of a stream or of a flow was refused.
    RefuseCode {
        /// No service of that name is exposed here.
        UnknownService = 1, "unknown_service";
        /// The service's `allow` does not name the caller.
        NotAllowed = 2, "not_allowed";
        /// The local endpoint refused the connection.
        LocalRefused = 3, "local_refused";
        /// The local endpoint did not answer within the budget.
        LocalTimeout = 4, "local_timeout";
        /// A limit was hit.
        Overloaded = 5, "overloaded";
        /// The stream would resume at an offset, which is not offered.
        ResumeUnsupported = 6, "resume_unsupported";
        /// The destination is another node, and relaying is not offered.
        NotHere = 7, "not_here";
        /// The service is of the other kind, UDP or TCP.
        WrongKind = 8, "wrong_kind";
        /// The budget was spent before the work began.
        BudgetSpent = 9, "budget_spent";
        /// The request could not be decoded.
        Malformed = 10, "malformed";
        /// The node is ending.
        Shutdown = 11, "shutdown";
        /// A node on the way cannot go on.
        Unreachable = 12, "unreachable";
        /// The path would visit a node twice.
        Loop = 13, "loop";
        /// The node is at its limits or leaving: another one may do it.
        Elsewhere = 14, "retry_elsewhere";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_comes_back_from_its_number_and_unknown_numbers_are_kept() {
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_number(code.number().into()), *code);
        }
        for code in StreamCode::ALL {
            assert_eq!(StreamCode::from_number(code.number().into()), *code);
        }
        for code in FlowCode::ALL {
            assert_eq!(FlowCode::from_number(code.number().into()), *code);
        }
        for code in RefuseCode::ALL {
            assert_eq!(RefuseCode::from_number(code.number().into()), *code);
        }
        assert_eq!(CloseCode::from_number(4_000), CloseCode::Unknown(4_000));
        assert_eq!(
            CloseCode::from_number(u64::MAX),
            CloseCode::Unknown(u32::MAX)
        );
    }
}
