//! What code in a sandbox sees and can do.

pub mod inside;
pub mod limits;
pub mod system;
pub mod usual;
