//! The rules, one by one.

use super::*;

fn kin_by(by: u8, subject: u8) -> Statement {
    Statement::new(Signed::sign(&Body::new(Kind::Kin, id(subject), id(by), AT), &key(by)), None)
}

fn end_by(by: u8, subject: u8, kind: Kind) -> Statement {
    Statement::new(Signed::sign(&Body::new(kind, id(subject), id(by), AT), &key(by)), None)
}

#[test]
fn one_code_makes_a_device_known_to_all() {
    let set = Set::of(&[PHONE, LAPTOP, DESKTOP, TABLET]);
    for at in [PHONE, LAPTOP, DESKTOP, TABLET] {
        for of in [PHONE, LAPTOP, DESKTOP, TABLET].into_iter().filter(|of| *of != at) {
            assert_eq!(set.standing(of, at), Standing::Kin, "{of} at {at}");
        }
    }
}

#[test]
fn a_new_device_is_announced_with_who_brought_it() {
    let mut set = Set::of(&[PHONE, LAPTOP]);
    set.pair(LAPTOP, DESKTOP);
    let changes = set.tell(LAPTOP, PHONE);
    let notice = Notice::Adopted { device: id(DESKTOP), by: id(LAPTOP), origin: id(LAPTOP) };
    assert_eq!(changes.notices, [notice]);
    assert_eq!(changes.rows.keys().collect::<Vec<_>>(), [&id(DESKTOP)]);
    assert_eq!(changes.log.len(), 1);
}

/// The word of the device that really paired it travels with a device.
#[test]
fn the_origin_survives_being_passed_on() {
    let mut set = Set::of(&[PHONE, LAPTOP, DESKTOP]);
    set.pair(DESKTOP, TABLET);
    set.tell(DESKTOP, LAPTOP);
    let changes = set.tell(LAPTOP, PHONE);
    let notice = Notice::Adopted { device: id(TABLET), by: id(LAPTOP), origin: id(DESKTOP) };
    assert_eq!(changes.notices, [notice]);
    assert_eq!(set.views[&PHONE].introduced_by(id(DESKTOP)).count(), 1);
}

/// D13: a revocation on any own device reaches all on contact.
#[test]
fn a_revocation_travels_through_any_kin() {
    let mut set = Set::of(&[PHONE, LAPTOP, DESKTOP, TABLET]);
    set.view(PHONE).revoke(id(TABLET), Introduced::Keep, Reason::Lost, AT).unwrap();
    set.tell(PHONE, LAPTOP);
    let changes = set.tell(LAPTOP, DESKTOP);
    let (device, state, by, reason) = (id(TABLET), State::Revoked, id(LAPTOP), Reason::Lost);
    assert_eq!(changes.notices, [Notice::Ended { device, state, by, reason }]);
    assert!(changes.ended.contains(&id(TABLET)));
    for at in [PHONE, LAPTOP, DESKTOP] {
        assert_eq!(set.standing(TABLET, at), Standing::Revoked);
    }
}

/// D13: a device that is out of date cannot undo a revocation.
#[test]
fn an_old_statement_never_brings_a_revoked_device_back() {
    let mut set = Set::of(&[PHONE, LAPTOP, DESKTOP]);
    let old = set.view(LAPTOP).statements_to_send(&key(LAPTOP));
    set.view(PHONE).revoke(id(DESKTOP), Introduced::Keep, Reason::None, AT).unwrap();
    for _ in 0..3 {
        let changes = set.view(PHONE).accept(id(LAPTOP), &old, AT);
        assert_eq!(changes, Changes::default());
    }
    assert_eq!(set.standing(DESKTOP, PHONE), Standing::Revoked);
    assert_eq!(
        set.view(PHONE).pair(&paired(PHONE, DESKTOP, Role::Kin), AT, Duration::ZERO),
        Err(PairError::Dead)
    );
    assert_eq!(set.view(PHONE).confirm(id(DESKTOP), AT), Err(ConfirmError::Dead));
}

