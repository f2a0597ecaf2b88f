//! `kinsync status`: one word, then what is behind it.

use std::time::Duration;

use kinsync::request::{DomainRow, Pill, Status as Ask, StatusAnswer};

use super::Run;
use crate::args::Status;
use crate::failure::Result;
use crate::output::{Align, Page, Text, WIDTH, clean, coarse, count, fine, plural, table, wrap};
use crate::reach::Class;

/// Prints the status, again after every change with `--watch`.
pub(crate) async fn run(run: &Run, args: &Status) -> Result<()> {
    let class = if args.watch { Class::Running } else { Class::Local };
    let node = run.reach(class).await?;
    let mut events = if args.watch { Some(node.events().await?) } else { None };
    loop {
        run.out.result(&node.ask(Ask {}).await?)?;
        match &mut events {
            None => return node.close().await,
            Some(events) => tokio::select! {
                biased;
                () = super::interrupted() => return Ok(()),
                event = events.next() => { event?; }
            },
        }
    }
}

impl Text for StatusAnswer {
    fn text(&self, page: Page) -> String {
        let mut text = first_line(self, page) + "\n";
        text += &domains(&self.domains);
        for waiting in &self.queue {
            let away = match waiting.last_seen {
                Some(then) => format!(" (offline {})", coarse(page.since(then))),
                None => String::new(),
            };
            let (records, name) = (plural(waiting.records, "record"), clean(&waiting.name));
            text += &format!("  queue: {records} for {name}{away}\n");
        }
        for warning in &self.warnings {
            let warning = wrap(&format!("    {}", clean(&warning.text)), WIDTH);
            text += &format!("  ! {}\n", warning.trim_start());
        }
        text
    }
}

/// A table of the domains that hold anything.
fn domains(domains: &[DomainRow]) -> String {
    let counts = |row: &DomainRow| [row.records, row.tombstones, row.waiting, row.conflicts];
    let used: Vec<&DomainRow> = domains.iter().filter(|row| counts(row) != [0; 4]).collect();
    if used.is_empty() {
        return "  no records yet\n".to_owned();
    }
    let heads = ["domain", "records", "tombstones", "waiting", "conflicts"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(
        used.iter().map(|row| std::iter::once(clean(&row.name)).chain(counts(row).map(count)).collect()),
    );
    let right = Align::Right;
    table(&rows, &[Align::Left, right, right, right, right], 2)
}

/// `● idle   synced 4 s ago with laptop   up 3 h 12 min   LAN only`
fn first_line(status: &StatusAnswer, page: Page) -> String {
    if !status.me.running {
        return "○ not running   start it with: kinsync up".to_owned();
    }
    let pill = match status.state {
        Pill::Error => page.red("● error"),
        Pill::Idle => page.green("● idle"),
        Pill::Offline => page.yellow("● offline"),
        Pill::Paused => page.yellow("● paused"),
        Pill::Success => page.green("● success"),
        Pill::Syncing => page.green("● syncing"),
    };
    let mut parts = vec![pill];
    let last = status.peers.iter().filter(|peer| peer.last_sync.is_some());
    if let Some(peer) = last.max_by_key(|peer| peer.last_sync) {
        parts.push(format!("synced {} with {}", page.ago(peer.last_sync), clean(&peer.name)));
    }
    if let Some(seconds) = status.me.uptime_s {
        parts.push(format!("up {}", fine(Duration::from_secs(seconds))));
    }
    parts.push(reach(&status.me.reach));
    parts.join("   ")
}

/// How far this device can be reached, in words.
pub(crate) fn reach(reach: &[String]) -> String {
    match reach {
        [] => "this device only".to_owned(),
        [one] if one == "lan" => "LAN only".to_owned(),
        more => more.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use kinsync::clock::Moment;
    use kinsync::request::{PeerPath, PeerRow, PeerState, QueueRow, Role, SelfRow, Warning};

    use super::*;

    const NOW: Moment = Moment(1_795_159_811_125);

    fn ago(seconds: u64) -> Option<Moment> {
        Some(Moment(NOW.0 - seconds * 1000))
    }

    fn status() -> StatusAnswer {
        let domain = |name: &str, [records, tombstones, waiting, conflicts]: [u64; 4]| DomainRow {
            name: name.to_owned(),
            records,
            tombstones,
            waiting,
            conflicts,
        };
        StatusAnswer {
            v: 1,
            me: SelfRow {
                id: "6Q3K-WN7A-DD3W-V5AT".to_owned(),
                peer_id: String::new(),
                name: "desktop".to_owned(),
                version: "0.1.0".to_owned(),
                running: true,
                pid: Some(7),
                uptime_s: Some(11_520),
                listening: Vec::new(),
                reach: vec!["lan".to_owned()],
                home: String::new(),
            },
            state: Pill::Idle,
            flags: Vec::new(),
            peers: vec![PeerRow {
                id: "B2XM-4T9R-DD3W-V5AT".to_owned(),
                peer_id: String::new(),
                name: "lap\u{202e}top".to_owned(),
                role: Some(Role::Kin),
                state: PeerState::Online,
                path: PeerPath::Lan,
                last_seen: ago(0),
                last_sync: ago(4),
                clock_offset_ms: None,
                rights: Vec::new(),
            }],
            domains: vec![
                domain("chats", [212, 3, 0, 0]),
                domain("messages", [18_940, 41, 0, 1]),
                domain("settings", [0, 0, 0, 0]),
            ],
            queue: vec![QueueRow {
                id: String::new(),
                name: "phone".to_owned(),
                records: 2,
                last_seen: ago(190_000),
            }],
            warnings: vec![Warning {
                code: "waiting-upgrade".to_owned(),
                text: "laptop runs a newer schema for presets (3 > 2). 4 records are waiting. Update this \
                       device."
                    .to_owned(),
            }],
            last_event: String::new(),
        }
    }

    /// P31: one word, then what is behind it.
    #[test]
    fn a_status_says_how_things_are() {
        assert_snapshot!(status().text(Page::at(NOW)), @r"
        ● idle   synced 4 s ago with lap�top   up 3 h 12 min   LAN only
          domain    records  tombstones  waiting  conflicts
          chats         212           3        0          0
          messages   18 940          41        0          1
          queue: 2 records for phone (offline 2 d)
          ! laptop runs a newer schema for presets (3 > 2). 4 records are waiting.
            Update this device.
        ");
    }

    #[test]
    fn without_a_node_it_says_how_to_start_one() {
        let mut status = status();
        status.me.running = false;
        status.domains.clear();
        status.queue.clear();
        status.warnings.clear();
        assert_snapshot!(status.text(Page::at(NOW)), @r"
        ○ not running   start it with: kinsync up
          no records yet
        ");
    }
}
