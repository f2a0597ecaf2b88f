//! What must hold in every world, whatever went wrong in it.

use std::collections::{BTreeMap, BTreeSet};

use kinsync_protocol::grants::Grants;
use kinsync_protocol::id::DomainId;
use kinsync_protocol::limits::{CLOCK_FOLLOW_MILLIS_MAX, DOMAINS_MAX};
use kinsync_protocol::record::Version;
use kinsync_protocol::rights::Rights;
use kinsync_protocol::session::DomainOutcome;
use kinsync_protocol::snapshot::Snapshot;
use kinsync_protocol::stamp::{Hlc, UnixMillis};
use kinsync_protocol::trust::message::Message;
use kinsync_protocol::wire::frame::Response;

use crate::device::{Cost, Device, Effect, Ghost, Mail};
use crate::disk::{Disk, Place};
use crate::trace::Fnv;

/// A law that does not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which law.
    pub law: &'static str,
    /// What was seen instead.
    pub text: String,
}

fn violated<T>(law: &'static str, text: String) -> Result<T, Violation> {
    Err(Violation { law, text })
}

/// Round trips of one session: Hello, news, wants, and some repairs of a few
/// levels each. What fills whole frames comes on top.
const ROUND_TRIPS_MAX: u64 = 40;

/// The judge of a world: knows every version ever written, what was promised
/// to users, and what each device has shown.
#[derive(Debug, Default)]
pub struct Laws {
    /// Every version ever written.
    written: BTreeMap<Place, BTreeSet<Version>>,
    /// Versions that a user was told are safe, and that no disk has lost
    /// since by being replaced with a backup.
    owed: BTreeMap<Place, BTreeSet<Version>>,
    mirrors: Vec<Mirror>,
    /// Sessions finished, by opener and peer, since the last reset.
    pub finished: BTreeMap<(usize, usize), u64>,
    /// Whether all devices are equal and nobody writes any more.
    pub quiet: bool,
    /// Whether devices limit what others may do.
    pub limited: bool,
    /// Devices that somebody has set out to revoke.
    subjects: BTreeSet<usize>,
}

/// What one device has shown to its user.
#[derive(Clone, Debug, Default)]
struct Mirror {
    shown: BTreeMap<Place, Version>,
    acknowledged: BTreeMap<Place, Version>,
    ghost: Ghost,
    /// Whom it distrusts.
    dead: BTreeSet<usize>,
    /// What its user has said that others may do.
    rights: BTreeMap<usize, Rights>,
    /// The last time given out that is no successor of a wild one.
    issued: Hlc,
    /// The latest that its wall clock ever showed.
    wall_max: UnixMillis,
}

impl Laws {
    /// A judge for a world of `devices`.
    pub fn new(devices: usize, limited: bool) -> Self {
        Self { mirrors: vec![Mirror::default(); devices], limited, ..Self::default() }
    }

    /// What a device holds, by the judge's own fingerprint.
    pub fn ghost(&self, device: usize) -> Ghost {
        self.mirrors[device].ghost.clone()
    }

    /// What a device has shown.
    pub fn shown(&self, device: usize) -> &BTreeMap<Place, Version> {
        &self.mirrors[device].shown
    }

    /// How many records were ever written.
    pub fn places(&self) -> usize {
        self.written.len()
    }

