//! A network on the kernel's own netem: a shell script that makes it and removes it.
//!
//! Each host is a network namespace, and each two hosts have a cable of their own: a pair of veth
//! devices whose root queueing discipline is netem, one for each direction. Classes and filters on
//! one device would do with fewer devices; but then a duplicated packet would be classified again,
//! which some kernels refuse, and one packet of a host could wait for another host's.
//!
//! The words are those of [`to_tc`]; a path that they cannot say is refused. The devices send no
//! TCP segments that are longer than a packet, so that netem sees packets. It does see what a
//! program hands over with UDP segmentation offload as one.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use crate::{
    model::{Jitter, PairModel},
    topology::Topology,
    words::{NotInTc, to_tc},
};

/// Takes from a network what tc cannot say of one that a matrix made: jitter goes, and delays are
/// those of the nearest microsecond.
pub fn approximate(topology: &mut Topology) {
    topology.change_models(|model| {
        model.jitter = Jitter::default();
        let micros = (model.delay.as_nanos() + 500) / 1_000;
        model.delay = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
    });
}

/// The script for a network: `sh FILE up`, `sh FILE show`, `sh FILE down`.
///
/// # Errors
/// Everything that the kernel cannot do of it, path by path.
pub fn script(topology: &Topology) -> Result<String, NoScript> {
    if let Some(matrix) = topology.matrix() {
        return Err(NoScript::Matrix {
            name: matrix.to_owned(),
        });
    }
    let hosts = topology.hosts();
    let mut joins = String::new();
    let mut refused = Vec::new();
    for (one, host) in hosts.iter().enumerate() {
        for (other, peer) in hosts.iter().enumerate().skip(one + 1) {
            let (name, peer) = (host.name(), peer.name());
            write_line(
                &mut joins,
                format_args!("  join {name} {} {peer} {}", one + 1, other + 1),
            );
            for (from, to) in [(one, other), (other, one)] {
                match words(topology, from, to) {
                    Ok(None) => {}
                    Ok(Some(words)) => {
                        let [sender, receiver] = [from, to].map(|host| hosts[host].name());
                        write_line(
                            &mut joins,
                            format_args!("  impair {sender} {receiver} {} {words}", to + 1),
                        );
                    }
                    Err(reason) => {
                        let [from, to] = [from, to].map(|host| hosts[host].name().to_owned());
                        refused.push(RefusedPath { from, to, reason });
                    }
                }
            }
        }
    }
    if !refused.is_empty() {
        return Err(NoScript::Paths { refused });
    }
    let mut listed = String::new();
    let mut made = String::new();
    for (place, host) in hosts.iter().enumerate() {
        let (name, number) = (host.name(), place + 1);
        let address = format!("10.77.{}.{}", number / 256, number % 256);
        write_line(
            &mut listed,
            format_args!("#   {name:15} {address:15} fd77::{number:x}"),
        );
        write_line(&mut made, format_args!("  host {name} {number}"));
    }
    let names: Vec<&str> = hosts.iter().map(|host| host.name()).collect();
    Ok(SCRIPT
        .replace("@LISTED@\n", &listed)
        .replace("@NAMES@", &names.join(" "))
        .replace("@HOSTS@\n", &made)
        .replace("@JOINS@\n", &joins))
}

/// Why there is no script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoScript {
    /// The topology's matrix is not applied yet.
    #[error("the matrix {name} is not applied to the paths")]
    Matrix {
        /// Its name.
        name: String,
    },
    /// The kernel cannot do what these paths do.
    #[error("{}", .refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Paths {
        /// Each direction that is refused.
        refused: Vec<RefusedPath>,
    },
}

/// A direction that the kernel cannot do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{from} to {to}: {reason}")]
pub struct RefusedPath {
    /// The sender's name.
    pub from: String,
    /// The receiver's name.
    pub to: String,
    /// Why.
    #[source]
    pub reason: RefusedReason,
}

