//! Every limit that two devices share, each with its reason.

/// The largest record key, in bytes of UTF-8: room for a path, small enough
/// to stand in an index row.
pub const KEY_BYTES_MAX: usize = 256;

/// The largest body of a record value. Larger things are attachments, not records.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// The largest header of a stored value, its length and mark included: the
/// states of some thousand fields and elements.
pub const VALUE_HEADER_BYTES_MAX: usize = 32 << 10;

/// The largest value as it is stored and sent: body and header.
pub const STORED_BYTES_MAX: usize = VALUE_BYTES_MAX + VALUE_HEADER_BYTES_MAX;

/// The largest sync frame on the wire: one record of the largest size and its
/// surroundings.
pub const FRAME_BYTES_MAX: usize = STORED_BYTES_MAX + (64 << 10);

/// A frame is closed once it holds this much: throughput saturates between
/// 256 KiB and 1 MiB, and after a revocation at most one frame is on its way.
pub const FRAME_BYTES_TARGET: usize = 512 << 10;

/// Values up to this size travel with their announcement; larger ones wait
/// until the other side has said that it lacks them.
pub const INLINE_BYTES_MAX: usize = 1 << 10;

/// Rows or records in one frame: bounds what one decode can allocate.
pub const FRAME_ROWS_MAX: usize = 16_384;

/// Messages of any kind in one frame.
pub const FRAME_PARTS_MAX: usize = 4_096;

/// Devices named in one frame. A person has a few; a library lived through
/// some dozens.
pub const FRAME_DEVICES_MAX: usize = 1_024;

/// Devices of which a push says that they are served by somebody: as many as
/// can be trusted at once.
pub const PUSH_SERVED_MAX: usize = 64;

/// Domains in one session.
pub const DOMAINS_MAX: usize = 4_096;

/// Devices in the ancestry of one version: as many as can be alive at once.
pub const ANCESTRY_DEVICES_MAX: usize = 64;

/// How far the local clock follows a stamp ahead of it: ten minutes.
pub const CLOCK_FOLLOW_MILLIS_MAX: u64 = 10 * 60 * 1_000;

/// Nesting of a CBOR message. Ours need six levels.
pub const CBOR_DEPTH_MAX: usize = 32;

/// A backlog above this many rows is compared by ranges instead of listed, as
/// most of it may be known already.
pub const DELTA_ROWS_MAX: u64 = 65_536;

/// A range with at most this many items is listed instead of split further.
pub const LEAF_ITEMS_MAX: u64 = 4;

/// Ranges that a repair keeps open for one domain: all that the stored sums
/// tell apart.
pub const OPEN_RANGES_MAX: usize = 65_536;

/// Frames one session may take before it ends unfinished; the next one goes
/// on where it stopped. Enough for 10 million records.
pub const SESSION_FRAMES_MAX: u32 = 65_536;

/// How often a session compares roots again after it found nothing more to
/// send, before it leaves the rest to the next one.
pub const REPAIR_ROUNDS_MAX: u8 = 4;

/// How many days a floor lies behind a device's own clock at least for the
/// device to believe it.
pub const FLOOR_AGE_DAYS_MIN: u32 = 14;

/// How many days the tombstone is kept at least that a floor made, and with it
/// what it ended: time to notice that something is missing.
pub const LIMBO_DAYS: u32 = 90;
