//! One open code: the protocol's host, and what the person hears of it.

use std::collections::BTreeSet;
use std::time::Duration;

use kinsync_protocol::card::Card;
use kinsync_protocol::code::{Code, Nameplate};
use kinsync_protocol::id::DeviceId;
use kinsync_protocol::pairing::host::{Closing, Host, Output as Said, RequestId};
use kinsync_protocol::pairing::message::{Request, Response};
use kinsync_protocol::pairing::{self, GUESSES_MAX, ONCE_SECONDS, STEP_TIME_MAX};
use kinsync_protocol::ticket::Ticket;
use kinsync_protocol::trust::{Role, Standing};
use libp2p::Multiaddr;

use super::{Context, Me, Now, Output, Random, Stored, failures, role_of, shown, shown_role};
use crate::clock::Moment;
use crate::events::{Event, PairedPeer};
use crate::failure::Failure;
use crate::identity;
use crate::request::{PairOpen, PairOpened, SecretText, Verdict, Warning};

/// How long a code that has expired or was guessed at still says so, and
/// strangers with it may come: people type late, and deserve the reason.
const LATE: Duration = Duration::from_secs(120);

/// Devices remembered to have greeted a window, so that they can be told why it
/// is closed. More than four at once are a flood.
const GREETED_MAX: usize = 16;

/// A code that is open, or that was a moment ago.
pub(super) struct Hosting {
    id: u64,
    host: Host,
    /// The most that the code grants.
    role: Role,
    /// Whether whoever proves the code is let in unasked.
    yes: bool,
    guest: Option<Guest>,
    /// Whether trust is being stored: until then nothing is said.
    storing: bool,
    greeted: BTreeSet<DeviceId>,
    /// Until when it is kept, once it is closed.
    kept_until: Option<Duration>,
}

/// The device that has proven the code.
struct Guest {
    device: DeviceId,
    card: Card,
    role: Role,
    answered: bool,
    declined: bool,
    stored: Option<Stored>,
}

impl Hosting {
    pub(super) fn open(
        id: u64,
        request: &PairOpen,
        me: &Me,
        code: Code,
        lifetime: Duration,
        now: Duration,
    ) -> Self {
        let me = me.clone().labelled(request.label.as_deref());
        Self {
            id,
            host: Host::new(me.key, &me.card, code, lifetime, now),
            role: request.role.map_or(Role::Kin, role_of),
            yes: request.yes,
            guest: None,
            storing: false,
            greeted: BTreeSet::new(),
            kept_until: None,
        }
    }

