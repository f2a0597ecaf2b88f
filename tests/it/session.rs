//! Sync sessions between two stores in memory, message by message.

use kinsync_protocol::fault::PeerFault;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::limits::{FRAME_BYTES_MAX, VALUE_BYTES_MAX};
use kinsync_protocol::record::Key;
use kinsync_protocol::session::{Outcome, Session, SessionError};
use kinsync_protocol::snapshot::{Batch, Snapshot};
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::wire::frame::{Frame, Request, Response};
use kinsync_tests::model::Model;

const LAPTOP: DeviceId = DeviceId([1; 32]);
const PHONE: DeviceId = DeviceId([2; 32]);

fn messages() -> DomainId {
    DomainId::of("messages")
}

fn key(n: usize) -> Key {
    Key::new(format!("chat/{n:06}")).unwrap()
}

fn value(n: usize) -> Option<Vec<u8>> {
    Some(format!("message {n} {}", "x".repeat(250)).into_bytes())
}

/// What a session cost.
#[derive(Debug, Default)]
struct Cost {
    bytes: usize,
    round_trips: usize,
    outcome: Outcome,
}

/// Runs a session to its end, every frame through its encoding.
fn sync(laptop: &mut Model, phone: &mut Model, compare: bool) -> Cost {
    sync_while(laptop, phone, compare, |_, _, _| ())
}

/// The same, while something happens each time that a request is under way.
fn sync_while(
    laptop: &mut Model,
    phone: &mut Model,
    compare: bool,
    meanwhile: impl FnMut(usize, &mut Model, &mut Model),
) -> Cost {
    run(laptop, phone, compare, false, meanwhile)
}

/// What a session gives its store, at once or as late as it may be.
#[derive(Default)]
struct Late(Vec<Batch>);

impl Late {
    fn take(&mut self, session: &mut Session, frame: Frame, store: &mut Model, late: bool) {
        store.apply(session.peer(), std::mem::take(&mut self.0), UnixMillis(0));
        let batches = session.take(frame, store).unwrap();
        if late && session.goes_on() {
            self.0 = batches;
        } else {
            store.apply(session.peer(), batches, UnixMillis(0));
        }
    }
}

fn run(
    laptop: &mut Model,
    phone: &mut Model,
    compare: bool,
    late: bool,
    mut meanwhile: impl FnMut(usize, &mut Model, &mut Model),
) -> Cost {
    let (mut to_laptop, mut to_phone) = (Late::default(), Late::default());
    let mut cost = Cost::default();
    let mut initiator = Session::initiate(phone.device, 1, [7; 8], compare);
    let mut frame = initiator.open(laptop).unwrap();
    let mut responder = None;
    loop {
        let bytes = Request::Exchange(frame).encode();
        assert!(bytes.len() <= FRAME_BYTES_MAX);
        cost.bytes += bytes.len();
        cost.round_trips += 1;
        assert!(cost.round_trips < 1_000, "a session without end");
        meanwhile(cost.round_trips, laptop, phone);
        let Ok(Request::Exchange(received)) = Request::decode(&bytes) else { panic!("not an exchange") };
        let responder = responder
            .get_or_insert_with(|| Session::respond(laptop.device, &received).expect("a Hello first"));
        to_phone.take(responder, received, phone, late);
        let step = responder.step(phone).unwrap();
        phone.apply(laptop.device, step.cursors, UnixMillis(0));
        let bytes = Response::Exchange(step.frame.expect("a responder answers")).encode();
        assert!(bytes.len() <= FRAME_BYTES_MAX);
        cost.bytes += bytes.len();
        let Ok(Response::Exchange(received)) = Response::decode(&bytes) else { panic!("not an exchange") };
        to_laptop.take(&mut initiator, received, laptop, late);
        let step = initiator.step(laptop).unwrap();
        laptop.apply(phone.device, step.cursors, UnixMillis(0));
        match step.frame {
            Some(next) => frame = next,
            None => break,
        }
    }
    assert!(to_laptop.0.is_empty() && to_phone.0.is_empty(), "a session ends with everything committed");
    cost.outcome = initiator.outcome();
    if !compare {
        assert_eq!(responder.expect("one exchange").outcome().is_equal(), cost.outcome.is_equal());
    }
    cost
}

fn pair(records: usize) -> (Model, Model) {
    let mut laptop = Model::new(LAPTOP, 11);
    for n in 0..records {
        laptop.write(messages(), key(n), value(n), UnixMillis(1_000));
    }
    (laptop, Model::new(PHONE, 22))
}

