//! The one way to hash for a purpose: every hash names what it is for.

use sha2::{Digest, Sha256};

/// SHA-256 over a purpose and parts, each behind its length as a big-endian u32.
///
/// The purpose keeps a hash made for one thing from being taken for another;
/// the lengths keep `("ab", "c")` from being taken for `("a", "bc")`
/// (spec §3.1).
pub fn tagged(purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
        // Longer inputs than 4 GiB exist nowhere: every message has a limit.
        hash.update((part.len() as u32).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[test]
fn parts_cannot_be_shifted_into_each_other() {
    assert_ne!(tagged("t", &[b"ab", b"c"]), tagged("t", &[b"a", b"bc"]));
    assert_ne!(tagged("ta", &[b"b"]), tagged("t", &[b"ab"]));
}
