//! The registry as a person sees and changes it.

use kinsync_protocol::{
    card::Card,
    id::DomainId,
    pairing::Paired,
    snapshot::Batch,
    trust::{PairError, Role as Trusted, State, View},
};
use kinsync_store::{Job, WriteError};

use super::*;
use crate::{
    control::command::{COMMANDS_MAX, NodeFacts, PeerFacts, RevokeEffect},
    events::Event,
    request::{PeerPath, PeerState, Role, SyncOutcome},
};

const PHONE: DeviceId = DeviceId([2; 32]);
const DESKTOP: DeviceId = DeviceId([3; 32]);

/// Makes `device` trusted, as a pairing does.
pub(super) async fn pair(control: &Control, device: DeviceId, label: &str, role: Trusted) {
    let card = Card { label: label.to_owned(), ..Card::default() };
    let paired = Paired { device, card, role, domains: None, once_seconds: 0, ours: None, theirs: None };
    let at = control.now();
    let job =
        Job::change_view(move |view| view.pair(&paired, at, Duration::ZERO).map(|changes| (changes, ())));
    let outcome: Result<_, PairError> = control.storage().write(job).await.expect("stored");
    outcome.expect("paired");
    control.refresh_names().await.expect("read");
}

/// What a peer delivers: nothing new, in a domain.
fn delivery() -> Vec<Batch> {
    vec![Batch { domain: DomainId::of("settings"), records: Vec::new(), cursor: None, floor: None }]
}

async fn view(control: &Control) -> View {
    control.storage().read(kinsync_store::StoreSnapshot::trust_view).await.expect("read")
}

async fn rows(control: &Control) -> Vec<(String, PeerState)> {
    let peers = control.peers().await.expect("listed").peers;
    peers.into_iter().map(|peer| (peer.name, peer.state)).collect()
}

/// S14: one row a trusted device, by name, with what is known of it.
#[tokio::test]
async fn trusted_devices_are_listed() {
    let (_device, control) = Device::new().await;
    pair(&control, PHONE, "phone", Trusted::Guest).await;
    pair(&control, DESKTOP, "desktop", Trusted::Kin).await;
    let peers = control.peers().await.expect("listed");
    let found: Vec<_> = peers.peers.iter().map(|peer| (peer.name.as_str(), peer.role, peer.path)).collect();
    let (kin, guest) = (Some(Role::Kin), Some(Role::Guest));
    assert_eq!(found, [("desktop", kin, PeerPath::None), ("phone", guest, PeerPath::None)]);
    assert_eq!((peers.v, &peers.peers[1].id), (1, &PHONE.to_string()));
    let detail = control.peer(&PHONE.short()).await.expect("shown");
    assert_eq!((detail.label.as_str(), detail.since, detail.added_by), ("phone", Some(MORNING), None));
}

/// D15: a device is called what its owner calls it, until they say otherwise.
#[tokio::test]
async fn a_peer_can_be_renamed_and_go_back() {
    let (device, control) = Device::new().await;
    pair(&control, PHONE, "phone", Trusted::Kin).await;
    assert_eq!(control.rename_peer("phone", "Anna\u{1b}'s").await.expect("renamed").name, "Anna's");
    drop(control);
    let control = device.open().await.expect("opened");
    assert_eq!(control.peer("anna").await.expect("shown").label, "phone");
    assert_eq!(control.rename_peer("anna", "").await.expect("renamed").name, "phone");
    assert_eq!(control.rename_peer("tablet", "x").await.expect_err("nobody").kind, Kind::NotPaired);
    assert_eq!(control.rename_peer("phone", "\u{7}").await.expect_err("no name").kind, Kind::BadRequest);
}

/// D1: an address that a person types is remembered.
#[tokio::test]
async fn a_typed_address_is_remembered() {
    let (device, control) = Device::new().await;
    pair(&control, PHONE, "phone", Trusted::Kin).await;
    control.add_peer_address("phone", "192.168.1.31").await.expect("remembered");
    drop(control);
    let control = device.open().await.expect("opened");
    let addresses = control.peer("phone").await.expect("shown").addresses;
    assert_eq!(addresses.len(), 1);
    assert_eq!((addresses[0].addr.as_str(), addresses[0].typed), ("/ip4/192.168.1.31/tcp/7842", true));
    let other = format!("/ip4/192.168.1.31/tcp/7842/p2p/{}", crate::identity::peer_id(&DESKTOP));
    for addr in ["phone.local", other.as_str()] {
        let failure = control.add_peer_address("phone", addr).await.expect_err("refused");
        assert_eq!(failure.kind, Kind::BadAddress);
    }
}

