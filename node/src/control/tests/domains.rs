//! What domains declare, applied to what is written and read.

use kinsync_protocol::{declaration::Declaration, id::DomainId, record::Key, value};
use kinsync_store::Job;

use super::*;
use crate::{
    domains::file::parse,
    events::Event,
    request::{AppState, Choice, Choose, DomainAdd, Put, Ready},
};

fn of(text: &str) -> Declaration {
    parse(text).expect("a declaration")
}

async fn declare(control: &Control, text: &str) {
    let add = DomainAdd { declaration: of(text), dry_run: false, yes: false };
    control.add_domain(add).await.expect("declared");
}

async fn text(control: &Control, domain: &str, id: &str) -> String {
    let found = control.get(domain, id).await.expect("found").value;
    String::from_utf8(found.0).expect("text")
}

async fn refused(control: &Control, domain: &str, id: &str, value: &str) -> Failure {
    control.put(domain, id, value).await.expect_err("refused")
}

/// Puts a record into the store as a newer device's would be there.
async fn store_as(control: &Control, domain: &str, id: &str, schema: u32, body: &str) {
    let stored = value::wrap(&value::Header::new(schema), body.as_bytes()).expect("small");
    let other = DeviceId([7; 32]);
    let stamp = kinsync_protocol::stamp::Stamp { time: kinsync_protocol::stamp::Hlc(1 << 40), device: other };
    let key = Key::new(id).expect("a key");
    let record = kinsync_protocol::record::Record::new(key, Some(stored), stamp, Default::default());
    let batch = kinsync_protocol::snapshot::Batch {
        domain: DomainId::of(domain),
        records: vec![record],
        cursor: None,
        floor: None,
    };
    peers::pair(control, other, "phone", kinsync_protocol::trust::Role::Kin).await;
    control.storage().write(Job::apply(other, vec![batch], control.now())).await.expect("applied");
}

/// F5: a value of another shape is refused, and the field named.
#[tokio::test]
async fn a_value_that_does_not_fit_is_refused_by_its_field() {
    let (_device, control) = Device::new().await;
    for value in ["{\"name\":7}", "plain", "[]"] {
        let failure = refused(&control, "characters", "pilot", value).await;
        assert_eq!((failure.kind, failure.exit_code()), (Kind::ValueDoesNotFit, 1));
    }
    let failure = refused(&control, "characters", "pilot", "{\"name\":7}").await;
    assert!(failure.message.contains("name: expected text, found a number"), "{failure}");
    let failure =
        control.put_many(many("characters", &[("a", "{}"), ("b", "7")])).await.expect_err("refused");
    assert!(failure.kind == Kind::ValueDoesNotFit && failure.message.contains(" b "), "{failure}");
    assert_eq!(control.get("characters", "a").await.expect_err("all or none").kind, Kind::NotFound);
}

/// I25, I26: what says the same is one record, and no other id will do.
#[tokio::test]
async fn a_memory_is_found_under_what_it_says() {
    let (_device, control) = Device::new().await;
    let memory = r#"{"project":"boat","source":"chat","content":"The tide turns at six."}"#;
    let written = control.put("memories", "", memory).await.expect("written");
    assert_eq!(written.id, "216487ed197836afabe2d7f3c3dfae78");
    control.put("memories", &written.id, memory).await.expect("its own id will do");
    let failure = refused(&control, "memories", "mine", memory).await;
    assert!(failure.kind == Kind::WrongId && failure.message.contains(&written.id), "{failure}");
    assert_eq!(refused(&control, "memories", "", "[]").await.kind, Kind::ValueDoesNotFit);
    assert_eq!(refused(&control, "memories", "", "{}").await.kind, Kind::ValueDoesNotFit);
    assert_eq!(refused(&control, "settings", "", "{}").await.kind, Kind::BadKey);

    let fact = r#"{"subject":"tide","predicate":"turns","object":"six","valid_from":"2026"}"#;
    let counts = control.put_many(many("facts", &[("", fact), ("", fact)])).await.expect("written");
    assert_eq!(counts, Counts { added: 1, changed: 0, unchanged: 0 });
    let ended = fact.replace("\"2026\"", "\"2026\",\"ended\":\"2027\"");
    let counts = control.put_many(many("facts", &[("", &ended)])).await.expect("written");
    assert_eq!(counts, Counts { added: 0, changed: 1, unchanged: 0 });
}

