//! `kinsync peers`: the devices of the set.

use kinsync::request::{
    PeerAddAddr, PeerAddress, PeerDetail, PeerForget, PeerList, PeerPath, PeerRename, PeerRow, PeerShow,
    PeerState, Peers as Ask, Role, SelfRow, Status,
};
use serde::Serialize;

use super::Run;
use crate::args::{Peers, PeersAction};
use crate::failure::Result;
use crate::output::{Align, Page, Text, clean, plural, table};
use crate::reach::Class;

/// Lists or changes them.
pub(crate) async fn run(run: &Run, args: Peers) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    match args.action.unwrap_or(PeersAction::List) {
        PeersAction::List if run.out.is_json() => {
            run.out.line_json(&node.ask(Ask {}).await?)?;
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
        let heads = ["NAME", "ID", "STATE", "PATH", "LAST SEEN", "LAST SYNC", "RIGHTS"];
        let me = [&clean(&self.me.name), short(&self.me.id), "(you)", "–", "–", "–", "–"];
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
                rights(peer),
            ]
        }));
        table(&rows, &[Align::Left; 7], 0)
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

fn rights(peer: &PeerRow) -> String {
    if peer.rights.is_empty() { "–".to_owned() } else { peer.rights.join(" ") }
}
