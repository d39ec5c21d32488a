//! What a close of a link says besides its code.

use crate::{
    code::CloseCode,
    id::NodeGeneration,
    wire::limits::{MAX_TEXT_BYTES, clean_text},
};

/// Why a link was closed. Travels in QUIC's CONNECTION_CLOSE: the code as its error code, the rest
/// as its reason phrase, so that it arrives with the close or not at all.
///
/// The reason phrase is one byte that says whether a generation follows (0 or 1), the generation
/// (8, big endian) if so, and the message to the end. A phrase that begins with another byte is a
/// text as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseReason {
    /// Why.
    pub code: CloseCode,
    /// With [`CloseCode::Stale`]: the newest generation of the dialer that the closer knows.
    pub known: Option<NodeGeneration>,
    /// For people.
    pub message: String,
}

impl CloseReason {
    /// Bytes of the longest reason phrase.
    pub const MAX_LEN: usize = 1 + 8 + MAX_TEXT_BYTES;

    /// A reason without a generation.
    pub fn new(code: CloseCode, message: impl Into<String>) -> Self {
        Self {
            code,
            known: None,
            message: message.into(),
        }
    }

    /// The reason phrase, of at most [`Self::MAX_LEN`] bytes; a longer message is cut.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::MAX_LEN);
        match self.known {
            None => out.push(WITHOUT_KNOWN),
            Some(known) => {
                out.push(WITH_KNOWN);
                out.extend(known.0.to_be_bytes());
            }
        }
        out.extend(clean_text(&self.message).into_bytes());
        out
    }

    /// Reads a close, whatever its reason phrase holds: what cannot be read is left out.
    ///
    /// - `code`: the application error code of the close.
    pub fn decode(code: u64, reason: &[u8]) -> Self {
        let (known, message) = match reason {
            [WITHOUT_KNOWN, message @ ..] => (None, message),
            [WITH_KNOWN, rest @ ..] => match rest.split_first_chunk() {
                Some((known, message)) => {
                    let known = NodeGeneration(u64::from_be_bytes(*known));
                    let known = (known <= NodeGeneration::MAX).then_some(known);
                    (known, message)
                }
                None => (None, &[][..]),
            },
            message => (None, message),
        };
        Self {
            code: CloseCode::from_number(code),
            known,
            message: clean_text(&String::from_utf8_lossy(message)),
        }
    }
}

const WITHOUT_KNOWN: u8 = 0;
const WITH_KNOWN: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_reason_fits_256_bytes_and_a_longer_message_is_cut() {
        let mut reason = CloseReason::new(CloseCode::Stale, "x".repeat(MAX_TEXT_BYTES + 1));
        reason.known = Some(NodeGeneration::MAX);
        let bytes = reason.encode();
        assert_eq!(bytes.len(), CloseReason::MAX_LEN);
        const { assert!(CloseReason::MAX_LEN <= 256) };
        reason.message.pop();
        assert_eq!(CloseReason::decode(3, &bytes), reason);
    }

    #[test]
    fn text_of_others_and_phrases_cut_short_leave_out_what_is_missing() {
        let decode = |bytes: &[u8]| {
            let reason = CloseReason::decode(99, bytes);
            assert_eq!(reason.code, CloseCode::Unknown(99));
            (reason.known, reason.message)
        };
        assert_eq!(decode(b""), (None, String::new()));
        assert_eq!(decode(b"bye"), (None, "bye".to_owned()));
        assert_eq!(decode(b"\x01\0\0\0"), (None, String::new()));
        // A generation that no header could carry.
        assert_eq!(decode(b"\x01\xff\0\0\0\0\0\0\0m"), (None, "m".to_owned()));
        assert_eq!(decode(b"\xffbye\n"), (None, "\u{fffd}bye?".to_owned()));
    }

    proptest! {
        #[test]
        fn reasons_come_back_as_they_were(
            code in prop::sample::select(CloseCode::ALL),
            known in prop::option::of(0..=NodeGeneration::MAX.0),
            message in "[^\\p{Cc}]{0,40}",
        ) {
            let known = known.map(NodeGeneration);
            let reason = CloseReason { code, known, message };
            let decoded = CloseReason::decode(code.number().into(), &reason.encode());
            prop_assert_eq!(decoded, reason);
        }

        #[test]
        fn any_bytes_make_a_bounded_reason(
            code: u64,
            bytes in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let reason = CloseReason::decode(code, &bytes);
            prop_assert!(reason.message.len() <= MAX_TEXT_BYTES);
        }
    }
}
