//! The wire protocol between Pipsqueak's supervisor and its clients, a blocking client for it, and
//! the settings that both sides must read alike.
//!
//! A client connects to the supervisor's Unix socket, writes one [`wire::Request`] frame, and reads
//! frames until a [`wire::Reply`] comes; [`wire::Progress`] frames may come before it.

pub mod client;
pub mod name;
pub mod process;
pub mod seconds;
pub mod settings;
pub mod size;
pub mod wire;
