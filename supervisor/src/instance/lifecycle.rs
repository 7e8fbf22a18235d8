//! A function's process in its sandbox: begin, invocations, pause, resume, end.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use pipsqueak::wire::{DEFAULT_PAYLOAD, FunctionError, Outcome};
use serde_json::value::RawValue;
use tokio::io::BufReader;
use tokio::net::unix::pipe;

use super::answered::{Answered, Reached, told};
use super::ended::{Ended, Exchanged};
use super::exchange::{Imported, Logs, exchange};
use super::parts::{PART_BYTES, Parts, Streams};
use super::printed::Printed;
use super::shared::Shared;
use crate::channel;
use crate::deployment::Function;
use crate::environment::Tree;
use crate::logs::Recording;
use crate::machine::cgroups::Limits;
use crate::protocol::{Invocation, Load, ToFunction, VERSION};
use crate::sandbox::{End, Exit, Sandbox};
use crate::stream::Stream;
use crate::sync::{Mutex, lock};
use crate::worker::{PIDS, StartError, Worker};

/// Longest wait for the report of a process's end.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of an answer that are read at once: the whole of most answers.
const BUFFER_BYTES: usize = 4 << 10;

/// Bytes that a socket takes although nobody reads them: less than the smallest socket buffer.
const UNREAD_BYTES: usize = 32 << 10;

/// An instance that runs.
#[derive(Debug)]
pub struct Instance {
    function: Arc<Function>,
    sandbox: Sandbox,
    wire: Wire,
    end: End,
    exit: tokio::sync::OnceCell<Option<Exit>>,
    host_pid: OnceLock<Option<u32>>,
    origin: Origin,
    invocations: AtomicU64,
    /// Modules that the instance imported itself, as it told, and that were not taken yet.
    imported: Mutex<Imported>,
    /// True if the instance can serve another invocation.
    is_fit: AtomicBool,
    /// True if the instance's processes are frozen.
    is_frozen: AtomicBool,
    /// Processes of the sandbox that were killed for want of memory before the last freeze.
    oom_kills: AtomicU64,
}

/// Origin of an instance's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An interpreter that was started for the function.
    Interpreter,
    /// An interpreter that has waited with the function's packages imported.
    Standby,
    /// A zygote.
    Zygote {
        /// True if the environment has more than the zygote has seen.
        is_wider: bool,
    },
}

/// Connection to an instance's process.
#[derive(Debug)]
enum Wire {
    /// One invocation at a time, for the holder of the lock. No task is needed besides the waiting one.
    Alone(Box<tokio::sync::Mutex<(BufReader<Stream>, Printed)>>),
    /// Several invocations at once.
    Shared(Shared),
}

/// An instance without invocations, frozen or about to be, and its environment.
#[derive(Debug)]
pub struct Paused {
    instance: Arc<Instance>,
    tree: Arc<Tree>,
}

