//! Texts in the making: a reply that a model is still writing.
//!
//! Drafts stand in a table of their own. Nothing that sync reads leads to it,
//! so no other device ever sees half of one; a commit makes the draft the
//! record, in one transaction. Whoever writes a draft holds it under a lease:
//! a lease that lapses, and a start that finds one, leave it interrupted, for
//! a person or the application to keep or to drop.

use std::fmt;
use std::str::FromStr;

use kinsync_protocol::id::DomainId;
use kinsync_protocol::record::{Key, Version};
use kinsync_protocol::stamp::UnixMillis;
use thiserror::Error;

use crate::apply::{Stop, Tx};
use crate::bytes::Reader;
use crate::error::{ReadError, WriteError};
use crate::job::{Job, check_value};
use crate::rows::{open_row, seal_row};
use crate::snapshot::StoreSnapshot;
use crate::tables::Rows;

/// Drafts at a time: far more than a device writes at once, few enough to be
/// looked through.
pub const DRAFTS_MAX: u64 = 256;

/// Bytes of all drafts together.
pub const DRAFTS_BYTES_MAX: u64 = 64 << 20;

/// The longest lease: whoever is gone is found out before a person wonders.
pub const LEASE_MILLIS_MAX: u64 = 30_000;

/// Who holds a draft: a random number, so that the name of a former holder is
/// worth nothing.
///
/// Text: sixteen hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct HoldId(pub u64);

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A text that is no [`HoldId`].
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("not the name of a hold")]
pub struct HoldIdError;

impl FromStr for HoldId {
    type Err = HoldIdError;

    fn from_str(text: &str) -> Result<Self, HoldIdError> {
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(HoldIdError);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| HoldIdError)
    }
}

/// How a draft stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DraftState {
    /// Its holder is at work until then, unless it asks for more time.
    Running {
        /// When the lease lapses.
        until: UnixMillis,
    },
    /// Its holder went away. Nobody writes it any more.
    Interrupted,
}

/// A draft without its text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Draft {
    /// Who holds it, or held it last.
    pub hold: HoldId,
    /// The domain of the record it is for.
    pub domain: DomainId,
    /// The record it is for.
    pub key: Key,
    /// How it stands.
    pub state: DraftState,
    /// When it was begun.
    pub started: UnixMillis,
    /// When its text was last saved.
    pub saved: UnixMillis,
    /// How long its text is.
    pub bytes: u64,
}

impl Draft {
    fn row_key(domain: DomainId, key: &Key) -> Vec<u8> {
        [domain.0.as_slice(), key.as_str().as_bytes()].concat()
    }

    fn encode(&self) -> Vec<u8> {
        let until = match self.state {
            DraftState::Running { until } => until.0,
            DraftState::Interrupted => 0,
        };
        let numbers = [self.hold.0, until, self.started.0, self.saved.0, self.bytes];
        let bytes = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        seal_row(&Self::row_key(self.domain, &self.key), bytes)
    }

    fn decode(row_key: &[u8], row: &[u8]) -> Result<Self, ReadError> {
        let altered = || ReadError::damaged("an altered draft row");
        let content = open_row(row_key, row).ok_or_else(altered)?;
        let (domain, key) = row_key.split_first_chunk().ok_or_else(altered)?;
        let key = std::str::from_utf8(key).ok().and_then(|key| Key::new(key).ok()).ok_or_else(altered)?;
        let mut row = Reader::new(content, "draft");
        let (hold, until) = (HoldId(row.u64()?), row.u64()?);
        let (started, saved) = (UnixMillis(row.u64()?), UnixMillis(row.u64()?));
        let bytes = row.u64()?;
        let state = match until {
            0 => DraftState::Interrupted,
            until => DraftState::Running { until: UnixMillis(until) },
        };
        Ok(Self { hold, domain: DomainId(*domain), key, state, started, saved, bytes })
    }

