//! Integration tests are in the test target `integration`; this crate has nothing else.
