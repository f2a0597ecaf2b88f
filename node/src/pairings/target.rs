//! What was typed: a code or a ticket, and perhaps where to look.

use kinsync_protocol::code::{Code, Nameplate};
use kinsync_protocol::id::DeviceId;
use kinsync_protocol::ticket::Ticket;
use kinsync_protocol::trust::Role;
use libp2p::Multiaddr;

use super::{drop_loopback, failures, role_of};
use crate::address;
use crate::failure::Failure;
use crate::request::PairJoin;
use crate::swarm::addresses::Place;

/// What a ticket begins with, in short: codes hold no colon.
const TICKET: &str = "kinsync:";

/// Which window to look for, and where.
pub(super) struct Target {
    pub(super) code: Code,
    /// The only device that may be the host.
    pub(super) only: Option<DeviceId>,
    /// Where to look besides the local network.
    pub(super) addresses: Vec<Multiaddr>,
    /// Whether to look at the addresses and nowhere else.
    pub(super) typed: bool,
    pub(super) wish: Role,
    pub(super) label: Option<String>,
}

impl Target {
    /// Reads what was typed on the device `me`.
    pub(super) fn read(request: &PairJoin, me: DeviceId) -> Result<Self, Failure> {
        let text = request.code.reveal().trim();
        let (code, mut only, mut addresses) = if text.starts_with(TICKET) {
            let ticket = Ticket::parse(text).map_err(|error| failures::no_ticket(&error))?;
            let mut places = places(&ticket);
            drop_loopback(&mut places);
            (ticket.code, Some(ticket.host), places.iter().map(Place::address).collect())
        } else {
            (Code::parse(text).map_err(|error| failures::no_code(&error))?, None, Vec::new())
        };
        if let Some(text) = &request.addr {
            let typed = address::parse(text)?;
            if typed.device.is_some() && only.is_some() && typed.device != only {
                return Err(failures::two_devices());
            }
            only = only.or(typed.device);
            addresses = vec![typed.addr];
        }
        if only == Some(me) {
            return Err(failures::own_code());
        }
        let wish = request.role.map_or(Role::Kin, role_of);
        let typed = request.addr.is_some();
        Ok(Self { code, only, addresses, typed, wish, label: request.label.clone() })
    }

    pub(super) fn nameplate(&self) -> Nameplate {
        self.code.nameplate()
    }
}

/// The addresses of a ticket that can be its host's.
fn places(ticket: &Ticket) -> Vec<Place> {
    let addresses = ticket.addresses.iter().filter_map(|bytes| Multiaddr::try_from(bytes.clone()).ok());
    addresses.filter_map(|address| Place::told(&address, &ticket.host)).collect()
}
