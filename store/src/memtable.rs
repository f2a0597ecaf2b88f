//! Rows in memory over the tables on disk: what was written since they were last
//! brought there.
//!
//! A transaction collects its [`Changes`]; once they are in the log, they become
//! a run of a [`Memtable`]: rows in the order of their keys that never change. So
//! a reader keeps what it began with by keeping the runs. A run is merged with
//! the one before it as soon as that is not at least twice as long, which keeps
//! few of them and moves each row a few times only (the logarithmic method of
//! Bentley and Saxe, 1980).
//!
//! Changes and runs say of a key what stands there or that nothing does, whatever
//! is below.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::iter;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use redb::{AccessGuard, Key, Value};

use crate::error::ReadError;

/// Keys that memory can put in order as the database does, without it.
pub(crate) trait Ordered: Key + 'static {
    /// As [`Key::compare`].
    fn order(a: &[u8], b: &[u8]) -> Ordering;
}

macro_rules! ordered_as_bytes {
    ($($key:ty),*) => {$(
        impl Ordered for $key {
            fn order(a: &[u8], b: &[u8]) -> Ordering {
                a.cmp(b)
            }
        }
    )*};
}

/// Keys of numbers, each of so many bytes.
macro_rules! ordered_as_numbers {
    ($($key:ty: $($bytes:literal)*;)*) => {$(
        impl Ordered for $key {
            fn order(mut a: &[u8], mut b: &[u8]) -> Ordering {
                $(match number::<$bytes>(&mut a).cmp(&number::<$bytes>(&mut b)) {
                    Ordering::Equal => {}
                    order => return order,
                })*
                Ordering::Equal
            }
        }
    )*};
}

ordered_as_bytes!(&'static str, &'static [u8]);

impl<const N: usize> Ordered for &'static [u8; N] {
    fn order(a: &[u8], b: &[u8]) -> Ordering {
        a.cmp(b)
    }
}

ordered_as_numbers! {
    u32: 4;
    u64: 8;
    (u32, u64): 4 8;
    (u32, u128): 4 16;
    (u32, u8, u16): 4 1 2;
    (u32, u128, u64): 4 16 8;
}

/// Takes a number from the front, least byte first.
fn number<const N: usize>(bytes: &mut &[u8]) -> u128 {
    let Some((head, rest)) = bytes.split_first_chunk::<N>() else { return 0 };
    *bytes = rest;
    let mut wide = [0; 16];
    wide.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
    u128::from_le_bytes(wide)
}

/// The longest key that needs no memory of its own.
const INLINE_BYTES_MAX: usize = 30;

#[derive(Clone)]
enum KeyBytes {
    Inline { len: u8, bytes: [u8; INLINE_BYTES_MAX] },
    Shared(Arc<[u8]>),
}

/// The key of a row as the database stores it, in the order of its table.
pub(crate) struct RowKey<K>(KeyBytes, PhantomData<fn() -> K>);

impl<K: Ordered> RowKey<K> {
    pub(crate) fn new<'a>(key: impl Borrow<K::SelfType<'a>>) -> Self {
        Self::from_bytes(K::as_bytes(key.borrow()).as_ref())
    }
}

impl<K> RowKey<K> {
    pub(crate) fn from_bytes(from: &[u8]) -> Self {
        let mut bytes = [0; INLINE_BYTES_MAX];
        let key = match (bytes.get_mut(..from.len()), u8::try_from(from.len())) {
            (Some(to), Ok(len)) => {
                to.copy_from_slice(from);
                KeyBytes::Inline { len, bytes }
            }
            _ => KeyBytes::Shared(from.into()),
        };
        Self(key, PhantomData)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            KeyBytes::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            KeyBytes::Shared(bytes) => bytes,
        }
    }
}

impl<K> Clone for RowKey<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<K> fmt::Debug for RowKey<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RowKey").field(&self.bytes()).finish()
    }
}

