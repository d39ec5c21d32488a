//! Rates, queues and sizes.

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use super::{BASE, Case, HEADER_BYTES, bursts, ms};
use crate::{
    model::{PairModel, Rate},
    verify::{
        checks::{limits, loss},
        ground::{Time, Traffic},
    },
};

pub(super) fn cases(time: Time) -> Vec<Case> {
    vec![rate(time), queue(time), packet_limit(), size()]
}

/// Sent faster than it leaves, so that the rate never runs dry: 1,038 bytes at 7 Mbit/s take
/// 1,186,285.7 ns, and 20 packets come every 10 ms.
fn rate(time: Time) -> Case {
    let rate = Rate {
        overhead_bytes: 38,
        queue_bytes: None,
        ..mbit(7)
    };
    let mut checks = vec![limits::rate(7, 1_038)];
    let count = match time {
        Time::Real => 150,
        Time::Virtual => {
            checks.push(limits::serialization(Duration::from_nanos(1_186_286)));
            1_000
        }
    };
    let traffic = bursts(count, 20, ms(10), PACKET_BYTES);
    Case::new("rate 7mbit overhead 38", limited(rate), traffic, checks)
}

/// Twice as much at once as the queue takes, again and again as it is empty: 1,000 bytes take a
/// millisecond.
fn queue(time: Time) -> Case {
    let rate = Rate {
        queue_bytes: Some(FITTING as usize * PACKET_BYTES),
        ..mbit(8)
    };
    // Where sending takes time, the first packets leave before the last ones come.
    let leaves_meanwhile = match time {
        Time::Real => 2,
        Time::Virtual => 0,
    };
    let checks = vec![
        limits::longest_wait(BASE, ms(20), ms(1)),
        loss::exactly("lost", "all but 20 of each 40", move |sequence| {
            match sequence % (2 * FITTING) {
                0..FITTING => Some(false),
                place if place < FITTING + leaves_meanwhile => None,
                _ => Some(true),
            }
        })
        // A sender that stops amid a burst lets the queue run empty.
        .on_timers(),
    ];
    let traffic = bursts(100, 2 * FITTING, ms(50), PACKET_BYTES);
    Case::new(
        "rate 8mbit, queue of 20,000 B",
        limited(rate),
        traffic,
        checks,
    )
}

/// More at once than may be on the way, again and again as all have arrived.
fn packet_limit() -> Case {
    let model = PairModel {
        limit_packets: NonZeroU32::new(10),
        ..PairModel::delayed(ms(20))
    };
    let check = loss::exactly("lost", "all but 10 of each 15", |sequence| {
        Some(sequence % 15 >= 10)
    })
    .on_timers();
    let traffic = bursts(100, 15, ms(50), PACKET_BYTES);
    Case::new("limit 10 packets", model, traffic, vec![check])
}

/// Packets of the limit and of a byte more, in turn.
fn size() -> Case {
    let model = PairModel {
        max_bytes: Some(MAX_BYTES),
        ..PairModel::delayed(BASE)
    };
    let fits = MAX_BYTES - HEADER_BYTES;
    let traffic = Traffic {
        payload_bytes: vec![fits, fits + 1],
        ..bursts(500, 2, ms(10), PACKET_BYTES)
    };
    Case::new(
        "at most 1,200 B",
        model,
        traffic,
        vec![limits::size(MAX_BYTES)],
    )
}

fn limited(rate: Rate) -> PairModel {
    PairModel {
        rate: Some(rate),
        ..PairModel::delayed(BASE)
    }
}

fn mbit(megabits: u64) -> Rate {
    Rate::new(NonZeroU64::new(megabits * 1_000_000).expect("above zero"))
}

/// With its headers.
const PACKET_BYTES: usize = 1_000;

/// Packets that fit the queue.
const FITTING: u32 = 20;

/// With its headers; no such packet is fragmented on any link.
const MAX_BYTES: usize = 1_200;
