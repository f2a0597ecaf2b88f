//! What went wrong, said once for every surface: a stable code for programs,
//! a sentence and a remedy for people, an exit code for scripts.

mod store;

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names every kind of failure with its stable code, the exit code of the
/// command line and the HTTP status of the local API.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $code:literal, $exit:literal, $status:literal;)*) => {
        /// What kind of failure it is; the code of each is stable.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[$doc])* #[serde(rename = $code)] $kind,)*
            /// A code that this build does not know, from a newer node.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        impl Kind {
            /// Every kind, for tables and documentation.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The stable code: `not-found`, `wrong-code`.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$kind => $code,)*
                    Self::Unknown => "unknown",
                }
            }

            /// The exit code of the command line.
            pub const fn exit_code(self) -> u8 {
                match self {
                    $(Self::$kind => $exit,)*
                    Self::Unknown => 1,
                }
            }

            /// The HTTP status of the local API.
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$kind => $status,)*
                    Self::Unknown => 500,
                }
            }
        }
    };
}

kinds! {
    /// The home holds a node already.
    AlreadyExists, "already-exists", 1, 409;
    /// A name or prefix fits more than one device.
    Ambiguous, "ambiguous", 2, 409;
    /// An address that cannot be dialled.
    BadAddress, "bad-address", 2, 400;
    /// A pairing code that cannot be one; no try was spent.
    BadCode, "bad-code", 2, 400;
    /// A declaration of a domain that cannot be used.
    BadDeclaration, "bad-declaration", 2, 400;
    /// A key that no record can have.
    BadKey, "bad-key", 2, 400;
    /// A request that says nothing we can act on.
    BadRequest, "bad-request", 2, 400;
    /// A setting's value that the setting cannot take.
    BadSetting, "bad-setting", 2, 400;
    /// A place in the changes that nobody can have been given.
    BadToken, "bad-token", 2, 400;
    /// A version that is none of this record's.
    BadVersion, "bad-version", 2, 400;
    /// Somebody else is using it right now.
    Busy, "busy", 1, 409;
    /// What a decision was made about has changed meanwhile.
    Changed, "changed", 1, 409;
    /// Three wrong tries: the code is dead.
    CodeVoid, "code-void", 6, 410;
    /// Peers hold different records.
    Differs, "differs", 10, 409;
    /// No space is left to write in.
    DiskFull, "disk-full", 1, 507;
    /// The code's lifetime is over.
    Expired, "expired", 6, 410;
    /// A mass change waits for a person to look at it.
    Held, "held", 8, 409;
    /// No sign of life came from the holder of a draft in time.
    HoldLapsed, "hold-lapsed", 1, 410;
    /// Somebody else writes a draft of that record.
    HoldTaken, "hold-taken", 1, 409;
    /// An input or output error of this machine.
    Io, "io", 1, 500;
    /// Secret files that others can read, or a socket that is not ours.
    Insecure, "insecure", 1, 403;
    /// A fault of kinsync itself.
    Internal, "internal", 1, 500;
    /// The other side speaks another version.
    Incompatible, "incompatible", 9, 505;
    /// No record, version or device of that name.
    NotFound, "not-found", 1, 404;
    /// A person said that a device may not do this.
    NotGranted, "not-granted", 4, 403;
    /// The home has not been set up.
    NotInitialised, "not-initialised", 1, 404;
    /// That device is not one of this set.
    NotPaired, "not-paired", 4, 403;
    /// No node runs on this home.
    NotRunning, "not-running", 3, 503;
    /// A record under the id of another device, which alone writes it.
    NotOwner, "not-owner", 4, 403;
    /// The store and the identity do not belong together.
    OtherDevice, "other-device", 1, 409;
    /// The record that this one belongs to is deleted.
    ParentDeleted, "parent-deleted", 1, 409;
    /// The port or the address is taken.
    PortInUse, "port-in-use", 1, 409;
    /// The disk or the store cannot be written.
    ReadOnly, "read-only", 1, 403;
    /// The person at the other device said no.
    Rejected, "rejected", 4, 403;
    /// Records that are there do not fit what is declared.
    RejectsRecords, "rejects-records", 1, 409;
    /// That key was removed from the set and stays so.
    Revoked, "revoked", 4, 403;
    /// The record has a newer shape than is known here.
    SchemaNewer, "schema-newer", 9, 409;
    /// A record that the others have cannot be kept from them.
    Shared, "shared", 1, 409;
    /// The store's pages do not hold together.
    StoreDamaged, "store-damaged", 1, 500;
    /// Another process holds the store.
    StoreLocked, "store-locked", 3, 409;
    /// Nothing happened for too long.
    Timeout, "timeout", 5, 504;
    /// As many domains as two devices can share.
    TooManyDomains, "too-many-domains", 2, 409;
    /// There is no room for another draft.
    TooManyDrafts, "too-many-drafts", 1, 409;
    /// Not one of the domains.
    UnknownDomain, "unknown-domain", 2, 404;
    /// Not one of the settings.
    UnknownSetting, "unknown-setting", 2, 404;
    /// No address of that device answers.
    Unreachable, "unreachable", 5, 504;
    /// A value of another shape than its domain declares.
    ValueDoesNotFit, "value-does-not-fit", 1, 422;
    /// A value over the limit.
    ValueTooLarge, "value-too-large", 2, 413;
    /// The code is not the one on the other screen.
    WrongCode, "wrong-code", 6, 403;
    /// The id is not the one that follows from what the record says.
    WrongId, "wrong-id", 1, 409;
}

