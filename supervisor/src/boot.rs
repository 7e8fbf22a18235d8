//! From nothing to serving, and back: each step is undone by a drop, in reverse order, also where
//! a later one fails.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipsqueak::settings::Settings;
use pipsqueak_fs::{Index, Interpreter, Repository};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::containers::{Containers, ContainersError};
use crate::dispatch::{self, ListenError, Socket};
use crate::environment::{Environments, EnvironmentsError};
use crate::function::{Functions, FunctionsError};
use crate::kernel::cgroup;
use crate::mount::{Keeper, Views};
use crate::runtime;
use crate::sandbox::Sandboxes;
use crate::supervisor::Supervisor;

/// How long requests that were read are waited for at the end.
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);

/// Why a supervisor could not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Something that only root may do.
    #[error("pipsqueakd makes mounts and namespaces, so it must be started by root")]
    NotRoot,
    /// Its socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// One of its folders.
    #[error("{}: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The interpreter for environments that name none.
    #[error("no interpreter: {0}; name one with --python")]
    Interpreter(String),
    /// No uv.
    #[error("uv is not on the PATH; install it (pip install uv) or name it with --uv")]
    Uv,
    /// The store.
    #[error(transparent)]
    Repository(#[from] pipsqueak_fs::RepositoryError),
    /// The functions.
    #[error(transparent)]
    Functions(#[from] FunctionsError),
    /// The environments.
    #[error(transparent)]
    Environments(#[from] EnvironmentsError),
    /// What containers have.
    #[error(transparent)]
    Containers(#[from] ContainersError),
    /// A step that the machine refused.
    #[error("{step}: {error}; `pipsqueak doctor` tells what the machine lacks")]
    Machine {
        /// Which step.
        step: &'static str,
        /// Why.
        error: io::Error,
    },
}

impl BootError {
    /// The exit code that a client of the command line sees.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Listen(ListenError::Running { .. })
            | Self::Interpreter(_)
            | Self::Uv
            | Self::NotRoot => 2,
            _ => 70,
        }
    }
}

/// Starts, calls `ready` when requests are served, and runs until it is told to stop, by signal
/// or by a client.
pub async fn run(settings: Settings, ready: impl FnOnce()) -> Result<(), BootError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(BootError::NotRoot);
    }
    let socket = Socket::open(&settings.run)?;
    let (stopping, stop) = watch::channel(false);
    let (given, stopped) = (settings.clone(), stopping.clone());
    let handle = Handle::current();
    let built = tokio::task::spawn_blocking(move || build(given, stopped, &handle));
    let supervisor =
        built.await.map_err(|error| machine("starting")(io::Error::other(error)))??;
    follow_signals(&stopping)?;
    tracing::info!(
        socket = %settings.run.display(),
        mount = %settings.mount.display(),
        "serving"
    );
    ready();
    dispatch::serve(&socket, supervisor.clone(), stop).await;
    tracing::info!("stopping");
    drain(&supervisor).await;
    let ended = tokio::task::spawn_blocking(move || end(&supervisor));
    ended.await.map_err(|error| machine("stopping")(io::Error::other(error)))?
}

fn build(
    settings: Settings,
    stopping: watch::Sender<bool>,
    handle: &Handle,
) -> Result<Arc<Supervisor>, BootError> {
    let private_folder = settings.state.join("private");
    let root = settings.run.join("root");
    folder(&settings.state, 0o700)?;
    folder(&settings.cache, 0o700)?;
    // What a killed instance was installing.
    let _ = fs::remove_dir_all(&private_folder);
    folder(&private_folder, 0o711)?;
    folder(&root, 0o700)?;
    let python = python(settings.python.as_deref())?;
    let uv = settings.uv.clone().ok_or(BootError::Uv)?;

    let groups = cgroup::Instance::create(&instance_id(&settings.run))
        .map_err(machine("making control groups"))?;
    let index = Index { url: settings.index.url.clone(), extra: settings.index.extra.clone() };
    let mount = settings.mount.clone();
    let repository = Repository::open(&settings.state, &settings.cache, uv, mount, index)?;
    let functions = Functions::open(settings.state.join("functions"))?;
    let keeper = Keeper::start(&settings.mount, &settings.state).map_err(machine("mounting"))?;
    let runtime_folder = settings.run.join("runtime");
    runtime::install(&runtime_folder, &python.executable)
        .map_err(machine("installing the Python runtime"))?;
    let sandboxes = std::env::current_exe()
        .and_then(|binary| Sandboxes::start(&binary, groups, &root, handle.clone()))
        .map_err(machine("starting the process that makes sandboxes"))?;
    let (keeper, sandboxes) = (Arc::new(keeper), Arc::new(sandboxes));
    let views = Views::new(&settings.mount).map_err(machine("looking at the mount"))?;
    let environments = Environments::new(
        repository,
        (keeper.clone(), views),
        sandboxes.clone(),
        python.executable,
        (!settings.tiers.ssd).then_some(private_folder),
        handle.clone(),
    );
    let environments = Arc::new(environments);
    environments.host()?;
    let containers = Containers::start(&settings, environments.clone(), handle)?;
    let parts = (environments, containers, functions, sandboxes, keeper);
    Ok(Arc::new(Supervisor::new(settings, parts, runtime_folder, stopping)))
}

/// Waits until all requests that were read are answered, within bounds.
async fn drain(supervisor: &Supervisor) {
    let until = Instant::now() + DRAIN_PATIENCE;
    while supervisor.in_flight() > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn end(supervisor: &Supervisor) -> Result<(), BootError> {
    supervisor.clear();
    let withdrawn = supervisor.containers.stop();
    let stopped = supervisor.sandboxes.stop().map_err(machine("ending sandboxes"));
    let unmounted = supervisor.keeper.stop().map_err(machine("unmounting"));
    for name in ["root", "runtime"] {
        let path = supervisor.settings.run.join(name);
        fs::remove_dir_all(&path).map_err(|error| BootError::Folder { path, error })?;
    }
    withdrawn?;
    stopped.and(unmounted)
}

fn follow_signals(stopping: &watch::Sender<bool>) -> Result<(), BootError> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).map_err(machine("listening for signals"))?;
        let stopping = stopping.clone();
        tokio::spawn(async move {
            if signals.recv().await.is_some() {
                stopping.send_replace(true);
            }
        });
    }
    Ok(())
}

fn python(named: Option<&Path>) -> Result<Interpreter, BootError> {
    let path = named.ok_or_else(|| BootError::Interpreter("no python3 on the PATH".to_owned()))?;
    Interpreter::inspect(path)
        .map_err(|error| BootError::Interpreter(format!("{}: {error}", path.display())))
}

/// Tells instances apart, by where their sockets are.
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
