//! A function's process in its sandbox: born, asked, paused, resumed, ended.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use pipsqueak::wire::{FunctionError, Network, Outcome};
use pipsqueak_kernel::mount::{self, Access};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::net::unix::pipe;

use super::exchange::{Logs, exchange};
use super::table::Function;
use crate::channel;
use crate::environment::Tree;
use crate::kernel::cgroup::Limits;
use crate::runtime::{self, Role};
use crate::sandbox::{
    Exit, Exits, FUNCTION, Plan, Program, Sandbox, SandboxError, Sandboxes, Standing,
};
use crate::zygote::{Zygote, ZygoteError};

/// Most processes and threads of a function.
const PIDS: u32 = 512;
/// How long the report of a process's end is waited for.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);

/// Why an instance could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Its zygote.
    #[error(transparent)]
    Zygote(#[from] ZygoteError),
    /// Its channel or mounts.
    #[error("preparing the sandbox of a function: {0}")]
    Io(#[from] io::Error),
}

/// What an instance is born from.
#[derive(Debug, Clone)]
pub enum Born {
    /// A fork of a zygote.
    Forked(Arc<Zygote>),
    /// A new interpreter in this environment.
    Fresh(Arc<Tree>),
}

impl Born {
    fn tree(&self) -> &Arc<Tree> {
        match self {
            Self::Forked(zygote) => zygote.tree(),
            Self::Fresh(tree) => tree,
        }
    }
}

/// An instance that runs.
#[derive(Debug)]
pub struct Instance {
    function: Arc<Function>,
    sandbox: Sandbox,
    channel: tokio::net::UnixStream,
    printed: pipe::Receiver,
    exits: Arc<Exits>,
    pid: i32,
    host_pid: OnceLock<Option<u32>>,
    invocations: u64,
}

/// An instance whose processes are frozen, and its environment.
#[derive(Debug)]
pub struct Paused {
    instance: Instance,
    tree: Arc<Tree>,
}

/// How an invocation ended, and the instance if it can serve another.
#[derive(Debug)]
pub struct Answered {
    /// What the handler returned, or why not.
    pub result: Result<Box<RawValue>, FunctionError>,
    /// How it ended.
    pub outcome: Outcome,
    /// Time in the handler, in microseconds.
    pub run_us: u64,
    /// What it printed.
    pub logs: String,
    /// The instance, where it is fit for another invocation.
    pub instance: Option<Instance>,
}

impl Instance {
    /// Starts an instance; it has not loaded its handler yet.
    pub async fn start(
        sandboxes: &Arc<Sandboxes>,
        function: Arc<Function>,
        born: &Born,
        runtime: &Path,
    ) -> Result<Self, StartError> {
        let (near, far) = UnixStream::pair()?;
        let far = OwnedFd::from(far);
        let (printed, print) = io::pipe()?;
        let print = OwnedFd::from(print);
        let has_address = function.info.network == Network::Nat;
        let mut plan = plan(&function, born.tree(), runtime)?;
        let keeps = born.tree().keeps();
        let parent = match born {
            Born::Forked(zygote) => Some(zygote.sandbox().clone()),
            Born::Fresh(_) => None,
        };
        let making = sandboxes.clone();
        let made = tokio::task::spawn_blocking(move || {
            if has_address {
                plan.mounts.push(making.resolv_conf()?);
            }
            let mut sandbox = making.make(plan, parent.as_ref())?;
            if has_address {
                making.connect(&mut sandbox)?;
            }
            if let Some(folder) = keeps {
                sandbox.keep(folder);
            }
            Ok::<_, SandboxError>(sandbox)
        });
        let sandbox = made.await.map_err(io::Error::other)??;
        let (sandbox, exits, pid) = match born {
            Born::Forked(zygote) => {
                let forked = zygote.fork(&sandbox, &far, &print).await?;
                (sandbox, zygote.sandbox().exits().clone(), forked.pid)
            }
            Born::Fresh(_) => {
                let launching = sandboxes.clone();
                let launched = tokio::task::spawn_blocking(move || {
                    let null = File::open("/dev/null")?;
                    let program = Program {
                        arguments: runtime::arguments(Role::Function),
                        variables: runtime::variables(),
                        directory: "/".into(),
                        descriptors: vec![null.as_fd(), print.as_fd(), print.as_fd(), far.as_fd()],
                    };
                    let process = launching.launch(&sandbox, program)?;
                    Ok::<_, StartError>((sandbox, process.pid))
                });
                let (sandbox, pid) = launched.await.map_err(io::Error::other)??;
                (sandbox, sandboxes.exits().clone(), pid)
            }
        };
        near.set_nonblocking(true)?;
        Ok(Self {
            function,
            sandbox,
            channel: tokio::net::UnixStream::from_std(near)?,
            printed: pipe::Receiver::from_owned_fd(printed.into())?,
            exits,
            pid,
            host_pid: OnceLock::new(),
            invocations: 0,
        })
    }

    /// Runs the handler once, within the function's timeout.
    pub async fn invoke(mut self, request_id: &str, payload: &RawValue) -> io::Result<Answered> {
        let info = &self.function.info;
        let mut messages = Vec::with_capacity(2);
        if self.invocations == 0 {
            let load = json!({
                "function": info.name,
                "version": info.version,
                "handler": info.handler,
                "memory": info.memory,
                "variables": info.variables,
            });
            messages.push(channel::compose(&load, b"")?);
        }
        let invocation = json!({ "request_id": request_id, "timeout_ms": info.timeout_ms });
        messages.push(channel::compose(&invocation, payload.get().as_bytes())?);
        self.invocations += 1;
        let mut logs = Logs::default();
        let timeout = Duration::from_millis(info.timeout_ms);
        let exchanged = tokio::time::timeout(
            timeout,
            exchange(&mut self.channel, &mut self.printed, &messages, &mut logs),
        )
        .await;
        let (result, outcome, run_us, fit) = match exchanged {
            Err(_) => {
                let limit = info.timeout_ms;
                let message = format!("no answer within the timeout of {limit} ms");
                (Err(told("Runtime.Timeout", message)), Outcome::Refused, limit * 1000, false)
            }
            Ok(Err(error)) => {
                let message = format!("the function's process broke its channel: {error}");
                (Err(told("Runtime.ProtocolError", message)), Outcome::Failed, 0, false)
            }
            Ok(Ok(None)) => {
                let (error, outcome) = self.ended().await;
                (Err(error), outcome, 0, false)
            }
            Ok(Ok(Some((answer, body)))) => match answer.error {
                Some(failure) => {
                    let error = FunctionError {
                        error_type: failure.error_type,
                        error_message: failure.error_message,
                        stack_trace: failure.stack_trace,
                    };
                    (Err(error), Outcome::Failed, failure.run_us, failure.fit)
                }
                None => match serde_json::from_slice(&body) {
                    Ok(result) => (Ok(result), Outcome::Done, answer.run_us, true),
                    Err(error) => {
                        let message = format!("the answer is not JSON: {error}");
                        (Err(told("Runtime.MarshalError", message)), Outcome::Failed, 0, false)
                    }
                },
            },
        };
        let instance = fit.then_some(self);
        Ok(Answered { result, outcome, run_us, logs: logs.into_text(), instance })
    }

    /// Freezes it. Called when the answer is on its way, never before.
    pub fn pause(self, tree: Arc<Tree>) -> io::Result<Paused> {
        // Found out here because nobody waits for it here.
        self.host_pid.get_or_init(|| self.sandbox.process());
        self.sandbox.group().freeze()?;
        Ok(Paused { instance: self, tree })
    }

    /// Whether its process still holds the channel: it may have been killed while it was frozen.
    pub fn is_alive(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(self.channel.as_raw_fd(), &mut [0], flags) == Err(Errno::EAGAIN)
    }

    /// The function it belongs to.
    pub fn function(&self) -> &Arc<Function> {
        &self.function
    }

    /// Its sandbox.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Its process's number on the host, where that is known: of a fork not before its first pause.
    pub fn host_pid(&self) -> Option<u32> {
        self.host_pid.get().copied().flatten()
    }

    /// How many invocations it has served.
    pub fn invocations(&self) -> u64 {
        self.invocations
    }

    /// Why its process ended without an answer.
    async fn ended(&self) -> (FunctionError, Outcome) {
        let exit = self.exits.of(self.pid, EXIT_PATIENCE).await;
        if self.sandbox.group().oom_kills() > 0 {
            let limit = self.function.info.memory >> 20;
            let message = format!("the function went over its memory limit of {limit} MiB");
            return (told("Runtime.OutOfMemory", message), Outcome::Refused);
        }
        let how = exit.map_or_else(|| "closed its channel".to_owned(), Exit::describe);
        let message = format!("the function's process {how} before it answered");
        (told("Runtime.ExitError", message), Outcome::Failed)
    }
}

impl Paused {
    /// Lets it go on.
    pub fn resume(self) -> io::Result<(Instance, Arc<Tree>)> {
        self.instance.sandbox.group().thaw()?;
        Ok((self.instance, self.tree))
    }

    /// Its environment.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The instance, to look at.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }
}

fn told(kind: &str, message: String) -> FunctionError {
    FunctionError { error_type: kind.to_owned(), error_message: message, stack_trace: Vec::new() }
}

/// What the sandbox of a function is to be.
fn plan(function: &Function, tree: &Tree, runtime: &Path) -> io::Result<Plan> {
    let mut mounts = tree.mounts(runtime)?;
    mounts.push((PathBuf::from(FUNCTION), mount::take(&function.code, Access::ReadOnly)?));
    let own_network = function.own_network();
    if !own_network {
        mounts.extend(resolver_mount()?);
    }
    Ok(Plan {
        standing: Standing::Function,
        limits: Limits {
            memory: Some(function.info.memory),
            pids: Some(PIDS),
            cpu_millis: function.info.cpu_millis,
            ..Limits::NONE
        },
        own_network,
        mounts,
        tmp_bytes: function.info.tmp,
    })
}

/// The host's resolver configuration and host names, for sandboxes in its network.
pub fn resolver_mount() -> io::Result<Vec<crate::sandbox::Mounted>> {
    ["/etc/resolv.conf", "/etc/hosts"]
        .into_iter()
        .map(|path| std::fs::canonicalize(path).map(|real| (path, real)))
        .filter_map(Result::ok)
        .map(|(path, real)| Ok((PathBuf::from(path), mount::take(&real, Access::ReadOnly)?)))
        .collect()
}
