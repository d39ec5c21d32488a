//! Namespaces, TUN devices and their clean-up on a real kernel.
//!
//! Each test has a `/run` of its own in a mount namespace of its own, so nothing outlives it,
//! whatever happens, and nobody else's namespaces are in sight.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::{
    ffi::OsString,
    fs, io,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{fd::AsFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use netem::lab::{
    self, AddRegionError, Addresses, Claim, ClaimError, Process, State, Tun, TunConfig, TunError,
};
use nix::mount::{MntFlags, umount2};

use fixture::{
    Foreign, Region, TestProcess, carry, has_valid_checksum, in_namespace, is_child, lab, named,
    private_run, readable, region, run, text,
};

#[path = "lab_plumbing/fixture.rs"]
mod fixture;

#[test]
#[ignore = "needs root"]
fn a_packet_of_one_region_is_whole_and_arrives_in_another() {
    let _alone = private_run();
    let claim = Claim::try_new(&lab()).unwrap();
    let (one, two) = (Region::new(&claim, 1), Region::new(&claim, 2));
    for (from, to) in one.ips().into_iter().zip(two.ips()) {
        let (sender, receiver) = (one.udp(from), two.udp(to));
        sender.send_to(b"hello", (to, 7_000)).unwrap();
        let packet = one.recv().unwrap();
        assert_eq!(lab::addresses(&packet), Some((from, to)));
        let payload = &packet[lab::payload_offset(&packet)..];
        assert_eq!(payload[8..], *b"hello", "past the UDP header");
        assert!(has_valid_checksum(&packet));

        let mut buffer = [0; 16];
        two.tun.send(&packet).unwrap();
        let (bytes, source) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..bytes], *b"hello");
        assert_eq!(source, SocketAddr::new(from, 7_000));
        let nothing = one.recv().unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
#[ignore = "needs root"]
fn both_addresses_can_be_bound_and_reached_as_soon_as_the_device_is_there() {
    let _alone = private_run();
    let claim = Claim::try_new(&lab()).unwrap();
    let namespace = claim.add_region(&region("eu")).unwrap();
    let addresses = Addresses::try_new(1).unwrap();
    // What is ready a little later would pass once in a while.
    for _ in 0..20 {
        let tun = Tun::make(&namespace, addresses, TunConfig::default()).unwrap();
        for ip in [IpAddr::from(addresses.v6), addresses.v4.into()] {
            let bind = || UdpSocket::bind((ip, 7_000));
            let socket = namespace.run_in(bind).unwrap().unwrap();
            // Where its own address is not reachable yet, this leaves through the device.
            socket.send_to(b"x", (ip, 7_000)).unwrap();
            let nothing = tun.recv(&mut [0; 64]).map_err(|error| error.kind());
            assert_eq!(nothing, Err(io::ErrorKind::WouldBlock));
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_flipped_bit_is_noticed_by_the_receiving_kernel() {
    let _alone = private_run();
    let claim = Claim::try_new(&lab()).unwrap();
    let (one, two) = (Region::new(&claim, 1), Region::new(&claim, 2));
    for (from, to) in one.ips().into_iter().zip(two.ips()) {
        let (sender, receiver) = (one.udp(from), two.udp(to));
        for text in ["first", "second"] {
            sender.send_to(text.as_bytes(), (to, 7_000)).unwrap();
        }
        let mut flipped = one.recv().unwrap();
        *flipped.last_mut().unwrap() ^= 1;
        two.tun.send(&flipped).unwrap();
        two.tun.send(&one.recv().unwrap()).unwrap();
        let mut buffer = [0; 16];
        let (bytes, _) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..bytes], *b"second");
    }
}

#[test]
#[ignore = "needs root"]
fn the_kernel_cuts_streams_to_the_mtu_and_sums_them_before_they_come_out() {
    let _alone = private_run();
    let claim = Claim::try_new(&lab()).unwrap();
    let (one, two) = (Region::new(&claim, 1), Region::new(&claim, 2));
    for (from, to) in one.ips().into_iter().zip(two.ips()) {
        let listen = || TcpListener::bind((to, 7_000));
        let listener = two.namespace.run_in(listen).unwrap().unwrap();
        // Both threads hold the other end, and close it when they end, however that is.
        let (ended, reads) = UnixStream::pair().unwrap();
        let writes = reads.try_clone().unwrap();
        let reader = thread::spawn(move || {
            let _reads = reads;
            let mut received = Vec::new();
            let (mut stream, peer) = listener.accept().unwrap();
            stream.read_to_end(&mut received).unwrap();
            (received.len(), peer.ip())
        });
        let state = State::load(&lab()).unwrap().unwrap();
        let namespace = state.namespace(&region("r1")).unwrap();
        let writer = thread::spawn(move || {
            let _writes = writes;
            let connect = || TcpStream::connect((to, 7_000));
            let mut stream = namespace.run_in(connect).unwrap().unwrap();
            stream.write_all(&vec![0x5a; STREAM_BYTES]).unwrap();
        });
        let [largest, _] = carry([&one, &two], &ended);
        writer.join().unwrap();
        assert_eq!(reader.join().unwrap(), (STREAM_BYTES, from));
        assert_eq!(largest, usize::from(TunConfig::default().mtu));
    }
}

#[test]
#[ignore = "needs root"]
fn ten_thousand_packets_wait_for_a_late_reader_and_no_more() {
    let _alone = private_run();
    let claim = Claim::try_new(&lab()).unwrap();
    let one = Region::new(&claim, 1);
    let to = Addresses::try_new(2).unwrap().v4;
    // What waits counts against its sender's buffer, which holds some 200 small packets.
    for _ in 0..101 {
        let bind = || UdpSocket::bind((one.addresses.v4, 0));
        let sender = one.namespace.run_in(bind).unwrap().unwrap();
        for _ in 0..100 {
            sender.send_to(b"x", (to, 7_000)).unwrap();
        }
    }
    let waiting = std::iter::from_fn(|| one.recv().ok()).count();
    assert_eq!(waiting, 10_000);
}

#[test]
#[ignore = "needs root"]
fn a_region_that_runs_nothing_sends_nothing() {
    let _alone = private_run();
    let claim = Claim::try_new(&lab()).unwrap();
    let one = Region::new(&claim, 1);
    // Linux reports multicast groups and solicits routers within the first second or two.
    let ready = readable([one.tun.as_fd()], Duration::from_secs(3));
    assert_eq!(ready, [false], "{:?}", one.recv());
}

#[test]
#[ignore = "needs root"]
fn a_device_has_the_mtu_that_was_asked_for_but_none_that_ipv6_cannot_use() {
    let _alone = private_run();
    let claim = Claim::try_new(&lab()).unwrap();
    let namespace = claim.add_region(&region("eu")).unwrap();
    let addresses = Addresses::try_new(1).unwrap();
    let with_mtu = |mtu| {
        let config = TunConfig {
            mtu,
            ..TunConfig::default()
        };
        Tun::make(&namespace, addresses, config)
    };
    assert!(matches!(
        with_mtu(1_279).unwrap_err(),
        TunError::MtuTooSmall { mtu: 1_279 }
    ));
    for mtu in [1_280, 9_000] {
        let _tun = with_mtu(mtu).unwrap();
        let shown = in_namespace("eu", &["cat", "/sys/class/net/netem0/mtu"]);
        assert_eq!(text(&shown).trim(), mtu.to_string());
        assert!(matches!(with_mtu(mtu).unwrap_err(), TunError::Make { .. }));
    }
}

#[test]
#[ignore = "needs root"]
fn ip_netns_lists_and_enters_a_region_whose_addresses_are_ready() {
    let _alone = private_run();
    let claim = Claim::try_new(&lab()).unwrap();
    let _region = Region::new(&claim, 1);
    let listed = run("ip", &["netns", "list"]);
    assert!(text(&listed).contains("netem-plumbing-r1"));
    let addresses = text(&in_namespace("r1", &["ip", "-o", "address"]));
    for address in ["127.0.0.1/8", "::1/128", "10.77.0.1/32", "fd77::1/128"] {
        assert!(addresses.contains(address), "{address} in {addresses}");
    }
    assert!(!addresses.contains("tentative"), "{addresses}");
    assert!(!addresses.contains("fe80"), "{addresses}");
}

#[test]
#[ignore = "needs root"]
fn a_taken_name_is_refused_and_left_as_it_was() {
    let _alone = private_run();
    let foreign = Foreign::new("netem-plumbing-eu");
    let claim = Claim::try_new(&lab()).unwrap();
    let error = claim.add_region(&region("eu")).unwrap_err();
    assert!(matches!(error, AddRegionError::Taken { .. }), "{error}");
    assert!(foreign.is_untouched());
    claim.add_region(&region("us")).unwrap();
    let twice = claim.add_region(&region("us")).unwrap_err();
    assert!(matches!(twice, AddRegionError::Taken { .. }), "{twice}");
    in_namespace("us", &["true"]);
    claim.clean_up().unwrap();
    assert!(foreign.is_untouched());
    assert_eq!(named(), ["netem-plumbing-eu"]);
}

#[test]
#[ignore = "needs root"]
fn whoever_took_the_name_and_even_the_inode_of_a_region_keeps_both() {
    let _alone = private_run();
    let claim = Claim::try_new(&lab()).unwrap();
    drop(claim.add_region(&region("eu")).unwrap());
    let deleted = run("ip", &["netns", "delete", "netem-plumbing-eu"]);
    assert!(deleted.status.success(), "{deleted:?}");
    let foreign = Foreign::new("netem-plumbing-eu");
    claim.clean_up().unwrap();
    assert!(foreign.is_untouched());
}

#[test]
#[ignore = "needs root"]
fn the_next_claim_clears_a_killed_lab_and_nothing_else() {
    if is_child() {
        let claim = Claim::try_new(&lab()).unwrap();
        let _regions = [Region::new(&claim, 1), Region::new(&claim, 2)];
        claim.record_forwarder(Process::current().unwrap()).unwrap();
        println!("\nready");
        io::stdin().read_exact(&mut [0]).unwrap();
        unreachable!("it is killed before");
    }
    let _alone = private_run();
    let foreign = Foreign::new("netem-plumbing-foreign");
    let mut child = TestProcess::new("the_next_claim_clears_a_killed_lab_and_nothing_else");
    child.read_until("ready");
    let state = State::load(&lab()).unwrap().unwrap();
    assert!(state.is_alive());
    assert_eq!(state.regions(), [region("r1"), region("r2")]);
    let error = Claim::try_new(&lab()).unwrap_err();
    assert!(matches!(error, ClaimError::Busy { .. }), "{error}");
    child.kill();
    assert!(!state.is_alive());
    assert_eq!(named().len(), 3);
    let claim = Claim::try_new(&lab()).unwrap();
    assert_eq!(named(), ["netem-plumbing-foreign"]);
    claim.clean_up().unwrap();
    assert!(!Path::new("/run/netem/plumbing").exists());
    assert!(State::load(&lab()).unwrap().is_none());
    assert!(foreign.is_untouched());
}

#[test]
#[ignore = "needs root"]
fn every_half_made_or_half_removed_region_is_cleared() {
    let _alone = private_run();
    let mounted = Path::new("/run/netem/plumbing/regions/eu");
    let link = Path::new("/run/netns/netem-plumbing-eu");
    let unmount = || umount2(mounted, MntFlags::MNT_DETACH).unwrap();
    let unlink = || fs::remove_file(link).unwrap();
    let leftovers: [(&str, &dyn Fn()); 4] = [
        ("file, link and mount", &|| {}),
        ("file and link", &unmount),
        ("file and mount", &unlink),
        ("file", &|| {
            unlink();
            unmount();
        }),
    ];
    for (left, interrupt) in leftovers {
        let claim = Claim::try_new(&lab()).unwrap();
        drop(claim.add_region(&region("eu")).unwrap());
        interrupt();
        drop(claim);
        let claim = Claim::try_new(&lab()).unwrap();
        assert!(!mounted.exists() && named().is_empty(), "{left}");
        claim.clean_up().unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn a_program_in_a_region_sees_its_devices_and_holds_no_mounts_of_a_cleared_lab() {
    if is_child() {
        let state = State::load(&lab()).unwrap().unwrap();
        let namespace = state.namespace(&region("r1")).unwrap();
        let script = "echo; ls /sys/class/net; echo ready; cat";
        let arguments = ["-c", script].map(OsString::from);
        let error = lab::exec(&namespace, "sh".as_ref(), &arguments).unwrap_err();
        panic!("{error}");
    }
    let _alone = private_run();
    let claim = Claim::try_new(&lab()).unwrap();
    let _one = Region::new(&claim, 1);
    let mut child = TestProcess::new(
        "a_program_in_a_region_sees_its_devices_and_holds_no_mounts_of_a_cleared_lab",
    );
    let seen = child.read_until("ready");
    assert!(seen.ends_with(&["lo".into(), "netem0".into()]), "{seen:?}");
    let mounts = PathBuf::from(format!("/proc/{}/mountinfo", child.id()));
    let held = || {
        let mounts = fs::read_to_string(&mounts).unwrap();
        mounts.matches("/run/netem/").count()
    };
    assert_eq!(held(), 1);
    claim.clean_up().unwrap();
    assert_eq!(held(), 0);
}

#[test]
#[ignore = "needs root"]
fn a_panic_inside_a_region_goes_on_outside() {
    let _alone = private_run();
    let claim = Claim::try_new(&lab()).unwrap();
    let namespace = claim.add_region(&region("eu")).unwrap();
    let panics = || namespace.run_in(|| panic!("inside"));
    let panicked = std::panic::catch_unwind(panics).map(|_: Result<(), _>| ());
    assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"inside"));
}

/// Many windows' worth, so that the kernel would offload if it could.
const STREAM_BYTES: usize = 1 << 20;
