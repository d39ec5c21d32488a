use std::{io, net::SocketAddr, num::NonZeroU64, sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::*;
use crate::{
    engine::{DropCause, PACKET_OVERHEAD_BYTES},
    lateness::Lateness,
    model::{Change, Jitter, Loss, Rate, What},
};

mod process;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Two hosts, 10.0.0.1 and 10.0.0.2, with a socket each at port 7.
struct Fixture {
    sim: Sim,
    start: std::time::Instant,
    a: Host,
    b: Host,
    on_a: UdpSocket,
    on_b: UdpSocket,
}

impl Fixture {
    fn new(default_pair: PairModel) -> Self {
        Self::with(SimConfig {
            default_pair,
            ..SimConfig::new(1)
        })
    }

    fn with(config: SimConfig) -> Self {
        let sim = Sim::new(config);
        let a = sim.host("a", [10, 0, 0, 1]);
        let b = sim.host("b", [10, 0, 0, 2]);
        Self {
            start: clock::now(),
            on_a: a.bind_udp(address("10.0.0.1:7")).unwrap(),
            on_b: b.bind_udp(address("10.0.0.2:7")).unwrap(),
            sim,
            a,
            b,
        }
    }

    fn elapsed(&self) -> Duration {
        clock::now() - self.start
    }

    fn a_to_b(&self, payload: &[u8]) {
        let to = self.on_b.local_addr();
        self.on_a.try_send_to(payload, to).unwrap();
    }

    fn b_to_a(&self, payload: &[u8]) {
        let to = self.on_a.local_addr();
        self.on_b.try_send_to(payload, to).unwrap();
    }
}

/// The result of a host's task, `None` if it was killed. A task that never ends fails the test
/// rather than hang it: with nothing left to do, paused time jumps to the timeout.
async fn ended<T>(task: oneshot::Receiver<T>) -> Option<T> {
    let result = timeout(Duration::from_secs(60), task).await;
    result.expect("the task neither ended nor was killed").ok()
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 64];
    let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
    (buffer[..len].to_vec(), from)
}

fn receive_now(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 64];
    match socket.try_recv_from(&mut buffer) {
        Ok((len, _)) => Some(buffer[..len].to_vec()),
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            None
        }
    }
}