fn assert_equal(laptop: &Model, phone: &Model) {
    assert_eq!(laptop.contents(messages()), phone.contents(messages()));
}

fn synced(records: usize) -> (Model, Model) {
    let (mut laptop, mut phone) = pair(records);
    sync(&mut laptop, &mut phone, false);
    let settle = sync(&mut laptop, &mut phone, false);
    assert!(settle.outcome.is_equal());
    (laptop, phone)
}

#[test]
fn a_first_sync_copies_everything_either_way() {
    let (mut laptop, mut phone) = pair(3_000);
    let cost = sync(&mut laptop, &mut phone, false);
    assert!(cost.outcome.is_equal(), "{cost:?}");
    assert_equal(&laptop, &phone);
    let (mut laptop, mut phone) = pair(3_000);
    assert!(sync(&mut phone, &mut laptop, false).outcome.is_equal());
    assert_equal(&laptop, &phone);
}

/// A store may be a frame behind while the other side has more to say: the same
/// travels, both ways and from either side.
#[test]
fn a_store_that_is_a_frame_behind_costs_nothing() {
    for copy in [true, false] {
        for turned in [true, false] {
            let cost = |late| {
                let (mut laptop, mut phone) = if copy { pair(20_000) } else { synced(20_000) };
                for n in 0..if copy { 0 } else { 9_000 } {
                    laptop.write(messages(), key(n * 2), value(n + 1), UnixMillis(2_000));
                    phone.write(messages(), key(n * 2 + 1), value(n + 2), UnixMillis(2_000));
                }
                let (first, second) =
                    if turned { (&mut phone, &mut laptop) } else { (&mut laptop, &mut phone) };
                let cost = run(first, second, false, late, |_, _, _| ());
                assert!(cost.outcome.is_equal(), "{cost:?}");
                assert_equal(&laptop, &phone);
                (cost.round_trips, cost.bytes)
            };
            let (at_once, late) = (cost(false), cost(true));
            assert!(at_once.0 > 3, "a session of one frame shows nothing");
            assert_eq!(late.0, at_once.0, "{copy} {turned}");
            // The old roots that a step ahead tells may have shorter numbers.
            assert!(late.1.abs_diff(at_once.1) < 100, "{copy} {turned}: {late:?} {at_once:?}");
        }
    }
}

/// P25: what did not change costs one round trip, however much there is.
#[test]
fn equal_stores_cost_one_round_trip_and_a_hundred_bytes_each_way() {
    let (mut laptop, mut phone) = synced(2_000);
    let cost = sync(&mut laptop, &mut phone, false);
    assert_eq!(cost.round_trips, 1);
    assert!(cost.bytes <= 200, "{} bytes", cost.bytes);
    assert_eq!(cost.outcome.received + cost.outcome.sent, 0);
}

/// P22: one edit among 5,000 messages costs about itself.
#[test]
fn one_edit_among_five_thousand_costs_about_itself() {
    let (mut laptop, mut phone) = synced(5_000);
    laptop.write(messages(), key(2_500), value(99), UnixMillis(2_000));
    let cost = sync(&mut laptop, &mut phone, false);
    assert_equal(&laptop, &phone);
    assert!(cost.bytes < 1_024, "{} bytes", cost.bytes);
    assert!(cost.round_trips <= 2, "{} round trips", cost.round_trips);
}

/// P25: a hundred changes on either side travel by the cursors.
#[test]
fn changes_on_both_sides_cost_themselves() {
    let (mut laptop, mut phone) = synced(5_000);
    for n in 0..100 {
        laptop.write(messages(), key(n * 7), value(n), UnixMillis(2_000));
        phone.write(messages(), key(n * 7 + 1), value(n), UnixMillis(2_000));
    }
    let cost = sync(&mut laptop, &mut phone, false);
    assert!(cost.outcome.is_equal());
    assert_equal(&laptop, &phone);
    let payload = 200 * (value(10).unwrap().len() + key(0).as_str().len());
    assert!(cost.bytes < payload + 200 * 40, "{} bytes for {payload}", cost.bytes);
    assert!(cost.round_trips <= 2, "{} round trips", cost.round_trips);
}

