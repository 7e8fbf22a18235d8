//! The way by which a sandbox is given more from outside, also while a process is just entering it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pipsqueak::wire::DEFAULT_TMP;
use pipsqueak_kernel::{mount, pidfd};

use super::places::Mounted;
use crate::network::Taken;

/// Time that a process may take from leaving its namespaces to its end.
const MOMENT: Duration = Duration::from_millis(100);

/// A way into a sandbox, for the supervisor alone. It keeps nothing of it alive.
#[derive(Debug, Clone)]
pub struct Door {
    pub(super) holder: Arc<OwnedFd>,
    pub(super) holder_pid: i32,
    /// Free for others only when nothing of the sandbox runs any more.
    pub(super) address: Arc<OnceLock<Taken>>,
}

impl Door {
    /// The holder's pidfd.
    pub fn holder(&self) -> BorrowedFd<'_> {
        self.holder.as_fd()
    }

    /// The holder's number on the host.
    pub fn holder_pid(&self) -> i32 {
        self.holder_pid
    }

    /// True if its holder has ended, and so the sandbox.
    pub fn has_ended(&self) -> bool {
        pidfd::wait_end(self.holder(), Duration::ZERO).unwrap_or(true)
    }

    /// True if its holder has ended or is about to: a process that is killed leaves its namespaces a
    /// moment before that is told. Blocks for that moment.
    pub fn is_ending(&self) -> bool {
        pidfd::wait_end(self.holder(), MOMENT).unwrap_or(true)
    }

    /// Mounts more in the sandbox, at places that its root has, and lets its `/tmp` have so many bytes.
    pub fn furnish(&self, mounts: &[Mounted], tmp_bytes: u64) -> io::Result<()> {
        mount::visit(self.holder(), || {
            if tmp_bytes != DEFAULT_TMP {
                mount::resize_tmpfs(Path::new("/tmp"), tmp_bytes)?;
            }
            mounts.iter().try_for_each(|(place, tree)| mount::attach_plainly(tree.as_fd(), place))
        })
    }
}
