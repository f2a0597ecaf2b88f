//! What follows from what, without a network.

use super::*;

const LAPTOP: DeviceId = DeviceId([1; 32]);
const PHONE: DeviceId = DeviceId([2; 32]);
const INTERVAL: Duration = Duration::from_secs(30);
const DOMAIN: DomainId = DomainId([7; 16]);

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn node(me: DeviceId, other: DeviceId) -> NodeState {
    let mut state = NodeState::new(me, true, INTERVAL, 1);
    state.handle_trusted(&BTreeSet::from([me, other]), at(0));
    state
}

fn drain(state: &mut NodeState, now: Duration) -> Vec<Action> {
    state.handle_timeout(now);
    std::iter::from_fn(|| state.poll()).collect()
}

fn push_after(domain: DomainId, acked: u64, after: u64) -> Action {
    Action::Push { device: PHONE, domain, acked, after }
}

fn connected() -> NodeState {
    let mut state = node(LAPTOP, PHONE);
    drain(&mut state, at(0));
    state.handle_connected(PHONE, true, at(0));
    state.handle_greeted(PHONE, at(0));
    drain(&mut state, at(0));
    state.handle_pass_ended(PHONE, PassEnd::Equal, at(10));
    state.handle_equal(PHONE, &[(DOMAIN, 5)], at(10));
    state
}

#[test]
fn a_trusted_device_is_dialled_greeted_and_passed_with() {
    let mut state = node(LAPTOP, PHONE);
    assert_eq!(drain(&mut state, at(0)), [Action::Dial(PHONE)]);
    assert_eq!(drain(&mut state, at(5_000)), []);
    state.handle_connected(PHONE, true, at(0));
    assert_eq!(drain(&mut state, at(5_000)), [Action::Greet(PHONE)]);
    state.handle_greeted(PHONE, at(5_000));
    assert_eq!(drain(&mut state, at(5_000)), [Action::Pass(PHONE)]);
}

#[test]
fn the_greater_id_leaves_the_first_step_to_the_other() {
    let mut state = node(PHONE, LAPTOP);
    drain(&mut state, at(0));
    state.handle_connected(LAPTOP, false, at(0));
    state.handle_greeted(LAPTOP, at(100));
    assert_eq!(drain(&mut state, at(100)), []);
    assert_eq!(drain(&mut state, at(2_100)), [Action::Pass(LAPTOP)]);
}

/// P15: passes recur without anybody's doing.
#[test]
fn a_pass_recurs_on_the_timer() {
    let mut state = connected();
    assert_eq!(drain(&mut state, at(30_009)), []);
    assert_eq!(drain(&mut state, at(30_011)), [Action::Pass(PHONE)]);
}

/// Equal again and again while nothing happens: ever more rarely, and as often
/// as at first once something does.
#[test]
fn passes_rest_while_nothing_happens() {
    let waits = |state: &mut NodeState, count: usize| -> Vec<u64> {
        let wait = |_| {
            let (due, _) = state.deadline().expect("the next pass");
            let before = state.last_success().expect("a pass before");
            assert_eq!(drain(state, due), [Action::Pass(PHONE)]);
            state.handle_pass_ended(PHONE, PassEnd::Equal, due);
            state.handle_equal(PHONE, &[(DOMAIN, 5)], due);
            (due - before).as_secs()
        };
        (0..count).map(wait).collect()
    };
    let mut state = connected();
    assert_eq!(waits(&mut state, 6), [30, 60, 120, 240, 480, 480]);
    let quiet = state.last_success().expect("the last pass");
    state.handle_committed(DomainId([8; 16]), quiet + at(1_000));
    assert_eq!(drain(&mut state, quiet + at(1_000) + DEBOUNCE), [Action::Pass(PHONE)]);
    state.handle_pass_ended(PHONE, PassEnd::Equal, quiet + at(2_000));
    state.handle_equal(PHONE, &[(DOMAIN, 5), (DomainId([8; 16]), 1)], quiet + at(2_000));
    drain(&mut state, quiet + at(2_000));
    assert_eq!(waits(&mut state, 3), [30, 60, 120]);

    let begin: [fn(&mut NodeState, Duration); 3] = [
        |state, now| {
            state.handle_disconnected(PHONE, now);
            state.handle_connected(PHONE, true, now);
        },
        |state, now| state.handle_rights_changed(PHONE, now),
        |state, now| state.handle_resumed(now),
    ];
    for begin in begin {
        let mut state = connected();
        waits(&mut state, 4);
        let now = state.last_success().expect("the last pass") + at(1_000);
        begin(&mut state, now);
        state.handle_greeted(PHONE, now);
        assert!(drain(&mut state, now).contains(&Action::Pass(PHONE)));
        state.handle_pass_ended(PHONE, PassEnd::Equal, now);
        state.handle_equal(PHONE, &[(DOMAIN, 5)], now);
        assert_eq!(waits(&mut state, 2), [30, 60]);
    }
}

