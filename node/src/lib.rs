//! A peer-to-peer sync node to embed in an application.
