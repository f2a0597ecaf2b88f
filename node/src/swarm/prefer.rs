//! Which of several connections to a device stays.
//!
//! Two devices that dial each other at the same moment end up with two
//! connections. Both have to keep the same one, or they end up with none.
//!
//! A connection that comes long after another one is something else: nobody
//! dials a device that it is connected to, so the older one is dead and only
//! one side knows it, as after a change of networks.

use std::time::Duration;

use kinsync_protocol::id::DeviceId;
use libp2p::swarm::ConnectionId;

use super::admission::Side;

/// Connections that came up within this time of each other were dialled at
/// once.
pub const AT_ONCE: Duration = Duration::from_secs(5);

/// A connection, as far as the choice goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Link {
    /// Which one. Numbers grow with age, and mean nothing to the other side.
    pub connection: ConnectionId,
    /// Whether it goes through a third device.
    pub relayed: bool,
    /// Who dialled it.
    pub dialled_by: Side,
    /// When it came up, on this device's monotonic clock.
    pub since: Duration,
}

/// Which of `links` between `own` and `other` to keep: of those that are not
/// dead, a direct one before a relayed one, then one that the smaller id
/// dialled, then the oldest.
pub fn preferred(own: &DeviceId, other: &DeviceId, links: &[Link]) -> Option<ConnectionId> {
    let smaller = if own < other { Side::Ours } else { Side::Theirs };
    let newest = links.iter().map(|link| link.since).max()?;
    links
        .iter()
        .filter(|link| newest.saturating_sub(link.since) < AT_ONCE)
        .min_by_key(|link| (link.relayed, link.dialled_by != smaller, link.connection))
        .map(|link| link.connection)
}

/// Which of `links` this device has to close, after they were quiet for a moment.
///
/// Always none on the side with the greater id. Of two connections that one
/// side dialled, the two may disagree which is older: with one side that
/// closes they cannot close both.
pub fn surplus(own: &DeviceId, other: &DeviceId, links: &[Link]) -> Vec<ConnectionId> {
    let kept = preferred(own, other, links);
    let all = links.iter().map(|link| link.connection);
    all.filter(|connection| own < other && Some(*connection) != kept).collect()
}

/// Whether this device dials as soon as it knows where `other` is. The one
/// with the greater id waits a little, since the other will most likely do it.
pub fn dials_first(own: &DeviceId, other: &DeviceId) -> bool {
    own < other
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: DeviceId = DeviceId([1; 32]);
    const LAPTOP: DeviceId = DeviceId([2; 32]);

    fn link(number: usize, relayed: bool, dialled_by: Side) -> Link {
        Link { connection: ConnectionId::new_unchecked(number), relayed, dialled_by, since: Duration::ZERO }
    }

    /// The same connections as the other side numbers them, in its order of arrival.
    fn mirrored(links: &[Link], order: &[usize]) -> Vec<Link> {
        let mirror = |side| if side == Side::Ours { Side::Theirs } else { Side::Ours };
        order
            .iter()
            .enumerate()
            .map(|(at, from)| link(100 + at, links[*from].relayed, mirror(links[*from].dialled_by)))
            .collect()
    }

    #[test]
    fn a_direct_connection_beats_a_relayed_one_and_then_the_smaller_dialler() {
        let links = [
            link(1, true, Side::Ours),
            link(2, false, Side::Theirs),
            link(3, false, Side::Ours),
            link(4, false, Side::Ours),
        ];
        let kept = |count: usize| preferred(&PHONE, &LAPTOP, &links[..count]).unwrap();
        assert_eq!([1, 2, 3, 4].map(kept), [1, 2, 3, 3].map(ConnectionId::new_unchecked));
        assert_eq!(preferred(&PHONE, &LAPTOP, &[]), None);
    }

    #[test]
    fn both_sides_keep_the_same_of_two_that_were_dialled_at_once() {
        let here = [link(1, false, Side::Ours), link(2, false, Side::Theirs)];
        for order in [[0, 1], [1, 0]] {
            let there = mirrored(&here, &order);
            let kept_there = preferred(&LAPTOP, &PHONE, &there).unwrap();
            let at = there.iter().position(|link| link.connection == kept_there).unwrap();
            assert_eq!(order[at], 0);
        }
    }

    #[test]
    fn only_the_smaller_side_closes_and_one_connection_is_left() {
        let here = [link(1, false, Side::Theirs), link(2, false, Side::Theirs), link(3, true, Side::Ours)];
        assert_eq!(surplus(&PHONE, &LAPTOP, &here).len(), 2);
        assert_eq!(surplus(&LAPTOP, &PHONE, &mirrored(&here, &[1, 0, 2])), []);
        assert!(dials_first(&PHONE, &LAPTOP) && !dials_first(&LAPTOP, &PHONE));
    }

    /// The laptop sits on a dead connection when the phone comes back from
    /// another network.
    #[test]
    fn a_connection_that_comes_later_replaces_a_dead_one() {
        for (first, second) in [(Side::Ours, Side::Theirs), (Side::Theirs, Side::Theirs)] {
            let dead = link(1, false, first);
            let alive = |since| Link { since, ..link(2, false, second) };
            let at_once = [dead, alive(AT_ONCE - Duration::from_millis(1))];
            assert_eq!(preferred(&PHONE, &LAPTOP, &at_once), Some(ConnectionId::new_unchecked(1)));
            assert_eq!(surplus(&PHONE, &LAPTOP, &[dead, alive(AT_ONCE)]), [ConnectionId::new_unchecked(1)]);
        }
    }
}
