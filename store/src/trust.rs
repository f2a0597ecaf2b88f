//! Who may write here, in the same file as the records, so that a revocation
//! and the records of the revoked device have one order.

use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::trust::statement::Reason;
use kinsync_protocol::trust::{Action, Changes, Introduced, Row, Standing, View};

use crate::apply::{Stop, Tx};
use crate::error::{ReadError, WriteError};
use crate::job::Job;
use crate::migrate;
use crate::rows::{open_row, seal_row};
use crate::snapshot::StoreSnapshot;
use crate::tables::Rows;

fn encode(device: DeviceId, row: &Row) -> Vec<u8> {
    seal_row(&device.0, row.encode())
}

fn decode(device: DeviceId, bytes: &[u8]) -> Result<Row, ReadError> {
    let content = open_row(&device.0, bytes).ok_or_else(|| ReadError::damaged("an altered trust row"))?;
    Row::decode(content).map_err(|error| ReadError::damaged(format!("unreadable trust row: {error}")))
}

/// Reads the whole view. One row in doubt puts all in doubt: leaving it out
/// might let a revoked device be introduced again.
fn read(table: &impl Rows<&'static [u8; 32], &'static [u8]>, me: DeviceId) -> Result<View, ReadError> {
    let mut rows = Vec::new();
    for row in table.iter()? {
        let (device, row) = row?;
        let device = DeviceId(*device.value());
        rows.push((device, decode(device, row.value())?));
    }
    Ok(View::from_rows(me, rows))
}

impl Tx<'_> {
    /// Whether records of all `domains` may be taken in from `peer`, at this
    /// point of the order of commits.
    pub(crate) fn may_write(
        &mut self,
        peer: DeviceId,
        domains: impl IntoIterator<Item = DomainId>,
    ) -> Result<bool, Stop> {
        let view = self.view_of(peer)?;
        // What is known of a device goes before its visit: the dead stay dead.
        if view.standing(peer) == Standing::Stranger && self.memory.once.contains(&peer) {
            return Ok(true);
        }
        Ok(domains.into_iter().all(|domain| view.may(peer, Action::SyncDomain(domain))))
    }
}

impl Tx<'_> {
    /// Whether a device is one of the same person, at this point of the order
    /// of commits.
    pub(crate) fn is_kin(&self, peer: DeviceId) -> Result<bool, Stop> {
        Ok(self.view_of(peer)?.standing(peer) == Standing::Kin)
    }

    /// What is known of one device.
    fn view_of(&self, peer: DeviceId) -> Result<View, Stop> {
        let row = match self.tables.trust.get(&peer.0)? {
            None => None,
            Some(row) => match decode(peer, row.value()) {
                // In doubt nobody is trusted; other jobs go on.
                Err(ReadError::Damaged { what }) => {
                    return Err(Stop::Refused(WriteError::Damaged { what }));
                }
                row => Some(row?),
            },
        };
        Ok(View::from_rows(self.memory.device, row.map(|row| (peer, row))))
    }
}

impl<T: Send + 'static, E: Send + 'static> Job<Result<(Changes, T), E>> {
    /// Changes the trust view that stands when the job's turn comes. Once it
    /// is answered, no record of a device that it shut out commits.
    ///
    /// Stores [`Changes::rows`], and [`Changes::log`] for ever. What `change`
    /// refuses changes nothing and comes back as it is.
    pub fn change_view(change: impl FnOnce(&mut View) -> Result<(Changes, T), E> + Send + 'static) -> Self {
        Self::new(move |tx| {
            let outcome = change(&mut read(&tx.tables.trust, tx.memory.device)?);
            let Ok((changes, _)) = &outcome else { return Ok(outcome) };
            for (device, row) in &changes.rows {
                tx.tables.trust.insert(&device.0, encode(*device, row).as_slice());
            }
            for statement in &changes.log {
                let number = tx.tables.trust_log.last()?.map_or(0, |(number, _)| number.value() + 1);
                tx.tables.trust_log.insert(number, statement.encode().as_slice());
            }
            tx.trust_changed |= !changes.rows.is_empty();
            tx.dirty |= tx.trust_changed || !changes.log.is_empty();
            Ok(outcome)
        })
    }
}

impl Job<()> {
    /// Gives the store to the device's next key, after the one before was
    /// revoked: records and history stay, what is dead stays dead and the old
    /// key with it, and nobody is trusted, as nobody knows the new key.
    ///
    /// Close the store after it: it opens for `to` alone from now on.
    pub fn hand_over(to: DeviceId, at: UnixMillis) -> Self {
        Self::new(move |tx| {
            let before = read(&tx.tables.trust, tx.memory.device)?;
            let dead = |device: &DeviceId| before.standing(*device).is_dead();
            let rows = before.rows().iter().filter(|(device, _)| dead(device));
            let mut after = View::from_rows(to, rows.map(|(device, row)| (*device, row.clone())));
            // The key that has the store already has nothing to hand over.
            let Ok(changes) = after.revoke(before.me(), Introduced::Keep, Reason::Rotated, at) else {
                return Ok(());
            };
            for device in before.rows().keys().filter(|device| !dead(device)) {
                tx.tables.trust.remove(&device.0);
            }
            for (device, row) in &changes.rows {
                tx.tables.trust.insert(&device.0, encode(*device, row).as_slice());
            }
            migrate::note_owner(&mut tx.tables, to);
            tx.memory.device = to;
            tx.memory.once.clear();
            (tx.dirty, tx.trust_changed) = (true, true);
            Ok(())
        })
    }

    /// Admits a device of which nothing is known, until [`Job::end_once`] or
    /// the end of the process.
    pub fn admit_once(peer: DeviceId) -> Self {
        Self::new(move |tx| {
            tx.memory.once.insert(peer);
            Ok(())
        })
    }

    /// Ends [`Job::admit_once`]: no record of the device commits after it.
    pub fn end_once(peer: DeviceId) -> Self {
        Self::new(move |tx| {
            tx.memory.once.remove(&peer);
            Ok(())
        })
    }
}

impl StoreSnapshot {
    /// The trust view, without the devices admitted once.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] if any row of it is.
    pub fn trust_view(&self) -> Result<View, ReadError> {
        read(&self.view.trust, self.device)
    }

    /// Up to `limit` accepted trust statements as they were signed, newest
    /// first.
    pub fn trust_log(&self, limit: usize) -> Result<Vec<Vec<u8>>, ReadError> {
        let rows = self.view.trust_log.range::<u64>(..)?.rev().take(limit);
        rows.map(|row| Ok(row?.1.value().to_vec())).collect()
    }
}