/// P13, S16: after the answer nothing of the device commits, and a restart does
/// not bring it back.
#[tokio::test]
async fn a_revoked_device_is_out_at_once_and_for_ever() {
    let (device, control) = Device::new().await;
    pair(&control, PHONE, "phone", Trusted::Kin).await;
    pair(&control, DESKTOP, "desktop", Trusted::Kin).await;
    control.storage().write(Job::apply(PHONE, delivery(), control.now())).await.expect("trusted");
    let revoked = control.revoke("phone").await.expect("revoked");
    assert_eq!((revoked.peer.state, revoked.peer.role, revoked.closed), (PeerState::Revoked, None, 0));
    assert_eq!((revoked.informed.len(), revoked.later), (0, vec!["desktop".to_owned()]));
    let refused = control.storage().write(Job::apply(PHONE, delivery(), control.now())).await;
    assert_eq!(refused, Err(WriteError::NotTrusted { peer: PHONE }));
    drop(control);
    let control = device.open().await.expect("opened");
    assert_eq!(
        rows(&control).await,
        [("desktop".to_owned(), PeerState::Offline), ("phone".to_owned(), PeerState::Revoked)]
    );
    assert_eq!(
        control
            .sync_now(SyncNow { peer: Some("phone".into()), ..SyncNow::default() })
            .await
            .expect_err("not trusted")
            .kind,
        Kind::Revoked
    );
    assert_eq!(control.add_peer_address("phone", "1.2.3.4").await.expect_err("over").kind, Kind::Revoked);
    control.revoke("phone").await.expect("twice changes nothing");
    let log = control.log_tail(None).await.expect("read").rows;
    assert_eq!(log.last().map(|row| row.event.as_str()), Some("revoked"));
}

/// D15: a device that is gone can leave the list; its key stays dead.
#[tokio::test]
async fn only_the_dead_are_forgotten_and_they_stay_dead() {
    let (_device, control) = Device::new().await;
    pair(&control, PHONE, "phone", Trusted::Kin).await;
    let failure = control.forget_peer("phone").await.expect_err("still trusted");
    assert!(failure.hint.expect("a remedy").contains("kinsync revoke"));
    control.revoke("phone").await.expect("revoked");
    control.forget_peer("phone").await.expect("forgotten");
    assert!(rows(&control).await.is_empty());
    assert_eq!(view(&control).await.row(PHONE).map(|row| row.state), Some(State::Revoked));
}

/// P33: a device that was removed says so, and that its data is kept.
#[tokio::test]
async fn a_removed_device_says_so_and_keeps_its_data() {
    let (_device, control) = Device::new().await;
    pair(&control, DESKTOP, "desktop", Trusted::Kin).await;
    control.put("settings", "a", "x").await.expect("written");
    let at = control.now();
    let job = Job::change_view(move |view| {
        Ok::<_, std::convert::Infallible>((view.handle_bye_revoked(DESKTOP, at), ()))
    });
    let Ok(_) = control.storage().write(job).await.expect("stored");
    let status = control.status().await.expect("told");
    assert_eq!(status.state, Pill::Error);
    let warning = status.warnings.iter().find(|warning| warning.code == "revoked").expect("a warning");
    assert!(warning.text.contains("removed by desktop"), "{}", warning.text);
    control.get("settings", "a").await.expect("kept");
}

/// A node that answers what the test lets it answer.
fn attach(control: &Control, mut answer: impl FnMut(Command) + Send + 'static) -> Control {
    let (sender, mut commands) = mpsc::channel(COMMANDS_MAX);
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            answer(command);
        }
    });
    control.attached(sender)
}

fn online(device: DeviceId) -> NodeFacts {
    let heard = PeerFacts {
        online: true,
        path: PeerPath::Lan,
        clock_offset_ms: Some(380_000),
        ..PeerFacts::default()
    };
    NodeFacts { peers: [(device, heard)].into(), ..NodeFacts::default() }
}

/// S14, S16: with a node the list says who is online, and a revocation cuts
/// them off before it answers.
#[tokio::test]
async fn with_a_node_the_revoked_are_cut_off_and_the_others_told() {
    let (_device, control) = Device::new().await;
    pair(&control, PHONE, "phone", Trusted::Kin).await;
    pair(&control, DESKTOP, "desktop", Trusted::Kin).await;
    let stored = control.clone();
    let control = attach(&control, move |command| {
        if let Command::Facts { reply } = command {
            return drop(reply.send(Ok(online(PHONE))));
        }
        let Command::Revoked { device: PHONE, reply } = command else { panic!("{command:?}") };
        let trust = stored.storage().store().read(kinsync_store::StoreSnapshot::trust_view);
        assert_eq!(trust.expect("read").row(PHONE).map(|row| row.state), Some(State::Revoked));
        drop(reply.send(Ok(RevokeEffect { closed: 1, informed: vec![DESKTOP] })));
    });
    assert_eq!(
        rows(&control).await,
        [("desktop".to_owned(), PeerState::Offline), ("phone".to_owned(), PeerState::Online)]
    );
    let status = control.status().await.expect("told");
    assert_eq!(status.flags, ["clock"]);
    assert!(status.warnings[0].text.contains("phone is 6m 20s ahead"), "{}", status.warnings[0].text);
    let mut watching = control.subscribe();
    let revoked = control.revoke("phone").await.expect("revoked");
    assert_eq!((revoked.closed, revoked.informed, revoked.later.len()), (1, vec!["desktop".to_owned()], 0));
    let event = watching.next().await.expect("an event").event;
    assert!(matches!(event, Event::Revoked { ref peer, by: None } if peer.name == "phone"), "{event:?}");
}

