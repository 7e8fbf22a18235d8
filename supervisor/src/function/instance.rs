//! A function's process in its sandbox: born, asked, paused, resumed, ended.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

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
use crate::logs::Recording;
use crate::sandbox::{Exit, Exits, FUNCTION, Sandbox, SandboxError, Sandboxes};
use crate::zygote::{self, Spare};

/// How long the report of a process's end is waited for.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);

/// Why a process could not be made a function's.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its network.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Its code or environment.
    #[error("mounting the code of function {function}: {error}")]
    Mount {
        /// The function.
        function: String,
        /// Why.
        error: io::Error,
    },
    /// Its limits.
    #[error("limiting the sandbox of function {function}: {error}")]
    Limit {
        /// The function.
        function: String,
        /// Why.
        error: io::Error,
    },
    /// It needs more memory than its limit before its code runs.
    #[error("an interpreter alone takes more memory than the limit of function {function}")]
    Memory {
        /// The function.
        function: String,
    },
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
    /// Whether its environment has more than its zygote has seen.
    is_wider: bool,
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
    /// Where the same is recorded, to be ended.
    pub recording: Option<Recording>,
    /// Modules that it had to import itself, as it tells.
    pub imported: Vec<String>,
    /// The instance, where it is fit for another invocation.
    pub instance: Option<Instance>,
}

impl Instance {
    /// Makes a waiting process the function's; it has not loaded its handler yet.
    ///
    /// `tree` is the function's environment, where the process waits in another one.
    pub async fn start(
        sandboxes: &Arc<Sandboxes>,
        spare: Spare,
        function: Arc<Function>,
        tree: Option<&Tree>,
    ) -> Result<Self, StartError> {
        let Spare { mut sandbox, channel, printed, exits, pid } = spare;
        let info = &function.info;
        let mut mounts = Vec::new();
        if info.network == Network::Nat {
            let connecting = sandboxes.clone();
            let connected = tokio::task::spawn_blocking(move || {
                let resolver = connecting.resolv_conf()?;
                connecting.connect(&mut sandbox)?;
                Ok::<_, SandboxError>((sandbox, resolver))
            });
            let connected = connected.await.map_err(|error| StartError::Mount {
                function: info.name.clone(),
                error: io::Error::other(error),
            })?;
            let (connected, resolver) = connected?;
            sandbox = connected;
            mounts.push(resolver);
        }
        let code = mount::take(&function.code, Access::ReadOnly)
            .map(|code| (PathBuf::from(FUNCTION), code));
        let environment = tree.map(Tree::mount).transpose();
        code.and_then(|code| Ok([code].into_iter().chain(environment?)))
            .and_then(|taken| {
                mounts.extend(taken);
                sandbox.furnish(&mounts, info.tmp)
            })
            .map_err(|error| StartError::Mount { function: info.name.clone(), error })?;
        let limits = Limits {
            memory: Some(info.memory),
            pids: Some(zygote::PIDS),
            cpu_millis: info.cpu_millis,
            ..Limits::NONE
        };
        sandbox.group().limit(&limits).map_err(|error| {
            let function = info.name.clone();
            match error.kind() {
                io::ErrorKind::ResourceBusy => StartError::Memory { function },
                _ => StartError::Limit { function, error },
            }
        })?;
        Ok(Self {
            function,
            sandbox,
            channel,
            printed,
            exits,
            pid,
            host_pid: OnceLock::new(),
            is_wider: tree.is_some(),
            invocations: 0,
        })
    }

    /// Runs the handler once, within the function's timeout.
    pub async fn invoke(
        mut self,
        request_id: &str,
        payload: &RawValue,
        recording: Recording,
    ) -> io::Result<Answered> {
        let info = &self.function.info;
        let mut messages = Vec::with_capacity(2);
        if self.invocations == 0 {
            let load = json!({
                "function": info.name,
                "version": info.version,
                "handler": info.handler,
                "memory": info.memory,
                "variables": info.variables,
                "wider": self.is_wider,
            });
            messages.push(channel::compose(&load, b"")?);
        }
        let invocation = json!({ "request_id": request_id, "timeout_ms": info.timeout_ms });
        messages.push(channel::compose(&invocation, payload.get().as_bytes())?);
        self.invocations += 1;
        let mut logs = Logs::recorded(recording);
        let timeout = Duration::from_millis(info.timeout_ms);
        let exchanged = tokio::time::timeout(
            timeout,
            exchange(&mut self.channel, &mut self.printed, &messages, &mut logs),
        )
        .await;
        let mut imported = Vec::new();
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
            Ok(Ok(Some((answer, body)))) => {
                imported = answer.imported;
                match answer.error {
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
                }
            }
        };
        let instance = fit.then_some(self);
        let (logs, recording) = logs.finish();
        Ok(Answered { result, outcome, run_us, logs, recording, imported, instance })
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
        channel::is_open(&self.channel)
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
