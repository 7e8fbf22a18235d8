//! The ssd tier.
