//! Pressure on memory, as the kernel tells it: how much the machine has, and how long processes wait for it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pipsqueak_policy::eviction::Reading;
use tokio::sync::Notify;

/// Stalls of the whole machine (PSI).
pub const MACHINE: &str = "/proc/pressure/memory";

/// Waiting that rings an alarm, and the time within which, in microseconds: the first that the kernel takes.
/// Without `CAP_SYS_RESOURCE` the kernel wants whole pairs of seconds. It does not read the last character.
const TRIGGERS: [&str; 2] = ["some 100000 1000000\n", "some 200000 2000000\n"];

/// Reading of the machine's memory.
pub fn machine() -> io::Result<Reading> {
    let (size, available) = meminfo(&std::fs::read_to_string("/proc/meminfo")?)?;
    Ok(Reading { size, available, stalled: stalled(Path::new(MACHINE)), met: 0 })
}

/// Time that some process has waited for memory, by a file of PSI; zero if the kernel has none.
pub fn stalled(path: &Path) -> Duration {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let some = text.lines().find(|line| line.starts_with("some "));
    let total = some.and_then(|line| line.rsplit_once("total=")?.1.trim().parse().ok());
    Duration::from_micros(total.unwrap_or(0))
}

fn meminfo(text: &str) -> io::Result<(u64, u64)> {
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number =
            line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        number.ok_or_else(|| io::Error::other(format!("/proc/meminfo has no {name}")))
    };
    Ok((kib("MemTotal")? << 10, kib("MemAvailable")? << 10))
}

/// Rings when processes wait for memory.
#[derive(Debug)]
pub struct Alarm(Arc<Notify>);

impl Alarm {
    /// Sets an alarm on files of PSI, those that the kernel has. A thread waits for them: an alarm is
    /// an exceptional condition (POLLPRI), which the runtime has no safe way to wait for.
    pub fn set(paths: impl Iterator<Item = PathBuf>) -> io::Result<Self> {
        let mut files = Vec::new();
        for path in paths {
            match armed(&path) {
                Ok(file) => files.push(file),
                Err(error) => {
                    tracing::info!(%error, path = %path.display(), "stalls are noticed later");
                }
            }
        }
        let rung = Arc::<Notify>::default();
        let heard = Arc::downgrade(&rung);
        thread::Builder::new().name("alarm".to_owned()).spawn(move || ring(&files, &heard))?;
        Ok(Self(rung))
    }

    /// Waits until it rings.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}

fn armed(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let [prompt, patient] = TRIGGERS.map(str::as_bytes);
    file.write_all(prompt).or_else(|_| file.write_all(patient))?;
    Ok(file)
}

/// Rings until nobody hears it any more.
fn ring(files: &[File], heard: &Weak<Notify>) {
    while !files.is_empty() {
        let mut waited: Vec<_> =
            files.iter().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLPRI)).collect();
        let count = poll(&mut waited, PollTimeout::from(60_000_u16));
        let Some(alarm) = heard.upgrade() else { return };
        match count {
            Ok(0) | Err(Errno::EINTR) => {}
            // Its group is gone, or the kernel counts no more.
            Err(_) => return,
            Ok(_) if waited.iter().any(failed) => return,
            Ok(_) => alarm.notify_one(),
        }
    }
}

fn failed(waited: &PollFd<'_>) -> bool {
    waited.revents().is_some_and(|events| events.contains(PollFlags::POLLERR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        let text = "MemTotal:       24683836 kB\nMemFree:  5 kB\nMemAvailable:   23888512 kB\n";
        assert_eq!(meminfo(text).unwrap(), (24_683_836 << 10, 23_888_512 << 10));
        assert!(meminfo("MemTotal: 7 kB\n").is_err());
        let read = machine().unwrap();
        assert!(read.size > read.available && read.available > 0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory.pressure");
        let average = "avg10=1.00 avg60=0.00 avg300=0.00";
        let text = format!("some {average} total=1234567\nfull {average} total=7\n");
        std::fs::write(&path, text).unwrap();
        assert_eq!(stalled(&path), Duration::from_micros(1_234_567));
        assert_eq!(stalled(Path::new("/nowhere")), Duration::ZERO);
        // Where the kernel counts stalls, it takes one of our alarms.
        assert_eq!(Path::new(MACHINE).exists(), armed(Path::new(MACHINE)).is_ok());
    }
}
