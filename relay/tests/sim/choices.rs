//! Which node of a region has the traffic.

use causeway::{counts::EjectionReason, routes::Kind};

use crate::{
    fleet::{Fleet, Member, ms, sleep},
    traffic::{
        TCP_SERVICE, UDP_SERVICE, UdpEcho, UdpFlow, start_tcp_echo, tcp_listen, tcp_round_trip,
        udp_listen,
    },
};

/// `a`, whose listens lead to a region, and the nodes of that region, all linked.
///
/// - `nodes`: what they expose, and the one-way delay to `a`.
async fn region<const N: usize>(
    seed: u64,
    nodes: [(&str, u64); N],
) -> (Fleet, Member, [Member; N]) {
    let mut fleet = Fleet::new(seed);
    let listens = [
        udp_listen(6000, "{ region = \"us\" }"),
        tcp_listen(7000, "{ region = \"us\" }"),
    ];
    let a = fleet.add("eu", "a", &listens.concat());
    let mut number = 0;
    let members = nodes.map(|(tables, one_way)| {
        number += 1;
        let node = fleet.add("us", &format!("n{number}"), tables);
        fleet.delay(a, node, ms(one_way));
        node
    });
    // No way over another node is shorter than the link.
    for (at, from) in members.iter().enumerate() {
        for to in &members[at + 1..] {
            fleet.delay(*from, *to, ms(90));
        }
    }
    let all: Vec<Member> = std::iter::once(a).chain(members).collect();
    fleet.full_mesh(&all);
    fleet.start_all().await;
    fleet.until_linked(&all, ms(5_000)).await;
    sleep(ms(11_000)).await;
    (fleet, a, members)
}

fn ejections(fleet: &Fleet, at: Member) -> u64 {
    fleet.mesh(at).counts.ejections.value(EjectionReason::Run)
}

