//! The durable feed of what changed.

use std::time::Duration;

use kinsync_store::{Arrival, CHANGES_ROWS_MAX, ChangesPage, Token};
use tokio::time::sleep;

use super::{
    Control,
    version::{moment, version_name},
};
use crate::{
    failure::{Failure, Kind},
    request::{CHANGES_WAIT_MAX, ChangeRow, Changes, ChangesAnswer, NOW},
};

impl Control {
    /// The changes of a domain after a place, oldest first. Waits for some if
    /// there are none, as long as was asked for.
    ///
    /// `bad-token` if the place is not one, `not-running` if the node stops
    /// during the wait.
    pub async fn changes(&self, ask: Changes) -> Result<ChangesAnswer, Failure> {
        let domain = self.domains().named(&ask.domain)?.id();
        // Before the first look, so that nothing falls between.
        let mut head = self.shared.heads.of(domain);
        let storage = &self.shared.storage;
        let since = match ask.since.as_deref() {
            None => Token::START,
            Some(NOW) => storage.read(move |snapshot| snapshot.newest(domain)).await?,
            Some(text) => text.parse().map_err(|error| {
                Failure::new(Kind::BadToken, format!("{text:?} is {error}."))
                    .hint("Use the token of the last change that was seen, or none to begin again.")
            })?,
        };
        let limit = ask.limit.unwrap_or(CHANGES_ROWS_MAX);
        let over = sleep(Duration::from_millis(ask.wait_ms).min(CHANGES_WAIT_MAX));
        tokio::pin!(over);
        loop {
            let page = storage.read(move |snapshot| snapshot.changes(domain, since, limit)).await?;
            if page.resync || !page.changes.is_empty() || ask.wait_ms == 0 {
                return Ok(self.page(page));
            }
            tokio::select! {
                biased;
                // An empty page would make whoever follows ask again at once.
                () = self.shared.events.stopping() => return Err(Failure::stopping()),
                () = head.grown() => {}
                () = &mut over => return Ok(self.page(page)),
            }
        }
    }

    fn page(&self, page: ChangesPage) -> ChangesAnswer {
        let row = |change: Arrival| ChangeRow {
            id: change.key.as_str().to_owned(),
            deleted: change.version.deleted,
            from: change.from.map(|device| self.peer_name(device).name),
            at: moment(change.version.stamp),
            v: version_name(change.version.stamp),
            token: change.token.to_string(),
        };
        ChangesAnswer {
            resync: page.resync,
            rows: page.changes.into_iter().map(row).collect(),
            next: page.next.to_string(),
            more: page.more,
        }
    }
}
