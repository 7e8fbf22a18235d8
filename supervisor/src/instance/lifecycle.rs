//! A function's process in its sandbox: born, asked, paused, resumed, ended.

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
use super::ended::Ended;
use super::exchange::{Imported, Logs, exchange};
use super::parts::{PART_BYTES, Parts, Streams};
use super::printed::Printed;
use super::shared::Shared;
use crate::channel;
use crate::deployment::Function;
use crate::environment::Tree;
use crate::logs::Recording;
use crate::machine::cgroups::Limits;
use crate::protocol::{Answer, Invocation, Load, ToFunction, VERSION};
use crate::sandbox::{End, Exit, Sandbox};
use crate::stream::Stream;
use crate::sync::{Mutex, lock};
use crate::worker::{PIDS, StartError, Worker};

/// How long the report of a process's end is waited for.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);

/// How much of an answer is read at once, in bytes: all of most.
const BUFFER_BYTES: usize = 4 << 10;

/// How much a socket takes, in bytes, that nobody reads from: less than the smallest buffer.
const UNREAD_BYTES: usize = 32 << 10;

/// An answer within the timeout: `None` where the process closed the channel instead.
type Exchanged = Result<io::Result<Option<(Answer, Vec<u8>)>>, tokio::time::error::Elapsed>;

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
    /// Modules that it has told to have imported itself, and that nobody has taken yet.
    imported: Mutex<Imported>,
    /// Whether it can serve another invocation.
    is_fit: AtomicBool,
    /// Whether its processes are stopped.
    is_frozen: AtomicBool,
    /// Processes of it that were killed for want of memory before it was last frozen.
    oom_kills: AtomicU64,
}

/// What its process comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An interpreter that was started for it.
    Interpreter,
    /// An interpreter that has waited with its packages imported.
    Standby,
    /// A zygote.
    Zygote {
        /// Whether its environment has more than the zygote has seen.
        is_wider: bool,
    },
}

/// How its process is talked to.
#[derive(Debug)]
enum Wire {
    /// One invocation at a time, by whoever has it: no task beside the one that waits.
    Alone(Box<tokio::sync::Mutex<(BufReader<Stream>, Printed)>>),
    /// Several at once.
    Shared(Shared),
}

/// An instance that nobody asks anything of, frozen or about to be, and its environment.
#[derive(Debug)]
pub struct Paused {
    instance: Arc<Instance>,
    tree: Arc<Tree>,
}

impl Instance {
    /// Makes a waiting process the function's, whose sandbox is furnished for it; it has not loaded its
    /// handler yet.
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

