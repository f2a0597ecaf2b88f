//! What can be asked of a node without any network.

mod changes;
mod conflicts;
mod domains;
mod drafts;
mod peers;

use std::collections::BTreeSet;

use super::*;
use crate::{
    clock::Moment,
    request::{Counts, HistoryKind, Level, List, Pill, PutItem, PutMany, SyncNow, Value},
};

/// A morning in November.
const MORNING: Moment = Moment(1_795_159_811_125);

struct Device {
    _temp: tempfile::TempDir,
    home: Home,
    clock: Clock,
}

impl Device {
    async fn new() -> (Self, Control) {
        let temp = tempfile::tempdir().expect("a directory");
        let home = Home::under(temp.path().join("laptop"));
        drop(Control::init(&home, Some("laptop")).await.expect("set up"));
        let device = Self { _temp: temp, home, clock: Clock::standing(MORNING) };
        let control = device.open().await.expect("opened");
        (device, control)
    }

    async fn open(&self) -> Result<Control, Failure> {
        Control::open_at(&self.home, self.clock.clone()).await
    }

    fn a_minute_passes(&self) {
        self.clock.advance(Duration::from_secs(60));
    }
}

fn many(domain: &str, items: &[(&str, &str)]) -> PutMany {
    let item = |(id, value): &(&str, &str)| PutItem { id: (*id).to_owned(), value: Value::from(*value) };
    PutMany { domain: domain.to_owned(), items: items.iter().map(item).collect(), dry_run: false }
}

async fn keys(control: &Control, list: List) -> (Vec<String>, Option<String>) {
    let answer = control.list(list).await.expect("listed");
    (answer.rows.into_iter().map(|row| row.id).collect(), answer.next)
}

/// S2: a store works with no sync at all, and keeps what was acknowledged.
#[tokio::test]
async fn what_was_put_is_there_after_a_restart() {
    let (device, control) = Device::new().await;
    let written = control.put("characters", "pilot", "{}").await.expect("written");
    assert_eq!(written.at, MORNING);
    assert!(written.version.starts_with("2026-11-20T07:30:11.125Z-"), "{}", written.version);
    drop(control);
    let control = device.open().await.expect("opened again");
    let found = control.get("characters", "pilot").await.expect("found");
    assert_eq!((found.value, found.version, found.mtime), ("{}".into(), written.version, MORNING));
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_says_why() {
    let (_device, control) = Device::new().await;
    let failure = control.get("characters", "pilot").await.expect_err("never was");
    assert_eq!((failure.kind, failure.exit_code()), (Kind::NotFound, 1));
    assert_eq!(control.del("characters", "pilot").await.expect_err("never was").kind, Kind::NotFound);
    assert_eq!(control.history("characters", "pilot").await.expect_err("never was").kind, Kind::NotFound);
    control.put("characters", "pilot", "{}").await.expect("written");
    control.del("characters", "pilot").await.expect("deleted");
    let failure = control.get("characters", "pilot").await.expect_err("deleted");
    assert_eq!(failure.kind, Kind::NotFound);
    assert!(failure.message.contains("deleted"), "{failure}");
}

#[tokio::test]
async fn bad_domains_keys_and_values_are_told_apart() {
    let (_device, control) = Device::new().await;
    for (domain, id, bytes, kind) in [
        ("characters", "", 1, Kind::BadKey),
        ("characters", "a\nb", 1, Kind::BadKey),
        ("characters", &"x".repeat(257), 1, Kind::BadKey),
        ("spells", "a", 1, Kind::UnknownDomain),
        ("characters", "a", (1 << 20) + 1, Kind::ValueTooLarge),
    ] {
        let failure = control.put(domain, id, vec![0; bytes]).await.expect_err("refused");
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.is_permanent());
    }
    control.put("settings", &"x".repeat(256), vec![0; 1 << 20]).await.expect("at the limits");
}

/// D9: what was replaced or deleted can be had again.
#[tokio::test]
async fn every_earlier_version_can_be_restored() {
    let (device, control) = Device::new().await;
    for value in ["one", "two"] {
        control.put("settings", "greeting", value).await.expect("written");
        device.a_minute_passes();
    }
    control.del("settings", "greeting").await.expect("deleted");
    let rows = control.history("settings", "greeting").await.expect("listed").rows;
    let kinds: Vec<_> = rows.iter().map(|row| (row.kind, row.bytes)).collect();
    assert_eq!(
        kinds,
        [(HistoryKind::Current, None), (HistoryKind::Deleted, Some(3)), (HistoryKind::Replaced, Some(3)),]
    );
    assert_eq!(rows[0].name.as_deref(), Some("laptop"));
    let deletion = control.restore("settings", "greeting", &rows[0].version).await.expect_err("no value");
    assert_eq!(deletion.kind, Kind::BadVersion);
    control.restore("settings", "greeting", &rows[2].version[..20]).await.expect("restored");
    assert_eq!(control.get("settings", "greeting").await.expect("found").value, "one".into());
    let failure = control.restore("settings", "greeting", "1999").await.expect_err("never was");
    assert_eq!(failure.kind, Kind::BadVersion);
}

