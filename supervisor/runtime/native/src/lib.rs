//! Parts of the Python runtime that Python cannot do: messages with descriptors without importing `socket`,
//! the steps by which a zygote's child enters a sandbox, and a watch over its imports.

mod beside;
mod channel;
mod contents;
mod fork;
mod imports;
mod kept;
mod later;
mod mode;
mod modules;
mod names;
mod owner;
mod printed;
mod process;
mod replaced;
mod steps;
mod surroundings;
mod watch;

use pyo3::prelude::*;

/// The native part of the runtime.
#[pymodule]
mod pipsqueak_native {
    #[pymodule_export]
    use crate::channel::{Broken, Channel, receive, send};
    #[pymodule_export]
    use crate::fork::{collapse, fork_into, open_passage, settle};
    #[pymodule_export]
    use crate::imports::imports;
    #[pymodule_export]
    use crate::owner::{Elsewhere, is_elsewhere, own};
    #[pymodule_export]
    use crate::process::{names_of_getenv, now, record_getenv, stop_timers};
    #[pymodule_export]
    use crate::replaced::Held;
}
