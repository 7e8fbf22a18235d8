//! From a lock to unpacked distributions: `gather` has archives fetched (`fetch`), which `cache` hashes
//! and keeps. `wheel` reads them, and `unpack` writes each into a folder of its own (`staging`).

pub mod cache;
pub mod downloads;
mod fetch;
pub mod gather;
pub mod merged;
mod progress;
pub mod record;
pub mod room;
pub mod staged;
pub mod staging;
mod top_level;
pub mod unpack;
pub mod unpacked;
pub mod wheel;
