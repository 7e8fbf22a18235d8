//! Reading ahead of a cold import along its trace.
//!
//! ```text
//! kernel -> pipsqueak-fs serve --(a process has entered a package's folder)--> pipsqueak-fs prefetch
//!                  ^                                                              |
//!                  +------------- looks up, lists and reads what the import will -+
//! ```
//!
//! The kernel asks for one thing at a time, and each answer takes two wake-ups. This asks it for all
//! that the trace names before the importing process does, on another processor. In a process of
//! its own: a thread of the server that waited for the server could not end before it does.

mod host;
mod package;
mod prefetcher;
mod process;

pub use prefetcher::Prefetcher;
pub use process::run;
