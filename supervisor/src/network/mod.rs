//! The network of functions that have an address of their own behind the host's (`nat`).
//!
//! ```text
//! sandbox: eth0 198.18.0.7/32 -- port -- bridge 198.18.0.1/20 -- the host's routes, masqueraded
//! sandbox: eth0 198.18.0.8/32 -- port --/           \-- resolver
//! ```
//!
//! An instance has a [`Nat`] (`nat`) from its first such function on: a bridge and the addresses behind it
//! (`link`, `range`), rules for what goes where (`filter`), and a `resolver`. Where the machine
//! forwards nothing, it begins to (`forwarding`). The kernel is told all of it by `netlink`. The
//! bridge is made first and removed last, so if there is none, nothing else is left either.
//!
//! Jobs that download have no network of that kind, but one way out, `outward`.

mod error;
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "libc's constants")]
mod filter;
mod forwarding;
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "libc's constants")]
mod link;
mod namespace;
mod nat;
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "libc's constants")]
mod netlink;
mod outward;
mod range;
mod resolver;
mod turn;

pub use error::{NatError, NatStep};
pub use nat::{Nat, try_out};
pub use outward::{Outward, Upstream};
pub use range::{Range, Taken};
