//! Any message is a Hello within limits or a typed error, for any range of minors, and a Hello that
//! was decoded can be sent and is then the same.

use bytes::{BufMut, BytesMut};
use causeway::wire::{Frame, FrameDecoder, FrameKind, Minors, limits};

/// - `input`: our lowest minor, how many more we speak, and the message.
pub(crate) fn check(input: &[u8]) {
    let [min, more, message @ ..] = input else {
        return;
    };
    let ours = Minors {
        min: u32::from(*min),
        max: u32::from(*min) + u32::from(*more),
    };
    let mut frame = BytesMut::new();
    frame.put_u32(u32::try_from(message.len()).expect("fuzzed inputs are short"));
    frame.put_u16(FrameKind::Hello.number());
    frame.put_slice(message);
    let decoded = FrameDecoder::for_control(ours).decode(&mut frame);
    if let Ok(Some(Frame::Hello(hello))) = decoded {
        assert!(hello.labels.len() <= limits::MAX_LABELS);
        assert!(hello.addresses.len() <= limits::MAX_ADDRESSES);
        let hello = Frame::Hello(hello);
        let mut again = BytesMut::new();
        hello.encode(&mut again).expect("what was decoded fits");
        let again = FrameDecoder::for_control(ours).decode(&mut again);
        assert_eq!(again, Ok(Some(hello)));
    }
}
