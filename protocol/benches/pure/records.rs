//! What is measured on: records as devices that talk to each other write them.

use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::{Key, Record};
use kinsync_protocol::stamp::{Ancestry, Hlc, Stamp, UnixMillis};

/// Bytes of a value.
const VALUE_BYTES: usize = 280;

/// Devices that write.
const DEVICES: u64 = 4;

/// Where all records stand.
pub(crate) fn domain() -> DomainId {
    DomainId::of("messages")
}

/// Numbers that look drawn, the same in each run.
pub(crate) struct Mixed(pub(crate) u64);

impl Mixed {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Fills a buffer.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes()[..chunk.len()]);
        }
    }
}

/// `count` records in no order of time; of some of them, two devices wrote.
pub(crate) fn records(count: u64) -> Vec<Record> {
    let mut mixed = Mixed(1);
    let mut record = |number: u64| {
        let device = |number: u64| DeviceId([u8::try_from(number % DEVICES).expect("below four") + 1; 32]);
        // So close together that some stamps differ by their device alone.
        let time = Hlc::at(UnixMillis(1_700_000_000_000 + mixed.next() % (count / 2 + 1)));
        let author = mixed.next();
        let seen = match number % 3 {
            0 => Ancestry::from_entries(vec![(device(author + 1), Hlc(time.0 - 1))]),
            _ => Ancestry::default(),
        };
        let mut value = vec![0; VALUE_BYTES];
        mixed.fill(&mut value);
        let key = Key::new(format!("c{:05}/{number:07}", number / 100)).expect("a short path");
        Record::new(key, Some(value), Stamp { time, device: device(author) }, seen)
    };
    (0..count).map(&mut record).collect()
}
