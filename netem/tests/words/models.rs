//! Any model.

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use netem::model::{
    Chance, Correlation, Distribution, GilbertElliott, Jitter, Loss, LossTrace, Order, PairModel,
    Probability, Quantiles, Rate, Reorder,
};
use proptest::{collection::vec, option, prelude::*};

/// Any model there can be, the odd ones as likely as those that somebody would write.
pub(crate) fn any_model() -> impl Strategy<Value = PairModel> {
    let delay = (time(), jitter());
    let chances = (loss(), chance(), chance(), option::of(reorder()));
    let rate = (
        option::of(rate()),
        option::of(any::<NonZeroU32>()),
        option::of(size()),
    );
    (delay, chances, rate).prop_map(|(delay, chances, rate)| PairModel {
        delay: delay.0,
        jitter: delay.1,
        loss: chances.0,
        duplicate: chances.1,
        corrupt: chances.2,
        reorder: chances.3,
        rate: rate.0,
        limit_packets: rate.1,
        max_bytes: rate.2,
    })
}

/// Round and crooked times, up to the longest there is.
fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        (0_u64..5_000).prop_map(Duration::from_millis),
        any::<u64>().prop_map(Duration::from_nanos),
        (any::<u64>(), 0_u32..1_000_000_000).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
    ]
}

fn jitter() -> impl Strategy<Value = Jitter> {
    let distribution = prop_oneof![
        Just(Distribution::Constant),
        time().prop_map(Distribution::Normal),
        time().prop_map(Distribution::Pareto),
        time().prop_map(Distribution::Uniform),
        quantiles().prop_map(Distribution::Empirical),
    ];
    (distribution, correlation(), order()).prop_map(|(distribution, correlation, order)| Jitter {
        distribution,
        correlation,
        order,
    })
}

pub(crate) fn order() -> impl Strategy<Value = Order> {
    prop_oneof![Just(Order::Kept), Just(Order::Free)]
}

fn quantiles() -> impl Strategy<Value = Quantiles> {
    let hour = 3_600_000_000_000_i64;
    let inner = vec(1_u32..1_000_000_000, 0..20);
    (inner, vec(-hour..=hour, 22)).prop_map(|(mut inner, mut times)| {
        inner.extend([0, 1_000_000_000]);
        inner.sort_unstable();
        inner.dedup();
        times.truncate(inner.len());
        times.sort_unstable();
        let probabilities = inner.iter().map(|ppb| Probability::from_ppb(*ppb).unwrap());
        let points: Vec<_> = probabilities.zip(times).collect();
        Quantiles::try_new(&points).unwrap()
    })
}

fn loss() -> impl Strategy<Value = Loss> {
    let trace = vec(any::<bool>(), 1..50).prop_map(|lost| LossTrace::try_new(&lost).unwrap());
    prop_oneof![
        chance().prop_map(Loss::Random),
        gilbert_elliott(),
        trace.prop_map(Loss::Trace),
    ]
}

pub(crate) fn gilbert_elliott() -> impl Strategy<Value = Loss> {
    let four = [probability(), probability(), probability(), probability()];
    (four, any::<bool>()).prop_map(|([to_bad, to_good, loss_in_bad, loss_in_good], usual)| {
        let complement = Probability::from_ppb(1_000_000_000 - to_bad.ppb()).unwrap();
        Loss::GilbertElliott(GilbertElliott {
            to_bad,
            to_good: if usual { complement } else { to_good },
            loss_in_bad,
            loss_in_good,
        })
    })
}

fn chance() -> impl Strategy<Value = Chance> {
    (probability(), correlation()).prop_map(|(probability, correlation)| Chance {
        probability,
        correlation,
    })
}

pub(crate) fn probability() -> BoxedStrategy<Probability> {
    prop_oneof![
        Just(Probability::NEVER),
        Just(Probability::ALWAYS),
        (0_u32..100).prop_map(|percent| Probability::from_ppm(percent * 10_000)),
        (0_u32..=1_000_000_000).prop_map(|ppb| Probability::from_ppb(ppb).unwrap()),
    ]
    .boxed()
}

fn correlation() -> impl Strategy<Value = Correlation> {
    prop_oneof![
        Just(Correlation::NONE),
        (0_u32..1_000_000_000).prop_map(|ppb| Correlation::from_ppb(ppb).unwrap()),
    ]
}

fn reorder() -> impl Strategy<Value = Reorder> {
    let gap = prop_oneof![Just(NonZeroU32::MIN), any::<NonZeroU32>()];
    (chance(), gap).prop_map(|(chance, gap)| Reorder { chance, gap })
}

fn rate() -> impl Strategy<Value = Rate> {
    let queue = prop_oneof![
        Just(None),
        Just(Some(None)),
        size().prop_map(|bytes| Some(Some(bytes))),
    ];
    let bits = prop_oneof![any::<NonZeroU64>(), (1_u64..500).prop_map(mbit)];
    let overhead = prop_oneof![Just(0), any::<i32>()];
    (bits, overhead, queue).prop_map(|(bits, overhead_bytes, queue)| {
        let usual = Rate::new(bits);
        Rate {
            overhead_bytes,
            queue_bytes: queue.unwrap_or(usual.queue_bytes),
            ..usual
        }
    })
}

fn mbit(mbit: u64) -> NonZeroU64 {
    NonZeroU64::new(mbit * 1_000_000).unwrap()
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), 0_usize..100_000, any::<usize>()]
}
