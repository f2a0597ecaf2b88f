//! What two devices can ask each other for, and within which limits.

use std::time::Duration;

use libp2p::StreamProtocol;

const KIB: usize = 1024;

/// One of the request-response protocols of kinsync.
///
/// The number in the name is the version: a peer that does not know it
/// refuses the stream, and never misreads it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// Pairing: the only one that strangers reach, and only while a code is open.
    Pair,
    /// Statements about keys, the first thing on every connection.
    Trust,
    /// Records.
    Sync,
}

/// How much, how long and how often a peer may use a [`Protocol`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of a request.
    pub request: usize,
    /// Bytes of an answer.
    pub answer: usize,
    /// How long the asker waits for the first byte of an answer.
    pub patience: Duration,
    /// How long a frame that has begun may go without a byte moving.
    pub idle: Duration,
    /// How long an exchange may take from the first byte to the last.
    pub total: Duration,
    /// Requests of ours that are under way with one peer; more wait in line.
    pub in_flight: usize,
    /// Exchanges of one connection, both directions together. What a peer
    /// opens beyond that is dropped unread.
    pub streams: usize,
}

impl Protocol {
    /// Every protocol there is.
    pub const ALL: [Self; 3] = [Self::Pair, Self::Trust, Self::Sync];

    /// The name that the two devices negotiate.
    pub const fn name(self) -> StreamProtocol {
        StreamProtocol::new(match self {
            Self::Pair => "/kinsync/pair/1",
            Self::Trust => "/kinsync/trust/1",
            Self::Sync => "/kinsync/sync/1",
        })
    }

    /// The limits that both ends keep.
    ///
    /// `in_flight` of all protocols and both directions together stays well
    /// below the multiplexer's limit, because exceeding that one costs the
    /// connection and not just a stream.
    pub const fn limits(self) -> Limits {
        match self {
            // An answer may wait for a person: 120 s and some for the way.
            Self::Pair => Limits {
                request: 4 * KIB,
                answer: 4 * KIB,
                patience: Duration::from_secs(135),
                idle: Duration::from_secs(10),
                total: Duration::from_secs(135),
                in_flight: 2,
                streams: 6,
            },
            Self::Trust => Limits {
                request: 64 * KIB,
                answer: 64 * KIB,
                patience: Duration::from_secs(10),
                idle: Duration::from_secs(10),
                total: Duration::from_secs(10),
                in_flight: 2,
                streams: 6,
            },
            // Slow is fine and stuck is not: the total is only a backstop.
            // Four frames in flight saturate a LAN, eight leave room for
            // questions beside them.
            Self::Sync => Limits {
                request: 1024 * KIB + 96 * KIB,
                answer: 1024 * KIB + 96 * KIB,
                patience: Duration::from_secs(60),
                idle: Duration::from_secs(30),
                total: Duration::from_secs(3600),
                in_flight: 8,
                streams: 32,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::STREAMS_PER_CONNECTION_MAX;

    #[test]
    fn honest_peers_stay_below_the_limit_that_costs_the_connection() {
        let in_flight: usize = Protocol::ALL.iter().map(|protocol| protocol.limits().in_flight).sum();
        // Both directions, each once under way and once just finished; the
        // rest is for pings.
        assert!(in_flight * 4 + 8 <= STREAMS_PER_CONNECTION_MAX);
        for protocol in Protocol::ALL {
            let limits = protocol.limits();
            assert!(limits.in_flight * 2 <= limits.streams, "{protocol:?}");
        }
    }
}
