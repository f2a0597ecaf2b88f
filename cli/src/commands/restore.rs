//! `kinsync restore DOMAIN ID@VERSION`: an earlier version as a new write.

use kinsync::request::Restore as Ask;

use super::Run;
use crate::args::Restore;
use crate::failure::{Failure, Result};
use crate::reach::Class;

/// Restores it and prints the version that it has now.
pub(crate) async fn run(run: &Run, args: Restore) -> Result<()> {
    let (id, version) = split(&args.version)?;
    let node = run.reach(Class::Local).await?;
    let ask = Ask { domain: args.domain, id: id.to_owned(), version: version.to_owned() };
    run.out.result(&node.ask(ask).await?)?;
    node.close().await
}

/// Splits at the last `@`: an id may have one, a version has none.
fn split(text: &str) -> Result<(&str, &str)> {
    match text.rsplit_once('@') {
        Some((id, version)) if !id.is_empty() && !version.is_empty() => Ok((id, version)),
        Some(_) | None => Err(Failure::usage(format!("{text:?} names no version."))
            .hint("Write ID@VERSION, with a version from: kinsync history DOMAIN ID")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_stands_behind_the_last_at() {
        assert_eq!(split("me@home@12").unwrap(), ("me@home", "12"));
        for text in ["pilot", "pilot@", "@12", "@", ""] {
            assert_eq!(split(text).unwrap_err().code(), "usage", "{text}");
        }
    }
}
