//! The changes of a domain in the order in which they arrived, for those who
//! keep a copy in step and come back after any time.
//!
//! The arrival log holds one row for each record: whoever reads on from a
//! token sees the last state of every record that changed since, each once.

use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::{Key, Version};
use kinsync_protocol::snapshot::{Epoch, Snapshot};
use thiserror::Error;

use crate::error::ReadError;
use crate::snapshot::StoreSnapshot;
use crate::tables::{self, Rows};

/// Changes in one page at most: some hundred kilobytes of JSON.
pub const CHANGES_ROWS_MAX: usize = 1_000;

/// A place in the changes of one domain: everything up to it has been seen.
///
/// Text: sixteen hexadecimal digits of the epoch, a dash, the position. The
/// epoch names the start of the program that gave the position, so that a
/// place in a past which a restored backup undid is noticed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Token {
    /// The epoch that gave the position.
    pub epoch: Epoch,
    /// The position in the arrival log; 0 before its first.
    pub seq: u64,
}

impl Token {
    /// The place before every change.
    pub const START: Self = Self { epoch: 0, seq: 0 };
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.seq)
    }
}

/// A text that is no [`Token`].
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("not a place in the changes of a domain")]
pub struct TokenError;

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (epoch, seq) = text.split_once('-').ok_or(TokenError)?;
        let digits = |text: &str, is_digit: fn(u8) -> bool| !text.is_empty() && text.bytes().all(is_digit);
        if epoch.len() != 16 || !digits(epoch, |byte| byte.is_ascii_hexdigit()) {
            return Err(TokenError);
        }
        if !digits(seq, |byte| byte.is_ascii_digit()) {
            return Err(TokenError);
        }
        let epoch = u64::from_str_radix(epoch, 16).map_err(|_| TokenError)?;
        let seq = seq.parse().map_err(|_| TokenError)?;
        Ok(Self { epoch, seq })
    }
}

/// A record that changed, as it is now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Arrival {
    /// The place of this change: go on from here.
    pub token: Token,
    /// The record's key.
    pub key: Key,
    /// Its version.
    pub version: Version,
    /// The device that delivered it; `None` for a local write.
    pub from: Option<DeviceId>,
}

/// Some changes of a domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChangesPage {
    /// Whether the place that was asked for is not in this store's past, or is
    /// from before a deletion that was forgotten: what follows is everything,
    /// and whatever it does not name is not there.
    pub resync: bool,
    /// The changes, oldest first.
    pub changes: Vec<Arrival>,
    /// The place after them.
    pub next: Token,
    /// Whether more follow.
    pub more: bool,
}

impl StoreSnapshot {
    /// Up to `limit` changes of a domain after `since`, at least one if there
    /// is one and at most [`CHANGES_ROWS_MAX`].
    pub fn changes(&self, domain: DomainId, since: Token, limit: usize) -> Result<ChangesPage, ReadError> {
        // Whoever has not heard of a deletion that was forgotten has to begin again as well.
        let forgotten = self.forgotten(domain)?;
        let known =
            since == Token::START || since.seq >= forgotten && self.had(domain, since.epoch, since.seq)?;
        let since = if known { since } else { Token::START };
        let mut page = ChangesPage { resync: !known, changes: Vec::new(), next: since, more: false };
        let Some(dom) = self.dom(domain)? else { return Ok(page) };
        let limit = limit.clamp(1, CHANGES_ROWS_MAX);
        let range = (Bound::Excluded((dom, since.seq)), Bound::Included((dom, u64::MAX)));
        for row in self.view.log.range(range)?.take(limit + 1) {
            if page.changes.len() == limit {
                page.more = true;
                break;
            }
            let (place, key) = row?;
            let seq = place.value().1;
            let item = self.item_row(dom, tables::key_hash(key.value()))?;
            let item = item.ok_or_else(|| ReadError::damaged("a log row without an item"))?.item;
            let epoch = self.epoch_at(domain, seq)?;
            let token = epoch.map_or(page.next, |epoch| Token { epoch, seq });
            page.changes.push(Arrival { token, key: item.key, version: item.version, from: item.from });
            page.next = token;
        }
        Ok(page)
    }

    fn forgotten(&self, domain: DomainId) -> Result<u64, ReadError> {
        self.dom(domain)?.map_or(Ok(0), |dom| Ok(self.domain_row(dom)?.forgotten))
    }

