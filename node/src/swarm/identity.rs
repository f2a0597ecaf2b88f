//! One key, three spellings: [`DeviceId`] here, peer id in libp2p, `12D3Koo…` in text.

use kinsync_protocol::id::DeviceId;
use libp2p::PeerId;

/// The libp2p name of `device`.
pub fn peer_id(device: &DeviceId) -> PeerId {
    PeerId::from_bytes(&device.peer_id_bytes()).expect("an identity multihash of 36 bytes is a peer id")
}

/// The device that `peer` is, if its key is an Ed25519 one.
///
/// A peer id carries such a key in full. Other kinds of key are hashed into
/// their peer id, and no kinsync device has one. Nor is nobody a peer: what
/// devices merge is written in the name of the zero key.
pub fn device_id(peer: &PeerId) -> Option<DeviceId> {
    let bytes = peer.to_bytes();
    let key: [u8; 32] = bytes.get(6..)?.try_into().ok()?;
    let device = DeviceId(key);
    (bytes == device.peer_id_bytes() && device != DeviceId::NULL).then_some(device)
}

/// Reads the peer id that people copy from one device to another: `12D3Koo…`.
pub fn parse_peer_id(text: &str) -> Option<DeviceId> {
    device_id(&text.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_and_its_peer_id_name_each_other() {
        let key_pair = libp2p::identity::Keypair::ed25519_from_bytes([7; 32]).unwrap();
        let peer = PeerId::from(key_pair.public());
        let key = key_pair.public().try_into_ed25519().unwrap().to_bytes();

        assert_eq!(peer_id(&DeviceId(key)), peer);
        assert_eq!(device_id(&peer), Some(DeviceId(key)));
        assert!(peer.to_string().starts_with("12D3Koo"));
        assert_eq!(parse_peer_id(&format!(" {peer}\n")), Some(DeviceId(key)));
    }

    #[test]
    fn a_peer_id_that_is_not_an_ed25519_key_is_no_device() {
        let hashed = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
        assert_eq!(parse_peer_id(hashed), None);
        assert_eq!(device_id(&PeerId::random()), None);
        assert_eq!(parse_peer_id(""), None);
    }
}
