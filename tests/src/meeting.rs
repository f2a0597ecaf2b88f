//! A session between two simulated devices over the real store, frame by
//! frame, without a network.

use fastrand::Rng;
use kinsync_protocol::id::DeviceId;
use kinsync_protocol::session::{Outcome, Session};
use kinsync_protocol::snapshot::Batch;

use crate::disk::{Disk, Real};

/// Frames after which a session is a storm.
const FRAMES_MAX: usize = 200;

const READ: &str = "the store of a simulated device reads";

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