#[tokio::test]
async fn a_list_comes_in_pages_in_key_order() {
    let (_device, control) = Device::new().await;
    let items = [("b/2", "x"), ("a", "xyz"), ("b/1", "x"), ("c", "x")];
    control.put_many(many("settings", &items)).await.expect("written");
    control.del("settings", "c").await.expect("deleted");
    let page = |prefix: &str, after: Option<&str>, limit| List {
        domain: "settings".to_owned(),
        prefix: prefix.to_owned(),
        after: after.map(str::to_owned),
        limit,
    };
    assert_eq!(
        keys(&control, page("", None, None)).await,
        (vec!["a".into(), "b/1".into(), "b/2".into()], None)
    );
    assert_eq!(keys(&control, page("b/", None, None)).await, (vec!["b/1".into(), "b/2".into()], None));
    let (first, next) = keys(&control, page("", None, Some(2))).await;
    assert_eq!((first, next.as_deref()), (vec!["a".into(), "b/1".into()], Some("b/1")));
    assert_eq!(keys(&control, page("", next.as_deref(), Some(2))).await, (vec!["b/2".into()], None));
    let rows = control.list(page("a", None, None)).await.expect("listed").rows;
    assert_eq!((rows[0].bytes, rows[0].mtime), (3, MORNING));
}

#[tokio::test]
async fn putting_many_twice_changes_nothing() {
    let (_device, control) = Device::new().await;
    control.put("settings", "a", "old").await.expect("written");
    control.put("settings", "b", "same").await.expect("written");
    let request = many("settings", &[("a", "new"), ("b", "same"), ("c", "first"), ("c", "last")]);
    let counts = Counts { added: 1, changed: 1, unchanged: 1 };
    let dry = PutMany { dry_run: true, ..request.clone() };
    assert_eq!(control.put_many(dry).await.expect("counted"), counts);
    assert_eq!(control.get("settings", "a").await.expect("found").value, "old".into());
    assert_eq!(control.put_many(request.clone()).await.expect("written"), counts);
    assert_eq!(control.get("settings", "c").await.expect("found").value, "last".into());
    let before = control.get("settings", "a").await.expect("found").version;
    let again = control.put_many(request).await.expect("written");
    assert_eq!(again, Counts { added: 0, changed: 0, unchanged: 3 });
    assert_eq!(control.get("settings", "a").await.expect("found").version, before);
}

#[tokio::test]
async fn too_many_at_once_are_refused_as_a_whole() {
    let (_device, control) = Device::new().await;
    let items = |n: usize| (0..n).map(|i| PutItem { id: i.to_string(), value: "x".into() }).collect();
    let request = |n| PutMany { domain: "settings".to_owned(), items: items(n), dry_run: false };
    let max = crate::request::PUT_MANY_ITEMS_MAX;
    assert_eq!(control.put_many(request(max + 1)).await.expect_err("too many").kind, Kind::BadRequest);
    assert_eq!(control.put_many(request(max)).await.expect("at the limit").added, max as u64);
}

/// F8: a change is an event that says what, where, when and from whom.
#[tokio::test]
async fn a_write_is_an_event() {
    let (_device, control) = Device::new().await;
    let mut watching = control.subscribe();
    let written = control.put("characters", "pilot", "{}").await.expect("written");
    control.del("characters", "pilot").await.expect("deleted");
    let put = watching.next().await.expect("an event").event;
    let line = serde_json::to_value(&put).expect("serialises");
    assert_eq!(
        line,
        serde_json::json!({
            "event": "put", "domain": "characters", "id": "pilot", "from": null,
            "at": "2026-11-20T07:30:11.125Z", "v": written.version,
        })
    );
    assert_eq!(watching.next().await.expect("an event").event.name(), "del");
}

/// I10: a home that is somebody is never overwritten.
#[tokio::test]
async fn a_home_is_set_up_once() {
    let (device, control) = Device::new().await;
    let failure = Control::init(&device.home, None).await.expect_err("twice");
    assert_eq!(failure.kind, Kind::AlreadyExists);
    let me = control.device();
    drop(control);
    assert_eq!(device.open().await.expect("opened").device(), me);
}

#[tokio::test]
async fn a_home_that_nobody_set_up_is_told_apart() {
    let temp = tempfile::tempdir().expect("a directory");
    let failure = Control::open(&Home::under(temp.path())).await.expect_err("nothing there");
    assert_eq!(failure.kind, Kind::NotInitialised);
    assert!(failure.hint.expect("a remedy").contains("kinsync init"));
}

#[tokio::test]
async fn a_second_process_on_a_home_is_refused() {
    let (device, control) = Device::new().await;
    let failure = device.open().await.expect_err("it is in use");
    assert_eq!((failure.kind, failure.exit_code()), (Kind::StoreLocked, 3));
    drop(control);
    device.open().await.expect("free again");
}

