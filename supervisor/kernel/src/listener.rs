//! Questions that the kernel asks of one process on behalf of another, which waits for the answer: seccomp's user
//! notifications (Linux 5.5).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use seccompiler::BpfProgram;

use crate::mount::owned;

/// Listener for the questions of a filter, of all processes that have it.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// A system call that waits to be allowed.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    id: u64,
    /// The thread that makes it.
    pub thread: i32,
    /// Arguments of the call.
    pub arguments: [u64; 6],
    /// Address at which the thread goes on.
    pub instruction: u64,
}

/// Puts a program on the calling thread and what it forks. New privileges must be forbidden to it.
pub(crate) fn install(program: &BpfProgram) -> io::Result<Listener> {
    let length = libc::c_ushort::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel reads the program, which lives through the call and is laid out as it wants it.
    owned(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    })
    .map(Listener)
}

impl Listener {
    /// One that another process has installed and sent.
    pub fn from_sent(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// Waits for a question, blocking; nothing when no process is left that could ask.
    pub fn hear(&self) -> io::Result<Option<Question>> {
        loop {
            let mut polled = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                answered => answered?,
            };
            if !polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN)) {
                return Ok(None);
            }
            // SAFETY: all zeroes is a value of this type, and what the kernel wants to be given.
            let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            match self.ioctl(libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked) {
                Ok(()) => {}
                // Who has asked was killed meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            return Ok(Some(Question {
                id: asked.id,
                thread: asked.pid.cast_signed(),
                arguments: asked.data.args,
                instruction: asked.data.instruction_pointer,
            }));
        }
    }

    /// True if the asker still waits, so that the number of its thread is nobody else's.
    pub fn waits(&self, question: &Question) -> bool {
        let mut id = question.id;
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw mut id).is_ok()
    }

    /// Lets the call be carried out.
    pub fn allow(&self, question: &Question) -> io::Result<()> {
        #[expect(clippy::cast_possible_truncation, reason = "one bit")]
        let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
        self.answer(libc::seccomp_notif_resp { id: question.id, val: 0, error: 0, flags })
    }

    /// Has the call fail.
    pub fn refuse(&self, question: &Question) -> io::Result<()> {
        let error = -libc::EPERM;
        self.answer(libc::seccomp_notif_resp { id: question.id, val: 0, error, flags: 0 })
    }

    fn answer(&self, mut answer: libc::seccomp_notif_resp) -> io::Result<()> {
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer)
    }

    fn ioctl<T>(&self, request: libc::Ioctl, argument: *mut T) -> io::Result<()> {
        // SAFETY: each request above is made with what linux/seccomp.h says that it takes.
        let answer = unsafe { libc::ioctl(self.0.as_raw_fd(), request, argument) };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
