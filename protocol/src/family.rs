//! Parents and children: which record a record belongs to, and what the end
//! of the one makes of the other.
//!
//! Every device computes these versions alike, from the child and the parent's
//! tombstone alone, so a parent that ends takes its children with it
//! everywhere without a word about them.

use crate::id::DeviceId;
use crate::record::{Key, Version};
use crate::stamp::Stamp;

/// The key of the record that `key` belongs to: what stands before its last
/// slash. `None` for a key without one, or with nothing on either side of it.
pub fn parent_key(key: &Key) -> Option<Key> {
    let (parent, rest) = key.as_str().rsplit_once('/')?;
    if rest.is_empty() {
        return None;
    }
    Key::new(parent).ok()
}

/// The tombstone of the live version `child` whose parent ended with the
/// tombstone `parent`.
pub fn ended(child: &Version, parent: &Version) -> Version {
    Version::derived(child.stamp.time.max(parent.stamp.time).next(), child.causes(), None)
}

/// Whether `tombstone` is what the end of a parent made of `child`.
pub fn is_end_of(tombstone: &Version, child: &Version) -> bool {
    tombstone.deleted
        && !child.deleted
        && tombstone.stamp.device == DeviceId::NULL
        && tombstone.stamp.time > child.stamp.time
        && tombstone.seen == child.causes()
}

/// Whether `child`, which `tombstone` ended, was written after its parent had
/// been deleted, as a child of a parent that was restored is.
pub fn is_later_than_parent(tombstone: &Version, child: &Version) -> bool {
    is_end_of(tombstone, child) && tombstone.stamp.time == child.stamp.time.next()
}

/// `child` once more, where `tombstone` ended it and its parent lives.
pub fn revived(tombstone: &Version, child: &Version) -> Version {
    Version {
        stamp: Stamp { time: tombstone.stamp.time.next(), device: DeviceId::NULL },
        seen: tombstone.seen.clone(),
        ..child.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::stamp::{Ancestry, Hlc};

    const LAPTOP: DeviceId = DeviceId([1; 32]);
    const PHONE: DeviceId = DeviceId([2; 32]);

    fn version(time: u64, device: DeviceId, value: Option<&[u8]>) -> Version {
        let stamp = Stamp { time: Hlc(time), device };
        let value = value.map(<[u8]>::to_vec);
        Record::new(Key::new("a/b").unwrap(), value, stamp, Ancestry::default()).version
    }

    #[test]
    fn the_last_slash_parts_a_child_from_its_parent() {
        let parent = |key: &str| parent_key(&Key::new(key).unwrap()).map(|key| key.as_str().to_owned());
        assert_eq!(parent("chat/m1").as_deref(), Some("chat"));
        assert_eq!(parent("a/b/m1").as_deref(), Some("a/b"));
        assert_eq!(parent("chat"), None);
        assert_eq!(parent("chat/"), None);
        assert_eq!(parent("/m1"), None);
        assert_eq!(parent("//m1").as_deref(), Some("/"));
    }

    /// P23: the child's tombstone beats the child and names it, whichever of
    /// parent and child was written later.
    #[test]
    fn the_tombstone_of_a_child_beats_it_and_knows_it() {
        for (child, parent) in [(5, 9), (9, 5), (7, 7)] {
            let child = version(child, LAPTOP, Some(b"hi"));
            let parent = version(parent, PHONE, None);
            let tombstone = ended(&child, &parent);
            assert!(tombstone > child && tombstone.knew(&child));
            assert!(is_end_of(&tombstone, &child));
            assert_eq!(is_later_than_parent(&tombstone, &child), child.stamp.time >= parent.stamp.time);
            let record = Record { key: Key::new("a/b").unwrap(), version: tombstone.clone(), value: None };
            assert_eq!(record.check(), Ok(()));
            let again = revived(&tombstone, &child);
            assert!(again > tombstone && again.knew(&child));
            assert_eq!((again.value, again.deleted), (child.value, false));
            assert!(!is_end_of(&tombstone, &again), "it is later");
            assert!(is_end_of(&ended(&again, &parent), &again));
            assert!(is_end_of(&ended(&again, &parent), &child), "the same content, ended once more");
        }
    }

    /// An ordinary deletion is not undone with a parent.
    #[test]
    fn a_deletion_by_a_device_is_no_end_of_a_child() {
        let child = version(5, LAPTOP, Some(b"hi"));
        let mut deletion = version(6, PHONE, None);
        deletion.seen = child.seen.replaced_by(child.stamp, PHONE);
        assert!(!is_end_of(&deletion, &child));
        let other = version(4, PHONE, Some(b"other"));
        let parent = version(9, PHONE, None);
        assert!(!is_end_of(&ended(&other, &parent), &child));
    }
}
