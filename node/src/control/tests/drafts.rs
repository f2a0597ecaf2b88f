//! Drafts and holds.

use super::*;
use crate::{
    events::Event,
    request::{DraftState, HoldCommit, HoldDrop, HoldExtend, HoldOpen, HoldOpened, HoldSave},
};

async fn open(control: &Control, id: &str) -> Result<HoldOpened, Failure> {
    let ask = HoldOpen { domain: "settings".to_owned(), id: id.to_owned(), ttl_ms: Some(10_000) };
    control.hold(ask).await
}

async fn save(control: &Control, hold: &str, text: &str) -> Result<(), Failure> {
    let ask = HoldSave { hold: hold.to_owned(), value: text.into(), ttl_ms: Some(10_000) };
    control.hold_save(ask).await.map(drop)
}

fn named(event: &Event) -> (&'static str, serde_json::Value) {
    (event.name(), serde_json::to_value(event).expect("serialises")["hold"].clone())
}

/// P21: the record changes at the commit, in one step, and not before.
#[tokio::test]
async fn a_hold_publishes_at_its_commit() {
    let (_device, control) = Device::new().await;
    control.put("settings", "reply", "the old one").await.expect("written");
    let mut watching = control.subscribe();
    let opened = open(&control, "reply").await.expect("opened");
    assert_eq!((opened.until, opened.value), (Moment(MORNING.0 + 10_000), "".into()));
    save(&control, &opened.hold, "Hel").await.expect("saved");
    assert_eq!(control.get("settings", "reply").await.expect("there").value, "the old one".into());
    let draft = control.draft(&opened.hold[..6]).await.expect("found");
    assert_eq!((draft.value, draft.draft.state), ("Hel".into(), DraftState::Running));
    let value = Some("Hello".into());
    let written = control.hold_commit(HoldCommit { hold: opened.hold.clone(), value }).await.expect("done");
    assert_eq!((written.domain.as_str(), written.id.as_str()), ("settings", "reply"));
    assert_eq!(control.get("settings", "reply").await.expect("there").value, "Hello".into());
    assert!(control.drafts().await.expect("listed").rows.is_empty());
    let events: Vec<_> = std::iter::from_fn(|| watching.try_next()).map(|numbered| numbered.event).collect();
    let [started, Event::Put(_), finished] = &events[..] else { panic!("{events:?}") };
    assert_eq!(named(started), ("generation_started", opened.hold.clone().into()));
    assert_eq!(named(finished), ("generation_finished", opened.hold.into()));
}

/// P21: when the holder is gone, its text is kept and said to be interrupted.
#[tokio::test]
async fn a_hold_that_lapses_is_an_event() {
    let (device, control) = Device::new().await;
    let mut watching = control.subscribe();
    let opened = open(&control, "reply").await.expect("opened");
    save(&control, &opened.hold, "Hel").await.expect("saved");
    assert_eq!(open(&control, "reply").await.expect_err("it is held").kind, Kind::HoldTaken);
    control.lapse();
    assert!(control.lapses_at().is_some(), "not yet");
    device.a_minute_passes();
    control.lapse();
    assert_eq!(watching.next().await.expect("an event").event.name(), "generation_started");
    let event = watching.next().await.expect("an event").event;
    assert_eq!(named(&event), ("generation_interrupted", opened.hold.clone().into()));
    assert_eq!(control.lapses_at(), None);
    let late = save(&control, &opened.hold, "Hello").await.expect_err("too late");
    assert_eq!(late.kind, Kind::HoldLapsed);
    let extended = HoldExtend { hold: opened.hold, ttl_ms: None };
    assert_eq!(control.hold_extend(extended).await.expect_err("too late").kind, Kind::HoldLapsed);
    assert_eq!(open(&control, "reply").await.expect("taken up").value, "Hel".into());
}

/// P21: a start finds what the last run was writing, and tells of it.
#[tokio::test]
async fn a_restart_interrupts_what_was_running() {
    let (device, control) = Device::new().await;
    let opened = open(&control, "reply").await.expect("opened");
    save(&control, &opened.hold, "Hel").await.expect("saved");
    drop(control);
    let control = device.open().await.expect("opened");
    let rows = control.drafts().await.expect("listed").rows;
    assert_eq!((rows.len(), rows[0].state, rows[0].bytes), (1, DraftState::Interrupted, 3));
    let log = control.log_tail(None).await.expect("read").rows;
    assert_eq!(log.last().expect("a line").event, "generation_interrupted");
    assert_eq!(control.get("settings", "reply").await.expect_err("no half reply").kind, Kind::NotFound);
    control.hold_drop(HoldDrop { hold: opened.hold.clone() }).await.expect("dropped");
    let again = control.hold_drop(HoldDrop { hold: opened.hold }).await.expect_err("gone");
    assert_eq!(again.kind, Kind::NotFound);
}

#[tokio::test]
async fn what_is_no_hold_is_not_found() {
    let (_device, control) = Device::new().await;
    open(&control, "a").await.expect("opened");
    for hold in ["", "zzz", "0000000000000000"] {
        let commit = HoldCommit { hold: hold.to_owned(), value: None };
        assert_eq!(control.hold_commit(commit).await.expect_err("none").kind, Kind::NotFound, "{hold:?}");
        assert_eq!(save(&control, hold, "x").await.expect_err("none").kind, Kind::NotFound, "{hold:?}");
    }
}