impl<K: Ordered> Ord for RowKey<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        K::order(self.bytes(), other.bytes())
    }
}

impl<K: Ordered> PartialOrd for RowKey<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ordered> Eq for RowKey<K> {}

impl<K: Ordered> PartialEq for RowKey<K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

/// The value of a row as the database stores it, or `None` where the row was
/// removed.
pub(crate) type Row = Option<Arc<[u8]>>;

/// What a transaction has changed of one table.
pub(crate) type Changes<K> = BTreeMap<RowKey<K>, Row>;

/// Rows in the order of their keys.
type Run<K> = Arc<Vec<(RowKey<K>, Row)>>;

/// What lies over one table. A clone costs next to nothing, and does not change.
pub(crate) struct Memtable<K> {
    /// The older a run, the farther in front.
    runs: Vec<Run<K>>,
}

impl<K> Clone for Memtable<K> {
    fn clone(&self) -> Self {
        Self { runs: self.runs.clone() }
    }
}

impl<K> Default for Memtable<K> {
    fn default() -> Self {
        Self { runs: Vec::new() }
    }
}

impl<K: Ordered> Memtable<K> {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Takes in what was changed last.
    pub(crate) fn publish(&mut self, changes: Changes<K>) {
        if !changes.is_empty() {
            self.push(Arc::new(changes.into_iter().collect()));
        }
    }

    /// Takes in what lies over it.
    pub(crate) fn absorb(&mut self, upper: &Self) {
        upper.runs.iter().for_each(|run| self.push(Arc::clone(run)));
    }

    fn push(&mut self, mut run: Run<K>) {
        while let Some(before) = self.runs.pop_if(|before| before.len() / 2 < run.len()) {
            run = Arc::new(merged(before, run));
        }
        self.runs.push(run);
    }

    /// What it says of a key.
    pub(crate) fn get(&self, key: &RowKey<K>) -> Option<&Row> {
        self.runs.iter().rev().find_map(|run| {
            let at = run.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
            run.get(at).map(|(_, row)| row)
        })
    }

    /// The rows of `lower`, with those of the memtable over them.
    pub(crate) fn over<'a, V: Value + 'static>(
        &'a self,
        bounds: &Bounds<K>,
        mut lower: Range<'a, K, V>,
    ) -> Range<'a, K, V> {
        for run in &self.runs {
            let rows = part(run, bounds);
            if !rows.is_empty() {
                lower = over(rows.iter().map(|(key, row)| (key, row)), lower);
            }
        }
        lower
    }

    /// Everything that it says, in the order of keys.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (RowKey<K>, Row)> {
        let all = self.runs.iter().map(Arc::clone).reduce(|lower, upper| Arc::new(merged(lower, upper)));
        all.into_iter().flat_map(Arc::unwrap_or_clone)
    }
}

/// The rows of a run within bounds.
fn part<'a, K: Ordered>(run: &'a [(RowKey<K>, Row)], (start, end): &Bounds<K>) -> &'a [(RowKey<K>, Row)] {
    let start = match start {
        Bound::Included(first) => run.partition_point(|(key, _)| key < first),
        Bound::Excluded(before) => run.partition_point(|(key, _)| key <= before),
        Bound::Unbounded => 0,
    };
    let end = match end {
        Bound::Included(last) => run.partition_point(|(key, _)| key <= last),
        Bound::Excluded(behind) => run.partition_point(|(key, _)| key < behind),
        Bound::Unbounded => run.len(),
    };
    run.get(start..end).unwrap_or_default()
}

/// Both runs as one. Of two rows with one key, that of `upper` stays.
fn merged<K: Ordered>(lower: Run<K>, upper: Run<K>) -> Vec<(RowKey<K>, Row)> {
    let mut rows = Vec::with_capacity(lower.len() + upper.len());
    // Nobody else reads them, mostly.
    let mut lower = Arc::unwrap_or_clone(lower).into_iter().peekable();
    for row in Arc::unwrap_or_clone(upper) {
        while let Some(below) = lower.next_if(|below| below.0 < row.0) {
            rows.push(below);
        }
        lower.next_if(|below| below.0 == row.0);
        rows.push(row);
    }
    rows.extend(lower);
    rows
}

