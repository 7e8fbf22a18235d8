//! State that a zygote would share with its children, seen from outside. The zygote's own report comes from
//! a process in which packages' code has run, so it is not enough.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The last descriptor that the supervisor gives a zygote: its channel for orders.
const CHANNEL: u32 = 3;
/// Targets of a zygote's first three descriptors: null, and the file that keeps printed output for its
/// children.
const OF_ZYGOTES: [&str; 2] = ["/dev/null", "/memfd:printed (deleted)"];
/// Targets of a child's first three descriptors.
const OF_CHILDREN: [&str; 2] = ["/dev/null", "pipe:["];
/// Memory files that a process may share for writing, whatever rights its mapping has now.
const OF_MEMORY: [&str; 6] = ["/memfd:", "/dev/shm/", "/dev/zero", "/SYSV", "/tmp/", "anon_inode:"];

/// State that a zygote would share, as text for a user; `processes` are those of its sandbox, itself
/// included.
pub fn shared(zygote: u32, processes: &[u32]) -> io::Result<Vec<String>> {
    let place = Path::new("/proc").join(zygote.to_string());
    let mut found = Vec::new();
    for process in processes.iter().filter(|process| **process != zygote) {
        found.push(format!("a process running: {}", name(&format!("/proc/{process}"))));
    }
    for thread in fs::read_dir(place.join("task"))? {
        let thread = thread?.file_name();
        if thread.as_bytes() != zygote.to_string().as_bytes() {
            let task = place.join("task").join(thread);
            found.push(format!("a thread running: {}", name(&task.to_string_lossy())));
        }
    }
    found.extend(held(&place, &OF_ZYGOTES)?);
    Ok(found)
}

/// State that a child has inherited, as text for a user. Only its zygote's handlers have run in it, so
/// other children can have the same state.
pub fn inherited(child: u32) -> io::Result<Vec<String>> {
    held(&Path::new("/proc").join(child.to_string()), &OF_CHILDREN)
}

/// Descriptors and memory that a process shares, except those that it should have.
fn held(place: &Path, streams: &[&str]) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for descriptor in fs::read_dir(place.join("fd"))? {
        let descriptor = descriptor?;
        let number: Option<u32> =
            descriptor.file_name().to_str().and_then(|text| text.parse().ok());
        let target = fs::read_link(descriptor.path())?;
        let is_ours = match number {
            Some(0..CHANNEL) => {
                streams.iter().any(|stream| target.to_string_lossy().starts_with(stream))
            }
            Some(CHANNEL) => true,
            _ => false,
        };
        if !is_ours {
            found.push(format!("a descriptor open: {}", target.display()));
        }
    }
    let maps = fs::read(place.join("maps"))?;
    found.extend(String::from_utf8_lossy(&maps).lines().filter_map(memory));
    Ok(found)
}

fn name(process: &str) -> String {
    fs::read_to_string(format!("{process}/comm")).unwrap_or_default().trim().to_owned()
}

/// The shared memory of a line of `/proc/…/maps`, if children would write to it together.
fn memory(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let (rights, inode) = (words.nth(1)?, words.nth(2)?);
    let name = words.collect::<Vec<_>>().join(" ");
    let is_of_memory = inode == "0" || OF_MEMORY.iter().any(|prefix| name.starts_with(prefix));
    (rights.ends_with('s') && (rights.contains('w') || is_of_memory))
        .then(|| format!("memory that processes share: {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shared_that_can_be_written_or_is_no_files() {
        for (line, is_shared) in [
            ("7f0-7f8 rw-s 00000000 00:01 1026 /dev/zero (deleted)", true),
            ("7f0-7f8 r--s 00000000 00:01 1026 /memfd:x y (deleted)", true),
            ("7f0-7f8 ---s 00000000 00:01 3 /SYSV00000000 (deleted)", true),
            ("7f0-7f8 rw-s 00000000 fe:00 77 /data", true),
            ("7f0-7f8 r--s 00000000 fe:00 77 /usr/lib/gconv/gconv-modules.cache", false),
            ("7f0-7f8 rw-p 00000000 00:00 0 [heap]", false),
            ("7f0-7f8 r-xp 00000000 00:00 0 [vdso]", false),
            ("", false),
        ] {
            assert_eq!(memory(line).is_some(), is_shared, "{line}");
        }
    }

    #[test]
    fn a_process_tells_nothing_that_is_not_seen() {
        let (_reading, _writing) = io::pipe().unwrap();
        let own = std::process::id();
        let found = shared(own, &[own]).unwrap();
        assert!(found.iter().any(|one| one.starts_with("a descriptor open: pipe:")), "{found:?}");
        assert!(found.iter().any(|one| one.starts_with("a thread running: ")), "{found:?}");
    }
}
