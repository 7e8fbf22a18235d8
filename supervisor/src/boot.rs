//! The way from nothing to serving, and back: each step is undone by a drop, in reverse order, even if
//! a later step fails.

mod build;
mod error;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use pipsqueak::settings::Settings;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use crate::dispatch::{self, EventLoops, Socket};
use crate::ending::{Ender, Ending};
use crate::mount::Keeper;
use crate::service::Service;
use crate::supervisor::Supervisor;
use crate::upgrade::Successor;
pub use build::Managed;
use build::build;
pub use error::BootError;
use error::machine;

/// Longest wait, at the end, for requests that were read.
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for everything else to end before the mount is ended, which also ends what waits for
/// the mount.
const CUT_OFF: Duration = Duration::from_secs(10);

/// What is left to do at the very end, when nobody in this process asks anything of the mount.
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
    begin(&supervisor, &service)?;
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
    let socket = served.map_err(|error| machine("serving")(io::Error::other(error)))?;
    let ending = (*ending.borrow()).unwrap_or(Ending::Stop);
    stop(supervisor, socket, loops, ending, &service).await
}

/// Begins what goes on beside requests.
fn begin(supervisor: &Arc<Supervisor>, service: &Arc<Service>) -> Result<(), BootError> {
    follow_watchdog(service);
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
    Ok(())
}

/// Answers what was asked, and ends all that was begun; what is left to do.
async fn stop(
    supervisor: Arc<Supervisor>,
    mut socket: Socket,
    loops: Arc<EventLoops>,
    ending: Ending,
    service: &Service,
) -> Result<Rest, BootError> {
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

/// Waits until all requests that were read are answered, within bounds.
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
