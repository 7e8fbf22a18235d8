//! What is dropped, and when.

pub mod lru;
