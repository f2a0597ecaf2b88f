//! What is pushed to whom, and when it is proven.

use super::*;

const TABLET: DeviceId = DeviceId([3; 32]);

/// A change that the laptop has pushed, or found that others push, at `time`.
fn ended(state: &mut NodeState, end: PushEnd, time: u64) {
    state.handle_committed(DOMAIN, at(time));
    assert!(matches!(drain(state, at(time))[..], [Action::Push { .. }]));
    state.handle_pushed(PHONE, DOMAIN, end, at(time));
}

/// What somebody else sends is not looked at again, and counts as taken in by
/// nobody.
#[test]
fn what_was_left_to_others_is_behind() {
    let mut state = connected();
    ended(&mut state, PushEnd::Left(7), 100);
    state.handle_committed(DOMAIN, at(110));
    assert_eq!(drain(&mut state, at(110)), [push_after(DOMAIN, 5, 7)]);
    state.handle_pushed(PHONE, DOMAIN, PushEnd::InOrder(8), at(111));
    state.handle_committed(DOMAIN, at(112));
    assert_eq!(drain(&mut state, at(112)), [push_after(DOMAIN, 8, 8)]);
    // Once nobody knows what the phone has, nothing is behind.
    state.handle_pushed(PHONE, DOMAIN, PushEnd::Failed, at(113));
    state.handle_reached(PHONE, &[(DOMAIN, 5)]);
    state.handle_committed(DOMAIN, at(114));
    assert_eq!(drain(&mut state, at(114)), [push_after(DOMAIN, 5, 5)]);
}

/// A push of somebody else may get lost: a pass shows it, the greater id's a
/// moment later.
#[test]
fn what_was_left_to_others_is_proven() {
    let mut state = connected();
    ended(&mut state, PushEnd::Left(6), 100);
    assert_eq!(drain(&mut state, at(2_099)), []);
    assert_eq!(drain(&mut state, at(2_100)), [Action::Pass(PHONE)]);

    let mut state = node(PHONE, LAPTOP);
    drain(&mut state, at(0));
    state.handle_connected(LAPTOP, true, at(0));
    state.handle_greeted(LAPTOP, at(0));
    state.handle_timeout(YIELD);
    drain(&mut state, YIELD);
    state.handle_pass_ended(LAPTOP, PassEnd::Equal, at(2_010));
    state.handle_equal(LAPTOP, &[(DOMAIN, 5)], at(2_010));
    state.handle_committed(DOMAIN, at(3_000));
    drain(&mut state, at(3_000));
    state.handle_pushed(LAPTOP, DOMAIN, PushEnd::Left(6), at(3_000));
    assert_eq!(drain(&mut state, at(6_999)), []);
    assert_eq!(drain(&mut state, at(7_000)), [Action::Pass(LAPTOP)]);
}

/// A pass among pushes that are under way would move what they move.
#[test]
fn the_proof_waits_for_the_last_push_but_not_for_ever() {
    let mut state = connected();
    for (step, seq) in (100..10_000).step_by(1_500).zip(6..) {
        ended(&mut state, PushEnd::InOrder(seq), step);
    }
    assert_eq!(drain(&mut state, at(11_099)), []);
    assert_eq!(drain(&mut state, at(11_100)), [Action::Pass(PHONE)]);
    state.handle_pass_ended(PHONE, PassEnd::Equal, at(11_110));
    state.handle_equal(PHONE, &[(DOMAIN, 12)], at(11_110));

    let mut seq = 12;
    let passed = (12_000..60_000).step_by(1_000).find(|time| {
        seq += 1;
        state.handle_committed(DOMAIN, at(*time));
        let due = drain(&mut state, at(*time)).contains(&Action::Pass(PHONE));
        state.handle_pushed(PHONE, DOMAIN, PushEnd::InOrder(seq), at(*time));
        due
    });
    assert_eq!(passed, Some(42_000), "an interval after the first push");
}

/// The other side's pass proves what was pushed before it began.
#[test]
fn a_proof_of_the_other_side_counts_for_earlier_pushes() {
    let prove = |state: &mut NodeState, asked| {
        state.handle_asked(PHONE);
        state.handle_answered(PHONE, Theirs::Proven { session: 3 }, at(asked), at(2_000));
        state.handle_equal(PHONE, &[(DOMAIN, 6)], at(2_000));
    };
    let mut state = connected();
    ended(&mut state, PushEnd::Left(6), 100);
    prove(&mut state, 99);
    assert_eq!(drain(&mut state, at(2_100)), [Action::Pass(PHONE)]);

    let mut state = connected();
    ended(&mut state, PushEnd::Left(6), 100);
    prove(&mut state, 100);
    assert_eq!(drain(&mut state, at(20_000)), []);
}

/// What is pushed while a pass runs may have come too late for it.
#[test]
fn a_pass_that_runs_proves_no_later_push() {
    let mut state = connected();
    state.request_pass(PHONE, at(50));
    assert_eq!(drain(&mut state, at(50)), [Action::Pass(PHONE)]);
    ended(&mut state, PushEnd::Left(6), 100);
    state.handle_pass_ended(PHONE, PassEnd::Equal, at(200));
    state.handle_equal(PHONE, &[(DOMAIN, 6)], at(200));
    assert_eq!(drain(&mut state, at(2_100)), [Action::Pass(PHONE)]);
}

/// Whoever is named as served is pushed to: not before it was proven equal, not
/// where nothing may be sent, and not once it is gone.
#[test]
fn only_devices_that_are_pushed_to_are_named() {
    let named = |state: &NodeState| state.pushed_to(DOMAIN).collect::<Vec<_>>();
    let mut state = connected();
    state.handle_trusted(&BTreeSet::from([LAPTOP, PHONE, TABLET]), at(20));
    drain(&mut state, at(20));
    state.handle_connected(TABLET, true, at(20));
    state.handle_greeted(TABLET, at(20));
    assert_eq!(named(&state), [PHONE]);
    state.handle_equal(TABLET, &[(DOMAIN, 5)], at(30));
    assert_eq!(named(&state), [PHONE, TABLET]);
    state.handle_shut(TABLET, &[DOMAIN]);
    assert_eq!(named(&state), [PHONE]);
    state.handle_disconnected(PHONE, at(40));
    assert_eq!(named(&state), []);
}
