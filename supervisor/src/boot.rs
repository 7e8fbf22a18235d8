//! The way from nothing to serving, and back: each step is undone by a drop, in reverse order, even if
//! a later step fails.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use pipsqueak::settings::Settings;
use pipsqueak_fs::{IndexOptions, Interpreter, Repository};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use crate::containers::{Containers, ContainersError};
use crate::deployment::{Functions, FunctionsError, Payloads};
use crate::dispatch::{self, EventLoops, ListenError, LockError, Socket};
use crate::ending::{Ender, Ending};
use crate::environment::{Environments, EnvironmentsError, in_memory};
use crate::events::{Events, EventsError};
use crate::logs::Journal;
use crate::machine::cgroups;
use crate::mount::{Keeper, Views};
use crate::network::{Nat, NatError};
use crate::runtime;
use crate::sandbox::Sandboxes;
use crate::sealed::{KeyError, Keys, SealedError};
use crate::service::{Service, Stored};
use crate::supervisor::{Resources, Supervisor};
use crate::upgrade::Successor;

/// Longest wait, at the end, for requests that were read.
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for everything else to end before the mount is ended, which also ends what waits for
/// the mount.
const CUT_OFF: Duration = Duration::from_secs(10);

/// Reason that a supervisor could not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The supervisor does not run as root.
    #[error("pipsqueakd makes mounts and namespaces, so it must be started by root")]
    NotRoot,
    /// The supervisor's socket cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// One of the supervisor's folders cannot be made or removed.
    #[error("{}: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The error of the call.
        error: io::Error,
    },
    /// No interpreter can be used for environments that name none.
    #[error("no interpreter: {0}; name one with --python")]
    Interpreter(String),
    /// No uv was found.
    #[error("uv is not on the PATH; install it (pip install uv) or name it with --uv")]
    Uv,
    /// The store failed.
    #[error(transparent)]
    Repository(#[from] pipsqueak_fs::RepositoryError),
    /// A key that encrypts stored secrets cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The deployed functions cannot be read.
    #[error(transparent)]
    Functions(#[from] FunctionsError),
    /// The asynchronous events cannot be read.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// The environments failed.
    #[error(transparent)]
    Environments(#[from] EnvironmentsError),
    /// The environments of containers failed.
    #[error(transparent)]
    Containers(#[from] ContainersError),
    /// The network of functions failed.
    #[error(transparent)]
    Nat(#[from] NatError),
    /// The mount has ended by itself.
    #[error("the process that keeps the mount has ended, and the mount with it; see the log")]
    Lost,
    /// The machine refused a step.
    #[error("{step}: {error}; `pipsqueak doctor` tells what the machine lacks")]
    Machine {
        /// The step.
        step: &'static str,
        /// The error of the call.
        error: io::Error,
    },
}

impl BootError {
    /// Exit code that a client of the command line sees.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Listen(
                ListenError::Lock(LockError::Running { .. }) | ListenError::Elsewhere(_),
            )
            | Self::Interpreter(_)
            | Self::Key(_)
            | Self::Functions(FunctionsError::Sealed(SealedError::Unknown { .. }))
            | Self::Events(EventsError::Sealed(SealedError::Unknown { .. }))
            | Self::Uv
            | Self::NotRoot => 2,
            _ => 70,
        }
    }
}

/// The service manager of this supervisor, and the descriptors that it has kept.
pub type Managed = (Arc<Service>, Vec<Stored>);

/// Work that is left for the very end, when no thread of this process uses the mount.
#[derive(Debug)]
pub enum Rest {
    /// Nothing.
    Nothing,
    /// The mount is left to the process that the service manager starts next.
    Leave(Arc<Keeper>),
    /// The mount, and this socket, are given to the program that this process becomes.
    Become(Arc<Keeper>, (String, OwnedFd)),
}

impl Rest {
    /// Does the work. Returns the program to become, if there is one. Blocks.
    pub fn carry_out(self) -> Result<Option<Successor>, BootError> {
        match self {
            Self::Nothing => Ok(None),
            Self::Leave(keeper) => {
                keeper.leave().map_err(machine("leaving the mount"))?;
                Ok(None)
            }
            Self::Become(keeper, socket) => {
                let connection = keeper.hand_over().map_err(machine("taking the mount along"))?;
                let successor = Successor::new(vec![connection, socket]);
                successor.map_err(machine("finding the program that is installed")).map(Some)
            }
        }
    }

    /// Ends the mount instead, because some thread still waits for it. Blocks.
    pub fn give_up(self) -> Result<(), BootError> {
        match self {
            Self::Nothing => Ok(()),
            Self::Leave(keeper) | Self::Become(keeper, _) => {
                keeper.stop().map_err(machine("unmounting"))
            }
        }
    }
}

/// Starts, calls `ready` once requests are served, and runs until a signal or a client ends it. Returns
/// the work that is left when this process has no other thread.
pub async fn run(
    settings: Settings,
    (service, stored): Managed,
    ready: impl FnOnce(),
) -> Result<Rest, BootError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(BootError::NotRoot);
    }
    let (socket, stored) = Socket::open(&settings.run, &service, stored)?;
    let (ender, ending) = Ender::new();
    // Before there is anything to clean up: after a signal during the start, everything is built and
    // then ended in order.
    follow_signals(&ender)?;
    let given = settings.clone();
    let (handle, managed) = (Handle::current(), (service.clone(), stored));
    let built = tokio::task::spawn_blocking(move || build(given, managed, ender, &handle));
    let supervisor =
        built.await.map_err(|error| machine("starting")(io::Error::other(error)))??;
    follow_watchdog(&service);
    supervisor.upkeep.follow_demand();
    supervisor.upkeep.follow_memory().map_err(machine("watching memory"))?;
    tokio::spawn(supervisor.resources.journal.clone().write());
    tokio::spawn(supervisor.later.clone().carry_out());
    tokio::spawn(supervisor.later.clone().follow_schedules());
    if supervisor.resources.settings.tiers.zygote {
        let zygotes = supervisor.invocations.zygotes.clone();
        zygotes.grow();
        let functions = supervisor.resources.functions.list();
        tokio::spawn(async move { zygotes.recall(functions).await });
    }
    tracing::info!(
        socket = %settings.run.display(),
        mount = %settings.mount.display(),
        "serving"
    );
    service.ready(&format!("serving {}", settings.mount.display()));
    ready();
    let loops = Arc::new(EventLoops::start().map_err(machine("starting threads for clients"))?);
    // Accepted on a serving thread, because another thread would have to be woken for each connection
    // only to wake that one.
    let serving = {
        let (supervisor, ending, all) = (supervisor.clone(), ending.clone(), loops.clone());
        loops.first().spawn(async move {
            let mut socket = socket;
            dispatch::serve(&mut socket, &all, supervisor, ending).await;
            socket
        })
    };
    let served = serving.await;
    let mut socket = served.map_err(|error| machine("serving")(io::Error::other(error)))?;
    let ending = (*ending.borrow()).unwrap_or(Ending::Stop);
    let leave = match ending {
        Ending::Stop | Ending::Lost => false,
        Ending::Restart => supervisor.resources.keeper.can_leave(),
        Ending::Upgrade => true,
    };
    tracing::info!(?ending, leave, "stopping");
    service.stopping(if leave { "leaving the mount to the next" } else { "stopping" });
    supervisor.invocations.hurry();
    drain(&supervisor).await;
    supervisor.resources.journal.flush().await;
    if supervisor.resources.settings.tiers.zygote {
        supervisor.invocations.zygotes.remember().await;
    }
    let handed = if ending == Ending::Upgrade { Some(socket.hand_over()) } else { None };
    let handed = handed.transpose().map_err(machine("keeping the socket"))?;
    if !leave {
        socket.close();
    }
    let keeper = supervisor.resources.keeper.clone();
    let cleared = tokio::task::spawn_blocking(move || {
        let outcome = end(&supervisor, leave);
        loops.stop();
        outcome
    });
    cleared.await.map_err(|error| machine("stopping")(io::Error::other(error)))??;
    match (ending, handed) {
        (Ending::Lost, _) => Err(BootError::Lost),
        (_, Some(handed)) => Ok(Rest::Become(keeper, handed)),
        (_, None) => Ok(if leave { Rest::Leave(keeper) } else { Rest::Nothing }),
    }
}