    /// Judges one thing that device `at` of `devices` did.
    pub fn judge<D: Disk>(
        &mut self,
        at: usize,
        effect: &Effect,
        devices: &[Device<D>],
        now: u64,
    ) -> Result<(), Violation> {
        let Some(device) = devices.get(at) else {
            return Ok(());
        };
        let wall = device.wall(now);
        let mirror = &mut self.mirrors[at];
        mirror.wall_max = mirror.wall_max.max(wall);
        match effect {
            Effect::Wrote { place, version } => {
                self.wrote(at, place, version, wall)?;
                self.show(at, place, device)
            }
            Effect::Acknowledged { place, version } => {
                if !self.subjects.contains(&at) {
                    self.owed.entry(place.clone()).or_default().insert(version.clone());
                }
                let known = mirror.acknowledged.entry(place.clone()).or_insert_with(|| version.clone());
                if *known < *version {
                    known.clone_from(version);
                }
                Ok(())
            }
            Effect::Undid { place, version } => {
                self.written.entry(place.clone()).or_default().insert(version.clone());
                Ok(())
            }
            Effect::Allowed { peer, rights } => {
                mirror.rights.insert(*peer, rights.clone());
                Ok(())
            }
            Effect::Shared { peer, domain } => {
                if mirror.grants(*peer, *domain).read {
                    return Ok(());
                }
                let text = format!("device {at} told device {peer} of {domain}");
                violated("nothing is sent that is not granted", text)
            }
            Effect::Distrusts { peer } => {
                mirror.dead.insert(*peer);
                Ok(())
            }
            Effect::Applied { from, records, cursors } => {
                if mirror.dead.contains(from) && !records.is_empty() {
                    let text = format!("device {at} took {} records of device {from}", records.len());
                    return violated("nothing of a revoked device is taken", text);
                }
                for (place, _) in records {
                    if !self.mirrors[at].grants(*from, place.0).write {
                        let text = format!("device {at} took {place:?} of device {from}");
                        return violated("nothing is taken that is not granted", text);
                    }
                }
                for (place, version) in records {
                    let deletes = version.deleted && self.may_not_delete(at, *from, place, version, devices);
                    let live = self.mirrors[at].shown.get(place).is_some_and(|shown| !shown.deleted);
                    if deletes && live && device.disk.version(place).is_none_or(|stands| stands.deleted) {
                        let text = format!("device {at} {place:?}: {version:?} of device {from}");
                        return violated("a deletion that is not granted is undone", text);
                    }
                    if !self.written.get(place).is_some_and(|all| all.contains(version)) {
                        return violated("nothing is invented", format!("{place:?} {version:?}"));
                    }
                    self.show(at, place, device)?;
                }
                self.clock(at, device)?;
                for (domain, before, after) in cursors {
                    let (Some(owner), start) = (devices.get(*from), before.as_ref()) else {
                        continue;
                    };
                    let same = start.filter(|start| start.epoch == after.epoch && start.after.is_none());
                    let covered = covers(device, owner, *domain, same.map_or(0, |start| start.seq));
                    covered.map_err(|text| Violation { law: "a cursor is truthful", text })?;
                }
                Ok(())
            }
            Effect::Claimed { peer, domain, theirs } => {
                let own = mirror.ghost.get(domain).copied().unwrap_or_default();
                if own != *theirs {
                    let text = format!("device {at} took {domain} for equal with device {peer}");
                    return violated("equal means equal", text);
                }
                Ok(())
            }
            Effect::Finished { peer, cost, outcome } => {
                *self.finished.entry((at, *peer)).or_default() += 1;
                let domains = outcome.domains.len() as u64;
                let fails = |domain: &&DomainOutcome| {
                    !domain.complete || !domain.is_limited() && domain.equal_at.is_none()
                };
                if let Some(domain) = outcome.domains.iter().find(fails).filter(|_| self.quiet) {
                    let text = format!("device {at} with device {peer}: {domain:?}");
                    return violated("equal devices prove it", text);
                }
                if self.quiet && (cost.round_trips != 1 || cost.bytes > 100 + 160 * domains) {
                    return violated("equal devices exchange one round trip", format!("{cost:?}"));
                }
                bounded(cost, outcome.sent + outcome.received, domains)
            }
            Effect::Lasts { cost, moved } => bounded(cost, *moved, DOMAINS_MAX as u64),
            Effect::Accused { peer, fault } => {
                violated("no honest peer is accused", format!("device {at} of device {peer}: {fault}"))
            }
            Effect::Left { place, version } => {
                self.written.entry(place.clone()).or_default().insert(version.clone());
                Ok(())
            }
            Effect::Crashed => Ok(()),
        }
    }

    fn wrote(
        &mut self,
        at: usize,
        place: &Place,
        version: &Version,
        wall: UnixMillis,
    ) -> Result<(), Violation> {
        let mirror = &mut self.mirrors[at];
        self.written.entry(place.clone()).or_default().insert(version.clone());
        let shown = mirror.shown.get(place);
        if let Some(shown) = shown.filter(|shown| *shown >= version) {
            let text = format!("{place:?}: {version:?} after {shown:?}");
            return violated("an edit beats what was shown", text);
        }
        let time = version.stamp.time;
        let tame = Hlc::at(UnixMillis(wall.0 + CLOCK_FOLLOW_MILLIS_MAX));
        if time <= mirror.issued {
            return violated("a device never gives a time twice", format!("{place:?} {version:?}"));
        }
        if time <= tame {
            mirror.issued = time;
        }
        Ok(())
    }