/// Whoever wants passes more rarely than that gets them as asked for.
#[test]
fn a_long_interval_stays_as_it_is() {
    let hour = Duration::from_secs(3_600);
    let mut state = NodeState::new(LAPTOP, true, hour, 1);
    state.handle_trusted(&BTreeSet::from([PHONE]), at(0));
    for _ in 0..3 {
        state.handle_pass_ended(PHONE, PassEnd::Equal, at(0));
    }
    state.handle_connected(PHONE, true, at(0));
    assert_eq!(drain(&mut state, at(0)), [Action::Greet(PHONE)]);
    state.handle_greeted(PHONE, at(0));
    drain(&mut state, at(0));
    state.handle_pass_ended(PHONE, PassEnd::Equal, at(0));
    assert_eq!(state.deadline(), Some((hour, "pass")));
}

/// P16 P17: resuming from sleep and "sync now" do not wait for the timer.
#[test]
fn a_resume_runs_a_pass_at_once() {
    let mut state = connected();
    state.handle_resumed(at(500));
    assert_eq!(drain(&mut state, at(500)), [Action::Pass(PHONE)]);
}

/// Passes that failed for want of room on the disk wait long; with room again
/// they do not.
#[test]
fn a_resume_ends_the_wait_after_failures() {
    let mut state = connected();
    let mut now = at(500);
    for _ in 0..8 {
        state.request_pass(PHONE, now);
        assert_eq!(drain(&mut state, now), [Action::Pass(PHONE)]);
        state.handle_pass_ended(PHONE, PassEnd::Failed, now);
        let (due, why) = state.deadline().expect("a retry");
        assert_eq!(why, "pass");
        now = due;
    }
    state.request_pass(PHONE, now);
    drain(&mut state, now);
    state.handle_pass_ended(PHONE, PassEnd::Failed, now);
    assert!(state.deadline().is_some_and(|(due, _)| due >= now + at(60)));
    state.handle_resumed(now + at(1));
    assert_eq!(drain(&mut state, now + at(1)), [Action::Pass(PHONE)]);
}

#[test]
fn retries_back_off_and_a_sighting_ends_the_wait() {
    let mut state = node(LAPTOP, PHONE);
    drain(&mut state, at(0));
    for _ in 0..10 {
        let (due, _) = state.deadline().unwrap_or((at(0), ""));
        drain(&mut state, due);
        state.handle_dial_failed(PHONE, due);
    }
    let (due, why) = state.deadline().expect("a retry");
    assert_eq!(why, "dial");
    assert_eq!(drain(&mut state, due - at(1)), []);
    state.handle_found(PHONE, due - at(1));
    assert_eq!(drain(&mut state, due - at(1)), [Action::Dial(PHONE)]);
}

#[test]
fn a_change_is_pushed_and_then_proven() {
    let mut state = connected();
    state.handle_committed(DOMAIN, at(100));
    assert_eq!(drain(&mut state, at(100)), [push_after(DOMAIN, 5, 5)]);
    state.handle_committed(DOMAIN, at(101));
    assert_eq!(drain(&mut state, at(101)), []);
    state.handle_pushed(PHONE, DOMAIN, PushEnd::InOrder(6), at(110));
    assert_eq!(drain(&mut state, at(110)), [push_after(DOMAIN, 6, 6)]);
    state.handle_pushed(PHONE, DOMAIN, PushEnd::Nothing(6), at(120));
    assert_eq!(drain(&mut state, at(2_110)), [Action::Pass(PHONE)]);
}

#[test]
fn a_push_out_of_order_calls_for_a_pass() {
    let mut state = connected();
    state.handle_committed(DOMAIN, at(100));
    drain(&mut state, at(100));
    state.handle_pushed(PHONE, DOMAIN, PushEnd::NeedsPass, at(110));
    assert_eq!(drain(&mut state, at(110)), [Action::Pass(PHONE)]);
}

