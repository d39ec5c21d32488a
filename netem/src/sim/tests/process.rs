use super::*;

/// Tells when it is dropped.
struct Guard(Arc<Mutex<Vec<&'static str>>>, &'static str);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.lock().push(self.1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_frozen_host_is_not_polled_and_sees_its_timers_late() {
    let t = Fixture::new(PairModel::default());
    let start = t.start;
    let late = t.a.spawn(async move {
        sleep(ms(100)).await;
        let woke = clock::now() - start;
        sleep(ms(100)).await;
        (woke, clock::now() - start)
    });
    let apart = t.b.spawn(async move {
        sleep(ms(100)).await;
        clock::now() - start
    });
    sleep(ms(50)).await;
    t.a.freeze();
    let spawned_meanwhile = t.a.spawn(async move { clock::now() - start });
    assert_eq!(ended(apart).await.unwrap(), ms(100));
    sleep(ms(2_900)).await;
    t.a.thaw();
    assert_eq!(ended(spawned_meanwhile).await.unwrap(), ms(3_000));
    assert_eq!(ended(late).await.unwrap(), (ms(3_000), ms(3_100)));
}

#[tokio::test(start_paused = true)]
async fn packets_for_a_frozen_host_wait_in_the_buffer_and_over_it_are_dropped() {
    let t = Fixture::with(SimConfig {
        socket_buffer_bytes: 3 * (1 + PACKET_OVERHEAD_BYTES),
        ..SimConfig::new(1)
    });
    let socket = Arc::new(t.on_b);
    let reader = socket.clone();
    let start = t.start;
    let arrived = t.b.spawn(async move {
        let mut arrived = Vec::new();
        for _ in 0..3 {
            let payload = receive(&reader).await.0;
            arrived.push((payload[0], clock::now() - start));
        }
        arrived
    });
    sleep(ms(1)).await;
    t.b.freeze();
    for payload in 0..5 {
        t.on_a.try_send_to(&[payload], socket.local_addr()).unwrap();
        sleep(ms(10)).await;
    }
    assert_eq!(t.sim.report().undelivered(Undelivered::BufferFull), 2);
    t.b.thaw();
    let at = ms(51);
    assert_eq!(ended(arrived).await.unwrap(), [(0, at), (1, at), (2, at)]);
}

#[tokio::test(start_paused = true)]
async fn a_kill_drops_every_future_at_once_and_lets_none_say_goodbye() {
    let t = Fixture::new(PairModel::default());
    let dropped = Arc::default();

    /// Sends when it is dropped, as a connection that closes does.
    struct Goodbye {
        socket: UdpSocket,
        to: SocketAddr,
        _guard: Guard,
    }
    impl Drop for Goodbye {
        fn drop(&mut self) {
            let error = self.socket.try_send_to(b"bye", self.to).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        }
    }
    let goodbye = Goodbye {
        socket: t.on_a,
        to: t.on_b.local_addr(),
        _guard: Guard(Arc::clone(&dropped), "first"),
    };
    let first = t.a.spawn(async move {
        let _goodbye = goodbye;
        std::future::pending::<()>().await;
    });
    let guard = Guard(Arc::clone(&dropped), "second");
    let second = t.a.spawn(async move {
        let _guard = guard;
        std::future::pending::<()>().await;
    });
    sleep(ms(1)).await;
    assert_eq!(*dropped.lock(), [""; 0]);
    t.a.kill();
    assert_eq!(*dropped.lock(), ["first", "second"]);
    assert!(ended(first).await.is_none());
    assert!(ended(second).await.is_none());
    assert_eq!(t.sim.report().pairs.received, 0);
}

#[tokio::test(start_paused = true)]
async fn a_killed_host_binds_and_spawns_again_apart_from_its_past() {
    let t = Fixture::new(PairModel::default());
    t.a.freeze();
    t.a.kill();
    t.b_to_a(b"lost");
    sleep(ms(1)).await;
    assert_eq!(t.sim.report().undelivered(Undelivered::NoSocket), 1);

    let again = t.a.bind_udp(address("10.0.0.1:7")).unwrap();
    t.b_to_a(b"x");
    sleep(ms(1)).await;
    // The old handle neither reads nor closes what is its successor's.
    let error = t.on_a.try_recv_from(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    drop(t.on_a);
    let reader = t.a.spawn(async move { receive(&again).await.0 });
    assert_eq!(ended(reader).await.unwrap(), b"x");
}

#[tokio::test(start_paused = true)]
async fn a_kill_wakes_those_who_wait_on_its_sockets_elsewhere() {
    let t = Fixture::new(PairModel::default());
    let killer = t.a.clone();
    let held_elsewhere = t.on_a;
    let waiting = t.b.spawn(async move {
        let result = held_elsewhere.recv_from(&mut [0; 8]).await;
        result.unwrap_err().kind()
    });
    sleep(ms(1)).await;
    killer.kill();
    assert_eq!(ended(waiting).await.unwrap(), io::ErrorKind::NotConnected);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_kills_its_own_host_ends_at_its_next_await() {
    let t = Fixture::new(PairModel::default());
    let dropped = Arc::default();
    let guard = Guard(Arc::clone(&dropped), "own");
    let (host, seen) = (t.a.clone(), Arc::clone(&dropped));
    let own = t.a.spawn(async move {
        let _guard = guard;
        host.kill();
        seen.lock().push("after kill");
        sleep(ms(1)).await;
        seen.lock().push("never");
    });
    assert!(ended(own).await.is_none());
    assert_eq!(*dropped.lock(), ["after kill", "own"]);
    assert_eq!(ended(t.a.spawn(async { 1 })).await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn another_process_of_the_machine_is_frozen_and_killed_apart() {
    let t = Fixture::new(PairModel::default());
    let program = t.a.process();
    let beside = program.bind_udp(address("127.0.0.1:7")).unwrap();
    assert!(program.bind_udp(address("10.0.0.1:7")).is_err());
    let start = t.start;
    let task = program.spawn(async move {
        sleep(ms(10)).await;
        clock::now() - start
    });
    t.a.freeze();
    assert_eq!(ended(task).await.unwrap(), ms(10));
    t.a.kill();
    t.a.bind_udp(address("10.0.0.1:7"))
        .unwrap()
        .try_send_to(b"x", beside.local_addr())
        .unwrap();
    assert_eq!(receive_now(&beside), Some(b"x".to_vec()));
}

#[test]
fn the_runtimes_end_drops_the_futures_of_hosts() {
    let dropped = Arc::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let t = runtime.block_on(async {
        let t = Fixture::new(PairModel::default());
        let guard = Guard(Arc::clone(&dropped), "task");
        let _detached = t.a.spawn(async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        tokio::task::yield_now().await;
        t
    });
    drop(runtime);
    assert_eq!(*dropped.lock(), ["task"]);
    drop(t);
}