impl Instance {
    /// Gives a waiting process to the function, for which its sandbox is furnished. The process has not
    /// loaded the handler yet.
    pub fn new(
        worker: Worker,
        function: Arc<Function>,
        origin: Origin,
    ) -> Result<Self, StartError> {
        let Worker { sandbox, channel, printed, end } = worker;
        let info = &function.info;
        let limits = Limits {
            memory: Some(info.memory),
            pids: Some(PIDS),
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
        let wire = if info.concurrency > 1 {
            let shared = Shared::new(channel, printed, longest_answer(&function));
            Wire::Shared(
                shared
                    .map_err(|error| StartError::Channel { function: info.name.clone(), error })?,
            )
        } else {
            let channel = BufReader::with_capacity(BUFFER_BYTES, channel);
            let alone = tokio::sync::Mutex::new((channel, Printed::new(printed)));
            Wire::Alone(Box::new(alone))
        };
        Ok(Self {
            function,
            sandbox,
            wire,
            end,
            exit: tokio::sync::OnceCell::new(),
            host_pid: OnceLock::new(),
            origin,
            invocations: AtomicU64::new(0),
            imported: Mutex::default(),
            is_fit: AtomicBool::new(true),
            is_frozen: AtomicBool::new(false),
            oom_kills: AtomicU64::new(0),
        })
    }

    /// Runs the handler once, within the function's timeout. If the call is streamed, its result here
    /// is null. If the handler cannot be loaded, `streams` are untouched.
    pub async fn invoke(
        &self,
        request_id: &str,
        payload: &RawValue,
        recording: Recording,
        streams: Option<&mut Streams>,
    ) -> io::Result<Answered> {
        let info = &self.function.info;
        let (timeout_ms, streamed) = (info.timeout_ms, streams.is_some());
        let invocation = ToFunction::Invoke(Invocation { request_id, timeout_ms, streamed });
        let message = channel::compose(&invocation, payload.get().as_bytes())?;
        let logs = Logs::recorded(recording);
        let began = Instant::now();
        let (exchanged, logs) = self.exchange(request_id, message, streams, logs).await;
        // The function tells how much of this time its handler took, and may tell anything.
        let took = began.elapsed();
        let ended = match exchanged {
            Exchanged::Late => {
                let limit = info.timeout_ms;
                let message = format!("no answer within the timeout of {limit} ms");
                let error = told("Runtime.Timeout", message);
                Ended { run_us: limit * 1000, ..Ended::failed(error, Outcome::Refused) }
            }
            Exchanged::Broken(error) if channel::is_unread(&error) => {
                let (error, outcome) = self.ended().await;
                // Nobody may be asked again what a stream has brought.
                let is_asked_again = !streamed && outcome != Outcome::Refused;
                let reached = if is_asked_again { self.unread() } else { Reached::Handler };
                Ended { reached, ..Ended::failed(error, outcome) }
            }
            Exchanged::Broken(error) => {
                let message = format!("the function's process broke its channel: {error}");
                Ended::failed(told("Runtime.ProtocolError", message), Outcome::Failed)
            }
            Exchanged::Closed => {
                let (error, outcome) = self.ended().await;
                Ended::failed(error, outcome)
            }
            Exchanged::Answered(mut answer, body) => {
                lock(&self.imported).note(std::mem::take(&mut answer.imported));
                Ended::answered(answer, &body, took)
            }
        };
        if !ended.fit || ended.unlike.is_some() {
            self.is_fit.store(false, Ordering::Relaxed);
        }
        let (logs, recording) = logs.finish();
        let Ended { result, outcome, run_us, reached, unlike, .. } = ended;
        Ok(Answered { result, outcome, run_us, logs, recording, reached, unlike })
    }

    /// Stage of an invocation that its process, which has ended, has not read.
    fn unread(&self) -> Reached {
        // A killed process would not have ended by itself, so its load has not failed.
        let was_killed = self.exit.get().copied().flatten().is_none_or(Exit::is_kill);
        // Several calls may wait for the load; each that was not read came before the load's end.
        let is_new = self.invocations() == 1 || matches!(self.wire, Wire::Shared(_));
        if is_new && !was_killed { Reached::Load } else { Reached::Nobody }
    }

    /// Sends an invocation; before the first one also the load message. Returns the answer, if it
    /// arrives within the timeout, and the output.
    async fn exchange(
        &self,
        request_id: &str,
        message: Vec<u8>,
        streams: Option<&mut Streams>,
        mut logs: Logs,
    ) -> (Exchanged, Logs) {
        let timeout = Duration::from_millis(self.function.info.timeout_ms);
        let is_first = self.invocations.fetch_add(1, Ordering::Relaxed) == 0;
        let parts = streams.map(|streams| Parts::new(request_id, streams));
        match &self.wire {
            Wire::Alone(wire) => {
                let mut wire = wire.lock().await;
                let (channel, printed) = &mut *wire;
                let longest = longest_answer(&self.function);
                let exchanged = tokio::time::timeout(timeout, async {
                    if channel.get_mut().attach()? {
                        let same = printed.pipe().as_fd().try_clone_to_owned()?;
                        *printed.pipe() = pipe::Receiver::from_owned_fd(same)?;
                    }
                    let load = is_first.then(|| self.load()).transpose()?;
                    if load.is_none() {
                        printed.begin(channel.get_ref().as_fd(), &logs)?;
                    }
                    let messages: Vec<_> = load.into_iter().chain([message]).collect();
                    // Messages that fit into the socket are sent before the thaw, so that the process
                    // wakes once.
                    if messages.iter().map(Vec::len).sum::<usize>() > UNREAD_BYTES {
                        self.thaw()?;
                    }
                    let sent = || self.thaw();
                    let pipe = printed.pipe();
                    let messages = (messages.as_slice(), sent);
                    let answered =
                        exchange(channel, pipe, messages, longest, parts, &mut logs).await?;
                    let Some((answer, body)) = answered else { return Ok(None) };
                    if answer.request_id.as_deref() != Some(request_id) {
                        return Err(io::Error::other("an answer to what was not asked"));
                    }
                    printed.note(answer.others);
                    Ok(Some((answer, body)))
                });
                let exchanged = match exchanged.await {
                    Ok(Ok(Some((answer, body)))) => Exchanged::Answered(answer, body),
                    Ok(Ok(None)) => Exchanged::Closed,
                    Ok(Err(error)) => Exchanged::Broken(error),
                    Err(_) => Exchanged::Late,
                };
                (exchanged, logs)
            }
            Wire::Shared(shared) => {
                let mut call = shared.call(request_id, logs, parts.is_some());
                let exchange = call.exchange(|| self.load(), message, parts);
                let exchanged = tokio::time::timeout(timeout, exchange).await;
                match exchanged {
                    Ok(Ok(Some((answer, body, logs)))) => (Exchanged::Answered(answer, body), logs),
                    Ok(Ok(None)) => (Exchanged::Closed, call.logs()),
                    Ok(Err(error)) => (Exchanged::Broken(error), call.logs()),
                    Err(_) => (Exchanged::Late, call.logs()),
                }
            }
        }
    }

    /// Message that tells the process its function.
    fn load(&self) -> io::Result<Vec<u8>> {
        let info = &self.function.info;
        let load = Load {
            protocol: VERSION,
            function: &info.name,
            version: info.version,
            handler: &info.handler,
            memory: info.memory,
            variables: self.function.variables.all(),
            wider: self.origin == Origin::Zygote { is_wider: true },
            concurrency: info.concurrency,
            longest_result: info.payload_out.unwrap_or(DEFAULT_PAYLOAD),
        };
        channel::compose(&ToFunction::Load(load), b"")
    }

    /// Sets the instance aside, to be frozen.
    pub fn pause(self: Arc<Self>, tree: Arc<Tree>) -> Paused {
        Paused { instance: self, tree }
    }

    fn thaw(&self) -> io::Result<()> {
        if self.is_frozen.swap(false, Ordering::SeqCst) {
            self.sandbox.group().thaw()
        } else {
            Ok(())
        }
    }

    /// Takes the modules that the instance had to import itself, as far as they were not taken yet.
    pub fn take_imported(&self) -> Vec<String> {
        let mut imported = lock(&self.imported);
        let mut imported = imported.take();
        if let Wire::Shared(shared) = &self.wire {
            imported.extend(shared.take_imported());
        }
        imported
    }

    /// True if the instance can serve another invocation; false after a timeout or another failure that
    /// the process cannot recover from.
    pub fn is_fit(&self) -> bool {
        self.is_fit.load(Ordering::Relaxed)
    }

    /// True if the process still holds the channel. It may have been killed while it was frozen.
    pub fn is_alive(&self) -> bool {
        match &self.wire {
            // A locked channel is in use, and its user will notice the end.
            Wire::Alone(wire) => {
                wire.try_lock().map_or(true, |wire| channel::is_open(wire.0.get_ref()))
            }
            Wire::Shared(shared) => shared.is_open(),
        }
    }

    /// The function of the instance.
    pub fn function(&self) -> &Arc<Function> {
        &self.function
    }

    /// Sets the weight of the sandbox: its share of the function's processors among `sharers` sandboxes.
    pub fn share_processors(&self, sharers: u32) -> io::Result<()> {
        self.sandbox.group().weigh(sharers)
    }

    /// The sandbox of the instance.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The process's number on the host, if it is known; for a forked process only after the first pause.
    pub fn host_pid(&self) -> Option<u32> {
        self.host_pid.get().copied().flatten()
    }

    /// Origin of the instance's process.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Number of invocations that the instance was sent.
    pub fn invocations(&self) -> u64 {
        self.invocations.load(Ordering::Relaxed)
    }

    /// Reason that the process ended without an answer.
    async fn ended(&self) -> (FunctionError, Outcome) {
        // The exit is reported once, and every call that waited needs it.
        let exit = *self.exit.get_or_init(|| self.end.heard(EXIT_PATIENCE)).await;
        // If only a child was killed for want of memory, the handler deals with it. Kills before the
        // last freeze belong to earlier calls.
        let was_killed = exit.is_none_or(Exit::is_kill);
        let earlier = self.oom_kills.load(Ordering::Relaxed);
        if was_killed && self.sandbox.group().oom_kills() > earlier {
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
    /// Freezes the processes. The caller must have sent the answer before.
    pub fn freeze(&mut self) -> io::Result<()> {
        // Found out here, where no client waits.
        self.instance.host_pid.get_or_init(|| self.instance.sandbox.process());
        let group = self.instance.sandbox.group();
        group.freeze()?;
        self.instance.oom_kills.store(group.oom_kills(), Ordering::Relaxed);
        self.instance.is_frozen.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Lets the processes go on: at once if they serve several invocations, otherwise when they are invoked.
    pub fn resume(self) -> io::Result<(Arc<Instance>, Arc<Tree>)> {
        if let Wire::Shared(_) = self.instance.wire {
            self.instance.thaw()?;
        }
        Ok((self.instance, self.tree))
    }

    /// The environment of the instance.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The instance, for inspection.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }
}

fn longest_answer(function: &Function) -> u64 {
    function.info.payload_out.unwrap_or(DEFAULT_PAYLOAD).max(PART_BYTES) + channel::HEADER_BYTES
}
