//! What can be typed: every verb, option and default, and nothing that acts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use kinsync::request::Allowed;

use crate::parse;

/// Keeps one library equal on all of your devices, peer to peer.
#[derive(Debug, Parser)]
#[command(
    name = "kinsync",
    bin_name = "kinsync",
    version,
    max_term_width = 80,
    after_help = EXIT_CODES,
)]
pub(crate) struct Cli {
    /// Options that every verb takes.
    #[command(flatten)]
    pub(crate) global: Global,

    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Printed below the help, so that a script's author need not look elsewhere.
const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 node not running, 4 not paired
or refused, 5 peer unreachable, 6 code wrong or expired, 7 conflicts left,
8 held by guard, 9 newer schema, 10 differs.";

/// Options that may stand before or after the verb.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Keep everything under DIR: store, identity, config, log and socket
    #[arg(long, global = true, value_name = "DIR", env = "KINSYNC_HOME", hide_env_values = true)]
    pub(crate) home: Option<PathBuf>,

    /// Print JSON: one object, or one a line for streams
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Print results only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,

    /// Say more; twice for details of the network
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Print without colours
    #[arg(long, global = true)]
    pub(crate) no_color: bool,

    /// Answer every question with yes
    #[arg(long, short, global = true)]
    pub(crate) yes: bool,

    /// Give up after this long: seconds, or 90s, 5m
    #[arg(long, global = true, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) timeout: Option<Duration>,
}

/// One word per thing a person can ask for.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make this device's identity, store and config
    Init(Init),
    /// Run the node
    Up(Up),
    /// Stop the node
    Down,
    /// Show what this device is doing
    Status(Status),
    /// Show a code for another device, or enter one: `pair CODE`
    Pair(Pair),
    /// Enter another device's code: the same as `pair CODE`
    #[command(hide = true)]
    Join(Join),
    /// List, inspect and name the devices you paired
    Peers(Peers),
    /// End the trust in a device, at once and for good
    Revoke(Revoke),
    /// Exchange changes now
    Sync(Sync),
    /// Check that every device holds the same
    Verify(Verify),
    /// Write a record
    Put(Put),
    /// Add a turn behind all others of a chat, under an id of its own
    Append(Append),
    /// Print a record's value
    Get(Record),
    /// Delete a record; `restore` brings it back
    Del(Record),
    /// List a domain's records, or all domains
    List(List),
    /// List, keep or drop texts whose writing was interrupted
    Drafts(Drafts),
    /// Look at mass changes that wait for you, and decide
    Held(Held),
    /// Print changes as they happen
    Watch(Watch),
    /// Print what changed in a domain, and where to go on
    Changes(Changes),
    /// List the versions of a record
    History(Record),
    /// Bring back an earlier version of a record
    Restore(Restore),
    /// List deleted records, bring one back, or let go of them
    Trash(Trash),
    /// List versions that did not know each other, and decide
    Conflicts(Conflicts),
    /// Take back what a device has brought
    Undo(Undo),
    /// Find out what is wrong with this device, its store and its network
    Doctor,
    /// Print what the node did
    Log(Log),
    /// Read and change settings
    Config(Config),
    /// Read an application's data folder into the library
    Import(Import),
    /// List, declare and change the kinds of records
    Domains(Domains),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print the version
    Version,
}

/// `kinsync init`
#[derive(Args, Debug)]
pub(crate) struct Init {
    /// What other devices call this one [default: the host name]
    #[arg(long, value_parser = parse::device_name)]
    pub(crate) name: Option<String>,

    /// Give a device that was removed from its set a new key; its data stays
    #[arg(long, conflicts_with = "name")]
    pub(crate) renew: bool,
}

