//! Passes of both sides, one at a time.

use super::super::turns::SILENCE;
use super::*;

/// The greater id, greeted at 0 and served by the laptop's pass from 10 on.
fn served() -> NodeState {
    let mut state = node(PHONE, LAPTOP);
    drain(&mut state, at(0));
    state.handle_connected(LAPTOP, false, at(0));
    state.handle_greeted(LAPTOP, at(0));
    state.handle_asked(LAPTOP);
    assert_eq!(state.handle_answered(LAPTOP, Theirs::UnderWay { session: 3 }, at(10), at(12)), None);
    state
}

/// A step of the laptop's pass.
fn step(state: &mut NodeState, asked: u64, theirs: Theirs) -> Option<Duration> {
    state.handle_asked(LAPTOP);
    state.handle_answered(LAPTOP, theirs, at(asked), at(asked + 1))
}

#[test]
fn no_pass_begins_while_the_other_side_runs_one() {
    let mut state = served();
    // A first copy that takes ten seconds, and what it brings.
    for time in (100..10_000).step_by(100) {
        state.handle_committed(DOMAIN, at(time));
        assert_eq!(step(&mut state, time, Theirs::UnderWay { session: 3 }), None);
        assert_eq!(drain(&mut state, at(time + 50)), []);
    }
    assert_eq!(step(&mut state, 10_000, Theirs::Proven { session: 3 }), Some(at(10)));
    state.handle_equal(LAPTOP, &[(DOMAIN, 900)], at(10_001));
    assert_eq!(
        drain(&mut state, at(10_001)),
        [Action::Push { device: LAPTOP, domain: DOMAIN, acked: 900, after: 900 }]
    );
    state.handle_pushed(LAPTOP, DOMAIN, PushEnd::Nothing(900), at(10_002));
    // The pass that was due has been run by the other side.
    assert_eq!(drain(&mut state, at(41_000)), []);
    assert_eq!(drain(&mut state, at(42_001)), [Action::Pass(LAPTOP)]);
}

#[test]
fn a_pass_that_fell_silent_keeps_nobody_waiting() {
    let mut state = served();
    state.request_pass(LAPTOP, at(20));
    assert_eq!(drain(&mut state, at(20)), []);
    let over = at(12) + SILENCE;
    assert_eq!(state.deadline(), Some((over, "pass")));
    assert_eq!(drain(&mut state, over - at(1)), []);
    assert_eq!(drain(&mut state, over), [Action::Pass(LAPTOP)]);
}

#[test]
fn a_request_that_is_worked_on_may_be_the_other_sides_pass() {
    let mut state = node(PHONE, LAPTOP);
    drain(&mut state, at(0));
    state.handle_connected(LAPTOP, false, at(0));
    state.handle_greeted(LAPTOP, at(0));
    state.handle_asked(LAPTOP);
    state.request_pass(LAPTOP, at(5));
    assert_eq!(drain(&mut state, at(5)), []);
    assert_eq!(state.deadline(), None);
    // It was a push: the own pass begins.
    state.handle_answered(LAPTOP, Theirs::Other, at(4), at(6));
    assert_eq!(drain(&mut state, at(6)), [Action::Pass(LAPTOP)]);
}

/// P17: what was written before somebody asked is in the pass they wait for.
#[test]
fn whoever_asks_in_the_middle_of_the_other_sides_pass_gets_one_of_their_own() {
    let mut state = served();
    state.request_pass(LAPTOP, at(20));
    assert_eq!(step(&mut state, 30, Theirs::Proven { session: 3 }), Some(at(10)));
    state.handle_equal(LAPTOP, &[], at(31));
    assert_eq!(drain(&mut state, at(31)), [Action::Pass(LAPTOP)]);
}

#[test]
fn the_other_sides_pass_does_for_who_asked_before_it() {
    let mut state = node(PHONE, LAPTOP);
    drain(&mut state, at(0));
    state.handle_connected(LAPTOP, false, at(0));
    state.request_pass(LAPTOP, at(1));
    state.handle_greeted(LAPTOP, at(2));
    // Both open one; the laptop's goes first.
    assert_eq!(drain(&mut state, at(2)), [Action::Pass(LAPTOP)]);
    assert_eq!(step(&mut state, 3, Theirs::Proven { session: 4 }), Some(at(3)));
    state.handle_equal(LAPTOP, &[], at(4));
    assert!(state.handle_refused(LAPTOP, at(2), at(5)), "the refused one need not be run again");
    state.handle_pass_ended(LAPTOP, PassEnd::Equal, at(5));
    assert_eq!(drain(&mut state, at(29_000)), []);
}

#[test]
fn a_refused_pass_waits_for_the_one_that_goes_first() {
    let mut state = node(PHONE, LAPTOP);
    drain(&mut state, at(0));
    state.handle_connected(LAPTOP, false, at(0));
    state.request_pass(LAPTOP, at(1));
    state.handle_greeted(LAPTOP, at(2));
    drain(&mut state, at(2));
    step(&mut state, 3, Theirs::UnderWay { session: 4 });
    assert!(!state.handle_refused(LAPTOP, at(2), at(5)));
    state.handle_pass_ended(LAPTOP, PassEnd::Unfinished, at(5));
    assert!(state.is_served(LAPTOP, at(5)));
    for time in (500..5_000).step_by(500) {
        assert_eq!(drain(&mut state, at(time)), []);
        step(&mut state, time, Theirs::UnderWay { session: 4 });
    }
    assert_eq!(step(&mut state, 5_000, Theirs::Proven { session: 4 }), Some(at(3)));
    state.handle_equal(LAPTOP, &[], at(5_001));
    assert_eq!((drain(&mut state, at(29_000)), state.unfinished(LAPTOP)), (vec![], 0));
}

#[test]
fn a_pass_that_leaves_something_to_a_person_is_over() {
    let mut state = served();
    state.request_pass(LAPTOP, at(20));
    assert_eq!(step(&mut state, 30, Theirs::Ended), None);
    assert_eq!(drain(&mut state, at(31)), [Action::Pass(LAPTOP)]);
}

#[test]
fn a_connection_that_breaks_ends_the_other_sides_pass() {
    let mut state = served();
    state.handle_disconnected(LAPTOP, at(20));
    assert!(!state.is_served(LAPTOP, at(20)));
}
