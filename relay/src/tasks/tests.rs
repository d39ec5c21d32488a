use std::{
    future::pending,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use super::*;

fn tasks() -> Tasks {
    Tasks::new(Arc::new(quinn::TokioRuntime))
}

fn after(millis: u64) -> Instant {
    clock::now() + Duration::from_millis(millis)
}

async fn sleep(millis: u64) {
    clock::sleep_until(Some(after(millis))).await;
}

/// Counts its own drop.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn close_returns_as_soon_as_the_last_task_has_stopped_by_itself() {
    let tasks = tasks();
    let scope = tasks.scope("peer eu/fra-1");
    let child = scope.child("link");
    for scope in [&scope, &child] {
        scope
            .spawn("worker", |task| async move {
                task.stopping().await;
                sleep(30).await;
            })
            .unwrap();
    }
    let start = clock::now();
    assert_eq!(scope.close(after(1_000)).await, Vec::new());
    assert_eq!(clock::now() - start, Duration::from_millis(30));
    assert_eq!(tasks.counts().running, 0);
    assert_eq!(tasks.counts().overdue, 0);
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_and_not_before_the_rest_is_aborted_and_named() {
    let tasks = tasks();
    let scope = tasks.scope("peer eu/fra-1");
    let link = scope.child("link");
    let drops = Arc::new(AtomicUsize::new(0));
    let held = Held(drops.clone());
    link.spawn("stuck", |task| async move {
        let _held = held;
        task.waits(Wait::Write);
        pending::<()>().await;
    })
    .unwrap();
    sleep(1).await;
    let start = clock::now();
    let overdue = scope.close(after(500)).await;
    assert_eq!(clock::now() - start, Duration::from_millis(500));
    assert_eq!(
        overdue,
        [Overdue {
            name: "stuck",
            owner: "peer eu/fra-1 > link".into(),
            waits_for: Wait::Write,
        }]
    );
    // It stays in the list, overdue, until its future is really gone.
    assert!(tasks.list(clock::now())[0].overdue);
    sleep(1).await;
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    assert_eq!(tasks.list(clock::now()), []);
    assert_eq!(tasks.counts().overdue, 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_scope_drops_the_futures_of_its_whole_subtree() {
    let tasks = tasks();
    let scope = tasks.scope("node");
    let peer = scope.child("peer");
    let child = peer.child("link");
    let drops = Arc::new(AtomicUsize::new(0));
    for scope in [&scope, &child] {
        let held = Held(drops.clone());
        scope
            .spawn("stuck", |_| async move {
                let _held = held;
                pending::<()>().await;
            })
            .unwrap();
    }
    sleep(1).await;
    drop(scope);
    sleep(1).await;
    assert_eq!(drops.load(Ordering::Relaxed), 2);
    assert_eq!(tasks.counts().running, 0);
}

#[tokio::test(start_paused = true)]
async fn an_ended_scope_refuses_tasks_and_so_do_its_children_old_and_new() {
    let tasks = tasks();
    let scope = tasks.scope("node");
    let old = scope.child("old");
    drop(scope);
    let new = old.child("new");
    for scope in [&old, &new] {
        let refused = scope.spawn("late", |_| pending()).map(|_| ());
        assert_eq!(refused, Err(SpawnRefused::Closed));
    }
    assert_eq!(tasks.counts().refused_closed, 2);
}

#[tokio::test(start_paused = true)]
async fn the_registry_takes_its_limit_of_tasks_and_not_one_more() {
    let tasks = Tasks::with_limit(Arc::new(quinn::TokioRuntime), 3);
    let scope = tasks.scope("node");
    let handles: Vec<_> = (0..3)
        .map(|_| scope.spawn("worker", |_| pending()).unwrap())
        .collect();
    let refused = scope.spawn("worker", |_| pending()).map(|_| ());
    assert_eq!(refused, Err(SpawnRefused::Full { limit: 3 }));
    handles[0].abort();
    assert!(handles[0].finished(after(10)).await);
    scope.spawn("worker", |_| pending()).unwrap();

    // Scopes are bounded too: one beyond the limit can be held but runs nothing.
    let (_b, _c) = (tasks.scope("b"), tasks.scope("c"));
    let beyond = tasks.scope("beyond");
    assert!(beyond.spawn("worker", |_| pending()).is_err());
    assert!(
        beyond
            .child("below")
            .spawn("worker", |_| pending())
            .is_err()
    );
    assert_eq!(tasks.counts().refused_full, 4);
}

#[tokio::test(start_paused = true)]
async fn the_list_is_in_the_order_of_spawning_with_owner_age_and_wait() {
    let tasks = tasks();
    let scope = tasks.scope("peer eu/fra-1");
    let link = scope.child("link");
    scope
        .spawn("keeper", |task| async move {
            task.waits(Wait::Backoff);
            pending::<()>().await;
        })
        .unwrap();
    sleep(40).await;
    link.spawn("pump", |_| pending()).unwrap();
    sleep(2).await;
    let row = |id, name, owner: &str, age, waits_for| TaskRow {
        id,
        name,
        owner: owner.into(),
        age: Duration::from_millis(age),
        waits_for,
        overdue: false,
    };
    assert_eq!(
        tasks.list(clock::now()),
        [
            row(3, "keeper", "peer eu/fra-1", 42, Wait::Backoff),
            row(4, "pump", "peer eu/fra-1 > link", 2, Wait::Nothing),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_own_task_only_and_is_counted() {
    let tasks = tasks();
    let scope = tasks.scope("node");
    let other = scope.spawn("other", |_| pending()).unwrap();
    let failing = scope
        .spawn("failing", |_| async { panic!("on purpose") })
        .unwrap();
    assert!(failing.finished(after(10)).await);
    assert!(!other.finished(after(10)).await);
    assert_eq!(tasks.counts().panicked, 1);
    assert_eq!(tasks.counts().running, 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_scopes_that_ended() {
    let tasks = tasks();
    let scope = tasks.scope("node");
    for _ in 0..10 {
        let child = scope.child("peer");
        child.spawn("worker", |_| sleep(5)).unwrap();
        let grandchild = child.child("link");
        grandchild.spawn("worker", |_| sleep(5)).unwrap();
        child.close(after(20)).await;
    }
    assert_eq!(tasks.0.table.lock().scopes(), 1);
    drop(scope);
    assert_eq!(tasks.0.table.lock().scopes(), 0);
}

/// Notes how large the futures are that it is given, and drops them.
#[derive(Debug, Default)]
struct Scales(AtomicUsize);

impl quinn::Runtime for Scales {
    fn new_timer(&self, _: Instant) -> std::pin::Pin<Box<dyn quinn::AsyncTimer>> {
        unreachable!("tasks make no timers of QUIC")
    }

    fn spawn(&self, future: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.store(size_of_val(&*future), Ordering::Relaxed);
    }

    fn wrap_udp_socket(
        &self,
        _: std::net::UdpSocket,
    ) -> std::io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        unreachable!("tasks bind no sockets")
    }
}

#[test]
fn a_task_takes_the_room_of_its_future_once() {
    const BYTES: usize = 10_000;
    let scales = Arc::new(Scales::default());
    let tasks = Tasks::new(scales.clone());
    let held = [0_u8; BYTES];
    let future = async move {
        pending::<()>().await;
        std::hint::black_box(&held);
    };
    let scope = tasks.scope("peer eu/fra-1");
    scope.spawn("large", |_| future).unwrap();
    let bytes = scales.0.load(Ordering::Relaxed);
    assert!((BYTES..BYTES + 500).contains(&bytes), "{bytes}");
}
