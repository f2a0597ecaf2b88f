//! How a version is called where people and scripts meet it.

use kinsync_protocol::stamp::Stamp;

use crate::{
    clock::Moment,
    failure::{Failure, Kind},
};

/// The name of a version: `2026-11-20T07:30:11.125Z-0-7QXK2M4P`, the moment,
/// the count within it, and the device that wrote it.
///
/// Without spaces, sorted by time as text, and told apart from the other
/// versions of its record by its beginning.
pub fn version_name(stamp: Stamp) -> String {
    let count = stamp.time.0 & 0xffff;
    let device = stamp.device.short().replace('-', "");
    format!("{}-{count}-{device}", moment(stamp))
}

/// When the version was written, by the clock of its author.
pub(super) fn moment(stamp: Stamp) -> Moment {
    Moment(stamp.time.wall().0)
}

/// The one of `versions` that is called `wanted` or begins so.
pub(super) fn choose<'v, T>(wanted: &str, versions: &'v [(String, T)]) -> Result<&'v T, Failure> {
    let wanted = wanted.trim();
    if let Some((_, whole)) = versions.iter().find(|(name, _)| name == wanted) {
        return Ok(whole);
    }
    let mut found = versions.iter().filter(|(name, _)| !wanted.is_empty() && name.starts_with(wanted));
    match (found.next(), found.next()) {
        (Some((_, one)), None) => Ok(one),
        (Some(_), Some(_)) => Err(Failure::new(
            Kind::Ambiguous,
            format!("More than one version begins with {wanted:?}; give more of it."),
        )),
        (None, _) => Err(Failure::new(Kind::BadVersion, format!("The record had no version {wanted:?}."))),
    }
}

#[cfg(test)]
mod tests {
    use kinsync_protocol::{
        id::DeviceId,
        stamp::{Hlc, UnixMillis},
    };

    use super::*;

    #[test]
    fn a_version_is_called_by_its_moment_and_its_author() {
        let time = Hlc::at(UnixMillis(1_795_159_811_125)).next();
        let stamp = Stamp { time, device: DeviceId([1; 32]) };
        let name = version_name(stamp);
        assert!(name.starts_with("2026-11-20T07:30:11.125Z-1-"), "{name}");
        assert!(!name.contains(' '));
    }

    #[test]
    fn a_beginning_is_enough_if_it_fits_one() {
        let versions = [("2026-a".to_owned(), 1), ("2026-ab".to_owned(), 2), ("2025-x".to_owned(), 3)];
        let code = |wanted| choose(wanted, &versions).map_err(|failure| failure.code());
        assert_eq!(code("2025"), Ok(&3));
        assert_eq!(code("2026-a"), Ok(&1));
        assert_eq!(code("2026"), Err("ambiguous"));
        assert_eq!(code("2024"), Err("bad-version"));
        assert_eq!(code(""), Err("bad-version"));
    }
}
