//! Codes that are wrong, late, used or taken back, and lost connections.

use super::*;

/// D11, L18, S11: a wrong code costs one try, says how many are left, and the
/// host goes on; after three the right one is refused too.
#[test]
fn three_wrong_codes_void_the_code() {
    let mut world = World::new(2);
    let code = code_of(&world.open(DESKTOP, &PairOpen::default()));
    for left in [2, 1, 0] {
        world.join(PHONE, &typed(wrong(&code)));
        let failed = failure(&world, PHONE);
        assert_eq!((failed.kind, failed.tries_left), (Kind::WrongCode, Some(left)));
        assert_eq!(failed.exit_code(), 6);
        let warned = world.events(DESKTOP).iter().filter(|event| matches!(event, Event::Warning(_)));
        assert_eq!(warned.count(), 3 - usize::from(left));
        let ended = world.events(DESKTOP).iter().any(|event| matches!(event, Event::Failed { .. }));
        assert_eq!(ended, left == 0, "the host waits on");
    }
    assert_eq!(failure(&world, DESKTOP).kind, Kind::CodeVoid);
    world.join(PHONE, &typed(code));
    assert_eq!(failure(&world, PHONE).kind, Kind::CodeVoid);
    assert_eq!((world.trusted(DESKTOP), world.trusted(PHONE)), (vec![], vec![]));
}

#[test]
fn after_two_wrong_codes_the_right_one_pairs() {
    let mut world = World::new(2);
    let code = code_of(&world.open(DESKTOP, &PairOpen::default()));
    world.join(PHONE, &typed(wrong(&code)));
    world.join(PHONE, &typed(wrong(&code)));
    world.join(PHONE, &typed(code));
    assert!(asked(&world, DESKTOP).is_some());
}

/// S12: a code that is late is refused as such, and nobody is let in any more.
#[test]
fn a_code_after_its_lifetime_is_refused_as_expired() {
    let mut world = World::new(2);
    let code = code_of(&world.open(DESKTOP, &PairOpen { expires_s: Some(60), ..PairOpen::default() }));
    world.pass(seconds(60));
    assert_eq!(failure(&world, DESKTOP).kind, Kind::Expired);
    world.join(PHONE, &typed(code.as_str()));
    let failed = failure(&world, PHONE);
    assert_eq!((failed.kind, failed.exit_code()), (Kind::Expired, 6));
    assert!(failed.hint.unwrap().contains("kinsync pair"));

    world.pass(seconds(120));
    assert_eq!(world.window(DESKTOP), Window::default());
    world.join(PHONE, &typed(code));
    world.pass(seconds(20));
    assert_eq!(failure(&world, PHONE).kind, Kind::Unreachable);
}

/// Security case 5: one prompt, and the other joiner is refused.
#[test]
fn of_two_that_race_one_is_asked_about() {
    let mut world = World::new(3);
    let code = code_of(&world.open(DESKTOP, &PairOpen::default()));
    world.join(PHONE, &typed(code.as_str()));
    world.join(LAPTOP, &typed(code));
    assert_eq!(failure(&world, LAPTOP).kind, Kind::CodeVoid);
    let prompts = world.events(DESKTOP).iter().filter(|event| matches!(event, Event::Request { .. }));
    assert_eq!(prompts.count(), 1);
    let pairing = asked(&world, DESKTOP).unwrap();
    world.answer(DESKTOP, pairing, Verdict::Kin).unwrap();
    assert_eq!(world.trusted(DESKTOP), [(world.id(PHONE), Standing::Kin)]);
}

#[test]
fn a_code_that_is_taken_back_pairs_nobody() {
    let mut world = World::new(2);
    let opened = world.open(DESKTOP, &PairOpen::default());
    world.cancel(DESKTOP, opened.pairing).unwrap();
    assert_eq!(failure(&world, DESKTOP).kind, Kind::CodeVoid);
    assert_eq!(world.window(DESKTOP), Window::default());
    assert_eq!(world.cancel(DESKTOP, opened.pairing).unwrap_err().kind, Kind::NotFound);
    world.join(PHONE, &typed(code_of(&opened)));
    world.pass(seconds(20));
    assert_eq!(failure(&world, PHONE).kind, Kind::Unreachable);
}

#[test]
fn a_host_that_stops_while_it_is_asked_sends_the_joiner_away() {
    let mut world = World::new(2);
    let pairing = meet(&mut world);
    world.cancel(DESKTOP, pairing).unwrap();
    assert_eq!(failure(&world, DESKTOP).kind, Kind::CodeVoid);
    assert_matches!(failure(&world, PHONE).kind, Kind::Unreachable | Kind::WrongCode);
    assert_eq!(world.answer(DESKTOP, pairing, Verdict::Kin).unwrap_err().kind, Kind::NotFound);
    assert_eq!((world.trusted(DESKTOP), world.trusted(PHONE)), (vec![], vec![]));
}

#[test]
fn a_joiner_that_stops_is_not_asked_about_any_more() {
    let mut world = World::new(2);
    let opened = world.open(DESKTOP, &PairOpen::default());
    let joining = world.join(PHONE, &typed(code_of(&opened)));
    world.cancel(PHONE, joining).unwrap();
    assert_eq!(failure(&world, PHONE).kind, Kind::Rejected);
    assert_eq!(failure(&world, DESKTOP).kind, Kind::Unreachable);
    let late = world.answer(DESKTOP, opened.pairing, Verdict::Kin).unwrap_err();
    assert_eq!(late.kind, Kind::BadRequest);
    assert_eq!(world.trusted(DESKTOP), []);
    assert_eq!(world.window(PHONE), Window::default());
}

