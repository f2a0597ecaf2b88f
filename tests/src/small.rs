//! What small worlds share: a few paired devices over the real store, sessions
//! between them without a network, and that all come to hold the same.

use fastrand::Rng;
use kinsync_protocol::id::{DeviceId, DomainId, ValueHash};
use kinsync_protocol::record::Version;
use kinsync_protocol::session::{Outcome, Session};
use kinsync_protocol::snapshot::Batch;
use kinsync_protocol::stamp::Stamp;

use crate::disk::{Disk, Real, TrustOp};

/// Frames after which a session is a storm.
const FRAMES_MAX: usize = 200;

pub(crate) const READ: &str = "the store of a simulated device reads";
pub(crate) const WRITE: &str = "the store of a simulated device writes";

/// When simulated time begins: the first of January 2026.
pub(crate) const START: u64 = 1_767_225_600_000;

/// So many devices, each of which trusts all others.
pub(crate) fn paired(count: usize, rng: &mut Rng) -> (Vec<DeviceId>, Vec<Real>) {
    let ids: Vec<_> = (1..=count).map(|n| DeviceId([u8::try_from(n).unwrap_or(0); 32])).collect();
    let mut disks: Vec<Real> = ids.iter().map(|id| Real::create(*id, rng.u64(1..), false, None)).collect();
    for (at, disk) in disks.iter_mut().enumerate() {
        for other in ids.iter().filter(|other| **other != ids[at]) {
            disk.trust(&TrustOp::Pair(*other));
        }
    }
    (ids, disks)
}

/// All stores hold together, and the same as each other.
pub(crate) fn hold_the_same(disks: &[Real], domains: &[DomainId]) -> Result<(), String> {
    let (first, others) = disks.split_first().ok_or("a world without devices")?;
    for disk in disks {
        disk.check()?;
    }
    for &domain in domains {
        let contents = first.contents(domain);
        for other in others {
            let theirs = other.contents(domain);
            let mut keys = contents.keys().chain(theirs.keys());
            if let Some(key) = keys.find(|key| said(contents.get(key)) != said(theirs.get(key))) {
                return Err(format!("{key} differs: {:?} {:?}", contents.get(key), theirs.get(key)));
            }
        }
    }
    Ok(())
}

/// What devices that are equal hold alike. Where a parent took two versions
/// with it that did not know each other, their ends come from one of them each.
fn said(stands: Option<&(Version, Option<Vec<u8>>)>) -> Option<(Stamp, bool, ValueHash, Option<&[u8]>)> {
    let (version, value) = stands?;
    Some((version.stamp, version.deleted, version.value, value.as_deref()))
}

/// How a session ended.
pub(crate) struct Met {
    /// What it came to for who opened it, and for the other one.
    pub(crate) outcomes: (Outcome, Outcome),
    /// How many frames each side sent.
    pub(crate) frames: usize,
}

/// Runs a session that device `a` opens with `b`, cut off after `frames` of
/// each side. `apply` commits on the first device named what the second sent.
pub(crate) fn meet(
    disks: &mut [Real],
    ids: &[DeviceId],
    (a, b): (usize, usize),
    frames: Option<usize>,
    rng: &mut Rng,
    mut apply: impl FnMut(&mut [Real], usize, usize, Vec<Batch>),
) -> Result<Option<Met>, String> {
    let mut ours = Session::initiate(ids[b], rng.u64(..), [rng.u8(..); 8], false);
    let mut frame = ours.open(&*disks[a].view()).expect(READ);
    let mut theirs = Session::respond(ids[a], &frame).map_err(|fault| format!("{fault:?}"))?;
    for sent in 1..=FRAMES_MAX {
        let batches = theirs.take(frame, &*disks[b].view()).map_err(|error| error.to_string())?;
        apply(disks, b, a, batches);
        let step = theirs.step(&*disks[b].view()).expect(READ);
        apply(disks, b, a, step.cursors);
        if frames.is_some_and(|frames| sent >= frames) {
            return Ok(None);
        }
        let answer = step.frame.expect("a responder answers");
        let batches = ours.take(answer, &*disks[a].view()).map_err(|error| error.to_string())?;
        apply(disks, a, b, batches);
        let step = ours.step(&*disks[a].view()).expect(READ);
        apply(disks, a, b, step.cursors);
        match step.frame {
            Some(next) => frame = next,
            None => return Ok(Some(Met { outcomes: (ours.outcome(), theirs.outcome()), frames: sent })),
        }
    }
    Err(format!("a session of {FRAMES_MAX} round trips"))
}
