//! One seed, one run.

use netem::{
    model::{Jitter, Loss, PairModel},
    sim::SimReport,
};

use crate::{
    fleet::{Fleet, ms, sleep},
    traffic::{
        TCP_SERVICE, UDP_SERVICE, UdpEcho, UdpFlow, start_tcp_echo, tcp_listen, tcp_round_trip,
        udp_listen,
    },
};

/// Five nodes with traffic, loss and jitter, through a freeze, a kill and a partition.
async fn run(seed: u64) -> SimReport {
    let mut fleet = Fleet::new(seed);
    let tables = [
        UDP_SERVICE.to_owned(),
        TCP_SERVICE.to_owned(),
        udp_listen(6000, "{ region = \"us\" }"),
        tcp_listen(7000, "{ node = \"us/d\" }"),
    ]
    .concat();
    let regions = [
        ("eu", "a"),
        ("eu", "b"),
        ("us", "c"),
        ("us", "d"),
        ("ap", "e"),
    ];
    let served_by_d = |name: &str| match name {
        "d" => tables.replace("node = \"us/d\"", "node = \"us/c\""),
        _ => tables.clone(),
    };
    let all = regions.map(|(region, name)| fleet.add(region, name, &served_by_d(name)));
    for (at, from) in all.iter().enumerate() {
        for (to_at, to) in all.iter().enumerate().skip(at + 1) {
            let model = PairModel {
                jitter: Jitter::uniform(ms(3)),
                loss: Loss::from_ppm(5_000),
                ..PairModel::delayed(ms(10 * (at + to_at) as u64))
            };
            fleet.model(*from, *to, model);
        }
    }
    fleet.full_mesh(&all);
    fleet.start_all().await;
    fleet.until_linked(&all, ms(10_000)).await;
    sleep(ms(1_000)).await;
    let [a, b, c, d, e] = all;
    let _echoes = all.map(|member| {
        (
            UdpEcho::start(&fleet, member),
            start_tcp_echo(&fleet, member),
        )
    });
    let flows = [a, b, e].map(|member| UdpFlow::start(&fleet, member, 6000, ms(20)));
    let crossed = tcp_round_trip(&fleet.program(a), 7000, 200_000).await;
    assert_eq!(crossed.unwrap(), 200_000);
    fleet.machine(c).freeze();
    sleep(ms(2_500)).await;
    fleet.machine(c).thaw();
    fleet.kill(d);
    sleep(ms(1_500)).await;
    fleet.start(d).await;
    fleet.sim.cut_both(fleet.machine(a), fleet.machine(e));
    sleep(ms(7_000)).await;
    fleet.sim.heal_both(fleet.machine(a), fleet.machine(e));
    fleet.until_linked(&all, ms(10_000)).await;
    for flow in flows {
        let (sent, received) = flow.finish().await;
        assert!(received > sent / 2);
    }
    fleet.sim.report()
}

/// Runs on a fresh runtime, as another process would.
fn run_alone(seed: u64) -> SimReport {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(run(seed))
    })
    .join()
    .unwrap()
}

#[test]
fn two_runs_with_one_seed_give_one_event_log_and_another_seed_another() {
    let first = run_alone(90);
    assert!(first.events > 10_000);
    assert_eq!(run_alone(90), first);
    assert_ne!(run_alone(91).event_hash, first.event_hash);
}
