//! What a transaction changes, as bytes: enough to do it again on the same
//! tables as they were before it.
//!
//! A change is a number of a table, a key and a value or none, all as the
//! database stores them. A transaction notes of each row what it left there.

use crate::bytes::Reader;
use crate::error::ReadError;

/// Notes a row that was written, or removed, behind what `bytes` holds.
pub(crate) fn note(bytes: &mut Vec<u8>, table: u8, key: &[u8], value: Option<&[u8]>) {
    bytes.push(table);
    write(bytes, key);
    match value {
        Some(value) => {
            bytes.push(1);
            write(bytes, value);
        }
        None => bytes.push(0),
    }
}

/// Keys and values are far below 4 GiB: the database refuses them earlier.
fn write(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(part);
}

/// One change to do again.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Redone<'a> {
    pub(crate) table: u8,
    pub(crate) key: &'a [u8],
    /// `None` if the row was removed.
    pub(crate) value: Option<&'a [u8]>,
}

/// Reads what [`note`] wrote.
pub(crate) fn changes(bytes: &[u8]) -> impl Iterator<Item = Result<Redone<'_>, ReadError>> {
    let mut rest = Some(Reader::new(bytes, "redo"));
    std::iter::from_fn(move || {
        let mut reader = rest.take().filter(|rest| !rest.is_at_end())?;
        let change = read(&mut reader);
        // Behind something unreadable nothing can be found.
        rest = change.is_ok().then_some(reader);
        Some(change)
    })
}

fn read<'a>(rest: &mut Reader<'a>) -> Result<Redone<'a>, ReadError> {
    let table = rest.u8()?;
    let key = part(rest)?;
    let value = match rest.u8()? {
        0 => None,
        _ => Some(part(rest)?),
    };
    Ok(Redone { table, key, value })
}

fn part<'a>(rest: &mut Reader<'a>) -> Result<&'a [u8], ReadError> {
    let len = usize::try_from(rest.u32()?).map_err(|_| rest.damaged())?;
    rest.bytes(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_in_order() {
        let mut bytes = Vec::new();
        note(&mut bytes, 3, b"key", Some(b""));
        note(&mut bytes, 3, b"key", None);
        note(&mut bytes, 27, b"", Some(&[7; 300]));
        let read: Vec<_> = changes(&bytes).map(Result::unwrap).collect();
        let right = [
            Redone { table: 3, key: b"key", value: Some(b"") },
            Redone { table: 3, key: b"key", value: None },
            Redone { table: 27, key: b"", value: Some(&[7; 300]) },
        ];
        assert_eq!(read, right);
        for cut in 1..bytes.len() {
            assert!(changes(&bytes[..cut]).count() <= 3, "{cut}");
        }
        assert!(changes(&bytes[..bytes.len() - 1]).any(|change| change.is_err()));
    }
}
