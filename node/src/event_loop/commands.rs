//! What people and applications ask of the loop.

use std::collections::BTreeSet;

use kinsync_protocol::id::DeviceId;

use super::EventLoop;
use crate::control::Command;
use crate::failure::{Failure, Kind};

impl EventLoop {
    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Doctor { reply } => answer(reply, Ok(self.doctor_rows())),
            Command::Facts { reply } => answer(reply, Ok(self.node_facts())),
            Command::PairAnswer { pairing, verdict, reply } => {
                let result = self.pair_answer(pairing, verdict);
                answer(reply, result);
            }
            Command::PairCancel { pairing, reply } => {
                let result = self.pair_cancel(pairing);
                answer(reply, result);
            }
            Command::PairJoin { request, reply } => {
                let result = self.pair_join(&request);
                answer(reply, result);
            }
            Command::PairOpen { request, reply } => {
                let result = self.pair_open(&request);
                answer(reply, result);
            }
            Command::PeersChanged { device } => {
                self.reload_view();
                let now = self.now();
                self.state.handle_found(device, now);
            }
            Command::RightsChanged { device, reply } => {
                self.on_rights_changed(device);
                answer(reply, Ok(()));
            }
            Command::Revoked { device, reply } => self.on_revoked(device, reply),
            Command::Shutdown { reply } => {
                self.stopping = true;
                answer(reply, Ok(()));
            }
            Command::SyncNow { peers, wait, full, dry_run, reply } => match self.reachable(&peers) {
                Ok(()) if dry_run => self.dry_run(peers, reply),
                Ok(()) if full => self.sync_in_full(peers, wait, reply),
                Ok(()) => self.sync_now(peers, wait, reply),
                Err(failure) => answer(reply, Err(failure)),
            },
            Command::Verify { peers, reply } => match self.reachable(&peers) {
                Ok(()) => self.verify(peers, reply),
                Err(failure) => answer(reply, Err(failure)),
            },
        }
    }

    /// Whether these devices may be asked at all.
    fn reachable(&self, peers: &BTreeSet<DeviceId>) -> Result<(), Failure> {
        let removed = peers.iter().find(|device| self.state.has_removed_me(**device));
        match (removed, peers.len()) {
            (Some(device), 1) => {
                let name = self.control.peer_name(*device).name;
                Err(Failure::new(
                    Kind::Revoked,
                    format!("{name} has removed this device. Your data here is kept."),
                )
                .hint(super::RENEW))
            }
            _ => Ok(()),
        }
    }
}

fn answer<T>(reply: crate::control::command::Reply<T>, result: Result<T, Failure>) {
    // Whoever asked may have left.
    let _ = reply.send(result);
}