/// `kinsync up`
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Up {
    /// Return once the node runs in the background
    #[arg(long)]
    pub(crate) detach: bool,

    /// This is the process in the background
    #[arg(long, hide = true, conflicts_with = "detach")]
    pub(crate) background: bool,

    /// Listen on this address instead of all interfaces (repeatable)
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) listen: Vec<String>,

    /// Listen on this TCP and UDP port; 0 lets the system choose
    #[arg(long, conflicts_with = "listen")]
    pub(crate) port: Option<u16>,

    /// Neither look for devices nor be found over multicast DNS
    #[arg(long)]
    pub(crate) no_mdns: bool,

    /// Use TCP only
    #[arg(long)]
    pub(crate) no_quic: bool,

    /// Stay on the local network, whatever the config says
    #[arg(long)]
    pub(crate) lan_only: bool,
}

/// `kinsync status`
#[derive(Args, Debug)]
pub(crate) struct Status {
    /// Print again whenever something changes
    #[arg(long)]
    pub(crate) watch: bool,
}

/// `kinsync pair`: without a code this device is the host.
#[derive(Args, Debug)]
#[command(after_help = "\
Without CODE this device shows one. A code is taken from the argument, from
KINSYNC_CODE, or with - from a prompt or standard input.")]
pub(crate) struct Pair {
    /// The code or ticket that the other device shows; - asks for it
    #[arg(env = "KINSYNC_CODE", hide_env = true)]
    pub(crate) code: Option<String>,

    /// Where the other device is: 192.168.1.20, HOST:PORT or a multiaddr
    #[arg(long, requires = "code")]
    pub(crate) addr: Option<String>,

    /// How long the code lasts, 30 to 3600 seconds: 300, 90s, 5m
    #[arg(long, value_name = "TIME", default_value = "300", value_parser = parse::code_lifetime)]
    pub(crate) expires: Duration,

    /// What the other device shows for this one
    #[arg(long, value_parser = parse::device_name)]
    pub(crate) label: Option<String>,

    /// The most that the other device becomes, or that this one accepts
    #[arg(long = "as", value_enum, value_name = "ROLE")]
    pub(crate) role: Option<Role>,

    /// Also print the code as a QR ticket
    #[arg(long, conflicts_with = "code")]
    pub(crate) qr: bool,

    /// What the other device may do here
    #[command(flatten)]
    pub(crate) rights: Rights,
}

/// `kinsync join`
#[derive(Args, Debug)]
pub(crate) struct Join {
    /// The code or ticket that the other device shows; - asks for it
    #[arg(env = "KINSYNC_CODE", hide_env = true)]
    pub(crate) code: Option<String>,

    /// Where the other device is: 192.168.1.20, HOST:PORT or a multiaddr
    #[arg(long)]
    pub(crate) addr: Option<String>,

    /// What the other device shows for this one
    #[arg(long, value_parser = parse::device_name)]
    pub(crate) label: Option<String>,

    /// The most that this device accepts to become
    #[arg(long = "as", value_enum, value_name = "ROLE")]
    pub(crate) role: Option<Role>,

    /// What the other device may do here
    #[command(flatten)]
    pub(crate) rights: Rights,
}

/// What another device may do here: without any, everything.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What the other device may do here")]
pub(crate) struct Rights {
    /// Share only these domains with it, and what is declared
    #[arg(long, value_name = "DOMAIN,…", value_delimiter = ',')]
    pub(crate) domains: Option<Vec<String>>,

    /// It may have the records here; nothing is taken from it
    #[arg(long, conflicts_with = "send_only")]
    pub(crate) read_only: bool,

    /// What it sends is taken in; it gets nothing
    #[arg(long)]
    pub(crate) send_only: bool,

    /// Undo its deletions
    #[arg(long)]
    pub(crate) no_delete: bool,

    /// Share these as well, which are shared only if both devices ask: secrets
    #[arg(long, value_name = "DOMAIN,…", value_delimiter = ',')]
    pub(crate) also: Vec<String>,
}

impl Rights {
    /// The same as the node takes it; `None` if nothing was typed.
    pub(crate) fn allowed(self) -> Option<Allowed> {
        let Self { domains, read_only, send_only, no_delete, also } = self;
        let allowed = Allowed { domains, read_only, send_only, no_delete, also };
        (allowed != Allowed::default()).then_some(allowed)
    }
}

