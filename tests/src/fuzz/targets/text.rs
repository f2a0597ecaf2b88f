//! What a person types or a camera reads.

use kinsync_protocol::code::{Code, Nameplate};
use kinsync_protocol::id::DeviceId;
use kinsync_protocol::ticket::Ticket;

use crate::fuzz::Target;

pub(super) const TARGETS: [Target; 2] = [
    Target { name: "code", seeds: codes, run: read_code, cost: 1 },
    Target { name: "ticket", seeds: tickets, run: read_ticket, cost: 1 },
];

fn read_code(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(code) = Code::parse(&text) {
        let again = Code::parse(&code.reveal()).expect("what we show can be typed");
        assert_eq!(again.reveal(), code.reveal());
        let nameplate = &code.reveal()[..2];
        assert_eq!(Nameplate::parse(nameplate), Some(code.nameplate()));
    }
    let _ = Nameplate::parse(&text);
}

fn read_ticket(bytes: &[u8]) {
    let Ok(ticket) = Ticket::parse(&String::from_utf8_lossy(bytes)) else {
        return;
    };
    let again = Ticket::parse(&ticket.reveal()).expect("what we show can be scanned");
    assert_eq!(again.code.reveal(), ticket.code.reveal());
    assert_eq!((again.host, again.expires_unix), (ticket.host, ticket.expires_unix));
    assert_eq!(again.addresses, ticket.addresses);
}

fn codes() -> Vec<Vec<u8>> {
    ["KXNR-7842", "kxnr 7842", "K.X-N R7842", "8XNR-O842"].map(|text| text.as_bytes().to_vec()).to_vec()
}

fn tickets() -> Vec<Vec<u8>> {
    let ticket = |addresses| Ticket {
        code: Code::parse("KXNR-7842").expect("the code of the manual"),
        host: DeviceId([1; 32]),
        addresses,
        expires_unix: 1_800_000_000,
    };
    let address = vec![4, 127, 0, 0, 1, 6, 30, 162];
    [vec![], vec![address.clone()], vec![address; 3]].map(|some| ticket(some).reveal().into_bytes()).to_vec()
}

#[test]
fn seeds_are_valid_inputs() {
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).expect("we wrote text");
    assert!(codes().iter().all(|bytes| Code::parse(&text(bytes)).is_ok()));
    assert!(tickets().iter().all(|bytes| Ticket::parse(&text(bytes)).is_ok()));
}
