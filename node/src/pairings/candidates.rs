//! The devices that may have shown a typed code, and which is tried next.

use std::collections::BTreeMap;

use kinsync_protocol::id::DeviceId;
use kinsync_protocol::pairing::joiner::CANDIDATES_MAX;
use kinsync_protocol::trust::Standing;
use libp2p::Multiaddr;

use super::{Random, is_trusted};
use crate::swarm::addresses::Place;

/// Devices noted in one search; as many as discovery itself keeps places of
/// strangers.
pub(super) const SEEN_MAX: usize = 256;

/// Places noted for one device; a device has few that work.
pub(super) const PLACES_MAX: usize = 4;

/// Trusted devices that one search asks: they need no pairing, unless the other
/// side has lost its part of it. The rest is for strangers.
pub(super) const TRUSTED_MAX: usize = 4;

/// All candidates of one search.
pub(super) struct Candidates {
    me: DeviceId,
    /// The only device that may be the host.
    only: Option<DeviceId>,
    seen: BTreeMap<DeviceId, Candidate>,
}

struct Candidate {
    standing: Standing,
    places: Vec<Place>,
    path: Path,
    state: State,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum State {
    /// Nothing was tried yet.
    Waiting,
    Dialling,
    /// It was reached; the machine knows it.
    Reached,
    /// None of its places answered.
    Unreachable,
}

/// How a device was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Path {
    Address,
    Lan,
}

impl Candidates {
    pub(super) fn new(me: DeviceId, only: Option<DeviceId>) -> Self {
        Self { me, only, seen: BTreeMap::new() }
    }

    /// Forgets what was tried; this device has another key.
    pub(super) fn renew(&mut self, me: DeviceId) {
        self.me = me;
        self.seen.values_mut().for_each(|seen| seen.state = State::Waiting);
    }

    /// Takes note of a device that may be the host; `false` if it cannot be.
    pub(super) fn note(&mut self, device: DeviceId, standing: Standing) -> bool {
        let wanted = device != self.me && self.only.is_none_or(|only| only == device);
        if !wanted || (self.seen.len() >= SEEN_MAX && !self.seen.contains_key(&device)) {
            return false;
        }
        let new = Candidate { standing, places: Vec::new(), path: Path::Lan, state: State::Waiting };
        self.seen.entry(device).or_insert(new).standing = standing;
        true
    }

    /// Takes note of where a device may be. A new place is a new chance.
    pub(super) fn note_place(&mut self, device: DeviceId, place: &Place) {
        if let Some(seen) = self.seen.get_mut(&device)
            && seen.places.len() < PLACES_MAX
            && !seen.places.contains(place)
        {
            seen.places.push(place.clone());
            if seen.state == State::Unreachable {
                seen.state = State::Waiting;
            }
        }
    }

    /// A device is being dialled: where it may be.
    pub(super) fn dial(&mut self, device: DeviceId) -> Vec<Multiaddr> {
        let Some(seen) = self.seen.get_mut(&device) else {
            return Vec::new();
        };
        seen.state = State::Dialling;
        seen.places.iter().map(Place::address).collect()
    }

    pub(super) fn is_dialled(&self, device: DeviceId) -> bool {
        self.seen.get(&device).is_some_and(|seen| seen.state == State::Dialling)
    }

    pub(super) fn give_up(&mut self, device: DeviceId) {
        if let Some(seen) = self.seen.get_mut(&device)
            && seen.state == State::Dialling
        {
            seen.state = State::Unreachable;
        }
    }

    /// A device was reached; whether it is the first time.
    pub(super) fn reach(&mut self, device: DeviceId, path: Path) -> bool {
        let Some(seen) = self.seen.get_mut(&device).filter(|seen| seen.state != State::Reached) else {
            return false;
        };
        (seen.state, seen.path) = (State::Reached, path);
        true
    }

    /// One of those that can be tried, strangers first, in random order:
    /// whoever announces itself first must not always be first.
    pub(super) fn choose(
        &self,
        connected: &BTreeMap<DeviceId, Standing>,
        random: &mut Random,
    ) -> Option<DeviceId> {
        if self.tried(true) + self.tried(false) >= CANDIDATES_MAX {
            return None;
        }
        let mut choice = self.waiting(false, connected);
        if choice.is_empty() && self.tried(true) < TRUSTED_MAX {
            choice = self.waiting(true, connected);
        }
        let count = u64::try_from(choice.len()).ok().filter(|count| *count > 0)?;
        let mut bytes = [0; 8];
        random(&mut bytes);
        let index = usize::try_from(u64::from_be_bytes(bytes) % count).ok()?;
        choice.get(index).copied()
    }

