//! One zygote: started, then asked to fork.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use pipsqueak_kernel::{message, pidfd};
use tokio::io::AsyncRead;
use tokio::sync::oneshot;

use super::conversation::{Waiting, follow, hear};
use super::error::ZygoteError;
use super::imports;
use super::look;
use super::spares::Spares;
use crate::channel;
use crate::deployment::Variables;
use crate::environment::Tree;
use crate::machine::cgroups::{LimitWatch, Limits};
use crate::protocol::{FromZygote, Imported, Reads, Ready, ToZygote, VERSION};
use crate::runtime::{self, Role};
use crate::sandbox::{
    Commons, End, Exit, Plan, Process, Program, Sandbox, Sandboxes, Standing, Ushers,
};
use crate::sync::{Mutex, lock};

/// Longest time that a zygote may take to import its modules.
const IMPORT_PATIENCE: Duration = Duration::from_secs(120);
/// Longest time of a fork, and of the child's way to the point where it waits.
const FORK_PATIENCE: Duration = Duration::from_secs(10);
/// Time to wait for the report of a process's end.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);
/// Size limit of a zygote's `/tmp`, in bytes.
const TMP_BYTES: u64 = 64 << 20;
/// Maximum number of processes and threads while importing.
const PIDS: u32 = 256;

/// A zygote that is ready. Its process ends when this is dropped. Its sandbox lives on as long as other
/// processes are inside it.
#[derive(Debug)]
pub struct Zygote {
    sandbox: Arc<Sandbox>,
    process: Process,
    /// Decides which of the zygote's processes enters a sandbox; shared by all descendants of one
    /// interpreter.
    ushers: Ushers,
    control: Mutex<UnixStream>,
    waiting: Arc<Waiting>,
    forks: AtomicU64,
    /// True if a child of the zygote was of use.
    is_proven: AtomicBool,
    tree: Arc<Tree>,
    modules: Vec<String>,
    imported: Vec<Imported>,
    /// True if the zygote has imported a trusted module, whatever that leaves.
    has_trusted: bool,
    /// Bytes of the files that the imports have left; each child gets them.
    tmp_bytes: u64,
    /// Reads of the imports in each environment: the parents' first, its own last.
    reads: Vec<(Arc<Tree>, Reads)>,
    spares: Spares,
}

/// The surroundings of a new zygote.
#[derive(Debug)]
pub struct Surroundings {
    /// The zygote that it is forked from, if any.
    pub parent: Option<Arc<Zygote>>,
    /// The environment that the zygote sees.
    pub tree: Arc<Tree>,
    /// The view of the system that the zygote shares with others, and its kind of network.
    pub commons: Commons,
    /// Variables that the zygote is started with, equal to its parent's.
    pub variables: Variables,
}

/// The imports of a new zygote.
#[derive(Debug)]
pub struct Imports<'a> {
    /// Modules, sorted, so that a package precedes the modules inside it.
    pub modules: Vec<String>,
    /// Modules that are taken for safe, whatever their import leaves.
    pub trusted: &'a [String],
}

/// A process that was forked from a zygote.
#[derive(Debug)]
pub struct Forked {
    /// The process's end, which the zygote's holder reports.
    pub end: End,
}

/// A zygote's process, which has imported nothing yet.
struct Begun {
    sandbox: Sandbox,
    process: Process,
    ushers: Ushers,
    /// The watch over reads of the sandbox's limit of memory.
    limit: LimitWatch,
}

/// Has a new zygote import, and fork for a trial; what it has imported.
async fn import(
    reader: &mut tokio::net::UnixStream,
    process: &Process,
    wanted: &Imports<'_>,
) -> Result<Ready, ZygoteError> {
    let order = ToZygote::Import { protocol: VERSION, modules: &wanted.modules };
    channel::send(reader, &[channel::compose(&order, b"")?]).await?;
    let ready = match hear(reader, IMPORT_PATIENCE, "import its modules").await? {
        Some(FromZygote::Ready(ready)) => ready,
        Some(FromZygote::Failed(failed)) => return Err(ZygoteError::Failed(failed)),
        _ => {
            let how = how_ended(&process.end).await;
            return Err(ZygoteError::Ended(how, wanted.modules.join(", ")));
        }
    };
    let found = imports::unsafe_ones(&ready.modules, wanted.trusted);
    if !found.is_empty() {
        return Err(ZygoteError::Unsafe(found));
    }
    // Its hooks for forks may wait for ever, in the zygote or in its child.
    match hear(reader, FORK_PATIENCE, "fork for a trial").await? {
        Some(FromZygote::Tried) => Ok(ready),
        _ => Err(ZygoteError::Trial(how_ended(&process.end).await)),
    }
}