/// What a paired device may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Role {
    /// Reads and changes everything, adds devices
    Kin,
    /// Reads and changes, but adds no devices
    Guest,
    /// Until it disconnects; nothing is remembered
    Once,
}

/// `kinsync peers`
#[derive(Args, Debug)]
pub(crate) struct Peers {
    /// What to do with them
    #[command(subcommand)]
    pub(crate) action: Option<PeersAction>,
}

/// What can be done with peers.
#[derive(Debug, Subcommand)]
pub(crate) enum PeersAction {
    /// List all devices
    List,
    /// Show all that is known of one
    Show {
        /// A name, four or more letters of the id, or the libp2p id
        peer: String,
    },
    /// Call one by another name, on this device
    Rename {
        /// A name, four or more letters of the id, or the libp2p id
        peer: String,
        /// The new name; empty for the one that it gives itself
        name: String,
    },
    /// Say what one may do here, instead of what it could do before
    #[command(after_help = "\
Takes effect at once. The other device is told, and says so in sync, verify
and status. What it has already, it keeps.")]
    Allow {
        /// A name, four or more letters of the id, or the libp2p id
        peer: String,
        /// Everything again
        #[arg(long, conflicts_with_all = ["domains", "read_only", "send_only", "no_delete", "also"])]
        all: bool,
        /// What it may do
        #[command(flatten)]
        rights: Rights,
    },
    /// Remember an address, for networks without multicast
    AddAddr {
        /// A name, four or more letters of the id, or the libp2p id
        peer: String,
        /// 192.168.1.20, HOST:PORT or a multiaddr
        addr: String,
    },
    /// Remove the row of a device that is revoked or was never used
    Forget {
        /// A name, four or more letters of the id, or the libp2p id
        peer: String,
    },
}

/// `kinsync revoke`
#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// A name, four or more letters of the id, or the libp2p id
    pub(crate) peer: String,
}

/// `kinsync sync`
#[derive(Args, Debug)]
pub(crate) struct Sync {
    /// Only with this device
    pub(crate) peer: Option<String>,

    /// Wait until both are equal (the default)
    #[arg(long, overrides_with = "no_wait")]
    pub(crate) wait: bool,

    /// Return once the pass has begun
    #[arg(long)]
    pub(crate) no_wait: bool,

    /// Compare everything, whatever is known from the last pass
    #[arg(long)]
    pub(crate) full: bool,

    /// Count what would move, and move nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `kinsync verify`
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// Only this device
    pub(crate) peer: Option<String>,
}

/// `kinsync put`
#[derive(Args, Debug)]
pub(crate) struct Put {
    /// The kind of record: characters, chats, settings …
    pub(crate) domain: String,
    /// The record's id within its domain; - if it follows from the value
    pub(crate) id: String,
    /// Where the value is; - or nothing reads standard input
    #[arg(value_name = "FILE|-")]
    pub(crate) file: Option<PathBuf>,
}

/// `kinsync append`
#[derive(Args, Debug)]
pub(crate) struct Append {
    /// The kind of record, which belongs to another kind: messages …
    pub(crate) domain: String,
    /// The id of the record that it belongs to, such as the chat
    pub(crate) parent: String,
    /// Where the value is; - or nothing reads standard input
    #[arg(value_name = "FILE|-")]
    pub(crate) file: Option<PathBuf>,
}

/// A record by its name, as `get`, `del` and `history` take it.
#[derive(Args, Debug)]
pub(crate) struct Record {
    /// The kind of record: characters, chats, settings …
    pub(crate) domain: String,
    /// The record's id within its domain
    pub(crate) id: String,
}

/// `kinsync list`
#[derive(Args, Debug)]
pub(crate) struct List {
    /// The kind of record; without it, all domains with their counts
    pub(crate) domain: Option<String>,
}

/// `kinsync watch`
#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// Only this kind of record
    pub(crate) domain: Option<String>,

    /// Everything after this token of `changes`, first what was missed
    #[arg(long, value_name = "TOKEN", requires = "domain")]
    pub(crate) since: Option<String>,
}

