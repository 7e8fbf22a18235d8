//! Limits and filters that hold a program in its sandbox besides the sandbox itself.

use std::io;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use pipsqueak_kernel::filter::{Filter, ZygoteFilter};
use pipsqueak_kernel::landlock::{self, Writable};
use pipsqueak_kernel::listener::Listener;

use crate::sandbox::order::Standing;

/// Limits that control groups do not know: the usual one, and the most that a program may ask for.
/// A limit that is lower already stays.
const LIMITS: [(Resource, rlim_t, rlim_t); 8] = [
    // A core is written by the host, and where the host says. A program of the host's that cores are handed to
    // (a `core_pattern` that begins with `|`) is started for any limit but this one, 0 included: core(5).
    (Resource::RLIMIT_CORE, 1, 1),
    (Resource::RLIMIT_NOFILE, 1 << 10, 1 << 16),
    (Resource::RLIMIT_MEMLOCK, 8 << 20, 8 << 20),
    (Resource::RLIMIT_STACK, 8 << 20, rlim_t::MAX),
    (Resource::RLIMIT_NICE, 0, 0),
    (Resource::RLIMIT_RTPRIO, 0, 0),
    // Signals that wait, timers included, and queues of messages: the kernel has so many for all.
    (Resource::RLIMIT_SIGPENDING, 1 << 10, 1 << 10),
    (Resource::RLIMIT_MSGQUEUE, 128 << 10, 128 << 10),
];

/// Folders that a job that installs packages may change: those of the host's are mounted below
/// `/pipsqueak`.
const BY_INSTALLERS: Writable<'static> =
    Writable { folders: &["/tmp", "/dev/shm", "/pipsqueak"], files: &["/dev"] };

/// Filters of system calls, compiled once for all programs.
#[derive(Debug)]
pub struct Filters {
    function: Filter,
    zygote: ZygoteFilter,
}

impl Filters {
    /// Compiles them.
    pub fn compile() -> io::Result<Self> {
        Ok(Self { function: Filter::of_function()?, zygote: ZygoteFilter::compile()? })
    }

    /// Puts the one for such a program on this process, for good; the listener on which it asks, if it asks.
    pub fn install(&self, standing: Standing) -> io::Result<Option<Listener>> {
        match standing {
            Standing::Function | Standing::Installer => self.function.install().map(|()| None),
            Standing::Zygote => self.zygote.install().map(Some),
        }
    }
}

/// Limits what this process and its children may use.
pub fn limit_resources() -> io::Result<()> {
    for (resource, usual, most) in LIMITS {
        let (_, most_now) = getrlimit(resource)?;
        let most = most.min(most_now);
        setrlimit(resource, usual.min(most), most)?;
    }
    Ok(())
}

/// Rules what such a program may change, in the sandbox that it is in. Not a zygote, which could join
/// no sandbox then.
pub fn restrict_files(standing: Standing) -> io::Result<()> {
    match standing {
        Standing::Function => landlock::restrict(Writable::BY_FUNCTIONS),
        Standing::Installer => landlock::restrict(BY_INSTALLERS),
        Standing::Zygote => Ok(()),
    }
}
