//! Counts of a group's memory, from files that are opened once: each pause asks for them, and an
//! invocation may wait behind that.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use super::limits::Controller;

/// Longest text that is read, in bytes: `memory.events` has some 200.
const LONGEST: usize = 1024;

/// The counts of a group with the memory controller; nothing is counted without one.
#[derive(Debug)]
pub struct Counts {
    memory: Option<Controller>,
    used: OnceLock<Option<File>>,
    events: OnceLock<Option<File>>,
}

impl Counts {
    /// Counts of a group with this memory controller. Opens nothing yet.
    pub fn new(memory: Option<Controller>) -> Self {
        Self { memory, used: OnceLock::new(), events: OnceLock::new() }
    }

    /// Memory charged to the group, in bytes; 0 where the machine does not count.
    pub fn used(&self) -> u64 {
        let text = self.read(&self.used, "memory.usage_in_bytes", "memory.current");
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// Number of its processes that were ended for going over the memory limit.
    pub fn oom_kills(&self) -> u64 {
        let text = self.read(&self.events, "memory.oom_control", "memory.events");
        let text = text.unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    fn read(&self, file: &OnceLock<Option<File>>, v1: &str, v2: &str) -> Option<String> {
        let open = |folder: &Path, name| File::open(folder.join(name)).ok();
        let file = file.get_or_init(|| match &self.memory {
            Some(Controller::V1(folder)) => open(folder, v1),
            Some(Controller::V2(folder)) => open(folder, v2),
            None => None,
        });
        let mut text = [0; LONGEST];
        let length = file.as_ref()?.read_at(&mut text, 0).ok()?;
        Some(String::from_utf8_lossy(text.get(..length)?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn counts_are_those_of_the_moment() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("memory.usage_in_bytes", "4096\n");
        write("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
        let counts = Counts::new(Some(Controller::V1(folder.path().to_owned())));
        assert_eq!((counts.used(), counts.oom_kills()), (4096, 1));
        write("memory.usage_in_bytes", "8192\n");
        write("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
        assert_eq!((counts.used(), counts.oom_kills()), (8192, 2));
        write("memory.current", "1\n");
        write("memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 4\noom_group_kill 0\n");
        let counts = Counts::new(Some(Controller::V2(folder.path().to_owned())));
        assert_eq!((counts.used(), counts.oom_kills()), (1, 4));
        assert_eq!((Counts::new(None).used(), Counts::new(None).oom_kills()), (0, 0));
    }
}