impl Zygote {
    /// Starts a zygote, from its parent if it has one, and waits until the imports are done. At most
    /// `spares` of its children will wait.
    pub async fn start(
        sandboxes: Arc<Sandboxes>,
        surroundings: Surroundings,
        wanted: Imports<'_>,
        runtime: &Path,
        spares: usize,
    ) -> Result<Self, ZygoteError> {
        let (near, far) = UnixStream::pair()?;
        let parent = surroundings.parent.clone();
        let tree = surroundings.tree.clone();
        let begun = Self::begin(sandboxes, surroundings, runtime, far, &near).await?;
        let Begun { sandbox, process, ushers, limit } = begun;
        let mut reader = nonblocking(&near)?;
        let mut has = import(&mut reader, &process, &wanted).await?;
        if limit.was_read()? {
            has.reads.note_limit();
        }
        let has_trusted = parent.as_ref().is_some_and(|parent| parent.has_trusted)
            || imports::are_trusted(&wanted.modules, wanted.trusted);
        if !has_trusted {
            let shared = look::shared(process.pid.cast_unsigned(), &sandbox.processes())?;
            if !shared.is_empty() {
                return Err(ZygoteError::Shares(imports::shortened(shared.iter())));
            }
        }
        let mut reads = parent.as_ref().map_or_else(Vec::new, |parent| parent.reads.clone());
        reads.push((tree.clone(), has.reads));
        let waiting = Arc::new(Waiting::default());
        tokio::spawn(follow(reader, waiting.clone()));
        Ok(Self {
            sandbox: Arc::new(sandbox),
            process,
            ushers,
            control: Mutex::new(near),
            waiting,
            forks: AtomicU64::new(0),
            is_proven: AtomicBool::new(false),
            tree,
            modules: wanted.modules,
            imported: has.modules,
            has_trusted,
            tmp_bytes: has.tmp_bytes,
            reads,
            spares: Spares::new(spares, Instant::now()),
        })
    }

    /// Makes a zygote's sandbox, and its process in that: by a fork of its parent, or of an interpreter.
    async fn begin(
        sandboxes: Arc<Sandboxes>,
        surroundings: Surroundings,
        runtime: &Path,
        far: UnixStream,
        near: &UnixStream,
    ) -> Result<Begun, ZygoteError> {
        let Surroundings { parent, tree, commons, variables } = surroundings;
        let plan = Plan {
            standing: Standing::Zygote,
            limits: Limits { pids: Some(PIDS), memory: Limits::most(), ..Limits::BACKGROUND },
            commons,
            shared: tree.interpreter_mounts()?,
            mounts: tree.mounts(runtime)?,
            tmp_bytes: TMP_BYTES,
            keeps: tree.keeps(),
        };
        let making = sandboxes.clone();
        let outer = parent.as_ref().map(|parent| parent.sandbox.clone());
        let made = tokio::task::spawn_blocking(move || making.make(plan, outer.as_ref()));
        let sandbox = made.await.map_err(io::Error::other)??;
        let limit = sandbox.group().watch_limit()?;
        if let Some(parent) = &parent {
            let begotten = parent.beget(&sandbox, far.into(), near).await;
            let process = begotten.map_err(|error| ZygoteError::Parent(Box::new(error)))?;
            return Ok(Begun { sandbox, process, ushers: parent.ushers.clone(), limit });
        }
        let launched =
            tokio::task::spawn_blocking(move || launch(&sandboxes, sandbox, &far, &variables));
        let (sandbox, mut process) = launched.await.map_err(io::Error::other)??;
        let listener = process.listener.take();
        let listener = listener.ok_or_else(|| io::Error::other("it has no filter"))?;
        let ushers = Ushers::attend(listener, &runtime::native(runtime))?;
        Ok(Begun { sandbox, process, ushers, limit })
    }