/// An app that embeds two nodes, and every test, relies on it.
#[tokio::test]
async fn two_devices_live_in_one_process() {
    let ((_a, laptop), (_b, phone)) = (Device::new().await, Device::new().await);
    laptop.put("settings", "a", "x").await.expect("written");
    assert_ne!(laptop.device(), phone.device());
    assert_eq!(phone.get("settings", "a").await.expect_err("another store").kind, Kind::NotFound);
}

#[tokio::test]
async fn without_a_node_the_network_is_not_running() {
    let (_device, control) = Device::new().await;
    let failures = [
        control.sync_now(SyncNow::default()).await.map(|_| ()),
        control.verify(None).await.map(|_| ()),
        control.pair_open(Default::default()).await.map(|_| ()),
        control.pair_cancel(1).await.map(|_| ()),
        control.down().await.map(|_| ()),
    ];
    for failure in failures {
        assert_eq!(failure.expect_err("no node").kind, Kind::NotRunning);
    }
}

/// P31: without a node the status tells what the store knows, and that no node
/// runs.
#[tokio::test]
async fn status_counts_what_is_kept() {
    let (_device, control) = Device::new().await;
    control.put_many(many("settings", &[("a", "x"), ("b", "x")])).await.expect("written");
    control.del("settings", "b").await.expect("deleted");
    let status = control.status().await.expect("told");
    assert_eq!((status.v, status.state, status.me.running), (1, Pill::Offline, false));
    assert_eq!((status.me.name.as_str(), status.me.pid), ("laptop", None));
    let row = status.domains.iter().find(|row| row.name == "settings").expect("a row");
    assert_eq!((row.records, row.tombstones, row.waiting), (1, 1, 0));
    assert!(status.warnings.is_empty() && status.flags.is_empty());
}

#[tokio::test]
async fn a_setting_is_kept_in_the_file_and_taken_at_once() {
    let (device, control) = Device::new().await;
    let live = control.config();
    control.config_set("name", "Anna's laptop").await.expect("set");
    let row = control.config_set("port", "9000").await.expect("set");
    assert_eq!((row.value.as_str(), row.default.as_str(), row.restart), ("9000", "7842", true));
    assert_eq!(live.borrow().name, "Anna's laptop");
    assert_eq!(live.borrow().port, 7842, "a port is taken at the next start");
    assert_eq!(control.config_set("port", "x").await.expect_err("no number").kind, Kind::BadSetting);
    assert_eq!(control.config_set("prot", "1").await.expect_err("misspelt").kind, Kind::UnknownSetting);
    drop(control);
    let control = device.open().await.expect("opened");
    assert_eq!(control.config_rows(Some("port")).await.expect("read").rows[0].value, "9000");
    assert_eq!(control.config().borrow().name, "Anna's laptop");
    let log = control.log_tail(None).await.expect("read").rows;
    assert_eq!(log.last().expect("a line").event, "settings_changed");
}

#[tokio::test]
async fn settings_for_one_run_do_not_reach_the_file() {
    let (device, control) = Device::new().await;
    control.adjust(|config| config.port = 1);
    assert_eq!(control.config().borrow().port, 1);
    control.config_set("mdns", "off").await.expect("set");
    drop(control);
    let control = device.open().await.expect("opened");
    assert_eq!(control.config().borrow().port, 7842);
    assert!(!control.config().borrow().mdns);
}

/// D4: every check has a level, and whatever is not well has a remedy.
#[tokio::test]
async fn doctor_checks_what_is_here_and_says_what_it_could_not() {
    let (_device, control) = Device::new().await;
    control.put("settings", "a", "x").await.expect("written");
    let rows = control.doctor().await.expect("checked").rows;
    let checks: BTreeSet<_> = rows.iter().map(|row| row.check.as_str()).collect();
    assert!(checks.is_superset(&BTreeSet::from(["identity", "config", "store", "disk", "node"])));
    for row in &rows {
        assert!(row.level == Level::Ok || row.remedy.is_some(), "{row:?}");
    }
    let store = rows.iter().find(|row| row.check == "store").expect("a row");
    assert!(store.text.contains("1 records"), "{}", store.text);
}

/// Security case 26: a home that others can enter is not one.
#[cfg(unix)]
#[tokio::test]
async fn a_home_is_private_or_refused() {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    let temp = tempfile::tempdir().expect("a directory");
    let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    let open = |path: &std::path::Path| {
        fs::create_dir(path).expect("made");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
    };
    let empty = temp.path().join("empty");
    open(&empty);
    Control::init(&Home::under(&empty), None).await.expect("an empty one is made private");
    assert_eq!(mode(&empty), 0o700);
    assert_eq!(mode(&empty.join("identity.key")), 0o600);
    let shared = temp.path().join("shared");
    open(&shared);
    fs::write(shared.join("notes.txt"), "for all").expect("written");
    let failure = Control::init(&Home::under(&shared), None).await.expect_err("others can enter");
    assert_eq!(failure.kind, Kind::Insecure);
    assert_eq!(mode(&shared), 0o755);
}
