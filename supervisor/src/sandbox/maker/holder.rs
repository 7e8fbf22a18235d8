//! A holder: pid 1 of a sandbox. It puts the root together, then only reaps and reports.
//!
//! A holder outlives the programs in its sandbox and the zygote that they were forked from. When the
//! supervisor closes the report socket, the holder ends, and the kernel ends everything in its sandbox.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, chdir, pivot_root, sethostname, setresgid, setresuid};
use pipsqueak_kernel::mount::{self as tree, Access};
use pipsqueak_kernel::{descriptor, network, privilege};

use super::layout::{self, BASE, NEW};
use super::pseudo;
use super::reaper::Reaper;
use crate::sandbox::failure::{HoldError, because};
use crate::sandbox::order::SandboxOrder;

/// Size limit of a sandbox's `/dev/shm`, in bytes: Docker's default.
const SHM_BYTES: u64 = 64 << 20;

/// Limits of what the kernel counts by user, for a function or an installer: `/proc/sys/user`.
const QUOTAS: [(&str, u32); 10] = [
    ("max_inotify_instances", 32),
    ("max_inotify_watches", 16 << 10),
    ("max_fanotify_groups", 0),
    ("max_user_namespaces", 0),
    ("max_mnt_namespaces", 0),
    ("max_pid_namespaces", 0),
    ("max_net_namespaces", 0),
    ("max_ipc_namespaces", 0),
    ("max_uts_namespaces", 0),
    ("max_time_namespaces", 0),
];

/// All that a holder is given.
#[derive(Debug)]
pub struct Holding {
    /// The sandbox to make.
    pub order: SandboxOrder,
    /// The detached mounts, one for each of the order's.
    pub mounts: Vec<OwnedFd>,
    /// Readable once the user maps are written.
    pub mapped: OwnedFd,
    /// Takes one zero byte when the sandbox is ready, or the error as JSON.
    pub ready: OwnedFd,
    /// Takes the exits of what is reaped.
    pub report: OwnedFd,
}

/// Runs a holder in its new namespaces, to the end of the process.
pub fn run(holding: Holding) -> ! {
    let Holding { order, mounts, mapped, ready, report } = holding;
    let mut ready = File::from(ready);
    let status = match set_up(&order, &mounts, File::from(mapped)) {
        // The end of its process tells the others what there is to tell.
        Ok(()) => i32::from(ready.write_all(b"\0").and_then(|()| hold(&report)).is_err()),
        Err(error) => {
            let _ = serde_json::to_writer(&mut ready, &error);
            1
        }
    };
    std::process::exit(status);
}

/// Names the process for its next step, in at most 15 letters: so the step is known, and seen in a list of processes,
/// if it hangs.
fn now_at(step: &CStr) {
    // Only a pointer that cannot be read is refused.
    let _ = prctl::set_name(step);
}

/// Puts the sandbox together.
fn set_up(order: &SandboxOrder, mounts: &[OwnedFd], mapped: File) -> Result<(), HoldError> {
    now_at(c"user maps");
    // First: without a user of the sandbox's this process may do nothing there.
    become_root(mapped)?;
    name_host(order)?;
    now_at(c"mounts");
    make_root(order)?;
    now_at(c"given mounts");
    // On the root that was made, and before it is entered: they are attached by their places in the new one.
    attach_given(order, mounts)?;
    // After the mounts, which take some of what is limited.
    limit_users(order)?;
    now_at(c"new root");
    // After all is mounted: the old root, which goes now, has the base, and a /proc that lets another be mounted.
    enter_root()?;
    now_at(c"privileges");
    // Last: nothing that follows needs a capability. A process that may enter does so by owning the user namespace.
    privilege::drop_capabilities().map_err(because(HoldError::Capabilities))?;
    prctl::set_no_new_privs().map_err(because(HoldError::NewPrivileges))
}

/// Becomes user and group 0 of the sandbox, once the maps say who they are.
fn become_root(mut mapped: File) -> Result<(), HoldError> {
    mapped.read_exact(&mut [0]).map_err(because(HoldError::Maps))?;
    // The group first: a process that has given its user up may not change it.
    let (group, user) = (Gid::from_raw(0), Uid::from_raw(0));
    setresgid(group, group, group).map_err(because(HoldError::Group))?;
    setresuid(user, user, user).map_err(because(HoldError::User))?;
    // A change of user makes a process unreadable, and then nobody could join its namespaces.
    prctl::set_dumpable(true).map_err(because(HoldError::Readable))
}

