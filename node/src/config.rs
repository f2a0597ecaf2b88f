//! The settings of a node and the file that keeps them.
//!
//! Every setting is one row of [`SETTINGS`]: its name, what it does, how it is
//! read and checked. The file, `config get` and `config set` all go through
//! that table, so that none of them knows a setting that another does not.

mod setting;

use std::{fs, io, path::Path};

use kinsync_protocol::declaration::Guard;
use libp2p::Multiaddr;

use crate::{
    failure::{Failure, Kind},
    home,
    request::ConfigRow,
};

pub use setting::{SETTINGS, Setting};

/// The port that a node listens on, so that an address that worked once works
/// again.
pub const PORT: u16 = 7842;

/// How long a device's name may be: a line of a table, and what a pairing
/// card carries.
pub const NAME_BYTES_MAX: usize = 64;

/// How often peers are looked at without any reason, in seconds, after
/// something has changed.
pub const INTERVAL_S: u64 = 30;

/// The settings of a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// What this device calls itself to others.
    pub name: String,
    /// The port to listen on, TCP and UDP; 0 for any that is free.
    pub port: u16,
    /// Where to listen instead of on every interface.
    pub listen: Vec<Multiaddr>,
    /// Whether to find and be found on the local network.
    pub mdns: bool,
    /// Whether to use QUIC beside TCP.
    pub quic: bool,
    /// When to sync.
    pub sync: SyncMode,
    /// How often to sync without a reason, in seconds: the shortest wait, which
    /// doubles up to [`QUIET_INTERVAL_MAX`](crate::state::QUIET_INTERVAL_MAX)
    /// while nothing changes.
    pub interval_s: u64,
    /// How many changes of another device at once are held.
    pub guard: Guard,
    /// How many days deletions are remembered; 0 for ever.
    pub tombstone_days: u32,
    /// How much the node's own log says.
    pub log: LogLevel,
}

/// When a node syncs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SyncMode {
    /// After every change, on a timer, and when asked.
    Auto,
    /// When asked.
    Manual,
}

/// How much a log says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogLevel {
    /// Every decision.
    Debug,
    /// What the node cannot go on with.
    Error,
    /// What a person would notice.
    Info,
    /// Every message.
    Trace,
    /// What somebody should look at.
    Warn,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: host_name(),
            port: PORT,
            listen: Vec::new(),
            mdns: true,
            quic: true,
            sync: SyncMode::Auto,
            interval_s: INTERVAL_S,
            guard: Guard::default(),
            tombstone_days: 0,
            log: LogLevel::Info,
        }
    }
}

/// What the machine is called, cut to what a name may be.
fn host_name() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = String::new();
    let name = name.split('.').next().unwrap_or_default();
    clean_name(name).unwrap_or_else(|| "device".to_owned())
}

