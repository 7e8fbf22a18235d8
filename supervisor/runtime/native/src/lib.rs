//! What the Python runtime cannot do in Python: messages with descriptors without the `socket`
//! module's import, the steps by which a zygote's child enters a sandbox, and a watch over its imports.

mod beside;
mod contents;
mod imports;
mod kept;
mod later;
mod modules;
mod names;
mod replaced;
mod steps;
mod surroundings;
mod watch;

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nix::sys::time::TimeValLike;
use nix::time::ClockId;

use pipsqueak_kernel::filter::Filter;
use pipsqueak_kernel::forked::{self, Children, Mark, Timer};
use pipsqueak_kernel::landlock::Writable;
use pipsqueak_kernel::passage::Passage;
use pipsqueak_kernel::reader::Reader;
use pipsqueak_kernel::relocate::{Memory, Side, fork_elsewhere};
use pipsqueak_kernel::{descriptor, getenv, landlock, memory, message, privilege};
use pyo3::create_exception;
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// Longest message that the runtime takes from the supervisor, in bytes: above the longest frame
/// of the wire protocol.
const MAX_MESSAGE_BYTES: usize = 80 << 20;

/// What a zygote's children give up. Compiled ahead of the first fork: in each child it would copy
/// pages.
static ENTERED: OnceLock<Filter> = OnceLock::new();

/// The native part of the runtime.
#[pymodule]
mod pipsqueak_native {
    #[pymodule_export]
    use super::{
        Broken, Channel, Elsewhere, collapse, fork_into, is_elsewhere, names_of_getenv, now,
        open_passage, own, receive, record_getenv, send, settle, stop_timers,
    };
    #[pymodule_export]
    use crate::imports::imports;
    #[pymodule_export]
    use crate::replaced::Held;
}

/// Receives one message: its body and its descriptors, or `None` at the end of the channel.
#[pyfunction]
fn receive(py: Python<'_>, channel: RawFd) -> PyResult<Option<(Bound<'_, PyBytes>, Vec<RawFd>)>> {
    let channel = borrow(channel)?;
    let Some(message) = py.detach(|| message::receive(channel, MAX_MESSAGE_BYTES))? else {
        return Ok(None);
    };
    let descriptors = message.descriptors.into_iter().map(IntoRawFd::into_raw_fd).collect();
    Ok(Some((PyBytes::new(py, &message.body), descriptors)))
}

/// Sends one message.
#[pyfunction]
fn send(py: Python<'_>, channel: RawFd, body: &[u8]) -> PyResult<()> {
    let channel = borrow(channel)?;
    Ok(py.detach(|| message::send(channel, body, &[]))?)
}

/// So many of the first messages may be orders, which are carried out before what follows them is read: should
/// that end the process, whoever has sent it is told that nobody has begun with the rest.
const ORDERS: u64 = 2;

/// How the header of a message begins whose body is bytes. Of all others it is text.
const OF_BYTES: &[u8] = b"{\"part\"";
/// The header of a message with a pipe for what is printed from now on.
const OUTPUT: &[u8] = b"{\"output\"";

create_exception!(
    pipsqueak_native,
    Elsewhere,
    PyBaseException,
    "This process was forked by the one that was asked. Its argument, if any, is what was raised."
);

create_exception!(pipsqueak_native, Broken, PyBaseException, "The channel is of no use any more.");

/// Set in the process that may answer, once there is one.
static OWNER: OnceLock<Mark> = OnceLock::new();

/// Takes this process for the one that may answer.
#[pyfunction]
fn own() -> PyResult<()> {
    if OWNER.get().is_none() {
        let mark = Mark::new()?;
        // Another thread may have been first.
        OWNER.get_or_init(|| mark);
    }
    if let Some(owner) = OWNER.get() {
        owner.set();
    }
    Ok(())
}

/// Whether this process was forked by the one that may answer.
#[pyfunction]
fn is_elsewhere() -> bool {
    OWNER.get().is_some_and(|owner| !owner.is_set())
}

/// A time in nanoseconds that only grows, whatever code puts in the place of `time`'s.
#[pyfunction]
fn now() -> PyResult<i64> {
    let now = ClockId::CLOCK_MONOTONIC.now().map_err(std::io::Error::from)?;
    Ok(now.num_nanoseconds())
}

