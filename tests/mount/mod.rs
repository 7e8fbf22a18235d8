//! The mount's content and cost, as any process sees them.

pub mod cold;
pub mod content;
pub mod overlay;
pub mod peer;
pub mod popular;
pub mod sharing;
pub mod warm;