/// P17: a forced pass goes to the peers that are trusted, and comes back with
/// names.
#[tokio::test]
async fn passes_go_to_the_trusted_and_come_back_with_names() {
    let (_device, control) = Device::new().await;
    pair(&control, PHONE, "phone", Trusted::Kin).await;
    pair(&control, DESKTOP, "desktop", Trusted::Kin).await;
    control.revoke("phone").await.expect("revoked");
    let control = attach(&control, |command| {
        let Command::SyncNow { peers, wait: true, full: false, dry_run: false, reply } = command else {
            panic!("{command:?}")
        };
        let report = |device| crate::control::command::SyncReport {
            device,
            outcome: SyncOutcome::Equal,
            pull: 1,
            push: 2,
            duration_ms: 3,
            limited: Vec::new(),
            failure: None,
        };
        drop(reply.send(Ok(peers.into_iter().map(report).collect())));
    });
    let request = SyncNow { wait: true, ..SyncNow::default() };
    let rows = control.sync_now(request).await.expect("synced").peers;
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].name.as_str(), rows[0].pull, rows[0].push), ("desktop", 1, 2));
}

#[tokio::test]
async fn a_loop_that_ends_without_an_answer_is_not_running() {
    let (_device, control) = Device::new().await;
    let control = attach(&control, drop);
    assert_eq!(control.down().await.expect_err("no answer").kind, Kind::NotRunning);
}

/// S12: what a code may be is checked before anybody opens one.
#[tokio::test]
async fn a_code_that_lives_too_long_is_refused() {
    use crate::request::PairOpen;

    let (_device, control) = Device::new().await;
    let open = |expires_s, yes| PairOpen { expires_s: Some(expires_s), yes, ..PairOpen::default() };
    for (seconds, yes, kind) in [
        (0, false, Kind::BadRequest),
        (3_601, false, Kind::BadRequest),
        (601, true, Kind::BadRequest),
        (1, false, Kind::NotRunning),
        (3_600, false, Kind::NotRunning),
        (600, true, Kind::NotRunning),
    ] {
        let failure = control.pair_open(open(seconds, yes)).await.expect_err("refused");
        assert_eq!(failure.kind, kind, "{seconds} {yes}");
    }
}

/// P13, S16: a removed device goes on with a new key: its data stays, nobody is
/// trusted, and what was dead stays dead.
#[tokio::test]
async fn a_renewed_device_keeps_its_data_and_trusts_nobody() {
    let (device, control) = Device::new().await;
    pair(&control, PHONE, "phone", Trusted::Kin).await;
    pair(&control, DESKTOP, "desktop", Trusted::Kin).await;
    control.revoke("phone").await.expect("revoked");
    let written = control.put("settings", "a", "x").await.expect("written");
    let old = control.device();
    assert_eq!(Control::renew(&device.home).await.expect_err("in use").kind, Kind::StoreLocked);
    drop(control);
    let control = Control::renew(&device.home).await.expect("renewed");
    assert_ne!(control.device(), old);
    assert_eq!(control.get("settings", "a").await.expect("kept").version, written.version);
    let view = view(&control).await;
    let states: Vec<_> = [PHONE, DESKTOP, old].map(|device| view.row(device).map(|row| row.state)).into();
    assert_eq!(states, [Some(State::Revoked), None, Some(State::Revoked)]);
    control.put("settings", "a", "y").await.expect("written by the new key");
    let rows = control.history("settings", "a").await.expect("listed").rows;
    assert_eq!((&rows[0].device, &rows[1].device), (&control.device().to_string(), &old.to_string()));
}

/// A crash between any two steps of a renewal leaves a home that opens.
#[tokio::test]
async fn a_renewal_that_breaks_off_is_ended_or_undone() {
    let (device, control) = Device::new().await;
    let (old, path) = (control.device(), device.home.identity());
    crate::identity::Identity::prepare(&path).expect("prepared");
    drop(control);
    let control = device.open().await.expect("undone");
    assert_eq!(control.device(), old);
    let next = crate::identity::Identity::prepare(&path).expect("prepared").device();
    control.storage().write(Job::hand_over(next, control.now())).await.expect("handed over");
    drop(control);
    let control = device.open().await.expect("ended");
    assert_eq!(control.device(), next);
    drop(control);
    assert_eq!(device.open().await.expect("opened").device(), next);
}