/// `kinsync changes`
#[derive(Args, Debug)]
#[command(after_help = "\
Each record comes once, as it is after its last change. In JSON each line has
the token to go on from. `resync` says that the token is of a past which a
restored backup undid: what follows is everything there is.")]
pub(crate) struct Changes {
    /// The kind of record: characters, chats, settings …
    pub(crate) domain: String,

    /// Only what came after this token; `now` for nothing so far
    #[arg(long, value_name = "TOKEN")]
    pub(crate) since: Option<String>,

    /// Go on as long as the node runs
    #[arg(long)]
    pub(crate) follow: bool,
}

/// `kinsync held`
#[derive(Args, Debug)]
#[command(after_help = "\
When another device would delete very much of a kind of record at once, nothing
of that is applied before you have looked. How much is much:
kinsync config set guard-records N, and guard-percent N.")]
pub(crate) struct Held {
    /// What to do with them
    #[command(subcommand)]
    pub(crate) action: Option<HeldAction>,
}

/// What can be done with mass changes.
#[derive(Debug, Subcommand)]
pub(crate) enum HeldAction {
    /// List them
    List,
    /// Show the records of one
    Show {
        /// As the list shows it
        number: u64,
    },
    /// Apply one
    Accept {
        /// As the list shows it
        number: u64,
    },
    /// Keep what is here instead, on every device
    Reject {
        /// As the list shows it
        number: u64,
    },
}

/// `kinsync drafts`
#[derive(Args, Debug)]
#[command(after_help = "\
A draft is what an application is still writing, such as the reply of a model.
No other device sees it before it is a record. ID may be its beginning.")]
pub(crate) struct Drafts {
    /// What to do with them
    #[command(subcommand)]
    pub(crate) action: Option<DraftsAction>,
}

/// What can be done with drafts.
#[derive(Debug, Subcommand)]
pub(crate) enum DraftsAction {
    /// List them
    List,
    /// Print the text of one
    Show {
        /// As the list shows it
        id: String,
    },
    /// Make one the record that it is for
    Commit {
        /// As the list shows it
        id: String,
    },
    /// Forget one; its record stays as it is
    Drop {
        /// As the list shows it
        id: String,
    },
}

/// `kinsync restore`
#[derive(Args, Debug)]
pub(crate) struct Restore {
    /// The kind of record: characters, chats, settings …
    pub(crate) domain: String,
    /// Which version: as `history` shows it, or a beginning that is its alone
    #[arg(value_name = "ID@VERSION")]
    pub(crate) version: String,
}

/// `kinsync trash`
#[derive(Args, Debug)]
pub(crate) struct Trash {
    /// What to do with it
    #[command(subcommand)]
    pub(crate) action: Option<TrashAction>,
}

/// What can be done with deleted records.
#[derive(Debug, Subcommand)]
pub(crate) enum TrashAction {
    /// List deleted records whose last value is still there
    List {
        /// Only this kind of record
        domain: Option<String>,
        /// Only what nobody deleted: what a device brought that was away for
        /// longer than deletions are remembered
        #[arg(long)]
        limbo: bool,
    },
    /// Bring one back, and what was deleted with it
    Restore {
        /// The kind of record: characters, chats, settings …
        domain: String,
        /// The record's id within its domain
        id: String,
    },
    /// Let go of what deleted records were, on this device and for good
    Empty {
        /// Only this kind of record
        domain: Option<String>,
        /// Only this record
        id: Option<String>,
    },
}

/// `kinsync conflicts`
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Conflicts {
    /// What to do with them
    #[command(subcommand)]
    pub(crate) action: Option<ConflictsAction>,

    /// Only this kind of record
    pub(crate) domain: Option<String>,
}

