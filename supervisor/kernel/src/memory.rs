//! The calling process's own memory.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use nix::unistd::{SysconfVar, sysconf};

/// Has the kernel put the process's private memory into huge pages, as far as it is in pieces that
/// large, there are any to be had, and it is shared with no process that this one was forked from:
/// that would be copied.
///
/// A fork copies one entry for each huge page instead of 512. What a child then writes is copied by
/// the small page, as before.
pub fn collapse() -> io::Result<()> {
    let page = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| usize::try_from(size).ok());
    let page = page.ok_or(io::ErrorKind::Unsupported)?;
    // As many pages as a page has room for entries of 8 bytes.
    let huge = page * (page / 8);
    let pages = File::open("/proc/self/pagemap")?;
    for (start, end) in fs::read_to_string("/proc/self/maps")?.lines().filter_map(private) {
        let mut piece = start.next_multiple_of(huge);
        while piece + huge <= end {
            if is_own(&pages, piece / page, huge / page)? {
                // SAFETY: changes by which pages memory is mapped, and not what is in it. Where the kernel
                // cannot do that, older ones among them, all stays as it is.
                unsafe {
                    libc::madvise(
                        std::ptr::with_exposed_provenance_mut(piece),
                        huge,
                        libc::MADV_COLLAPSE,
                    )
                };
            }
            piece += huge;
        }
    }
    Ok(())
}

/// True if none of `count` pages, of which the first has the number `first`, is another process's too;
/// `pages` is the process's `pagemap`.
fn is_own(pages: &File, first: usize, count: usize) -> io::Result<bool> {
    const PRESENT: u64 = 1 << 63;
    const EXCLUSIVE: u64 = 1 << 56;
    let mut entries = vec![0; count * 8];
    pages.read_exact_at(&mut entries, (first * 8) as u64)?;
    let mut entries = entries.chunks_exact(8).map(|entry| {
        u64::from_ne_bytes([
            entry[0], entry[1], entry[2], entry[3], entry[4], entry[5], entry[6], entry[7],
        ])
    });
    Ok(entries.all(|entry| entry & PRESENT == 0 || entry & EXCLUSIVE != 0))
}

/// Addresses of a line of the list of what is mapped, where that is memory of the process alone that
/// can be written and comes from no file.
fn private(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (rights, inode) = (words.next()?, words.nth(2)?);
    if rights != "rw-p" || inode != "0" || words.next() == Some("[stack]") {
        return None;
    }
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_memory_that_can_be_written_is_chosen() {
        for line in [
            "7f00-7f80 r--p 00000000 00:00 0",
            "7f00-7f80 rw-s 00000000 00:00 0",
            "7f00-7f80 rw-p 00001000 fe:01 1234                       /lib/libc.so.6",
            "7f00-7f80 rw-p 00000000 00:00 0                          [stack]",
            "",
        ] {
            assert_eq!(private(line), None, "{line}");
        }
        for line in ["7f00-7f80 rw-p 00000000 00:00 0 ", "7f00-7f80 rw-p 00000000 00:00 0 [heap]"] {
            assert_eq!(private(line), Some((0x7f00, 0x7f80)), "{line}");
        }
    }

    #[test]
    fn what_is_collapsed_keeps_its_content() {
        let numbers = || (0..251).cycle().take(16 << 20);
        let huge = || {
            let told = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
            let line = told.lines().find(|line| line.starts_with("AnonHugePages")).unwrap();
            line.split_ascii_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
        };
        // What another test forks meanwhile shares the memory, which is left as it is then.
        for _ in 0..100 {
            let before = huge();
            let content: Vec<u8> = numbers().collect();
            collapse().unwrap();
            let after = huge();
            assert!(content.into_iter().eq(numbers()));
            if after >= before + (8 << 10) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("nothing was collapsed");
    }
}
