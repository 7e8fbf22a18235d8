//! Taking over a connection that another process has served.
//!
//! fuser begins every session by answering the kernel's introduction, which a connection in use
//! does not repeat. So a successor is given one end of a socket pair for a connection; from the
//! other end it is introduced to as the kernel would, and then the real connection takes the
//! socket's place. The kernel is asked to send again what nobody has answered.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::thread;

use fuser::{Config, Filesystem, Session};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

/// `FUSE_INIT`, and the kernel's answer to nothing: values of linux/fuse.h.
const FUSE_INIT: u32 = 26;
const FUSE_NOTIFY_RESEND: i32 = 7;
const MAJOR: u32 = 7;
/// Version that the introduction offers; the session keeps what it asks for, as its predecessor did.
const MINOR: u32 = 40;
const MAX_READAHEAD: u32 = 8 << 20;
const ALL_FLAGS: u32 = 0xffff_ffff;

const HEADER_BYTES: usize = 40;
const INIT_BYTES: usize = 64;

/// A session of `filesystem` on `connection`, which has been served before.
pub fn adopt<F: Filesystem>(
    filesystem: F,
    connection: &OwnedFd,
    config: Config,
) -> io::Result<Session<F>> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (ours, kernels) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    let number = ours.as_raw_fd();
    let introduce = thread::spawn(move || -> io::Result<()> {
        send(kernels.as_raw_fd(), &introduction(), MsgFlags::MSG_NOSIGNAL)?;
        recv(kernels.as_raw_fd(), &mut [0; 4096], MsgFlags::empty())?;
        Ok(())
    });
    let session = Session::from_fd(filesystem, ours, config.acl, config)?;
    introduce.join().unwrap_or_else(|_| Err(io::Error::other("the introduction has panicked")))?;
    replace(number, connection)?;
    resend(connection)?;
    Ok(session)
}

/// An INIT request: `fuse_in_header`, then `fuse_init_in`.
fn introduction() -> [u8; HEADER_BYTES + INIT_BYTES] {
    let mut request = [0; HEADER_BYTES + INIT_BYTES];
    let length = u32::try_from(request.len()).unwrap_or(u32::MAX);
    let words = [
        (0, length),
        (4, FUSE_INIT),
        (8, 1),
        (HEADER_BYTES, MAJOR),
        (HEADER_BYTES + 4, MINOR),
        (HEADER_BYTES + 8, MAX_READAHEAD),
        (HEADER_BYTES + 12, ALL_FLAGS),
        (HEADER_BYTES + 16, ALL_FLAGS),
    ];
    for (at, word) in words {
        request[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    request
}

/// Puts the connection in the place of the socket that the session has.
fn replace(number: RawFd, connection: &OwnedFd) -> io::Result<()> {
    // SAFETY: dup3 touches no memory. `number` is the session's own descriptor, which stays owned
    // by it; only what it leads to changes, and nobody reads from it yet.
    if unsafe { libc::dup3(connection.as_raw_fd(), number, libc::O_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Asks for every request again that was read and not answered (Linux 6.9 and later; before that
/// such requests, of a process that was killed in the middle of one, hang).
fn resend(connection: &OwnedFd) -> io::Result<()> {
    let mut notification = [0; 16];
    notification[0..4].copy_from_slice(&16_u32.to_le_bytes());
    notification[4..8].copy_from_slice(&FUSE_NOTIFY_RESEND.to_le_bytes());
    let copy = connection.try_clone()?;
    match File::from(copy).write(&notification) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            tracing::warn!("the kernel cannot send requests again; some reads may hang");
            Ok(())
        }
        written => written.map(|_| ()),
    }
}
