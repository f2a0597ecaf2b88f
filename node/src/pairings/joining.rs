//! One typed code: who may have shown it, and the way there.
//!
//! The protocol's joiner decides whom to believe; this finds devices for it,
//! dials them a few at a time, and carries questions and answers.

use std::collections::BTreeMap;
use std::time::Duration;

use kinsync_protocol::id::DeviceId;
use kinsync_protocol::pairing::Paired;
use kinsync_protocol::pairing::joiner::{Failure as Reason, HELLOS_MAX, Joiner, Output as Said};
use kinsync_protocol::pairing::message::{Refusal, Request, Response};
use kinsync_protocol::trust::Standing;

use super::candidates::{Candidates, Path};
use super::failures::Search;
use super::target::Target;
use super::{AskId, Context, DialId, Me, Now, Output, Stored, Surroundings, failures, shown, shown_role};
use crate::events::{Event, PairedPeer};
use crate::failure::Failure;
use crate::identity;
use crate::swarm::addresses::Place;

/// How long a search goes on while nobody answers: everybody on the network
/// who can has done so long before.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(8);

/// A code that was typed here.
pub(super) struct Joining {
    id: u64,
    target: Target,
    joiner: Joiner,
    around: Surroundings,
    /// Whether a window of this very device has the same nameplate.
    is_ours: bool,
    candidates: Candidates,
    /// The latest question to each device.
    asks: BTreeMap<DeviceId, Ask>,
    dials: BTreeMap<DialId, Option<DeviceId>>,
    silent_until: Duration,
    ended_search: bool,
    was_found: bool,
    /// Strangers that show another code.
    others: usize,
    renewed: bool,
    renewing: bool,
    /// What is agreed, from the moment it is to be stored.
    paired: Option<Box<Paired>>,
    stored: Option<Stored>,
    is_over: bool,
}

struct Ask {
    id: AskId,
    /// Whether it only asks for an offer; anything later is a run.
    hello: bool,
}

impl Joining {
    pub(super) fn new(
        id: u64,
        target: Target,
        me: &Me,
        around: Surroundings,
        is_ours: bool,
        now: Now,
    ) -> Self {
        let joiner = joiner(&target, me, now);
        Self {
            id,
            candidates: Candidates::new(me.device(), target.only),
            target,
            joiner,
            around,
            is_ours,
            asks: BTreeMap::new(),
            dials: BTreeMap::new(),
            silent_until: now.passed,
            ended_search: false,
            was_found: false,
            others: 0,
            renewed: false,
            renewing: false,
            paired: None,
            stored: None,
            is_over: false,
        }
    }

    /// Starts to look.
    pub(super) fn begin<R>(&mut self, context: &mut Context<'_, R>) {
        let now = context.now.passed;
        let looks_somewhere = self.around.mdns || !self.target.addresses.is_empty();
        self.silent_until = if looks_somewhere { now.saturating_add(SILENCE_MAX) } else { now };
        if !self.target.addresses.is_empty() {
            let dial = DialId(context.numbers.next());
            self.dials.insert(dial, self.target.only);
            let addresses = self.target.addresses.clone();
            context.put(Output::Dial { dial, device: self.target.only, addresses });
        }
        if self.target.typed {
            // Should it be connected already, no dial brings it.
            if let Some(only) = self.target.only
                && let Some(standing) = context.connected.get(&only)
            {
                self.reach(only, *standing, Path::Address, context);
            }
        } else {
            for (device, standing) in context.connected {
                self.candidates.note(*device, *standing);
            }
            if self.around.mdns {
                context.put(Output::Rescan);
            }
        }
    }

    /// Begins anew under another key, with the same code.
    pub(super) fn renew(&mut self, me: &Me, now: Now) {
        self.candidates.renew(me.device());
        self.joiner = joiner(&self.target, me, now);
        self.asks.clear();
        self.dials.clear();
        self.ended_search = false;
        self.was_found = false;
        self.others = 0;
        self.renewed = true;
        self.renewing = false;
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let silence = (!self.ended_search && !self.is_in_run()).then_some(self.silent_until);
        if self.renewing { None } else { [self.joiner.deadline(), silence].into_iter().flatten().min() }
    }

    pub(super) fn handle_timeout(&mut self, now: Duration) {
        if self.renewing {
            return;
        }
        self.joiner.handle_timeout(now);
        if now >= self.silent_until && !self.is_in_run() {
            self.end_search(now);
        }
    }