/// A function's channel: messages of a header, a line's end, and a body. It belongs to the process that
/// has made it; what that forks has `Elsewhere` raised.
#[pyclass(frozen)]
struct Channel {
    socket: BorrowedFd<'static>,
    reader: Mutex<Reader>,
    children: Mutex<Children>,
    /// The file to which is printed.
    output: Mutex<Option<(u64, u64)>>,
    /// The header of the last message that was received and not answered.
    unanswered: Mutex<Option<Py<PyString>>>,
    /// How many messages were received.
    received: AtomicU64,
}

#[pymethods]
impl Channel {
    #[new]
    fn new(socket: RawFd) -> PyResult<Self> {
        let socket = borrow(socket)?;
        forked::keep_from_children(socket)?;
        own()?;
        Ok(Self {
            socket,
            reader: Mutex::default(),
            children: Mutex::default(),
            output: Mutex::new(file_of(1)),
            unanswered: Mutex::default(),
            received: AtomicU64::new(0),
        })
    }

    /// Receives one message: its header and its body, or `None` at the end of the channel. Signals are
    /// handled meanwhile; what a handler raises is raised here, and loses nothing.
    fn receive<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Option<(Bound<'py, PyString>, Bound<'py, PyAny>)>> {
        loop {
            here()?;
            let message = py.detach(|| {
                let mut reader = lock(&self.reader);
                if self.received.load(Ordering::Relaxed) < ORDERS {
                    reader.receive_alone(self.socket, MAX_MESSAGE_BYTES)
                } else {
                    reader.receive(self.socket, MAX_MESSAGE_BYTES)
                }
            });
            let message = match message {
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    py.check_signals()?;
                    continue;
                }
                message => message.map_err(|error| broken(&error))?,
            };
            let Some(message) = message else { return Ok(None) };
            self.received.fetch_add(1, Ordering::Relaxed);
            let end = message.iter().position(|byte| *byte == b'\n').unwrap_or(message.len());
            let (header, body) = message.split_at(end);
            if header.starts_with(OUTPUT) {
                let descriptors = lock(&self.reader).take_descriptors();
                descriptors.last().map_or(Ok(()), |output| self.print_to(output))?;
                continue;
            }
            let body = body.get(1..).unwrap_or_default();
            let text = PyString::from_bytes(py, header)?;
            if header.starts_with(OF_BYTES) {
                return Ok(Some((text, PyBytes::new(py, body).into_any())));
            }
            let body = PyString::from_bytes(py, body)?.into_any();
            *lock(&self.unanswered) = Some(text.clone().unbind());
            return Ok(Some((text, body)));
        }
    }

    /// Has whoever waits for a message handle signals, too, when there is something to read from `woken`.
    fn heed(&self, woken: RawFd) -> PyResult<()> {
        lock(&self.reader).heed(borrow(woken)?);
        Ok(())
    }

    /// Sends one message.
    fn send(&self, py: Python<'_>, header: &[u8], body: &[u8]) -> PyResult<()> {
        here()?;
        let message = [header, b"\n", body].concat();
        py.detach(|| message::send(self.socket, &message, &[])).map_err(|error| broken(&error))
    }

    /// Sends the answer to the last message that was received.
    fn answer(&self, py: Python<'_>, header: &[u8], body: &[u8]) -> PyResult<()> {
        self.send(py, header, body)?;
        *lock(&self.unanswered) = None;
        Ok(())
    }

    /// Takes the last message that was received for somebody else's to answer.
    fn settle(&self) {
        *lock(&self.unanswered) = None;
    }

    /// The header of the last message that was received, while it is not answered.
    fn unanswered(&self, py: Python<'_>) -> Option<Py<PyString>> {
        lock(&self.unanswered).as_ref().map(|header| header.clone_ref(py))
    }

    /// Whether other processes may have been left behind since this was asked last, which print where this
    /// one does, and it can be given another pipe.
    fn has_left_others(&self) -> bool {
        // What has used up its descriptors would print to one that nobody takes for its own any more.
        lock(&self.children).were_made() && self.socket.try_clone_to_owned().is_ok()
    }
}

impl Channel {
    /// Has what is printed go to `output`; not where somebody has put something else in its place.
    fn print_to(&self, output: &OwnedFd) -> PyResult<()> {
        let mut file = lock(&self.output);
        let before = *file;
        for number in [1, 2] {
            if before.is_some() && file_of(number) == before {
                descriptor::replace(number, output.as_fd())?;
                *file = file_of(number);
            }
        }
        Ok(())
    }
}