/// S16: from that moment the peer may do nothing.
#[test]
fn a_revoked_device_may_do_nothing() {
    let mut view = View::new(id(PHONE));
    view.pair(&paired(PHONE, LAPTOP, Role::Kin), AT, Duration::ZERO).unwrap();
    let before = view.generation();
    let changes = view.revoke(id(LAPTOP), Introduced::Keep, Reason::None, AT).unwrap();
    assert!(view.generation() > before);
    assert_eq!(changes.ended.iter().collect::<Vec<_>>(), [&id(LAPTOP)]);
    for action in every_action() {
        assert!(!view.may(id(LAPTOP), action), "{action:?}");
    }
}

fn every_action() -> [Action; 6] {
    [
        Action::Connect { window_open: false },
        Action::Connect { window_open: true },
        Action::ExchangeTrust,
        Action::Pair,
        Action::Sync,
        Action::SyncDomain(DomainId::of("notes")),
    ]
}

/// S9: an unpaired device can reach pairing while a code is open, nothing else.
#[test]
fn each_standing_has_exactly_its_rights() {
    let mut view = View::new(id(PHONE));
    let notes_only = Some(vec!["notes".to_owned()]);
    let limited = |name, role| Paired { domains: notes_only.clone(), ..paired(PHONE, name, role) };
    view.pair(&paired(PHONE, LAPTOP, Role::Kin), AT, Duration::ZERO).unwrap();
    view.pair(&limited(DESKTOP, Role::Guest), AT, Duration::ZERO).unwrap();
    view.pair(&limited(TABLET, Role::Once), AT, Duration::ZERO).unwrap();
    let rights = |name: u8| every_action().map(|action| view.may(id(name), action));
    //                                  connect, window, trust, pair, sync, notes
    assert_eq!(rights(9), [false, true, false, true, false, false], "stranger");
    assert_eq!(rights(TABLET), [true, true, false, true, true, true], "once");
    assert_eq!(rights(DESKTOP), [true, true, false, true, true, true], "guest");
    assert_eq!(rights(LAPTOP), [true; 6], "kin");
    assert_eq!(rights(PHONE), [false; 6], "oneself");
    let other = Action::SyncDomain(DomainId::of("secrets"));
    assert!(view.may(id(LAPTOP), other));
    assert!(!view.may(id(DESKTOP), other) && !view.may(id(TABLET), other));
}

#[test]
fn a_visit_ends_in_time_and_leaves_no_row() {
    let mut view = View::new(id(PHONE));
    let changes = view.pair(&paired(PHONE, TABLET, Role::Once), AT, Duration::from_secs(5)).unwrap();
    assert!(changes.rows.is_empty() && view.rows().is_empty());
    assert_eq!(view.next_dismissal(), Some(Duration::from_secs(65)));
    assert!(view.dismiss_overdue(Duration::from_secs(64)).is_empty());
    assert_eq!(view.dismiss_overdue(Duration::from_secs(65)), [id(TABLET)]);
    assert_eq!(view.standing(id(TABLET)), Standing::Stranger);
}

#[test]
fn a_visit_does_not_cut_lasting_trust_down() {
    let mut view = View::new(id(PHONE));
    view.pair(&paired(PHONE, LAPTOP, Role::Kin), AT, Duration::ZERO).unwrap();
    view.pair(&paired(PHONE, LAPTOP, Role::Once), AT, Duration::ZERO).unwrap();
    assert_eq!(view.standing(id(LAPTOP)), Standing::Kin);
}

#[test]
fn guests_are_not_passed_on_and_not_believed() {
    let mut set = Set::of(&[PHONE, LAPTOP]);
    set.view(PHONE).pair(&paired(PHONE, TABLET, Role::Guest), AT, Duration::ZERO).unwrap();
    set.tell_all();
    assert_eq!(set.standing(TABLET, LAPTOP), Standing::Stranger);
    let said = [kin_by(TABLET, DESKTOP), end_by(TABLET, LAPTOP, Kind::Revoked)];
    let changes = set.view(PHONE).accept(id(TABLET), &said, AT);
    assert_eq!((changes.refused, changes.rows.len()), (2, 0));
    assert_eq!(set.standing(LAPTOP, PHONE), Standing::Kin);
}

#[test]
fn a_strangers_word_counts_for_nothing() {
    let mut view = View::new(id(PHONE));
    let said = [kin_by(LAPTOP, DESKTOP), end_by(LAPTOP, TABLET, Kind::Revoked)];
    let changes = view.accept(id(LAPTOP), &said, AT);
    assert_eq!((changes.refused, view.rows().len()), (2, 0));
}

