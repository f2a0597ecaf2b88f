//! The record that keeps a version beside the one that won, where a domain
//! keeps both.
//!
//! It follows from the losing version alone, so every device that sees both
//! makes the same one.

use crate::id::ValueHash;
use crate::limits::KEY_BYTES_MAX;
use crate::record::{Key, Record, Version};

/// The key beside `key` for the value `value`: `KEY~XXXXXXXX`, the first eight
/// hexadecimal digits of the value's hash. A key that would be too long is cut.
pub fn key(key: &Key, value: ValueHash) -> Key {
    let [a, b, c, d, ..] = value.0;
    let end = format!("~{a:02x}{b:02x}{c:02x}{d:02x}");
    let start = key.as_str();
    let mut cut = start.len().min(KEY_BYTES_MAX - end.len());
    while !start.is_char_boundary(cut) {
        cut -= 1;
    }
    let (start, _) = start.split_at(cut);
    Key::new(format!("{start}{end}")).expect("a key of the same characters that is short enough")
}

/// The record that keeps `value`, whose version `loser` lost under the key
/// `lost`.
pub fn record(lost: &Key, loser: &Version, value: Vec<u8>) -> Record {
    let version = Version::derived(loser.stamp.time, loser.causes(), Some(&value));
    Record { key: key(lost, version.value), version, value: Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::DeviceId;
    use crate::stamp::{Ancestry, Hlc, Stamp};

    #[test]
    fn the_key_beside_another_fits() {
        let value = ValueHash([0xab; 16]);
        assert_eq!(key(&Key::new("chat/m1").unwrap(), value).as_str(), "chat/m1~abababab");
        let long = key(&Key::new("k".repeat(KEY_BYTES_MAX)).unwrap(), value);
        assert_eq!(long.as_str().len(), KEY_BYTES_MAX);
        // A character of three bytes is never cut in two.
        let wide = key(&Key::new("本".repeat(KEY_BYTES_MAX / 3)).unwrap(), value);
        assert!(wide.as_str().ends_with("本~abababab") && wide.as_str().len() <= KEY_BYTES_MAX);
    }

    /// S18: what lost is kept whole, by a version that knows where it is from.
    #[test]
    fn the_record_beside_another_is_one() {
        let stamp = Stamp { time: Hlc(5), device: DeviceId([1; 32]) };
        let lost = Record::new(Key::new("k").unwrap(), Some(b"text".to_vec()), stamp, Ancestry::default());
        let kept = record(&lost.key, &lost.version, b"text".to_vec());
        assert_eq!(kept.check(), Ok(()));
        assert!(kept.version.knew(&lost.version));
        assert_eq!((kept.version.stamp.device, kept.version.value), (DeviceId::NULL, lost.version.value));
    }
}
