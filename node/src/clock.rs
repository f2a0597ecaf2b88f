//! The only file that reads a clock.
//!
//! Three different things are called time: what a wall shows (for stamps and
//! for people; it may jump), what has passed (for lifetimes; it never goes
//! back and counts sleep), and the timers of the runtime. The first two come
//! from here; whatever needs them takes them as arguments.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// A moment on the wall: milliseconds since 1970, UTC.
///
/// Prints and travels as RFC 3339 (`2026-11-20T07:30:11.125Z`). For people and
/// stamps only; what must not be fooled by a corrected clock uses
/// [`Clock::monotonic`].
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Moment(pub u64);

impl Moment {
    /// This moment plus a span, at the end of time if it would pass it.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was, zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        // A stamp of a peer may lie beyond the last year that has a name.
        let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{at:.3}")
    }
}

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let at: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        let millis = u64::try_from(at.as_millisecond())
            .map_err(|_| serde::de::Error::custom("a moment before 1970"))?;
        Ok(Self(millis))
    }
}

/// Where the time comes from: this machine, or a test's hand.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Hand(Arc<Hand>),
    /// The clock of this machine, with its wall so many milliseconds ahead.
    Set(Arc<AtomicI64>),
    System,
}

#[derive(Debug)]
struct Hand {
    wall: AtomicU64,
    monotonic: AtomicU64,
}

impl Clock {
    /// The clock of this machine.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `wall` until [`Clock::advance`] moves it.
    pub fn standing(wall: Moment) -> Self {
        let hand = Hand { wall: AtomicU64::new(wall.0), monotonic: AtomicU64::new(0) };
        Self(Source::Hand(Arc::new(hand)))
    }

    /// The clock of this machine, until [`Clock::set_wall`] sets what its wall
    /// shows.
    pub fn settable() -> Self {
        Self(Source::Set(Arc::default()))
    }

    /// Moves a standing clock on; the clock of the machine moves by itself.
    pub fn advance(&self, span: Duration) {
        if let Source::Hand(hand) = &self.0 {
            let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            hand.wall.fetch_add(millis, Ordering::Relaxed);
            hand.monotonic.fetch_add(millis, Ordering::Relaxed);
        }
    }

    /// Sets the wall, as somebody who corrects it does; not that of
    /// [`Clock::system`].
    pub fn set_wall(&self, wall: Moment) {
        match &self.0 {
            Source::Hand(hand) => hand.wall.store(wall.0, Ordering::Relaxed),
            Source::Set(ahead) => {
                let ahead_ms = wall.0.cast_signed().saturating_sub(system_wall().0.cast_signed());
                ahead.store(ahead_ms, Ordering::Relaxed);
            }
            Source::System => {}
        }
    }

    /// What the wall shows.
    pub fn wall(&self) -> Moment {
        match &self.0 {
            Source::Hand(hand) => Moment(hand.wall.load(Ordering::Relaxed)),
            Source::Set(ahead) => {
                Moment(system_wall().0.saturating_add_signed(ahead.load(Ordering::Relaxed)))
            }
            Source::System => system_wall(),
        }
    }

    /// How much time has passed since some fixed start, sleep included where
    /// the system counts it.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::Hand(hand) => Duration::from_millis(hand.monotonic.load(Ordering::Relaxed)),
            Source::Set(_) | Source::System => system_monotonic(),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the file that reads clocks")]
fn system_wall() -> Moment {
    let since =
        std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    Moment(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Linux stops `Monotonic` while it sleeps, so pairing codes would outlive a
/// closed lid; `Boottime` goes on.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn system_monotonic() -> Duration {
    as_duration(rustix::time::clock_gettime(rustix::time::ClockId::Boottime))
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn system_monotonic() -> Duration {
    as_duration(rustix::time::clock_gettime(rustix::time::ClockId::Monotonic))
}

#[cfg(unix)]
fn as_duration(time: rustix::time::Timespec) -> Duration {
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

#[cfg(not(unix))]
#[allow(clippy::disallowed_methods, reason = "this is the file that reads clocks")]
fn system_monotonic() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

/// What a clock did that time alone does not explain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Jump {
    /// Nobody ran for this long: the machine slept.
    Slept(Duration),
    /// The wall was set, by this many milliseconds.
    WallSet(i64),
}

/// Notices sleep and corrected clocks by looking at a regular beat.
#[derive(Debug)]
pub struct JumpWatch {
    beat: Duration,
    wall: Moment,
    monotonic: Duration,
}

impl JumpWatch {
    /// How far from its beat a look may come before it means something: far
    /// more than a loaded machine delays a timer.
    pub const SLACK: Duration = Duration::from_secs(10);

    /// A watch that is looked at about every `beat`.
    pub fn new(clock: &Clock, beat: Duration) -> Self {
        Self { beat, wall: clock.wall(), monotonic: clock.monotonic() }
    }

    /// Looks at the clock; says what happened since the last look, if it was
    /// more than time.
    pub fn look(&mut self, clock: &Clock) -> Option<Jump> {
        let (wall, monotonic) = (clock.wall(), clock.monotonic());
        let passed = monotonic.saturating_sub(self.monotonic);
        let shown = i128::from(wall.0) - i128::from(self.wall.0);
        let drift = shown - i128::try_from(passed.as_millis()).unwrap_or(i128::MAX);
        self.wall = wall;
        self.monotonic = monotonic;
        let slack = i128::try_from(Self::SLACK.as_millis()).unwrap_or(i128::MAX);
        if passed > self.beat + Self::SLACK {
            Some(Jump::Slept(passed - self.beat))
        } else if drift.abs() > slack {
            Some(Jump::WallSet(i64::try_from(drift).unwrap_or(i64::MAX)))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_secs(5);

    #[test]
    fn a_moment_travels_as_rfc_3339() {
        let moment = Moment(1_795_159_811_125);
        let text = serde_json::to_string(&moment).expect("serialises");
        assert_eq!(text, r#""2026-11-20T07:30:11.125Z""#);
        assert_eq!(serde_json::from_str::<Moment>(&text).expect("reads"), moment);
    }

    #[test]
    fn a_moment_beyond_all_years_still_prints() {
        assert!(Moment(u64::MAX).to_string().starts_with("9999-"));
    }

    #[test]
    fn the_system_clock_goes_forward() {
        let clock = Clock::system();
        let before = clock.monotonic();
        assert!(clock.monotonic() >= before);
        assert!(clock.wall() > Moment(1_700_000_000_000));
    }

    /// P16: a machine that slept is noticed at its first beat.
    #[test]
    fn a_missed_beat_is_sleep() {
        let clock = Clock::standing(Moment(1_000_000));
        let mut watch = JumpWatch::new(&clock, BEAT);
        clock.advance(BEAT);
        assert_eq!(watch.look(&clock), None);
        clock.advance(BEAT + Duration::from_secs(3600));
        assert_eq!(watch.look(&clock), Some(Jump::Slept(Duration::from_secs(3600))));
        clock.advance(BEAT);
        assert_eq!(watch.look(&clock), None);
    }

    #[test]
    fn a_corrected_wall_is_not_sleep() {
        let clock = Clock::standing(Moment(10_000_000));
        let mut watch = JumpWatch::new(&clock, BEAT);
        clock.advance(BEAT);
        clock.set_wall(Moment(1_000));
        assert_eq!(watch.look(&clock), Some(Jump::WallSet(-10_004_000)));
    }
}