    pub(super) fn standing(&self, device: DeviceId) -> Option<Standing> {
        self.seen.get(&device).map(|seen| seen.standing)
    }

    pub(super) fn is_stranger(&self, device: DeviceId) -> bool {
        self.standing(device).is_some_and(|standing| !is_trusted(standing))
    }

    pub(super) fn path(&self, device: DeviceId) -> Option<Path> {
        self.seen.get(&device).map(|seen| seen.path)
    }

    pub(super) fn count(&self) -> usize {
        self.seen.len()
    }

    pub(super) fn count_reached(&self) -> usize {
        self.seen.values().filter(|seen| seen.state == State::Reached).count()
    }

    fn tried(&self, trusted: bool) -> usize {
        self.seen
            .values()
            .filter(|seen| is_trusted(seen.standing) == trusted && seen.state != State::Waiting)
            .count()
    }

    fn waiting(&self, trusted: bool, connected: &BTreeMap<DeviceId, Standing>) -> Vec<DeviceId> {
        let can_be_tried = |device: &DeviceId, seen: &Candidate| {
            is_trusted(seen.standing) == trusted
                && seen.state == State::Waiting
                && (!seen.places.is_empty() || connected.contains_key(device))
        };
        let waiting = self.seen.iter().filter(|(device, seen)| can_be_tried(device, seen));
        waiting.map(|(device, _)| *device).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: DeviceId = DeviceId([0; 32]);

    fn device(number: usize) -> DeviceId {
        let mut key = [1; 32];
        key[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
        DeviceId(key)
    }

    fn place(port: u16) -> Place {
        Place::told(&format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap(), &ME).unwrap()
    }

    fn choose(candidates: &Candidates, number: u8) -> Option<DeviceId> {
        let mut random: Random = Box::new(move |bytes| bytes.fill(number));
        candidates.choose(&BTreeMap::new(), &mut random)
    }

    #[test]
    fn a_flood_fills_neither_the_list_nor_the_places_of_a_device() {
        let mut candidates = Candidates::new(ME, None);
        for number in 1..=SEEN_MAX {
            assert!(candidates.note(device(number), Standing::Stranger));
        }
        assert!(!candidates.note(device(SEEN_MAX + 1), Standing::Stranger));
        assert!(candidates.note(device(1), Standing::Stranger), "known ones stay known");
        for port in 1..10 {
            candidates.note_place(device(1), &place(port));
        }
        assert_eq!(candidates.dial(device(1)).len(), PLACES_MAX);
    }

    #[test]
    fn strangers_come_before_trusted_devices_and_those_are_few() {
        let mut candidates = Candidates::new(ME, None);
        for number in 0..10 {
            candidates.note(device(number), Standing::Kin);
            candidates.note_place(device(number), &place(1));
        }
        candidates.note(device(99), Standing::Stranger);
        candidates.note_place(device(99), &place(1));
        assert_eq!(choose(&candidates, 0), Some(device(99)));
        candidates.dial(device(99));
        for _ in 0..TRUSTED_MAX {
            let next = choose(&candidates, 0).expect("one more");
            candidates.dial(next);
        }
        assert_eq!(choose(&candidates, 0), None);
    }

    #[test]
    fn the_choice_is_random() {
        let mut candidates = Candidates::new(ME, None);
        for number in 1..=8 {
            candidates.note(device(number), Standing::Stranger);
            candidates.note_place(device(number), &place(1));
        }
        assert_ne!(choose(&candidates, 0), choose(&candidates, 1));
    }

    #[test]
    fn a_device_that_does_not_answer_gets_another_chance_only_at_another_place() {
        let mut candidates = Candidates::new(ME, Some(device(1)));
        assert!(!candidates.note(device(2), Standing::Stranger), "only one can be meant");
        assert!(!candidates.note(ME, Standing::Stranger));
        candidates.note(device(1), Standing::Stranger);
        assert_eq!(choose(&candidates, 0), None, "nobody knows where it is");
        candidates.note_place(device(1), &place(1));
        candidates.dial(device(1));
        candidates.give_up(device(1));
        candidates.note_place(device(1), &place(1));
        assert_eq!(choose(&candidates, 0), None);
        candidates.note_place(device(1), &place(2));
        assert_eq!(choose(&candidates, 0), Some(device(1)));
    }
}
