//! Foreign input on its way into the store.

pub mod hostile;
pub mod index;
pub mod indexes;
pub mod lines;
