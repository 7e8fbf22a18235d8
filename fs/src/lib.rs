//! The ssd tier: packages once per machine.
//!
//! ```text
//! requirements -> ingest (uv, in the caller's confinement) -> store (segments) + catalog (SQLite)
//!                                                         -> view (an index per environment)
//! kernel -> mount (FUSE) -> vfs -> view, store
//! ```
//!
//! The supervisor adds environments with a [`Repository`], serves them with [`mount`], and cares for
//! them with [`gc`] and [`fsck`].
//!
//! Imports go one way, each module using those before it alone:
//!
//! ```text
//! id sync durable trace interpreter requirements -> store -> catalog -> view -> ingest -> repository
//!                                                   view -> vfs -> prefetch -> mount
//!                                                   repository -> gc -> fsck
//! ```

mod catalog;
pub mod durable;
pub mod fsck;
#[doc(hidden)]
pub mod fuzzing;
pub mod gc;
mod id;
mod ingest;
mod interpreter;
pub mod mount;
pub mod prefetch;
mod repository;
mod requirements;
mod store;
mod sync;
#[cfg(test)]
mod tests;
mod trace;
mod vfs;
mod view;

pub use catalog::{CatalogError, Owner};
pub use id::ObjectId;
pub use ingest::confine::{Bind, Confine, ConfineError, Input, Job, JobOutput, Reach, Stop};
pub use ingest::requirement::{Address, is_of_this_machine, split_authority};
pub use ingest::resolve::search_scope::IndexOptions;
pub use ingest::resolve::wanted::check_requirements;
pub use ingest::tryout::{try_python, try_uv};
pub use ingest::{AddError, Step, Unit};
pub use interpreter::Interpreter;
pub use repository::{
    Distribution, Environment, EnvironmentSpec, Imports, Lease, Mounted, Plain, Repository,
    RepositoryError, Subset, retained_name,
};
pub use requirements::Requirements;
pub use store::StoreError;
pub use vfs::{EMPTY_FOLDER, SHOWN_FOLDER, VIEWS_FOLDER};
pub use view::merge::Conflict;
pub use view::published::{recently_changed, view_name};

/// Path at which every sandbox sees its environment: the same path in all of them, so that what a process
/// has imported stays valid when it finds itself in another environment with the same packages.
pub const FIXED_PREFIX: &str = "/pipsqueak/env";
