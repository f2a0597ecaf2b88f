//! Statements come first on every contact.

use kinsync_protocol::card::Card;
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::trust::Action;
use kinsync_protocol::trust::message::{Announcement, Bye, Message};
use serde_bytes::ByteArray;

use super::{Device, Effect, Mail, Out, What};
use crate::disk::{Disk, TrustOp};
use crate::planted::Planted;
use crate::trace::Fnv;

impl<D: Disk> Device<D> {
    /// The user revokes another device.
    pub fn revoke(&mut self, peer: usize, out: &mut Out) {
        let op = TrustOp::Revoke(self.ids[peer]);
        self.change_trust(&op, out);
    }

    /// Changes the trust view on disk, puts the new one into force, and cuts
    /// off whom it shuts out.
    fn change_trust(&mut self, op: &TrustOp, out: &mut Out) {
        if self.doomed {
            // All or nothing: the coin is tossed before.
            if self.rng.bool() {
                self.disk.trust(op);
            }
            self.disk.crash(&mut self.rng);
            self.stop();
            out.effects.push(Effect::Crashed);
            return;
        }
        let changes = self.disk.trust(op);
        op.change(&mut self.trusted);
        self.announcement = None;
        for ended in changes.ended {
            let Some(peer) = self.ids.iter().position(|id| *id == ended) else {
                continue;
            };
            if !self.has(Planted::AnswersAfterRevocation) {
                self.forget(peer);
            }
            out.effects.push(Effect::Distrusts { peer });
        }
    }

    /// Tells a peer the own view, as the first thing of a contact and whenever
    /// it has changed.
    pub(super) fn announce(&mut self, peer: usize, now: u64, out: &mut Out) {
        let generation = self.trusted.generation();
        let bytes = self.announcement();
        self.ask(peer, bytes, What::Announcement { generation }, now, out);
    }

    fn announcement(&mut self) -> Vec<u8> {
        let generation = self.trusted.generation();
        if let Some((of, bytes)) = &self.announcement
            && *of == generation
        {
            return bytes.clone();
        }
        let statements = self.trusted.statements_to_send(&self.key);
        let boot = ByteArray::new([0; 16]);
        let said = Announcement::split(&Card::default(), statements, boot, UnixMillis(0));
        let said = said.into_iter().next().expect("there is always one message");
        let bytes = Message::Announcement(said).encode();
        self.announcement = Some((generation, bytes.clone()));
        bytes
    }

    /// A peer begins a contact, or its view has changed.
    pub(super) fn take_announcement(&mut self, mail: &Mail, out: &mut Out) {
        let peer = mail.from;
        if !self.may(peer, Action::ExchangeTrust) {
            let bye = Message::Bye(Bye::Revoked).encode();
            out.mail.push(Mail { trust: true, answer: true, ..self.mail(peer, mail.number, bye) });
            return;
        }
        if self.hear(mail, out) {
            let bytes = self.announcement();
            out.mail.push(Mail { trust: true, answer: true, ..self.mail(peer, mail.number, bytes) });
        }
    }

    /// Takes in what a peer says of others; whether to go on with it.
    fn hear(&mut self, mail: &Mail, out: &mut Out) -> bool {
        let peer = mail.from;
        let Ok(Message::Announcement(said)) = Message::decode(&mail.bytes) else {
            let fault = "an announcement that is none".to_owned();
            out.effects.push(Effect::Accused { peer, fault });
            return false;
        };
        let mut print = Fnv::new();
        print.feed(&mail.bytes);
        let heard = (print.finish(), self.trusted.generation());
        // The same words change the same view in nothing: checking them again
        // would take most of the time of a world.
        if self.heard.insert(peer, heard) != Some(heard) {
            let op = TrustOp::Accept(self.ids[peer], said.statements);
            let changes = op.change(&mut self.trusted.clone());
            let news = !changes.rows.is_empty() || !changes.log.is_empty();
            if news && !self.has(Planted::RevocationNotSpread) {
                self.change_trust(&op, out);
            }
        }
        let goes_on = self.up && self.may(peer, Action::ExchangeTrust);
        if let Some(link) = self.links.get_mut(&peer).filter(|_| goes_on) {
            link.heard = Some(mail.life);
        }
        goes_on
    }

    pub(super) fn take_trust_answer(&mut self, mail: &Mail, now: u64, out: &mut Out) {
        let peer = mail.from;
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        let Some(open) = link.open.take_if(|open| open.number == mail.number) else {
            return;
        };
        link.life = mail.life;
        let What::Announcement { generation } = open.what else {
            return;
        };
        if let Ok(Message::Bye(_)) = Message::decode(&mail.bytes) {
            self.failed(peer, now);
            if !self.has(Planted::RevokedGoesOn) {
                self.change_trust(&TrustOp::Refused(self.ids[peer]), out);
            }
            return;
        }
        if let Some(link) = self.links.get_mut(&peer) {
            link.announced = Some(generation);
        }
        self.hear(mail, out);
    }
}
