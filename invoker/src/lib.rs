//! The wire protocol between Pipsqueak's supervisor and its clients, and a blocking client for it.
//!
//! A client connects to the supervisor's Unix socket, writes one [`wire::Request`] frame, and reads
//! frames until a [`wire::Reply`] comes; [`wire::Progress`] frames may come before it.

pub mod wire;
