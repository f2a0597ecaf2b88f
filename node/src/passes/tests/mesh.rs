//! Pushes among several devices: each change crosses to each device once.

use super::*;

const TABLET: DeviceId = DeviceId([3; 32]);
const SERVER: DeviceId = DeviceId([4; 32]);

/// A device, and which of the others it pairs with as what.
fn device_of(dir: &Path, me: DeviceId, others: &[(DeviceId, Role)]) -> Device {
    let options = Options { ballast_bytes: 0, ..Options::new(me, u64::from(me.0[0])) };
    let store = Store::open(dir.join(format!("{}.redb", me.short())), options).unwrap();
    for &(device, role) in others {
        let paired = Paired {
            device,
            card: Card::default(),
            role,
            domains: None,
            once_seconds: 0,
            ours: None,
            theirs: None,
        };
        let trust = Job::change_view(move |view| {
            view.pair(&paired, NOW, Duration::ZERO).map(|changes| (changes, ()))
        });
        store.write(trust).unwrap().unwrap();
    }
    Device { store, sessions: Sessions::default() }
}

/// Four devices that are kin of each other, each with a record of its own: no
/// push begins before the first row of a log.
fn mesh(dir: &Path) -> [Device; 4] {
    let all = [LAPTOP, PHONE, TABLET, SERVER];
    all.map(|me| {
        let others = all.into_iter().filter(|other| *other != me);
        let device = device_of(dir, me, &others.map(|other| (other, Role::Kin)).collect::<Vec<_>>());
        put(&device, &me.short(), "own");
        device
    })
}

/// What `from` pushes to `to`, which has this much of its log, while it pushes
/// to `beside` too.
fn pushing_after(acked: u64, from: &Device, to: DeviceId, beside: &[DeviceId]) -> Pushing {
    let news = News { domain: messages(), acked, after: acked, beside: beside.to_vec() };
    push(&from.store, &from.sessions, to, &news).unwrap()
}

fn pushing(from: &Device, to: DeviceId, beside: &[DeviceId]) -> Pushing {
    pushing_after(1, from, to, beside)
}

fn sent(pushing: Pushing) -> Vec<u8> {
    match pushing {
        Pushing::Send(bytes, _) => bytes,
        pushing @ (Pushing::Nothing(_) | Pushing::Left(_) | Pushing::NeedsPass) => panic!("{pushing:?}"),
    }
}

/// The devices that a push names.
fn served(bytes: &[u8]) -> Vec<DeviceId> {
    let Ok(Request::Push(push)) = Request::decode(bytes) else { panic!("no push") };
    let all = [LAPTOP, PHONE, TABLET, SERVER];
    all.into_iter().filter(|device| push.served.contains(&device.tag())).collect()
}

/// Whether the push was in order.
fn take(at: &Device, from: DeviceId, bytes: &[u8]) -> bool {
    let answered = answer(&at.store, &at.sessions, from, bytes, NOW);
    assert!(answered.error.is_none(), "{:?}", answered.error);
    pushed(&answered.response).unwrap()
}

/// A pass of the phone with the tablet.
fn meet(phone: &Device, tablet: &Device) -> Outcome {
    let (mut session, mut frame) = open(&phone.store, TABLET, 7, [9; 8], false).unwrap();
    loop {
        let answered = answer(&tablet.store, &tablet.sessions, PHONE, &frame, NOW);
        match advance(&phone.store, &phone.sessions, session, &answered.response, NOW).unwrap() {
            Advance::Next(next, bytes) => (session, frame) = (next, bytes),
            Advance::Ended(outcome) => return outcome,
        }
    }
}

