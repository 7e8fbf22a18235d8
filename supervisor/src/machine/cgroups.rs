//! Control groups: one group a sandbox, in whichever hierarchies the machine has.
//!
//! Three layouts are found in the field, and all are served:
//!
//! | layout | freeze, kill | memory, pids, cpu |
//! |---|---|---|
//! | v2 | `cgroup.freeze`, `cgroup.kill` | v2 |
//! | hybrid | v2 at `/sys/fs/cgroup/unified` | each where it is: v1, or v2 |
//! | v1 | `freezer`, signals | v1 |
//!
//! An instance's groups are below `pipsqueak-ID` at the root of each hierarchy, because a group
//! with processes of its own (such as the one that `up` was called in) cannot delegate
//! controllers.

mod counts;
mod group;
mod instance;
mod layout;
mod limits;
mod shown;
mod strain;

pub use group::Group;
pub use instance::Instance;
pub use layout::Layout;
pub use limits::Limits;
pub use shown::LimitWatch;
