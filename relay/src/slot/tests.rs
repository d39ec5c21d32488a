use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::*;
use crate::clock;

fn after(millis: u64) -> Instant {
    clock::now() + Duration::from_millis(millis)
}

fn at_least(floor: u32) -> impl FnMut(&u32) -> Option<u32> {
    move |value| (*value >= floor).then_some(*value)
}

#[tokio::test(start_paused = true)]
async fn a_value_that_will_do_is_returned_at_once_even_after_the_deadline() {
    let (_publisher, slot) = Slot::with_publisher(3);
    assert_eq!(slot.wait_until(at_least(3), clock::now()).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn every_waiter_wakes_at_the_publication_it_waits_for_and_not_at_another() {
    let (mut publisher, slot) = Slot::with_publisher(0);
    let waits = [1, 2, 2].map(|floor| {
        let slot = slot.clone();
        async move {
            let found = slot.wait_until(at_least(floor), after(1_000)).await;
            (found, clock::now())
        }
    });
    let start = clock::now();
    let publish = async {
        for value in [1, 2] {
            clock::sleep_until(Some(after(100))).await;
            publisher.publish(value);
        }
    };
    let (found, ()) = tokio::join!(join_all(waits), publish);
    let millis = |n| start + Duration::from_millis(n);
    assert_eq!(
        found,
        [
            (Ok(1), millis(100)),
            (Ok(2), millis(200)),
            (Ok(2), millis(200))
        ]
    );
    assert_eq!(slot.waiters(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_times_out_or_is_cancelled_leaves_nothing_and_the_others_wait_on() {
    let (mut publisher, slot) = Slot::with_publisher(0);
    let patient = slot.wait_until(at_least(1), after(1_000));
    let others = async {
        let timed_out = slot.wait_until(at_least(1), after(50)).await;
        assert_eq!(timed_out, Err(WaitError::TimedOut));
        tokio::select! {
            biased;
            _ = slot.wait_until(at_least(1), after(1_000)) => panic!("nothing was published"),
            () = clock::sleep_until(Some(after(50))) => {}
        }
        assert_eq!(slot.waiters(), 1);
        publisher.publish(1);
    };
    let (found, ()) = tokio::join!(patient, others);
    assert_eq!(found, Ok(1));
    assert_eq!(slot.waiters(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_waiters_may_wait_and_one_more_is_refused_at_once() {
    let (mut publisher, slot) = Slot::with_publisher(0);
    let waits = join_all((0..MAX_WAITERS).map(|_| slot.wait_until(at_least(1), after(1_000))));
    let more = async {
        let refused = slot.wait_until(at_least(1), after(1_000)).await;
        assert_eq!(refused, Err(WaitError::Full { limit: MAX_WAITERS }));
        publisher.publish(1);
    };
    let (found, ()) = tokio::join!(waits, more);
    assert_eq!(found, vec![Ok(1); MAX_WAITERS]);
}

#[tokio::test(start_paused = true)]
async fn when_the_writer_goes_its_last_value_is_seen_and_other_waits_fail_at_once() {
    let (mut publisher, slot) = Slot::with_publisher(0);
    let (found, lost, ()) = tokio::join!(
        slot.wait_until(at_least(1), after(1_000)),
        slot.wait_until(at_least(2), after(1_000)),
        async {
            publisher.publish(1);
            drop(publisher);
        }
    );
    assert_eq!(found, Ok(1));
    assert_eq!(lost, Err(WaitError::Gone));
    assert_eq!(*slot.load(), 1);
    let late = slot.wait_until(at_least(2), after(1_000)).await;
    assert_eq!(late, Err(WaitError::Gone));
}

#[test]
fn readers_hold_their_snapshot_while_the_writer_publishes() {
    let (mut publisher, slot) = Slot::with_publisher(1);
    let snapshot: Arc<u32> = slot.load();
    publisher.publish(2);
    assert_eq!((*snapshot, *slot.load()), (1, 2));
}