#[test]
fn what_is_being_stored_is_not_taken_back() {
    let mut world = World::new(2);
    let opened = world.open(DESKTOP, &PairOpen::default());
    let joining = world.join(PHONE, &typed(code_of(&opened)));
    world.set_store(DESKTOP, Store::Held);
    world.set_store(PHONE, Store::Held);
    world.answer(DESKTOP, opened.pairing, Verdict::Kin).unwrap();
    world.cancel(DESKTOP, opened.pairing).unwrap();
    world.finish_storing(DESKTOP);
    world.cancel(PHONE, joining).unwrap();
    world.finish_storing(PHONE);
    assert_eq!((role(&world, DESKTOP), role(&world, PHONE)), (Some(Role::Kin), Some(Role::Kin)));
}

#[test]
fn a_connection_that_is_lost_ends_both_sides_without_trust() {
    for gone in [DESKTOP, PHONE] {
        let mut world = World::new(2);
        let pairing = meet(&mut world);
        world.set_online(gone, false);
        for device in [DESKTOP, PHONE] {
            assert_eq!(failure(&world, device).kind, Kind::Unreachable);
            assert_eq!(world.trusted(device), []);
        }
        assert_eq!(world.answer(DESKTOP, pairing, Verdict::Kin).unwrap_err().kind, Kind::BadRequest);
    }
}

/// A code lives in memory only: a restart ends it.
#[test]
fn a_host_that_restarts_knows_of_nothing() {
    let mut world = World::new(2);
    let pairing = meet(&mut world);
    world.restart(DESKTOP);
    assert_eq!(failure(&world, PHONE).kind, Kind::Unreachable);
    assert_eq!(world.answer(DESKTOP, pairing, Verdict::Kin).unwrap_err().kind, Kind::NotFound);
    let pairing = meet(&mut world);
    world.answer(DESKTOP, pairing, Verdict::Kin).unwrap();
    assert_eq!(role(&world, PHONE), Some(Role::Kin));
}

/// The decision was made and never arrived: pairing again makes both whole.
#[test]
fn a_decision_that_is_lost_is_cured_by_pairing_again() {
    let mut world = World::new(2);
    let pairing = meet(&mut world);
    world.set_mute(DESKTOP, true);
    world.answer(DESKTOP, pairing, Verdict::Kin).unwrap();
    assert_eq!(failure(&world, PHONE).kind, Kind::Unreachable);
    world.pass(seconds(11));
    assert_eq!(world.trusted(DESKTOP), [(world.id(PHONE), Standing::Kin)]);
    assert_eq!(world.trusted(PHONE), []);

    world.set_mute(DESKTOP, false);
    let pairing = meet(&mut world);
    world.answer(DESKTOP, pairing, Verdict::Kin).unwrap();
    assert_eq!(world.trusted(DESKTOP), [(world.id(PHONE), Standing::Kin)]);
    assert_eq!(world.trusted(PHONE), [(world.id(DESKTOP), Standing::Kin)]);
    assert_eq!(role(&world, PHONE), Some(Role::Kin));
}

#[test]
fn four_codes_can_be_open_and_no_two_begin_alike() {
    let mut world = World::new(1);
    let opened: Vec<_> = (0..WINDOWS_MAX).map(|_| world.open(DESKTOP, &PairOpen::default())).collect();
    let nameplates: std::collections::BTreeSet<_> =
        opened.iter().map(|opened| opened.code.reveal()[..2].to_owned()).collect();
    assert_eq!(nameplates.len(), WINDOWS_MAX);
    assert_eq!(world.try_open(DESKTOP, &PairOpen::default()).unwrap_err().kind, Kind::Busy);
    world.cancel(DESKTOP, opened[0].pairing).unwrap();
    world.open(DESKTOP, &PairOpen::default());
}

/// Codes that are over are kept to say so, a few of them and not for long.
#[test]
fn codes_that_are_over_are_forgotten() {
    let mut world = World::new(1);
    for kept in [WINDOWS_MAX, 2 * WINDOWS_MAX, CLOSED_MAX] {
        for _ in 0..WINDOWS_MAX {
            world.open(DESKTOP, &PairOpen { expires_s: Some(30), ..PairOpen::default() });
        }
        world.pass(seconds(30));
        assert_eq!(world.windows(DESKTOP), kept);
    }
    world.pass(seconds(120));
    assert_eq!((world.windows(DESKTOP), world.deadline(DESKTOP)), (0, None));
    assert_eq!(world.window(DESKTOP), Window::default());
}

/// Security case 9: nonsense is answered and ends nothing.
#[test]
fn nonsense_is_answered_as_such() {
    let mut pairings: Pairings<u8> = Pairings::new(Box::new(|bytes| bytes.fill(7)));
    let now = Now { passed: seconds(1), wall: Moment(0) };
    let phone = DeviceId([1; 32]);
    for frame in [&[][..], &[0], &[255; 5000], &[1, 0xa0]] {
        pairings.handle_request(phone, Standing::Stranger, frame, 1, now);
        let Some(Output::Answer { reply: 1, frame }) = pairings.poll() else { panic!("no answer") };
        let response = Response::decode(&frame).unwrap();
        assert_matches!(response, Response::Refuse { refusal: Refusal::BadMessage, .. });
    }
}
