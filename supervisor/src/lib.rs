//! The supervisor, `pipsqueakd`: environments, zygotes, sandboxes, and the functions that run in
//! them.
//!
//! A request comes in through [`dispatch`], which asks the [`supervisor`] for an answer. The supervisor
//! takes a paused [`instance`], or makes one of a [`worker`]: in the [`environment`] of the function,
//! forked from a [`zygote`] if there is one, and always in a [`sandbox`]. Its output goes to the
//! [`logs`]; work that no client waits for comes from the [`events`].

pub mod admission;
pub mod boot;
pub mod channel;
pub mod containers;
pub mod deployment;
pub mod dispatch;
pub mod ending;
pub mod environment;
pub mod events;
pub mod fault;
pub mod instance;
pub mod logs;
pub mod machine;
pub mod mount;
pub mod network;
pub mod protocol;
pub mod request_id;
pub mod runtime;
pub mod sandbox;
pub mod sealed;
pub mod service;
pub mod stream;
pub mod supervisor;
pub mod sync;
pub mod tryout;
pub mod turns;
pub mod upgrade;
pub mod wall_clock;
pub mod worker;
pub mod zygote;
