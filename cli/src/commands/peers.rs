//! `kinsync peers`: the devices of the set.

use kinsync::request::{
    PeerAddAddr, PeerAddress, PeerAllow, PeerDetail, PeerForget, PeerList, PeerPath, PeerRename, PeerRow,
    PeerShow, PeerState, Peers as Ask, Role, SelfRow, Status,
};
use serde::Serialize;

use super::Run;
use crate::args::{Peers, PeersAction};
use crate::failure::{Failure, Result};
use crate::output::{Align, Page, Text, clean, plural, table};
use crate::reach::Class;

/// Lists or changes them.
pub(crate) async fn run(run: &Run, args: Peers) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    match args.action.unwrap_or(PeersAction::List) {
        PeersAction::List if run.out.is_json() => {
            run.out.object(&node.ask(Ask {}).await?)?;
        }
        PeersAction::List => {
            let me = node.ask(Status {}).await?.me;
            let list = node.ask(Ask {}).await?;
            run.out.result(&Devices { me, list })?;
        }
        PeersAction::Show { peer } => {
            run.out.result(&node.ask(PeerShow { peer }).await?)?;
        }
        PeersAction::Rename { peer, name } => {
            run.out.result(&Renamed(node.ask(PeerRename { peer, name }).await?))?;
        }
        PeersAction::Allow { peer, all, rights } => {
            let allowed = match rights.allowed() {
                None if !all => {
                    return Err(Failure::usage("Say what the device may do.")
                        .hint("Everything again:  --all. Less:  kinsync peers allow --help"));
                }
                allowed => allowed.unwrap_or_default(),
            };
            run.out.result(&MayDo(node.ask(PeerAllow { peer, allowed }).await?))?;
        }
        PeersAction::AddAddr { peer, addr } => {
            run.out.result(&node.ask(PeerAddAddr { peer, addr }).await?)?;
        }
        PeersAction::Forget { peer } => {
            let row = node.ask(PeerShow { peer }).await?.row;
            node.ask(PeerForget { peer: row.peer_id.clone() }).await?;
            run.out.result(&Forgotten(row))?;
        }
    }
    node.close().await
}

/// All devices of the set, this one first.
#[derive(Serialize)]
struct Devices {
    #[serde(skip)]
    me: SelfRow,
    #[serde(flatten)]
    list: PeerList,
}

impl Text for Devices {
    fn text(&self, page: Page) -> String {
        let heads = ["NAME", "ID", "STATE", "PATH", "LAST SEEN", "LAST SYNC", "ROLE", "RIGHTS"];
        let me = [&clean(&self.me.name), short(&self.me.id), "(you)", "–", "–", "–", "–", "–"];
        let mut rows = vec![heads.map(str::to_owned).to_vec(), me.map(str::to_owned).to_vec()];
        rows.extend(self.list.peers.iter().map(|peer| {
            vec![
                clean(&peer.name),
                short(&peer.id).to_owned(),
                state(peer.state).to_owned(),
                path(peer.path).to_owned(),
                match peer.state {
                    PeerState::Online => "now".to_owned(),
                    PeerState::Offline | PeerState::Retired | PeerState::Revoked => page.ago(peer.last_seen),
                },
                page.ago(peer.last_sync),
                peer.role.map_or("–", role).to_owned(),
                rights(&peer.rights).unwrap_or_else(|| "–".to_owned()),
            ]
        }));
        table(&rows, &[Align::Left; 8], 0)
    }
}

impl Text for PeerDetail {
    fn text(&self, page: Page) -> String {
        let row = &self.row;
        let mut lines = vec![
            ("name", clean(&row.name)),
            ("id", row.id.clone()),
            ("peer id", row.peer_id.clone()),
            ("role", row.role.map_or("–", role).to_owned()),
            ("may here", may(&row.rights).unwrap_or_else(|| "–".to_owned())),
            ("state", state(row.state).to_owned()),
            ("path", path(row.path).to_owned()),
            ("last seen", page.ago(row.last_seen)),
            ("last sync", page.ago(row.last_sync)),
        ];
        if clean(&row.name) != clean(&self.label) {
            lines.push(("calls itself", clean(&self.label)));
        }
        if let Some(platform) = &self.platform {
            lines.push(("runs on", clean(platform)));
        }
        if let Some(app) = &self.app {
            lines.push(("runs", clean(app)));
        }
        if let Some(since) = self.since {
            lines.push(("paired", since.to_string()));
        }
        if let Some(by) = &self.added_by {
            lines.push(("added by", clean(by)));
        }
        if let Some(offset) = row.clock_offset_ms {
            lines.push(("clock", format!("{offset:+} ms")));
        }
        if self.queued > 0 {
            lines.push(("queue", plural(self.queued, "record")));
        }
        if let Some(failure) = &self.last_failure {
            let times = format!("{} in a row, last: ", self.failures);
            lines.push(("failures", times + &clean(&failure.message)));
        }
        for address in &self.addresses {
            let worked = match address.worked {
                Some(_) => format!("worked {}", page.ago(address.worked)),
                None => "not tried yet".to_owned(),
            };
            lines.push(("address", format!("{}  {worked}", clean(&address.addr))));
        }
        let rows: Vec<Vec<String>> =
            lines.into_iter().map(|(head, value)| vec![head.to_owned(), value]).collect();
        table(&rows, &[Align::Left, Align::Left], 0)
    }
}

