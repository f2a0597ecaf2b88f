//! Adding turns to conversations.

use kinsync_protocol::record::Key;
use kinsync_store::Job;

use super::{
    Control,
    version::{moment, version_name},
};
use crate::{
    failure::{Failure, Kind},
    request::{Value, Written},
};

impl Control {
    /// Adds a record behind all others of a parent, under a key of its own.
    /// When it returns, the record is on disk.
    pub async fn append(&self, domain: &str, parent: &str, value: Value) -> Result<Written, Failure> {
        let domain = self.domains().named(domain)?;
        let parent = Key::new(parent)?;
        if domain.declaration.parent.is_none() {
            return Err(Failure::new(
                Kind::BadRequest,
                format!(
                    "Records of {} belong to no others, so nothing can be added behind them.",
                    domain.name()
                ),
            )
            .hint(format!("Write one under an id of its own:  kinsync put {} ID", domain.name())));
        }
        self.check_fits(domain.id(), &value.0)?;
        let job = Job::append(domain.id(), parent, value.0, self.now());
        let (key, version) = self.shared.storage.write(job).await?;
        Ok(Written {
            domain: domain.name().to_owned(),
            id: key.as_str().to_owned(),
            version: version_name(version.stamp),
            at: moment(version.stamp),
        })
    }
}
