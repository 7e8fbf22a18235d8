//! What the mount shows to anybody.

pub mod cold;
pub mod content;
mod peer;
pub mod popular;
pub mod sharing;
pub mod warm;