impl Text for PeerAddress {
    fn text(&self, _: Page) -> String {
        format!("Remembered {}.\n", clean(&self.addr))
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Renamed(PeerRow);

impl Text for Renamed {
    fn text(&self, _: Page) -> String {
        format!("{} is now called {}.\n", short(&self.0.id), clean(&self.0.name))
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Forgotten(PeerRow);

impl Text for Forgotten {
    fn text(&self, _: Page) -> String {
        format!("Forgot {} ({}).\n", clean(&self.0.name), short(&self.0.id))
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct MayDo(PeerRow);

impl Text for MayDo {
    fn text(&self, _: Page) -> String {
        let may = may(&self.0.rights).unwrap_or_default();
        format!("{} may now do this here: {may}.\n", clean(&self.0.name))
    }
}

/// Rights as the node tells them, taken apart: what is granted, the only
/// domains, and those that were asked for.
fn parts(rights: &[String]) -> (Vec<&str>, Option<&str>, Option<&str>) {
    let after = |prefix: &str| rights.iter().find_map(|word| word.strip_prefix(prefix));
    let words = rights.iter().map(String::as_str).filter(|word| !word.contains(':')).collect();
    (words, after("only:"), after("also:"))
}

/// Rights in a table: `all`, `read-only`, `no-delete, 2 domains`.
fn rights(rights: &[String]) -> Option<String> {
    let (words, only, also) = parts(rights);
    let what = match (words.contains(&"read"), words.contains(&"write"), words.contains(&"delete")) {
        (true, true, true) => "all",
        (true, true, false) => "no-delete",
        (true, false, _) => "read-only",
        (false, true, true) => "send-only",
        (false, true, false) => "send-only, no-delete",
        (false, false, _) => return None,
    };
    let names = |list: &str| plural(list.split(',').filter(|name| !name.is_empty()).count() as u64, "domain");
    let only = only.map(|list| format!(", {}", names(list))).unwrap_or_default();
    let also = also.map(|list| format!(" +{}", clean(list))).unwrap_or_default();
    Some(format!("{what}{only}{also}"))
}

/// Rights in words: `read, write, delete; only in chats, messages`.
fn may(rights: &[String]) -> Option<String> {
    let (words, only, also) = parts(rights);
    if words.is_empty() {
        return None;
    }
    let spread = |list: &str| clean(&list.replace(',', ", "));
    let only = match only {
        Some("") => "; in no domain".to_owned(),
        Some(list) => format!("; only in {}", spread(list)),
        None => String::new(),
    };
    let also = also.map(|list| format!("; also {}", spread(list))).unwrap_or_default();
    Some(format!("{}{only}{also}", words.join(", ")))
}

/// The first two groups of a printed id, for tables; decisions show all four.
pub(crate) fn short(id: &str) -> &str {
    id.get(..9).unwrap_or(id)
}

/// A role in a word.
pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::Guest => "guest",
        Role::Kin => "kin",
        Role::Once => "once",
    }
}

fn state(state: PeerState) -> &'static str {
    match state {
        PeerState::Offline => "offline",
        PeerState::Online => "online",
        PeerState::Retired => "retired",
        PeerState::Revoked => "revoked",
    }
}

fn path(path: PeerPath) -> &'static str {
    match path {
        PeerPath::DirectWan => "direct",
        PeerPath::Lan => "lan",
        PeerPath::None => "–",
        PeerPath::Relay => "relay",
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use kinsync::clock::Moment;

    use super::*;

    const NOW: Moment = Moment(1_795_159_811_125);

    fn ago(seconds: u64) -> Option<Moment> {
        Some(Moment(NOW.0 - seconds * 1000))
    }

    fn peer(name: &str, id: &str, state: PeerState, seen: u64) -> PeerRow {
        let is_online = state == PeerState::Online;
        PeerRow {
            id: format!("{id}-DD3W-V5AT"),
            peer_id: "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X".to_owned(),
            name: name.to_owned(),
            role: (state != PeerState::Revoked).then_some(Role::Kin),
            state,
            path: if is_online { PeerPath::Lan } else { PeerPath::None },
            last_seen: ago(seen),
            last_sync: (state != PeerState::Revoked).then_some(ago(seen + 4)).flatten(),
            clock_offset_ms: Some(-250),
            rights: if state == PeerState::Revoked {
                Vec::new()
            } else {
                ["read", "write", "delete"].map(str::to_owned).to_vec()
            },
        }
    }

    fn me() -> SelfRow {
        SelfRow {
            id: "6Q3K-WN7A-DD3W-V5AT".to_owned(),
            peer_id: String::new(),
            name: "desktop".to_owned(),
            version: String::new(),
            running: true,
            pid: None,
            uptime_s: None,
            listening: Vec::new(),
            reach: Vec::new(),
            home: String::new(),
        }
    }

    /// S14: what is known of each device at a glance.
    #[test]
    fn the_list_shows_this_device_first() {
        let peers = vec![
            peer("laptop", "B2XM-4T9R", PeerState::Online, 0),
            peer("phone", "9FHD-77CE", PeerState::Offline, 190_000),
            peer("old\u{1b}[2Jmac", "RR3P-K1YV", PeerState::Revoked, 3_600_000),
        ];
        let devices = Devices { me: me(), list: PeerList { v: 1, peers } };
        assert_snapshot!(devices.text(Page::at(NOW)), @r"
        NAME        ID         STATE    PATH  LAST SEEN  LAST SYNC  ROLE  RIGHTS
        desktop     6Q3K-WN7A  (you)    –     –          –          –     –
        laptop      B2XM-4T9R  online   lan   now        4 s ago    kin   all
        phone       9FHD-77CE  offline  –     2 d ago    2 d ago    kin   all
        old�[2Jmac  RR3P-K1YV  revoked  –     41 d ago   –          –     –
        ");
        let json = serde_json::to_value(&devices).unwrap();
        assert_eq!(json["v"], 1);
        assert_eq!(json.get("me"), None);
    }

    #[test]
    fn a_name_of_any_length_leaves_the_table_in_place() {
        let peers = vec![peer(&"wide ".repeat(12), "B2XM-4T9R", PeerState::Offline, 3_000)];
        let text = Devices { me: me(), list: PeerList { v: 1, peers } }.text(Page::at(NOW));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.lines().all(|line| line.contains("  ")), "{text}");
    }

    /// D16: what a device may do is a word in the table and a line in full.
    #[test]
    fn rights_are_shown_short_and_in_full() {
        let shown = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            (rights(&words).unwrap_or_default(), may(&words).unwrap_or_default())
        };
        let pair = |short: &str, full: &str| (short.to_owned(), full.to_owned());
        assert_eq!(shown(&["read"]), pair("read-only", "read"));
        assert_eq!(shown(&["write", "delete"]), pair("send-only", "write, delete"));
        assert_eq!(
            shown(&["read", "write", "only:chats,messages", "also:secrets"]),
            pair("no-delete, 2 domains +secrets", "read, write; only in chats, messages; also secrets")
        );
        assert_eq!(shown(&["read", "only:"]), pair("read-only, 0 domains", "read; in no domain"));
        assert_eq!(shown(&[]), pair("", ""));
    }

    /// Decisions show the whole id.
    #[test]
    fn one_device_is_shown_in_full() {
        let detail = PeerDetail {
            row: peer("laptop", "B2XM-4T9R", PeerState::Offline, 70),
            label: "Anna's laptop".to_owned(),
            platform: Some("linux".to_owned()),
            app: None,
            since: ago(400_000),
            added_by: Some("phone".to_owned()),
            addresses: vec![
                PeerAddress { addr: "/ip4/10.0.0.2/tcp/7842".to_owned(), worked: ago(70), typed: false },
                PeerAddress { addr: "/ip4/10.0.0.3/tcp/7842".to_owned(), worked: None, typed: true },
            ],
            queued: 1,
            failures: 0,
            last_failure: None,
        };
        assert_snapshot!(detail.text(Page::at(NOW)), @r"
        name          laptop
        id            B2XM-4T9R-DD3W-V5AT
        peer id       12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X
        role          kin
        may here      read, write, delete
        state         offline
        path          –
        last seen     1 min ago
        last sync     1 min ago
        calls itself  Anna's laptop
        runs on       linux
        paired        2026-11-15T16:23:31.125Z
        added by      phone
        clock         -250 ms
        queue         1 record
        address       /ip4/10.0.0.2/tcp/7842  worked 1 min ago
        address       /ip4/10.0.0.3/tcp/7842  not tried yet
        ");
    }
}
