//! Any datagram is a value or a typed error, and what was decoded encodes to the same value.

use causeway::wire::{CloseReason, Datagram};

pub(crate) fn check(bytes: &[u8]) {
    if let Ok(datagram) = Datagram::decode(bytes) {
        let mut again = Vec::new();
        datagram.encode(&mut again);
        assert_eq!(Datagram::decode(&again), Ok(datagram));
    }
    let reason = CloseReason::decode(3, bytes);
    assert!(reason.encode().len() <= CloseReason::MAX_LEN);
}
