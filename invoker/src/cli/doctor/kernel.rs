//! Root, the kernel's version, FUSE, and namespaces.

use std::fs::{self, OpenOptions};
use std::io;
use std::process::{Command, Output};

use nix::sched::{CloneFlags, unshare};

use super::finding::Finding;
use crate::cli::failure::{Exit, Failure};

/// The first kernel with all of `clone3`, pidfds, `open_tree`, `mount_setattr`, `cgroup.kill`.
const OLDEST: (u32, u32) = (5, 14);

/// The namespaces that a sandbox is made of.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWUSER
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWCGROUP);

pub(super) fn examine() -> Vec<Finding> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    vec![
        root(nix::unistd::geteuid().as_raw()),
        version(&read("/proc/sys/kernel/osrelease")),
        fuse(OpenOptions::new().read(true).write(true).open("/dev/fuse").map(|_| ())),
        namespaces(Command::new("/proc/self/exe").arg("try-namespaces").output()),
        restrictions(
            &read("/proc/sys/user/max_user_namespaces"),
            &read("/proc/sys/kernel/unprivileged_userns_clone"),
            &read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        ),
    ]
}

/// Makes the namespaces of a sandbox for this process, which then ends.
pub fn try_namespaces() -> Result<Exit, Failure> {
    unshare(NAMESPACES).map_err(Failure::system("unshare"))?;
    Ok(Exit::Done)
}

fn root(uid: u32) -> Finding {
    match uid {
        0 => Finding::ok("root", "this is root"),
        _ => Finding::missing(
            "root",
            format!("this is user {uid}"),
            "the supervisor makes mounts and namespaces: run it, and this check, as root",
        ),
    }
}

fn version(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let advice = format!("use Linux {}.{} or later", OLDEST.0, OLDEST.1);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= OLDEST => {
            Finding::ok("kernel", format!("Linux {release}"))
        }
        (Some(Ok(_)), Some(Ok(_))) => {
            let why =
                "too old for open_tree, mount_setattr, clone3, pidfds and cgroup.kill together";
            Finding::missing("kernel", format!("Linux {release}, {why}"), advice)
        }
        _ => Finding::warning("kernel", format!("unreadable version `{release}`"), advice),
    }
}

fn fuse(opened: io::Result<()>) -> Finding {
    let Err(error) = opened else { return Finding::ok("fuse", "/dev/fuse can be opened") };
    let advice = match error.kind() {
        io::ErrorKind::NotFound => {
            "load the module (modprobe fuse); in a container, pass the device"
        }
        io::ErrorKind::PermissionDenied => "run as root; in a container, allow the device",
        _ => "check that the kernel has FUSE (CONFIG_FUSE_FS)",
    };
    Finding::missing("fuse", format!("/dev/fuse: {error}"), advice)
}

fn namespaces(tried: io::Result<Output>) -> Finding {
    let found = match tried {
        Ok(output) if output.status.success() => {
            return Finding::ok("namespaces", "a process can make all that a sandbox needs");
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("trying: {error}"),
    };
    let advice = "allow user namespaces (sysctl user.max_user_namespaces); in a container, allow \
                  unshare (seccomp profile, CAP_SYS_ADMIN)";
    Finding::missing("namespaces", found, advice)
}

/// Settings that let root make namespaces and not the processes inside them, which nest theirs.
fn restrictions(most: &str, clone: &str, apparmor: &str) -> Finding {
    const CHECK: &str = "user namespaces";
    if most == "0" {
        let advice = "sysctl -w user.max_user_namespaces=65536";
        return Finding::missing(CHECK, "user.max_user_namespaces is 0", advice);
    }
    for (value, bad, name, good) in [
        (clone, "0", "kernel.unprivileged_userns_clone", "1"),
        (apparmor, "1", "kernel.apparmor_restrict_unprivileged_userns", "0"),
    ] {
        if value == bad {
            return Finding::warning(
                CHECK,
                format!("{name} is {bad}: zygotes may not nest theirs"),
                format!("sysctl -w {name}={good}"),
            );
        }
    }
    match most.parse::<u64>() {
        Ok(most) if most < 1024 => Finding::warning(
            CHECK,
            format!("at most {most}, and every sandbox takes one"),
            "sysctl -w user.max_user_namespaces=65536",
        ),
        Ok(most) => Finding::ok(CHECK, format!("at most {most}")),
        Err(_) => Finding::missing(
            CHECK,
            "the kernel has none",
            "use a kernel with user namespaces (CONFIG_USER_NS)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn kernels_are_judged_by_number_and_not_by_text() {
        for (release, verdict) in [
            ("6.18.44-fc-v669", Verdict::Ok),
            ("5.14.0-503.el9.x86_64", Verdict::Ok),
            ("10.0", Verdict::Ok),
            ("5.4.0-200-generic", Verdict::Missing),
            ("4.19", Verdict::Missing),
            ("", Verdict::Warning),
        ] {
            assert_eq!(version(release).verdict, verdict, "{release}");
        }
    }

    #[test]
    fn restrictions_are_told_with_the_setting_that_lifts_them() {
        assert_eq!(restrictions("96365", "", "").verdict, Verdict::Ok);
        assert_eq!(restrictions("96365", "1", "0").verdict, Verdict::Ok);
        assert_eq!(restrictions("0", "", "").verdict, Verdict::Missing);
        assert_eq!(restrictions("", "", "").verdict, Verdict::Missing);
        assert_eq!(restrictions("100", "", "").verdict, Verdict::Warning);
        let advice = restrictions("96365", "0", "").advice.unwrap();
        assert_eq!(advice, "sysctl -w kernel.unprivileged_userns_clone=1");
        let advice = restrictions("96365", "", "1").advice.unwrap();
        assert_eq!(advice, "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0");
    }

    #[test]
    fn what_fails_says_why() {
        assert_eq!(root(0).verdict, Verdict::Ok);
        assert_eq!(root(1000).verdict, Verdict::Missing);
        let absent = fuse(Err(io::ErrorKind::NotFound.into()));
        assert!(absent.advice.unwrap().contains("modprobe fuse"));
        assert_eq!(fuse(Ok(())).verdict, Verdict::Ok);
        let failed = Command::new("sh").args(["-c", "echo unshare: EPERM >&2; exit 70"]).output();
        assert_eq!(namespaces(failed).found, "unshare: EPERM");
        assert_eq!(namespaces(Command::new("true").output()).verdict, Verdict::Ok);
    }
}
