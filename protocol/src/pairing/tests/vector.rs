//! The published test vector, which two other implementations agree on.

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn everything_but_the_curve_follows_the_published_vector() {
    let code = Code::parse("kxnr 7B42").unwrap();
    assert_eq!(code.symbols(), b"KXNR7842");
    assert_eq!(hex(&*password(&code)), "62eb0ec6187a385bdddb111a52bd1d1ab8cc9b8dc425e7b4473715c780a01f3c");
    let (mut joiner_share, mut host_share) = ([5; 33], [6; 33]);
    (joiner_share[0], host_share[0]) = (0x41, 0x42);
    let (run, nonce, salt) = (RunId::new([3; 16]), [4; 16], [7; 32]);
    let commit = commitment(&run, &nonce, &host_share, &salt);
    assert_eq!(hex(&commit), "5391c905b9203c63e2c6b1ee2127ab0c4a774058734712e0b4ed1f793337d401");
    let (joiner, host) = (DeviceId([1; 32]), DeviceId([2; 32]));
    let transcript = Transcript { run, nonce, joiner, host, commit, joiner_share, host_share, salt }.hash();
    assert_eq!(hex(&transcript), "650a42fe2e50e2c5d332ce74b223e441b60e215704a9da5ad0a3bb80ec3c12a7");
    let keys = Keys::derive(&[0x11; 32], transcript);
    assert_eq!(hex(&keys.joiner), "12da963048741263dd3dc592fc50aef1e18ba36e113398d726282c1cc8fecfc9");
    assert_eq!(hex(&keys.host), "a41a20e256c04ae8b0799db2622fb98e5a0a65145c6b467aa5683d971c792d93");
    assert_eq!(keys.check, CheckNumber(420_257));
    assert_eq!(keys.check.to_string(), "420 257");
    let proof = keys.proof(Side::Joiner, b"card");
    assert_eq!(hex(&proof), "279dd2f9a2b20dadc841579e3e72dc91bf3ea1b3c531eea5b1eee0fdb6b4dd40");
}

#[test]
fn a_check_number_always_has_six_digits() {
    assert_eq!(CheckNumber(7).to_string(), "000 007");
    assert_eq!(CheckNumber(482_913).to_string(), "482 913");
}

/// No hash, proof or signature made for one thing can stand for another.
#[test]
fn every_purpose_is_its_own_and_none_begins_another() {
    let purposes = [
        PASSWORD,
        COMMIT,
        TRANSCRIPT,
        CONFIRM_JOINER,
        CONFIRM_HOST,
        CHECK,
        SIGN_JOINER,
        SIGN_HOST,
        crate::trust::statement::PURPOSE,
        "kinsync/fp/1",
    ];
    for (at, one) in purposes.iter().enumerate() {
        for other in purposes.iter().skip(at + 1) {
            assert!(!one.starts_with(other) && !other.starts_with(one), "{one} {other}");
        }
    }
}
