//! Passes and pushes between two real stores, without a network.

use std::path::Path;
use std::time::Duration;

use assert_matches::assert_matches;
use kinsync_protocol::card::Card;
use kinsync_protocol::pairing::Paired;
use kinsync_protocol::record::Key;
use kinsync_protocol::rights::Rights;
use kinsync_protocol::trust::statement::Reason;
use kinsync_protocol::trust::{Changes, Introduced, Role};
use kinsync_store::{Options, Sharing};

use super::*;

const LAPTOP: DeviceId = DeviceId([1; 32]);
const PHONE: DeviceId = DeviceId([2; 32]);
const NOW: UnixMillis = UnixMillis(1_000_000);

struct Device {
    store: Store,
    sessions: Sessions,
}

fn device(dir: &Path, me: DeviceId, other: DeviceId) -> Device {
    device_sharing(dir, me, other, None)
}

/// A device that shares these domains with the other one; without, all.
fn device_sharing(dir: &Path, me: DeviceId, other: DeviceId, domains: Option<&[&str]>) -> Device {
    let name = format!("{}.redb", me.short());
    let options = Options { ballast_bytes: 0, ..Options::new(me, u64::from(me.0[0])) };
    let store = Store::open(dir.join(name), options).unwrap();
    let paired = Paired {
        device: other,
        card: Card::default(),
        role: Role::Guest,
        domains: domains.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
        once_seconds: 0,
        ours: None,
        theirs: None,
    };
    let trust =
        Job::change_view(move |view| view.pair(&paired, NOW, Duration::ZERO).map(|changes| (changes, ())));
    store.write(trust).unwrap().unwrap();
    Device { store, sessions: Sessions::default() }
}

fn pair(dir: &Path) -> (Device, Device) {
    (device(dir, LAPTOP, PHONE), device(dir, PHONE, LAPTOP))
}

fn messages() -> DomainId {
    DomainId::of("messages")
}

fn put(device: &Device, key: &str, value: &str) {
    device.store.put(messages(), Key::new(key).unwrap(), value.into(), NOW).unwrap();
}

fn value(device: &Device, key: &str) -> Option<String> {
    let record = device.store.read(|s| s.get(messages(), &Key::new(key).unwrap())).unwrap();
    record.map(|record| String::from_utf8(record.value).unwrap())
}

/// A pass that `laptop` opens.
fn pass(laptop: &Device, phone: &Device, compare: bool) -> Outcome {
    let (mut session, mut frame) = open(&laptop.store, PHONE, 7, [9; 8], compare).unwrap();
    loop {
        let answered = answer(&phone.store, &phone.sessions, LAPTOP, &frame, NOW);
        match advance(&laptop.store, &laptop.sessions, session, &answered.response, NOW).unwrap() {
            Advance::Next(next, bytes) => (session, frame) = (next, bytes),
            Advance::Ended(outcome) => return outcome,
        }
    }
}

fn push_to(from: &Device, to: DeviceId, domain: DomainId, acked: u64) -> Result<Pushing, PassError> {
    let news = News { domain, acked, after: acked, beside: Vec::new() };
    push(&from.store, &from.sessions, to, &news)
}

fn head_of(outcome: &Outcome) -> u64 {
    let domain = outcome.domains.iter().find(|domain| domain.domain == messages()).unwrap();
    domain.equal_at.unwrap()
}

/// P14 P20: one pass brings both sides to the same, pull before push.
#[test]
fn a_pass_makes_two_stores_equal() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = pair(dir.path());
    put(&laptop, "a", "from the laptop");
    put(&phone, "b", "from the phone");
    assert!(!pass(&laptop, &phone, true).is_equal());
    let outcome = pass(&laptop, &phone, false);
    assert!(outcome.is_equal());
    assert_eq!((outcome.received, outcome.sent), (1, 1));
    assert_eq!(value(&laptop, "b").as_deref(), Some("from the phone"));
    assert_eq!(value(&phone, "a").as_deref(), Some("from the laptop"));
    assert!(pass(&laptop, &phone, true).is_equal());
}

