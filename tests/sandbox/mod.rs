//! The view and the powers of code in a sandbox.

pub mod inside;
pub mod limits;
pub mod system;
pub mod usual;
