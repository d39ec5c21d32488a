use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
};

use super::{fake::FakeNode, *};

fn tcp() -> AdminAddress {
    "127.0.0.1:0".parse().unwrap()
}

fn client(address: &AdminAddress) -> Client {
    Client::new(address.clone(), Duration::from_secs(5))
}

/// Runs a test on one thread, with real sockets.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// Sends `request` as it is and returns all that comes back.
async fn raw(address: &AdminAddress, request: &str) -> String {
    let AdminAddress::Tcp(address) = address else {
        panic!("{address} is not TCP");
    };
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn ask_everything(address: &AdminAddress, node: &FakeNode) {
    let client = client(address);
    assert_eq!(client.status().await.unwrap(), node.status());
    assert_eq!(client.peers().await.unwrap(), node.peers());
    assert_eq!(client.tasks().await.unwrap(), node.tasks());
    assert!(client.health().await.unwrap().is_healthy());
    assert!(client.ready().await.unwrap().is_ready());
    assert!(client.metrics().await.unwrap().contains("relay_links 3"));
    for peer in node.peers() {
        let detail = client.peer(&peer.name).await.unwrap();
        assert_eq!(Some(detail), node.peer(&peer.name));
    }
}

#[test]
fn client_gets_over_tcp_and_unix_socket_what_the_node_says() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let node = Arc::new(FakeNode::default());
        node.metrics.gauge("relay.links", "{link}", "Links.").set(3);
        for address in [tcp(), AdminAddress::Unix(dir.path().join("admin.sock"))] {
            let (address, stop, served) = node.serve(&address);
            ask_everything(&address, &node).await;
            stop.cancel();
            served.await.unwrap();
            let error = client(&address).status().await.unwrap_err();
            assert!(matches!(error, ClientError::NotAnswering { .. }), "{error}");
        }
    });
}

#[test]
fn socket_file_is_for_its_owner_only_and_goes_with_the_server() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let node = Arc::new(FakeNode::default());
        let (_, stop, served) = node.serve(&AdminAddress::Unix(path.clone()));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        stop.cancel();
        served.await.unwrap();
        assert!(!path.exists());
    });
}

#[test]
fn stale_socket_is_replaced_a_live_one_and_other_files_are_not() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let address = AdminAddress::Unix(path.clone());

        drop(UnixListener::bind(&path).unwrap());
        let first = AdminListener::bind(&address).unwrap();
        let second = AdminListener::bind(&address).unwrap_err();
        assert!(matches!(second, ListenError::InUse { .. }), "{second}");
        assert!(path.exists());
        drop(first);

        fs::write(&path, "precious").unwrap();
        let error = AdminListener::bind(&address).unwrap_err();
        assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    });
}

#[test]
fn socket_file_of_a_successor_is_left_alone() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let old = AdminListener::bind(&AdminAddress::Unix(path.clone())).unwrap();
        fs::remove_file(&path).unwrap();
        let successor = UnixListener::bind(&path).unwrap();
        drop(old);
        assert!(path.exists());
        drop(successor);
    });
}

#[test]
fn wedged_loop_is_named_and_unready_tells_why_both_with_503() {
    run(async {
        let node = Arc::new(FakeNode::default());
        let (address, _stop, _served) = node.serve(&tcp());
        node.wedged.store(true, Ordering::Relaxed);
        node.unready.store(true, Ordering::Relaxed);
        let health = client(&address).health().await.unwrap();
        let answers: Vec<bool> = health.loops.iter().map(|found| found.answers).collect();
        assert_eq!(answers, [true, false]);
        assert_eq!(health.loops[1].name, "worker 1");
        let ready = client(&address).ready().await.unwrap();
        assert_eq!(ready.reasons, ["no peer is up"]);
        for path in ["/healthz", "/readyz"] {
            let answer = raw(&address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        }
    });
}

#[test]
fn peer_is_found_by_its_bare_name_and_others_are_refused_with_what_there_is() {
    run(async {
        let node = Arc::new(FakeNode::default());
        let (address, _stop, _served) = node.serve(&tcp());
        let client = client(&address);
        let detail = client.peer("iad-1").await.unwrap();
        assert_eq!(detail.peer.name, "us-east/iad-1");
        let error = client.peer("nobody/here?").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "no peer nobody/here?; there is ap-south/bom-1; seed.example.org:7400; us-east/iad-1"
        );
    });
}