/// A key or a value that was read.
pub(crate) enum Cell<'a, V: Value + 'static> {
    /// From the database.
    Stored(AccessGuard<'a, V>),
    /// From memory, as the database would store it.
    Recent(&'a [u8]),
}

impl<V: Value + 'static> Cell<'_, V> {
    /// What it says.
    pub(crate) fn value(&self) -> V::SelfType<'_> {
        match self {
            Cell::Stored(guard) => guard.value(),
            Cell::Recent(bytes) => V::from_bytes(bytes),
        }
    }
}

/// A key and its value.
pub(crate) type Pair<'a, K, V> = (Cell<'a, K>, Cell<'a, V>);

/// Rows in a range of keys, in their order, from both ends.
pub(crate) type Range<'a, K, V> = Box<dyn DoubleEndedIterator<Item = Result<Pair<'a, K, V>, ReadError>> + 'a>;

/// Where a range starts and ends.
pub(crate) type Bounds<K> = (Bound<RowKey<K>>, Bound<RowKey<K>>);

/// Bounds with keys of their own. `None` if no key can be between them.
pub(crate) fn bounds<'a, K: Ordered, R: Borrow<K::SelfType<'a>> + 'a>(
    range: &impl RangeBounds<R>,
) -> Option<Bounds<K>> {
    let own = |bound: Bound<&R>| bound.map(|key| RowKey::new(key.borrow()));
    let (start, end) = (own(range.start_bound()), own(range.end_bound()));
    let is_empty = match (&start, &end) {
        (Bound::Included(first), Bound::Included(last)) => first > last,
        (Bound::Included(first) | Bound::Excluded(first), Bound::Included(last) | Bound::Excluded(last)) => {
            first >= last
        }
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    };
    (!is_empty).then_some((start, end))
}

/// The rows of `lower`, with those of `upper` over them.
pub(crate) fn over<'a, K, V>(
    upper: impl DoubleEndedIterator<Item = (&'a RowKey<K>, &'a Row)> + 'a,
    lower: Range<'a, K, V>,
) -> Range<'a, K, V>
where
    K: Ordered,
    V: Value + 'static,
{
    Box::new(Over { upper: Ends::new(upper), lower: Ends::new(lower) })
}

/// One of the ends of a range.
#[derive(Clone, Copy)]
enum End {
    Front,
    Back,
}

/// An iterator whose next item can be looked at, at both ends.
struct Ends<I: DoubleEndedIterator> {
    rest: I,
    front: Option<I::Item>,
    back: Option<I::Item>,
}

impl<I: DoubleEndedIterator> Ends<I> {
    fn new(rest: I) -> Self {
        Self { rest, front: None, back: None }
    }

    fn peek(&mut self, end: End) -> Option<&I::Item> {
        let item = self.take(end);
        let place = match end {
            End::Front => &mut self.front,
            End::Back => &mut self.back,
        };
        *place = item;
        place.as_ref()
    }

    fn take(&mut self, end: End) -> Option<I::Item> {
        match end {
            End::Front => self.front.take().or_else(|| self.rest.next()).or_else(|| self.back.take()),
            End::Back => self.back.take().or_else(|| self.rest.next_back()).or_else(|| self.front.take()),
        }
    }
}

struct Over<U: DoubleEndedIterator, L: DoubleEndedIterator> {
    upper: Ends<U>,
    lower: Ends<L>,
}