#[tokio::test(start_paused = true)]
async fn node_that_refuses_five_streams_gets_none_where_there_is_another_and_again_after_ten_seconds()
 {
    let (fleet, a, [near, other]) = region(410, [(TCP_SERVICE, 30), (TCP_SERVICE, 60)]).await;
    let _tcp = start_tcp_echo(&fleet, other);
    let program = fleet.program(a);
    for _ in 0..5 {
        assert_eq!(ejections(&fleet, a), 0);
        assert!(tcp_round_trip(&program, 7000, 5_000).await.is_err());
        sleep(ms(100)).await;
    }
    assert_eq!(ejections(&fleet, a), 1);
    let crossed = tcp_round_trip(&program, 7000, 5_000).await.unwrap();
    assert_eq!(crossed, 5_000);
    sleep(ms(10_000)).await;
    let route = fleet.mesh(a).routes.get(Kind::Bulk, fleet.key(near));
    assert!(!route.unwrap().ejected);
    assert!(tcp_round_trip(&program, 7000, 5_000).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn node_that_refuses_five_flows_gets_none_where_there_is_another() {
    let nowhere = UDP_SERVICE.replace("127.0.0.1:5000", "nowhere.invalid:5000");
    let (fleet, a, [_, other]) = region(411, [(nowhere.as_str(), 30), (UDP_SERVICE, 60)]).await;
    let echo = UdpEcho::start(&fleet, other);
    let mut flows = Vec::new();
    for _ in 0..5 {
        assert_eq!((ejections(&fleet, a), echo.clients()), (0, 0));
        flows.push(UdpFlow::start(&fleet, a, 6000, ms(20)));
        sleep(ms(150)).await;
    }
    assert_eq!(ejections(&fleet, a), 1);
    let late = UdpFlow::start(&fleet, a, 6000, ms(20));
    sleep(ms(1_000)).await;
    assert!(echo.clients() >= 1);
    late.finish_without_loss().await;
}

#[tokio::test(start_paused = true)]
async fn node_that_fails_three_others_half_of_the_time_gets_nothing_from_one_that_never_asked_it() {
    let mut fleet = Fleet::new(413);
    let dead = TCP_SERVICE
        .replace("\"tcp\"\nkind", "\"dead\"\nkind")
        .replace(":5001", ":5999");
    let to = |port, name| tcp_listen(port, &format!("{{ node = \"us/{name}\" }}"));
    let refused = to(7003, "bad").replace("service = \"tcp\"", "service = \"dead\"");
    let listens = [to(7000, "bad"), to(7001, "good"), to(7002, "fair"), refused].concat();
    let observers = ["eu", "ap", "sa"].map(|region| fleet.add(region, "n", &listens));
    let silent = fleet.add("af", "n", "");
    let services = [TCP_SERVICE, &dead].concat();
    let region = ["bad", "good", "fair"].map(|name| fleet.add("us", name, &services));
    let all: Vec<Member> = observers
        .into_iter()
        .chain([silent])
        .chain(region)
        .collect();
    fleet.full_mesh(&all);
    fleet.start_all().await;
    fleet.until_linked(&all, ms(5_000)).await;
    let _tcp = region.map(|node| start_tcp_echo(&fleet, node));
    let bad = fleet.key(region[0]);
    let ejected = |node| {
        let route = fleet.mesh(node).routes.get(Kind::Bulk, bad);
        route.is_some_and(|route| route.ejected)
    };
    let programs = observers.map(|node| fleet.program(node));
    for _ in 0..15 {
        for program in &programs {
            for port in [7000, 7001, 7002] {
                assert!(tcp_round_trip(program, port, 100).await.is_ok());
                assert!(tcp_round_trip(program, port, 100).await.is_ok());
            }
            assert!(tcp_round_trip(program, 7003, 100).await.is_err());
            assert!(tcp_round_trip(program, 7003, 100).await.is_err());
        }
        sleep(ms(500)).await;
    }
    // A view goes with the next advert.
    let heard = || ejected(silent);
    fleet.until("ejected by votes", ms(30_000), heard).await;
    let by_votes = |node| {
        fleet
            .mesh(node)
            .counts
            .ejections
            .value(EjectionReason::Votes)
    };
    assert_eq!(by_votes(silent), 1);
}

#[tokio::test(start_paused = true)]
async fn flows_spread_over_nodes_that_are_as_near_and_go_where_there_is_less_load() {
    let few = ["[limits]\nudp_flows = 20\n", UDP_SERVICE].concat();
    let (fleet, a, nodes) = region(412, [(few.as_str(), 30); 3]).await;
    let echoes = nodes.map(|node| UdpEcho::start(&fleet, node));
    let start = async |count| {
        let mut flows = Vec::new();
        for _ in 0..count {
            flows.push(UdpFlow::start(&fleet, a, 6000, ms(20)));
            sleep(ms(50)).await;
        }
        sleep(ms(500)).await;
        flows
    };
    let clients = || echoes.each_ref().map(UdpEcho::clients);
    let first = start(9).await;
    let spread = clients();
    assert_eq!(spread.iter().sum::<usize>(), 9);
    let most = (0..3).max_by_key(|node| spread[*node]).unwrap();
    let least = (0..3).min_by_key(|node| spread[*node]).unwrap();
    assert!((3..9).contains(&spread[most]), "{spread:?}");
    // What each does is known everywhere by then.
    sleep(ms(25_000)).await;
    let second = start(6).await;
    let after = clients();
    assert_eq!(after.iter().sum::<usize>(), 15);
    assert_eq!(after[most], spread[most], "{spread:?}, then {after:?}");
    assert!(after[least] > spread[least], "{spread:?}, then {after:?}");
    for flow in first.into_iter().chain(second) {
        flow.finish_without_loss().await;
    }
}

#[tokio::test(start_paused = true)]
async fn flow_to_a_region_stays_with_its_node_while_any_way_leads_there() {
    let (fleet, a, nodes) = region(414, [(UDP_SERVICE, 30); 3]).await;
    let echoes = nodes.map(|node| UdpEcho::start(&fleet, node));
    let clients = || echoes.each_ref().map(UdpEcho::clients);
    let flow = UdpFlow::start(&fleet, a, 6000, ms(20));
    sleep(ms(2_000)).await;
    let before = clients();
    let at = before.iter().position(|clients| *clients == 1).unwrap();
    let [node, other, last] = [0, 1, 2].map(|step| nodes[(at + step) % 3]);
    // Neither the way nor its spare is left, and both other nodes are nearer.
    for cut in [a, other] {
        fleet.sim.cut_both(fleet.machine(cut), fleet.machine(node));
    }
    sleep(ms(10_000)).await;
    let received = flow.received();
    sleep(ms(1_000)).await;
    assert!(flow.received() > received + 45);
    assert_eq!(clients(), before);
    let forwarded = &fleet.mesh(last).counts.packets_forwarded;
    assert!(forwarded.value() > 0);
}
