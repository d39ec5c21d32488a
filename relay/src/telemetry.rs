//! Metrics and logs.
//!
//! Instruments are OpenTelemetry's, exported as Prometheus text. Whoever counts holds a handle made
//! once at the start and touches nothing but an atomic; instruments read the atomics when somebody
//! asks. Names are dotted nouns such as `relay.packet.dropped`, units are base units (`s`, `By`,
//! `{packet}`) given apart from the name; the exporter makes `relay_packet_dropped_total` of both.

pub mod logs;
mod series;

use std::{
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use opentelemetry::{
    KeyValue,
    metrics::{Meter, MeterProvider},
};
use opentelemetry_sdk::{
    Resource,
    metrics::{Instrument, SdkMeterProvider, Stream},
};
use parking_lot::Mutex;
use prometheus::TextEncoder;

pub use self::series::Series;

/// All instruments of one node. Cloning shares them.
#[derive(Clone)]
pub struct Metrics {
    meter: Meter,
    registry: prometheus::Registry,
    instruments: Arc<Mutex<Instruments>>,
    /// Instruments report for as long as their provider lives.
    _provider: SdkMeterProvider,
}

impl Metrics {
    /// No instruments yet. Every node of a process has its own.
    #[expect(clippy::missing_panics_doc, reason = "what it expects always holds")]
    pub fn new() -> Self {
        let registry = prometheus::Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .expect("a new registry has no collector that could collide");
        let instruments = Arc::<Mutex<Instruments>>::default();
        let provider = SdkMeterProvider::builder()
            .with_resource(Resource::builder_empty().build())
            .with_reader(exporter)
            .with_view({
                let instruments = instruments.clone();
                move |instrument: &Instrument| {
                    let members = *instruments.lock().get(instrument.name())?;
                    Stream::builder()
                        .with_cardinality_limit(members)
                        .build()
                        .ok()
                }
            })
            .build();
        Self {
            meter: provider.meter("causeway"),
            registry,
            instruments,
            _provider: provider,
        }
    }

    /// Registers a number that only grows.
    ///
    /// # Panics
    /// If the name is registered already, as for all instruments: two parts of the node would
    /// count the same thing.
    pub fn counter(&self, name: &'static str, unit: &'static str, help: &'static str) -> Counter {
        self.claim(name, 1);
        let counter = Counter::default();
        let value = counter.clone();
        self.meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_description(help)
            .with_callback(move |observer| observer.observe(value.value(), &[]))
            .build();
        counter
    }

    /// Registers one number that only grows for each word of a closed list; `key` is the label that
    /// holds the word. All of them are exported from the start, as 0.
    ///
    /// # Panics
    /// If the name is registered already, or if `L` is not indexed in the order of `L::ALL`.
    pub fn counter_by<L: Label>(
        &self,
        name: &'static str,
        unit: &'static str,
        key: &'static str,
        help: &'static str,
    ) -> CounterBy<L> {
        self.claim(name, L::ALL.len());
        let by = CounterBy::new();
        let series: Vec<(Counter, KeyValue)> = L::ALL
            .iter()
            .map(|label| (by.handle(*label), KeyValue::new(key, label.word())))
            .collect();
        self.meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_description(help)
            .with_callback(move |observer| {
                for (counter, label) in &series {
                    observer.observe(counter.value(), std::slice::from_ref(label));
                }
            })
            .build();
        by
    }

    /// Registers a number that goes up and down.
    ///
    /// # Panics
    /// If the name is registered already.
    pub fn gauge(&self, name: &'static str, unit: &'static str, help: &'static str) -> Gauge {
        self.claim(name, 1);
        let gauge = Gauge::default();
        let value = gauge.clone();
        self.meter
            .i64_observable_gauge(name)
            .with_unit(unit)
            .with_description(help)
            .with_callback(move |observer| observer.observe(value.value(), &[]))
            .build();
        gauge
    }

    /// Registers numbers that go up and down, one for each member of a set that changes, such as
    /// the peers: `list` reports them whenever somebody asks. A member that is no longer reported
    /// is no longer exported; beyond 8,192 one member stands for the rest.
    ///
    /// # Panics
    /// If the name is registered already.
    pub fn gauges(
        &self,
        name: &'static str,
        unit: &'static str,
        help: &'static str,
        list: impl Fn(&mut Series<'_, f64>) + Send + Sync + 'static,
    ) {
        self.claim(name, MAX_MEMBERS);
        self.meter
            .f64_observable_gauge(name)
            .with_unit(unit)
            .with_description(help)
            .with_callback(move |observer| list(&mut Series::new(observer)))
            .build();
    }

    /// As [`Metrics::gauges`], for numbers that only grow while their member is there.
    ///
    /// # Panics
    /// If the name is registered already.
    pub fn counters(
        &self,
        name: &'static str,
        unit: &'static str,
        help: &'static str,
        list: impl Fn(&mut Series<'_, u64>) + Send + Sync + 'static,
    ) {
        self.claim(name, MAX_MEMBERS);
        self.meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_description(help)
            .with_callback(move |observer| list(&mut Series::new(observer)))
            .build();
    }

    /// The names of all instruments, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.instruments.lock().keys().copied().collect()
    }

    /// Everything as Prometheus text (format 0.0.4).
    #[expect(clippy::missing_panics_doc, reason = "what it expects always holds")]
    pub fn render(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("no family is empty or without a name, and a String takes all text")
    }

    /// Takes the name for an instrument with at most so many members.
    fn claim(&self, name: &'static str, members: usize) {
        // The SDK makes an instrument that reports nothing of a name it does not take.
        let dotted = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'_');
        assert!(name.bytes().all(dotted), "metric {name} is no dotted noun");
        let taken = self.instruments.lock().insert(name, members);
        assert!(taken.is_none(), "metric {name} is registered twice");
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Metrics").field(&self.names()).finish()
    }
}

/// The names of all instruments, each with the most members it exports. The SDK sets memory aside
/// for that many, 2,000 unless told.
type Instruments = BTreeMap<&'static str, usize>;

/// More peers than a node may be configured with; beyond them one member stands for the rest.
const MAX_MEMBERS: usize = 8_192;

/// A number that only grows. Cloning shares it; a default one is exported nowhere.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Counts one.
    pub fn incr(&self) {
        self.add(1);
    }

    /// Counts `n`.
    pub fn add(&self, n: u64) {
        // Nothing else is published with the count, so no ordering is needed.
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down. Cloning shares it; a default one is exported nowhere.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The value.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A closed list of words that something is counted by, such as the reasons of a drop.
pub trait Label: Copy + 'static {
    /// All of them.
    const ALL: &'static [Self];

    /// The word, as exported.
    fn word(self) -> &'static str;

    /// The place in [`Label::ALL`].
    fn index(self) -> usize;
}

/// Numbers that only grow, one for each label. Cloning shares them.
pub struct CounterBy<L> {
    counters: Arc<[Counter]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> CounterBy<L> {
    /// Counters that are exported nowhere.
    ///
    /// # Panics
    /// If a label's index is not its place in `L::ALL`: it would count for another.
    pub fn new() -> Self {
        for (place, label) in L::ALL.iter().enumerate() {
            assert_eq!(label.index(), place, "index of {:?}", label.word());
        }
        Self {
            counters: L::ALL.iter().map(|_| Counter::default()).collect(),
            label: PhantomData,
        }
    }

    /// Counts one for `label`.
    pub fn incr(&self, label: L) {
        self.add(label, 1);
    }

    /// Counts `n` for `label`.
    pub fn add(&self, label: L, n: u64) {
        self.counters[label.index()].add(n);
    }

    /// The count of `label` so far.
    pub fn value(&self, label: L) -> u64 {
        self.counters[label.index()].value()
    }

    /// The counter behind `label`, for whoever counts only that.
    pub fn handle(&self, label: L) -> Counter {
        self.counters[label.index()].clone()
    }

    /// The counts of all labels together.
    pub fn total(&self) -> u64 {
        self.counters.iter().map(Counter::value).sum()
    }
}

impl<L: Label> Default for CounterBy<L> {
    fn default() -> Self {
        Self::new()
    }
}

// Derived, these would ask the same of `L`.
impl<L> Clone for CounterBy<L> {
    fn clone(&self) -> Self {
        Self {
            counters: self.counters.clone(),
            label: PhantomData,
        }
    }
}

impl<L> fmt::Debug for CounterBy<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CounterBy").field(&self.counters).finish()
    }
}

#[cfg(test)]
mod tests;