/// Stops timers that would send this process a signal later; their names.
#[pyfunction]
fn stop_timers() -> Vec<&'static str> {
    let stopped = forked::stop_timers().into_iter().map(|timer| match timer {
        Timer::Real => "ITIMER_REAL",
        Timer::Virtual => "ITIMER_VIRTUAL",
        Timer::Profiling => "ITIMER_PROF",
    });
    stopped.collect()
}

/// Errors where the process is not the one that may answer.
fn here() -> PyResult<()> {
    if is_elsewhere() { Err(Elsewhere::new_err(())) } else { Ok(()) }
}

fn broken(error: &std::io::Error) -> PyErr {
    Broken::new_err(error.to_string())
}

/// Which file a descriptor is of.
fn file_of(number: RawFd) -> Option<(u64, u64)> {
    descriptor::file(descriptor::borrowed(number).ok()?).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// In the stable ABI since 3.7; pyo3 does not name them.
unsafe extern "C" {
    fn PyOS_BeforeFork();
    fn PyOS_AfterFork_Parent();
    fn PyOS_AfterFork_Child();
}

/// The page by which children enter their sandboxes, in a zygote and all that it forks.
static PASSAGE: OnceLock<Passage> = OnceLock::new();

/// Makes ready for forks into sandboxes, ahead of what packages do.
#[pyfunction]
fn open_passage() -> PyResult<()> {
    if PASSAGE.get().is_none() {
        let passage = Passage::open()?;
        // No other thread is there that could have been first.
        PASSAGE.get_or_init(|| passage);
    }
    Ok(entered().map(drop)?)
}

/// Forks as `os.fork` does, into the sandbox of `holder`, a pidfd, where the child is a user without any
/// capability. The child's number in the caller's pid namespace, or 0 in the child.
#[pyfunction]
fn fork_into(_py: Python<'_>, holder: RawFd, own_network: bool, is_zygote: bool) -> PyResult<i32> {
    let holder = borrow(holder)?;
    let passage = *PASSAGE.get().ok_or_else(|| std::io::Error::from(ErrorKind::Unsupported))?;
    let memory = if passage.is_sealed() { Memory::Borrowed } else { Memory::Copied };
    let mut join = || {
        passage.go(holder, own_network, is_zygote);
        Ok(())
    };
    // SAFETY: this thread has the interpreter, and these surround its forks. What follows a fork in
    // the child is as safe as after `os.fork`.
    let side = unsafe {
        PyOS_BeforeFork();
        let side = fork_elsewhere(memory, &mut join);
        if matches!(side, Ok(Side::Child)) {
            if let Some(owner) = OWNER.get() {
                owner.set();
            }
            PyOS_AfterFork_Child();
        } else {
            PyOS_AfterFork_Parent();
        }
        side
    };
    match side? {
        Side::Child => Ok(0),
        Side::Parent(child) => Ok(child),
    }
}

/// Has the names recorded of the variables that C code reads, or not any more.
#[pyfunction]
fn record_getenv(is_recording: bool) {
    getenv::record(is_recording);
}

/// The names that were recorded; `None` where not all of them are known.
#[pyfunction]
fn names_of_getenv() -> Option<Vec<String>> {
    getenv::names()
}

/// Puts the process's memory into huge pages, which forks copy sooner; as far as that can be had.
#[pyfunction]
fn collapse() {
    let _ = memory::collapse();
}

/// Begins, in a process that was just forked into its sandbox; unless it `is_zygote` gives up what a zygote may
/// that a function may not.
#[pyfunction]
fn settle(is_zygote: bool) -> PyResult<()> {
    privilege::settle()?;
    if is_zygote {
        return Ok(());
    }
    landlock::restrict(Writable::BY_FUNCTIONS)?;
    Ok(entered()?.install()?)
}

fn entered() -> std::io::Result<&'static Filter> {
    match ENTERED.get() {
        Some(filter) => Ok(filter),
        None => Filter::of_entered().map(|filter| ENTERED.get_or_init(|| filter)),
    }
}

/// Checks that a number from Python is an open descriptor.
fn borrow(number: RawFd) -> PyResult<BorrowedFd<'static>> {
    Ok(descriptor::borrowed(number)?)
}
