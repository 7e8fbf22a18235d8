//! The way by which a zygote's child enters its sandbox: a page of code that can do nothing else.
//!
//! A process that joins a user namespace has all capabilities in it until it drops them, and a process that does so
//! for a zygote has the zygote's memory, which package code has written. So between joining and dropping it runs
//! only what is in this page. The page reads no memory but its own text, calls nothing, has all that it needs in
//! registers, and ends the process at the first step that fails.
//!
//! The first step makes the process's user the one that owns the sandbox, [`OWNER`]. A zygote's filter of
//! system calls lets that call through when the supervisor says so (`supervisor/sandbox/ushers`), which looks
//! at the page first: that it is of our library's file, unchanged, and *sealed* (mseal, Linux 6.10), so that
//! no process that shares the memory changes it afterwards.

use std::fs::{self, File};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::mman::{MapFlags, ProtFlags, mmap};

use crate::privilege;

/// The user that owns the sandboxes in which a zygote's children live. A zygote has it as its saved user: it is
/// one step away from it, and that step asks the supervisor.
pub const OWNER: u32 = 999;

/// Address at which the page is mapped unless something is there: ahead of all else, so that it is found first.
const PLACE: usize = 1 << 20;
/// Bytes of a page.
const PAGE: usize = 4 << 10;

unsafe extern "C" {
    #[link_name = "pipsqueak_passage"]
    static BEGIN: u8;
    #[link_name = "pipsqueak_passage_asked"]
    static ASKED: u8;
    #[link_name = "pipsqueak_passage_end"]
    static END: u8;
}

