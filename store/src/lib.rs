//! The durable record store of kinsync.
