//! What a set that changes reports when somebody asks.

use std::fmt;

use opentelemetry::{KeyValue, metrics::AsyncInstrument};

/// Takes the numbers of one instrument, one for each member of a set.
pub struct Series<'a, T>(&'a dyn AsyncInstrument<T>);

impl<'a, T> Series<'a, T> {
    pub(super) fn new(instrument: &'a dyn AsyncInstrument<T>) -> Self {
        Self(instrument)
    }

    /// Reports the number of the member that `labels` name, such as `[("peer", "eu-west/fra-1")]`.
    /// Addresses are no labels: they change, and name nobody.
    pub fn report(&mut self, value: T, labels: &[(&'static str, &str)]) {
        let label = |(key, value): &(&'static str, &str)| KeyValue::new(*key, (*value).to_owned());
        let labels: Vec<KeyValue> = labels.iter().map(label).collect();
        self.0.observe(value, &labels);
    }
}

impl<T> fmt::Debug for Series<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Series")
    }
}
