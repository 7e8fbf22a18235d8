//! Environments: found if they are installed, made if not.
//!
//! With the ssd tier an environment is in the store, and the mount serves it. Without that tier each
//! start that finds no zygote installs into a folder of its own; benchmarks measure that as no sharing.

mod audience;
mod care;
mod error;
mod hosted;
mod installer;
mod interpreter;
mod lines;
mod making;
mod memory;
mod part;
mod requirements;
mod root;
mod shared;
mod table;
mod tree;
mod trees;

pub use audience::Audience;
pub use error::EnvironmentsError;
pub use installer::Installer;
pub use making::Wanted;
pub use memory::in_memory;
pub use requirements::requirements;
pub use root::Root;
pub use table::Environments;
pub use tree::Tree;
