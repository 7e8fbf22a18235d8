//! Orders of the supervisor to the process that makes sandboxes, and the answers, as plain data.
//!
//! Each order has a socket of its own, which the maker is sent first, and on which the answer comes.
//! An order travels as JSON, its descriptors beside it in the order of the fields that name them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::commons::Commons;
use super::failure::Failure;

/// One order.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Make an empty sandbox. Answered with [`Answer::Sandbox`] and the holder's pidfd.
    Sandbox(SandboxOrder),
    /// Start a program in a sandbox whose parent is the host. Answered with [`Answer::Process`] and
    /// the process's pidfd, and with a zygote's listener.
    Process(ProcessOrder),
    /// Make a commons. Answered with [`Answer::Commons`] and its mount namespace.
    Commons,
    /// Bring what sandboxes see of the system up to date, for which the mount namespaces of the supervisor and of
    /// each commons are sent. Answered with [`Answer::Refreshed`].
    Refresh,
}

/// Owner of the code that runs in a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// A function's.
    Function,
    /// A zygote's: what runs in it forks children into sandboxes that are made inside it.
    Zygote,
    /// Resolving and installing.
    Installer,
}

impl Standing {
    /// The standing in a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Zygote => "zygote",
            Self::Installer => "installer",
        }
    }
}

/// An empty sandbox: namespaces, a root, and a holder as pid 1.
///
/// Descriptors: the mount namespace of its commons, the holder's report socket, `cgroup.procs` of each hierarchy, the
/// parent's pidfd if there is a parent, one detached mount for each of `mounts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxOrder {
    /// Host name inside.
    pub hostname: String,
    /// Host names in the sandboxes around it: what was imported there may have remembered them.
    pub hostnames_around: Vec<String>,
    /// Number of descriptors that are `cgroup.procs`.
    pub memberships: usize,
    /// With whom it shares what it sees of the system, and whose kind of network it has.
    pub commons: Commons,
    /// True if others are made inside of it.
    pub is_zygote: bool,
    /// True if it is inside of a zygote's.
    pub is_inside: bool,
    /// The user that it is made as, in the zygote's sandbox or on the host. It owns the sandbox's namespaces, and
    /// what of the kernel's is counted by user is counted for it.
    pub owner: u32,
    /// Users inside: first inside, first outside (in the parent's namespace), count.
    pub users: Vec<(u32, u32, u32)>,
    /// Number of the mounts that others see at the same places, which come first.
    pub shared: usize,
    /// Places of the detached mounts.
    pub mounts: Vec<PathBuf>,
    /// Size limit of `/tmp`, in bytes.
    pub tmp_bytes: u64,
}

/// A program to be started in a sandbox.
///
/// Descriptors: holder's pidfd, `cgroup.procs` of each hierarchy, stdin, stdout, stderr, and those
/// that follow them from 3 on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessOrder {
    /// Number of descriptors that are `cgroup.procs`.
    pub memberships: usize,
    /// Owner of the code that it runs.
    pub standing: Standing,
    /// True if the sandbox has a network namespace of its own.
    pub own_network: bool,
    /// User and group inside.
    pub user: u32,
    /// Program and arguments; not empty.
    pub arguments: Vec<String>,
    /// The whole environment.
    pub variables: Vec<(String, String)>,
    /// Working directory inside.
    pub directory: PathBuf,
}

/// The answer to an order.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// A sandbox is ready; the holder's number on the host.
    Sandbox {
        /// Process number.
        holder: i32,
    },
    /// A process runs; its number on the host.
    Process {
        /// Process number.
        pid: i32,
    },
    /// A commons is ready.
    Commons,
    /// Success: what sandboxes see of the system is up to date.
    Refreshed,
    /// The order failed, and nothing of it is left.
    Failed(Failure),
}

/// The end of a process, as a holder or the maker reports it after reaping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Number of the process, in the reporter's pid namespace.
    pub pid: i32,
    /// Wait status, as from waitpid(2).
    pub status: i32,
}

impl Exit {
    /// Length of an exit's encoding.
    pub const BYTES: usize = 8;

    /// The encoding: pid, then status, little-endian.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.pid.to_le_bytes());
        bytes[4..].copy_from_slice(&self.status.to_le_bytes());
        bytes
    }

    /// Reads an encoding.
    pub fn decode(bytes: [u8; Self::BYTES]) -> Self {
        let [p0, p1, p2, p3, s0, s1, s2, s3] = bytes;
        Self {
            pid: i32::from_le_bytes([p0, p1, p2, p3]),
            status: i32::from_le_bytes([s0, s1, s2, s3]),
        }
    }

    /// True if it was killed by a signal that it cannot have handled.
    pub fn is_kill(self) -> bool {
        self.status & 0x7f == nix::sys::signal::Signal::SIGKILL as i32
    }

    /// The status as a shell gives it: the exit status, or 128 and the signal.
    pub fn code(self) -> i32 {
        let signal = self.status & 0x7f;
        if signal == 0 { (self.status >> 8) & 0xff } else { 128 + signal }
    }

    /// The status in words: `exited with status 3`, `was killed by signal 11 (SIGSEGV)`.
    pub fn describe(self) -> String {
        use nix::sys::signal::Signal;
        let signal = self.status & 0x7f;
        if signal == 0 {
            return format!("exited with status {}", (self.status >> 8) & 0xff);
        }
        match Signal::try_from(signal) {
            Ok(name) => format!("was killed by signal {signal} ({name})"),
            Err(_) => format!("was killed by signal {signal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_are_told_in_words() {
        let exit = |status| Exit { pid: 1, status };
        assert_eq!(exit(3 << 8).describe(), "exited with status 3");
        assert_eq!(exit(11).describe(), "was killed by signal 11 (SIGSEGV)");
        assert_eq!(Exit::decode(exit(9).encode()), exit(9));
    }
}
