//! Processes, as `/proc` shows them.

use std::fs;
use std::path::Path;

/// A process, or one of a process's threads.
#[derive(Debug, Clone)]
pub struct Process {
    /// The process's number.
    pub pid: i32,
    /// The process's name, which may differ from the command line's.
    pub name: String,
    /// The state as a letter, such as `Z` for ended but not reaped, and `D` for not to be killed now.
    pub state: char,
    /// The number of its parent.
    pub parent: i32,
    /// The time of the start, in clock ticks after the machine's.
    pub started: u64,
}

impl Process {
    /// All processes.
    pub fn all() -> Vec<Self> {
        below(Path::new("/proc"))
    }

    /// The process with a number, if there is one.
    pub fn of(pid: i32) -> Option<Self> {
        Self::at(&Path::new("/proc").join(pid.to_string()))
    }

    /// The process's threads.
    pub fn threads(&self) -> Vec<Self> {
        below(&Path::new("/proc").join(self.pid.to_string()).join("task"))
    }

    /// The process's command line, with blanks between the arguments.
    pub fn line(&self) -> String {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ")
    }

    fn at(folder: &Path) -> Option<Self> {
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        // The name may have any characters in it.
        let (before, after) = stat.rsplit_once(')')?;
        let (pid, name) = before.split_once(" (")?;
        let fields: Vec<_> = after.split_whitespace().collect();
        Some(Self {
            pid: pid.parse().ok()?,
            name: name.to_owned(),
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

/// The processes whose numbers are names of folders in a folder.
fn below(folder: &Path) -> Vec<Process> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let numbered = entries.filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit());
    numbered.filter_map(|entry| Process::at(&entry.path())).collect()
}