/// The laptop sends a change to phone and tablet. Neither sends it to the other
/// or back; whoever meets the server, which nobody named, sends it there, and
/// says who has it.
#[test]
fn a_change_is_passed_on_to_those_whom_nobody_serves() {
    let dir = tempfile::tempdir().unwrap();
    let [laptop, phone, tablet, server] = mesh(dir.path());
    put(&laptop, "a", "one");
    let to_phone = sent(pushing(&laptop, PHONE, &[PHONE, TABLET]));
    let to_tablet = sent(pushing(&laptop, TABLET, &[PHONE, TABLET]));
    assert_eq!((served(&to_phone), served(&to_tablet)), (vec![TABLET], vec![PHONE]));
    take(&phone, LAPTOP, &to_phone);
    take(&tablet, LAPTOP, &to_tablet);

    let others = [LAPTOP, TABLET, SERVER];
    assert_eq!(pushing(&phone, LAPTOP, &others), Pushing::Nothing(2));
    assert_eq!(pushing(&phone, TABLET, &others), Pushing::Left(2));
    let to_server = sent(pushing(&phone, SERVER, &others));
    assert_eq!(served(&to_server), [LAPTOP, TABLET]);
    take(&server, PHONE, &to_server);
    let others = [LAPTOP, PHONE, TABLET];
    assert_eq!(pushing(&server, TABLET, &others), Pushing::Left(2));
    assert_eq!(pushing(&server, LAPTOP, &others), Pushing::Left(2));
    assert_eq!(pushing(&server, PHONE, &others), Pushing::Nothing(2));

    // The next version is another row: nobody has said anything of it.
    put(&phone, "a", "two");
    assert_eq!(served(&sent(pushing(&phone, TABLET, &[]))), []);
}

/// What a push says of those who are served holds for all of its rows.
#[test]
fn a_push_names_those_who_get_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let [laptop, phone, tablet, _] = mesh(dir.path());
    put(&laptop, "a", "one");
    take(&phone, LAPTOP, &sent(pushing(&laptop, PHONE, &[TABLET])));
    put(&tablet, "b", "two");
    take(&phone, TABLET, &sent(pushing(&tablet, PHONE, &[LAPTOP])));
    assert_eq!(served(&sent(pushing(&phone, SERVER, &[]))), [LAPTOP, TABLET]);
    put(&phone, "c", "three");
    assert_eq!(served(&sent(pushing(&phone, SERVER, &[]))), []);
    assert_eq!(served(&sent(pushing(&phone, SERVER, &[TABLET]))), [TABLET]);
}

/// F10: the push to the tablet gets lost, and the phone has left it to the
/// laptop. The pass that the phone owes brings the record, also where a later
/// push has moved the cursor past it.
#[test]
fn a_pass_heals_what_was_left_to_a_push_that_got_lost() {
    for later in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let [laptop, phone, tablet, _] = mesh(dir.path());
        let acked = head_of(&meet(&phone, &tablet));
        put(&laptop, "a", "one");
        take(&phone, LAPTOP, &sent(pushing(&laptop, PHONE, &[PHONE, TABLET])));
        assert_eq!(pushing_after(acked, &phone, TABLET, &[LAPTOP]), Pushing::Left(acked + 1));
        if later {
            put(&phone, "b", "two");
            assert!(take(&tablet, PHONE, &sent(pushing_after(acked, &phone, TABLET, &[LAPTOP]))));
            assert_eq!(value(&tablet, "b").as_deref(), Some("two"));
        }
        assert_eq!(value(&tablet, "a"), None);
        let outcome = meet(&phone, &tablet);
        assert!(outcome.is_equal(), "{outcome:?}");
        assert_eq!((outcome.sent, value(&tablet, "a").as_deref()), (1, Some("one")));
    }
}

/// S9: who is kin is the business of kin alone, and what others say of it is
/// believed of kin alone.
#[test]
fn guests_hear_and_say_nothing_of_who_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let roles = [(PHONE, Role::Kin), (TABLET, Role::Guest), (SERVER, Role::Kin)];
    let laptop = device_of(dir.path(), LAPTOP, &roles);
    let phone = device_of(dir.path(), PHONE, &[(LAPTOP, Role::Guest), (SERVER, Role::Kin)]);
    put(&laptop, "own", "");
    put(&phone, "own", "");
    put(&laptop, "a", "one");
    let beside = [PHONE, TABLET, SERVER];
    assert_eq!(served(&sent(pushing(&laptop, TABLET, &beside))), []);
    let to_phone = sent(pushing(&laptop, PHONE, &beside));
    assert_eq!(served(&to_phone), [SERVER]);
    take(&phone, LAPTOP, &to_phone);
    assert_eq!(served(&sent(pushing(&phone, SERVER, &[]))), []);
}