/// What can be done with conflicts.
#[derive(Debug, Subcommand)]
pub(crate) enum ConflictsAction {
    /// List those that nobody has decided
    List {
        /// Only this kind of record
        domain: Option<String>,
    },
    /// Show both sides of one
    Show {
        /// Its name, as the list shows it: prompts@3
        conflict: String,
    },
    /// Decide one, for all devices
    Take {
        /// Its name, as the list shows it: prompts@3
        conflict: String,
        /// The side that is to stand, or a file with the value; - reads
        /// standard input
        #[arg(value_name = "local|remote|FILE|-")]
        what: String,
    },
}

/// `kinsync undo`
#[derive(Args, Debug)]
pub(crate) struct Undo {
    /// The device: a name, four or more letters of the id, or the libp2p id
    #[arg(long, value_name = "PEER")]
    pub(crate) received_from: String,

    /// Only what came since: 2h, 3d, or a time such as 2026-11-20T07:30:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,

    /// Count what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `kinsync log`
#[derive(Args, Debug)]
pub(crate) struct Log {
    /// How many lines
    #[arg(long, short = 'n', default_value_t = 100)]
    pub(crate) lines: usize,
}

/// `kinsync config`
#[derive(Args, Debug)]
pub(crate) struct Config {
    /// What to do with the settings
    #[command(subcommand)]
    pub(crate) action: ConfigAction,
}

/// What can be done with settings.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Print one setting, or all
    Get {
        /// Such as name, or network.port
        key: Option<String>,
    },
    /// Change one setting
    Set {
        /// Such as name, or network.port
        key: String,
        /// The new value
        value: String,
    },
    /// Open the file in $VISUAL or $EDITOR
    Edit,
}

/// `kinsync domains`
#[derive(Args, Debug)]
pub(crate) struct Domains {
    /// What to do with them
    #[command(subcommand)]
    pub(crate) action: Option<DomainsAction>,
}

/// What can be done with domains.
#[derive(Debug, Subcommand)]
pub(crate) enum DomainsAction {
    /// List all domains
    List,
    /// Show how one is declared
    Show {
        /// Its name
        name: String,
    },
    /// Look at a declaration, and at the records that are there
    Check {
        /// A TOML file
        file: PathBuf,
    },
    /// Declare a domain on all devices, or change what is declared
    Add {
        /// A TOML file
        file: PathBuf,
        /// Say what would happen, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Take a declaration that lets records go further
    Accept {
        /// The domain's name
        name: String,
    },
    /// Stay with what is declared here
    Reject {
        /// The domain's name
        name: String,
    },
    /// Take a declaration back; its records stay, and wait
    Remove {
        /// The domain's name
        name: String,
    },
    /// Show what records need beside them, and what of it is missing here
    #[command(after_help = "\
Domains declare what their records need, such as a model. Applications say what
they have at each start. Records travel all the same, and are kept.

must    without it the records are of no use
should  without it they are of less use: what needs it is off (disable) or
        works without (ignore)")]
    Readiness {
        /// Only this domain
        domain: Option<String>,
    },
    /// Decide about something that is missing
    #[command(after_help = "\
A choice holds until what applications have changes; then you are asked again.")]
    Choose {
        /// The domain's name
        domain: String,
        /// What is missing, as `domains readiness` shows it
        id: String,
        /// What to do about it
        #[arg(value_enum)]
        choice: Choice,
    },
}

/// What can be done about something that is missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Choice {
    /// Set it up now: in the application, which then says that it has it
    Provide,
    /// Go on without it
    Without,
    /// Nothing for now; ask again
    Later,
}

/// `kinsync import`
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// The application's data folder
    pub(crate) dir: PathBuf,

    /// Which application it is
    #[arg(long = "as", value_enum, value_name = "APPLICATION")]
    pub(crate) kind: Application,

    /// Read and count, but write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// An application whose folder can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Application {
    /// SillyTavern and its relatives: `data/default-user`
    #[value(name = "sillytavern")]
    SillyTavern,
}

/// `kinsync completions`
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell to print for
    pub(crate) shell: Shell,
}

/// Whether `--json` was typed; asked apart from the parser, since what it
/// refuses has to be told in the right form too.
pub(crate) fn json_was_typed(args: &[OsString]) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json")
}
