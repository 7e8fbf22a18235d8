//! One server at a time, also across supervisors.
//!
//! A supervisor ends its server before it starts the next. One that was killed cannot, and its
//! server, which leaves the mount to the next supervisor, ends a moment later by itself. What it
//! takes from the connection in that moment would be lost: requests are sent again once, when the
//! successor begins. So such servers hold a lock, and the next supervisor sees to it that it is
//! free. Keepers hold another for as long as a supervisor is theirs.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longest time in which a process ends once it is killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time in which a keeper whose supervisor has ended lets its mount go, or ends.
const LETTING_GO: Duration = Duration::from_secs(2);

/// The lock of the server that takes requests from a connection that is left.
pub const SERVER: &str = "server.lock";
/// The lock of the keeper of a state folder's mount.
pub const KEEPER: &str = "keeper.lock";

/// Takes the lock for this process; it is free again when the process has ended. The caller keeps
/// the file, and opens it nowhere else.
pub fn hold(state: &Path, name: &str) -> io::Result<File> {
    let file = open(state, name)?;
    fcntl(&file, FcntlArg::F_SETLKW(&whole_file()))?;
    Ok(file)
}

/// Ends the keeper that an earlier supervisor of `state` has left, unless it lets its mount go by itself.
pub fn end_keeper(state: &Path) -> io::Result<()> {
    end(state, KEEPER, LETTING_GO)
}

/// Waits until the lock `name` of `state` is free, and after `grace` ends whoever has it. Its supervisor
/// has ended.
pub fn end(state: &Path, name: &str, grace: Duration) -> io::Result<()> {
    let file = open(state, name)?;
    let killed = Instant::now() + grace;
    let until = killed + PATIENCE;
    loop {
        let mut found = whole_file();
        fcntl(&file, FcntlArg::F_GETLK(&mut found))?;
        if i32::from(found.l_type) == libc::F_UNLCK {
            return Ok(());
        }
        // Not a number: it is in another pid namespace.
        if found.l_pid > 0 && Instant::now() >= killed {
            match kill(Pid::from_raw(found.l_pid), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if Instant::now() > until {
            let text = format!("process {}, which has {name}, does not end", found.l_pid);
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// The lock's file. It stays: another must not take its place while somebody waits for the lock.
fn open(state: &Path, name: &str) -> io::Result<File> {
    let path = state.join(name);
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    opened.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// A POSIX lock and not flock's: the kernel says which process has it.
#[expect(clippy::cast_possible_truncation, reason = "constants of the interface")]
fn whole_file() -> libc::flock {
    let (l_type, l_whence) = (libc::F_WRLCK as libc::c_short, libc::SEEK_SET as libc::c_short);
    libc::flock { l_type, l_whence, l_start: 0, l_len: 0, l_pid: 0 }
}
