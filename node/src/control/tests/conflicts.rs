//! Conflicts as applications meet them: told, leased, resolved.

use kinsync_protocol::{
    id::DomainId,
    record::{Key, Record},
    snapshot::Batch,
    stamp::{Hlc, Stamp},
};
use kinsync_store::Job;

use super::*;
use crate::{
    domains::file::parse,
    events::Event,
    request::{CLAIM_SECONDS_MAX, ConflictClaim, ConflictResolve, ConflictTake, DomainAdd, Take},
};

/// A text that this device wrote, and another of the phone's, which comes later
/// and has lost.
async fn disagreement(control: &Control) {
    let declaration = parse("name = \"stories\"\npolicy = \"merge:longer\"").expect("a declaration");
    control.add_domain(DomainAdd { declaration, dry_run: false, yes: false }).await.expect("declared");
    control.put("stories", "one", "a text").await.expect("written");
    let phone = DeviceId([7; 32]);
    peers::pair(control, phone, "phone", kinsync_protocol::trust::Role::Kin).await;
    let stamp = Stamp { time: Hlc(1 << 40), device: phone };
    let key = Key::new("one").expect("a key");
    let record = Record::new(key, Some(b"a longer text".to_vec()), stamp, Default::default());
    let batch = Batch { domain: DomainId::of("stories"), records: vec![record], cursor: None, floor: None };
    control.storage().write(Job::apply(phone, vec![batch], control.now())).await.expect("applied");
}

fn claim(lease_s: u64) -> ConflictClaim {
    ConflictClaim { domain: "stories".to_owned(), max: 9, lease_s }
}

/// S18 S20: an application is told of a conflict, gets both versions, and what
/// it makes of them is the record.
#[tokio::test]
async fn an_application_merges_what_it_has_claimed() {
    let (_device, control) = Device::new().await;
    let mut events = control.subscribe();
    disagreement(&control).await;
    let told = loop {
        if let Event::ConflictPending { domain, conflicts } = events.next().await.expect("an event").event {
            break (domain, conflicts);
        }
    };
    assert_eq!(told, ("stories".to_owned(), 1));
    let claimed = control.claim_conflicts(claim(30)).await.expect("claimed").rows.swap_remove(0);
    assert_eq!((claimed.kept, claimed.lost), (Some("a text".into()), Some("a longer text".into())));
    let resolve = |value: &str| ConflictResolve {
        conflict: claimed.conflict.clone(),
        claim: claimed.claim,
        value: Value::from(value),
    };
    control.resolve_conflict(resolve("a longer text")).await.expect("resolved");
    assert_eq!(control.get("stories", "one").await.expect("found").value, "a longer text".into());
    assert_eq!(control.conflicts(None).await.expect("listed").total, 0);
    let again = control.resolve_conflict(resolve("another")).await.expect_err("it is over");
    assert_eq!(again.kind, Kind::NotFound);
}

/// A lease keeps others away while it lasts, and no longer.
#[tokio::test]
async fn a_claim_that_lapsed_goes_to_the_next() {
    let (device, control) = Device::new().await;
    disagreement(&control).await;
    let first = control.claim_conflicts(claim(30)).await.expect("claimed").rows.swap_remove(0);
    assert!(control.claim_conflicts(claim(30)).await.expect("none left").rows.is_empty());
    device.a_minute_passes();
    let second = control.claim_conflicts(claim(30)).await.expect("claimed").rows.swap_remove(0);
    let resolve = |claim: u64| ConflictResolve {
        conflict: first.conflict.clone(),
        claim,
        value: Value::from("merged"),
    };
    let late = control.resolve_conflict(resolve(first.claim)).await.expect_err("somebody else has it");
    assert_eq!(late.kind, Kind::Changed);
    // What was claimed is not what stands any more.
    control.put("stories", "one", "edited meanwhile").await.expect("written");
    let stale = control.resolve_conflict(resolve(second.claim)).await.expect_err("it has changed");
    assert_eq!(stale.kind, Kind::Changed);
    assert_eq!(control.get("stories", "one").await.expect("found").value, "edited meanwhile".into());
}

#[tokio::test]
async fn leases_and_answers_are_checked() {
    let (_device, control) = Device::new().await;
    disagreement(&control).await;
    for lease_s in [0, CLAIM_SECONDS_MAX + 1] {
        let refused = control.claim_conflicts(claim(lease_s)).await.expect_err("too short or too long");
        assert_eq!(refused.kind, Kind::BadRequest);
    }
    assert_eq!(control.claim_conflicts(claim(CLAIM_SECONDS_MAX)).await.expect("claimed").rows.len(), 1);
    let take = ConflictTake { conflict: "stories@1".to_owned(), take: Take::Value, value: None };
    assert_eq!(control.take_conflict(take).await.expect_err("no value").kind, Kind::BadRequest);
    // A person decides whoever has claimed it.
    let take = ConflictTake { conflict: "stories@1".to_owned(), take: Take::Remote, value: None };
    control.take_conflict(take).await.expect("taken");
    assert_eq!(control.get("stories", "one").await.expect("found").value, "a longer text".into());
}
