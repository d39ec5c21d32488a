//! What the peer's reports say of the packets that this node sent on a link.

use router::window::{ArrivalReport, Ledger, Loss};

/// Turns reports into what the link delivered and lost.
///
/// Packets get their number before the outbox, which may drop them: the peer misses those too. They
/// are no loss of the link, so as many as were dropped are taken off what is missing, as soon as
/// it is missed: a gap shows only once a later packet has arrived.
#[derive(Debug)]
pub(super) struct Outgoing {
    ledger: Ledger,
    /// Packets that this node dropped, as far as known.
    dropped: u64,
    /// Those of them whose gap no report has shown yet.
    to_be_missed: u64,
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self {
            ledger: Ledger::new(0),
            dropped: 0,
            to_be_missed: 0,
        }
    }

    /// A report came.
    ///
    /// - `next`: the number that the next packet will get.
    /// - `dropped`: numbered packets that this node has dropped so far.
    ///
    /// Nothing, if the report cannot be true.
    pub(super) fn handle_report(
        &mut self,
        report: &ArrivalReport,
        next: u64,
        dropped: u64,
    ) -> Option<Loss> {
        let mut loss = self.ledger.handle_report(report, next)?;
        self.to_be_missed += dropped.saturating_sub(self.dropped);
        self.dropped = self.dropped.max(dropped);
        let own = loss.lost.min(self.to_be_missed);
        self.to_be_missed -= own;
        loss.lost -= own;
        Some(loss)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Of the packets up to `highest`, so many came.
    fn report(highest: u64, received: u64) -> ArrivalReport {
        ArrivalReport {
            highest,
            covered: 0,
            received,
            reordered: 0,
            jitter: Duration::ZERO,
            variation: None,
        }
    }

    fn loss(delivered: u64, lost: u64) -> Option<Loss> {
        Some(Loss { delivered, lost })
    }

    #[test]
    fn what_this_node_dropped_is_no_loss_of_the_link_and_what_else_is_missing_is() {
        let mut outgoing = Outgoing::new();
        // Of 100, this node dropped 30 and the link lost 5.
        assert_eq!(
            outgoing.handle_report(&report(99, 65), 100, 30),
            loss(65, 5)
        );
        assert_eq!(
            outgoing.handle_report(&report(199, 164), 200, 30),
            loss(99, 1)
        );
    }

    #[test]
    fn drop_that_is_missed_later_is_taken_off_then() {
        let mut outgoing = Outgoing::new();
        // The last ten of twenty were dropped: nothing behind them has shown the gap yet.
        assert_eq!(outgoing.handle_report(&report(9, 10), 20, 10), loss(10, 0));
        assert_eq!(outgoing.handle_report(&report(29, 20), 30, 10), loss(10, 0));
        assert_eq!(outgoing.handle_report(&report(39, 29), 40, 10), loss(9, 1));
    }

    #[test]
    fn report_that_cannot_be_true_says_nothing_and_takes_nothing_off() {
        let mut outgoing = Outgoing::new();
        assert_eq!(outgoing.handle_report(&report(10, 5), 10, 3), None);
        assert_eq!(outgoing.handle_report(&report(9, 11), 10, 3), None);
        assert_eq!(outgoing.handle_report(&report(9, 6), 10, 3), loss(6, 1));
    }
}
