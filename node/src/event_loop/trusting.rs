//! Trust on the network: exchanged before anything else, changed in the store,
//! and in effect here from that moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kinsync_protocol::card::Card;
use kinsync_protocol::id::DeviceId;
use kinsync_protocol::trust::message::{Announcement, Bye, Message};
use kinsync_protocol::trust::statement::Statement;
use kinsync_protocol::trust::{Changes, Notice, Standing, View};
use kinsync_store::{Job, StoreSnapshot, WriteError};
use serde_bytes::ByteArray;
use tracing::{debug, info, warn};

use super::{EventLoop, Purpose, Work};
use crate::clock::Moment;
use crate::control::command::{Reply, RevokeEffect};
use crate::events::Event;
use crate::request::Warning;
use crate::swarm::exchange::{Reply as Answer, RequestError};
use crate::swarm::{Protocol, Role};

/// How long a revoke waits for the others to be told and for connections to
/// close. What it promises holds from its commit on, whatever comes after.
const REVOKE_WAIT: Duration = Duration::from_secs(1);

/// Boot numbers remembered of one device: two that take turns are two machines
/// with one key.
const BOOTS_MAX: usize = 4;

/// Announcements of one device that are taken in at the same time: as many as
/// an honest one has under way. More are not answered.
const HEARING_MAX: u32 = 4;

/// What this device holds of the others.
pub(super) struct Trusting {
    view: View,
    /// What this device says of the view, signed when it is first needed.
    said: Option<Vec<Statement>>,
    hearing: BTreeMap<DeviceId, u32>,
    boot: [u8; 16],
    seen: BTreeMap<DeviceId, Seen>,
    /// Devices admitted once, and until when.
    visitors: BTreeMap<DeviceId, Duration>,
    revoking: Vec<Revoking>,
    warnings: BTreeMap<(&'static str, DeviceId), Warning>,
}

/// What a connected device has said of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) card: Card,
    pub(super) clock_offset_ms: Option<i64>,
    boots: Vec<[u8; 16]>,
}

/// A revocation that is on disk and being spread.
struct Revoking {
    device: DeviceId,
    closed: u32,
    waiting: BTreeSet<DeviceId>,
    informed: Vec<DeviceId>,
    until: Duration,
    reply: Option<Reply<RevokeEffect>>,
}

/// Why a request was sent.
pub(super) enum Asked {
    /// The first words on a connection, or news of the view.
    Announce,
    /// The last words to a device that is not trusted any more.
    Farewell,
}

/// What a step on the store came to.
pub(super) enum Done {
    /// Statements of a device were taken in.
    Heard { from: DeviceId, result: Result<Changes, WriteError> },
}

impl Trusting {
    pub(super) fn new(me: DeviceId, boot: [u8; 16]) -> Self {
        Self {
            view: View::new(me),
            said: None,
            hearing: BTreeMap::new(),
            boot,
            seen: BTreeMap::new(),
            visitors: BTreeMap::new(),
            revoking: Vec::new(),
            warnings: BTreeMap::new(),
        }
    }

    pub(super) fn seen(&self, device: DeviceId) -> Option<&Seen> {
        self.seen.get(&device)
    }

    pub(super) fn warnings(&self) -> impl Iterator<Item = &Warning> {
        self.warnings.values()
    }

    pub(super) fn has_been_removed(&self) -> bool {
        let mut kin = self.view.trusted().peekable();
        kin.peek().is_some() && kin.all(|(device, _)| self.view.has_revoked_us(device))
    }

    /// What a device is to this one.
    pub(super) fn standing(&self, device: DeviceId) -> Standing {
        let standing = self.view.standing(device);
        let visits = standing == Standing::Stranger && self.visitors.contains_key(&device);
        if visits { Standing::Once } else { standing }
    }

    /// How many devices the set has, this one included.
    pub(super) fn devices(&self) -> u64 {
        1 + self.view.trusted().count() as u64
    }

    /// Whether nobody trusts the key of this device any more, as far as it
    /// knows.
    pub(super) fn is_alone(&self) -> bool {
        self.view.trusted().all(|(device, _)| self.view.has_revoked_us(device))
    }

