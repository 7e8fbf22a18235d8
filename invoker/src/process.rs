//! A process by its number, told apart from later ones of the same number.

use std::fmt;
use std::fs;
use std::io;
use std::str::FromStr;

use nix::errno::Errno;

/// `PF_EXITING` of Linux, in the flags of `/proc/PID/stat`: the process is in its exit.
const EXITING: u64 = 0x4;
/// SIGKILL in the sets of signals of `/proc/PID/status`.
const KILLED: u64 = 1 << 8;

/// A process. As text, its two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// The process's number.
    pub pid: u32,
    /// Start of the process, in the kernel's ticks since the machine's start; absent if it is unknown.
    began: Option<u64>,
}

/// Facts of a process that `/proc` has.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    began: u64,
    is_ending: bool,
}

impl Process {
    /// This process.
    pub fn own() -> io::Result<Self> {
        let pid = std::process::id();
        Ok(Self { pid, began: see(pid)?.map(|seen| seen.began) })
    }

    /// The process that has a number now, whichever that is.
    pub fn numbered(pid: u32) -> Self {
        Self { pid, began: None }
    }

    /// True if the process runs. A process that was killed, or is in its exit, does not run, even if
    /// its end takes long. An unreaped process does not run either.
    pub fn is_running(&self) -> io::Result<bool> {
        let is_it = |seen: &Seen| self.began.is_none_or(|began| began == seen.began);
        Ok(see(self.pid)?.is_some_and(|seen| is_it(&seen) && !seen.is_ending))
    }

    /// True if anything of the process is there for certain, even only an unreaped number.
    pub fn is_there(&self) -> io::Result<bool> {
        Ok(see(self.pid)?.is_some_and(|seen| self.began == Some(seen.began)))
    }
}

impl fmt::Display for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.pid)?;
        self.began.map_or(Ok(()), |began| write!(formatter, " {began}"))
    }
}

impl FromStr for Process {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (pid, began) = match text.trim().split_once(' ') {
            Some((pid, began)) => (pid, Some(began.parse()?)),
            None => (text.trim(), None),
        };
        Ok(Self { pid: pid.parse()?, began })
    }
}

/// Looks at the process of a number; `None` if there is none.
fn see(pid: u32) -> io::Result<Option<Seen>> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
    let (stat, status) = match read("stat").and_then(|stat| Ok((stat, read("status")?))) {
        Ok(read) => read,
        // ESRCH is the error of a read while the process goes.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(Errno::ESRCH as i32) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let unclear = || io::Error::other(format!("/proc/{pid}/stat cannot be read: {stat:?}"));
    understand(&stat, &status).map(Some).ok_or_else(unclear)
}

fn understand(stat: &str, status: &str) -> Option<Seen> {
    // The second field is the program's name in brackets, with any character in it.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_whitespace().collect();
    let is_dead = matches!(*fields.first()?, "Z" | "X");
    let is_exiting = fields.get(6)?.parse::<u64>().ok()? & EXITING != 0;
    let pending = status.lines().filter_map(|line| {
        let set = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(set.trim(), 16).ok()
    });
    let is_killed = pending.fold(0, |all, set| all | set) & KILLED != 0;
    let began = fields.get(19)?.parse().ok()?;
    Some(Seen { began, is_ending: is_dead || is_exiting || is_killed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_runs_until_it_ends_reaped_or_not() {
        let own = Process::own().unwrap();
        assert!(own.is_running().unwrap());
        let later = Process { began: own.began.map(|began| began + 1), ..own };
        assert!(!later.is_running().unwrap() && !later.is_there().unwrap());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::numbered(child.id());
        assert!(process.is_running().unwrap());
        child.kill().unwrap();
        // From the signal on, although this process does not reap the child.
        for _ in 0..100 {
            assert!(!process.is_running().unwrap());
        }
        child.wait().unwrap();
        assert!(!process.is_running().unwrap());
    }

    #[test]
    fn a_process_is_written_and_read() {
        let own = Process::own().unwrap();
        assert_eq!(format!("{own}\n").parse(), Ok(own));
        assert_eq!("17\n".parse(), Ok(Process::numbered(17)));
        for text in ["", "\n", "x 1", "-1", "1 2 3"] {
            text.parse::<Process>().unwrap_err();
        }
    }

    #[test]
    fn the_state_is_told_whatever_the_name() {
        let stat = |state: &str, flags: u64| {
            format!("7 (a) Z (b) {state} 1 7 7 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 4711 0\n")
        };
        let status = |pending: &str| format!("Name:\tx\nSigPnd:\t{pending}\nShdPnd:\t{pending}\n");
        let (none, killed, other) = (status("0000"), status("0100"), status("4a00"));
        for (state, flags, status, is_ending) in [
            ("S", 0x40_0000, &none, false),
            ("T", 0x40_0000, &other, false),
            ("D", 0x40_0000, &killed, true),
            ("R", 0x40_0004, &none, true),
            ("Z", 0x40_0000, &none, true),
        ] {
            let seen = understand(&stat(state, flags), status);
            assert_eq!(seen, Some(Seen { began: 4711, is_ending }), "{state} {flags:x} {status}");
        }
        assert_eq!(understand("7 (a) S 1 2", &none), None);
    }
}
