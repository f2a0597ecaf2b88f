//! How much of what is announced is listened to.
//!
//! Anybody on the network can announce anything as often as they like, also
//! in the name of a trusted device.

use std::collections::{BTreeMap, VecDeque};

use kinsync_protocol::id::DeviceId;
use libp2p::{Multiaddr, PeerId};

use crate::swarm::{addresses::Place, identity::device_id};

/// Addresses of strangers that are remembered, all strangers together.
pub(super) const STRANGER_PLACES_MAX: usize = 256;

/// New addresses of strangers a second, and as many of trusted devices.
pub(super) const NEW_PER_SECOND_MAX: usize = 32;

/// Addresses of one device. A new one takes the place of the oldest, so that
/// nobody can fill them up for good.
pub(super) const PLACES_PER_DEVICE_MAX: usize = 16;

#[derive(Debug, Default)]
struct Known {
    trusted: bool,
    /// Newest last.
    places: VecDeque<Place>,
}

/// What has been announced and listened to.
#[derive(Debug, Default)]
pub(super) struct Intake {
    known: BTreeMap<DeviceId, Known>,
    new_strangers: usize,
    new_trusted: usize,
    dropped: u64,
}

impl Intake {
    /// Whether to listen to the announcement that `device` is at `place`.
    pub(super) fn admit(&mut self, device: DeviceId, trusted: bool, place: Place) -> bool {
        let full = !trusted && self.stranger_places() >= STRANGER_PLACES_MAX;
        let new = if trusted { &mut self.new_trusted } else { &mut self.new_strangers };
        if full || *new >= NEW_PER_SECOND_MAX {
            self.dropped += 1;
            return false;
        }
        *new += 1;

        let known = self.known.entry(device).or_default();
        known.trusted = trusted;
        known.places.retain(|known| *known != place);
        if known.places.len() >= PLACES_PER_DEVICE_MAX {
            known.places.pop_front();
        }
        known.places.push_back(place);
        true
    }

    /// Forgets an announcement that has run out.
    pub(super) fn forget(&mut self, peer: &PeerId, address: &Multiaddr) {
        let Some(device) = device_id(peer) else { return };
        let Some(place) = Place::told(address, &device) else { return };
        if let Some(known) = self.known.get_mut(&device) {
            known.places.retain(|known| *known != place);
            if known.places.is_empty() {
                self.known.remove(&device);
            }
        }
    }

    /// Begins a new second.
    pub(super) fn renew_budget(&mut self) {
        self.new_strangers = 0;
        self.new_trusted = 0;
    }

    /// Forgets all places. The budget and the count of dropped ones stay.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    pub(super) fn strangers(&self) -> Vec<(DeviceId, Vec<Place>)> {
        let strangers = self.known.iter().filter(|(_, known)| !known.trusted);
        strangers.map(|(device, known)| (*device, known.places.iter().rev().cloned().collect())).collect()
    }

    pub(super) fn places(&self, device: &DeviceId) -> Vec<Place> {
        self.known.get(device).map(|known| known.places.iter().rev().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn stranger_places(&self) -> usize {
        self.known.values().filter(|known| !known.trusted).map(|known| known.places.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::swarm::{addresses::Carrier, peer_id};

    const PHONE: DeviceId = DeviceId([0; 32]);

    fn place(number: usize) -> Place {
        let [.., high, low] = number.to_be_bytes();
        Place::new(Ipv4Addr::new(10, 0, high, low).into(), 7842, Carrier::Tcp).unwrap()
    }

    fn stranger(number: usize) -> DeviceId {
        let mut id = [1; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        DeviceId(id)
    }

    /// Announces `count` strangers and says how many were listened to.
    fn flood(intake: &mut Intake, from: usize, count: usize) -> usize {
        (from..from + count).filter(|number| intake.admit(stranger(*number), false, place(*number))).count()
    }

    #[test]
    fn a_flood_is_listened_to_at_a_bounded_pace() {
        let mut intake = Intake::default();
        assert_eq!(flood(&mut intake, 0, 10_000), NEW_PER_SECOND_MAX);
        assert_eq!(intake.dropped(), 10_000 - NEW_PER_SECOND_MAX as u64);
        intake.renew_budget();
        assert_eq!(flood(&mut intake, 20_000, 100), NEW_PER_SECOND_MAX);
    }

    #[test]
    fn a_long_flood_is_remembered_up_to_a_bound() {
        let mut intake = Intake::default();
        for second in 0..100 {
            flood(&mut intake, second * 100, 100);
            intake.renew_budget();
        }
        assert_eq!(intake.stranger_places(), STRANGER_PLACES_MAX);
        assert_eq!(intake.strangers().len(), STRANGER_PLACES_MAX);

        // What runs out makes room.
        let (gone, _) = intake.strangers()[0];
        let address = intake.places(&gone)[0].address();
        intake.forget(&peer_id(&gone), &address);
        assert_eq!(flood(&mut intake, 90_000, 5), 1);
    }

    /// Kin is found in the middle of a flood of strangers.
    #[test]
    fn strangers_do_not_use_up_what_is_meant_for_kin() {
        let mut intake = Intake::default();
        flood(&mut intake, 0, 10_000);
        assert!(intake.admit(PHONE, true, place(1)));
        assert_eq!(intake.places(&PHONE), [place(1)]);
        assert!(!intake.strangers().iter().any(|(device, _)| *device == PHONE));
    }

    #[test]
    fn lies_about_kin_do_not_keep_the_truth_out() {
        let mut intake = Intake::default();
        for number in 0..1000 {
            intake.admit(PHONE, true, place(number));
            intake.renew_budget();
        }
        assert_eq!(intake.places(&PHONE).len(), PLACES_PER_DEVICE_MAX);
        assert!(intake.admit(PHONE, true, place(5000)));
        assert_eq!(intake.places(&PHONE)[0], place(5000));
    }

    #[test]
    fn a_stranger_that_was_paired_is_no_stranger_any_more() {
        let mut intake = Intake::default();
        intake.admit(PHONE, false, place(1));
        assert_eq!(intake.strangers(), [(PHONE, vec![place(1)])]);
        intake.admit(PHONE, true, place(1));
        assert_eq!(intake.strangers(), []);
        intake.clear();
        assert_eq!(intake.places(&PHONE), []);
    }
}