#[test]
fn a_device_that_a_revoked_one_brings_in_waits_for_the_person() {
    let mut set = Set::of(&[PHONE, LAPTOP, DESKTOP]);
    set.view(PHONE).revoke(id(DESKTOP), Introduced::Keep, Reason::None, AT).unwrap();
    // The thief pairs a device of its own; the laptop has not heard yet.
    set.pair(DESKTOP, 66);
    set.tell(DESKTOP, LAPTOP);
    assert_eq!(set.standing(66, LAPTOP), Standing::Kin);
    let changes = set.tell(LAPTOP, PHONE);
    let notice = Notice::BroughtInByRevoked { device: id(66), by: id(LAPTOP), origin: id(DESKTOP) };
    assert_eq!(changes.notices, [notice]);
    assert_eq!(set.standing(66, PHONE), Standing::Stranger);
    assert_eq!(set.view(PHONE).notices(), [notice], "it stands until somebody decides");
    assert_eq!(set.tell(LAPTOP, PHONE), Changes::default(), "and is said once");
    // Either answer ends it.
    let mut revoked = set.view(PHONE).clone();
    revoked.revoke(id(66), Introduced::Keep, Reason::None, AT).unwrap();
    assert_eq!((revoked.standing(id(66)), revoked.notices().len()), (Standing::Revoked, 0));
    set.view(PHONE).confirm(id(66), AT).unwrap();
    assert_eq!(set.standing(66, PHONE), Standing::Kin);
    assert!(set.view(PHONE).notices().is_empty());
    assert_eq!(set.view(PHONE).row(id(66)).unwrap().origin, id(PHONE));
}

#[test]
fn a_flagged_device_is_adopted_when_somebody_else_vouches_for_it() {
    let mut set = Set::of(&[PHONE, LAPTOP, DESKTOP]);
    set.view(PHONE).revoke(id(DESKTOP), Introduced::Keep, Reason::None, AT).unwrap();
    set.pair(DESKTOP, TABLET);
    set.tell(DESKTOP, LAPTOP);
    set.tell(LAPTOP, PHONE);
    assert_eq!(set.standing(TABLET, PHONE), Standing::Stranger);
    set.view(LAPTOP).confirm(id(TABLET), AT).unwrap();
    set.tell(LAPTOP, PHONE);
    assert_eq!(set.standing(TABLET, PHONE), Standing::Kin);
}

#[test]
fn with_adoption_on_asking_every_new_device_waits() {
    let mut set = Set::of(&[PHONE, LAPTOP]);
    set.view(PHONE).set_adoption(Adoption::Ask);
    set.pair(LAPTOP, DESKTOP);
    let changes = set.tell(LAPTOP, PHONE);
    let notice = Notice::AskAdoption { device: id(DESKTOP), by: id(LAPTOP), origin: id(LAPTOP) };
    assert_eq!(changes.notices, [notice]);
    assert!(!set.view(PHONE).may(id(DESKTOP), Action::Sync));
    set.view(PHONE).confirm(id(DESKTOP), AT).unwrap();
    assert!(set.view(PHONE).may(id(DESKTOP), Action::Sync));
    assert_eq!(set.view(PHONE).confirm(id(TABLET), AT), Err(ConfirmError::Unknown));
}

#[test]
fn a_device_that_left_keeps_what_it_vouched_for() {
    let mut set = Set::of(&[PHONE, LAPTOP]);
    set.pair(LAPTOP, DESKTOP);
    set.tell_all();
    set.view(LAPTOP).leave(AT);
    assert!(set.view(LAPTOP).has_left());
    let changes = set.tell(LAPTOP, PHONE);
    assert_eq!(set.standing(DESKTOP, PHONE), Standing::Kin);
    assert_eq!(set.standing(LAPTOP, PHONE), Standing::Retired);
    let (device, by) = (id(LAPTOP), id(LAPTOP));
    let ended = Notice::Ended { device, state: State::Retired, by, reason: Reason::None };
    assert!(changes.notices.contains(&ended));
    // Said by the one that left is said by nobody.
    set.pair(LAPTOP, TABLET);
    assert!(set.tell(LAPTOP, PHONE).refused > 0);
    set.tell(PHONE, DESKTOP);
    assert_eq!(set.standing(LAPTOP, DESKTOP), Standing::Retired);
    // Passed on by others, a voucher by a retired device is good.
    set.pair(DESKTOP, 40);
    set.tell(DESKTOP, 40);
    set.tell(PHONE, 40);
    assert_eq!(set.standing(PHONE, 40), Standing::Kin);
}