/// A name that is safe to show: no control or direction characters, single
/// spaces, at most [`NAME_BYTES_MAX`]. None if nothing is left.
pub fn clean_name(name: &str) -> Option<String> {
    let shown = |c: &char| {
        !c.is_control()
            && !matches!(*c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let spaced: String = name.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    let shown: String = spaced.chars().filter(shown).collect();
    let mut name = shown.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    while name.len() > NAME_BYTES_MAX {
        name.pop();
    }
    let name = name.trim_end();
    (!name.is_empty()).then(|| name.to_owned())
}

impl Config {
    /// Reads the settings; a file that is not there says nothing.
    ///
    /// A setting that is misspelt or out of range is refused, since a setting
    /// that silently does nothing is worse than none.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(Failure::io(format_args!("read {}", path.display()), &error));
            }
        };
        Self::parse(&text).map_err(|failure| Failure {
            message: format!("{}: {}", path.display(), failure.message),
            ..failure
        })
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            Failure::new(Kind::BadSetting, format!("this is not TOML: {}.", error.message()))
        })?;
        let mut config = Self::default();
        for (key, value) in &table {
            config.set(key, &setting::plain(value))?;
        }
        Ok(config)
    }

    /// Writes the settings that are not at their defaults, each setting with a
    /// line that says what it does. Comments that a person wrote are lost.
    pub fn save(&self, path: &Path) -> Result<(), Failure> {
        let defaults = Self::default();
        let mut text = String::from("# The settings of this kinsync node.\n");
        for setting in &SETTINGS {
            let (value, default) = (setting.get(self), setting.get(&defaults));
            // The name of the machine may change; the name of the device must
            // not follow it.
            let spare = value == default && setting.key != "name";
            text.push_str(&format!("\n# {}\n", setting.about));
            let mark = if spare { "# " } else { "" };
            text.push_str(&format!("{mark}{} = {}\n", setting.key, setting.toml(&value)));
        }
        home::replace_file(path, text.as_bytes())
            .map_err(|error| Failure::io(format_args!("write {}", path.display()), &error))
    }

    /// Changes one setting in memory, after checking it.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        let setting = Setting::named(key)?;
        setting.set(self, value).map_err(|expected| {
            Failure::new(Kind::BadSetting, format!("{key} cannot be {value:?}: it must be {expected}."))
                .hint(format!("{}: {}", setting.key, setting.about))
        })
    }

    /// One setting as a row.
    pub fn row(&self, setting: &Setting) -> ConfigRow {
        ConfigRow {
            key: setting.key.to_owned(),
            value: setting.get(self),
            default: setting.get(&Self::default()),
            about: setting.about.to_owned(),
            restart: setting.restart,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_means_defaults() {
        let temp = tempfile::tempdir().expect("a directory");
        let config = Config::load(&temp.path().join("config.toml")).expect("defaults");
        assert_eq!(config, Config::default());
        assert_eq!(config.port, 7842);
    }

    #[test]
    fn every_setting_survives_the_file() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("config.toml");
        let mut config = Config::default();
        for (key, value) in [
            ("name", "Anna's \"phone\" \\ 2"),
            ("port", "0"),
            ("listen", "/ip4/127.0.0.1/tcp/9000,/ip6/::1/tcp/9000"),
            ("mdns", "off"),
            ("quic", "false"),
            ("sync", "manual"),
            ("interval", "5"),
            ("log", "debug"),
        ] {
            config.set(key, value).expect(key);
        }
        config.save(&path).expect("saved");
        assert_eq!(Config::load(&path).expect("loaded"), config);
        assert_eq!(config.listen.len(), 2);
    }

    #[test]
    fn a_setting_at_its_default_follows_the_default() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("config.toml");
        Config::default().save(&path).expect("saved");
        let text = fs::read_to_string(&path).expect("read");
        assert!(text.contains("\n# port = 7842\n"), "{text}");
        assert!(text.contains("\nname = \""), "{text}");
    }

    #[test]
    fn values_outside_the_range_are_refused_with_the_range() {
        let mut config = Config::default();
        for (key, value) in [
            ("name", "\u{7}\u{202e} "),
            ("port", "65536"),
            ("port", "-1"),
            ("listen", "192.168.1.1"),
            ("mdns", "maybe"),
            ("sync", "sometimes"),
            ("interval", "4"),
            ("interval", "86401"),
            ("log", "loud"),
        ] {
            let failure = config.set(key, value).expect_err(value);
            assert_eq!(failure.kind, Kind::BadSetting);
            assert!(failure.message.contains("it must be"), "{failure}");
        }
        assert_eq!(config, Config::default());
    }

    #[test]
    fn a_misspelt_setting_in_the_file_is_not_passed_over() {
        let failure = Config::parse("prot = 1").expect_err("misspelt");
        assert_eq!(failure.kind, Kind::UnknownSetting);
        assert!(failure.hint.expect("the names").contains("port"));
    }

    /// Security case 15: what a terminal would obey does not get into a name.
    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(clean_name("a\u{1b}[31m\u{202e}b\n c").as_deref(), Some("a[31mb c"));
        assert_eq!(clean_name(&"ä".repeat(40)).expect("a name").len(), NAME_BYTES_MAX);
        assert_eq!(clean_name(" \t"), None);
    }
}
