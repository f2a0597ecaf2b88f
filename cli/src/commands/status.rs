//! `kinsync status`: one word, then what is behind it.

use std::time::Duration;

use kinsync::request::{Pill, Status as Ask, StatusAnswer};

use super::Run;
use crate::args::Status;
use crate::failure::Result;
use crate::output::{Align, Page, Text, WIDTH, clean, count, fine, plural, table, wrap};
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
            Some(events) => _ = events.next().await?,
        }
    }
}

impl Text for StatusAnswer {
    fn text(&self, page: Page) -> String {
        let mut text = first_line(self, page) + "\n";
        let mut rows: Vec<Vec<String>> =
            vec![["domain", "records", "tombstones", "waiting", "conflicts"].map(str::to_owned).into()];
        rows.extend(self.domains.iter().map(|domain| {
            let counts = [domain.records, domain.tombstones, domain.waiting, domain.conflicts];
            std::iter::once(clean(&domain.name)).chain(counts.map(count)).collect()
        }));
        let right = Align::Right;
        text += &table(&rows, &[Align::Left, right, right, right, right], 2);
        for waiting in &self.queue {
            let away = match waiting.last_seen {
                Some(_) => format!(" ({})", page.ago(waiting.last_seen)),
                None => String::new(),
            };
            let (records, name) = (plural(waiting.records, "record"), clean(&waiting.name));
            text += &format!("  queue: {records} for {name}{away}\n");
        }
        for warning in &self.warnings {
            text += &wrap(&format!("  ! {}", clean(&warning.text)), WIDTH);
            text.push('\n');
        }
        text
    }
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
