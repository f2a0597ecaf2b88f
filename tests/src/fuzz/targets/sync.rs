//! Sync messages, read alone and by a session under way.

use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::{Key, Record};
use kinsync_protocol::session::Session;
use kinsync_protocol::stamp::{Ancestry, Hlc, Stamp, UnixMillis};
use kinsync_protocol::wire::frame::{Frame, Push, Refusal, Request, Response};

use crate::fuzz::Target;
use crate::model::Model;

pub(super) const TARGETS: [Target; 3] = [
    Target { name: "sync_request", seeds: requests, run: read_request, cost: 1 },
    Target { name: "sync_response", seeds: responses, run: read_response, cost: 1 },
    Target { name: "sync_session", seeds: requests, run: answer_session, cost: 1 },
];

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

const LAPTOP: DeviceId = DeviceId([1; 32]);
const PHONE: DeviceId = DeviceId([2; 32]);
const SESSION: u64 = 7;
const NONCE: [u8; 8] = [8; 8];
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

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
        Record::new(key, value.map(<[u8]>::to_vec), stamp, seen)
    };
    let push = Push {
        domain: DomainId::of("messages"),
        epoch: 3,
        previous: 1,
        seq: 2,
        records: vec![record("a", Some(b"hi")), record("b", None)],
        served: vec![LAPTOP.tag()],
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