#[test]
fn a_device_that_changes_its_key_stays_in_the_set() {
    let mut set = Set::of(&[PHONE, LAPTOP, DESKTOP]);
    let leave = set.view(LAPTOP).statements_of_rotation(&key(LAPTOP), id(20), "laptop", AT);
    let (new, changes) = set.view(LAPTOP).rotated(id(20), AT);
    assert!(changes.notices.is_empty());
    let changes = set.view(PHONE).accept(id(LAPTOP), &leave, AT);
    assert_eq!(changes.refused, 0);
    assert_eq!(set.standing(20, PHONE), Standing::Kin);
    assert_eq!(set.standing(LAPTOP, PHONE), Standing::Retired);
    assert_eq!(set.view(PHONE).row(id(LAPTOP)).unwrap().reason, Reason::Rotated);
    set.views.remove(&LAPTOP);
    set.views.insert(20, new);
    set.tell_all();
    assert_eq!(set.standing(20, DESKTOP), Standing::Kin);
    assert_eq!(set.standing(LAPTOP, DESKTOP), Standing::Retired);
    assert_eq!(set.standing(DESKTOP, 20), Standing::Kin);
}

#[test]
fn two_devices_that_revoke_each_other_are_out_for_the_others() {
    let mut set = Set::of(&[PHONE, LAPTOP, DESKTOP, TABLET]);
    set.view(PHONE).revoke(id(LAPTOP), Introduced::Keep, Reason::None, AT).unwrap();
    set.view(LAPTOP).revoke(id(PHONE), Introduced::Keep, Reason::None, AT).unwrap();
    set.tell(PHONE, DESKTOP);
    set.tell(LAPTOP, TABLET);
    set.tell_all();
    for at in [DESKTOP, TABLET] {
        assert!(set.standing(PHONE, at).is_dead() && set.standing(LAPTOP, at).is_dead());
    }
    assert_eq!(set.standing(TABLET, DESKTOP), Standing::Kin);
}

/// P33: a device that was revoked says so once and stops; it removes nobody.
#[test]
fn a_revoked_device_learns_it_and_stops_syncing_with_that_peer() {
    let mut set = Set::of(&[PHONE, LAPTOP, DESKTOP]);
    let said = [end_by(LAPTOP, PHONE, Kind::Revoked)];
    let changes = set.view(PHONE).accept(id(LAPTOP), &said, AT);
    assert_eq!(changes.notices, [Notice::RevokedUs { by: id(LAPTOP) }]);
    assert!(!set.view(PHONE).may(id(LAPTOP), Action::Sync));
    assert!(set.view(PHONE).may(id(DESKTOP), Action::Sync));
    assert_eq!(set.view(PHONE).accept(id(LAPTOP), &said, AT), Changes::default());
    // A refused connection says the same.
    let changes = set.view(PHONE).handle_bye_revoked(id(DESKTOP), AT);
    assert_eq!(changes.notices, [Notice::RevokedUs { by: id(DESKTOP) }]);
    assert_eq!(set.view(PHONE).handle_bye_revoked(id(TABLET), AT), Changes::default());
    assert_eq!(set.view(PHONE).notices().len(), 2);
}

#[test]
fn a_revoke_can_take_along_what_the_device_brought_in() {
    let mut set = Set::of(&[PHONE, LAPTOP]);
    set.pair(LAPTOP, DESKTOP);
    set.tell_all();
    let mut kept = set.view(PHONE).clone();
    let changes = kept.revoke(id(LAPTOP), Introduced::Keep, Reason::None, AT).unwrap();
    assert_eq!(changes.rows.len(), 2);
    assert_eq!(kept.row(id(DESKTOP)).unwrap().origin, id(PHONE));
    assert_eq!(kept.standing(id(DESKTOP)), Standing::Kin);
    let mut killed = set.view(PHONE).clone();
    let changes = killed.revoke(id(LAPTOP), Introduced::Revoke, Reason::Lost, AT).unwrap();
    assert_eq!(changes.ended.len(), 2);
    assert_eq!(killed.standing(id(DESKTOP)), Standing::Revoked);
}

