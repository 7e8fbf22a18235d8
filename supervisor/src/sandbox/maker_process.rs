//! Orders to the process that makes sandboxes, the maker: it is started, and started anew if it dies.
//!
//! Sandboxes outlive it, and so does what it has started in them: of that, only the ends are reported by
//! nobody any more.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use pipsqueak_kernel::{descriptor, message};

use super::commons::Commons;
use super::error::SandboxError;
use super::exits::Exits;
use super::maker;
use super::order::{Answer, Order};
use crate::machine::cgroups::Instance;
use crate::sync::{Mutex, lock};

/// Time that the maker may take to answer: longer than it gives a hand.
const ANSWER_PATIENCE: Duration = maker::PATIENCE.saturating_add(Duration::from_secs(5));
/// Longest answer of the maker, in bytes.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Pause between two starts of a maker, so that one that ends at once does not take all time.
const PAUSE: Duration = Duration::from_millis(100);

/// Why the maker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartMakerError {
    /// socketpair(2).
    #[error("making a socket for orders: {0}")]
    Socket(#[source] io::Error),
    /// open(2) of `cgroup.kill`.
    #[error("opening the switch that ends the instance: {0}")]
    Switch(#[source] io::Error),
    /// fcntl(2), `F_SETFD`.
    #[error("handing a descriptor to the process that makes sandboxes: {0}")]
    Descriptor(#[source] io::Error),
    /// fork(2) and execve(2).
    #[error("starting {}: {source}", binary.display())]
    Spawn {
        /// The program.
        binary: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The maker ended before it took orders.
    #[error("the process that makes sandboxes did not start; see the log")]
    Early(#[source] io::Error),
    /// waitpid(2) for a maker that ended early.
    #[error("waiting for the process that makes sandboxes: {0}")]
    Wait(#[source] io::Error),
    /// The thread that follows its reports.
    #[error("starting a thread: {0}")]
    Thread(#[source] io::Error),
}

/// The maker of this instance: the process that runs now, and the next if that dies.
#[derive(Debug)]
pub struct Maker {
    binary: PathBuf,
    root: PathBuf,
    groups: Arc<Instance>,
    exits: Arc<Exits>,
    /// Read-locked while an order is carried out; none once it stops.
    running: RwLock<Option<Running>>,
    /// Threads that each wait for the heir of a maker that was killed.
    heirs: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Running {
    orders: Mutex<UnixStream>,
    /// Ends when it has ended, and all that it has left.
    heir: Child,
    commons: Arc<Mutex<AllCommons>>,
}

/// The mount namespace of each commons, by its name.
type AllCommons = HashMap<String, Arc<OwnedFd>>;

impl Maker {
    /// Starts it. `binary` is `pipsqueakd` itself, of which it is a hidden command; its root is put
    /// together at `root`, an empty folder. Blocks until it takes orders.
    pub fn start(
        binary: &Path,
        root: &Path,
        groups: Arc<Instance>,
    ) -> Result<Arc<Self>, StartMakerError> {
        let (exits, running) = (Arc::<Exits>::default(), RwLock::new(None));
        let (binary, root) = (binary.to_owned(), root.to_owned());
        let heirs = Mutex::default();
        let maker = Arc::new(Self { binary, root, groups, exits, running, heirs });
        let (running, reports) = maker.launch()?;
        *maker.running.write().unwrap_or_else(PoisonError::into_inner) = Some(running);
        let following = maker.clone();
        // On a thread because orders are written, blocking, to the same socket.
        std::thread::Builder::new()
            .name("maker-reports".to_owned())
            .spawn(move || following.follow(reports))
            .map_err(StartMakerError::Thread)?;
        Ok(maker)
    }

    /// Ends of the programs that it has started.
    pub fn exits(&self) -> &Arc<Exits> {
        &self.exits
    }

    /// Has it carry out an order for the sandbox `name`; the answer, a process, and a second descriptor if there is one.
    /// Blocks.
    pub fn carry_out(
        &self,
        name: &str,
        order: &Order,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(Answer, OwnedFd, Option<OwnedFd>), SandboxError> {
        let (told, with) = self.ask(name, order, descriptors)?;
        let mut with = with.into_iter();
        match with.next() {
            Some(process) => Ok((told, process, with.next())),
            None => Err(unexpected(name, told)),
        }
    }

    /// The mount namespace of a commons, which it makes if there is none yet. Blocks.
    pub fn commons(&self, commons: &Commons) -> Result<Arc<OwnedFd>, SandboxError> {
        let all = self.all_commons()?;
        let mut all = lock(&all);
        if let Some(made) = all.get(commons.name()) {
            return Ok(made.clone());
        }
        let (_, made, _) = self.carry_out(commons.name(), &Order::Commons, &[])?;
        let made = Arc::new(made);
        all.insert(commons.name().to_owned(), made.clone());
        Ok(made)
    }

    fn all_commons(&self) -> Result<Arc<Mutex<AllCommons>>, SandboxError> {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(|running| running.commons.clone()).ok_or(SandboxError::Stopping)
    }

    /// Has it bring what sandboxes see of the host's system up to date. Blocks.
    pub fn refresh(&self) -> Result<(), SandboxError> {
        let host = File::open("/proc/self/ns/mnt").map_err(SandboxError::HostNamespace)?;
        let all: Vec<_> = lock(&*self.all_commons()?).values().cloned().collect();
        for some in all.chunks(message::MAX_DESCRIPTORS - 1) {
            let some = some.iter().map(|one| one.as_fd());
            let namespaces: Vec<_> = [host.as_fd()].into_iter().chain(some).collect();
            match self.ask("of all", &Order::Refresh, &namespaces)? {
                (Answer::Refreshed, _) => {}
                (other, _) => return Err(unexpected("of all", other)),
            }
        }
        Ok(())
    }

    /// The maker's answer to an order, and the descriptors that come with it.
    fn ask(
        &self,
        name: &str,
        order: &Order,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(Answer, Vec<OwnedFd>), SandboxError> {
        let (near, far) = UnixStream::pair().map_err(SandboxError::Socket)?;
        let body = serde_json::to_vec(order).map_err(SandboxError::Encode)?;
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        {
            let running = running.as_ref().ok_or(SandboxError::Stopping)?;
            let orders = lock(&running.orders);
            message::send(orders.as_fd(), b"", &[far.as_fd()]).map_err(SandboxError::Send)?;
        }
        drop(far);
        let sent = message::send(near.as_fd(), &body, descriptors);
        // Whatever the maker does, nobody waits for ever. An answer that has begun is sent whole.
        near.set_read_timeout(Some(ANSWER_PATIENCE)).map_err(SandboxError::Receive)?;
        // What is not taken is answered before it is all sent.
        let answer = message::receive(near.as_fd(), MAX_ANSWER_BYTES).map_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                return SandboxError::Silent(ANSWER_PATIENCE);
            }
            sent.err().map_or_else(|| SandboxError::Receive(error), SandboxError::Send)
        })?;
        let answer = answer.ok_or_else(|| SandboxError::Wordless { name: name.to_owned() })?;
        match serde_json::from_slice(&answer.body).map_err(SandboxError::Decode)? {
            Answer::Failed(source) => Err(SandboxError::Failed { name: name.to_owned(), source }),
            told => Ok((told, answer.descriptors)),
        }
    }

    /// Takes no orders any more, after those that are being carried out. Blocks. What is returned ends
    /// it; nothing if it has stopped already.
    pub fn stop(&self) -> Option<Stopped> {
        let running = self.running.write().unwrap_or_else(PoisonError::into_inner).take()?;
        let heirs = std::mem::take(&mut *lock(&self.heirs));
        Some(Stopped { running, heirs })
    }

    /// Follows its reports, and those of the next, until it stops.
    fn follow(&self, mut reports: UnixStream) {
        loop {
            self.exits.follow_blocking(&reports);
            match self.succeed() {
                Some(next) => reports = next,
                None => return,
            }
        }
    }

    /// Starts another in the place of one that has died; its reports.
    fn succeed(&self) -> Option<UnixStream> {
        loop {
            {
                let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
                running.as_ref()?;
                tracing::error!("the process that makes sandboxes has ended");
                match self.launch() {
                    Ok((next, reports)) => {
                        if let Some(before) = running.replace(next) {
                            self.wait_for(before.heir);
                        }
                        return Some(reports);
                    }
                    Err(error) => tracing::error!(%error, "starting another"),
                }
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Has somebody wait for the heir of a maker that has ended: what that has left may go on for long.
    fn wait_for(&self, mut heir: Child) {
        let waiting = std::thread::Builder::new().name("maker-heir".to_owned()).spawn(move || {
            if let Err(error) = heir.wait() {
                tracing::error!(%error, "waiting for what a killed maker has left");
            }
        });
        let mut heirs = lock(&self.heirs);
        heirs.retain(|waiting| !waiting.is_finished());
        match waiting {
            Ok(waiting) => heirs.push(waiting),
            Err(error) => tracing::error!(%error, "waiting for what a killed maker has left"),
        }
    }

    fn launch(&self) -> Result<(Running, UnixStream), StartMakerError> {
        // Of packets, which it reads and writes as well.
        let (near, far) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(|error| StartMakerError::Socket(error.into()))?;
        let switch = self.groups.kill_switch().map_err(StartMakerError::Switch)?;
        let switch = switch.map(OwnedFd::from);
        let mut heir = self.spawn(&far, switch.as_ref())?;
        // Its end is the maker's alone, so that the maker's death is seen.
        drop((far, switch));
        let mut near = UnixStream::from(near);
        match near.read_exact(&mut [0]).and_then(|()| near.try_clone()) {
            Ok(reports) => {
                Ok((Running { orders: Mutex::new(near), heir, commons: Arc::default() }, reports))
            }
            Err(error) => {
                // Its maker ends with it.
                let _ = heir.kill();
                heir.wait().map_err(StartMakerError::Wait)?;
                Err(StartMakerError::Early(error))
            }
        }
    }

    /// Starts the process, which inherits these descriptors.
    fn spawn(&self, orders: &OwnedFd, switch: Option<&OwnedFd>) -> Result<Child, StartMakerError> {
        for inherited in [orders].into_iter().chain(switch) {
            descriptor::set_close_on_exec(inherited, false).map_err(StartMakerError::Descriptor)?;
        }
        let number = |fd: &OwnedFd| fd.as_raw_fd().to_string();
        let mut command = Command::new(&self.binary);
        command.args(["make-sandboxes", "--instance", self.groups.name()]);
        command.args(["--orders", &number(orders)]);
        if let Some(switch) = switch {
            command.args(["--kill-switch", &number(switch)]);
        }
        // Not an argument: holders keep the command line, and what runs in sandboxes can read it.
        command.current_dir(&self.root);
        // Nor a variable, of which holders keep those that the maker is started with.
        command.env_clear();
        let binary = || self.binary.clone();
        command.spawn().map_err(|source| StartMakerError::Spawn { binary: binary(), source })
    }
}

/// A maker that takes no orders any more.
#[derive(Debug)]
pub struct Stopped {
    running: Running,
    heirs: Vec<JoinHandle<()>>,
}

impl Stopped {
    /// Ends it, and waits for what makers before it have left, which must have ended. Blocks.
    pub fn end(self) -> io::Result<()> {
        let Running { orders, mut heir, .. } = self.running;
        let orders = orders.into_inner().unwrap_or_else(PoisonError::into_inner);
        orders.shutdown(std::net::Shutdown::Both)?;
        heir.wait()?;
        for waiting in self.heirs {
            if waiting.join().is_err() {
                tracing::error!(
                    "the thread that waits for what a killed maker has left has panicked"
                );
            }
        }
        Ok(())
    }
}

/// An answer that is none to the order.
pub fn unexpected(name: &str, answer: Answer) -> SandboxError {
    SandboxError::Unexpected { name: name.to_owned(), answer: Box::new(answer) }
}