// Arguments: the holder's pidfd, the namespaces to join, and 1 for a zygote, which keeps the owner of its own
// children's sandboxes as its saved user. The first call has them as arguments that the kernel does not look at,
// where the supervisor sees them.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .text.pipsqueak_passage, \"ax\", @progbits",
    ".p2align 12",
    ".globl pipsqueak_passage, pipsqueak_passage_asked, pipsqueak_passage_end",
    ".hidden pipsqueak_passage, pipsqueak_passage_asked, pipsqueak_passage_end",
    "pipsqueak_passage:",
    "mov r10, rdi",
    "mov r8, rsi",
    "mov r9, rdx",
    "mov edi, -1",
    "mov esi, {owner}",
    "mov edx, -1",
    "mov eax, {setresuid}",
    "syscall",
    "pipsqueak_passage_asked:",
    "test eax, eax",
    "jnz 8f",
    "mov edi, r10d",
    "mov esi, r8d",
    "mov eax, {setns}",
    "syscall",
    "test eax, eax",
    "jnz 8f",
    "xor edi, edi",
    "xor esi, esi",
    "mov eax, {setgroups}",
    "syscall",
    "test eax, eax",
    "jnz 8f",
    "mov edi, {inside}",
    "mov esi, {inside}",
    "mov edx, {inside}",
    "mov eax, {setresgid}",
    "syscall",
    "test eax, eax",
    "jnz 8f",
    // From here on these are arguments that have to be zero.
    "xor r10d, r10d",
    "xor r8d, r8d",
    "xor edx, edx",
    "xor esi, esi",
    "2:",
    "mov edi, {drop_bounding}",
    "mov eax, {prctl}",
    "syscall",
    "inc esi",
    "test eax, eax",
    "jz 2b",
    // The first number that the kernel does not know ends the list.
    "cmp eax, -22",
    "jne 8f",
    "mov edi, {ambient}",
    "mov esi, {clear_all}",
    "mov eax, {prctl}",
    "syscall",
    "test eax, eax",
    "jnz 8f",
    "mov edi, {set_secure}",
    "mov esi, {secure}",
    "mov eax, {prctl}",
    "syscall",
    "test eax, eax",
    "jnz 8f",
    "and r9d, 1",
    "mov edi, {inside}",
    "mov esi, {inside}",
    "mov edx, {inside}",
    "sub edx, r9d",
    "mov eax, {setresuid}",
    "syscall",
    "test eax, eax",
    "jnz 8f",
    "lea rdi, [rip + 6f]",
    "lea rsi, [rip + 7f]",
    "mov eax, {capset}",
    "syscall",
    "test eax, eax",
    "jnz 8f",
    "mov edi, {no_new_privs}",
    "mov esi, 1",
    "xor edx, edx",
    "mov eax, {prctl}",
    "syscall",
    "test eax, eax",
    "jnz 8f",
    "ret",
    "8:",
    "neg eax",
    "mov edi, eax",
    "mov eax, {exit}",
    "syscall",
    "ud2",
    ".p2align 3",
    "6: .long {version}, 0",
    "7: .long 0, 0, 0, 0, 0, 0",
    "pipsqueak_passage_end:",
    ".p2align 12",
    ".popsection",
    owner = const OWNER,
    inside = const privilege::INSIDE,
    secure = const privilege::SECURE,
    version = const privilege::CAPABILITY_VERSION,
    setresuid = const libc::SYS_setresuid,
    setns = const libc::SYS_setns,
    setgroups = const libc::SYS_setgroups,
    setresgid = const libc::SYS_setresgid,
    prctl = const libc::SYS_prctl,
    capset = const libc::SYS_capset,
    exit = const libc::SYS_exit_group,
    drop_bounding = const libc::PR_CAPBSET_DROP,
    ambient = const libc::PR_CAP_AMBIENT,
    clear_all = const libc::PR_CAP_AMBIENT_CLEAR_ALL,
    set_secure = const libc::PR_SET_SECUREBITS,
    no_new_privs = const libc::PR_SET_NO_NEW_PRIVS,
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .text.pipsqueak_passage, \"ax\", @progbits",
    ".p2align 12",
    ".globl pipsqueak_passage, pipsqueak_passage_asked, pipsqueak_passage_end",
    ".hidden pipsqueak_passage, pipsqueak_passage_asked, pipsqueak_passage_end",
    "pipsqueak_passage:",
    "mov x3, x0",
    "mov x4, x1",
    "mov x5, x2",
    "mov x0, #-1",
    "mov x1, #{owner}",
    "mov x2, #-1",
    "mov x8, #{setresuid}",
    "svc #0",
    "pipsqueak_passage_asked:",
    "cbnz x0, 8f",
    "mov x0, x3",
    "mov x1, x4",
    "mov x8, #{setns}",
    "svc #0",
    "cbnz x0, 8f",
    "mov x0, #0",
    "mov x1, #0",
    "mov x8, #{setgroups}",
    "svc #0",
    "cbnz x0, 8f",
    "mov x0, #{inside}",
    "mov x1, #{inside}",
    "mov x2, #{inside}",
    "mov x8, #{setresgid}",
    "svc #0",
    "cbnz x0, 8f",
    // From here on these are arguments that have to be zero.
    "mov x3, #0",
    "mov x4, #0",
    "mov x2, #0",
    "mov x1, #0",
    "mov x8, #{prctl}",
    "2:",
    "mov x0, #{drop_bounding}",
    "svc #0",
    "add x1, x1, #1",
    "cbz x0, 2b",
    // The first number that the kernel does not know ends the list.
    "cmn x0, #22",
    "b.ne 8f",
    "mov x0, #{ambient}",
    "mov x1, #{clear_all}",
    "svc #0",
    "cbnz x0, 8f",
    "mov x0, #{set_secure}",
    "mov x1, #{secure}",
    "svc #0",
    "cbnz x0, 8f",
    "and x5, x5, #1",
    "mov x0, #{inside}",
    "mov x1, #{inside}",
    "mov x2, #{inside}",
    "sub x2, x2, x5",
    "mov x8, #{setresuid}",
    "svc #0",
    "cbnz x0, 8f",
    "adr x0, 6f",
    "adr x1, 7f",
    "mov x8, #{capset}",
    "svc #0",
    "cbnz x0, 8f",
    "mov x0, #{no_new_privs}",
    "mov x1, #1",
    "mov x2, #0",
    "mov x8, #{prctl}",
    "svc #0",
    "cbnz x0, 8f",
    "ret",
    "8:",
    "neg x0, x0",
    "mov x8, #{exit}",
    "svc #0",
    "udf #0",
    ".p2align 3",
    "6: .long {version}, 0",
    "7: .long 0, 0, 0, 0, 0, 0",
    "pipsqueak_passage_end:",
    ".p2align 12",
    ".popsection",
    owner = const OWNER,
    inside = const privilege::INSIDE,
    secure = const privilege::SECURE,
    version = const privilege::CAPABILITY_VERSION,
    setresuid = const libc::SYS_setresuid,
    setns = const libc::SYS_setns,
    setgroups = const libc::SYS_setgroups,
    setresgid = const libc::SYS_setresgid,
    prctl = const libc::SYS_prctl,
    capset = const libc::SYS_capset,
    exit = const libc::SYS_exit_group,
    drop_bounding = const libc::PR_CAPBSET_DROP,
    ambient = const libc::PR_CAP_AMBIENT,
    clear_all = const libc::PR_CAP_AMBIENT_CLEAR_ALL,
    set_secure = const libc::PR_SET_SECUREBITS,
    no_new_privs = const libc::PR_SET_NO_NEW_PRIVS,
);

