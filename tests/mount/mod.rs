//! What the mount shows to anybody.

pub mod cold;
pub mod content;
pub mod sharing;
pub mod warm;