/// The better voucher counts even when it comes with the revocation.
#[test]
fn a_voucher_of_a_revoked_device_is_replaced_by_a_better_one() {
    let mut set = Set::of(&[PHONE, LAPTOP, TABLET]);
    set.pair(LAPTOP, DESKTOP);
    set.tell_all();
    assert_eq!(set.view(TABLET).row(id(DESKTOP)).unwrap().origin, id(LAPTOP));
    set.view(PHONE).revoke(id(LAPTOP), Introduced::Keep, Reason::None, AT).unwrap();
    set.tell(PHONE, TABLET);
    assert_eq!(set.view(TABLET).row(id(DESKTOP)).unwrap().origin, id(PHONE));
    // So a device that knows of the revocation alone adopts it from there.
    let mut fresh = View::new(id(50));
    fresh.pair(&paired(50, TABLET, Role::Kin), AT, Duration::ZERO).unwrap();
    fresh.revoke(id(LAPTOP), Introduced::Keep, Reason::None, AT).unwrap();
    let said = set.view(TABLET).statements_to_send(&key(TABLET));
    fresh.accept(id(TABLET), &said, AT);
    assert_eq!(fresh.standing(id(DESKTOP)), Standing::Kin);
}

#[test]
fn the_sixty_fifth_device_is_not_trusted_and_revocations_always_are() {
    let mut view = View::new(id(PHONE));
    view.pair(&paired(PHONE, LAPTOP, Role::Kin), AT, Duration::ZERO).unwrap();
    let said: Vec<_> = (100..100 + LIVE_MAX as u8).map(|name| kin_by(LAPTOP, name)).collect();
    let changes = view.accept(id(LAPTOP), &said, AT);
    assert_eq!(view.trusted().count(), LIVE_MAX);
    assert_eq!(changes.refused, 1);
    let last = id(100 + LIVE_MAX as u8 - 1);
    assert!(changes.notices.contains(&Notice::SetFull { device: last, by: id(LAPTOP) }));
    assert_eq!(view.pair(&paired(PHONE, DESKTOP, Role::Guest), AT, Duration::ZERO), Err(PairError::Full));
    view.accept(id(LAPTOP), &[end_by(LAPTOP, 100, Kind::Revoked)], AT);
    assert_eq!(view.standing(id(100)), Standing::Revoked);
}

#[test]
fn unknown_keys_can_be_revoked_up_to_a_limit_and_known_ones_always() {
    let mut view = View::new(id(PHONE));
    view.pair(&paired(PHONE, LAPTOP, Role::Kin), AT, Duration::ZERO).unwrap();
    view.pair(&paired(PHONE, DESKTOP, Role::Kin), AT, Duration::ZERO).unwrap();
    let flood: Vec<_> = (0..=UNKNOWN_ENDS_MAX as u16)
        .map(|n| {
            let mut subject = [7; 32];
            subject[..2].copy_from_slice(&n.to_be_bytes());
            let body = Body::new(Kind::Revoked, DeviceId(subject), id(LAPTOP), AT);
            Statement::new(Signed::sign(&body, &key(LAPTOP)), None)
        })
        .collect();
    let changes = view.accept(id(LAPTOP), &flood, AT);
    assert_eq!((changes.rows.len(), changes.refused), (UNKNOWN_ENDS_MAX, 1));
    assert!(changes.notices.is_empty(), "nobody here knew them");
    // Another device has its own allowance, and a known key is always ended.
    let more = [end_by(DESKTOP, 99, Kind::Revoked)];
    assert_eq!(view.accept(id(DESKTOP), &more, AT).rows.len(), 1);
    view.accept(id(LAPTOP), &[end_by(LAPTOP, DESKTOP, Kind::Revoked)], AT);
    assert_eq!(view.standing(id(DESKTOP)), Standing::Revoked);
}

