#!/bin/sh
# A network on the kernel's netem, written by netem. Needs root, iproute2 and sch_netem.
#
#   sh FILE up      makes a namespace netem-tc-NAME for each host and joins each two of them
#   sh FILE show    what each direction does, and its counters
#   sh FILE down    removes those namespaces, and with them all else
#
# Then run programs with: ip netns exec netem-tc-NAME PROGRAM
#
#   a               10.77.0.1       fd77::1
#   frankfurt       10.77.0.2       fd77::2
#   c               10.77.0.3       fd77::3
set -eu

hosts="a frankfurt c"

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
  host a 1
  host frankfurt 2
  host c 3
  join a 1 frankfurt 2
  impair a frankfurt 2 delay 40ms loss gemodel 0.2020202% 20% limit 4294967295
  impair frankfurt a 1 delay 40ms 5ms rate 50mbit -14 limit 1000
  join a 1 c 3
  join frankfurt 2 c 3
  impair frankfurt c 3 delay 1ms limit 4294967295
  impair c frankfurt 2 delay 1ms limit 4294967295
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