/// Why the kernel cannot do a direction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusedReason {
    /// It changes by itself.
    #[error(
        "tc holds one state and no schedule of changes: leave them out, or use another backend"
    )]
    Schedule,
    /// There are no words for it.
    #[error(transparent)]
    Words(#[from] NotInTc),
}

/// The words for a direction; none for a perfect wire.
fn words(topology: &Topology, from: usize, to: usize) -> Result<Option<String>, RefusedReason> {
    let path = topology.path(from, to);
    if path.is_some_and(|path| path.schedule().is_some()) {
        return Err(RefusedReason::Schedule);
    }
    let model = topology.model(from, to);
    if model == PairModel::default() {
        return Ok(None);
    }
    Ok(Some(to_tc(&model)?))
}

fn write_line(text: &mut String, line: fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string");
}

/// Devices are named after the number of the host at the other end, as names may be longer than the
/// 15 letters of a device. Neighbours are fixed, so that no packet waits for an answer that netem
/// loses; addresses have no duplicate detection, so that they can be used at once.
const SCRIPT: &str = r#"#!/bin/sh
# A network on the kernel's netem, written by netem. Needs root, iproute2 and sch_netem.
#
#   sh FILE up      makes a namespace netem-tc-NAME for each host and joins each two of them
#   sh FILE show    what each direction does, and its counters
#   sh FILE down    removes those namespaces, and with them all else
#
# Then run programs with: ip netns exec netem-tc-NAME PROGRAM
#
@LISTED@
set -eu

hosts="@NAMES@"

main() {
  case "${1-}" in
    up) up ;;
    show) show ;;
    down) down ;;
    *)
      echo "usage: sh $0 up|show|down" >&2
      exit 2
      ;;
  esac
}

up() {
  for name in $hosts; do
    if [ -e "/var/run/netns/netem-tc-$name" ]; then
      echo "the namespace netem-tc-$name is there already: sh $0 down removes it" >&2
      exit 2
    fi
  done
  # Nothing is left half made.
  trap down EXIT
  trap 'exit 1' HUP INT TERM
@HOSTS@
@JOINS@
  trap - EXIT HUP INT TERM
}

show() {
  for name in $hosts; do
    echo "$name"
    tc -n "netem-tc-$name" -s qdisc show
  done
}

down() {
  for name in $hosts; do
    if [ -e "/var/run/netns/netem-tc-$name" ]; then
      ip netns delete "netem-tc-$name"
    fi
  done
}

# host NAME NUMBER
host() {
  ip netns add "netem-tc-$1"
  ip -n "netem-tc-$1" link set lo up
}

# join NAME NUMBER NAME NUMBER
join() {
  ip -n "netem-tc-$1" link add "to$4" address "$(mac "$2")" type veth \
    peer name "to$2" address "$(mac "$4")" netns "netem-tc-$3"
  end "$1" "$2" "$4"
  end "$3" "$4" "$2"
}

# end NAME NUMBER PEER_NUMBER
end() {
  ip -n "netem-tc-$1" link set "to$3" gso_max_segs 1 up
  ip -n "netem-tc-$1" address add "$(ipv4 "$2")" peer "$(ipv4 "$3")" dev "to$3"
  ip -n "netem-tc-$1" address add "$(ipv6 "$2")" peer "$(ipv6 "$3")" dev "to$3" nodad
  ip -n "netem-tc-$1" neighbour add "$(ipv4 "$3")" lladdr "$(mac "$3")" dev "to$3"
  ip -n "netem-tc-$1" neighbour add "$(ipv6 "$3")" lladdr "$(mac "$3")" dev "to$3"
}

# impair NAME PEER PEER_NUMBER WORDS...
impair() {
  name=$1 number=$3
  shift 3
  tc -n "netem-tc-$name" qdisc add dev "to$number" root netem "$@"
}

mac() { printf '02:00:00:00:%02x:%02x' $(($1 / 256)) $(($1 % 256)); }
ipv4() { echo "10.77.$(($1 / 256)).$(($1 % 256))"; }
ipv6() { printf 'fd77::%x' "$1"; }

main "$@"
"#;