    /// Looks at what stands under a key now.
    fn show<D: Disk>(&mut self, at: usize, place: &Place, device: &Device<D>) -> Result<(), Violation> {
        let mirror = &mut self.mirrors[at];
        let now = device.disk.version(place);
        let before = mirror.shown.get(place);
        if now.as_ref() < before {
            let text = format!("device {at} {place:?}: {now:?} after {before:?}");
            return violated("versions only go up", text);
        }
        if now.as_ref() != before
            && let Some(now) = now
        {
            let ghost = mirror.ghost.entry(place.0).or_default();
            *ghost ^= before.map_or(0, |before| fingerprint(place, before)) ^ fingerprint(place, &now);
            mirror.shown.insert(place.clone(), now);
        }
        Ok(())
    }

    fn clock<D: Disk>(&self, at: usize, device: &Device<D>) -> Result<(), Violation> {
        let Some(clock) = device.disk.clock().map(Hlc::wall) else {
            return Ok(());
        };
        let wall = self.mirrors[at].wall_max;
        // The count may carry some milliseconds into the wall part.
        if clock.0 > wall.0 + CLOCK_FOLLOW_MILLIS_MAX + 1_000 {
            let text = format!("device {at}: {clock:?} while the wall never showed more than {wall:?}");
            return violated("a clock is never dragged", text);
        }
        Ok(())
    }

    /// Judges what a crash left.
    pub fn crashed<D: Disk>(&mut self, at: usize, device: &Device<D>) -> Result<(), Violation> {
        for (place, promised) in &self.mirrors[at].acknowledged {
            if device.disk.version(place).as_ref() < Some(promised) {
                return violated("what was acknowledged survives", format!("device {at} {place:?}"));
            }
        }
        for (peer, rights) in &self.mirrors[at].rights {
            let kept = device.ids().get(*peer).map(|peer| device.disk.rights(*peer));
            if kept.as_ref() != Some(rights) {
                let text = format!("device {at} lets device {peer} do {kept:?}, not {rights:?}");
                return violated("rights survive a crash", text);
            }
        }
        let dead = dead(device);
        if let Some(peer) = self.mirrors[at].dead.difference(&dead).next() {
            let text = format!("device {at} trusts device {peer} again after a crash");
            return violated("a revocation is for ever", text);
        }
        self.look_again(at, device);
        Ok(())
    }

    /// Whether device `at` does not let `from` or the author of a deletion
    /// delete.
    fn may_not_delete<D: Disk>(
        &self,
        at: usize,
        from: usize,
        (domain, _): &Place,
        version: &Version,
        devices: &[Device<D>],
    ) -> bool {
        let author = devices.iter().position(|device| device.id == version.stamp.device);
        let may = |peer| self.mirrors[at].grants(peer, *domain).delete;
        !may(from) || author.is_some_and(|author| !may(author))
    }

    /// Somebody sets out to revoke a device: what only it keeps may be lost to
    /// the others.
    pub fn revoking<D: Disk>(&mut self, subject: usize, devices: &[Device<D>]) {
        self.subjects.insert(subject);
        self.forgive(devices);
    }