/// F10: without any cursor, ranges find what differs.
#[test]
fn a_lost_cursor_is_repaired_by_ranges() {
    let (mut laptop, mut phone) = synced(5_000);
    for n in 0..100 {
        laptop.write(messages(), key(n * 13), value(n), UnixMillis(2_000));
        phone.write(messages(), key(n * 13 + 1), value(n), UnixMillis(2_000));
    }
    laptop.cursors.clear();
    phone.cursors.clear();
    let cost = sync(&mut laptop, &mut phone, false);
    assert!(cost.outcome.is_equal(), "{:?}", cost.outcome);
    assert_equal(&laptop, &phone);
    assert_eq!(cost.outcome.sent + cost.outcome.received, 200);
    assert!(cost.round_trips <= 6, "{} round trips", cost.round_trips);
    assert!(cost.bytes < 200 * (280 + 300), "{} bytes", cost.bytes);
}

/// P23: a tombstone travels, also to a device that holds nothing.
#[test]
fn deletions_travel() {
    let (mut laptop, mut phone) = synced(50);
    laptop.write(messages(), key(7), None, UnixMillis(2_000));
    sync(&mut laptop, &mut phone, false);
    assert_eq!(phone.value(messages(), &key(7)), None);
    let mut desktop = Model::new(DeviceId([3; 32]), 33);
    assert!(sync(&mut laptop, &mut desktop, false).outcome.is_equal());
    assert_equal(&laptop, &desktop);
}

/// F17: a store put back from a backup fetches what it lost, its own writes
/// included.
#[test]
fn a_restored_backup_catches_up() {
    let (mut laptop, mut phone) = synced(200);
    let backup = laptop.clone();
    for n in 0..50 {
        laptop.write(messages(), key(n), value(n + 1), UnixMillis(3_000));
    }
    sync(&mut laptop, &mut phone, false);
    let lost = laptop;
    laptop = Model { epoch: 12, ..backup };
    laptop.write(messages(), key(199), value(1), UnixMillis(4_000));
    assert!(sync(&mut laptop, &mut phone, false).outcome.is_equal());
    assert_equal(&laptop, &phone);
    let kept = phone.contents(messages());
    assert!((0..50).all(|n| kept.get(&key(n)) == lost.contents(messages()).get(&key(n))));
}

/// P20 D8: edits of different records both survive; of the same record one
/// wins, and the loser is kept.
#[test]
fn the_loser_of_a_conflict_is_kept() {
    let (mut laptop, mut phone) = synced(10);
    laptop.write(messages(), key(1), Some(b"laptop".to_vec()), UnixMillis(5_000));
    phone.write(messages(), key(1), Some(b"phone".to_vec()), UnixMillis(6_000));
    phone.write(messages(), key(2), Some(b"other".to_vec()), UnixMillis(6_000));
    sync(&mut laptop, &mut phone, false);
    assert_equal(&laptop, &phone);
    assert_eq!(laptop.value(messages(), &key(1)), Some(&b"phone"[..]));
    let kept = laptop.history.get(&(messages(), key(1))).expect("a loser");
    let last = kept.last().expect("a loser");
    assert_eq!((last.record.value.as_deref(), last.conflict), (Some(&b"laptop"[..]), true));
}

#[test]
fn the_largest_values_fit_into_frames() {
    let (mut laptop, mut phone) = pair(0);
    for n in 0..4 {
        laptop.write(messages(), key(n), Some(vec![7; VALUE_BYTES_MAX]), UnixMillis(1));
    }
    assert!(sync(&mut laptop, &mut phone, false).outcome.is_equal());
    for n in 0..4 {
        laptop.write(messages(), key(n), Some(vec![8; VALUE_BYTES_MAX - n]), UnixMillis(2));
    }
    assert!(sync(&mut laptop, &mut phone, false).outcome.is_equal());
    assert_equal(&laptop, &phone);
}

/// D3: comparing changes nothing and sends no record.
#[test]
fn comparing_sends_nothing() {
    let (mut laptop, mut phone) = synced(100);
    assert!(sync(&mut laptop, &mut phone, true).outcome.is_equal());
    laptop.write(messages(), key(1), value(7), UnixMillis(9_000));
    let cost = sync(&mut laptop, &mut phone, true);
    assert!(!cost.outcome.is_equal());
    assert!(cost.bytes < 250 && cost.round_trips == 1, "{cost:?}");
}

