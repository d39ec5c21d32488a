//! What reports say was delivered and lost, at the sender.

#[cfg(test)]
mod tests;

use super::{arrivals::ArrivalReport, loss::Loss};

/// Turns the reports of one direction of a link into what was delivered and lost since the last.
///
/// A packet counts as lost when a later one was reported and it was not. If it comes after all,
/// the next loss is not counted instead, so the sum is right as soon as order is restored.
#[derive(Debug, Clone)]
pub struct Ledger {
    first: u64,
    received: u64,
    lost: u64,
    covered: u64,
}

impl Ledger {
    /// Nothing was reported yet; `first` is the first number that is sent.
    pub fn new(first: u64) -> Self {
        Self {
            first,
            received: 0,
            lost: 0,
            covered: first,
        }
    }

    /// A report came; `next` is the number that the next packet will get.
    ///
    /// Returns what became of packets since the last report, all zero if that was a newer one.
    /// Nothing, if it cannot be true, for the caller to count: it tells of packets that were not
    /// sent, or of more than there are. So a peer that lies can only say that more or fewer of the
    /// packets that were sent did arrive.
    pub fn handle_report(&mut self, report: &ArrivalReport, next: u64) -> Option<Loss> {
        let sent = report.highest.checked_add(1)?.checked_sub(self.first)?;
        let possible = report.highest < next
            && report.received <= sent
            && report.reordered <= report.received
            && (self.first..=report.highest + 1).contains(&report.covered);
        if !possible {
            return None;
        }
        self.covered = self.covered.max(report.covered);
        // A report that was overtaken says nothing new.
        let delivered = report.received.saturating_sub(self.received);
        let lost = (sent - report.received).saturating_sub(self.lost);
        self.received += delivered;
        if delivered > 0 {
            self.lost += lost;
            Some(Loss { delivered, lost })
        } else {
            Some(Loss::default())
        }
    }

    /// Packets below this number need not be kept to be sent again.
    pub fn covered(&self) -> u64 {
        self.covered
    }
}