    /// Devices that nobody has set out to revoke.
    fn unrevoked<'a, D: Disk>(&self, devices: &'a [Device<D>]) -> Vec<&'a Device<D>> {
        let all = devices.iter().enumerate();
        all.filter(|(at, _)| !self.subjects.contains(at)).map(|(_, device)| device).collect()
    }

    fn forgive<D: Disk>(&mut self, devices: &[Device<D>]) {
        let keepers = self.unrevoked(devices);
        for (place, owed) in &mut self.owed {
            owed.retain(|version| keepers.iter().any(|device| device.disk.keeps(place, version)));
        }
    }

    /// Judges a message that leaves a device.
    pub fn sent(&self, mail: &Mail) -> Result<(), Violation> {
        if !self.mirrors[mail.from].dead.contains(&mail.to) {
            return Ok(());
        }
        let harmless = if mail.trust {
            matches!(Message::decode(&mail.bytes), Ok(Message::Bye(_)))
        } else {
            matches!(Response::decode(&mail.bytes), Ok(Response::Refuse(_)))
        };
        if harmless && mail.answer {
            return Ok(());
        }
        violated("nothing is sent to a revoked device", format!("device {} to device {}", mail.from, mail.to))
    }

    /// The devices that are still trusted by all others that are.
    pub fn living<D: Disk>(&self, devices: &[Device<D>]) -> Vec<usize> {
        let dead: BTreeSet<usize> = self.unrevoked(devices).into_iter().flat_map(dead).collect();
        (0..devices.len()).filter(|at| !dead.contains(at)).collect()
    }

    /// Forgives what was lost because a disk was replaced by a backup.
    pub fn restored<D: Disk>(&mut self, at: usize, devices: &[Device<D>]) {
        self.forgive(devices);
        if let Some(device) = devices.get(at) {
            self.look_again(at, device);
            let mirror = &mut self.mirrors[at];
            mirror.acknowledged.clone_from(&mirror.shown);
        }
    }

    fn look_again<D: Disk>(&mut self, at: usize, device: &Device<D>) {
        let mirror = &mut self.mirrors[at];
        mirror.shown.clear();
        mirror.ghost.clear();
        for domain in device.disk.domains() {
            for (key, (version, _)) in device.disk.contents(domain) {
                let place = (domain, key);
                *mirror.ghost.entry(domain).or_default() ^= fingerprint(&place, &version);
                mirror.shown.insert(place, version);
            }
        }
        // A time that was given out for a write that is gone may come again.
        mirror.issued = mirror.issued.min(device.disk.clock().unwrap_or_default());
        mirror.dead = dead(device);
        if self.limited {
            mirror.rights.clear();
            let peers = device.ids().iter().enumerate().filter(|(peer, _)| *peer != at);
            mirror.rights.extend(peers.map(|(peer, id)| (peer, device.disk.rights(*id))));
            // A deletion may have been undone within the commit that was the
            // last.
            for (place, version) in mirror.shown.iter().filter(|(_, own)| own.stamp.device == device.id) {
                self.written.entry(place.clone()).or_default().insert(version.clone());
            }
        }
    }

    /// Judges all devices at a moment when nothing but cursors is promised.
    pub fn cursors<D: Disk>(&self, devices: &[Device<D>]) -> Result<(), Violation> {
        for device in devices {
            for owner in devices {
                for domain in owner.disk.domains() {
                    let covered = covers(device, owner, domain, 0);
                    covered.map_err(|text| Violation { law: "a cursor is truthful", text })?;
                }
            }
        }
        Ok(())
    }

    /// Judges the end of a world: all is quiet, and everybody could meet.
    pub fn settled<D: Disk>(
        &self,
        devices: &[Device<D>],
        meet: impl Fn(usize, usize) -> bool,
    ) -> Result<(), Violation> {
        for device in devices {
            device.disk.check().map_err(|text| Violation { law: "sums fit the records", text })?;
        }
        let living: Vec<&Device<D>> = self.living(devices).into_iter().map(|at| &devices[at]).collect();
        let all_dead: BTreeSet<usize> = living.iter().flat_map(|device| dead(device)).collect();
        for device in &living {
            let known = dead(device);
            if known != all_dead {
                let text = format!("{} distrusts {known:?}, others {all_dead:?}", device.id);
                return violated("a revocation reaches everybody", text);
            }
        }
        if self.limited {
            return self.settled_by_rights(devices, meet);
        }
        let Some((first, others)) = living.split_first() else {
            return Ok(());
        };
        let domains: BTreeSet<DomainId> = living.iter().flat_map(|device| device.disk.domains()).collect();
        let mut standing: BTreeMap<Place, Version> = BTreeMap::new();
        for domain in domains {
            let contents = first.disk.contents(domain);
            for other in others {
                let theirs = other.disk.contents(domain);
                if theirs == contents {
                    continue;
                }
                let keys: BTreeSet<_> = contents.keys().chain(theirs.keys()).collect();
                let key = keys.into_iter().find(|key| contents.get(key) != theirs.get(key));
                let sides = key.map(|key| (key, contents.get(key), theirs.get(key)));
                return violated("all converge", format!("{} and {}: {sides:?}", first.id, other.id));
            }
            for (key, (version, _)) in contents {
                standing.insert((domain, key), version);
            }
        }
        for (place, winner) in &standing {
            if !self.written.get(place).is_some_and(|all| all.contains(winner)) {
                return violated("nothing is invented", format!("{place:?} {winner:?}"));
            }
        }
        for (place, owed) in &self.owed {
            let winner = standing.get(place);
            let Some(greatest) = owed.last() else {
                continue;
            };
            if winner < Some(greatest) {
                let text = format!("{place:?}: {winner:?} stands, {greatest:?} was promised");
                let law =
                    if greatest.deleted { "what is deleted stays deleted" } else { "the greatest wins" };
                return violated(law, text);
            }
            let lost = owed.iter().filter(|version| Some(*version) != winner);
            let mut lost =
                lost.filter(|version| !living.iter().any(|device| device.disk.keeps(place, version)));
            let few = self.written.get(place).is_some_and(|all| all.len() <= D::HISTORY);
            if let Some(version) = lost.next().filter(|_| few) {
                return violated("losers are kept", format!("{place:?}: {version:?} lost to {winner:?}"));
            }
        }
        self.cursors(devices)
    }
}