#[test]
fn silent_router_is_told_from_a_node_that_is_not_known() {
    run(async {
        let node = Arc::new(FakeNode::default());
        let (address, _stop, _served) = node.serve(&tcp());
        let status = async |path: &str| {
            let answer = raw(&address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
            answer.split(' ').nth(1).map(str::to_owned).unwrap()
        };
        for path in ["/v1/routes", "/v1/routes/us-east/iad-1", "/v1/mesh"] {
            node.silent.store(true, Ordering::Relaxed);
            assert_eq!(status(path).await, "503", "{path}");
            node.silent.store(false, Ordering::Relaxed);
            assert_eq!(status(path).await, "200", "{path}");
        }
        node.silent.store(true, Ordering::Relaxed);
        let error = client(&address).routes().await.unwrap_err();
        assert_eq!(error.to_string(), "the router does not answer");
        node.silent.store(false, Ordering::Relaxed);
        for (path, code) in [
            ("/v1/routes/nobody", "404"),
            ("/v1/echo/nobody", "404"),
            ("/v1/echo/us-east/iad-1", "200"),
            ("/v1/echo/us-east/iad-1?hop=2", "200"),
            ("/v1/echo/us-east/iad-1?hop=0", "404"),
            ("/v1/echo/us-east/iad-1?hop=3", "404"),
            ("/v1/echo/us-east/iad-1?hop=x", "400"),
            ("/v1/echo/us-east/iad-1?hops=1", "400"),
        ] {
            assert_eq!(status(path).await, code, "{path}");
        }
    });
}

#[test]
fn odd_requests_get_typed_answers() {
    run(async {
        let node = Arc::new(FakeNode::default());
        let (address, _stop, _served) = node.serve(&tcp());
        for (request, status) in [
            ("GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n", 404),
            ("POST /v1/status HTTP/1.1\r\nhost: x\r\n\r\n", 405),
            (
                "GET /v1/status HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx",
                413,
            ),
            ("nonsense\r\n\r\n", 400),
        ] {
            let answer = raw(&address, request).await;
            let expected = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&expected), "{request}: {answer}");
        }
        let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(20_000));
        let AdminAddress::Tcp(tcp) = &address else {
            panic!("{address} is not TCP");
        };
        // It may be reset rather than answered; what matters is that the next one is served.
        let mut stream = TcpStream::connect(tcp).await.unwrap();
        stream.write_all(long.as_bytes()).await.ok();
        stream.read_to_end(&mut Vec::new()).await.ok();
        assert!(client(&address).status().await.is_ok());
    });
}

#[test]
fn connections_that_say_nothing_hold_up_others_only_until_their_deadline() {
    run(async {
        let node = Arc::new(FakeNode::default());
        let (address, _stop, _served) = node.serve(&tcp());
        let AdminAddress::Tcp(tcp) = &address else {
            panic!("{address} is not TCP");
        };
        let mut silent = Vec::new();
        for _ in 0..64 {
            silent.push(TcpStream::connect(tcp).await.unwrap());
        }
        let hasty = Client::new(address.clone(), Duration::from_millis(100));
        let error = hasty.status().await.unwrap_err();
        assert!(matches!(error, ClientError::Deadline { .. }), "{error}");
        // 2 s to say something, then their places are free.
        assert!(client(&address).status().await.is_ok());
    });
}

#[test]
fn what_is_not_a_node_is_told_from_nobody() {
    run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = AdminAddress::Tcp(listener.local_addr().unwrap());
        let answer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
        };
        let asker = client(&address);
        let (error, ()) = tokio::join!(asker.status(), answer);
        let error = error.unwrap_err();
        assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
    });
}