/// D6 F14: clocks that are set again and again while a pass runs change nothing
/// of what it comes to, and an edit made after it wins all the same.
#[test]
fn clocks_that_jump_in_the_middle_of_a_pass_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = pair(dir.path());
    let year = 365 * 86_400_000;
    let mut walls = [NOW.0, 0, NOW.0 + year, u64::MAX, 1, NOW.0 + 1].into_iter().cycle().map(UnixMillis);
    let mut wall = || walls.next().unwrap();
    let many = |name: &str| {
        let key = |n: usize| Key::new(format!("{name}/{n}")).unwrap();
        (0..400).map(|n| (key(n), vec![b'x'; 4_000])).collect()
    };
    laptop.store.put_many(messages(), many("laptop"), wall()).unwrap();
    phone.store.put_many(messages(), many("phone"), wall()).unwrap();
    let (mut session, mut frame) = open(&laptop.store, PHONE, 7, [9; 8], false).unwrap();
    let mut steps = 0;
    let outcome = loop {
        steps += 1;
        phone.store.put(messages(), Key::new("meanwhile").unwrap(), vec![b'0' + steps], wall()).unwrap();
        let answered = answer(&phone.store, &phone.sessions, LAPTOP, &frame, wall());
        match advance(&laptop.store, &laptop.sessions, session, &answered.response, wall()).unwrap() {
            Advance::Next(next, bytes) if steps < 40 => (session, frame) = (next, bytes),
            Advance::Next(next, _) => break next.outcome(),
            Advance::Ended(outcome) => break outcome,
        }
    };
    assert!(steps > 3 && outcome.received >= 400 && outcome.sent == 400, "{steps} steps: {outcome:?}");
    assert!(pass(&laptop, &phone, false).is_equal());
    assert_eq!(value(&laptop, "meanwhile"), value(&phone, "meanwhile"));
    put(&laptop, "meanwhile", "after");
    assert!(pass(&laptop, &phone, false).is_equal());
    assert_eq!(value(&phone, "meanwhile").as_deref(), Some("after"));
}

/// P22: a change after a pass goes by a push, and the push counts as taken in.
#[test]
fn a_push_follows_on_a_pass() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = pair(dir.path());
    put(&laptop, "a", "one");
    let acked = head_of(&pass(&laptop, &phone, false));
    assert_eq!(push_to(&laptop, PHONE, messages(), acked).unwrap(), Pushing::Nothing(acked));
    put(&laptop, "a", "two");
    let Pushing::Send(bytes, seq) = push_to(&laptop, PHONE, messages(), acked).unwrap() else {
        panic!("nothing to push");
    };
    assert!(bytes.len() < 200, "{} bytes", bytes.len());
    let answered = answer(&phone.store, &phone.sessions, LAPTOP, &bytes, NOW);
    assert!(pushed(&answered.response).unwrap());
    assert_eq!(value(&phone, "a").as_deref(), Some("two"));
    assert_eq!(push_to(&laptop, PHONE, messages(), seq).unwrap(), Pushing::Nothing(seq));
    // The same push again is in order no more, and does no harm.
    let again = answer(&phone.store, &phone.sessions, LAPTOP, &bytes, NOW);
    assert!(!pushed(&again.response).unwrap());
    // What came from a device is not pushed back to it.
    let phone_head = phone.store.read(|s| s.root(messages())).unwrap().head;
    assert_eq!(push_to(&phone, LAPTOP, messages(), phone_head - 1).unwrap(), Pushing::Nothing(phone_head));
}

#[test]
fn too_much_for_a_push_goes_by_a_pass() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = pair(dir.path());
    put(&laptop, "a", "one");
    let acked = head_of(&pass(&laptop, &phone, false));
    let many = (0..=PUSH_ROWS_MAX).map(|n| (Key::new(format!("{n}")).unwrap(), b"x".to_vec())).collect();
    laptop.store.put_many(messages(), many, NOW).unwrap();
    assert_eq!(push_to(&laptop, PHONE, messages(), acked).unwrap(), Pushing::NeedsPass);
    assert!(pass(&laptop, &phone, false).is_equal());
    let acked = laptop.store.read(|s| s.root(messages())).unwrap().head;
    put(&laptop, "large", &"x".repeat(PUSH_BYTES_MAX + 1));
    assert_eq!(push_to(&laptop, PHONE, messages(), acked).unwrap(), Pushing::NeedsPass);
}