/// F19: each device writes its own settings, under its own id.
#[tokio::test]
async fn settings_of_a_device_stand_under_its_id() {
    let (_device, control) = Device::new().await;
    let own = control.device().to_string();
    let written = control.put("device-settings", "theme", "\"dark\"").await.expect("written");
    assert_eq!(written.id, format!("{own}/theme"));
    for id in ["theme", &written.id] {
        let found = control.get("device-settings", id).await.expect("found");
        assert_eq!((found.value, found.owner.as_deref()), ("\"dark\"".into(), Some("laptop")));
    }
    let rows =
        control.list(List { domain: "device-settings".into(), ..List::default() }).await.expect("listed");
    assert_eq!(rows.rows[0].owner.as_deref(), Some("laptop"));
    let other = "AAAA-BBBB-CCCC-DDDD/theme";
    let failure = refused(&control, "device-settings", other, "1").await;
    assert_eq!((failure.kind, failure.exit_code()), (Kind::NotOwner, 4));
    assert_eq!(control.del("device-settings", other).await.expect_err("not ours").kind, Kind::NotOwner);
    assert_eq!(control.get("device-settings", other).await.expect_err("none").kind, Kind::NotFound);
    control.del("device-settings", "theme").await.expect("ours");
}

/// F20: what a domain excludes stays here, is seen here, and counts nowhere.
#[tokio::test]
async fn what_is_excluded_stays_on_this_device() {
    let (device, control) = Device::new().await;
    let written = control.put("presets", "calm", r#"{"builtin":true}"#).await.expect("written");
    assert_eq!(written.version, "private");
    control.put("presets", "own", r#"{"builtin":false}"#).await.expect("written");
    let listed = keys(&control, List { domain: "presets".into(), ..List::default() }).await.0;
    assert_eq!(listed, ["calm", "own"]);
    let status = control.status().await.expect("told");
    let row = status.domains.iter().find(|row| row.name == "presets").expect("a row");
    assert_eq!((row.records, row.waiting), (1, 0));
    let failure = refused(&control, "presets", "own", r#"{"builtin":true}"#).await;
    assert_eq!(failure.kind, Kind::Shared);
    drop(control);
    let control = device.open().await.expect("opened");
    assert_eq!(text(&control, "presets", "calm").await, r#"{"builtin":true}"#);
    // Once it is no longer excluded, it is a record like others.
    let written = control.put("presets", "calm", r#"{"temp":1}"#).await.expect("written");
    assert_ne!(written.version, "private");
    assert_eq!(text(&control, "presets", "calm").await, r#"{"temp":1}"#);
    control.put("presets", "loud", r#"{"builtin":true}"#).await.expect("written");
    assert_eq!(control.del("presets", "loud").await.expect("deleted").version, "private");
    assert_eq!(control.get("presets", "loud").await.expect_err("gone").kind, Kind::NotFound);
    let counts = control.put_many(many("presets", &[("a", r#"{"builtin":true}"#), ("b", "{}")])).await;
    assert_eq!(counts.expect("written"), Counts { added: 2, changed: 0, unchanged: 0 });
    assert_eq!(control.get("presets", "a").await.expect("found").version, "private");
}

/// P32, D5: what is newer than this device knows is neither shown nor written
/// over, and it says who is older.
#[tokio::test]
async fn a_newer_record_is_left_alone() {
    let (_device, control) = Device::new().await;
    store_as(&control, "settings", "theme", 2, "{}").await;
    let failure = control.get("settings", "theme").await.expect_err("newer");
    assert_eq!((failure.kind, failure.exit_code()), (Kind::SchemaNewer, 9));
    assert!(failure.message.contains("has schema 2, and this device knows up to 1"), "{failure}");
    assert_eq!(refused(&control, "settings", "theme", "1").await.kind, Kind::SchemaNewer);
    let status = control.status().await.expect("told");
    let warning =
        status.warnings.iter().find(|warning| warning.code == "waiting-upgrade").expect("a warning");
    assert_eq!(
        warning.text,
        "phone runs a newer schema for settings (2 > 1). 1 record waits. Update this device."
    );
    declare(&control, "name = \"settings\"\nschema = 2\n").await;
    assert_eq!(text(&control, "settings", "theme").await, "{}");
}

/// P32: a record of an earlier shape is read as one of today.
#[tokio::test]
async fn an_older_record_is_read_in_todays_shape() {
    let (_device, control) = Device::new().await;
    declare(&control, "name = \"notes\"\n").await;
    control.put("notes", "a", r#"{"text":"x"}"#).await.expect("written");
    let next = "name = \"notes\"\nschema = 2\n[[migrate]]\nfrom = 1\nrename = { text = \"content\" }\n";
    declare(&control, next).await;
    assert_eq!(text(&control, "notes", "a").await, r#"{"content":"x"}"#);
}

/// D5: an application of before writes its own shape, keeps what it does not
/// know, and writes over nothing newer.
#[tokio::test]
async fn an_older_application_harms_nothing() {
    let (_device, control) = Device::new().await;
    let next = "name = \"notes\"\nschema = 2\n[[migrate]]\nfrom = 1\nrename = { text = \"content\" }\n\
                [value]\ntype = \"object\"\n[value.properties]\ncontent = { type = \"string\" }\n";
    declare(&control, next).await;
    let app = AppState { id: "old".into(), schema: [("notes".to_owned(), 1)].into(), has: Vec::new() };
    control.set_app(app).await.expect("noted");
    let put = |id: &str, value: &str, app: Option<&str>| {
        let put =
            Put { domain: "notes".into(), id: id.into(), value: value.into(), app: app.map(str::to_owned) };
        control.put_as(put)
    };
    put("a", r#"{"text":"x"}"#, Some("old")).await.expect("written");
    assert_eq!(text(&control, "notes", "a").await, r#"{"content":"x"}"#);
    // A newer application's own field survives an edit that does not know it.
    put("a", r#"{"content":"y","colour":"red"}"#, None).await.expect("written");
    put("a", r#"{"content":"z"}"#, None).await.expect("written");
    assert_eq!(text(&control, "notes", "a").await, r#"{"content":"z","colour":"red"}"#);
    store_as(&control, "notes", "b", 2, r#"{"content":"new"}"#).await;
    let failure = put("b", r#"{"text":"old"}"#, Some("old")).await.expect_err("newer than the application");
    assert!(failure.kind == Kind::SchemaNewer && failure.message.contains("this application"), "{failure}");
}

/// L6, I27, I28: what a model made is shown to those who have that model.
#[tokio::test]
async fn what_a_model_made_needs_that_model() {
    let (device, control) = Device::new().await;
    let memory = r#"{"content":"a","embedding":[0.5],"embedding_model":"big"}"#;
    let id = control.put("memories", "", memory).await.expect("written").id;
    assert_eq!(text(&control, "memories", &id).await, memory, "nobody has said what it has");
    let has = |has: &str| AppState { id: "app".into(), has: vec![has.to_owned()], ..AppState::default() };
    control.set_app(has("embedding-model/small")).await.expect("noted");
    assert_eq!(text(&control, "memories", &id).await, r#"{"content":"a"}"#);
    // An edit by somebody who did not see it does not take it away.
    control.put("memories", "", r#"{"content":"a","tags":[]}"#).await.expect("written");
    drop(control);
    let control = device.open().await.expect("opened");
    control.set_app(has("embedding-model/big")).await.expect("noted");
    assert!(text(&control, "memories", &id).await.contains("[0.5]"));
}

/// L13, L15: what records need is compared with what applications have; a
/// choice holds until that changes.
#[tokio::test]
async fn what_is_missing_is_told_and_asked_about() {
    let (device, control) = Device::new().await;
    assert_eq!(control.readiness(None).expect("told").state, Ready::Unknown);
    let mut events = control.subscribe();
    let app = |has: &[&str]| {
        let has = has.iter().map(|has| (*has).to_owned()).collect();
        AppState { id: "app".into(), has, ..AppState::default() }
    };
    let readiness = control.set_app(app(&[])).await.expect("noted");
    assert_eq!(readiness.state, Ready::ReadyWithout);
    assert_eq!(
        (readiness.missing[0].domain.as_str(), readiness.missing[0].id.as_str()),
        ("memories", "embedding-model")
    );
    let told = events.next().await.expect("an event").event;
    assert!(matches!(told, Event::Readiness { ref choices, .. } if choices.len() == 3), "{told:?}");
    let status = control.status().await.expect("told");
    assert!(status.flags.contains(&"readiness".to_owned()), "{:?}", status.flags);

    let choose = |id: &str| Choose { domain: "memories".into(), id: id.into(), choice: Choice::Without };
    control.choose(choose("embedding-model")).await.expect("noted");
    assert_eq!(control.choose(choose("a piano")).await.expect_err("not missing").kind, Kind::NotFound);
    drop(control);
    let control = device.open().await.expect("opened");
    let chosen = |control: &Control| control.readiness(None).expect("told").missing[0].choice;
    assert_eq!(chosen(&control), Some(Choice::Without));
    assert!(!control.status().await.expect("told").flags.contains(&"readiness".to_owned()));
    control.set_app(app(&["a piano"])).await.expect("noted");
    assert_eq!(chosen(&control), None, "asked again");
    let readiness = control.set_app(app(&["embedding-model/small"])).await.expect("noted");
    assert_eq!((readiness.state, readiness.missing.len()), (Ready::Ready, 0));

    declare(&control, "name = \"songs\"\nrequires = [{ id = \"piano\", need = \"must\" }]\n").await;
    assert_eq!(control.readiness(None).expect("told").state, Ready::Blocked);
    let far = AppState { has: vec!["x".repeat(129)], ..app(&[]) };
    assert_eq!(control.set_app(far).await.expect_err("too long").kind, Kind::BadRequest);
}
