//! What the mount shows to anybody.

pub mod cold;
pub mod content;
pub mod overlay;
pub mod peer;
pub mod popular;
pub mod sharing;
pub mod warm;