/// S9 S16: a device that is not trusted gets nothing in.
#[test]
fn records_of_a_device_that_is_not_trusted_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = pair(dir.path());
    put(&laptop, "a", "one");
    let shut_out = Job::change_view(|view| {
        let changes: Result<Changes, _> = view.revoke(LAPTOP, Introduced::Keep, Reason::None, NOW);
        changes.map(|changes| (changes, ()))
    });
    phone.store.write(shut_out).unwrap().unwrap();
    let (_, frame) = open(&laptop.store, PHONE, 7, [9; 8], false).unwrap();
    let answered = answer(&phone.store, &phone.sessions, LAPTOP, &frame, NOW);
    assert_eq!(Response::decode(&answered.response), Ok(Response::Refuse(Refusal::NotTrusted)));
    assert_eq!(value(&phone, "a"), None);
}

#[test]
fn a_peer_has_a_few_sessions_open_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = pair(dir.path());
    put(&laptop, "a", "one");
    for id in 0..=SESSIONS_PER_PEER_MAX as u64 {
        let (_, frame) = open(&laptop.store, PHONE, id, [9; 8], false).unwrap();
        assert!(answer(&phone.store, &phone.sessions, LAPTOP, &frame, NOW).error.is_none());
    }
    let step = |id| {
        let frame = Frame { session: id, ..Frame::default() };
        let frame = Request::Exchange(frame).encode();
        let answered = answer(&phone.store, &phone.sessions, LAPTOP, &frame, NOW);
        Response::decode(&answered.response).unwrap()
    };
    assert_eq!(step(0), Response::Refuse(Refusal::NoSession));
    assert!(matches!(step(1), Response::Exchange(_)));
    phone.sessions.forget(LAPTOP);
    assert_eq!(step(2), Response::Refuse(Refusal::NoSession));
}

#[test]
fn noise_is_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let (_, phone) = pair(dir.path());
    let answered = answer(&phone.store, &phone.sessions, LAPTOP, &[1, 2, 3], NOW);
    assert!(matches!(answered.error, Some(PassError::Peer(PeerFault::Unreadable(_)))));
    assert_eq!(Response::decode(&answered.response), Ok(Response::Refuse(Refusal::BadMessage)));
}

/// S9: what is not shared with a guest is not even named to it.
#[test]
fn a_guest_gets_the_domains_it_was_given_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = device(dir.path(), LAPTOP, PHONE);
    let phone = device_sharing(dir.path(), PHONE, LAPTOP, Some(&["messages"]));
    let secrets = DomainId::of("secrets");
    put(&phone, "a", "for everybody");
    phone.store.put(secrets, Key::new("s").unwrap(), b"for nobody".to_vec(), NOW).unwrap();
    let outcome = pass(&laptop, &phone, false);
    assert!(outcome.domains.iter().all(|domain| domain.domain == messages()), "{outcome:?}");
    assert_eq!(value(&laptop, "a").as_deref(), Some("for everybody"));
    phone.store.put(secrets, Key::new("t").unwrap(), b"for nobody".to_vec(), NOW).unwrap();
    assert_eq!(push_to(&phone, LAPTOP, secrets, 1).unwrap(), Pushing::Nothing(1));

    // A guest that names the domain itself is shown an empty one, and told why.
    laptop.store.put(secrets, Key::new("u").unwrap(), b"mine".to_vec(), NOW).unwrap();
    let (session, frame) = open(&laptop.store, PHONE, 8, [9; 8], false).unwrap();
    let answered = answer(&phone.store, &phone.sessions, LAPTOP, &frame, NOW);
    let Advance::Ended(outcome) =
        advance(&laptop.store, &laptop.sessions, session, &answered.response, NOW).unwrap()
    else {
        panic!("there is nothing to send");
    };
    let told = outcome.domains.iter().find(|domain| domain.domain == secrets).unwrap();
    assert!(told.theirs.is_none() && told.complete && told.their_records == 0, "{told:?}");
    assert_eq!(outcome.sent, 0);
    let records = |device: &Device| device.store.read(|snapshot| snapshot.root(secrets)).unwrap().live;
    assert_eq!((records(&laptop), records(&phone)), (1, 2));
}

