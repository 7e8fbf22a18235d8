//! `/etc/hosts` of a sandbox, which has a line of its own.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use pipsqueak_kernel::mount::{self, Access};

use super::layout;
use crate::sandbox::failure::{MakeError, because};
use crate::sandbox::order::SandboxOrder;

/// The file in which names of hosts are looked up first.
const HOSTS: &str = "/etc/hosts";

/// A file of the maker's root that tells a sandbox the names of hosts, its own included; removed when this is
/// dropped. What is mounted in a sandbox by then stays there.
#[derive(Debug)]
pub struct Names(PathBuf);

impl Names {
    /// Makes it, and has it mounted in the sandbox: after the names that it is given by a mount, or those of
    /// every sandbox, it has the sandbox's own, and then those of the sandboxes around it.
    pub fn add(order: &mut SandboxOrder, mounts: &mut Vec<OwnedFd>) -> Result<Self, MakeError> {
        let SandboxOrder { hostname, hostnames_around, mounts: places, .. } = order;
        let given = places.iter().zip(&*mounts).position(|(place, _)| place == Path::new(HOSTS));
        let given = given.map(|number| (places.remove(number), mounts.remove(number)));
        let before = match &given {
            Some((_, taken)) => format!("/proc/self/fd/{}", taken.as_raw_fd()),
            None => format!("{}{HOSTS}", layout::BASE),
        };
        let mut names = fs::read(before).map_err(because(MakeError::ReadNames))?;
        let others = hostnames_around.join(" ");
        names.extend(format!("\n127.0.1.1 {hostname} {others}\n").bytes());
        let made = Self(Path::new("/").join(format!("hosts-{hostname}")));
        layout::write_file(&made.0, &names).map_err(|error| MakeError::WriteNames {
            path: made.0.clone(),
            source: error.into(),
        })?;
        places.push(HOSTS.into());
        let taken = mount::take(&made.0, Access::ReadOnly);
        mounts.push(taken.map_err(because(MakeError::TakeNames))?);
        Ok(made)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // A few bytes are left, which no other sandbox has a use for.
        let _ = fs::remove_file(&self.0);
    }
}