#[test]
fn a_change_that_no_push_can_carry_waits_for_a_pass() {
    let mut state = connected();
    let other = DomainId([8; 16]);
    state.handle_committed(other, at(100));
    assert_eq!(drain(&mut state, at(100)), []);
    assert_eq!(drain(&mut state, at(300)), [Action::Pass(PHONE)]);
    state.handle_committed(other, at(310));
    state.handle_pass_ended(PHONE, PassEnd::Equal, at(320));
    state.handle_equal(PHONE, &[(DOMAIN, 5)], at(320));
    assert_eq!(drain(&mut state, at(520)), [Action::Pass(PHONE)]);
}

/// P33: a device that was removed stops trying.
#[test]
fn whoever_removed_this_device_is_left_alone() {
    let mut state = connected();
    state.handle_removed_by(PHONE);
    state.handle_disconnected(PHONE, at(100));
    state.handle_found(PHONE, at(200));
    state.handle_committed(DOMAIN, at(300));
    assert_eq!(drain(&mut state, at(1_000_000)), []);
    assert_eq!(state.deadline(), None);
}

/// S16: whoever is no longer trusted is neither dialled nor pushed to.
#[test]
fn a_revoked_device_is_forgotten() {
    let mut state = connected();
    state.handle_trusted(&BTreeSet::from([LAPTOP]), at(100));
    state.handle_committed(DOMAIN, at(100));
    assert_eq!(drain(&mut state, at(100_000)), []);
}

#[test]
fn by_hand_means_only_by_hand() {
    let mut state = NodeState::new(LAPTOP, false, INTERVAL, 1);
    state.handle_trusted(&BTreeSet::from([PHONE]), at(0));
    state.handle_found(PHONE, at(0));
    assert_eq!(drain(&mut state, at(100_000)), []);
    assert!(state.request_pass(PHONE, at(100_000)));
    assert_eq!(drain(&mut state, at(100_000)), [Action::Dial(PHONE)]);
    state.handle_connected(PHONE, true, at(0));
    state.handle_greeted(PHONE, at(100_000));
    assert_eq!(drain(&mut state, at(100_000)), [Action::Greet(PHONE), Action::Pass(PHONE)]);
    state.handle_pass_ended(PHONE, PassEnd::Equal, at(100_001));
    assert_eq!(drain(&mut state, at(900_000)), []);
}

#[test]
fn offline_counts_only_while_nobody_is_there() {
    let mut state = connected();
    state.handle_pass_ended(PHONE, PassEnd::Failed, at(100));
    assert_eq!(state.failures(), 0);
    state.handle_disconnected(PHONE, at(100));
    state.handle_dial_failed(PHONE, at(200));
    state.handle_dial_failed(PHONE, at(300));
    assert_eq!(state.failures(), 2);
}

/// Of two connections dialled at once, each side may take the one that the
/// other dialled for the first.
#[test]
fn whoever_hears_no_greeting_greets() {
    let mut state = node(LAPTOP, PHONE);
    drain(&mut state, at(0));
    state.handle_connected(PHONE, false, at(0));
    assert_eq!(drain(&mut state, at(0)), []);
    assert_eq!(state.deadline(), Some((YIELD, "greet")));
    assert_eq!(drain(&mut state, YIELD), [Action::Greet(PHONE)]);
    let again = YIELD + GREET_AGAIN;
    assert_eq!(drain(&mut state, again - at(1)), []);
    assert_eq!(drain(&mut state, again), [Action::Greet(PHONE)]);
    state.handle_greeted(PHONE, again);
    assert_eq!(drain(&mut state, again), [Action::Pass(PHONE)]);
    assert_eq!(drain(&mut state, again + GREET_AGAIN), []);
}

#[test]
fn a_device_that_hangs_up_each_time_is_called_ever_less_often() {
    let mut state = node(LAPTOP, PHONE);
    let (mut now, mut dials) = (at(0), 0);
    while now < at(120_000) {
        if drain(&mut state, now).contains(&Action::Dial(PHONE)) {
            dials += 1;
            state.handle_connected(PHONE, true, now);
            state.handle_disconnected(PHONE, now);
        }
        now = state.deadline().expect("a retry").0;
    }
    assert!(dials < 10, "{dials} dials in two minutes");
}

