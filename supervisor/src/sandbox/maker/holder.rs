//! A holder: pid 1 of a sandbox. It puts the root together, then only reaps and reports.
//!
//! It outlives whatever runs in the sandbox and whichever zygote that was forked from. When the
//! supervisor closes the report socket it ends, and the kernel ends everything in its sandbox.

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

use super::reaper::Reaper;
use super::{layout, pseudo};
use crate::sandbox::order::SandboxOrder;

/// Size limit of a sandbox's `/dev/shm`, in bytes: Docker's default.
const SHM_BYTES: u64 = 64 << 20;

/// What the kernel counts by user, and the most that a function or an installer may have of it: `/proc/sys/user`.
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

/// What a holder is given.
#[derive(Debug)]
pub struct Holding {
    /// What to make.
    pub order: SandboxOrder,
    /// The detached mounts, one for each of the order's.
    pub mounts: Vec<OwnedFd>,
    /// Readable once the user maps are written.
    pub mapped: OwnedFd,
    /// Takes one byte when the sandbox is ready, a reason when it failed.
    pub ready: OwnedFd,
    /// Takes the exits of what is reaped.
    pub report: OwnedFd,
}

/// Runs a holder in its new namespaces, to the end of the process.
pub fn run(holding: Holding) -> ! {
    let Holding { order, mounts, mapped, ready, report } = holding;
    let mut ready = File::from(ready);
    let failure = match set_up(&order, &mounts, File::from(mapped)) {
        Ok(()) => match ready.write_all(b"\0").and_then(|()| hold(&report)) {
            Ok(()) => std::process::exit(0),
            Err(error) => error,
        },
        Err((step, error)) => {
            let _ = write!(ready, "{step}: {error}");
            error
        }
    };
    std::process::exit(failure.raw_os_error().unwrap_or(1));
}

type Step<'a> = (&'a str, io::Error);

/// Tags an error with the step that failed.
fn at<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Step<'static> {
    move |error| (step, error.into())
}

/// Names the process for what it does next, of at most 15 letters: so it is known, and seen in a
/// list of processes, what one that hangs was at.
fn now_at(step: &CStr) {
    // Only a pointer that cannot be read is refused.
    let _ = prctl::set_name(step);
}

fn set_up(order: &SandboxOrder, mounts: &[OwnedFd], mut mapped: File) -> Result<(), Step<'static>> {
    let none = None::<&str>;
    now_at(c"user maps");
    mapped.read_exact(&mut [0]).map_err(at("waiting for the user maps"))?;
    setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0)).map_err(at("setresgid"))?;
    setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).map_err(at("setresuid"))?;
    // A change of user makes a process unreadable, and then nobody could join its namespaces.
    prctl::set_dumpable(true).map_err(at("becoming readable"))?;
    sethostname(&order.hostname).map_err(at("sethostname"))?;
    if order.commons.own_network() {
        network::raise_loopback().map_err(at("raising the loopback interface"))?;
    }
    now_at(c"mounts");
    tree::make_private().map_err(at("making mounts private"))?;
    mount(Some("/base"), "/new", none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .map_err(at("mounting the base"))?;
    tree::restrict(Path::new("/new"), Access::ReadOnlyWithDevices)
        .map_err(at("making the root read-only"))?;
    for (place, bytes) in [("/new/tmp", order.tmp_bytes), ("/new/dev/shm", SHM_BYTES)] {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let options = format!("mode=1777,size={bytes}");
        mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some(options.as_str()))
            .map_err(at("mounting a private /tmp"))?;
    }
    pseudo::mount_proc(Path::new("/new")).map_err(at("mounting /proc"))?;
    pseudo::mount_terminals(Path::new("/new")).map_err(at("mounting /dev/pts"))?;
    now_at(c"given mounts");
    for (inside, taken) in order.mounts.iter().zip(mounts) {
        let place = Path::new("/new").join(inside.strip_prefix("/").unwrap_or(inside));
        // In what is the sandbox's own, such as its /tmp, there is nothing of the base's.
        let metadata = taken.try_clone().map(File::from).and_then(|taken| taken.metadata());
        metadata
            .and_then(|metadata| layout::make_mountpoint(&place, metadata.is_dir()))
            .map_err(at("preparing what the sandbox is to see"))?;
        tree::attach(taken.as_fd(), &place).map_err(at("mounting what the sandbox is to see"))?;
    }
    // Mounting takes some of it.
    limit_users(order).map_err(at("limiting what is counted by user"))?;
    now_at(c"new root");
    chdir("/new").map_err(at("entering the new root"))?;
    pivot_root(".", ".").map_err(at("pivot_root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(at("leaving the old root"))?;
    chdir("/").map_err(at("entering the root"))?;
    now_at(c"privileges");
    // Nothing that follows needs one; who may enter does so by owning the user namespace.
    privilege::drop_capabilities().map_err(at("dropping capabilities"))?;
    prctl::set_no_new_privs().map_err(at("forbidding new privileges"))?;
    Ok(())
}

/// Limits what the kernel counts by user in this namespace, as far as the kernel knows it.
fn limit_users(order: &SandboxOrder) -> io::Result<()> {
    // A zygote's has those of its children in it.
    let limits = if order.is_zygote { &QUOTAS[..0] } else { &QUOTAS };
    for (name, most) in limits {
        match std::fs::write(format!("/proc/sys/user/{name}"), most.to_string()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            written => written?,
        }
    }
    Ok(())
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