    /// The place after every change of a domain so far.
    pub fn newest(&self, domain: DomainId) -> Result<Token, ReadError> {
        let root = self.root(domain)?;
        let epoch = self.epoch_at(domain, root.head)?;
        Ok(epoch.map_or(Token::START, |epoch| Token { epoch, seq: root.head }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Store;
    use crate::tests::world::*;

    fn read(store: &Store, since: Token, limit: usize) -> ChangesPage {
        store.read(|snapshot| snapshot.changes(notes(), since, limit)).unwrap()
    }

    fn names(page: &ChangesPage) -> Vec<&str> {
        page.changes.iter().map(|change| change.key.as_str()).collect()
    }

    #[test]
    fn a_token_reads_back_and_nothing_else_does() {
        for token in [Token::START, Token { epoch: u64::MAX, seq: u64::MAX }, Token { epoch: 7, seq: 42 }] {
            assert_eq!(token.to_string().parse(), Ok(token));
        }
        for text in [
            "",
            "-",
            "0-0",
            "0000000000000007",
            "0000000000000007-",
            "0000000000000007-+1",
            "+000000000000007-1",
            "000000000000000g-1",
            "0000000000000007-1-1",
            "0000000000000007-18446744073709551616",
            "é00000000000007-1",
        ] {
            assert_eq!(text.parse::<Token>(), Err(TokenError), "{text}");
        }
    }

    #[test]
    fn each_record_comes_once_at_its_last_change() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), PHONE);
        assert_eq!(read(&store, Token::START, 9).next, Token::START);
        for (name, value) in [("a", "1"), ("b", "1"), ("a", "2")] {
            put(&store, name, value, NOW);
        }
        store.delete(notes(), key("b"), NOW).unwrap();
        let page = read(&store, Token::START, 9);
        assert_eq!(names(&page), ["a", "b"]);
        assert_eq!(page.changes.iter().map(|row| row.version.deleted).collect::<Vec<_>>(), [false, true]);
        assert!(!page.resync && !page.more);
        assert_eq!(store.read(|snapshot| snapshot.newest(notes())).unwrap(), page.next);
        assert_eq!(read(&store, page.next, 9).changes, []);
        assert_eq!(read(&store, page.next, 9).next, page.next);
    }

    /// Read in pages of any size, the feed is the feed.
    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), PHONE);
        (0..7).for_each(|n| put(&store, &format!("n{n}"), "x", NOW));
        let all = read(&store, Token::START, usize::MAX).changes;
        for limit in [0, 1, 2, 3, 7, 8] {
            let (mut since, mut read_on) = (Token::START, Vec::new());
            loop {
                let page = read(&store, since, limit);
                assert!(page.changes.len() <= limit.max(1));
                since = page.next;
                read_on.extend(page.changes);
                if !page.more {
                    break;
                }
            }
            assert_eq!(read_on, all, "pages of {limit}");
        }
    }

    #[test]
    fn a_page_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), PHONE);
        let records = |count: usize| (0..count).map(|n| (key(&n.to_string()), b"x".to_vec())).collect();
        store.put_many(notes(), records(CHANGES_ROWS_MAX), NOW).unwrap();
        let page = read(&store, Token::START, usize::MAX);
        assert_eq!((page.changes.len(), page.more), (CHANGES_ROWS_MAX, false));
        put(&store, "one more", "x", NOW);
        let page = read(&store, Token::START, usize::MAX);
        assert_eq!((page.changes.len(), page.more), (CHANGES_ROWS_MAX, true));
    }

    /// F15: the feed goes on over restarts and misses nothing.
    #[test]
    fn a_place_from_before_a_restart_is_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), PHONE);
        put(&store, "a", "1", NOW);
        let seen = read(&store, Token::START, 9).next;
        drop(store);
        let store = open(folder.path(), PHONE);
        assert_eq!(read(&store, seen, 9).changes, []);
        put(&store, "b", "1", NOW);
        drop(store);
        let store = open(folder.path(), PHONE);
        put(&store, "c", "1", NOW);
        let page = read(&store, seen, 9);
        assert_eq!((page.resync, names(&page)), (false, vec!["b", "c"]));
        assert_ne!(page.changes[0].token.epoch, page.changes[1].token.epoch);
        assert_eq!(names(&read(&store, page.changes[0].token, 9)), ["c"]);
    }

    /// F15: after a backup was restored, whoever saw what it undid is told to
    /// begin again, also when the store has grown past that place.
    #[test]
    fn a_place_that_a_restored_backup_undid_is_a_resync() {
        let folder = tempfile::tempdir().unwrap();
        let (file, backup) = (folder.path().join("store"), folder.path().join("backup"));
        let store = open(folder.path(), PHONE);
        put(&store, "a", "1", NOW);
        let kept = read(&store, Token::START, 9).next;
        drop(store);
        fs::copy(&file, &backup).unwrap();
        let store = open(folder.path(), PHONE);
        put(&store, "b", "1", NOW);
        let lost = read(&store, Token::START, 9).next;
        drop(store);
        fs::copy(&backup, &file).unwrap();

        let store = open(folder.path(), PHONE);
        let page = read(&store, lost, 9);
        assert_eq!((page.resync, names(&page), page.next), (true, vec!["a"], kept));
        ["c", "d"].into_iter().for_each(|name| put(&store, name, "1", NOW));
        assert_eq!(names(&read(&store, lost, 1)), ["a"]);
        assert!(read(&store, lost, 9).resync);
        let page = read(&store, kept, 9);
        assert_eq!((page.resync, names(&page)), (false, vec!["c", "d"]));
    }

    /// A place that nobody gave out is no place.
    #[test]
    fn a_place_that_never_was_is_a_resync() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), PHONE);
        let resync = |token| read(&store, token, 9).resync;
        assert!(resync(Token { epoch: 1, seq: 1 }), "nothing was ever written");
        put(&store, "a", "1", NOW);
        let place = read(&store, Token::START, 9).next;
        assert!(!resync(place));
        assert!(resync(Token { seq: place.seq + 1, ..place }));
        assert!(resync(Token { epoch: place.epoch ^ 1, ..place }));
        assert!(resync(Token { seq: 0, ..place }));
    }
}
