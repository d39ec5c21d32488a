//! Races a peer's addresses: the first that answers wins, the others are dropped.

use std::{future::Future, net::SocketAddr, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};

use crate::clock;

/// The addresses to race: duplicates removed, families taking turns, at most [`MAX_ADDRESSES`].
///
/// Each family keeps its order; the first address keeps its place. A family that is black-holed
/// thus costs one [`STAGGER`], not one for each of its addresses (RFC 8305 section 4).
pub(crate) fn race_order(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut seen = Vec::new();
    for address in addresses {
        if !seen.contains(&address) {
            seen.push(address);
        }
    }
    let Some(first) = seen.first() else {
        return seen;
    };
    let leads_v6 = first.is_ipv6();
    let (lead, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        seen.iter().copied().partition(|a| a.is_ipv6() == leads_v6);
    let mut ordered = Vec::with_capacity(seen.len());
    let (mut lead, mut other) = (lead.into_iter(), other.into_iter());
    while ordered.len() < seen.len() {
        ordered.extend(lead.next());
        ordered.extend(other.next());
    }
    ordered.truncate(MAX_ADDRESSES);
    ordered
}

/// Connects to `addresses` in order, [`STAGGER`] apart or as soon as one fails, and returns the
/// first that succeeds.
///
/// The losers' futures are dropped, which must end their attempts. Has no deadline of its own: every
/// attempt carries the dial's.
///
/// # Errors
/// Every address with its error, in the order in which they failed; empty if there was no address.
///
/// # Cancel safety
/// Dropping the future drops all attempts.
///
/// Source: RFC 8305 section 5.
pub(crate) async fn race<T, E, F>(
    addresses: &[SocketAddr],
    mut connect: impl FnMut(SocketAddr) -> F,
) -> Result<(SocketAddr, T), Vec<(SocketAddr, E)>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = addresses.iter().copied();
    let mut running = FuturesUnordered::new();
    let mut failed = Vec::new();
    let mut next_start = Some(clock::now());
    loop {
        let wake = tokio::select! {
            biased;
            Some(ended) = running.next() => Wake::Ended(ended),
            () = clock::sleep_until(next_start), if next_start.is_some() => Wake::Start,
            else => return Err(failed),
        };
        match wake {
            Wake::Ended((address, Ok(winner))) => return Ok((address, winner)),
            Wake::Ended((address, Err(error))) => failed.push((address, error)),
            Wake::Start => {}
        }
        // Both a failure and the passing of the stagger start the next one.
        next_start = waiting.next().map(|address| {
            let attempt = connect(address);
            running.push(async move { (address, attempt.await) });
            clock::now() + STAGGER
        });
    }
}

enum Wake<T, E> {
    Ended((SocketAddr, Result<T, E>)),
    Start,
}

/// RFC 8305 section 5 recommends 250 ms; it covers the round trip between most regions.
pub(crate) const STAGGER: Duration = Duration::from_millis(250);
/// More would only stretch the race past the dial's deadline.
pub(crate) const MAX_ADDRESSES: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn v4(count: u8) -> Vec<SocketAddr> {
        (1..=count)
            .map(|host| SocketAddr::from(([10, 0, 0, host], 1)))
            .collect()
    }

    /// What an address does: answers or fails after a time, or is silent.
    #[derive(Clone, Copy)]
    enum Behaviour {
        Answers(u64),
        Fails(u64),
        Silent,
    }

    async fn run(behaviours: &[Behaviour]) -> (Duration, Result<usize, usize>) {
        let addresses = v4(u8::try_from(behaviours.len()).unwrap());
        let started: Instant = clock::now();
        let result = race(&addresses, |address| {
            let behaviour = behaviours[addresses.iter().position(|a| *a == address).unwrap()];
            async move {
                match behaviour {
                    Behaviour::Answers(ms) => {
                        tokio::time::sleep(Duration::from_millis(ms)).await;
                        Ok(())
                    }
                    Behaviour::Fails(ms) => {
                        tokio::time::sleep(Duration::from_millis(ms)).await;
                        Err(())
                    }
                    Behaviour::Silent => std::future::pending().await,
                }
            }
        })
        .await;
        let result = match result {
            Ok((winner, ())) => Ok(addresses.iter().position(|a| *a == winner).unwrap()),
            Err(failed) => Err(failed.len()),
        };
        (clock::now() - started, result)
    }

    #[test]
    fn families_take_turns_and_duplicates_go() {
        let [a4, b4, a6, b6] = ["10.0.0.1:1", "10.0.0.2:1", "[::1]:1", "[::2]:1"].map(address);
        assert_eq!(race_order([a6, b6, a6, a4, b4]), [a6, a4, b6, b4]);
        assert_eq!(race_order([a4, b4, a6]), [a4, a6, b4]);
        assert_eq!(race_order(v4(9)).len(), MAX_ADDRESSES);
        assert!(race_order([]).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn silent_address_costs_one_stagger() {
        use Behaviour::{Answers, Silent};
        let (took, won) = run(&[Silent, Answers(10)]).await;
        assert_eq!((took, won), (STAGGER + Duration::from_millis(10), Ok(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn failure_starts_the_next_at_once() {
        use Behaviour::{Answers, Fails};
        let (took, won) = run(&[Fails(5), Answers(10)]).await;
        assert_eq!((took, won), (Duration::from_millis(15), Ok(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_first_address_may_still_win_after_the_second_started() {
        use Behaviour::{Answers, Silent};
        let (took, won) = run(&[Answers(300), Silent]).await;
        assert_eq!((took, won), (Duration::from_millis(300), Ok(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn ends_when_the_last_has_failed() {
        use Behaviour::Fails;
        let (took, failed) = run(&[Fails(5), Fails(600), Fails(1)]).await;
        assert_eq!((took, failed), (Duration::from_millis(605), Err(3)));
        assert_eq!(run(&[]).await.1, Err(0));
    }
}