/// The page's code and constants, as this program has them.
pub fn text() -> &'static [u8] {
    let begin = &raw const BEGIN;
    // SAFETY: what lies between the two symbols is in this program's text, which nothing writes.
    unsafe { std::slice::from_raw_parts(begin, (&raw const END).addr() - begin.addr()) }
}

/// Distance from the page's begin to a process that asks, as the kernel tells it: behind the call.
pub fn asked() -> usize {
    (&raw const ASKED).addr() - (&raw const BEGIN).addr()
}

/// The page, mapped where the supervisor looks for it.
#[derive(Debug, Clone, Copy)]
pub struct Passage {
    place: usize,
    is_sealed: bool,
}

impl Passage {
    /// Maps it in this process, and seals it if the kernel can.
    pub fn open() -> io::Result<Self> {
        let begin = (&raw const BEGIN).addr();
        let maps = fs::read_to_string("/proc/self/maps")?;
        let (path, offset) = maps
            .lines()
            .find_map(|line| holds(line, begin))
            .ok_or_else(|| io::Error::other("the library of the runtime is mapped from no file"))?;
        let file = File::open(path)?;
        let offset = i64::try_from(offset).map_err(io::Error::other)?;
        let map = |place, flags| {
            let rights = ProtFlags::PROT_READ | ProtFlags::PROT_EXEC;
            let (length, flags) =
                (NonZeroUsize::MIN.saturating_add(PAGE - 1), MapFlags::MAP_PRIVATE | flags);
            // SAFETY: nothing that is mapped is replaced.
            unsafe { mmap(place, length, rights, flags, &file, offset) }
        };
        let page = map(NonZeroUsize::new(PLACE), MapFlags::MAP_FIXED_NOREPLACE)
            .or_else(|_| map(None, MapFlags::empty()))?;
        let place = page.as_ptr().addr();
        // SAFETY: the page stays as it is, and is never unmapped.
        let sealed = unsafe { libc::syscall(libc::SYS_mseal, place, PAGE, 0) };
        Ok(Self { place, is_sealed: sealed == 0 })
    }

    /// True if the page stays what it is, also if others share the memory.
    pub fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    /// Joins the sandbox of `holder`, a pidfd, and drops all that comes with it. Ends the process with the number
    /// of the error where that fails, and so for a process that was made for this.
    pub fn go(&self, holder: BorrowedFd<'_>, own_network: bool, is_zygote: bool) {
        let namespaces = privilege::namespaces(own_network).bits();
        let page = std::ptr::with_exposed_provenance::<()>(self.place);
        // SAFETY: the page was mapped with the code above, which follows the C ABI.
        let go: extern "C" fn(i64, i64, i64) = unsafe { std::mem::transmute(page) };
        go(holder.as_raw_fd().into(), namespaces.into(), is_zygote.into());
    }
}

/// The file behind an address, and where in it the address's page is, if it lies in what a line of the list of
/// what is mapped tells of.
fn holds(line: &str, address: usize) -> Option<(&str, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (start, end) =
        (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    let offset = usize::from_str_radix(words.nth(1)?, 16).ok()?;
    let path = line.find('/').map(|at| &line[at..])?;
    (start..end).contains(&address).then(|| (path, offset + (address - start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_mapped_and_nobody_changes_it() {
        let passage = Passage::open().unwrap();
        let page = std::ptr::with_exposed_provenance::<u8>(passage.place);
        // SAFETY: the page is mapped, readable, and stays.
        let mapped = unsafe { std::slice::from_raw_parts(page, text().len()) };
        assert_eq!(mapped, text());
        assert!(text().len() < PAGE && asked() < text().len());
        if passage.is_sealed {
            let rights = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: it is refused.
            let changed = unsafe { libc::mprotect(page.cast_mut().cast(), PAGE, rights) };
            assert_eq!(changed, -1);
        }
    }
}