    pub(super) fn handle_found(&mut self, device: DeviceId, place: &Place, standing: Standing) {
        if !self.target.typed && self.candidates.note(device, standing) {
            self.candidates.note_place(device, place);
        }
    }

    pub(super) fn handle_connected<R>(
        &mut self,
        device: DeviceId,
        standing: Standing,
        dial: Option<DialId>,
        context: &mut Context<'_, R>,
    ) {
        let dialled = dial.and_then(|dial| self.dials.remove(&dial));
        let to_address = dialled.is_some() && self.candidates.standing(device).is_none();
        let path = if to_address || self.target.typed { Path::Address } else { Path::Lan };
        let awaited = self.candidates.is_dialled(device);
        let typed = self.target.typed && self.target.only == Some(device);
        if dialled.is_some() || awaited || typed {
            self.reach(device, standing, path, context);
        }
    }

    pub(super) fn handle_unreachable<R>(&mut self, dial: DialId, context: &mut Context<'_, R>) {
        let Some(device) = self.dials.remove(&dial) else {
            return;
        };
        if let Some(device) = device {
            self.candidates.give_up(device);
        }
        if self.target.typed && self.dials.is_empty() && !self.is_in_run() {
            self.end_search(context.now.passed);
        }
    }

    pub(super) fn handle_response<R>(
        &mut self,
        ask: AskId,
        response: Option<&[u8]>,
        context: &mut Context<'_, R>,
    ) {
        let Some(device) = self.asks.iter().find(|(_, asked)| asked.id == ask).map(|(device, _)| *device)
        else {
            return;
        };
        let hello = self.asks.remove(&device).is_some_and(|ask| ask.hello);
        let Context { now, random, .. } = context;
        let now = *now;
        let refused = match response.map(Response::decode) {
            None => {
                self.joiner.handle_failure(device, now.passed);
                true
            }
            Some(response) => {
                self.silent_until = self.silent_until.max(now.passed.saturating_add(SILENCE_MAX));
                // Nonsense is worth as much as the refusal to talk sense.
                let nonsense = Response::Refuse { refusal: Refusal::BadMessage, tries_left: None };
                let response = response.unwrap_or(nonsense);
                self.count_other(device, hello, &response);
                let refused = matches!(response, Response::Refuse { .. });
                self.joiner.handle_response(device, response, now.at(), now.passed, random);
                refused
            }
        };
        if refused && self.candidates.is_stranger(device) {
            // Strangers are let go of, as there is room for few.
            context.put(Output::Disconnect(device));
        }
    }

    /// Does what the machine says, and dials who is next; `false` once it is
    /// over.
    pub(super) fn drain<R>(&mut self, context: &mut Context<'_, R>) -> bool {
        loop {
            while !self.is_storing()
                && let Some(said) = self.joiner.poll()
            {
                self.obey(said, context);
            }
            if self.is_over || self.renewing || !self.try_next(context) {
                return !self.is_over;
            }
        }
    }

    /// Goes on after trust was stored; `false` when it could not be.
    pub(super) fn handle_stored<R>(
        &mut self,
        result: Result<Stored, Failure>,
        context: &mut Context<'_, R>,
    ) -> bool {
        match result {
            _ if !self.is_storing() => {}
            Ok(stored) => self.stored = Some(stored),
            Err(failure) => self.fail(failure, context),
        }
        !self.is_over
    }

    /// Stops; `false` if it is too late for that.
    pub(super) fn cancel<R>(&mut self, context: &mut Context<'_, R>) -> bool {
        if self.paired.is_some() {
            return false;
        }
        // So that the person at the host is not asked for nothing.
        let run = self.asks.iter().find(|(_, ask)| !ask.hello).map(|(device, _)| *device);
        if let Some(host) = run {
            context.put(Output::Disconnect(host));
        }
        self.fail(failures::cancelled(), context);
        true
    }

