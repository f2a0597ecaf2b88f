//! One row a setting: its name, what it does, how it is read and checked.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use kinsync_protocol::limits::LIMBO_DAYS;

use super::{Config, LogLevel, SyncMode, clean_name};
use crate::failure::{Failure, Kind};

/// The shortest time for which deletions can be remembered: what a device
/// brings that was away for longer is kept in limbo for as long as that.
const TOMBSTONE_DAYS_MIN: u32 = LIMBO_DAYS;

/// One setting.
#[derive(Clone, Copy)]
pub struct Setting {
    /// Its name, in the file and on the command line.
    pub key: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Whether a running node takes a change only at its next start.
    pub restart: bool,
    form: Form,
    get: fn(&Config) -> String,
    set: fn(&mut Config, &str) -> Result<(), &'static str>,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Setting").field(&self.key).finish()
    }
}

/// How a value stands in the file.
#[derive(Clone, Copy)]
enum Form {
    /// As it is: a number or a boolean.
    Bare,
    /// An array of strings, separated by commas elsewhere.
    List,
    /// A string.
    Text,
}

impl Setting {
    /// The setting called `key`, or a failure that lists those there are.
    pub fn named(key: &str) -> Result<&'static Self, Failure> {
        SETTINGS.iter().find(|setting| setting.key == key).ok_or_else(|| {
            let keys: Vec<_> = SETTINGS.iter().map(|setting| setting.key).collect();
            Failure::new(Kind::UnknownSetting, format!("There is no setting called {key:?}."))
                .hint(format!("The settings are: {}.", keys.join(", ")))
        })
    }

    /// Its value as text.
    pub fn get(&self, config: &Config) -> String {
        (self.get)(config)
    }

    /// Sets it from text, or says what it must be.
    pub(super) fn set(&self, config: &mut Config, value: &str) -> Result<(), &'static str> {
        (self.set)(config, value)
    }

    /// A value of it as it stands in the file.
    pub(super) fn toml(&self, value: &str) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        match self.form {
            Form::Bare => value.to_owned(),
            Form::Text => quoted(value),
            Form::List => {
                let items: Vec<_> = value.split(',').filter(|item| !item.is_empty()).map(quoted).collect();
                format!("[{}]", items.join(", "))
            }
        }
    }
}

/// A value of the file as the text that `config set` would take.
pub(super) fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_)
        | toml::Value::Table(_) => value.to_string(),
    }
}

/// Every setting, in the order in which people are shown them.
pub const SETTINGS: [Setting; 11] = [
    Setting {
        key: "name",
        about: "What this device calls itself to others.",
        restart: false,
        form: Form::Text,
        get: |config| config.name.clone(),
        set: |config, value| {
            config.name = clean_name(value).ok_or("text that can be shown")?;
            Ok(())
        },
    },
    Setting {
        key: "port",
        about: "The port to listen on, TCP and UDP; 0 for any that is free.",
        restart: true,
        form: Form::Bare,
        get: |config| config.port.to_string(),
        set: |config, value| {
            config.port = number(value, 0..=u16::MAX, "a number from 0 to 65535")?;
            Ok(())
        },
    },
    Setting {
        key: "listen",
        about: "Multiaddrs to listen on, separated by commas; none for every interface.",
        restart: true,
        form: Form::List,
        get: |config| config.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        set: |config, value| {
            config.listen = value
                .split(',')
                .map(str::trim)
                .filter(|addr| !addr.is_empty())
                .map(|addr| addr.parse().map_err(|_| "multiaddrs such as /ip4/0.0.0.0/tcp/7842"))
                .collect::<Result<_, _>>()?;
            Ok(())
        },
    },
    Setting {
        key: "mdns",
        about: "Whether to find and be found on the local network.",
        restart: true,
        form: Form::Bare,
        get: |config| config.mdns.to_string(),
        set: |config, value| {
            config.mdns = switch(value)?;
            Ok(())
        },
    },
    Setting {
        key: "quic",
        about: "Whether to use QUIC beside TCP.",
        restart: true,
        form: Form::Bare,
        get: |config| config.quic.to_string(),
        set: |config, value| {
            config.quic = switch(value)?;
            Ok(())
        },
    },
    Setting {
        key: "sync",
        about: "auto: after every change and on a timer; manual: only when asked.",
        restart: false,
        form: Form::Text,
        get: |config| {
            match config.sync {
                SyncMode::Auto => "auto",
                SyncMode::Manual => "manual",
            }
            .to_owned()
        },
        set: |config, value| {
            config.sync = match value {
                "auto" => SyncMode::Auto,
                "manual" => SyncMode::Manual,
                _ => return Err("auto or manual"),
            };
            Ok(())
        },
    },
    Setting {
        key: "interval",
        about: "How often to sync without a reason, in seconds; ever less while nothing changes.",
        restart: false,
        form: Form::Bare,
        get: |config| config.interval_s.to_string(),
        set: |config, value| {
            config.interval_s = number(value, 5..=86_400, "a number of seconds from 5 to 86400")?;
            Ok(())
        },
    },
    Setting {
        key: "guard-records",
        about: "Hold changes that delete more records of a domain than this; 0: never.",
        restart: false,
        form: Form::Bare,
        get: |config| config.guard.records.to_string(),
        set: |config, value| {
            config.guard.records = number(value, 0..=u32::MAX, "a number of records; 0 for never")?;
            Ok(())
        },
    },
    Setting {
        key: "guard-percent",
        about: "Hold changes that delete more of a domain than this percentage; 0: never.",
        restart: false,
        form: Form::Bare,
        get: |config| config.guard.percent.to_string(),
        set: |config, value| {
            config.guard.percent = number(value, 0..=100, "a number from 0 to 100; 0 for never")?;
            Ok(())
        },
    },
    Setting {
        key: "tombstone-days",
        about: "Forget deletions, and what they deleted, after so many days; 0: never.",
        restart: false,
        form: Form::Bare,
        get: |config| config.tombstone_days.to_string(),
        set: |config, value| {
            let expected = "a number of days from 90 to 36500, or 0 for never";
            config.tombstone_days = match value {
                "0" => 0,
                days => number(days, TOMBSTONE_DAYS_MIN..=36_500, expected)?,
            };
            Ok(())
        },
    },
    Setting {
        key: "log",
        about: "How much the log says: error, warn, info, debug or trace.",
        restart: true,
        form: Form::Text,
        get: |config| config.log.word().to_owned(),
        set: |config, value| {
            config.log = LogLevel::ALL
                .into_iter()
                .find(|level| level.word() == value)
                .ok_or("error, warn, info, debug or trace")?;
            Ok(())
        },
    },
];

impl LogLevel {
    const ALL: [Self; 5] = [Self::Debug, Self::Error, Self::Info, Self::Trace, Self::Warn];

    /// The word for it, as a log filter takes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Error => "error",
            Self::Info => "info",
            Self::Trace => "trace",
            Self::Warn => "warn",
        }
    }
}

fn number<N: FromStr + PartialOrd>(
    value: &str,
    range: RangeInclusive<N>,
    expected: &'static str,
) -> Result<N, &'static str> {
    value.parse().ok().filter(|number| range.contains(number)).ok_or(expected)
}

fn switch(value: &str) -> Result<bool, &'static str> {
    match value {
        "true" | "on" | "yes" => Ok(true),
        "false" | "off" | "no" => Ok(false),
        _ => Err("on or off"),
    }
}