#[test]
fn undecided_devices_are_kept_up_to_a_limit() {
    let mut view = View::new(id(PHONE));
    view.set_adoption(Adoption::Ask);
    view.pair(&paired(PHONE, LAPTOP, Role::Kin), AT, Duration::ZERO).unwrap();
    let said: Vec<_> = (100..=100 + UNDECIDED_MAX as u8).map(|name| kin_by(LAPTOP, name)).collect();
    view.accept(id(LAPTOP), &said, AT);
    assert_eq!(view.notices().len(), UNDECIDED_MAX);
    view.confirm(id(100), AT).unwrap();
    view.accept(id(LAPTOP), &said, AT);
    assert_eq!(view.notices().len(), UNDECIDED_MAX, "the one too many comes again");
}

#[test]
fn pairing_again_heals_and_changes_the_role() {
    let mut view = View::new(id(PHONE));
    view.pair(&paired(PHONE, LAPTOP, Role::Guest), AT, Duration::ZERO).unwrap();
    view.set_alias(id(LAPTOP), Some(" my\tlaptop "));
    view.pair(&paired(PHONE, LAPTOP, Role::Kin), UnixMillis(AT.0 + 1), Duration::ZERO).unwrap();
    let row = view.row(id(LAPTOP)).unwrap();
    assert_eq!((row.role, row.since, row.name()), (Role::Kin, Some(AT), "my laptop"));
    view.lower(id(LAPTOP), Role::Guest, AT);
    assert_eq!(view.standing(id(LAPTOP)), Standing::Guest);
    view.lower(id(LAPTOP), Role::Kin, AT);
    assert_eq!(view.standing(id(LAPTOP)), Standing::Guest, "an acknowledgement never raises");
    assert_eq!(view.pair(&paired(PHONE, PHONE, Role::Kin), AT, Duration::ZERO), Err(PairError::Oneself));
    assert_eq!(view.revoke(id(PHONE), Introduced::Keep, Reason::None, AT), Err(RevokeError::Oneself));
}

#[test]
fn a_card_changes_a_label_and_nothing_else() {
    let mut view = View::new(id(PHONE));
    view.pair(&paired(PHONE, LAPTOP, Role::Kin), AT, Duration::ZERO).unwrap();
    let (head, generation) = (view.head(), view.generation());
    let card = Card { label: "\u{1b}[2Jnew name".into(), ..Card::default() };
    assert_eq!(view.note_card(id(LAPTOP), &card).rows.len(), 1);
    assert_eq!(view.note_card(id(LAPTOP), &card), Changes::default());
    assert_eq!(view.note_card(id(TABLET), &card), Changes::default());
    assert_eq!(view.row(id(LAPTOP)).unwrap().name(), "[2Jnew name");
    assert_eq!((view.head(), view.generation()), (head, generation));
}

#[test]
fn a_restored_view_has_another_head() {
    let mut view = View::new(id(PHONE));
    view.pair(&paired(PHONE, LAPTOP, Role::Kin), AT, Duration::ZERO).unwrap();
    let before = view.head();
    view.revoke(id(LAPTOP), Introduced::Keep, Reason::None, AT).unwrap();
    assert_ne!(view.head(), before);
    assert_eq!(view.head().count, 1);
}

/// No rule reads a clock: statements from any time do the same.
#[test]
fn times_in_statements_decide_nothing() {
    for at in [0, AT.0, u64::MAX] {
        let mut view = View::new(id(PHONE));
        view.pair(&paired(PHONE, LAPTOP, Role::Kin), AT, Duration::ZERO).unwrap();
        let body = |kind| Body::new(kind, id(DESKTOP), id(LAPTOP), UnixMillis(at));
        let sign = |kind| Statement::new(Signed::sign(&body(kind), &key(LAPTOP)), None);
        view.accept(id(LAPTOP), &[sign(Kind::Kin)], UnixMillis(0));
        assert_eq!(view.standing(id(DESKTOP)), Standing::Kin);
        view.accept(id(LAPTOP), &[sign(Kind::Revoked), sign(Kind::Kin)], UnixMillis(0));
        assert_eq!(view.standing(id(DESKTOP)), Standing::Revoked);
    }
}