    /// Runs the handler once, within the function's timeout. Where it is streamed, the result that
    /// comes back is null. Where the handler cannot be loaded, `streams` are as they were.
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
        // The function tells how much of this was its handler, and may tell anything.
        let took = began.elapsed();
        let ended = match exchanged {
            Err(_) => {
                let limit = info.timeout_ms;
                let message = format!("no answer within the timeout of {limit} ms");
                let error = told("Runtime.Timeout", message);
                Ended { run_us: limit * 1000, ..Ended::failed(error, Outcome::Refused) }
            }
            Ok(Err(error)) if channel::is_unread(&error) => {
                let (error, outcome) = self.ended().await;
                // Nobody may be asked again what a stream has brought.
                let is_asked_again = !streamed && outcome != Outcome::Refused;
                let reached = if is_asked_again { self.unread() } else { Reached::Handler };
                Ended { reached, ..Ended::failed(error, outcome) }
            }
            Ok(Err(error)) => {
                let message = format!("the function's process broke its channel: {error}");
                Ended::failed(told("Runtime.ProtocolError", message), Outcome::Failed)
            }
            Ok(Ok(None)) => {
                let (error, outcome) = self.ended().await;
                Ended::failed(error, outcome)
            }
            Ok(Ok(Some((mut answer, body)))) => {
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

    /// How far an invocation came that its process, which has ended, has not read.
    fn unread(&self) -> Reached {
        // What is killed would not have ended by itself.
        let was_killed = self.exit.get().copied().flatten().is_none_or(Exit::is_kill);
        // Of several, all that are told so were asked ahead of the load's end.
        let is_new = self.invocations() == 1 || matches!(self.wire, Wire::Shared(_));
        if is_new && !was_killed { Reached::Load } else { Reached::Nobody }
    }

    /// Sends an invocation, and ahead of the first of all what to load; its answer, if that comes within
    /// the timeout, and what it has printed.
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
                    // Woken by its event and not twice, where that needs nobody who reads it meanwhile.
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
                (exchanged.await, logs)
            }
            Wire::Shared(shared) => {
                let mut call = shared.call(request_id, logs, parts.is_some());
                let exchange = call.exchange(|| self.load(), message, parts);
                let exchanged = tokio::time::timeout(timeout, exchange).await;
                match exchanged {
                    Ok(Ok(Some((answer, body, logs)))) => (Ok(Ok(Some((answer, body)))), logs),
                    Ok(Ok(None)) => (Ok(Ok(None)), call.logs()),
                    Ok(Err(error)) => (Ok(Err(error)), call.logs()),
                    Err(late) => (Err(late), call.logs()),
                }
            }
        }
    }

    /// What tells its process which function it is.
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

    /// Lays it aside, to be frozen.
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

    /// Modules that it had to import itself, as it tells: what nobody has taken yet.
    pub fn take_imported(&self) -> Vec<String> {
        let mut imported = lock(&self.imported);
        let mut imported = imported.take();
        if let Wire::Shared(shared) = &self.wire {
            imported.extend(shared.take_imported());
        }
        imported
    }

    /// Whether it can serve another invocation: not after a timeout, or what else cannot be got over.
    pub fn is_fit(&self) -> bool {
        self.is_fit.load(Ordering::Relaxed)
    }

    /// Whether its process still holds the channel: it may have been killed while it was frozen.
    pub fn is_alive(&self) -> bool {
        match &self.wire {
            // Who talks to it will see.
            Wire::Alone(wire) => {
                wire.try_lock().map_or(true, |wire| channel::is_open(wire.0.get_ref()))
            }
            Wire::Shared(shared) => shared.is_open(),
        }
    }

    /// The function it belongs to.
    pub fn function(&self) -> &Arc<Function> {
        &self.function
    }

    /// Lets it have its part of the processors of what its function has, where that is shared among so
    /// many sandboxes.
    pub fn share_processors(&self, sharers: u32) -> io::Result<()> {
        self.sandbox.group().weigh(sharers)
    }

    /// Its sandbox.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Its process's number on the host, where that is known: of a fork not before its first pause.
    pub fn host_pid(&self) -> Option<u32> {
        self.host_pid.get().copied().flatten()
    }

    /// What its process comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// How many invocations it has served.
    pub fn invocations(&self) -> u64 {
        self.invocations.load(Ordering::Relaxed)
    }

    /// Why its process ended without an answer.
    async fn ended(&self) -> (FunctionError, Outcome) {
        // Told once, and asked for by all whom it was to answer.
        let exit = *self.exit.get_or_init(|| self.end.heard(EXIT_PATIENCE)).await;
        // A child that was killed for want of memory is the handler's to cope with, and those of earlier
        // calls are nobody's.
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
    /// Stops its processes. Called when the answer is on its way, never before.
    pub fn freeze(&mut self) -> io::Result<()> {
        // Found out here because nobody waits for it here.
        self.instance.host_pid.get_or_init(|| self.instance.sandbox.process());
        let group = self.instance.sandbox.group();
        group.freeze()?;
        self.instance.oom_kills.store(group.oom_kills(), Ordering::Relaxed);
        self.instance.is_frozen.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Lets it go on, at the latest when it is invoked.
    pub fn resume(self) -> io::Result<(Arc<Instance>, Arc<Tree>)> {
        if let Wire::Shared(_) = self.instance.wire {
            self.instance.thaw()?;
        }
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

fn longest_answer(function: &Function) -> u64 {
    function.info.payload_out.unwrap_or(DEFAULT_PAYLOAD).max(PART_BYTES) + channel::HEADER_BYTES
}
