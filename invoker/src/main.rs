//! The invoker.

fn main() {}
