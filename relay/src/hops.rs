//! Whether what has hops to go may go on: no route ever loops.
//!
//! Pure, and the same for packets, control frames and streams. Whoever sends names the nodes that
//! are still to be visited; each node on the way checks them against all that it can know was
//! visited: itself, the node that it came from, and those that what it came in names.

use crate::{
    id::NodeKey,
    wire::{Direction, PacketHeader, RemainingHops},
};

/// It would visit a node twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loop;

/// The next node, and the hops that are left behind it; `None` at the destination.
///
/// - `us`: this node.
/// - `passed`: every node that it is known to have been at, the one that it came from included.
///
/// # Errors
/// [`Loop`]: it must not go on, nor be taken in here.
pub(crate) fn next_hop(
    us: NodeKey,
    passed: &[NodeKey],
    hops: RemainingHops,
) -> Result<Option<(NodeKey, RemainingHops)>, Loop> {
    let ahead = hops.as_slice();
    let was_here = passed.contains(&us) || ahead.contains(&us);
    let returns = ahead.iter().any(|hop| passed.contains(hop));
    let repeats = (1..ahead.len()).any(|at| ahead[..at].contains(&ahead[at]));
    match was_here || returns || repeats {
        true => Err(Loop),
        false => Ok(hops.split_first()),
    }
}

/// As [`next_hop`], for a packet that came from `from`.
///
/// A packet names none of the nodes that it has passed but the flow's ingress: forward it has been
/// there, back it ends there.
///
/// # Errors
/// [`Loop`]: it must be dropped.
pub(crate) fn next_hop_of_packet(
    us: NodeKey,
    from: NodeKey,
    header: &PacketHeader,
) -> Result<Option<(NodeKey, RemainingHops)>, Loop> {
    let ingress = header.flow.ingress;
    match header.direction {
        Direction::Forward => next_hop(us, &[ingress, from], header.hops),
        Direction::Back => {
            let before_last = header
                .hops
                .as_slice()
                .split_last()
                .map_or(&[][..], |(_, b)| b);
            match ingress == us || before_last.contains(&ingress) {
                true => Err(Loop),
                false => next_hop(us, &[from], header.hops),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        id::NodeGeneration,
        wire::{Class, FlowId},
    };

    fn key(number: u8) -> NodeKey {
        NodeKey([number; NodeKey::LEN])
    }

    fn hops(numbers: &[u8]) -> RemainingHops {
        let keys: Vec<NodeKey> = numbers.iter().copied().map(key).collect();
        RemainingHops::try_new(&keys).unwrap()
    }

    fn packet(direction: Direction, ingress: u8, ahead: &[u8]) -> PacketHeader {
        PacketHeader {
            direction,
            class: Class::Video,
            flow: FlowId {
                ingress: key(ingress),
                generation: NodeGeneration(1),
                number: 1,
            },
            sequence: 0,
            sent_us: 0,
            link_sequence: 0,
            lifetime_ms: 0,
            fragment: None,
            hops: hops(ahead),
        }
    }

    #[test]
    fn path_goes_on_hop_by_hop_to_its_destination() {
        let (next, rest) = next_hop(key(1), &[key(0)], hops(&[2, 3])).unwrap().unwrap();
        assert_eq!((next, rest), (key(2), hops(&[3])));
        assert_eq!(next_hop(key(3), &[key(0), key(2)], hops(&[])), Ok(None));
    }

    #[test]
    fn packet_forward_keeps_off_its_ingress_and_back_ends_there() {
        let step = |direction, ingress, ahead: &[u8]| {
            let header = packet(direction, ingress, ahead);
            next_hop_of_packet(key(1), key(2), &header).map(|next| next.map(|(next, _)| next))
        };
        assert_eq!(step(Direction::Forward, 9, &[3, 4]), Ok(Some(key(3))));
        assert_eq!(step(Direction::Forward, 9, &[3, 9]), Err(Loop));
        assert_eq!(step(Direction::Forward, 1, &[3]), Err(Loop));
        assert_eq!(step(Direction::Back, 9, &[3, 9]), Ok(Some(key(3))));
        assert_eq!(step(Direction::Back, 9, &[9, 3]), Err(Loop));
        assert_eq!(step(Direction::Back, 1, &[3]), Err(Loop));
        assert_eq!(step(Direction::Back, 9, &[2, 9]), Err(Loop));
    }

    proptest! {
        #[test]
        fn nothing_goes_on_that_was_there_or_would_come_again(
            us in 0_u8..6,
            passed in prop::collection::vec(0_u8..6, 1..4),
            ahead in prop::collection::vec(0_u8..6, 0..=3),
        ) {
            let keys: Vec<NodeKey> = passed.iter().copied().map(key).collect();
            let result = next_hop(key(us), &keys, hops(&ahead));
            let mut visits = ahead.clone();
            visits.extend(&passed);
            visits.push(us);
            let ahead_once = ahead.iter().all(|hop| visits.iter().filter(|v| *v == hop).count() == 1);
            prop_assert_eq!(result.is_ok(), ahead_once && !passed.contains(&us));
        }
    }
}