    /// Its text, from the table of texts.
    fn text(&self, texts: &impl Rows<&'static [u8], &'static [u8]>) -> Result<Vec<u8>, ReadError> {
        let key = Self::row_key(self.domain, &self.key);
        let row = texts.get(key.as_slice())?;
        let text = row.as_ref().and_then(|row| open_row(&key, row.value()));
        Ok(text.ok_or_else(|| ReadError::damaged("an altered text of a draft"))?.to_vec())
    }

    /// As it is at `now`. A lease that is longer than any is one of before the
    /// clock was set back: it has lapsed too.
    fn at(mut self, now: UnixMillis) -> Self {
        if let DraftState::Running { until } = self.state
            && (until <= now || until.0 - now.0 > LEASE_MILLIS_MAX)
        {
            self.state = DraftState::Interrupted;
        }
        self
    }
}

/// The end of a lease of `millis` from `now` on.
fn lease(millis: u64, now: UnixMillis) -> DraftState {
    DraftState::Running { until: UnixMillis(now.0.saturating_add(millis.clamp(1, LEASE_MILLIS_MAX))) }
}

impl StoreSnapshot {
    /// All drafts as they are at `now`, by domain and key.
    pub fn drafts(&self, now: UnixMillis) -> Result<Vec<Draft>, ReadError> {
        let mut drafts = Vec::new();
        for row in self.view.drafts.range::<&[u8]>(..)? {
            let (key, row) = row?;
            drafts.push(Draft::decode(key.value(), row.value())?.at(now));
        }
        Ok(drafts)
    }

    /// A draft and its text.
    pub fn draft(&self, hold: HoldId, now: UnixMillis) -> Result<Option<(Draft, Vec<u8>)>, ReadError> {
        for row in self.view.drafts.range::<&[u8]>(..)? {
            let (key, row) = row?;
            let draft = Draft::decode(key.value(), row.value())?;
            if draft.hold == hold {
                let text = draft.text(&self.view.draft_texts)?;
                return Ok(Some((draft.at(now), text)));
            }
        }
        Ok(None)
    }
}

impl Tx<'_> {
    fn find_draft(&self, hold: HoldId, now: UnixMillis) -> Result<Draft, Stop> {
        for row in self.tables.drafts.range::<&[u8]>(..)? {
            let (key, row) = row?;
            let draft = Draft::decode(key.value(), row.value())?;
            if draft.hold == hold {
                return Ok(draft.at(now));
            }
        }
        Err(Stop::Refused(WriteError::NotFound))
    }

    /// The draft of a hold that has not lapsed.
    fn held_draft(&self, hold: HoldId, now: UnixMillis) -> Result<Draft, Stop> {
        let found = self.find_draft(hold, now)?;
        match found.state {
            DraftState::Running { .. } => Ok(found),
            DraftState::Interrupted => Err(Stop::Refused(WriteError::HoldLapsed)),
        }
    }

    /// Writes a draft, and its text if that is new.
    fn write_draft(&mut self, draft: &Draft, text: Option<Vec<u8>>) -> Result<(), ReadError> {
        let key = Draft::row_key(draft.domain, &draft.key);
        self.tables.drafts.insert(key.as_slice(), draft.encode().as_slice());
        if let Some(text) = text {
            self.tables.draft_texts.insert(key.as_slice(), seal_row(&key, text).as_slice());
        }
        self.dirty = true;
        Ok(())
    }

    fn remove_draft(&mut self, draft: &Draft) -> Result<(), ReadError> {
        let key = Draft::row_key(draft.domain, &draft.key);
        self.tables.drafts.remove(key.as_slice());
        self.tables.draft_texts.remove(key.as_slice());
        self.dirty = true;
        Ok(())
    }

    /// Marks those as interrupted that `has_ended` says.
    fn interrupt(&mut self, has_ended: impl Fn(&Draft) -> bool) -> Result<Vec<Draft>, ReadError> {
        let mut ended = Vec::new();
        for row in self.tables.drafts.range::<&[u8]>(..)? {
            let (key, row) = row?;
            let draft = Draft::decode(key.value(), row.value())?;
            if matches!(draft.state, DraftState::Running { .. }) && has_ended(&draft) {
                ended.push(Draft { state: DraftState::Interrupted, ..draft });
            }
        }
        for draft in &ended {
            self.write_draft(draft, None)?;
        }
        Ok(ended)
    }
}