    fn roles(&self) -> Vec<(DeviceId, Role)> {
        let rows = self.view.rows().keys().map(|device| (*device, role(self.view.standing(*device))));
        let visitors = self.visitors.keys().map(|device| (*device, Role::Once));
        // A row says more than a visit: what is revoked stays revoked.
        let mut roles: BTreeMap<_, _> = visitors.collect();
        roles.extend(rows.filter(|(_, role)| *role != Role::Stranger));
        roles.into_iter().collect()
    }
}

fn role(standing: Standing) -> Role {
    match standing {
        Standing::Stranger => Role::Stranger,
        Standing::Once => Role::Once,
        Standing::Guest => Role::Guest,
        Standing::Kin => Role::Kin,
        Standing::Retired | Standing::Revoked => Role::Revoked,
    }
}

impl EventLoop {
    /// Reads the view from the store and puts it in effect: whoever it does not
    /// trust is cut off now.
    ///
    /// Read here and not brought by the step that changed it: several may be
    /// under way, and one that ends late would bring back what a revoke has
    /// ended meanwhile. The view changes rarely and is small.
    pub(super) fn reload_view(&mut self) {
        match self.storage.store().read(StoreSnapshot::trust_view) {
            Ok(view) => self.set_view(view),
            Err(error) => warn!(%error, "the trust view could not be read"),
        }
    }

    fn set_view(&mut self, view: View) {
        let before: BTreeSet<_> = self.state.devices().collect();
        self.trusting.view = view;
        self.trusting.said = None;
        // Whoever is known lastingly is no visitor any more.
        let known = |device: &DeviceId| self.trusting.view.standing(*device) != Standing::Stranger;
        let known: Vec<_> = self.trusting.visitors.keys().copied().filter(known).collect();
        for device in known {
            self.trusting.visitors.remove(&device);
            self.submit(Job::end_once(device));
        }
        let roles = self.trusting.roles();
        self.admission.replace(roles.iter().copied());
        let trusted: BTreeSet<_> =
            roles.iter().filter(|(_, role)| role.is_trusted()).map(|(device, _)| *device).collect();
        let now = self.now();
        self.state.handle_trusted(&trusted, now);
        for device in before.difference(&trusted) {
            self.cut(*device);
        }
        let removers =
            self.trusting.view.trusted().filter(|(device, _)| self.trusting.view.has_revoked_us(*device));
        let removers: Vec<_> = removers.map(|(device, _)| device).collect();
        for device in removers {
            self.state.handle_removed_by(device);
        }
        // Devices that were connected or seen as strangers, and are trusted now.
        for device in trusted.difference(&before) {
            for place in self.swarm.behaviour().discovery.places(device).into_iter().rev() {
                self.links.note_sighting(*device, place);
            }
            self.admit_connected(*device);
        }
        let control = self.control.clone();
        self.work.spawn(async move {
            if let Err(error) = control.refresh_names().await {
                warn!(%error, "the names of devices could not be read");
            }
            Work::Nothing
        });
    }

    /// Ends everything with a device that is not trusted any more. Its
    /// connections are closed by the door, once it has been told why.
    fn cut(&mut self, device: DeviceId) {
        info!(device = %device.short(), "cut off");
        self.drop_passing(device);
        if self.links.count(device) > 0 && self.admission.role(&device) == Role::Revoked {
            self.say_farewell(device);
        }
    }

    fn ask_trust(&mut self, device: DeviceId, asked: Asked, frame: Vec<u8>) {
        let request = self.swarm.behaviour_mut().trust.request(device, frame);
        self.requests.insert((Protocol::Trust, request), Purpose::Trusting(asked));
    }

    /// What this device says of itself and of the others.
    fn announcement(&mut self) -> Vec<Vec<u8>> {
        let (view, key) = (&self.trusting.view, self.control.identity().key());
        let statements = self.trusting.said.get_or_insert_with(|| view.statements_to_send(key)).clone();
        let boot = ByteArray::new(self.trusting.boot);
        let messages = Announcement::split(&self.card(None), statements, boot, self.wall());
        messages.into_iter().map(|message| Message::Announcement(message).encode()).collect()
    }