fn build(
    settings: Settings,
    (service, stored): Managed,
    ender: Ender,
    handle: &Handle,
) -> Result<Arc<Supervisor>, BootError> {
    let private_folder = settings.state.join("private");
    let root = settings.run.join("root");
    folder(&settings.state, 0o700)?;
    folder(&settings.cache, 0o700)?;
    // The rest of installations that a killed instance had begun.
    let _ = fs::remove_dir_all(&private_folder);
    folder(&private_folder, 0o711)?;
    folder(&root, 0o700)?;
    let python = python(settings.python.as_deref())?;
    let uv = settings.uv.clone().ok_or(BootError::Uv)?;

    let id = instance_id(&settings.run);
    cgroups::Instance::end_earlier(&id).map_err(machine("ending what was left running"))?;
    let pipsqueak::settings::Index { url, extra, hosts } = settings.index.clone();
    let index = IndexOptions { url, extra, hosts };
    let mount = settings.mount.clone();
    let mut repository = Repository::open(&settings.state, &settings.cache, uv, mount, index)?;
    match in_memory() {
        Ok((root, size)) => repository = repository.with_memory(root, size),
        Err(error) => tracing::info!(%error, "wheels are unpacked on the disk, not in memory"),
    }
    let keys = &settings.secrets;
    let keys = Arc::new(Keys::read(keys.key_file.as_ref(), &keys.old_key_files)?);
    let payloads = Payloads { into: settings.payload_in, out: settings.payload_out };
    let functions = Functions::open(settings.state.join("functions"), payloads, keys.clone())?;
    let names = functions.list().iter().map(|function| function.info.name.clone()).collect();
    let log_folder = settings.state.join("logs");
    let journal = Journal::open(log_folder.clone(), settings.logs, &names)
        .map_err(|error| BootError::Folder { path: log_folder, error })?;
    let events = Events::open(settings.state.join("events.sqlite"), &names, keys)?;
    let told = ender.clone();
    let lost = move || told.end(Ending::Lost);
    let keeper = Keeper::start(&settings.mount, &settings.state, &service, stored, lost)
        .map_err(machine("mounting"))?;
    // Not earlier: the process that serves a mount that was left is in its group until this supervisor
    // takes over.
    let groups = cgroups::Instance::create(&id).map_err(machine("making control groups"))?;
    let runtime_folder = settings.run.join("runtime");
    runtime::install(&runtime_folder, &python.executable)
        .map_err(machine("installing the Python runtime"))?;
    let nat = Nat::new(&id, settings.nat, &settings.run, handle.clone())?;
    let sandboxes = std::env::current_exe()
        .and_then(|binary| Sandboxes::start(&binary, groups, nat, &root, handle.clone()))
        .map_err(machine("starting the process that makes sandboxes"))?;
    let (keeper, sandboxes) = (Arc::new(keeper), Arc::new(sandboxes));
    let views = Views::new(&settings.mount, &settings.state);
    let views = views.map_err(machine("looking at the mount"))?;
    let environments = Environments::new(
        repository,
        (keeper.clone(), views),
        sandboxes.clone(),
        python.executable,
        (!settings.tiers.ssd).then_some(private_folder),
        handle.clone(),
    );
    let environments = Arc::new(environments);
    environments.host();
    let containers = Containers::start(&settings, environments.clone(), handle)?;
    let resources = Resources {
        settings: Arc::new(settings),
        environments,
        containers,
        functions: Arc::new(functions),
        sandboxes,
        keeper,
        journal: Arc::new(journal),
        events: Arc::new(events),
        runtime: runtime_folder,
        background: handle.clone(),
    };
    Ok(Arc::new(Supervisor::new(resources, ender)))
}