impl Job<(Draft, Vec<u8>)> {
    /// Begins a draft, or takes up one that was interrupted, with its text.
    ///
    /// `hold` names the holder from now on and must be random; an earlier
    /// holder's name is worth nothing any more. The lease is `millis` long, at
    /// most [`LEASE_MILLIS_MAX`].
    ///
    /// # Errors
    /// [`WriteError::HoldTaken`] while another holder is at work,
    /// [`WriteError::TooManyDrafts`].
    pub fn hold(domain: DomainId, key: Key, hold: HoldId, millis: u64, now: UnixMillis) -> Self {
        Self::new(move |tx| {
            let row_key = Draft::row_key(domain, &key);
            let old = match tx.tables.drafts.get(row_key.as_slice())? {
                Some(row) => Some(Draft::decode(&row_key, row.value())?.at(now)),
                None => None,
            };
            let state = lease(millis, now);
            let (draft, text) = match old {
                Some(Draft { state: DraftState::Running { until }, .. }) => {
                    return Err(Stop::Refused(WriteError::HoldTaken { until }));
                }
                Some(draft) => {
                    let text = draft.text(&tx.tables.draft_texts)?;
                    (Draft { hold, state, ..draft }, text)
                }
                None if tx.tables.drafts.count()? >= DRAFTS_MAX => {
                    return Err(Stop::Refused(WriteError::TooManyDrafts));
                }
                None => {
                    let draft = Draft { hold, domain, key, state, started: now, saved: now, bytes: 0 };
                    (draft, Vec::new())
                }
            };
            tx.write_draft(&draft, Some(text.clone()))?;
            Ok((draft, text))
        })
    }
}

impl Job<Draft> {
    /// Replaces the text of a draft and begins its lease again.
    ///
    /// # Errors
    /// [`WriteError::NotFound`], [`WriteError::HoldLapsed`],
    /// [`WriteError::ValueTooLarge`], [`WriteError::TooManyDrafts`] if all
    /// drafts together would exceed [`DRAFTS_BYTES_MAX`].
    pub fn save_draft(hold: HoldId, text: Vec<u8>, millis: u64, now: UnixMillis) -> Self {
        let bytes = text.len();
        let mut job = Self::new(move |tx| {
            check_value(&text)?;
            let draft = tx.held_draft(hold, now)?;
            let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
            let mut total = bytes;
            for row in tx.tables.drafts.range::<&[u8]>(..)? {
                let (key, row) = row?;
                let other = Draft::decode(key.value(), row.value())?;
                if other.hold != hold {
                    total = total.saturating_add(other.bytes);
                }
            }
            if total > DRAFTS_BYTES_MAX {
                return Err(Stop::Refused(WriteError::TooManyDrafts));
            }
            let draft = Draft { state: lease(millis, now), saved: now, bytes, ..draft };
            tx.write_draft(&draft, Some(text))?;
            Ok(draft)
        });
        job.bytes = bytes;
        job
    }

    /// Begins the lease of a draft again.
    ///
    /// # Errors
    /// [`WriteError::NotFound`], [`WriteError::HoldLapsed`].
    pub fn extend_hold(hold: HoldId, millis: u64, now: UnixMillis) -> Self {
        Self::new(move |tx| {
            let draft = Draft { state: lease(millis, now), ..tx.held_draft(hold, now)? };
            tx.write_draft(&draft, None)?;
            Ok(draft)
        })
    }