    /// This device's card, under `label` if it is given.
    pub(super) fn card(&self, label: Option<&str>) -> Card {
        let name = self.control.config().borrow().name.clone();
        Card {
            label: label.map_or(name, str::to_owned),
            platform: std::env::consts::OS.to_owned(),
            app: concat!("kinsync ", env!("CARGO_PKG_VERSION")).to_owned(),
            schema: 1,
            capabilities: Vec::new(),
            sequence: 0,
        }
        .cleaned()
    }

    /// Says the first words on a connection.
    pub(super) fn greet(&mut self, device: DeviceId) {
        for frame in self.announcement() {
            self.ask_trust(device, Asked::Announce, frame);
        }
    }

    /// Tells connected kin what has changed.
    pub(super) fn spread(&mut self, except: Option<DeviceId>) -> BTreeSet<DeviceId> {
        let kin: BTreeSet<_> = self
            .state
            .devices()
            .filter(|device| Some(*device) != except && self.state.is_connected(*device))
            .filter(|device| self.admission.role(device) == Role::Kin)
            .collect();
        for device in &kin {
            self.greet(*device);
        }
        kin
    }

    pub(super) fn on_trust_request(&mut self, device: DeviceId, frame: &[u8], answer: Answer) {
        let role = self.admission.role(&device);
        if role == Role::Kin && self.trusting.hearing.get(&device).is_some_and(|count| *count >= HEARING_MAX)
        {
            debug!(device = %device.short(), "too many announcements at once");
            return;
        }
        let frames = match role {
            Role::Kin => self.announcement(),
            Role::Revoked => vec![Message::Bye(Bye::Revoked).encode()],
            Role::Guest | Role::Once => return self.hear_farewell(device, frame),
            Role::Stranger => return,
        };
        // The answer carries the first part; a view that needs more goes on
        // as announcements of its own.
        let mut frames = frames.into_iter();
        if let Some(frame) = frames.next()
            && let Err(error) = self.swarm.behaviour_mut().trust.answer(answer, frame)
        {
            debug!(%error, "nobody waits for the answer");
        }
        for frame in frames {
            self.ask_trust(device, Asked::Announce, frame);
        }
        if role == Role::Kin {
            self.hear(device, frame);
        }
    }

    pub(super) fn on_trust_answer(
        &mut self,
        device: DeviceId,
        asked: Asked,
        answer: Result<Vec<u8>, RequestError>,
    ) {
        match (asked, answer) {
            (Asked::Announce, Ok(frame)) => {
                self.hear(device, &frame);
                self.told(device, true);
            }
            (Asked::Announce, Err(error)) => {
                debug!(device = %device.short(), %error, "not announced");
                self.told(device, false);
            }
            (Asked::Farewell, _) => {}
        }
    }

    /// Takes in that a device which exchanges no trust has ended it, and
    /// nothing else.
    fn hear_farewell(&mut self, from: DeviceId, frame: &[u8]) {
        let is_known = self.trusting.view.standing(from) == Standing::Guest;
        if is_known && matches!(Message::decode(frame), Ok(Message::Bye(Bye::Revoked))) {
            self.hear(from, frame);
        }
    }

    /// Tells a device that came back why it is not let in: one that exchanged
    /// no trust does not ask.
    pub(super) fn say_farewell(&mut self, device: DeviceId) {
        let farewell = Message::Bye(Bye::Revoked).encode();
        self.ask_trust(device, Asked::Farewell, farewell);
    }

    /// Takes in what a trusted device says.
    fn hear(&mut self, from: DeviceId, frame: &[u8]) {
        let said = match Message::decode(frame) {
            Ok(Message::Announcement(said)) => said,
            Ok(Message::Bye(Bye::Revoked)) => {
                let at = self.wall();
                self.change(from, move |view| view.handle_bye_revoked(from, at));
                return;
            }
            Ok(Message::Bye(bye)) => {
                debug!(device = %from.short(), ?bye, "bye");
                return;
            }
            Err(error) => {
                warn!(device = %from.short(), %error, "unreadable announcement");
                return;
            }
        };
        self.note_seen(from, &said);
        let at = self.wall();
        self.change(from, move |view| {
            let mut changes = view.accept(from, &said.statements, at);
            changes.rows.extend(view.note_card(from, &said.card).rows);
            changes
        });
    }

