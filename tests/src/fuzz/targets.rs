//! The readers of bytes from outside, with valid inputs for each.
//!
//! The rule that all share: what is read can be written and is then read as the same thing.

use kinsync_protocol::code::{Code, Nameplate};
use kinsync_protocol::id::{DeviceId, DomainId, KeyHash};
use kinsync_protocol::record::{Key, Record};
use kinsync_protocol::snapshot::Cursor;
use kinsync_protocol::stamp::{Ancestry, Hlc, Stamp};
use kinsync_protocol::sums::Range;
use kinsync_protocol::ticket::Ticket;
use kinsync_protocol::wire::Bounded;
use kinsync_protocol::wire::frame::{
    ByteArray16, Delta, Done, Frame, Head, Hello, HelloCursor, HelloDomain, Leaf, Part, Push, RangePrints,
    Refusal, Request, Response,
};

use super::Target;

/// Every reader of bytes that come from outside.
pub const TARGETS: &[Target] = &[
    Target { name: "code", seeds: codes, run: read_code },
    Target { name: "sync_request", seeds: requests, run: read_request },
    Target { name: "sync_response", seeds: responses, run: read_response },
    Target { name: "ticket", seeds: tickets, run: read_ticket },
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

fn read_request(bytes: &[u8]) {
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
}

fn read_response(bytes: &[u8]) {
    if let Ok(response) = Response::decode(bytes) {
        assert_eq!(Response::decode(&response.encode()), Ok(response));
    }
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

const LAPTOP: DeviceId = DeviceId([1; 32]);
const PHONE: DeviceId = DeviceId([2; 32]);

fn codes() -> Vec<Vec<u8>> {
    ["KXNR-7842", "kxnr 7842", "K.X-N R7842", "8XNR-O842"].map(|text| text.as_bytes().to_vec()).to_vec()
}

fn tickets() -> Vec<Vec<u8>> {
    let ticket = |addresses| Ticket {
        code: Code::parse("KXNR-7842").expect("the code of the manual"),
        host: LAPTOP,
        addresses,
        expires_unix: 1_800_000_000,
    };
    let address = vec![4, 127, 0, 0, 1, 6, 30, 162];
    [vec![], vec![address.clone()], vec![address; 3]].map(|some| ticket(some).reveal().into_bytes()).to_vec()
}

fn record(key: &str, value: Option<&[u8]>) -> Record {
    let seen = Ancestry::from_entries(vec![(LAPTOP, Hlc(7))]);
    let key = Key::new(key).expect("a plain key");
    Record::new(key, value.map(<[u8]>::to_vec), Stamp { time: Hlc(9), device: PHONE }, seen)
}

fn frames() -> Vec<Frame> {
    let cursor = HelloCursor { epoch: 8, seq: 9, after: Some(Key::new("c12/0481").expect("a plain key")) };
    let state = |cursor| HelloDomain {
        domain: DomainId([5; 16]),
        print: ByteArray16::new([6; 16]),
        items: 2,
        epoch: 3,
        head: 4,
        cursor,
    };
    let hello = Hello {
        nonce: [0; 8],
        compare: false,
        domains: Bounded::truncating(vec![state(Some(cursor)), state(None)]),
    };
    let head = Head {
        key: KeyHash([0x33; 16]),
        stamp: Stamp { time: Hlc(9), device: LAPTOP },
        deleted: false,
        value: [7; 8],
    };
    let part = Part {
        domain: 1,
        records: vec![record("a", Some(b"{\"name\":\"Harbour pilot\"}")), record("b", None)],
        delta: Some(Delta { to: Cursor { epoch: 3, seq: 9, after: None }, heads: vec![head; 2] }),
        want: vec![KeyHash([0x44; 16])],
        ranges: vec![RangePrints { range: Range { bits: 8, prefix: 3 }, prints: vec![[9; 4]; 16] }],
        leaves: vec![Leaf { range: Range::ALL, heads: vec![head] }],
        done: Some(Done { print: ByteArray16::new([6; 16]), epoch: 3, head: 4 }),
    };
    vec![
        Frame::default(),
        Frame { session: 1, hello: Some(hello.clone()), parts: vec![] },
        Frame { session: u64::MAX, hello: Some(hello), parts: vec![part.clone()] },
        Frame { session: 2, hello: None, parts: vec![part.clone(), part] },
    ]
}

fn requests() -> Vec<Vec<u8>> {
    let push = Push {
        domain: DomainId([5; 16]),
        epoch: 3,
        previous: 1,
        seq: 2,
        records: vec![record("a", Some(b"hi")), record("b", None)],
    };
    let exchanges = frames().into_iter().map(Request::Exchange);
    exchanges.chain([Request::Push(push)]).map(|request| request.encode()).collect()
}

fn responses() -> Vec<Vec<u8>> {
    let others = [
        Response::Pushed { in_order: true },
        Response::Refuse(Refusal::Busy),
        Response::Refuse(Refusal::NoStore),
    ];
    let exchanges = frames().into_iter().map(Response::Exchange);
    exchanges.chain(others).map(|response| response.encode()).collect()
}

/// A seed that no longer reads would leave its target untested.
#[test]
fn seeds_are_valid_inputs() {
    assert!(requests().iter().all(|bytes| Request::decode(bytes).is_ok()));
    assert!(responses().iter().all(|bytes| Response::decode(bytes).is_ok()));
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).expect("we wrote text");
    assert!(codes().iter().all(|bytes| Code::parse(&text(bytes)).is_ok()));
    assert!(tickets().iter().all(|bytes| Ticket::parse(&text(bytes)).is_ok()));
}
