//! What goes into [`super::Pairings`] and what comes out.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use kinsync_protocol::card::Card;
use kinsync_protocol::id::DeviceId;
use kinsync_protocol::pairing::Paired;
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::trust;
use libp2p::Multiaddr;

use crate::clock::Moment;
use crate::events::Event;
use crate::swarm::{Window, exchange};

/// Fills a buffer with cryptographically secure random bytes.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// What time it is.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Since any fixed moment; never goes back, and counts sleep.
    pub passed: Duration,
    /// On the wall, for display only.
    pub wall: Moment,
}

impl Now {
    pub(super) fn at(self) -> UnixMillis {
        UnixMillis(self.wall.0)
    }
}

/// Who this device is, for one pairing.
#[derive(Clone)]
pub struct Me {
    /// Its key.
    pub key: SigningKey,
    /// What it says about itself; the label of a request overrides the card's.
    pub card: Card,
}

impl Me {
    pub(super) fn device(&self) -> DeviceId {
        DeviceId(self.key.verifying_key().to_bytes())
    }

    pub(super) fn labelled(mut self, label: Option<&str>) -> Self {
        if let Some(label) = label {
            label.clone_into(&mut self.card.label);
        }
        self
    }
}

/// What a search can count on.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// Whether devices are looked for on the local network.
    pub mdns: bool,
    /// On how many interfaces; for the message when nobody is found.
    pub interfaces: usize,
    /// Whether a stranger's word is enough that the key of this device is dead:
    /// it trusts nobody, or a device that it trusted has said so. Anybody on
    /// the network can claim that, and a new key costs the trust of all.
    pub renewable: bool,
}

/// A request of ours, as [`super::Pairings::handle_response`] takes it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct AskId(pub(super) u64);

/// A dial of ours, as [`super::Pairings::handle_connected`] and
/// [`super::Pairings::handle_unreachable`] take it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct DialId(pub(super) u64);

/// What came of [`Output::Store`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// What the other device is called here.
    pub name: String,
    /// How many devices the set has now, this one included.
    pub devices: u64,
}

/// What the event loop does next, in this order. `R` is the way back to
/// whoever asked; dropping one ends the question without an answer.
#[derive(Debug)]
pub enum Output<R = exchange::Reply> {
    /// Answer a request.
    Answer {
        /// The way back.
        reply: R,
        /// The answer.
        frame: Vec<u8>,
    },
    /// Ask a device, and report [`super::Pairings::handle_response`] exactly once.
    Ask {
        /// Whom.
        device: DeviceId,
        /// Names the question.
        ask: AskId,
        /// What.
        frame: Vec<u8>,
    },
    /// Dial, and report [`super::Pairings::handle_connected`] or
    /// [`super::Pairings::handle_unreachable`].
    Dial {
        /// Names the dial.
        dial: DialId,
        /// The device that has to be there; `None` takes whoever is.
        device: Option<DeviceId>,
        /// Where.
        addresses: Vec<Multiaddr>,
    },
    /// Close the connections that this pairing has made to a device, unless it
    /// is trusted.
    Disconnect(DeviceId),
    /// Tell everybody who watches.
    Emit(Event),
    /// The other side has stored a weaker role: lower the stored one to it.
    Lower {
        /// The device.
        device: DeviceId,
        /// Its role.
        role: trust::Role,
    },
    /// The other device says that the key of this one is dead there. Make a new
    /// one, keep the data, empty the trust view, restart the swarm, and report
    /// [`super::Pairings::handle_renewed`]. The code is still good, no try was spent.
    RenewKey {
        /// The pairing that then goes on.
        id: u64,
    },
    /// Ask the local network who is there, now; devices that answer are
    /// reported to [`super::Pairings::handle_found`], known ones too.
    Rescan,
    /// Let a stranger stay although the window closes, or no longer.
    Spare {
        /// The stranger.
        device: DeviceId,
        /// Whether it may stay.
        spared: bool,
    },
    /// Store this trust, admit the device, and report
    /// [`super::Pairings::handle_stored`].
    Store {
        /// The pairing.
        id: u64,
        /// What was agreed.
        paired: Box<Paired>,
    },
    /// Open or close the way for strangers.
    Window(Window),
}