/// Waits until all requests that were read are answered, at most for [`DRAIN_PATIENCE`].
async fn drain(supervisor: &Supervisor) {
    let until = Instant::now() + DRAIN_PATIENCE;
    while supervisor.in_flight() > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Ends everything. If it is to `leave` the mount, ends neither the mount nor the environments of containers.
fn end(supervisor: &Supervisor, leave: bool) -> Result<(), BootError> {
    let ended = (!leave).then(|| cut_off(supervisor.resources.keeper.clone()));
    supervisor.invocations.clear();
    let withdrawn = if leave {
        supervisor.resources.containers.leave();
        Ok(())
    } else {
        supervisor.resources.containers.stop()
    };
    let stopped = supervisor.resources.sandboxes.stop().map_err(machine("ending sandboxes"));
    let unmounted = if leave { Ok(()) } else { supervisor.resources.keeper.stop() };
    let unmounted = unmounted.map_err(machine("unmounting"));
    drop(ended);
    for name in ["root", "runtime"] {
        let path = supervisor.resources.settings.run.join(name);
        fs::remove_dir_all(&path).map_err(|error| BootError::Folder { path, error })?;
    }
    withdrawn?;
    stopped.and(unmounted)
}

/// Ends the mount after [`CUT_OFF`], because what is being ended may wait for the mount. Dropping the
/// returned sender before prevents that.
fn cut_off(keeper: Arc<Keeper>) -> mpsc::Sender<()> {
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || {
        if end.recv_timeout(CUT_OFF) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the end takes long, and the mount is ended first");
            if let Err(error) = keeper.stop() {
                tracing::error!(%error, "unmounting");
            }
        }
    });
    ended
}