    /// Forgets a draft, whoever holds it. The record it was for stays as it is.
    ///
    /// # Errors
    /// [`WriteError::NotFound`].
    pub fn drop_draft(hold: HoldId, now: UnixMillis) -> Self {
        Self::new(move |tx| {
            let draft = tx.find_draft(hold, now)?;
            tx.remove_draft(&draft)?;
            Ok(draft)
        })
    }
}

impl Job<(Draft, Version)> {
    /// Makes a draft the record that it is for, in one transaction; also one
    /// that was interrupted. `text` is the last of it, if it was not saved.
    ///
    /// # Errors
    /// [`WriteError::NotFound`] and what a write of the record is refused for.
    pub fn commit_draft(hold: HoldId, text: Option<Vec<u8>>, now: UnixMillis) -> Self {
        let bytes = text.as_ref().map_or(0, Vec::len);
        let mut job = Self::new(move |tx| {
            let mut draft = tx.find_draft(hold, now)?;
            let text = match text {
                Some(text) => text,
                None => draft.text(&tx.tables.draft_texts)?,
            };
            check_value(&text)?;
            draft.bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
            // It may be refused, and then the draft stays.
            let version = tx.write(draft.domain, &draft.key, Some(text), now)?;
            tx.remove_draft(&draft)?;
            Ok((draft, version))
        });
        job.bytes = bytes;
        job
    }
}

impl Job<Vec<Draft>> {
    /// Marks as interrupted the drafts whose lease has lapsed. Which they are.
    pub fn lapse_drafts(now: UnixMillis) -> Self {
        Self::new(move |tx| Ok(tx.interrupt(|draft| draft.clone().at(now).state == DraftState::Interrupted)?))
    }

    /// Marks all drafts as interrupted, as their holders are gone: for the
    /// start of the program. Which they are.
    pub fn interrupt_drafts() -> Self {
        Self::new(|tx| Ok(tx.interrupt(|_| true)?))
    }
}

#[cfg(test)]
mod tests {
    use kinsync_protocol::limits::VALUE_BYTES_MAX;
    use kinsync_protocol::snapshot::Snapshot as _;

    use super::*;
    use crate::Store;
    use crate::tests::world::*;

    const MINE: HoldId = HoldId(7);
    const OTHER: HoldId = HoldId(8);
    const TTL: u64 = 10_000;

    fn hold(store: &Store, name: &str, hold: HoldId, at: u64) -> Result<(Draft, Vec<u8>), WriteError> {
        store.write(Job::hold(notes(), key(name), hold, TTL, later(at)))
    }

    fn save(store: &Store, hold: HoldId, text: &str, at: u64) -> Result<Draft, WriteError> {
        store.write(Job::save_draft(hold, text.into(), TTL, later(at)))
    }

    fn commit(store: &Store, hold: HoldId, at: u64) -> Result<(Draft, Version), WriteError> {
        store.write(Job::commit_draft(hold, None, later(at)))
    }

    fn drafts(store: &Store, at: u64) -> Vec<Draft> {
        store.read(|snapshot| snapshot.drafts(later(at))).unwrap()
    }

    fn text(store: &Store, hold: HoldId) -> Option<String> {
        let found = store.read(|snapshot| snapshot.draft(hold, NOW)).unwrap()?;
        Some(String::from_utf8(found.1).unwrap())
    }