    /// Forks a zygote into `sandbox`, which was made within this zygote's sandbox. The new zygote gets its
    /// imports on `channel`, and `near` is our side of that.
    async fn beget(
        &self,
        sandbox: &Sandbox,
        channel: OwnedFd,
        near: &UnixStream,
    ) -> Result<Process, ZygoteError> {
        let null = File::options().read(true).write(true).open("/dev/null")?.into();
        let forked = self.fork_as(Role::Zygote, sandbox, (&channel, &null), false).await?;
        drop(channel);
        self.await_child(&mut nonblocking(near)?, &forked).await?;
        // Only this process is in its group before it imports anything.
        let pid = sandbox.process().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| io::Error::other("its process is not in its group"))?;
        let pidfd = pidfd::open(Pid::from_raw(pid))?;
        // Check again: if the process has ended meanwhile, another one may have its number.
        if sandbox.process() != u32::try_from(pid).ok() {
            return Err(ZygoteError::Ended("ended".to_owned(), "nothing yet".to_owned()));
        }
        Ok(Process { pid, pidfd, end: forked.end, listener: None })
    }

    /// Forks a child into `sandbox`, which was made within this zygote's sandbox. The child serves
    /// `channel` and prints to `logs`. A spare, for which no request waits yet, does the common work of a
    /// start ahead.
    pub async fn fork(
        &self,
        sandbox: &Sandbox,
        channel: &OwnedFd,
        logs: &OwnedFd,
        is_spare: bool,
    ) -> Result<Forked, ZygoteError> {
        self.fork_as(Role::Function, sandbox, (channel, logs), is_spare).await
    }

    async fn fork_as(
        &self,
        role: Role,
        sandbox: &Sandbox,
        (channel, logs): (&OwnedFd, &OwnedFd),
        waits: bool,
    ) -> Result<Forked, ZygoteError> {
        let id = self.forks.fetch_add(1, Ordering::Relaxed);
        let (pid, is_zygote) = (self.process.pid, role == Role::Zygote);
        let _awaited = self.ushers.expect(pid, &self.sandbox, sandbox, is_zygote)?;
        let own_network = sandbox.own_network();
        let order = ToZygote::Fork { id, role: role.name(), own_network, waits };
        let order = channel::compose(&order, b"")?;
        let descriptors = [channel.as_fd(), logs.as_fd(), sandbox.holder()];
        let exits = self.sandbox.exits();
        let earlier = exits.reports();
        let (answer, answered) = oneshot::channel();
        lock(&self.waiting).insert(id, answer);
        {
            let control = lock(&self.control);
            message::send(control.as_fd(), &order, &descriptors)?;
        }
        match tokio::time::timeout(FORK_PATIENCE, answered).await {
            Err(_) => Err(ZygoteError::Slow("fork", FORK_PATIENCE)),
            Ok(Err(_)) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(Ok(Err(reason))) => Err(ZygoteError::Refused(reason)),
            Ok(Ok(Ok(pid))) => Ok(Forked { end: exits.end_of(pid, earlier) }),
        }
    }

    /// Waits until a child reports on `channel` that it is ready. Packages' fork hooks may end the child,
    /// or hang.
    pub async fn await_child(
        &self,
        channel: &mut (impl AsyncRead + Unpin),
        child: &Forked,
    ) -> Result<(), ZygoteError> {
        match tokio::time::timeout(FORK_PATIENCE, channel::greeted(channel)).await {
            Err(_) => Err(ZygoteError::Slow("have a child of use", FORK_PATIENCE)),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(ZygoteError::Lost(how_ended(&child.end).await)),
        }
    }

    /// Notes that a child was of use. True the first time.
    pub fn proves(&self) -> bool {
        !self.is_proven.swap(true, Ordering::Relaxed)
    }

    /// The sandbox that the zygote runs in.
    pub fn sandbox(&self) -> &Arc<Sandbox> {
        &self.sandbox
    }

    /// The environment that the zygote sees.
    pub fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// Reads of the imports, each with its environment.
    pub fn reads(&self) -> &[(Arc<Tree>, Reads)] {
        &self.reads
    }

    /// Private memory of the zygote, in bytes.
    pub fn private_bytes(&self) -> u64 {
        self.sandbox.group().anonymous()
    }

    /// True if the files that the imports have left fit into a `/tmp` of that many bytes.
    pub fn fits(&self, tmp_bytes: u64) -> bool {
        self.tmp_bytes <= tmp_bytes
    }

    /// True if the zygote has imported a trusted module, whatever that leaves.
    pub fn has_trusted(&self) -> bool {
        self.has_trusted
    }

    /// Process id of the zygote on the host.
    pub fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Children of the zygote that wait for a function.
    pub fn spares(&self) -> &Spares {
        &self.spares
    }

    /// Number of forks asked of the zygote.
    pub fn forks(&self) -> u64 {
        self.forks.load(Ordering::Relaxed)
    }

    /// Modules that the zygote has imported, sorted.
    pub fn modules(&self) -> &[String] {
        &self.modules
    }

    /// Cost and hazards of each import of the zygote.
    pub fn imported(&self) -> &[Imported] {
        &self.imported
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        if let Err(error) = pidfd::signal(self.process.pidfd.as_fd(), Signal::SIGKILL) {
            tracing::error!(pid = self.process.pid, %error, "ending a zygote");
        }
    }
}

/// Starts an interpreter that gets its imports on `channel`. Blocks.
fn launch(
    sandboxes: &Sandboxes,
    sandbox: Sandbox,
    channel: &UnixStream,
    variables: &Variables,
) -> Result<(Sandbox, Process), ZygoteError> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let null = null.as_fd();
    let program = Program {
        arguments: runtime::arguments(Role::Zygote, variables.all()),
        variables: runtime::variables(variables.all(), true),
        directory: "/".into(),
        descriptors: vec![null, null, null, channel.as_fd()],
    };
    let process = sandboxes.launch(&sandbox, program)?;
    Ok((sandbox, process))
}

fn nonblocking(socket: &UnixStream) -> io::Result<tokio::net::UnixStream> {
    socket.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(socket.try_clone()?)
}

/// The exit of a process that has closed its channel, as text.
async fn how_ended(end: &End) -> String {
    let exit = end.heard(EXIT_PATIENCE).await;
    exit.map_or_else(|| "closed its channel".to_owned(), Exit::describe)
}