/// Ends the supervisor on signals. SIGUSR1 is for a restart by the service manager.
fn follow_signals(ender: &Ender) -> Result<(), BootError> {
    for (kind, ending) in [
        (SignalKind::terminate(), Ending::Stop),
        (SignalKind::interrupt(), Ending::Stop),
        (SignalKind::user_defined1(), Ending::Restart),
    ] {
        let mut signals = signal(kind).map_err(machine("listening for signals"))?;
        let ender = ender.clone();
        tokio::spawn(async move {
            if signals.recv().await.is_some() {
                ender.end(ending);
            }
        });
    }
    Ok(())
}

/// Tells the service manager that all is well, twice as often as the manager wants.
fn follow_watchdog(service: &Arc<Service>) {
    let Some(interval) = service.watchdog() else { return };
    let service = service.clone();
    tokio::spawn(async move {
        let mut times = tokio::time::interval(interval / 2);
        loop {
            times.tick().await;
            service.alive();
        }
    });
}

fn python(named: Option<&Path>) -> Result<Interpreter, BootError> {
    let path = named.ok_or_else(|| BootError::Interpreter("no python3 on the PATH".to_owned()))?;
    Interpreter::inspect(path)
        .map_err(|error| BootError::Interpreter(format!("{}: {error}", path.display())))
}

/// Short text that tells instances apart, made of the path of their sockets.
fn instance_id(run: &Path) -> String {
    let digest = blake3::hash(run.as_os_str().as_encoded_bytes()).to_hex();
    digest[..8].to_owned()
}

fn folder(path: &Path, mode: u32) -> Result<(), BootError> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .map_err(|error| BootError::Folder { path: path.to_owned(), error })
}

fn machine(step: &'static str) -> impl FnOnce(io::Error) -> BootError {
    move |error| BootError::Machine { step, error }
}
