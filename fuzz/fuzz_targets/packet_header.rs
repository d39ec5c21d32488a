//! Any datagram is a value or a typed error, and what was decoded encodes to the same value.
#![no_main]

use causeway::wire::{CloseReason, Datagram};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(datagram) = Datagram::decode(bytes) {
        let mut again = Vec::new();
        datagram.encode(&mut again);
        assert_eq!(Datagram::decode(&again), Ok(datagram));
    }
    let reason = CloseReason::decode(3, bytes);
    assert!(reason.encode().len() <= CloseReason::MAX_LEN);
});