    fn obey<R>(&mut self, said: Said, context: &mut Context<'_, R>) {
        match said {
            Said::Send { to, request } => self.send(to, &request, context),
            Said::ShowCheck { host, card, check } => context.emit(Event::Request {
                pairing: self.id,
                name: shown(&card, host),
                platform: Some(card.platform.clone()).filter(|platform| !platform.is_empty()),
                device_id: host.to_string(),
                check: check.to_string(),
                asks: false,
            }),
            Said::Paired(paired) => {
                self.paired = Some(paired.clone());
                context.put(Output::Store { id: self.id, paired });
            }
            Said::Failed { failure } => self.end(failure, context),
            Said::Finished => {
                self.is_over = true;
                if let (Some(paired), Some(stored)) = (&self.paired, &self.stored) {
                    let peer = PairedPeer {
                        id: paired.device.to_string(),
                        peer_id: identity::peer_id(&paired.device),
                        name: stored.name.clone(),
                        role: shown_role(paired.role),
                        devices: stored.devices,
                    };
                    context.emit(Event::Paired { pairing: self.id, peer });
                }
            }
            // What a newer protocol says.
            _ => {}
        }
    }

    fn send<R>(&mut self, to: DeviceId, request: &Request, context: &mut Context<'_, R>) {
        let hello = matches!(request, Request::Hello(_));
        if !hello && !std::mem::replace(&mut self.was_found, true) {
            let path = self.candidates.path(to);
            let path = if path == Some(Path::Address) { "address" } else { "lan" };
            context.emit(Event::Found { pairing: self.id, path: path.to_owned() });
        }
        let id = AskId(context.numbers.next());
        self.asks.insert(to, Ask { id, hello });
        context.put(Output::Ask { device: to, ask: id, frame: request.encode() });
    }

    fn end<R>(&mut self, reason: Reason, context: &mut Context<'_, R>) {
        if let Reason::KeyRevoked { host } = reason
            && !self.renewed
            && (self.around.renewable || self.candidates.standing(host) == Some(Standing::Kin))
        {
            self.renewing = true;
            return context.put(Output::RenewKey { id: self.id });
        }
        let search = Search {
            address: self.target.typed.then(|| self.target.addresses.first().cloned()).flatten(),
            mdns: self.around.mdns,
            interfaces: self.around.interfaces,
            seen: self.candidates.count(),
            reached: self.candidates.count_reached(),
            others: self.others,
            is_ours: self.is_ours,
        };
        self.fail(failures::joining(reason, &search), context);
    }

    fn fail<R>(&mut self, failure: Failure, context: &mut Context<'_, R>) {
        self.is_over = true;
        context.emit(Event::Failed { pairing: self.id, failure });
    }

    /// Reaches for one more device; `false` if there is none or no room.
    fn try_next<R>(&mut self, context: &mut Context<'_, R>) -> bool {
        let is_full = self.asks.len() + self.dials.len() >= HELLOS_MAX;
        if is_full || self.is_in_run() || self.ended_search {
            return false;
        }
        let Some(device) = self.candidates.choose(context.connected, context.random) else {
            return false;
        };
        if let Some(standing) = context.connected.get(&device) {
            self.reach(device, *standing, Path::Lan, context);
        } else {
            let addresses = self.candidates.dial(device);
            let dial = DialId(context.numbers.next());
            self.dials.insert(dial, Some(device));
            context.put(Output::Dial { dial, device: Some(device), addresses });
        }
        true
    }

    /// Hands a connected device to the machine.
    fn reach<R>(&mut self, device: DeviceId, standing: Standing, path: Path, context: &mut Context<'_, R>) {
        if self.candidates.note(device, standing) && self.candidates.reach(device, path) {
            let now = context.now.passed;
            self.joiner.handle_found(device, standing, now, context.random);
            if self.target.typed {
                // Nobody else can be the one that was meant.
                self.end_search(now);
            }
        }
    }

    /// Nobody else is looked for.
    fn end_search(&mut self, now: Duration) {
        self.ended_search = true;
        self.joiner.handle_search_end(now);
    }

    /// L18: a stranger that can answer at all shows some other code.
    fn count_other(&mut self, device: DeviceId, hello: bool, response: &Response) {
        let other = matches!(response, Response::Refuse { refusal: Refusal::NoSuchCode, .. });
        if hello && other && self.candidates.is_stranger(device) {
            self.others += 1;
        }
    }

    fn is_in_run(&self) -> bool {
        self.paired.is_some() || self.asks.values().any(|ask| !ask.hello)
    }

    fn is_storing(&self) -> bool {
        self.paired.is_some() && self.stored.is_none()
    }
}

fn joiner(target: &Target, me: &Me, now: Now) -> Joiner {
    let me = me.clone().labelled(target.label.as_deref());
    Joiner::new(me.key, &me.card, target.code.clone(), target.wish, target.only, now.passed)
}