/// D16: a session that began under other rights ends before another frame is
/// made of it, and a push that is not granted any more is not taken.
#[test]
fn rights_that_change_end_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = pair(dir.path());
    put(&laptop, "a", "one");
    let acked = head_of(&pass(&laptop, &phone, false));
    put(&laptop, "a", "two");
    let Pushing::Send(pushing, _) = push_to(&laptop, PHONE, messages(), acked).unwrap() else {
        panic!("nothing to push");
    };
    let (session, frame) = open(&laptop.store, PHONE, 8, [9; 8], false).unwrap();
    let answered = answer(&phone.store, &phone.sessions, LAPTOP, &frame, NOW);
    let Advance::Next(_, frame) =
        advance(&laptop.store, &laptop.sessions, session, &answered.response, NOW).unwrap()
    else {
        panic!("nothing to send");
    };
    let allow = |device: &Device, peer, rights| device.store.write(Job::allow(peer, rights)).unwrap();
    allow(&phone, LAPTOP, Rights { write: false, ..Rights::ALL });
    let refused = answer(&phone.store, &phone.sessions, LAPTOP, &frame, NOW);
    assert_eq!(Response::decode(&refused.response), Ok(Response::Refuse(Refusal::NoSession)));
    let answered = answer(&phone.store, &phone.sessions, LAPTOP, &pushing, NOW);
    assert!(!pushed(&answered.response).unwrap());
    assert_eq!(value(&phone, "a").as_deref(), Some("one"));
    let outcome = pass(&laptop, &phone, false);
    assert!(outcome.is_complete() && !outcome.is_equal(), "{outcome:?}");

    // The same on the side that opened it, before it says anything more.
    let (session, frame) = open(&laptop.store, PHONE, 9, [9; 8], false).unwrap();
    let answered = answer(&phone.store, &phone.sessions, LAPTOP, &frame, NOW);
    allow(&laptop, PHONE, Rights { read: false, ..Rights::ALL });
    let ended = advance(&laptop.store, &laptop.sessions, session, &answered.response, NOW);
    assert_matches!(ended, Err(PassError::GrantsChanged));
    assert_eq!(push_to(&laptop, PHONE, messages(), acked).unwrap(), Pushing::Nothing(acked));
}

/// D16: two reasons not to share a domain, of which only one was told, end no
/// session: one domain by name, and another that nobody has asked for.
#[test]
fn a_reason_that_was_not_told_ends_no_session() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = pair(dir.path());
    let secrets = DomainId::of("secrets");
    for device in [&laptop, &phone] {
        device.store.set_sharing([(secrets, Sharing::OptIn)].into());
    }
    let rights = Rights { domains: Some(["messages".to_owned()].into()), ..Rights::ALL };
    laptop.store.write(Job::allow(PHONE, rights)).unwrap();
    phone.store.put(secrets, Key::new("mine").unwrap(), vec![1], NOW).unwrap();
    put(&laptop, "a", "one");
    put(&phone, "b", "two");
    assert!(pass(&laptop, &phone, false).is_complete());
    assert_eq!(value(&phone, "a").as_deref(), Some("one"));
    assert_eq!(value(&laptop, "b").as_deref(), Some("two"));
}

/// What has to be asked for is not compressed: its length tells nobody how
/// alike it is to what else is in the message.
#[test]
fn records_that_have_to_be_asked_for_are_not_compressed() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = pair(dir.path());
    put(&laptop, "a", &"the same again and again, ".repeat(100));
    let acked = head_of(&pass(&laptop, &phone, false));
    put(&laptop, "b", &"once more ".repeat(200));
    let pushed = || match push_to(&laptop, PHONE, messages(), acked) {
        Ok(Pushing::Send(bytes, _)) => bytes,
        pushing => panic!("{pushing:?}"),
    };
    let compressed = pushed();
    assert!(compressed.len() < 500);
    laptop.store.set_sharing([(messages(), Sharing::OptIn)].into());
    let rights = Rights { also: ["messages".to_owned()].into(), ..Rights::ALL };
    laptop.store.write(Job::allow(PHONE, rights)).unwrap();
    let plain = pushed();
    assert!(plain.len() > 2_000);
    assert_eq!(Request::decode(&plain), Request::decode(&compressed));
    let answered = answer(&phone.store, &phone.sessions, LAPTOP, &compressed, NOW);
    assert!(super::pushed(&answered.response).unwrap());
}