impl<'a, K, V, U, L> Over<U, L>
where
    K: Ordered,
    V: Value + 'static,
    U: DoubleEndedIterator<Item = (&'a RowKey<K>, &'a Row)>,
    L: DoubleEndedIterator<Item = Result<Pair<'a, K, V>, ReadError>>,
{
    fn step(&mut self, end: End) -> Option<L::Item> {
        loop {
            let Some((key, _)) = self.upper.peek(end) else { return self.lower.take(end) };
            let order = match self.lower.peek(end) {
                None => Ordering::Less,
                Some(Err(_)) => Ordering::Greater,
                Some(Ok((Cell::Recent(other), _))) => K::order(key.bytes(), other),
                Some(Ok((Cell::Stored(other), _))) => {
                    K::order(key.bytes(), K::as_bytes(&other.value()).as_ref())
                }
            };
            let order = match (end, self.lower.peek(end)) {
                (End::Back, Some(Ok(_))) => order.reverse(),
                _ => order,
            };
            if order.is_gt() {
                return self.lower.take(end);
            }
            if order.is_eq() {
                self.lower.take(end);
            }
            if let Some((key, Some(value))) = self.upper.take(end) {
                return Some(Ok((Cell::Recent(key.bytes()), Cell::Recent(value))));
            }
        }
    }
}

impl<'a, K, V, U, L> Iterator for Over<U, L>
where
    K: Ordered,
    V: Value + 'static,
    U: DoubleEndedIterator<Item = (&'a RowKey<K>, &'a Row)>,
    L: DoubleEndedIterator<Item = Result<Pair<'a, K, V>, ReadError>>,
{
    type Item = L::Item;

    fn next(&mut self) -> Option<L::Item> {
        self.step(End::Front)
    }
}

impl<'a, K, V, U, L> DoubleEndedIterator for Over<U, L>
where
    K: Ordered,
    V: Value + 'static,
    U: DoubleEndedIterator<Item = (&'a RowKey<K>, &'a Row)>,
    L: DoubleEndedIterator<Item = Result<Pair<'a, K, V>, ReadError>>,
{
    fn next_back(&mut self) -> Option<L::Item> {
        self.step(End::Back)
    }
}

