//! Views: the merged folder trees of environments, compiled to what the mount serves.
//!
//! `merge` says what a view holds, `compile` makes its index of that, in the `format` that `index`
//! reads; `published` says which names there are.
//!
//! ```text
//! STATE/views/DIGEST.index      one sealed index a view; a distribution is a view of itself alone
//! STATE/views/published.json    the names in /envs and /dists, replaced by rename
//! ```

pub mod compile;
mod format;
pub mod index;
pub mod inode;
pub mod merge;
pub mod publish;
pub mod published;
