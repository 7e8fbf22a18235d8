//! The process on the other side of the volume driver's socket: a container engine.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

/// A process, told apart from later ones of the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// Start of the machine that it belongs to.
    boot: String,
    /// Process number; 0 if it cannot be seen from here.
    pid: i32,
    /// Time at which it began, in the kernel's ticks since the start of the machine.
    began: u64,
}

impl Engine {
    /// The process with a number, which is alive now.
    pub fn of(pid: i32) -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(Self { boot: boot.trim().to_owned(), pid, began: began(pid).unwrap_or(0) })
    }

    /// True if it is alive.
    pub fn is_alive(&self) -> bool {
        self.pid > 0 && Self::of(self.pid).is_ok_and(|now| now == *self)
    }
}

fn began(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, with any character in it.
    let (_, after) = text.rsplit_once(") ")?;
    let mut fields = after.split(' ');
    let is_a_zombie = matches!(fields.next()?, "Z" | "X");
    if is_a_zombie { None } else { fields.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_alive_until_it_ends() {
        let own = Engine::of(std::process::id().cast_signed()).unwrap();
        assert!(own.is_alive() && own.began > 0);
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let engine = Engine::of(child.id().cast_signed()).unwrap();
        assert!(engine.is_alive() && engine != own);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!engine.is_alive());
        assert!(!Engine { boot: "another".to_owned(), ..own.clone() }.is_alive());
        assert!(!Engine { began: own.began + 1, ..own }.is_alive());
    }
}