#[tokio::test(start_paused = true)]
async fn arrives_at_the_first_millisecond_after_its_deadline_and_says_by_how_much() {
    let t = Fixture::new(PairModel::delayed(Duration::from_micros(10_300)));
    t.a_to_b(b"x");
    assert_eq!(
        receive(&t.on_b).await,
        (b"x".to_vec(), address("10.0.0.1:7"))
    );
    assert_eq!(t.elapsed(), ms(11));
    t.b_to_a(b"y");
    receive(&t.on_a).await;
    assert_eq!(t.elapsed(), ms(22));

    let report = t.sim.report();
    let Lateness {
        count, p50, max, ..
    } = report.lateness;
    assert_eq!(count, 2);
    for late in [p50, max] {
        let off = late.abs_diff(Duration::from_micros(700));
        assert!(off < Duration::from_micros(1), "{late:?}");
    }
    assert_eq!((report.pairs.received, report.pairs.delivered), (2, 2));
    let outcomes: Vec<_> = t.sim.events().iter().map(|e| (e.at, e.outcome)).collect();
    let late = Duration::from_micros(700);
    let deadline = |micros| Outcome::Queued {
        deadline: Duration::from_micros(micros),
    };
    assert_eq!(
        outcomes,
        [
            (ms(0), deadline(10_300)),
            (ms(11), Outcome::Delivered { late }),
            (ms(11), deadline(21_300)),
            (ms(22), Outcome::Delivered { late }),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_packet_that_arrives_before_those_awaited_is_not_kept_for_them() {
    let t = Fixture::new(PairModel::delayed(ms(100)));
    t.sim.set_pair(&t.b, &t.a, PairModel::delayed(ms(5)));
    t.a_to_b(b"slow");
    // The driver now waits for the slow one.
    sleep(ms(1)).await;
    t.b_to_a(b"fast");
    receive(&t.on_a).await;
    assert_eq!(t.elapsed(), ms(6));
    receive(&t.on_b).await;
    assert_eq!(t.elapsed(), ms(100));
}

#[tokio::test(start_paused = true)]
async fn without_delay_a_packet_arrives_in_the_same_instant() {
    let t = Fixture::new(PairModel::default());
    t.a_to_b(b"x");
    receive(&t.on_b).await;
    assert_eq!(t.elapsed(), ms(0));
}

#[tokio::test(start_paused = true)]
async fn loopback_is_each_hosts_own_and_is_not_impaired() {
    let everything_lost = PairModel {
        loss: Loss::from_ppm(1_000_000),
        ..PairModel::delayed(ms(50))
    };
    let t = Fixture::new(everything_lost);
    let own = t.a.bind_udp(address("127.0.0.1:9")).unwrap();
    let others = t.b.bind_udp(address("127.0.0.1:9")).unwrap();
    let sender = t.a.bind_udp(address("0.0.0.0:0")).unwrap();
    sender.try_send_to(b"x", own.local_addr()).unwrap();
    let (payload, from) = receive(&own).await;
    assert_eq!((payload, from.ip()), (b"x".to_vec(), [127, 0, 0, 1].into()));
    assert_eq!(receive_now(&others), None);

    // The host's own address does not leave it either.
    sender.try_send_to(b"y", t.on_a.local_addr()).unwrap();
    let (payload, from) = receive(&t.on_a).await;
    assert_eq!((payload, from.ip()), (b"y".to_vec(), [10, 0, 0, 1].into()));
    assert_eq!(t.elapsed(), ms(0));
    assert_eq!(t.sim.report().loopback, 2);
    assert_eq!(t.sim.report().pairs, Counters::default());
}

#[tokio::test(start_paused = true)]
async fn a_loopback_address_cannot_send_to_another_host() {
    let t = Fixture::new(PairModel::default());
    let socket = t.a.bind_udp(address("127.0.0.1:9")).unwrap();
    let error = socket.try_send_to(b"x", t.on_b.local_addr()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[tokio::test(start_paused = true)]
async fn binding_anothers_address_or_a_taken_one_is_refused() {
    let t = Fixture::new(PairModel::default());
    let kind = |text| t.a.bind_udp(address(text)).unwrap_err().kind();
    assert_eq!(kind("10.0.0.2:8"), io::ErrorKind::AddrNotAvailable);
    assert_eq!(kind("0.0.0.0:7"), io::ErrorKind::AddrInUse);
    drop(t.on_a);
    t.a.bind_udp(address("0.0.0.0:7")).unwrap();
}

#[tokio::test(start_paused = true)]
async fn packets_to_nobody_vanish_and_are_counted_by_cause() {
    let t = Fixture::new(PairModel::default());
    t.on_a.try_send_to(b"x", address("10.0.0.3:7")).unwrap();
    t.on_a.try_send_to(b"x", address("10.0.0.2:8")).unwrap();
    t.on_a.try_send_to(b"x", address("127.0.0.1:8")).unwrap();
    sleep(ms(1)).await;
    let report = t.sim.report();
    assert_eq!(report.undelivered(Undelivered::NoHost), 1);
    assert_eq!(report.undelivered(Undelivered::NoSocket), 2);
}

#[tokio::test(start_paused = true)]
async fn a_receive_buffer_takes_what_fits_exactly_and_counts_the_rest() {
    let t = Fixture::with(SimConfig {
        socket_buffer_bytes: 2 * (10 + PACKET_OVERHEAD_BYTES),
        ..SimConfig::new(1)
    });
    for payload in [[1; 10], [2; 10], [3; 10]] {
        t.a_to_b(&payload);
    }
    sleep(ms(1)).await;
    assert_eq!(t.sim.report().undelivered(Undelivered::BufferFull), 1);
    assert_eq!(receive_now(&t.on_b), Some(vec![1; 10]));
    t.a_to_b(&[4; 10]);
    sleep(ms(1)).await;
    assert_eq!(receive_now(&t.on_b), Some(vec![2; 10]));
    assert_eq!(receive_now(&t.on_b), Some(vec![4; 10]));
    assert_eq!(receive_now(&t.on_b), None);
}

#[tokio::test(start_paused = true)]
async fn a_packet_longer_than_the_readers_buffer_is_cut_off() {
    let t = Fixture::new(PairModel::default());
    t.a_to_b(&[1; 100]);
    t.a_to_b(&[2; 1]);
    assert_eq!(receive(&t.on_b).await.0, vec![1; 64]);
    assert_eq!(receive(&t.on_b).await.0, vec![2; 1]);
}

#[tokio::test(start_paused = true)]
async fn every_task_that_waits_on_a_socket_is_served() {
    let t = Fixture::new(PairModel::delayed(ms(5)));
    let socket = Arc::new(t.on_b);
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let socket = socket.clone();
            t.b.spawn(async move { receive(&socket).await.0 })
        })
        .collect();
    sleep(ms(1)).await;
    for payload in 0..3 {
        t.on_a.try_send_to(&[payload], socket.local_addr()).unwrap();
    }
    let mut payloads = Vec::new();
    for reader in readers {
        payloads.push(ended(reader).await.unwrap());
    }
    payloads.sort();
    assert_eq!(payloads, [[0], [1], [2]]);
}

#[tokio::test(start_paused = true)]
async fn a_partition_drops_between_its_groups_only_until_it_is_healed() {
    let t = Fixture::new(PairModel::delayed(ms(5)));
    let c = t.sim.host("c", [10, 0, 0, 3]);
    let on_c = c.bind_udp(address("10.0.0.3:7")).unwrap();
    t.sim.partition(&[&t.a], &[&t.b, &c]);
    t.a_to_b(b"1");
    t.b_to_a(b"1");
    on_c.try_send_to(b"1", t.on_a.local_addr()).unwrap();
    on_c.try_send_to(b"2", t.on_b.local_addr()).unwrap();
    sleep(ms(10)).await;
    assert_eq!(receive_now(&t.on_a), None);
    assert_eq!(receive_now(&t.on_b), Some(b"2".to_vec()));
    assert_eq!(t.sim.report().pairs.dropped(DropCause::Cut), 3);

    t.sim.heal_partition(&[&t.a], &[&t.b, &c]);
    t.a_to_b(b"3");
    on_c.try_send_to(b"4", t.on_a.local_addr()).unwrap();
    sleep(ms(10)).await;
    assert_eq!(receive_now(&t.on_b), Some(b"3".to_vec()));
    assert_eq!(receive_now(&t.on_a), Some(b"4".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_one_way_cut_leaves_the_other_way() {
    let t = Fixture::new(PairModel::default());
    t.sim.cut(&t.a, &t.b);
    t.a_to_b(b"1");
    t.b_to_a(b"2");
    sleep(ms(1)).await;
    assert_eq!(receive_now(&t.on_b), None);
    assert_eq!(receive_now(&t.on_a), Some(b"2".to_vec()));
    assert_eq!(t.sim.pair_counters(&t.a, &t.b).dropped(DropCause::Cut), 1);
}

/// Sends for a while both ways over loss, jitter and a rate.
async fn noisy_run(seed: u64) -> SimReport {
    let t = Fixture::with(SimConfig {
        default_pair: PairModel {
            jitter: Jitter::uniform(ms(3)),
            loss: Loss::from_ppm(20_000),
            rate: Some(Rate {
                bits_per_second: NonZeroU64::new(1_000_000).unwrap(),
                overhead_bytes: 0,
                queue_bytes: Some(3_000),
            }),
            ..PairModel::delayed(ms(20))
        },
        ..SimConfig::new(seed)
    });
    for size in 0..500 {
        t.a_to_b(&vec![0; size]);
        t.b_to_a(&vec![0; 500 - size]);
        sleep(ms(2)).await;
    }
    t.sim.report()
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_event_log_and_another_seed_another() {
    let first = noisy_run(7).await;
    assert!(first.pairs.dropped(DropCause::Loss) > 0);
    assert!(first.pairs.dropped(DropCause::QueueFull) > 0);
    assert!(first.pairs.is_conserved());
    assert_eq!(first, noisy_run(7).await);
    assert_ne!(first.event_hash, noisy_run(8).await.event_hash);
}

#[tokio::test(start_paused = true)]
async fn an_observer_sees_every_event_whatever_is_kept_and_changes_no_hash() {
    let run = |events_kept| async move {
        let t = Fixture::with(SimConfig {
            default_pair: PairModel::delayed(Duration::from_micros(1_500)),
            events_kept,
            ..SimConfig::new(1)
        });
        let seen = Arc::new(Mutex::new(Vec::new()));
        let see = seen.clone();
        t.sim.observe(move |event| see.lock().push(*event));
        t.a_to_b(b"1");
        t.b_to_a(b"2");
        sleep(ms(3)).await;
        let seen = seen.lock().clone();
        (seen, t.sim.events(), t.sim.report().event_hash)
    };
    let (seen, kept, hash) = run(16).await;
    assert_eq!((seen.len(), &seen), (4, &kept));
    assert_eq!(run(0).await, (seen, Vec::new(), hash));
}

#[tokio::test(start_paused = true)]
async fn a_schedule_begins_when_it_is_set_and_for_one_direction() {
    let t = Fixture::new(PairModel::default());
    sleep(ms(50)).await;
    let change = Change {
        at: ms(10),
        what: What::Down { lasts: ms(1) },
    };
    let schedule = Schedule::try_new(vec![change]).unwrap();
    t.sim.set_schedule(&t.a, &t.b, schedule);
    for _ in 0..20 {
        t.a_to_b(b"1");
        t.b_to_a(b"2");
        sleep(ms(1)).await;
    }
    assert_eq!(t.sim.pair_counters(&t.a, &t.b).dropped(DropCause::Cut), 1);
    assert_eq!(t.sim.pair_counters(&t.b, &t.a).dropped_total(), 0);
    let kept = t.sim.events();
    let dropped = kept
        .iter()
        .find(|event| event.outcome == Outcome::Dropped(DropCause::Cut));
    assert_eq!(dropped.unwrap().at, ms(60));
}

#[tokio::test(start_paused = true)]
async fn the_network_ends_with_its_last_handle() {
    let t = Fixture::new(PairModel::default());
    let shared = Arc::downgrade(&t.sim.shared);
    let task = t.a.spawn(std::future::pending::<()>());
    sleep(ms(1)).await;
    drop(t);
    // A task of a host keeps its process, not the network.
    assert_eq!(shared.strong_count(), 0);
    drop(task);
}