#[test]
fn after_a_good_connection_a_device_is_dialled_again_soon() {
    let mut state = connected();
    state.handle_disconnected(PHONE, STEADY);
    let (due, _) = state.deadline().expect("a retry");
    assert!(due < STEADY + at(1_500), "{due:?}");
}

/// P16: by itself means also after a sleep, by hand means not even then.
#[test]
fn a_sleep_starts_nothing_by_hand() {
    let mut state = NodeState::new(LAPTOP, false, INTERVAL, 1);
    state.handle_trusted(&BTreeSet::from([PHONE]), at(0));
    state.handle_resumed(at(10));
    assert_eq!(drain(&mut state, at(10)), []);
}

/// P33: also not when somebody asks for all devices.
#[test]
fn a_device_that_removed_this_one_is_not_dialled_on_request() {
    let mut state = connected();
    state.handle_removed_by(PHONE);
    assert!(!state.request_pass(PHONE, at(100)));
    state.request_dial(PHONE, at(100));
    assert_eq!(drain(&mut state, at(100)), []);
}

#[test]
fn an_unfinished_pass_goes_on_soon_and_then_less_often() {
    let mut state = connected();
    let mut now = at(100);
    let mut waits = Vec::new();
    for _ in 0..12 {
        state.request_pass(PHONE, now);
        assert_eq!(drain(&mut state, now), [Action::Pass(PHONE)]);
        state.handle_pass_ended(PHONE, PassEnd::Unfinished, now);
        state.handle_reached(PHONE, &[(DOMAIN, 5)]);
        let (due, _) = state.deadline().expect("the next pass");
        waits.push(due - now);
        now = due;
    }
    assert_eq!((waits[0], waits[1]), (DEBOUNCE, DEBOUNCE * 2));
    assert_eq!(waits[11], INTERVAL);
    assert_eq!(state.last_success(), Some(at(10)));
}

/// P17: what was written before somebody asked is in the pass they wait for.
#[test]
fn a_pass_asked_for_while_one_runs_follows_it() {
    let mut state = connected();
    state.request_pass(PHONE, at(100));
    assert_eq!(drain(&mut state, at(100)), [Action::Pass(PHONE)]);
    assert!(state.request_pass(PHONE, at(101)));
    state.handle_pass_ended(PHONE, PassEnd::Equal, at(102));
    state.handle_equal(PHONE, &[(DOMAIN, 5)], at(102));
    assert_eq!(drain(&mut state, at(102)), [Action::Pass(PHONE)]);
}

/// The other side's pass ends equal on a view of the store from before a
/// change, and says so after it.
#[test]
fn a_change_is_not_lost_behind_an_older_proof() {
    const NEW: DomainId = DomainId([8; 16]);
    let mut state = connected();
    state.handle_committed(NEW, at(100));
    state.handle_equal(PHONE, &[(DOMAIN, 5), (NEW, 0)], at(101));
    assert_eq!(drain(&mut state, at(101)), [push_after(NEW, 0, 0)]);
}

/// P25: what the first pass itself brings calls for no second one; a domain
/// that comes up too late for it does.
#[test]
fn what_a_pass_brings_calls_for_no_other_pass() {
    const NEW: DomainId = DomainId([8; 16]);
    let mut state = node(LAPTOP, PHONE);
    drain(&mut state, at(0));
    state.handle_connected(PHONE, true, at(0));
    state.handle_greeted(PHONE, at(0));
    assert_eq!(drain(&mut state, at(0)), [Action::Greet(PHONE), Action::Pass(PHONE)]);
    state.handle_committed(DOMAIN, at(5));
    state.handle_pass_ended(PHONE, PassEnd::Equal, at(10));
    state.handle_equal(PHONE, &[(DOMAIN, 5)], at(10));
    assert_eq!(drain(&mut state, at(10)), [push_after(DOMAIN, 5, 5)]);
    state.handle_pushed(PHONE, DOMAIN, PushEnd::Nothing(5), at(11));
    assert_eq!(drain(&mut state, at(29_000)), []);
    state.handle_timeout(at(30_010));
    assert_eq!(state.poll(), Some(Action::Pass(PHONE)));
    state.handle_committed(NEW, at(30_011));
    state.handle_pass_ended(PHONE, PassEnd::Equal, at(30_020));
    state.handle_equal(PHONE, &[(DOMAIN, 5)], at(30_020));
    assert_eq!(drain(&mut state, at(30_220)), [Action::Pass(PHONE)]);
}

mod pushes;
mod turns;
