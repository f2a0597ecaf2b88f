//! Who may write here, in the same file as the records, so that a revocation
//! and the records of the revoked device have one order.

use std::collections::BTreeMap;

use kinsync_protocol::id::DeviceId;
use redb::ReadableTable;

use crate::apply::{Stop, Tx};
use crate::error::{ReadError, WriteError};
use crate::job::Job;

/// What the store keeps of one device's trust.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TrustRow {
    /// Whether records from the device are taken in.
    pub may_write: bool,
    /// The rest of the row, which the store does not look into.
    pub content: Vec<u8>,
}

/// All rows of the trust view.
pub type TrustRows = BTreeMap<DeviceId, TrustRow>;

impl TrustRow {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.may_write)];
        bytes.extend_from_slice(&self.content);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        match bytes.split_first() {
            Some((may_write @ 0..=1, content)) => {
                Ok(Self { may_write: *may_write == 1, content: content.to_vec() })
            }
            _ => Err(ReadError::damaged("unreadable trust row")),
        }
    }
}

/// Reads the whole view.
pub(crate) fn read(
    table: &impl ReadableTable<&'static [u8; 32], &'static [u8]>,
) -> Result<TrustRows, ReadError> {
    let mut rows = TrustRows::new();
    for row in table.iter()? {
        let (device, row) = row?;
        rows.insert(DeviceId(*device.value()), TrustRow::decode(row.value())?);
    }
    Ok(rows)
}

impl Tx<'_> {
    /// Whether records from `peer` may be taken in at this point of the order
    /// of commits.
    pub(crate) fn may_write(&mut self, peer: DeviceId) -> Result<bool, ReadError> {
        if self.memory.once.contains(&peer) {
            return Ok(true);
        }
        match self.tables.trust.get(&peer.0)? {
            Some(row) => Ok(TrustRow::decode(row.value())?.may_write),
            None => Ok(false),
        }
    }
}

impl<T: Send + 'static> Job<T> {
    /// Changes the trust view. Once it is answered, no record of a device that
    /// it shut out commits.
    ///
    /// `log` lists the accepted statements behind the change, kept for ever.
    ///
    /// # Errors
    /// What `change` returns; then nothing is changed.
    pub fn change_trust(
        change: impl FnOnce(&mut TrustRows, &mut Vec<Vec<u8>>) -> Result<T, WriteError> + Send + 'static,
    ) -> Self {
        Self::new(move |tx| {
            let before = read(&tx.tables.trust)?;
            let (mut after, mut log) = (before.clone(), Vec::new());
            let outcome = change(&mut after, &mut log).map_err(Stop::Refused)?;
            for device in before.keys().filter(|device| !after.contains_key(device)) {
                tx.tables.trust.remove(&device.0)?;
            }
            for (device, row) in after.iter().filter(|(device, row)| before.get(device) != Some(row)) {
                tx.tables.trust.insert(&device.0, row.encode().as_slice())?;
            }
            for statement in &log {
                let number = tx.tables.trust_log.last()?.map_or(0, |(number, _)| number.value() + 1);
                tx.tables.trust_log.insert(number, statement.as_slice())?;
            }
            if after != before {
                tx.trust_changed = true;
            }
            tx.dirty |= tx.trust_changed || !log.is_empty();
            Ok(outcome)
        })
    }
}

impl Job<()> {
    /// Admits a device until [`Job::end_once`] or the end of the process.
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