    fn opened() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), PHONE);
        (folder, store)
    }

    /// P21: nothing that sync can see changes before the commit, and then the
    /// whole text is there at once.
    #[test]
    fn a_draft_is_nothing_to_sync_until_it_is_committed() {
        let (_folder, store) = opened();
        put(&store, "reply", "the old one", NOW);
        let before = store.snapshot().unwrap().root(notes()).unwrap();
        hold(&store, "reply", MINE, 0).unwrap();
        for (n, so_far) in ["H", "Hel", "Hello"].into_iter().enumerate() {
            save(&store, MINE, so_far, n as u64).unwrap();
        }
        assert_eq!(store.snapshot().unwrap().root(notes()).unwrap(), before);
        assert_eq!(batch(&store, before.head).records, []);
        assert_eq!(get(&store, "reply").as_deref(), Some("the old one"));
        assert_eq!(text(&store, MINE).as_deref(), Some("Hello"));
        let (draft, version) = commit(&store, MINE, 3).unwrap();
        assert_eq!((draft.bytes, version.deleted), (5, false));
        assert_eq!(get(&store, "reply").as_deref(), Some("Hello"));
        assert_eq!(batch(&store, before.head).records.len(), 1);
        assert_eq!(drafts(&store, 3), []);
        assert_eq!(commit(&store, MINE, 3), Err(WriteError::NotFound));
        assert_sound(&store);
    }

    #[test]
    fn the_last_of_a_text_may_come_with_the_commit() {
        let (_folder, store) = opened();
        hold(&store, "reply", MINE, 0).unwrap();
        save(&store, MINE, "Hel", 1).unwrap();
        store.write(Job::commit_draft(MINE, Some(b"Hello".to_vec()), later(2))).unwrap();
        assert_eq!(get(&store, "reply").as_deref(), Some("Hello"));
    }

    #[test]
    fn a_record_has_one_holder_at_a_time() {
        let (_folder, store) = opened();
        hold(&store, "reply", MINE, 0).unwrap();
        let until = later(TTL);
        assert_eq!(hold(&store, "reply", OTHER, 1), Err(WriteError::HoldTaken { until }));
        hold(&store, "another", OTHER, 1).unwrap();
        assert_eq!(drafts(&store, 1).len(), 2);
    }

    /// P21: a lease that lapses leaves the text to whoever takes it up.
    #[test]
    fn a_lapsed_hold_can_be_taken_up_with_its_text() {
        let (_folder, store) = opened();
        hold(&store, "reply", MINE, 0).unwrap();
        save(&store, MINE, "Hel", 0).unwrap();
        assert_eq!(store.write(Job::lapse_drafts(later(TTL - 1))), Ok(vec![]));
        let lapsed = store.write(Job::lapse_drafts(later(TTL))).unwrap();
        assert_eq!(lapsed.iter().map(|draft| draft.hold).collect::<Vec<_>>(), [MINE]);
        assert_eq!(store.write(Job::lapse_drafts(later(TTL))), Ok(vec![]), "told once");
        assert_eq!(save(&store, MINE, "Hello", TTL), Err(WriteError::HoldLapsed));
        assert_eq!(store.write(Job::extend_hold(MINE, TTL, later(TTL))), Err(WriteError::HoldLapsed));
        let (draft, text) = hold(&store, "reply", OTHER, TTL).unwrap();
        assert_eq!((draft.hold, draft.started, text.as_slice()), (OTHER, NOW, b"Hel".as_slice()));
        assert_eq!(save(&store, MINE, "Hello", TTL), Err(WriteError::NotFound), "somebody else's now");
        save(&store, OTHER, "Hello", TTL).unwrap();
        commit(&store, OTHER, TTL).unwrap();
        assert_eq!(get(&store, "reply").as_deref(), Some("Hello"));
    }

    #[test]
    fn an_interrupted_draft_is_kept_until_somebody_decides() {
        let (_folder, store) = opened();
        for (name, mine) in [("kept", MINE), ("dropped", OTHER)] {
            hold(&store, name, mine, 0).unwrap();
            save(&store, mine, "half", 0).unwrap();
        }
        assert!(drafts(&store, TTL).iter().all(|draft| draft.state == DraftState::Interrupted));
        commit(&store, MINE, TTL * 100).unwrap();
        store.write(Job::drop_draft(OTHER, later(TTL * 100))).unwrap();
        assert_eq!(get(&store, "kept").as_deref(), Some("half"));
        assert_eq!(get(&store, "dropped"), None);
        assert_eq!(drafts(&store, 0), []);
        assert_eq!(store.write(Job::drop_draft(OTHER, NOW)), Err(WriteError::NotFound));
    }

    #[test]
    fn signs_of_life_extend_a_lease_up_to_its_limit() {
        let (_folder, store) = opened();
        hold(&store, "reply", MINE, 0).unwrap();
        let until = |draft: Draft| match draft.state {
            DraftState::Running { until } => until,
            DraftState::Interrupted => panic!("interrupted"),
        };
        assert_eq!(until(save(&store, MINE, "x", 9_999).unwrap()), later(9_999 + TTL));
        for (asked, given) in [(0, 1), (LEASE_MILLIS_MAX, 30_000), (LEASE_MILLIS_MAX + 1, 30_000)] {
            let extended = store.write(Job::extend_hold(MINE, asked, later(10_000))).unwrap();
            assert_eq!(until(extended), later(10_000 + given), "{asked}");
        }
        assert_eq!(text(&store, MINE).as_deref(), Some("x"));
        // The clock was set back by a day: no lease is that long.
        let yesterday = UnixMillis(NOW.0 - 86_400_000);
        assert_eq!(store.write(Job::lapse_drafts(yesterday)).unwrap().len(), 1);
    }

    /// P21: whatever ended the program, a draft is found interrupted after it.
    #[test]
    fn a_start_finds_what_was_interrupted() {
        let (folder, store) = opened();
        hold(&store, "reply", MINE, 0).unwrap();
        save(&store, MINE, "Hel", 0).unwrap();
        drop(store);
        let store = open(folder.path(), PHONE);
        assert_eq!(store.write(Job::interrupt_drafts()).unwrap().len(), 1);
        assert_eq!(store.write(Job::interrupt_drafts()), Ok(vec![]));
        assert_eq!(drafts(&store, 0)[0].state, DraftState::Interrupted);
        assert_eq!(text(&store, MINE).as_deref(), Some("Hel"));
    }

    #[test]
    fn drafts_are_limited_in_number() {
        let (_folder, store) = opened();
        for n in 0..DRAFTS_MAX {
            hold(&store, &n.to_string(), HoldId(n), 0).unwrap();
        }
        assert_eq!(hold(&store, "one more", HoldId(DRAFTS_MAX), 0), Err(WriteError::TooManyDrafts));
        hold(&store, "0", HoldId(DRAFTS_MAX), TTL).unwrap();
        store.write(Job::drop_draft(HoldId(1), NOW)).unwrap();
        hold(&store, "one more", HoldId(1), 0).unwrap();
    }

    #[test]
    fn drafts_are_limited_in_size() {
        let (_folder, store) = opened();
        let save = |hold, bytes| store.write(Job::save_draft(HoldId(hold), vec![0; bytes], TTL, NOW));
        let full = DRAFTS_BYTES_MAX / VALUE_BYTES_MAX as u64;
        for n in 0..=full {
            hold(&store, &n.to_string(), HoldId(n), 0).unwrap();
        }
        for n in 0..full {
            save(n, VALUE_BYTES_MAX).unwrap();
        }
        assert_eq!(save(full, 1), Err(WriteError::TooManyDrafts));
        save(0, VALUE_BYTES_MAX).expect("its own bytes do not count twice");
        save(0, VALUE_BYTES_MAX - 1).unwrap();
        save(full, 1).unwrap();
        let refused = WriteError::ValueTooLarge { bytes: VALUE_BYTES_MAX + 1, limit: VALUE_BYTES_MAX };
        assert_eq!(save(full, VALUE_BYTES_MAX + 1), Err(refused));
    }

    #[test]
    fn the_name_of_a_hold_reads_back_and_nothing_else_does() {
        for hold in [HoldId(0), MINE, HoldId(u64::MAX)] {
            assert_eq!(hold.to_string().parse(), Ok(hold));
        }
        for text in ["", "7", "000000000000000g", "+000000000000007", "00000000000000007", "é00000000000007"]
        {
            assert_eq!(text.parse::<HoldId>(), Err(HoldIdError), "{text}");
        }
    }
}
