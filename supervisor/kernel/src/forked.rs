//! Parts of a process that it must keep to itself when it forks, and traces that a piece of work has left in it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::wait::{Id, WaitPidFlag, waitid};

static KEPT: AtomicI32 = AtomicI32::new(-1);
/// The file behind it: somebody else's may have its number by then.
static KEPT_INODE: AtomicU64 = AtomicU64::new(0);

/// Has `descriptor`, a socket, closed in every process that this one forks by libc's `fork`. The last
/// one given counts.
pub fn keep_from_children(descriptor: BorrowedFd<'static>) -> io::Result<()> {
    static REGISTERED: Once = Once::new();
    KEPT_INODE.store(nix::sys::stat::fstat(descriptor)?.st_ino, Ordering::SeqCst);
    KEPT.store(descriptor.as_raw_fd(), Ordering::SeqCst);
    let mut registered = 0;
    // SAFETY: the handler does only what is safe after a fork of a process with several threads.
    REGISTERED.call_once(|| registered = unsafe { register(None, None, Some(close_kept)) });
    if registered == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(registered)) }
}

unsafe extern "C" {
    #[link_name = "pthread_atfork"]
    fn register(
        prepare: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> i32;
}

unsafe extern "C" fn close_kept() {
    let kept: RawFd = KEPT.swap(-1, Ordering::SeqCst);
    let mut found = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `found` has room for what is written, and is read where it was written.
    unsafe {
        let is_there = kept >= 0 && libc::fstat(kept, found.as_mut_ptr()) == 0;
        if is_there && found.assume_init().st_ino == KEPT_INODE.load(Ordering::SeqCst) {
            libc::close(kept);
        }
    }
}

/// Set in a process that was marked, and in none that it has forked since. To look at it costs no system
/// call: the kernel gives each fork an empty page for it.
#[derive(Debug)]
pub struct Mark(&'static AtomicBool);

impl Mark {
    /// One that is set nowhere.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a mapping of its own, at an address that the kernel chooses.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<AtomicBool>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the page is this function's, which holds nothing yet.
        Errno::result(unsafe {
            libc::madvise(page, size_of::<AtomicBool>(), libc::MADV_WIPEONFORK)
        })?;
        // SAFETY: the page is never unmapped, and zero, as the kernel gives it, is a value of the type.
        Ok(Self(unsafe { AtomicBool::from_ptr(page.cast()) }))
    }

    /// Sets it in this process.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// True if this process was marked.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Tells whether children were made.
#[derive(Debug, Default)]
pub struct Children {
    /// Faults of those that have ended and been waited for: each that lives has some.
    waited_for: i64,
}

impl Children {
    /// True if this process has children, or has waited for any since this was asked last. Those may have
    /// children of their own.
    pub fn were_made(&mut self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let has_some = !matches!(waitid(Id::All, flags), Err(Errno::ECHILD));
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN);
        let waited_for = usage.map_or(0, |usage| usage.minor_page_faults());
        let has_waited = std::mem::replace(&mut self.waited_for, waited_for) != waited_for;
        has_some || has_waited
    }
}

/// A timer of the process, as `setitimer` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Runs in real time, and sends `SIGALRM`.
    Real,
    /// Counts what the process computes, and sends `SIGVTALRM`.
    Virtual,
    /// Counts what the process and the kernel compute for it, and sends `SIGPROF`.
    Profiling,
}

/// Stops timers that would send a signal later: real ones, and of the others those by which the process
/// would be killed. A profiler is left alone, which takes its signal and counts what is computed.
pub fn stop_timers() -> Vec<Timer> {
    let timers = [
        (Timer::Real, libc::ITIMER_REAL, libc::SIGALRM),
        (Timer::Virtual, libc::ITIMER_VIRTUAL, libc::SIGVTALRM),
        (Timer::Profiling, libc::ITIMER_PROF, libc::SIGPROF),
    ];
    let mut stopped = Vec::new();
    for (timer, which, signal) in timers {
        let none = libc::timeval { tv_sec: 0, tv_usec: 0 };
        let mut set = libc::itimerval { it_interval: none, it_value: none };
        // SAFETY: `set` has room for what is written.
        let asked = unsafe { libc::getitimer(which, &raw mut set) };
        let is_set = asked == 0 && (set.it_value.tv_sec != 0 || set.it_value.tv_usec != 0);
        if !is_set || timer != Timer::Real && !is_deadly(signal) {
            continue;
        }
        let cleared = libc::itimerval { it_interval: none, it_value: none };
        // SAFETY: only `cleared` is read.
        if unsafe { libc::setitimer(which, &raw const cleared, std::ptr::null_mut()) } == 0 {
            stopped.push(timer);
        }
    }
    stopped
}

/// True if a signal does what it does by default.
fn is_deadly(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: `action` has room for what is written, and is read where it was written.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_DFL
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_a_marked_process_forks_is_not_marked() {
        let mark = Mark::new().unwrap();
        assert!(!mark.is_set());
        mark.set();
        assert!(mark.is_set());
        // SAFETY: the child does nothing but look at its memory and end.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends this process.
            unsafe { libc::_exit(i32::from(mark.is_set())) };
        }
        let ended = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(child), None).unwrap();
        assert!(matches!(ended, nix::sys::wait::WaitStatus::Exited(_, 0)), "{ended:?}");
        assert!(mark.is_set());
    }

    #[test]
    fn children_are_seen_whether_they_live_or_were_waited_for() {
        let mut children = Children::default();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(children.were_made());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(children.were_made());
    }
}
