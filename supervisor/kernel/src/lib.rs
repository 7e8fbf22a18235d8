//! System calls around processes, namespaces and mounts, one family a module.
//!
//! Everything that needs `unsafe` for a sandbox is here, behind safe functions. The supervisor and
//! the native part of the Python runtime both build on it, so it depends on nothing of ours.

pub mod arrival;
pub mod clone;
pub mod descriptor;
pub mod filesystem;
pub mod filter;
pub mod forked;
pub mod getenv;
pub mod landlock;
pub mod listener;
pub mod memory;
pub mod message;
pub mod mount;
pub mod network;
pub mod overlay;
pub mod passage;
pub mod pidfd;
pub mod privilege;
pub mod reader;
pub mod relocate;
pub mod variables;