/// Names the sandbox's host, and raises its loopback interface if the network is its own.
fn name_host(order: &SandboxOrder) -> Result<(), HoldError> {
    sethostname(&order.hostname).map_err(because(HoldError::HostName))?;
    if order.commons.own_network() {
        network::raise_loopback().map_err(because(HoldError::Loopback))?;
    }
    Ok(())
}

/// Makes the root of the sandbox, with its own file systems.
fn make_root(order: &SandboxOrder) -> Result<(), HoldError> {
    let (none, new) = (None::<&str>, Path::new(NEW));
    // First: what is mounted from now on stays here.
    tree::make_private().map_err(because(HoldError::Private))?;
    mount(Some(BASE), new, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .map_err(because(HoldError::Base))?;
    // Before the sandbox's own file systems, which can be written to.
    tree::restrict(new, Access::ReadOnlyWithDevices).map_err(because(HoldError::ReadOnly))?;
    let memory = [("/tmp", "/new/tmp", order.tmp_bytes), ("/dev/shm", "/new/dev/shm", SHM_BYTES)];
    for (place, target, bytes) in memory {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let options = format!("mode=1777,size={bytes}");
        mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options.as_str()))
            .map_err(|error| HoldError::Memory { place: place.into(), source: error.into() })?;
    }
    pseudo::mount_proc(new)?;
    pseudo::mount_terminals(new)
}

/// Attaches what the sandbox was given.
fn attach_given(order: &SandboxOrder, mounts: &[OwnedFd]) -> Result<(), HoldError> {
    for (inside, taken) in order.mounts.iter().zip(mounts) {
        let place = Path::new(NEW).join(inside.strip_prefix("/").unwrap_or(inside));
        // In what is the sandbox's own, such as its /tmp, there is nothing of the base's.
        let metadata = taken.try_clone().map(File::from).and_then(|taken| taken.metadata());
        metadata
            .and_then(|metadata| layout::make_mountpoint(&place, metadata.is_dir()))
            .map_err(|error| HoldError::Place { path: inside.clone(), source: error.into() })?;
        tree::attach(taken.as_fd(), &place)
            .map_err(|error| HoldError::Attach { path: inside.clone(), source: error.into() })?;
    }
    Ok(())
}

/// Limits what the kernel counts by user in this namespace, as far as the kernel knows it.
fn limit_users(order: &SandboxOrder) -> Result<(), HoldError> {
    // A zygote's has those of its children in it.
    let limits = if order.is_zygote { &QUOTAS[..0] } else { &QUOTAS };
    for (name, most) in limits {
        match std::fs::write(format!("/proc/sys/user/{name}"), most.to_string()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            written => written.map_err(|error| HoldError::Quota {
                name: (*name).to_owned(),
                source: error.into(),
            })?,
        }
    }
    Ok(())
}

/// Makes the new root this process's, and leaves nothing of the old one.
fn enter_root() -> Result<(), HoldError> {
    chdir(NEW).map_err(because(HoldError::EnterNew))?;
    // The old root comes to lie on the new one, from where it is unmounted.
    pivot_root(".", ".").map_err(because(HoldError::Pivot))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(because(HoldError::LeaveOld))?;
    chdir("/").map_err(because(HoldError::EnterRoot))
}

/// Reaps and reports until the supervisor closes the report socket.
fn hold(report: &OwnedFd) -> io::Result<()> {
    now_at(c"holder");
    let null = File::open("/dev/null")?;
    descriptor::arrange(&[null.as_fd(), null.as_fd(), null.as_fd()], Some(report.as_fd()))?;
    // The number behind it is another one by now.
    std::mem::forget(null);
    let mut report = File::from(descriptor::inherited(3)?);
    let reaper = Reaper::new()?;
    loop {
        for exit in Reaper::exits()? {
            report.write_all(&exit.encode())?;
        }
        if reaper.wait(report.as_fd(), None)? {
            return Ok(());
        }
    }
}
