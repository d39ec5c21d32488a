//! What it costs a node to take in what it measures of its links, with many of them.
//!
//! A link in use reports once a second, since its round trip moves by more than a fiftieth: at 5,000
//! links that is 5,000 of these calls a second. What is heard of the peers is not in it: they say
//! nothing, as those of the figure `idle`.

use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use router::{
    cost::{Load, Loss, Measure},
    graph::{NodeKey, RegionId, Service},
    health::Condition,
    router::{Own, Pair, Router},
};

/// A node on a clock of its own, which goes on by as much for each report as in a second of all.
struct Reports {
    router: Router,
    links: u64,
    now: Instant,
    taken: u64,
}

impl Reports {
    fn new(links: u64, start: Instant) -> Self {
        let says = Own {
            region: RegionId(0),
            service: Service::Serving,
            load: Load::IDLE,
            addresses: Vec::new(),
            ports: Vec::new(),
            release: String::new(),
            labels: BTreeMap::new(),
        };
        let mut reports = Self {
            router: Router::new(NodeKey(0), 1, says, 1, 0, start),
            links,
            now: start,
            taken: 0,
        };
        for _ in 0..2 * links {
            reports.take();
        }
        reports
    }

    /// Takes one report in, as the task around the router does.
    fn take(&mut self) {
        self.taken += 1;
        self.now += Duration::from_secs(1) / u32::try_from(self.links).unwrap_or(u32::MAX);
        let pair = Pair {
            linked: true,
            condition: Condition::Up,
            measure: Some(Measure {
                rtt: Duration::from_micros(200 + self.taken % 13),
                loss: Loss::NONE,
            }),
            limit_bytes: 1_200,
        };
        let peer = NodeKey(1 + self.taken % self.links);
        self.router.handle_pair(self.now, peer, pair);
        if self.router.poll_timeout() <= self.now {
            self.router.handle_timeout(self.now);
        }
        while let Some(output) = self.router.poll_output() {
            black_box(output);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a bench needs some instant to start from"
)]
fn reports(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("report");
    for links in [100, 1_000, 5_000] {
        let mut reports = Reports::new(links, Instant::now());
        let id = BenchmarkId::from_parameter(links);
        group.bench_function(id, |bench| bench.iter(|| reports.take()));
    }
    group.finish();
}

criterion_group!(benches, reports);
criterion_main!(benches);