    fn change(&mut self, from: DeviceId, change: impl Fn(&mut View) -> Changes + Send + Sync + 'static) {
        let storage = self.storage.clone();
        *self.trusting.hearing.entry(from).or_default() += 1;
        let change = Arc::new(change);
        let looking = Arc::clone(&change);
        let job = Job::change_view(move |view| {
            let changes = change(view);
            Ok::<_, std::convert::Infallible>((changes.clone(), changes))
        });
        self.work.spawn(async move {
            // What is no news needs no writing: a device is greeted also while
            // the disk is full.
            let would = storage.read(move |snapshot| Ok(looking(&mut snapshot.trust_view()?))).await;
            let result = match would {
                Ok(changes) if changes.rows.is_empty() && changes.log.is_empty() => Ok(changes),
                Ok(_) | Err(_) => storage.write(job).await.map(|Ok((_, changes))| changes),
            };
            Work::Trusting(Done::Heard { from, result })
        });
    }

    fn note_seen(&mut self, from: DeviceId, said: &Announcement) {
        let offset = i128::from(said.clock.0) - i128::from(self.wall().0);
        let boot = *said.boot;
        let seen = self.trusting.seen.entry(from).or_default();
        seen.card = said.card.clone();
        seen.clock_offset_ms = i64::try_from(offset).ok();
        if seen.boots.last() == Some(&boot) {
            return;
        }
        let cloned = seen.boots.contains(&boot);
        seen.boots.push(boot);
        if seen.boots.len() > BOOTS_MAX {
            seen.boots.remove(0);
        }
        if cloned {
            let name = self.control.peer_name(from).name;
            let text = format!(
                "Two machines use the key of {name}: one is a copy of the other. On the copy, set up a new device."
            );
            let warning = Warning { code: "cloned-identity".to_owned(), text };
            self.trusting.warnings.insert(("cloned-identity", from), warning.clone());
            self.control.events().publish(Event::Warning(warning));
        }
    }

    pub(super) fn on_trusting_done(&mut self, done: Done) {
        let Done::Heard { from, result } = done;
        if let Some(count) = self.trusting.hearing.get_mut(&from) {
            *count = count.saturating_sub(1);
        }
        match result {
            Ok(changes) => self.on_heard(from, &changes),
            Err(error) => {
                warn!(device = %from.short(), %error, "what the device said could not be stored");
            }
        }
    }

    fn on_heard(&mut self, from: DeviceId, changes: &Changes) {
        if changes.refused > 0 {
            warn!(device = %from.short(), refused = changes.refused, "statements not believed");
        }
        let changed = !changes.rows.is_empty();
        if changed {
            self.reload_view();
        }
        for notice in &changes.notices {
            self.tell(notice);
        }
        if self.trusting.view.has_revoked_us(from) {
            self.state.handle_removed_by(from);
            self.disconnect(from);
            return;
        }
        if changed && !changes.log.is_empty() {
            self.spread(Some(from));
        }
        self.on_greeted(from);
    }

    fn tell(&mut self, notice: &Notice) {
        let name = |device: &DeviceId| self.control.peer_name(*device);
        let event = match notice {
            Notice::Adopted { device, by, .. } => {
                Event::Trusted { peer: name(device), by: Some(name(by).name) }
            }
            Notice::Ended { device, by, .. } => {
                Event::Revoked { peer: name(device), by: Some(name(by).name) }
            }
            Notice::RevokedUs { by } => Event::RevokedHere { by: name(by).name, at: Moment(self.wall().0) },
            Notice::AskAdoption { device, by, .. } => Event::Warning(Warning {
                code: "new-device".to_owned(),
                text: format!("{} brought in {}, which waits for your yes.", name(by).name, device.short()),
            }),
            Notice::BroughtInByRevoked { device, origin, .. } => Event::Warning(Warning {
                code: "brought-in-by-revoked".to_owned(),
                text: format!(
                    "{} was brought in by {}, which is revoked. It is not trusted; revoke it if you do not know it.",
                    device.short(),
                    name(origin).name
                ),
            }),
            Notice::SetFull { .. } | _ => Event::Warning(Warning {
                code: "set-full".to_owned(),
                text: "The set has as many devices as it can hold: a new one was not taken in.".to_owned(),
            }),
        };
        self.control.events().publish(event);
    }

