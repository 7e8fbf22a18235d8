//! What the mount shows to anybody.

pub mod content;
pub mod sharing;
pub mod warm;
