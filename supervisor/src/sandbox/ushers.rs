//! Decisions whether a zygote's process may enter a child's sandbox: the supervisor is asked, and looks from outside.
//!
//! A process that enters has all capabilities over the sandbox for a moment, and the memory of a zygote, which package
//! code has written. So it must be an *usher* (`kernel/relocate`) that was ordered, and that can do nothing in that
//! moment but what `kernel/passage` has it do. The supervisor looks at this, for these reasons:
//!
//! - The zygote's supervisor-given order is for the sandbox whose holder the usher names, once: a descriptor that
//!   package code has kept, or made of a process that it sees, leads nowhere.
//! - It is the zygote's own child and has one thread, and by the filter of system calls no other process can have
//!   its descriptors: so what it names stays what it is.
//! - All signals are blocked, those of the C library's own included: no handler runs.
//! - It asks from our page, which is mapped from our library's file, of which no byte was written to: nobody who
//!   shares its memory can change that afterwards, because the page is sealed. Where the kernel cannot seal, it is
//!   a process with memory of its own, and nothing else runs in the zygote's sandbox that could share that.
//!
//! The supervisor puts it into the sandbox's control groups meanwhile, so a zygote has no way to leave its own.

use std::fs;
use std::io::{self, BufRead, BufReader, IoSliceMut, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use pipsqueak_kernel::listener::{Listener, Question};
use pipsqueak_kernel::{passage, pidfd, privilege};

use super::error::SandboxError;
use super::handle::Sandbox;
use crate::sync::{Mutex, lock};

/// All signals but those that nobody can block.
const ALL_SIGNALS: u64 = !(1 << (nix::libc::SIGKILL - 1) | 1 << (nix::libc::SIGSTOP - 1));
/// Time that the next question waits after one that was refused: asking in vain is to cost the asker more than the
/// supervisor.
const AFTER_REFUSAL: Duration = Duration::from_millis(10);
/// Refusals of one zygote's processes that are in the log.
const LOGGED: usize = 3;

/// Why a process may not enter a sandbox.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// Nobody has ordered it.
    #[error("nothing was ordered of it")]
    Unordered,
    /// The process has other threads, or is another process's thread.
    #[error("it has {0} threads")]
    Threads(u32),
    /// The mask of signals that the process does not block.
    #[error("it has signals that are not blocked: {0:x}")]
    Signals(u64),
    /// The instruction that it asks from is not our page's.
    #[error("it does not ask from our page: {0}")]
    Elsewhere(&'static str),
    /// Another process could change what it does next.
    #[error("its memory may be another process's too")]
    Shared,
    /// read(2) of `/proc/PID/status`.
    #[error("looking at its status: {0}")]
    Status(#[source] io::Error),
    /// A line of that is missing, or has no number.
    #[error("its status has no number as {0}")]
    Line(&'static str),
    /// read(2) of `/proc/PID/fdinfo`.
    #[error("looking at the sandbox that it names: {0}")]
    Named(#[source] io::Error),
    /// read(2) of `/proc/PID/smaps`.
    #[error("looking at its mappings: {0}")]
    Mappings(#[source] io::Error),
    /// stat(2) of the file that its page is of.
    #[error("looking at the file of the page that it asks from: {0}")]
    File(#[source] io::Error),
    /// `process_vm_readv(2)`.
    #[error("reading the page that it asks from: {0}")]
    Read(#[source] io::Error),
    /// kcmp(2).
    #[error("comparing its memory with the zygote's: {0}")]
    Compare(#[source] io::Error),
    /// The process has ended or was interrupted, and its number may be another's.
    #[error("it waits no longer")]
    Gone,
    /// The sandbox's control groups.
    #[error("putting it into the sandbox's control groups: {0}")]
    Join(#[source] io::Error),
}

/// A fork that was ordered of a zygote.
#[derive(Debug)]
struct Ordered {
    number: u64,
    zygote: i32,
    holder: i32,
    namespaces: u64,
    is_zygote: bool,
    into: Vec<fs::File>,
    /// The zygote's own sandbox.
    around: Arc<Sandbox>,
}

#[derive(Debug, Default)]
struct Orders {
    last: u64,
    waiting: Vec<Ordered>,
}

/// Orders that a zygote and all that descend from it may carry out.
#[derive(Debug, Clone)]
pub struct Ushers(Arc<Mutex<Orders>>);

/// An order that can be carried out once, while this is there.
#[derive(Debug)]
pub struct Awaited {
    orders: Arc<Mutex<Orders>>,
    number: u64,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        lock(&self.orders).waiting.retain(|ordered| ordered.number != self.number);
    }
}

impl Ushers {
    /// Answers what is asked by processes that descend from a zygote, on a thread of its own until there are none.
    /// `library` is the file of which they have the page.
    pub fn attend(listener: Listener, library: &Path) -> io::Result<Self> {
        let file = fs::metadata(library)?;
        let file = (file.dev(), file.ino());
        let orders = Arc::<Mutex<Orders>>::default();
        let attended = orders.clone();
        std::thread::Builder::new()
            .name("ushers".to_owned())
            .spawn(move || attend(&listener, file, &attended))?;
        Ok(Self(orders))
    }

    /// Lets a child of `zygote`, which runs in `around`, enter `sandbox`, once.
    pub fn expect(
        &self,
        zygote: i32,
        around: &Arc<Sandbox>,
        sandbox: &Sandbox,
        is_zygote: bool,
    ) -> Result<Awaited, SandboxError> {
        let into = sandbox.memberships()?;
        let mut orders = lock(&self.0);
        orders.last += 1;
        let number = orders.last;
        orders.waiting.push(Ordered {
            number,
            zygote,
            holder: sandbox.door.holder_pid,
            namespaces: u64::from(
                privilege::namespaces(sandbox.own_network()).bits().cast_unsigned(),
            ),
            is_zygote,
            into,
            around: around.clone(),
        });
        drop(orders);
        Ok(Awaited { orders: self.0.clone(), number })
    }
}

fn attend(listener: &Listener, library: (u64, u64), orders: &Mutex<Orders>) {
    let mut refused = 0;
    loop {
        let question = match listener.hear() {
            Ok(Some(question)) => question,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "hearing what a zygote asks");
                return;
            }
        };
        let answered = match decide(listener, &question, library, orders) {
            Ok(()) => listener.allow(&question),
            Err(reason) => {
                let answered = listener.refuse(&question);
                if refused < LOGGED {
                    let process = question.thread;
                    tracing::warn!(process, %reason, "a zygote's process was kept out of a sandbox");
                }
                refused += 1;
                std::thread::sleep(AFTER_REFUSAL);
                answered
            }
        };
        // Who has asked may have been killed.
        if let Err(error) = answered
            && error.raw_os_error() != Some(nix::libc::ENOENT)
        {
            tracing::error!(%error, "answering what a zygote asks");
        }
    }
}

fn decide(
    listener: &Listener,
    question: &Question,
    library: (u64, u64),
    orders: &Mutex<Orders>,
) -> Result<(), Refusal> {
    let [.., descriptor, namespaces, is_zygote] = question.arguments;
    let process = Status::of(question.thread)?;
    let holder = holder(question.thread, descriptor)?;
    let is_it = |ordered: &Ordered| ordered.zygote == process.parent && ordered.holder == holder;
    let ordered = {
        let mut orders = lock(orders);
        let at = orders.waiting.iter().position(is_it).ok_or(Refusal::Unordered)?;
        orders.waiting.swap_remove(at)
    };
    if namespaces != ordered.namespaces || (is_zygote & 1 == 1) != ordered.is_zygote {
        return Err(Refusal::Unordered);
    }
    process.is_alone(question.thread)?;
    let page = Page::at(question)?;
    page.is_ours(question, library)?;
    if !page.is_sealed {
        ordered.is_alone_with(question.thread)?;
    }
    // The kernel looks at descriptors and memory of whoever has the number.
    if !listener.waits(question) {
        return Err(Refusal::Gone);
    }
    let number = question.thread.to_string();
    ordered
        .into
        .iter()
        .try_for_each(|mut file| file.write_all(number.as_bytes()))
        .map_err(Refusal::Join)
}

/// The kernel's status of a process.
struct Status {
    parent: i32,
    process: i32,
    threads: u32,
    blocked: u64,
}

impl Status {
    fn of(thread: i32) -> Result<Self, Refusal> {
        let text = fs::read_to_string(format!("/proc/{thread}/status")).map_err(Refusal::Status)?;
        let line = |name: &'static str| {
            let mut found = text.lines().filter_map(|line| line.strip_prefix(name));
            found.next().map(str::trim).ok_or(Refusal::Line(name))
        };
        let number = |name| line(name)?.parse::<i32>().map_err(|_| Refusal::Line(name));
        let blocked = "SigBlk:";
        Ok(Self {
            parent: number("PPid:")?,
            process: number("Tgid:")?,
            threads: number("Threads:")?.cast_unsigned(),
            blocked: u64::from_str_radix(line(blocked)?, 16).map_err(|_| Refusal::Line(blocked))?,
        })
    }

    /// Checks that nothing can happen in it but what it does next.
    fn is_alone(&self, thread: i32) -> Result<(), Refusal> {
        if self.process != thread || self.threads != 1 {
            return Err(Refusal::Threads(self.threads));
        }
        if self.blocked != ALL_SIGNALS {
            return Err(Refusal::Signals(!self.blocked));
        }
        Ok(())
    }
}

/// The process that a descriptor of another process is of.
fn holder(thread: i32, descriptor: u64) -> Result<i32, Refusal> {
    let path = format!("/proc/{thread}/fdinfo/{descriptor}");
    let text = fs::read_to_string(path).map_err(Refusal::Named)?;
    let number = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    number.and_then(|number| number.trim().parse().ok()).ok_or(Refusal::Unordered)
}

/// The mapping that has the instruction from which a process asks.
struct Page {
    start: u64,
    end: u64,
    rights: String,
    /// No byte of it was written to.
    is_plain: bool,
    is_sealed: bool,
}

impl Page {
    /// Reads the list of what is mapped up to there: ours is the first.
    fn at(question: &Question) -> Result<Self, Refusal> {
        let path = format!("/proc/{}/smaps", question.thread);
        let file = fs::File::open(path).map_err(Refusal::Mappings)?;
        // As little as one mapping takes, because the kernel makes it while it is read.
        let lines = BufReader::with_capacity(512, file).lines();
        let mut found: Option<Self> = None;
        for line in lines {
            let line = line.map_err(Refusal::Mappings)?;
            let mut words = line.split_ascii_whitespace();
            let (Some(first), second) = (words.next(), words.next().unwrap_or_default()) else {
                continue;
            };
            if let Some(page) = &mut found {
                match first {
                    "Anonymous:" => page.is_plain = second == "0",
                    "VmFlags:" => {
                        page.is_sealed = second == "sl" || words.any(|flag| flag == "sl");
                        return found.ok_or(Refusal::Elsewhere("nothing is mapped"));
                    }
                    _ => {}
                }
            } else if let Some((start, end)) = range(first)
                && (start..end).contains(&question.instruction)
            {
                let rights = second.to_owned();
                found = Some(Self { start, end, rights, is_plain: false, is_sealed: false });
            }
        }
        Err(Refusal::Elsewhere("nothing is mapped"))
    }

    fn is_ours(&self, question: &Question, library: (u64, u64)) -> Result<(), Refusal> {
        let thread = question.thread;
        if question.instruction != self.start + passage::asked() as u64 {
            return Err(Refusal::Elsewhere("another instruction"));
        }
        if self.rights != "r-xp" || !self.is_plain {
            return Err(Refusal::Elsewhere("it may have been written to"));
        }
        let name = format!("/proc/{thread}/map_files/{:x}-{:x}", self.start, self.end);
        let file = fs::metadata(name).map_err(Refusal::File)?;
        if (file.dev(), file.ino()) != library {
            return Err(Refusal::Elsewhere("another file"));
        }
        let mut text = vec![0; passage::text().len()];
        let base =
            usize::try_from(self.start).map_err(|error| Refusal::Read(io::Error::other(error)))?;
        let remote = [RemoteIoVec { base, len: text.len() }];
        let process = Pid::from_raw(thread);
        let read = process_vm_readv(process, &mut [IoSliceMut::new(&mut text)], &remote);
        read.map_err(|error| Refusal::Read(error.into()))?;
        if text != passage::text() {
            return Err(Refusal::Elsewhere("other code"));
        }
        Ok(())
    }
}

fn range(word: &str) -> Option<(u64, u64)> {
    let (start, end) = word.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

impl Ordered {
    /// Checks that an usher has memory of its own, and that nothing else runs in the zygote's sandbox that could have
    /// that memory too.
    fn is_alone_with(&self, usher: i32) -> Result<(), Refusal> {
        let known = [self.around.door.holder_pid, self.zygote, usher];
        let is_known = |pid: &u32| known.contains(&pid.cast_signed());
        let shares = pidfd::share_memory(Pid::from_raw(self.zygote), Pid::from_raw(usher))
            .map_err(Refusal::Compare)?;
        if shares || !self.around.group.processes().iter().all(is_known) {
            return Err(Refusal::Shared);
        }
        Ok(())
    }
}