/// A failure as a person and a program need it.
///
/// The message says what happened and probably why; the hint says what to do.
/// Neither ever holds a code, a key or a value.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Failure {
    /// What kind it is.
    #[serde(rename = "code")]
    pub kind: Kind,
    /// What happened, in a sentence or two.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// How many tries a pairing code has left, after a wrong one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries_left: Option<u8>,
}

impl Failure {
    /// A failure of this kind, without a hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, tries_left: None }
    }

    /// The same with a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// No node runs here, so what needs the network cannot be done.
    pub fn not_running() -> Self {
        Self::new(Kind::NotRunning, "No node is running here.").hint("Start it:  kinsync up")
    }

    /// Whoever asks comes too late.
    pub(crate) fn stopping() -> Self {
        Self::new(Kind::NotRunning, "The node is stopping.")
    }

    /// Something that kinsync itself got wrong; `what` is for its makers.
    pub fn internal(what: impl fmt::Display) -> Self {
        Self::new(Kind::Internal, format!("An internal error: {what}."))
    }

    /// An input or output error met while `doing` something.
    pub fn io(doing: impl fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let kind = error.kind();
        let kind = if matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
            Kind::DiskFull
        } else if kind == ErrorKind::ReadOnlyFilesystem {
            Kind::ReadOnly
        } else {
            Kind::Io
        };
        Self::new(kind, format!("Could not {doing}: {error}."))
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// The hint, if there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The exit code of the command line.
    pub const fn exit_code(&self) -> u8 {
        self.kind.exit_code()
    }

    /// Whether trying again unchanged is pointless.
    pub const fn is_permanent(&self) -> bool {
        !matches!(
            self.kind,
            Kind::Busy
                | Kind::DiskFull
                | Kind::Io
                | Kind::NotRunning
                | Kind::PortInUse
                | Kind::StoreLocked
                | Kind::Timeout
                | Kind::Unreachable
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_stable_words_and_all_differ() {
        let codes: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), Kind::ALL.len());
        for code in codes {
            assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{code}");
        }
    }

    #[test]
    fn exit_codes_follow_the_kind() {
        assert_eq!(Failure::not_running().exit_code(), 3);
        assert_eq!(Kind::WrongCode.exit_code(), 6);
        assert_eq!(Kind::Revoked.exit_code(), 4);
        assert_eq!(Kind::Unreachable.exit_code(), 5);
    }

    #[test]
    fn a_failure_keeps_its_code_over_the_wire() {
        let failure = Failure::new(Kind::WrongCode, "Wrong code.").hint("Look again.");
        let text = serde_json::to_string(&failure).expect("serialises");
        assert_eq!(text, r#"{"code":"wrong-code","message":"Wrong code.","hint":"Look again."}"#);
        assert_eq!(serde_json::from_str::<Failure>(&text).expect("reads"), failure);
    }

    #[test]
    fn a_code_of_a_newer_node_still_reads_as_a_failure() {
        let failure: Failure =
            serde_json::from_str(r#"{"code":"moon-phase","message":"Not tonight."}"#).expect("reads");
        assert_eq!(failure.kind, Kind::Unknown);
        assert!(failure.is_permanent());
    }
}
