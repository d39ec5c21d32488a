//! Packets per second through the engine on one core, with ten thousand on their way.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use netem::{
    engine::{Engine, EngineConfig, HostId},
    model::{Distribution, Jitter, Loss, Order, PairModel, Rate},
};

const IN_FLIGHT: u64 = 10_000;
const SPACING: Duration = Duration::from_micros(10);

/// One pair in steady state: each packet in lets one out.
struct Flow {
    engine: Engine<u64>,
    now: Instant,
}

impl Flow {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the origin of made-up times"
    )]
    fn new(model: PairModel) -> Self {
        let engine = Engine::new(EngineConfig {
            seed: 1,
            default_pair: model,
            max_queued_bytes: 1 << 30,
        });
        let now = Instant::now();
        let mut flow = Self { engine, now };
        for packet in 0..2 * IN_FLIGHT {
            flow.turn(packet);
        }
        flow
    }

    fn turn(&mut self, packet: u64) {
        self.now += SPACING;
        let (from, to) = (HostId(0), HostId(1));
        self.engine.handle_packet(self.now, from, to, 1_200, packet);
        while self.engine.poll_delivery(self.now).is_some() {}
    }
}

fn engine(criterion: &mut Criterion) {
    let delay = SPACING * u32::try_from(IN_FLIGHT).expect("fits");
    let delayed = PairModel::delayed(delay);
    let jittery = |distribution| PairModel {
        jitter: Jitter {
            distribution,
            order: Order::Free,
            ..Jitter::default()
        },
        ..delayed.clone()
    };
    let spread = delay / 10;
    let all = PairModel {
        loss: Loss::from_ppm(10_000),
        rate: NonZeroU64::new(10_000_000_000).map(Rate::new),
        ..jittery(Distribution::Uniform(spread))
    };
    let mut group = criterion.benchmark_group("engine, 10,000 in flight");
    group.throughput(Throughput::Elements(1));
    for (name, model) in [
        ("delay", delayed.clone()),
        (
            "uniform jitter, out of order",
            jittery(Distribution::Uniform(spread)),
        ),
        (
            "normal jitter, out of order",
            jittery(Distribution::Normal(spread)),
        ),
        (
            "pareto jitter, out of order",
            jittery(Distribution::Pareto(spread)),
        ),
        ("uniform jitter, loss and rate", all),
    ] {
        let mut flow = Flow::new(model);
        let mut packet = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                packet += 1;
                flow.turn(packet);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
