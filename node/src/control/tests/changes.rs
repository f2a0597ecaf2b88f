//! The durable feed.

use super::*;
use crate::{
    events::Event,
    request::{CHANGES_WAIT_MAX, Changes, ChangesAnswer, NOW},
};

fn since(token: Option<&str>) -> Changes {
    Changes { domain: "settings".to_owned(), since: token.map(str::to_owned), ..Changes::default() }
}

fn waiting(token: &str) -> Changes {
    Changes { wait_ms: u64::MAX, ..since(Some(token)) }
}

fn ids(answer: &ChangesAnswer) -> Vec<&str> {
    answer.rows.iter().map(|row| row.id.as_str()).collect()
}

/// F15: whoever was not there hears of everything afterwards.
#[tokio::test]
async fn changes_while_nobody_watched_are_told_later() {
    let (device, control) = Device::new().await;
    control.put("settings", "a", "1").await.expect("written");
    let seen = control.changes(since(None)).await.expect("told");
    assert_eq!((ids(&seen), seen.resync, seen.more), (vec!["a"], false, false));
    assert_eq!(seen.rows[0].token, seen.next);
    control.put("settings", "b", "1").await.expect("written");
    control.del("settings", "a").await.expect("deleted");
    control.put("secrets", "another domain", "1").await.expect("written");
    drop(control);
    let control = device.open().await.expect("opened");
    let page = control.changes(since(Some(&seen.next))).await.expect("told");
    assert_eq!((ids(&page), page.resync), (vec!["b", "a"], false));
    assert!(!page.rows[0].deleted && page.rows[1].deleted);
    assert_eq!((page.rows[0].at, page.rows[0].from.as_deref()), (MORNING, None));
    let now = control.changes(since(Some(NOW))).await.expect("told");
    assert_eq!((ids(&now), &now.next), (vec![], &page.next));
}

/// F8: a change ends the wait of those who follow its domain.
#[tokio::test]
async fn a_write_ends_the_wait() {
    let (_device, control) = Device::new().await;
    let start = control.changes(since(None)).await.expect("told").next;
    let (asked, waiter) = (waiting(&start), control.clone());
    let waiting = tokio::spawn(async move { waiter.changes(asked).await });
    control.put("secrets", "another domain", "1").await.expect("written");
    control.put("settings", "a", "1").await.expect("written");
    assert_eq!(ids(&waiting.await.expect("no panic").expect("told")), ["a"]);
}

/// However long somebody asks to wait, it ends.
#[tokio::test(start_paused = true)]
async fn a_wait_has_a_limit() {
    let (_device, control) = Device::new().await;
    let start = control.changes(since(None)).await.expect("told").next;
    let early = tokio::time::timeout(CHANGES_WAIT_MAX / 2, control.changes(waiting(&start))).await;
    assert!(early.is_err(), "it waits");
    let page = tokio::time::timeout(CHANGES_WAIT_MAX * 2, control.changes(waiting(&start))).await;
    let page = page.expect("it ends").expect("told");
    assert_eq!((ids(&page), &page.next), (vec![], &start));
}

#[tokio::test]
async fn a_node_that_stops_lets_go_of_those_who_wait() {
    let (_device, control) = Device::new().await;
    let start = control.changes(since(None)).await.expect("told").next;
    let (asked, waiter) = (waiting(&start), control.clone());
    let waiting = tokio::spawn(async move { waiter.changes(asked).await });
    control.events().publish(Event::Stopping);
    let failure = waiting.await.expect("no panic").expect_err("nothing can come any more");
    assert_eq!(failure.kind, Kind::NotRunning);
    assert_eq!(control.changes(since(Some(&start))).await.expect("no wait").next, start);
}

#[tokio::test]
async fn what_is_no_place_is_refused() {
    let (_device, control) = Device::new().await;
    for text in ["", "yesterday", "0-0", "0000000000000000"] {
        let failure = control.changes(since(Some(text))).await.expect_err("no place");
        assert_eq!(failure.kind, Kind::BadToken, "{failure}");
    }
    let unknown = Changes { domain: "spells".to_owned(), ..Changes::default() };
    assert_eq!(control.changes(unknown).await.expect_err("no domain").kind, Kind::UnknownDomain);
}
