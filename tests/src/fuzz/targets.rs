//! The readers of bytes from outside, with valid inputs for each.
//!
//! The rule that all share: what is read can be written and is then read as the same thing.

use kinsync_protocol::code::{Code, Nameplate};
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::Key;
use kinsync_protocol::session::Session;
use kinsync_protocol::stamp::{Ancestry, Hlc, Stamp, UnixMillis};
use kinsync_protocol::ticket::Ticket;
use kinsync_protocol::wire::frame::{Frame, Push, Refusal, Request, Response};

use super::Target;
use crate::model::Model;

/// Every reader of bytes that come from outside.
pub const TARGETS: &[Target] = &[
    Target { name: "code", seeds: codes, run: read_code },
    Target { name: "sync_request", seeds: requests, run: read_request },
    Target { name: "sync_response", seeds: responses, run: read_response },
    Target { name: "sync_session", seeds: requests, run: answer_session },
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

/// Hands a frame to a session as its opening, and to one that is under way.
fn answer_session(bytes: &[u8]) {
    let Ok(Request::Exchange(frame)) = Request::decode(bytes) else {
        return;
    };
    let opened = Session::respond(PHONE, &frame);
    if let Ok(session) = opened {
        let _ = answer(session, frame.clone(), &mut laptop());
    }
    let mut laptop = laptop();
    let hello =
        Session::initiate(LAPTOP, SESSION, NONCE, false).open(&phone()).expect("memory does not fail");
    let mut session = Session::respond(PHONE, &hello).expect("a valid opening");
    session = answer(session, hello, &mut laptop).expect("a valid opening");
    let _ = answer(session, Frame { session: SESSION, ..frame }, &mut laptop);
}

/// Takes one frame and answers it; `None` if the peer broke the protocol.
fn answer(mut session: Session, frame: Frame, store: &mut Model) -> Option<Session> {
    let peer = session.peer();
    let batches = session.take(frame, store).ok()?;
    store.apply(peer, batches, NOW);
    let step = session.step(store).ok()?;
    store.apply(peer, step.cursors, NOW);
    step.frame.map(|_| session)
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
const SESSION: u64 = 7;
const NONCE: [u8; 8] = [8; 8];
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

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

fn write(store: &mut Model, domain: &str, key: &str, value: Option<&str>) {
    let key = Key::new(key).expect("a plain key");
    store.write(DomainId::of(domain), key, value.map(|text| text.as_bytes().to_vec()), NOW);
}

/// A store with two domains, edits and a deletion.
fn laptop() -> Model {
    let mut store = Model::new(LAPTOP, 11);
    for n in 0..8 {
        write(&mut store, "messages", &format!("c12/{n:04}"), Some("{\"text\":\"hello\"}"));
    }
    write(&mut store, "characters", "pilot", Some("{\"name\":\"Harbour pilot\"}"));
    write(&mut store, "characters", "pilot", None);
    store
}

/// A store that shares one domain with [`laptop`] and has one of its own.
fn phone() -> Model {
    let mut store = Model::new(PHONE, 22);
    for n in 4..12 {
        write(&mut store, "messages", &format!("c12/{n:04}"), Some("{\"text\":\"from the phone\"}"));
    }
    write(&mut store, "presets", "calm", Some("{\"temperature\":0.2}"));
    store
}

/// Every frame of a session between `initiator` and `responder`, as asked and as answered.
fn session(initiator: &mut Model, responder: &mut Model) -> (Vec<Frame>, Vec<Frame>) {
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    let mut ours = Session::initiate(responder.device, SESSION, NONCE, false);
    let mut next = Some(ours.open(initiator).expect("memory does not fail"));
    let mut theirs = None;
    while let Some(frame) = next {
        asked.push(frame.clone());
        let theirs =
            theirs.get_or_insert_with(|| Session::respond(initiator.device, &frame).expect("an opening"));
        let reply = advance(theirs, frame, responder).expect("a responder answers");
        answered.push(reply.clone());
        next = advance(&mut ours, reply, initiator);
    }
    (asked, answered)
}

fn advance(session: &mut Session, frame: Frame, store: &mut Model) -> Option<Frame> {
    let batches = session.take(frame, store).expect("both sides keep to the protocol");
    store.apply(session.peer(), batches, NOW);
    let step = session.step(store).expect("memory does not fail");
    store.apply(session.peer(), step.cursors, NOW);
    step.frame
}

/// The frames of a first sync, of one after an edit, and of one after both sides lost their cursors.
fn frames() -> (Vec<Frame>, Vec<Frame>) {
    let (mut laptop, mut phone) = (laptop(), phone());
    let (mut asked, mut answered) = session(&mut phone, &mut laptop);
    let mut more = |initiator: &mut Model, responder: &mut Model| {
        let (ask, answer) = session(initiator, responder);
        asked.extend(ask);
        answered.extend(answer);
    };
    write(&mut laptop, "messages", "c12/0002", Some("{\"text\":\"edited\"}"));
    write(&mut phone, "messages", "c12/0003", None);
    more(&mut laptop, &mut phone);
    more(&mut self::laptop(), &mut phone);
    (asked, answered)
}

fn requests() -> Vec<Vec<u8>> {
    let record = |key: &str, value: Option<&[u8]>| {
        let seen = Ancestry::from_entries(vec![(LAPTOP, Hlc(7))]);
        let key = Key::new(key).expect("a plain key");
        let stamp = Stamp { time: Hlc(9), device: PHONE };
        kinsync_protocol::record::Record::new(key, value.map(<[u8]>::to_vec), stamp, seen)
    };
    let push = Push {
        domain: DomainId::of("messages"),
        epoch: 3,
        previous: 1,
        seq: 2,
        records: vec![record("a", Some(b"hi")), record("b", None)],
    };
    let exchanges = frames().0.into_iter().map(Request::Exchange);
    exchanges.chain([Request::Push(push)]).map(|request| request.encode()).collect()
}

fn responses() -> Vec<Vec<u8>> {
    let others = [
        Response::Pushed { in_order: true },
        Response::Refuse(Refusal::Busy),
        Response::Refuse(Refusal::NoStore),
    ];
    let exchanges = frames().1.into_iter().map(Response::Exchange);
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

/// The seeds show every kind of thing that a frame can say.
#[test]
fn the_seeds_say_everything_that_a_frame_can_say() {
    let (asked, answered) = frames();
    let parts = || asked.iter().chain(&answered).flat_map(|frame| &frame.parts);
    assert!(parts().any(|part| !part.records.is_empty()));
    assert!(parts().any(|part| part.delta.is_some()));
    assert!(parts().any(|part| part.done.is_some()));
    assert!(parts().any(|part| !part.ranges.is_empty() || !part.leaves.is_empty()));
}