impl Laws {
    /// Judges the end of a world in which not everything may go everywhere:
    /// each device has what every other one may send it and it may take.
    fn settled_by_rights<D: Disk>(
        &self,
        devices: &[Device<D>],
        meet: impl Fn(usize, usize) -> bool,
    ) -> Result<(), Violation> {
        let living = self.living(devices);
        for &giver in &living {
            for &taker in living.iter().filter(|taker| **taker != giver && meet(giver, **taker)) {
                for domain in devices[giver].disk.domains() {
                    let may_give = self.mirrors[giver].grants(taker, domain).read;
                    if !may_give || !self.mirrors[taker].grants(giver, domain).write {
                        continue;
                    }
                    for (key, (version, _)) in devices[giver].disk.contents(domain) {
                        let place = (domain, key);
                        let theirs = devices[taker].disk.version(&place);
                        if theirs.as_ref() < Some(&version) {
                            let text =
                                format!("device {taker} {place:?}: {theirs:?}, device {giver} {version:?}");
                            return violated("what is granted arrives", text);
                        }
                    }
                }
            }
        }
        for (place, owed) in &self.owed {
            let kept = |version| living.iter().any(|at| devices[*at].disk.keeps(place, version));
            let few = self.written.get(place).is_some_and(|all| all.len() <= D::HISTORY);
            if let Some(version) = owed.iter().find(|version| !kept(version)).filter(|_| few) {
                return violated("losers are kept", format!("{place:?}: {version:?}"));
            }
        }
        self.cursors(devices)
    }
}

impl Mirror {
    /// What the device lets another one do.
    fn grants(&self, peer: usize, domain: DomainId) -> Grants {
        self.rights.get(&peer).unwrap_or(&Rights::ALL).grants(domain, false)
    }
}

/// Whom a device distrusts for ever.
fn dead<D: Disk>(device: &Device<D>) -> BTreeSet<usize> {
    let view = device.disk.trusted();
    (0..device.ids().len()).filter(|at| view.standing(device.ids()[*at]).is_dead()).collect()
}

/// Whether `device` holds everything of `owner`'s log that its cursor claims,
/// after position `after`.
fn covers<D: Disk>(
    device: &Device<D>,
    owner: &Device<D>,
    domain: DomainId,
    after: u64,
) -> Result<(), String> {
    let Some(cursor) = device.disk.cursor(owner.id, domain).filter(|cursor| cursor.after.is_none()) else {
        return Ok(());
    };
    let read = "a simulated device reads its store";
    let view = owner.disk.view();
    if !view.had(domain, cursor.epoch, cursor.seq).expect(read) {
        return Ok(());
    }
    for item in view.log(domain, after, usize::MAX).expect(read) {
        if item.seq > cursor.seq {
            break;
        }
        let own = device.disk.version(&(domain, item.key.clone()));
        if own.as_ref() < Some(&item.version) {
            return Err(format!("{cursor:?} of {} hides {item:?}, own {own:?}", owner.id));
        }
    }
    Ok(())
}

/// What a session may cost for what it moved.
fn bounded(cost: &Cost, moved: u64, domains: u64) -> Result<(), Violation> {
    let frames = cost.bytes / (256 << 10);
    let around = cost.round_trips * (100 + 160 * domains);
    // A frame with records or heads names the devices in it.
    let names = 200 * (2 * cost.round_trips).min(moved + cost.heads);
    let bytes = around + names + cost.payload + moved * 100 + cost.heads * 48 + cost.prints * 6;
    if cost.round_trips > ROUND_TRIPS_MAX + frames || cost.bytes > bytes {
        return violated("a session costs what changed", format!("{cost:?} for {moved} records"));
    }
    Ok(())
}

fn fingerprint((domain, key): &Place, version: &Version) -> u64 {
    let mut hash = Fnv::new();
    hash.feed(domain.as_bytes());
    hash.feed(key.as_str().as_bytes());
    hash.feed(&version.stamp.time.0.to_be_bytes());
    hash.feed(version.stamp.device.as_bytes());
    hash.feed(&[u8::from(version.deleted)]);
    hash.feed(version.value.as_bytes());
    hash.finish()
}