/// S16: from the commit of a revoke on, nothing more is read for the device.
#[test]
fn a_session_of_a_revoked_device_reads_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = pair(dir.path());
    put(&phone, "a", "one");
    let (_, hello) = open(&laptop.store, PHONE, 7, [9; 8], false).unwrap();
    assert!(answer(&phone.store, &phone.sessions, LAPTOP, &hello, NOW).error.is_none());
    let shut_out = Job::change_view(|view| {
        let changes: Result<Changes, _> = view.revoke(LAPTOP, Introduced::Keep, Reason::None, NOW);
        changes.map(|changes| (changes, ()))
    });
    phone.store.write(shut_out).unwrap().unwrap();
    let next = Request::Exchange(Frame { session: 7, ..Frame::default() }).encode();
    for frame in [next, hello] {
        let answered = answer(&phone.store, &phone.sessions, LAPTOP, &frame, NOW);
        assert_eq!(Response::decode(&answered.response), Ok(Response::Refuse(Refusal::NotTrusted)));
    }
    assert!(matches!(
        open(&phone.store, LAPTOP, 9, [9; 8], false),
        Err(PassError::Refused(Refusal::NotTrusted))
    ));
    assert!(matches!(push_to(&phone, LAPTOP, messages(), 1), Err(PassError::Refused(Refusal::NotTrusted))));
}

/// Both sides open a pass at the same moment: only one goes on, and each
/// record travels once.
#[test]
fn of_two_passes_at_once_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = pair(dir.path());
    let records = (0..2_000).map(|number| {
        let key = Key::new(format!("{number:04}")).unwrap();
        (key, vec![b'x'; 300])
    });
    laptop.store.write(Job::put_many(messages(), records.collect(), NOW)).unwrap();
    let (mut session, mut frame) = open(&laptop.store, PHONE, 7, [9; 8], false).unwrap();
    laptop.sessions.go_first(PHONE, true);
    let (theirs, their_frame) = open(&phone.store, LAPTOP, 8, [8; 8], false).unwrap();
    let refused = answer(&laptop.store, &laptop.sessions, PHONE, &their_frame, NOW);
    assert!(refused.error.is_none() && refused.outcome.is_none());
    let refused = advance(&phone.store, &phone.sessions, theirs, &refused.response, NOW);
    // Were the refused one to go first now, each would send the other one away for ever.
    assert_matches!(refused, Err(PassError::Refused(Refusal::Busy)));
    // Whoever only compares is answered all the same.
    let (_, compare) = open(&phone.store, LAPTOP, 9, [7; 8], true).unwrap();
    let compared = answer(&laptop.store, &laptop.sessions, PHONE, &compare, NOW);
    assert!(compared.outcome.is_none(), "a comparison is no pass");
    assert_matches!(Response::decode(&compared.response), Ok(Response::Exchange(_)));
    let outcome = loop {
        let answered = answer(&phone.store, &phone.sessions, LAPTOP, &frame, NOW);
        match advance(&laptop.store, &laptop.sessions, session, &answered.response, NOW).unwrap() {
            Advance::Next(next, bytes) => (session, frame) = (next, bytes),
            Advance::Ended(_) => break answered.outcome.unwrap().1,
        }
    };
    assert_eq!((outcome.received, outcome.is_equal()), (2_000, true));
    laptop.sessions.go_first(PHONE, false);
    let (_, frame) = open(&phone.store, LAPTOP, 10, [6; 8], false).unwrap();
    assert!(answer(&laptop.store, &laptop.sessions, PHONE, &frame, NOW).outcome.is_some());
}

mod mesh;
