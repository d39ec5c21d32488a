//! Any bytes on a stream are frames or a typed error, the same however they come in pieces, and
//! every frame that was decoded can be sent and is then the same.

use bytes::BytesMut;
use causeway::wire::{Frame, FrameDecoder, FrameError};

/// - `input`: the length of the pieces, and the bytes of the stream.
pub(crate) fn check(input: &[u8]) {
    let Some((step, bytes)) = input.split_first() else {
        return;
    };
    let whole = decode(bytes, bytes.len().max(1));
    assert_eq!(decode(bytes, usize::from(*step).max(1)), whole);
    for frame in &whole.0 {
        let mut again = BytesMut::new();
        frame.encode(&mut again).expect("what was decoded fits");
        let (frames, error) = decode(&again, again.len());
        assert_eq!(
            (frames.as_slice(), error),
            (std::slice::from_ref(frame), None)
        );
    }
}

fn decode(bytes: &[u8], step: usize) -> (Vec<Frame>, Option<FrameError>) {
    let mut decoder = FrameDecoder::for_stream(1);
    let mut frames = Vec::new();
    for mut piece in bytes.chunks(step) {
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}