    /// A revocation is on disk: it takes effect here before anything else
    /// happens.
    pub(super) fn on_revoked(&mut self, device: DeviceId, reply: Reply<RevokeEffect>) {
        let closed = u32::try_from(self.links.count(device)).unwrap_or(u32::MAX);
        self.admission.set_role(device, Role::Revoked);
        self.trusting.visitors.remove(&device);
        let until = self.now() + REVOKE_WAIT;
        self.trusting.revoking.push(Revoking {
            device,
            closed,
            waiting: BTreeSet::new(),
            informed: Vec::new(),
            until,
            reply: Some(reply),
        });
        // Whatever the store says: to this device it is over.
        self.cut(device);
        let trusted = self.state.devices().filter(|other| *other != device).collect();
        let now = self.now();
        self.state.handle_trusted(&trusted, now);
        self.reload_view();
        self.spread_revocations();
    }

    /// Tells connected kin of revocations whose view has been read.
    fn spread_revocations(&mut self) {
        let fresh = self.trusting.revoking.iter().any(|revoking| revoking.waiting.is_empty());
        if !fresh {
            return;
        }
        let kin = self.spread(None);
        for revoking in &mut self.trusting.revoking {
            revoking.waiting.extend(kin.iter().filter(|kin| !revoking.informed.contains(kin)));
        }
        self.finish_revocations();
    }

    fn told(&mut self, device: DeviceId, heard: bool) {
        for revoking in &mut self.trusting.revoking {
            if revoking.waiting.remove(&device) && heard {
                revoking.informed.push(device);
            }
        }
        self.finish_revocations();
    }

    /// Answers revocations for which nothing is left to wait for.
    pub(super) fn finish_revocations(&mut self) {
        let now = self.now();
        let links = &self.links;
        let finished = |revoking: &mut Revoking| {
            let settled = revoking.waiting.is_empty() && links.count(revoking.device) == 0;
            settled || revoking.until <= now
        };
        for revoking in self.trusting.revoking.extract_if(.., finished) {
            if let Some(reply) = revoking.reply {
                // Whoever asked may have left; the revocation stands.
                let _ = reply.send(Ok(RevokeEffect { closed: revoking.closed, informed: revoking.informed }));
            }
        }
    }

    /// Lets a device in until `until`, or until it leaves.
    pub(super) fn admit_once(&mut self, device: DeviceId, until: Duration) {
        // A lasting trust is not cut down to a visit, and what is over is over.
        if self.trusting.view.standing(device) != Standing::Stranger {
            return;
        }
        let is_new = self.trusting.visitors.insert(device, until).is_none();
        if !is_new {
            return;
        }
        self.submit(Job::admit_once(device));
        self.admission.set_role(device, Role::Once);
        let trusted = self.state.devices().chain([device]).collect();
        let now = self.now();
        self.state.handle_trusted(&trusted, now);
        self.admit_connected(device);
    }

    /// Ends the visit of a device that was admitted once.
    pub(super) fn end_visit(&mut self, device: DeviceId) {
        if self.trusting.visitors.remove(&device).is_some() {
            self.submit(Job::end_once(device));
            self.admission.set_role(device, Role::Stranger);
            let trusted = self.state.devices().filter(|other| *other != device).collect();
            let now = self.now();
            self.state.handle_trusted(&trusted, now);
            self.drop_passing(device);
        }
    }

    pub(super) fn trusting_deadline(&self) -> Option<Duration> {
        let revoking = self.trusting.revoking.iter().map(|revoking| revoking.until);
        revoking.chain(self.trusting.visitors.values().copied()).min()
    }

    pub(super) fn trusting_timeout(&mut self, now: Duration) {
        let over: Vec<_> =
            self.trusting.visitors.iter().filter(|(_, until)| **until <= now).map(|(id, _)| *id).collect();
        for device in over {
            self.end_visit(device);
        }
        self.finish_revocations();
    }
}