#[test]
fn an_interrupted_copy_goes_on_where_it_stopped() {
    let (mut laptop, mut phone) = pair(8_000);
    let mut initiator = Session::initiate(PHONE, 1, [7; 8], false);
    let opening = initiator.open(&laptop).unwrap();
    let mut responder = Session::respond(LAPTOP, &opening).unwrap();
    let batches = responder.take(opening, &phone).unwrap();
    phone.apply(LAPTOP, batches, UnixMillis(0));
    let answer = responder.step(&phone).unwrap().frame.unwrap();
    initiator.take(answer, &laptop).unwrap();
    let first = initiator.step(&laptop).unwrap().frame.unwrap();
    let batches = responder.take(first, &phone).unwrap();
    phone.apply(LAPTOP, batches, UnixMillis(0));
    let before = phone.root(messages()).unwrap().live;
    assert!(before > 500 && before < 8_000, "{before} records in one frame");
    let cost = sync(&mut laptop, &mut phone, false);
    assert!(cost.outcome.is_equal());
    assert_eq!(cost.outcome.sent, 8_000 - before);
}

/// F14: a frame that has no room for the first record of a domain says nothing
/// of it, so that a copy cut off there begins anew.
#[test]
fn a_copy_that_has_not_begun_leaves_no_cursor() {
    let domains = [messages(), DomainId::of("settings")];
    let (mut laptop, mut phone) = pair(0);
    for domain in domains {
        laptop.write(domain, key(0), Some(vec![7; 300 << 10]), UnixMillis(1));
        laptop.write(domain, key(1), value(1), UnixMillis(1));
    }
    let mut initiator = Session::initiate(PHONE, 1, [7; 8], false);
    let opening = initiator.open(&laptop).unwrap();
    let mut responder = Session::respond(LAPTOP, &opening).unwrap();
    responder.take(opening, &phone).unwrap();
    let answer = responder.step(&phone).unwrap().frame.unwrap();
    initiator.take(answer, &laptop).unwrap();
    let first = initiator.step(&laptop).unwrap().frame.unwrap();
    let batches = responder.take(first, &phone).unwrap();
    phone.apply(LAPTOP, batches, UnixMillis(0));
    let begun = domains.map(|domain| phone.root(domain).unwrap().live > 0);
    assert!(begun[0] != begun[1], "one of two first records fits");
    for (domain, begun) in domains.into_iter().zip(begun) {
        assert_eq!(phone.cursor(LAPTOP, domain).unwrap().is_some(), begun);
    }
    assert!(sync(&mut laptop, &mut phone, false).outcome.is_equal());
}

/// F14: writes made while a session runs are not lost to it.
#[test]
fn two_busy_devices_meet() {
    let (mut laptop, mut phone) = synced(100);
    for round in 0..20 {
        laptop.write(messages(), key(round), value(round + 5), UnixMillis(round as u64 * 10));
        phone.write(messages(), key(round + 1), value(round + 6), UnixMillis(round as u64 * 10));
        let cost = sync(&mut phone, &mut laptop, false);
        assert!(cost.outcome.is_equal(), "round {round}");
        assert_equal(&laptop, &phone);
    }
}

/// F14: the other side has said that all is equal when a write comes in
/// between, and has no cursor from which the log could be followed.
#[test]
fn a_write_while_the_hello_travels_arrives_in_the_same_session() {
    for (writes, domains) in [(1, 1), (2, 2), (3, 1)] {
        let (mut laptop, mut phone) = synced(20);
        laptop.cursors.clear();
        phone.cursors.clear();
        let cost = sync_while(&mut laptop, &mut phone, false, |round, laptop, phone| {
            if round <= writes {
                laptop.write(messages(), key(round), value(round + 50), UnixMillis(5_000));
            }
            if domains == 2 && round == 1 {
                phone.write(DomainId::of("settings"), key(round), value(1), UnixMillis(5_000));
            }
        });
        assert!(cost.outcome.is_equal(), "{writes} writes: {cost:?}");
        assert!(cost.round_trips <= 12, "{writes} writes: {cost:?}");
        assert_equal(&laptop, &phone);
    }
}

#[test]
fn frames_out_of_turn_are_faults() {
    let (laptop, phone) = pair(3);
    let mut initiator = Session::initiate(PHONE, 1, [7; 8], false);
    let opening = initiator.open(&laptop).unwrap();
    let stray = Frame { session: 2, ..Frame::default() };
    let fault = initiator.take(stray, &laptop).unwrap_err();
    assert!(matches!(fault, SessionError::Peer(PeerFault::Unexpected { .. })));
    assert!(Session::respond(LAPTOP, &Frame::default()).is_err());
    let mut responder = Session::respond(LAPTOP, &opening).unwrap();
    responder.take(opening.clone(), &phone).unwrap();
    responder.step(&phone).unwrap();
    let again = responder.take(opening, &phone).unwrap_err();
    assert!(matches!(again, SessionError::Peer(PeerFault::Unexpected { .. })));
}
