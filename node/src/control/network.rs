//! What only a running node can do: it is asked, and answers.

use std::collections::BTreeSet;

use kinsync_protocol::{code::Code, id::DeviceId, ticket::Ticket};

use super::{
    Control,
    command::{Command, SyncReport, VerifyReport},
};
use crate::{
    address,
    config::clean_name,
    failure::{Failure, Kind},
    request::{
        Done, PairJoin, PairJoining, PairOpen, PairOpened, Stopping, SyncNow, SyncRow, SyncRows, Verdict,
        VerifyAnswer, VerifyPeer,
    },
};

/// How long a code is good for if nobody says, in seconds.
const CODE_S: u64 = 300;

/// The longest life of a code, in seconds: an hour is a house move, more is a
/// forgotten one.
const CODE_S_MAX: u64 = 3_600;

/// The longest life of a code that asks nobody, in seconds.
const CODE_S_MAX_UNASKED: u64 = 600;

impl Control {
    /// Runs a pass with a peer, or with all trusted ones.
    pub async fn sync_now(&self, request: SyncNow) -> Result<SyncRows, Failure> {
        let peers = self.peers_meant(request.peer.as_deref()).await?;
        if peers.is_empty() {
            self.require_node()?;
            return Ok(SyncRows { v: 1, peers: Vec::new() });
        }
        let SyncNow { wait, full, dry_run, .. } = request;
        let reports = self.ask(|reply| Command::SyncNow { peers, wait, full, dry_run, reply }).await?;
        Ok(SyncRows { v: 1, peers: reports.into_iter().map(|report| self.sync_row(report)).collect() })
    }

    fn sync_row(&self, report: SyncReport) -> SyncRow {
        SyncRow {
            id: report.device.to_string(),
            name: self.shared.names.of(report.device),
            outcome: report.outcome,
            pull: report.pull,
            push: report.push,
            blobs: 0,
            duration_ms: report.duration_ms,
            limited: report.limited,
            failure: report.failure,
        }
    }

    /// Compares with a peer, or with all trusted ones, and changes nothing.
    pub async fn verify(&self, peer: Option<&str>) -> Result<VerifyAnswer, Failure> {
        let peers = self.peers_meant(peer).await?;
        let reports = if peers.is_empty() {
            self.require_node()?;
            Vec::new()
        } else {
            self.ask(|reply| Command::Verify { peers, reply }).await?
        };
        let peers: Vec<_> = reports.into_iter().map(|report| self.verify_peer(report)).collect();
        let equal = peers.iter().flat_map(|peer| &peer.domains).all(|domain| domain.equal || domain.limited);
        Ok(VerifyAnswer { v: 1, equal, peers })
    }

    fn verify_peer(&self, report: VerifyReport) -> VerifyPeer {
        let checked = report.domains.is_ok();
        let (domains, failure) = match report.domains {
            Ok(domains) => (domains, None),
            Err(failure) => (Vec::new(), Some(failure)),
        };
        let name = self.shared.names.of(report.device);
        VerifyPeer { id: report.device.to_string(), name, checked, domains, limited: report.limited, failure }
    }

    fn require_node(&self) -> Result<(), Failure> {
        self.node.as_ref().map(|_| ()).ok_or_else(Failure::not_running)
    }

    /// The peer that somebody means, or all trusted ones.
    async fn peers_meant(&self, peer: Option<&str>) -> Result<BTreeSet<DeviceId>, Failure> {
        match peer {
            Some(peer) => Ok(BTreeSet::from([self.trusted_peer(peer).await?])),
            None => self.trusted_peers().await,
        }
    }

    /// Opens a code on this device. Subscribe first: the rest comes as events.
    pub async fn pair_open(&self, mut request: PairOpen) -> Result<PairOpened, Failure> {
        request.allowed.as_ref().map(|allowed| self.rights_of(allowed)).transpose()?;
        let seconds = *request.expires_s.get_or_insert(CODE_S);
        if !(1..=CODE_S_MAX).contains(&seconds) {
            return Err(Failure::new(
                Kind::BadRequest,
                format!("A code lives for 1 to {CODE_S_MAX} seconds, not {seconds}."),
            ));
        }
        if request.yes && seconds > CODE_S_MAX_UNASKED {
            return Err(Failure::new(
                Kind::BadRequest,
                format!("A code that asks nobody lives for at most {CODE_S_MAX_UNASKED} seconds."),
            )
            .hint("Leave out --yes, or give a shorter --expires."));
        }
        request.label = Some(self.label(request.label.as_deref())?);
        self.ask(|reply| Command::PairOpen { request, reply }).await
    }

    /// Enters a code that another device shows. Subscribe first: the rest
    /// comes as events.
    pub async fn pair_join(&self, mut request: PairJoin) -> Result<PairJoining, Failure> {
        check_code(request.code.reveal())?;
        request.allowed.as_ref().map(|allowed| self.rights_of(allowed)).transpose()?;
        if let Some(addr) = &request.addr {
            address::parse(addr)?;
        }
        request.label = Some(self.label(request.label.as_deref())?);
        self.ask(|reply| Command::PairJoin { request, reply }).await
    }

    /// Answers the question that a pairing asks on the host.
    pub async fn pair_answer(&self, pairing: u64, verdict: Verdict) -> Result<Done, Failure> {
        self.ask(|reply| Command::PairAnswer { pairing, verdict, reply }).await?;
        Ok(Done {})
    }

    /// Ends a pairing on either side.
    pub async fn pair_cancel(&self, pairing: u64) -> Result<Done, Failure> {
        self.ask(|reply| Command::PairCancel { pairing, reply }).await?;
        Ok(Done {})
    }

    /// Stops the node.
    pub async fn down(&self) -> Result<Stopping, Failure> {
        self.ask(|reply| Command::Shutdown { reply }).await?;
        Ok(Stopping { pid: std::process::id() })
    }

    /// What this device calls itself to another one.
    fn label(&self, label: Option<&str>) -> Result<String, Failure> {
        match label {
            None => Ok(self.shared.config.borrow().name.clone()),
            Some(label) => clean_name(label).ok_or_else(|| {
                Failure::new(Kind::BadRequest, format!("{label:?} cannot be the name of a device."))
            }),
        }
    }
}

/// Refuses what cannot be a code before anybody is asked, so that a slip
/// costs no try.
fn check_code(text: &str) -> Result<(), Failure> {
    let reason = if text.trim_start().starts_with("kinsync:") {
        Ticket::parse(text.trim()).err().map(|error| error.to_string())
    } else {
        Code::parse(text).err().map(|error| error.to_string())
    };
    match reason {
        None => Ok(()),
        Some(reason) => Err(Failure::new(Kind::BadCode, format!("That is no pairing code: {reason}."))
            .hint("Type it as the other device shows it, like KXNR-7842. No try was spent.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_no_code_and_costs_no_try() {
        for text in ["", "BCDF-561", "BCDF-56122", "5612-BCDF", "kinsync://pair#x5612", "kinsync:"] {
            let failure = check_code(text).expect_err(text);
            assert_eq!(failure.kind, Kind::BadCode);
            assert!(!failure.message.contains("561"), "the code is in the message");
        }
        for text in ["BCDF-5612", "bcdf5612", " BCDF 5612 "] {
            check_code(text).expect(text);
        }
    }
}
