//! Regions, foreigners and processes that end with their test.

use std::{
    env, fs, io,
    io::{BufRead, BufReader},
    net::{IpAddr, UdpSocket},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::MetadataExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use netem::lab::{self, Addresses, Claim, LabName, Namespace, RegionName, Tun, TunConfig};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use parking_lot::{Mutex, MutexGuard};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A region with its device.
pub(crate) struct Region {
    pub(crate) namespace: Namespace,
    pub(crate) tun: Tun,
    pub(crate) addresses: Addresses,
}

impl Region {
    pub(crate) fn new(claim: &Claim, index: usize) -> Self {
        let namespace = claim.add_region(&region(&format!("r{index}"))).unwrap();
        let addresses = Addresses::try_new(index).unwrap();
        let tun = Tun::make(&namespace, addresses, TunConfig::default()).unwrap();
        Self {
            namespace,
            tun,
            addresses,
        }
    }

    pub(crate) fn ips(&self) -> [IpAddr; 2] {
        [self.addresses.v4.into(), self.addresses.v6.into()]
    }

    pub(crate) fn udp(&self, ip: IpAddr) -> UdpSocket {
        let bind = || UdpSocket::bind((ip, 7_000));
        let socket = self.namespace.run_in(bind).unwrap().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    pub(crate) fn recv(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let bytes = self.tun.recv(&mut buffer)?;
        buffer.truncate(bytes);
        Ok(buffer)
    }
}

/// A namespace that no lab made, as `ip netns add` makes it.
pub(crate) struct Foreign {
    name: String,
    path: PathBuf,
    before: (u64, u64),
}

impl Foreign {
    pub(crate) fn new(name: &str) -> Self {
        let added = run("ip", &["netns", "add", name]);
        assert!(added.status.success(), "{added:?}");
        let path = Path::new("/run/netns").join(name);
        Self {
            name: name.to_owned(),
            before: identity(&path),
            path,
        }
    }

    pub(crate) fn is_untouched(&self) -> bool {
        let entered = run("ip", &["netns", "exec", &self.name, "true"]);
        identity(&self.path) == self.before && entered.status.success()
    }
}

fn identity(path: &Path) -> (u64, u64) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.dev(), metadata.ino())
}

/// A test of this binary as a process of its own, killed at the latest when it is dropped.
pub(crate) struct TestProcess(Child);

impl TestProcess {
    pub(crate) fn new(test: &str) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args([test, "--exact", "--ignored", "--nocapture"])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// What it prints before this line. Call it once.
    pub(crate) fn read_until(&mut self, line: &str) -> Vec<String> {
        let output = BufReader::new(self.0.stdout.take().unwrap());
        let mut before = Vec::new();
        for now in output.lines().map(Result::unwrap) {
            if now == line {
                return before;
            }
            before.push(now);
        }
        panic!("{line:?} does not come after {before:?}");
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for TestProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether this is a [`TestProcess`].
pub(crate) fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// Gives the calling thread, and what it starts, an empty `/run` that ends with it.
///
/// While the guard lives no other test starts processes: between fork and exec those would hold
/// on to devices and locks that this test has closed.
pub(crate) fn private_run() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock();
    lab::check_privileges().unwrap();
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    let plain = MsFlags::empty();
    mount(Some("none"), "/run", Some("tmpfs"), plain, None::<&str>).unwrap();
    alone
}

pub(crate) fn lab() -> LabName {
    LabName::try_new("plumbing").unwrap()
}

pub(crate) fn region(name: &str) -> RegionName {
    RegionName::try_new(name).unwrap()
}

/// All that `ip netns` knows, sorted.
pub(crate) fn named() -> Vec<String> {
    let entries = fs::read_dir("/run/netns").unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

/// Runs a command in a region of [`lab`] by its public name.
pub(crate) fn in_namespace(region: &str, command: &[&str]) -> Output {
    let name = format!("netem-plumbing-{region}");
    let output = run("ip", &[&["netns", "exec", &name], command].concat());
    assert!(output.status.success(), "{output:?}");
    output
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Waits until a device or a socket can be read: which of them can, none after `within`.
pub(crate) fn readable<const N: usize>(fds: [BorrowedFd<'_>; N], within: Duration) -> [bool; N] {
    let mut waits = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let within = Timespec::try_from(within).unwrap();
    poll(&mut waits, Some(&within)).unwrap();
    waits.map(|wait| !wait.revents().is_empty())
}

/// Carries every packet across until the other end of `ended` is closed: the size of the largest
/// from each.
pub(crate) fn carry(regions: [&Region; 2], ended: &UnixStream) -> [usize; 2] {
    let mut largest = [0; 2];
    loop {
        let [one, two] = regions.map(|region| region.tun.as_fd());
        let ready = readable([one, two, ended.as_fd()], PATIENCE);
        assert_ne!(ready, [false; 3], "the stream hangs");
        for from in (0..2).filter(|from| ready[*from]) {
            let packet = regions[from].recv().unwrap();
            assert!(has_valid_checksum(&packet));
            largest[from] = packet.len().max(largest[from]);
            regions[1 - from].tun.send(&packet).unwrap();
        }
        if ready == [false, false, true] {
            return largest;
        }
    }
}

/// Whether the checksum of TCP or UDP fits.
///
/// Sources: RFC 1071; the pseudo headers of RFC 9293 section 3.1 and RFC 8200 section 8.1.
pub(crate) fn has_valid_checksum(packet: &[u8]) -> bool {
    let payload = &packet[lab::payload_offset(packet)..];
    let (addresses, protocol) = match packet[0] >> 4 {
        4 => (&packet[12..20], packet[9]),
        _ => (&packet[8..40], packet[6]),
    };
    let words = [addresses, payload]
        .into_iter()
        .flat_map(|part| part.chunks(2))
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum = words.sum::<u32>() + u32::from(protocol);
    sum += u32::try_from(payload.len()).unwrap();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}

/// Long enough for a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Set in a [`TestProcess`].
const CHILD: &str = "NETEM_TEST_PROCESS";