/// No rows.
pub(crate) fn nothing<'a, K: Value + 'static, V: Value + 'static>() -> Range<'a, K, V> {
    Box::new(iter::empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Model = BTreeMap<u32, Option<u64>>;

    fn changes(model: &Model) -> Changes<u32> {
        let row = |value: Option<u64>| value.map(|value| Arc::from(u64::as_bytes(&value).as_ref()));
        model.iter().map(|(key, value)| (RowKey::new(key), row(*value))).collect()
    }

    fn read(pair: Result<Pair<'_, u32, u64>, ReadError>) -> (u32, u64) {
        let (key, value) = pair.unwrap();
        (key.value(), value.value())
    }

    fn layer() -> impl Strategy<Value = Model> {
        prop::collection::btree_map(0_u32..300, prop::option::weighted(0.7, any::<u64>()), 0..20)
    }

    proptest! {
        /// From whichever end a range is read, it has the rows that a map with
        /// all layers written into it one after the other has.
        #[test]
        fn layers_read_as_one_map(
            layers in prop::collection::vec(layer(), 1..9),
            start in 0_u32..300,
            len in 0_u32..300,
            from_back in prop::collection::vec(any::<bool>(), 60),
        ) {
            let mut model = BTreeMap::new();
            for (key, value) in layers.iter().flatten() {
                model.insert(*key, *value);
            }
            let keys = start..start.saturating_add(len);
            let mut right: Vec<_> =
                model.range(keys.clone()).filter_map(|(key, value)| Some((*key, (*value)?))).collect();

            let mut memtable = Memtable::default();
            let mut layers: Vec<_> = layers.iter().map(changes).collect();
            let last = layers.pop().unwrap_or_default();
            layers.into_iter().for_each(|layer| memtable.publish(layer));
            let stands = |key: u32| last.get(&RowKey::new(key)).or_else(|| memtable.get(&RowKey::new(key)));
            for key in 0..300 {
                let value = stands(key).and_then(|row| row.as_deref().map(u64::from_bytes));
                prop_assert_eq!(value, model.get(&key).copied().flatten());
            }
            let Some(bounds) = bounds::<u32, u32>(&keys) else { return Ok(()) };
            let mut rows: Range<'_, u32, u64> = memtable.over(&bounds, nothing());
            rows = over(last.range(bounds.clone()), rows);
            for back in from_back {
                if back {
                    prop_assert_eq!(rows.next_back().map(read), right.pop());
                } else {
                    let first = (!right.is_empty()).then(|| right.remove(0));
                    prop_assert_eq!(rows.next().map(read), first);
                }
            }
            prop_assert_eq!(rows.map(read).collect::<Vec<_>>(), right);
        }
    }

    fn same_order<K: Ordered>(a: &K::SelfType<'_>, b: &K::SelfType<'_>) {
        let (a, b) = (K::as_bytes(a), K::as_bytes(b));
        assert_eq!(K::order(a.as_ref(), b.as_ref()), K::compare(a.as_ref(), b.as_ref()));
    }

    /// The database must find the rows where memory would put them.
    #[test]
    fn keys_are_in_the_order_of_the_database() {
        let mut random = fastrand::Rng::with_seed(5);
        // Few numbers of any size, so that many fields are equal.
        let mut number = || random.u128(..) >> random.choice([0, 64, 120, 126]).unwrap();
        for _ in 0..2_000 {
            let (a, b, c) = ([number(), number()], [number(), number()], [number(), number()]);
            same_order::<u32>(&(a[0] as u32), &(a[1] as u32));
            same_order::<u64>(&(a[0] as u64), &(a[1] as u64));
            same_order::<(u32, u64)>(&(a[0] as u32, b[0] as u64), &(a[1] as u32, b[1] as u64));
            same_order::<(u32, u128)>(&(a[0] as u32, b[0]), &(a[1] as u32, b[1]));
            same_order::<(u32, u8, u16)>(
                &(a[0] as u32, b[0] as u8, c[0] as u16),
                &(a[1] as u32, b[1] as u8, c[1] as u16),
            );
            same_order::<(u32, u128, u64)>(
                &(a[0] as u32, b[0], c[0] as u64),
                &(a[1] as u32, b[1], c[1] as u64),
            );
            let (long, short) = (a[0].to_be_bytes(), &a[1].to_be_bytes()[..5]);
            same_order::<&[u8]>(&&long[..], &short);
            same_order::<&[u8; 16]>(&&long, &&b[0].to_be_bytes());
        }
        same_order::<&str>(&"a", &"ab");
    }

    /// However many are published, a memtable has few runs.
    #[test]
    fn runs_stay_few() {
        let mut memtable = Memtable::<u32>::default();
        let one = Some(Arc::from(&[1][..]));
        for key in 0..10_000_u32 {
            memtable.publish(BTreeMap::from([(RowKey::new(key.reverse_bits()), one.clone())]));
            assert!(memtable.runs.len() <= 14, "{key}: {}", memtable.runs.len());
        }
        assert_eq!(memtable.rows().count(), 10_000);
    }

    #[test]
    fn keys_of_any_length_come_back() {
        for len in [0, 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 1_000] {
            let bytes = vec![7; len];
            assert_eq!(RowKey::<&[u8]>::from_bytes(&bytes).bytes(), bytes);
        }
    }

    #[test]
    fn a_range_without_room_for_a_key_is_empty() {
        assert!(bounds::<u32, u32>(&(5..5)).is_none());
        #[allow(clippy::reversed_empty_ranges, reason = "that is the question")]
        let reversed = 6..=5;
        assert!(bounds::<u32, u32>(&reversed).is_none());
        assert!(bounds::<u32, u32>(&(Bound::Excluded(5), Bound::Excluded(5))).is_none());
        assert!(bounds::<u32, u32>(&(5..=5)).is_some());
        assert!(bounds::<u32, u32>(&(..5)).is_some());
    }
}
