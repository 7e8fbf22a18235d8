//! What holds a program in its sandbox besides the sandbox itself.

use std::io;

use pipsqueak_kernel::filter::Filter;

use super::order::Standing;

/// Filters of system calls, compiled once for all programs.
#[derive(Debug)]
pub struct Filters {
    function: Filter,
    zygote: Filter,
}

impl Filters {
    /// Compiles them.
    pub fn compile() -> io::Result<Self> {
        Ok(Self { function: Filter::of_function()?, zygote: Filter::of_zygote()? })
    }

    /// Puts the one for such a program on this process, for good.
    pub fn install(&self, standing: Standing) -> io::Result<()> {
        match standing {
            Standing::Function | Standing::Installer => self.function.install(),
            Standing::Zygote => self.zygote.install(),
        }
    }
}