    /// What the person is shown.
    pub(super) fn opened(&self, me: DeviceId, places: &[Multiaddr], expires_at: Moment) -> PairOpened {
        let ticket = Ticket {
            code: self.host.code().clone(),
            host: me,
            addresses: places.iter().map(Multiaddr::to_vec).collect(),
            expires_unix: expires_at.0 / 1000,
        };
        PairOpened {
            pairing: self.id,
            code: SecretText::new(self.host.code().reveal()),
            ticket: SecretText::new(ticket.reveal()),
            expires_at,
            addresses: places.iter().map(Multiaddr::to_string).collect(),
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn nameplate(&self) -> Nameplate {
        self.host.nameplate()
    }

    /// Whether it can still lead to a pairing.
    pub(super) fn is_open(&self) -> bool {
        self.kept_until.is_none()
    }

    pub(super) fn is_kept(&self, now: Duration) -> bool {
        self.kept_until.is_none_or(|until| now < until)
    }

    pub(super) fn expects(&self, device: DeviceId, request: &Request) -> bool {
        self.host.expects(device, request)
    }

    pub(super) fn was_greeted_by(&self, device: DeviceId) -> bool {
        self.greeted.contains(&device)
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.kept_until.or_else(|| self.host.deadline())
    }

    pub(super) fn handle_request(
        &mut self,
        device: DeviceId,
        standing: Standing,
        number: RequestId,
        request: Request,
        now: Duration,
        random: &mut Random,
    ) {
        if self.greeted.len() < GREETED_MAX {
            self.greeted.insert(device);
        }
        self.host.handle_request(device, standing, number, request, now, random);
    }

    pub(super) fn handle_disconnect(&mut self, device: DeviceId) {
        self.greeted.remove(&device);
        self.host.handle_disconnect(device);
    }

    pub(super) fn handle_timeout(&mut self, now: Duration) {
        self.host.handle_timeout(now);
    }

    pub(super) fn withdraw(&mut self) {
        self.host.handle_withdrawal();
    }

    pub(super) fn answer(&mut self, verdict: Verdict, now: Now) -> Result<(), Failure> {
        let waiting = self.guest.as_mut().filter(|guest| !guest.answered && self.kept_until.is_none());
        let guest = waiting.ok_or_else(failures::nothing_to_answer)?;
        guest.answered = true;
        guest.declined = verdict == Verdict::Reject;
        let verdict = spelled(verdict).limited_to(self.role);
        self.host.handle_answer(verdict, now.at(), now.passed).map_err(Failure::internal)
    }

    /// Does what the machine says, up to the next thing that has to be stored.
    pub(super) fn drain<R>(&mut self, context: &mut Context<'_, R>) {
        while !self.storing
            && let Some(said) = self.host.poll()
        {
            self.obey(said, context);
        }
    }

    fn obey<R>(&mut self, said: Said, context: &mut Context<'_, R>) {
        match said {
            Said::AskUser { guest, card, check } => {
                context.put(Output::Spare { device: guest, spared: true });
                context.emit(Event::Request {
                    pairing: self.id,
                    name: shown(&card, guest),
                    platform: Some(card.platform.clone()).filter(|platform| !platform.is_empty()),
                    device_id: guest.to_string(),
                    check: check.to_string(),
                    asks: !self.yes,
                });
                let role = self.role;
                let (answered, declined) = (self.yes, false);
                self.guest = Some(Guest { device: guest, card, role, answered, declined, stored: None });
                if self.yes {
                    let (at, now) = (context.now.at(), context.now.passed);
                    let granted = self.host.handle_answer(granting(role), at, now);
                    granted.expect("a verdict without domains fits into its message");
                }
            }
            Said::BadGuess { from, left } => context.emit(Event::Warning(wrong_code(from, left))),
            Said::Closed { closing } => self.close(closing, context),
            Said::Confirmed { device, role, .. } => {
                if let Some(guest) = &mut self.guest
                    && role < guest.role
                {
                    guest.role = role;
                    context.put(Output::Lower { device, role });
                }
            }
            Said::Reply { request, response, .. } => {
                if let Some((_, reply)) = context.replies.remove(&request) {
                    context.put(Output::Answer { reply, frame: response.encode() });
                }
            }
            Said::Trust(paired) => {
                self.storing = true;
                if let Some(guest) = &mut self.guest {
                    guest.role = paired.role;
                }
                context.put(Output::Store { id: self.id, paired });
            }
            // What a newer protocol says.
            _ => {}
        }
    }

    /// Goes on after trust was stored; `false` when it could not be.
    pub(super) fn handle_stored<R>(
        &mut self,
        result: Result<Stored, Failure>,
        context: &mut Context<'_, R>,
    ) -> bool {
        if !std::mem::take(&mut self.storing) {
            return true;
        }
        match (result, &mut self.guest) {
            (Ok(stored), Some(guest)) => guest.stored = Some(stored),
            (Ok(_), None) => {}
            (Err(failure), guest) => {
                if let Some(guest) = guest {
                    context.put(Output::Spare { device: guest.device, spared: false });
                }
                // The joiner must not hear a yes that is not on disk. Who is
                // left without an answer sees that nothing came of it.
                while let Some(said) = self.host.poll() {
                    if let Said::Reply { request, response, .. } = said
                        && let Some((_, reply)) = context.replies.remove(&request)
                        && !matches!(response, Response::Decision(_))
                    {
                        context.put(Output::Answer { reply, frame: response.encode() });
                    }
                }
                context.emit(Event::Failed { pairing: self.id, failure });
                return false;
            }
        }
        true
    }

    fn close<R>(&mut self, closing: Closing, context: &mut Context<'_, R>) {
        let keep = match closing {
            Closing::Burned | Closing::Expired => LATE,
            // Others who typed it at the same time are still on their way.
            Closing::GuestLeft | Closing::Paired | Closing::Rejected => STEP_TIME_MAX,
            Closing::Withdrawn => Duration::ZERO,
        };
        self.kept_until = Some(context.now.passed.saturating_add(keep));
        let guest = self.guest.as_ref();
        if let Some(guest) = guest {
            context.put(Output::Spare { device: guest.device, spared: false });
        }
        let name = guest.map(|guest| shown(&guest.card, guest.device));
        let event = match (closing, guest) {
            (Closing::Paired, Some(guest)) => paired(self.id, guest),
            (closing, guest) => {
                let declined = guest.is_some_and(|guest| guest.declined);
                let failure = failures::closed(closing, name.as_deref(), declined);
                Event::Failed { pairing: self.id, failure }
            }
        };
        context.emit(event);
    }
}

fn paired(pairing: u64, guest: &Guest) -> Event {
    let (name, devices) = match &guest.stored {
        Some(stored) => (stored.name.clone(), stored.devices),
        None => (shown(&guest.card, guest.device), 0),
    };
    let peer_id = identity::peer_id(&guest.device);
    let peer =
        PairedPeer { id: guest.device.to_string(), peer_id, name, role: shown_role(guest.role), devices };
    Event::Paired { pairing, peer }
}

/// S11: tells who guessed, and nothing of what.
fn wrong_code(from: DeviceId, left: u8) -> Warning {
    let from = from.short();
    let text = match left {
        0 => format!("{GUESSES_MAX} wrong codes were entered, the last on {from}: the code is void."),
        1 => format!("A wrong code was entered on {from}. 1 try left."),
        left => format!("A wrong code was entered on {from}. {left} tries left."),
    };
    Warning { code: "wrong-code".to_owned(), text }
}

fn spelled(verdict: Verdict) -> pairing::Verdict {
    match verdict {
        Verdict::Guest => granting(Role::Guest),
        Verdict::Kin => granting(Role::Kin),
        Verdict::Once => granting(Role::Once),
        Verdict::Reject => pairing::Verdict::Reject,
    }
}

fn granting(role: Role) -> pairing::Verdict {
    match role {
        Role::Guest => pairing::Verdict::Guest { domains: None },
        Role::Kin => pairing::Verdict::Kin,
        Role::Once => pairing::Verdict::Once { seconds: ONCE_SECONDS, domains: None },
    }
}
