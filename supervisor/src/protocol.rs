//! Messages between the supervisor and the Python runtime: each kind, in each direction. The runtime's
//! side of this is `runtime/pipsqueak_runtime/protocol.py`.
//!
//! A message is a byte that tells its kind, a header, which is a line of JSON, and a body. The body is
//! an event or an answer as JSON, or bytes of a stream or of what was printed. [`crate::channel`] sends
//! and receives them. Each process is told [`VERSION`] by the first message that it gets.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of the protocol. Both sides come with one program, so that there is no other to speak to.
pub const VERSION: u32 = 1;

/// The kinds of messages, by the byte that each begins with.
pub mod kind {
    /// To a zygote: import.
    pub const IMPORT: u8 = 1;
    /// To a zygote: fork.
    pub const FORK: u8 = 2;
    /// From a zygote: all is imported.
    pub const READY: u8 = 17;
    /// From a zygote: an import has failed.
    pub const FAILED: u8 = 18;
    /// From a zygote: it cannot fork.
    pub const UNREADY: u8 = 19;
    /// From a zygote: a child has done what each will.
    pub const TRIED: u8 = 20;
    /// From a zygote: it has forked.
    pub const FORKED: u8 = 21;
    /// From a zygote or its child: there is no child.
    pub const REFUSED: u8 = 22;
    /// To a function's process: import ahead.
    pub const STANDBY: u8 = 33;
    /// To a function's process: load the handler.
    pub const LOAD: u8 = 34;
    /// To a function's process: an invocation; the body is the event.
    pub const INVOKE: u8 = 35;
    /// To a function's process: something of a stream; the body is some of a client's body.
    pub const TOLD: u8 = 36;
    /// To a function's process: another pipe to print to, which comes along.
    pub const OUTPUT: u8 = 37;
    /// From a function's process: the answer to an invocation; the body is the result.
    pub const ANSWER: u8 = 49;
    /// From a function's process: the body is what an invocation has printed.
    pub const PRINTED: u8 = 50;
    /// From a function's process: something of a stream; the body is some of the result.
    pub const SAID: u8 = 51;
    /// From a function's process: what was to be imported ahead is there, or is not.
    pub const PREPARED: u8 = 52;
}

/// A message that the supervisor sends.
pub trait Outgoing: Serialize {
    /// Its kind.
    fn kind(&self) -> u8;
}

/// A message that the supervisor receives.
pub trait Incoming: Sized {
    /// Reads a header of a kind. Errors where it is none that this side takes.
    fn read(kind: u8, header: &[u8]) -> io::Result<Self>;
}

/// A message to a zygote.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ToZygote<'a> {
    /// Import modules, and wait for orders.
    Import {
        /// [`VERSION`].
        protocol: u32,
        /// The modules, in the order in which they are imported.
        modules: &'a [String],
    },
    /// Fork. The channel, the end to print to and the holder of the sandbox come along.
    Fork {
        /// The order's number, which comes back with the answer.
        id: u64,
        /// What the child is: a function's process or a zygote.
        role: &'static str,
        /// True if the sandbox has a network of its own.
        own_network: bool,
        /// True if nobody waits for the child yet.
        waits: bool,
    },
}

impl Outgoing for ToZygote<'_> {
    fn kind(&self) -> u8 {
        match self {
            Self::Import { .. } => kind::IMPORT,
            Self::Fork { .. } => kind::FORK,
        }
    }
}

/// A message from a zygote.
#[derive(Debug)]
pub enum FromZygote {
    /// It has imported.
    Ready(Ready),
    /// An import has failed.
    Failed(Failed),
    /// It cannot fork.
    Unready {
        /// Why.
        reason: String,
    },
    /// A child has done what each will.
    Tried,
    /// It has forked, as an order says.
    Forked {
        /// The order's number.
        id: u64,
        /// The child's, in the zygote's pid namespace.
        pid: i32,
    },
    /// There is no child, or none of use.
    Refused {
        /// The order's number.
        id: u64,
        /// Why.
        reason: String,
    },
}

/// What a zygote has imported.
#[derive(Debug, Deserialize)]
pub struct Ready {
    /// Each module.
    pub modules: Vec<Imported>,
    /// What their imports have read.
    pub reads: Reads,
    /// Room that the files take which they have left, in bytes.
    pub tmp_bytes: u64,
}

impl Incoming for FromZygote {
    fn read(kind: u8, header: &[u8]) -> io::Result<Self> {
        #[derive(Deserialize)]
        struct Unready {
            reason: String,
        }
        #[derive(Deserialize)]
        struct Forked {
            id: u64,
            pid: i32,
        }
        #[derive(Deserialize)]
        struct Refused {
            id: u64,
            reason: String,
        }
        Ok(match kind {
            kind::READY => Self::Ready(json(header)?),
            kind::FAILED => Self::Failed(json(header)?),
            kind::UNREADY => {
                let Unready { reason } = json(header)?;
                Self::Unready { reason }
            }
            kind::TRIED => Self::Tried,
            kind::FORKED => {
                let Forked { id, pid } = json(header)?;
                Self::Forked { id, pid }
            }
            kind::REFUSED => {
                let Refused { id, reason } = json(header)?;
                Self::Refused { id, reason }
            }
            other => return Err(unknown(other)),
        })
    }
}

/// One module, as the zygote that has imported it tells.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Imported {
    /// Its name. Where they were hazardous, also `site` for what ran before any import, and
    /// `snapshot_restore_py` for hooks that ran after all of them.
    pub module: String,
    /// Time that the import took, in microseconds, without other modules that were asked for.
    pub us: u64,
    /// Growth of the process's private memory, in bytes; less than 0 where it shrank.
    pub bytes: i64,
    /// What it has left that a fork would break or share.
    pub hazards: Vec<String>,
    /// What it has left that does no harm.
    pub remarks: Vec<String>,
}

/// A module whose import has failed in a zygote.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Failed {
    /// Its name.
    pub module: String,
    /// Why.
    pub reason: String,
    /// Others that were to be imported and whose imports have met that.
    pub importers: Vec<String>,
}

/// The names of what imports have asked of their surroundings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Reads {
    /// Variables that were read or set.
    pub variables: BTreeSet<String>,
    /// Modules that were looked for and not found.
    pub modules: BTreeSet<String>,
    /// Distributions that were looked for and not found.
    pub distributions: BTreeSet<String>,
}

/// A message to a function's process.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ToFunction<'a> {
    /// Import modules, ahead of being any function's.
    Standby {
        /// [`VERSION`].
        protocol: u32,
        /// The modules.
        modules: &'a BTreeSet<String>,
    },
    /// Be this function's, and load its handler once it is invoked.
    Load(Load<'a>),
    /// Run the handler; the body is the event.
    Invoke(Invocation<'a>),
    /// Hear of a stream; the body is some of the client's.
    Told {
        /// What is told.
        part: Told,
        /// The invocation.
        request_id: &'a str,
    },
    /// Print to another pipe from now on.
    Output,
}

impl Outgoing for ToFunction<'_> {
    fn kind(&self) -> u8 {
        match self {
            Self::Standby { .. } => kind::STANDBY,
            Self::Load(_) => kind::LOAD,
            Self::Invoke(_) => kind::INVOKE,
            Self::Told { .. } => kind::TOLD,
            Self::Output => kind::OUTPUT,
        }
    }
}

/// The function that a process is to be.
#[derive(Debug, Serialize)]
pub struct Load<'a> {
    /// [`VERSION`].
    pub protocol: u32,
    /// Its name.
    pub function: &'a str,
    /// Its version.
    pub version: u64,
    /// Its entry point, `module.name`.
    pub handler: &'a str,
    /// Its limit of memory, in bytes.
    pub memory: u64,
    /// Its variables.
    pub variables: &'a BTreeMap<String, String>,
    /// True if its environment has more than the zygote has seen that the process comes from.
    pub wider: bool,
    /// Invocations that it takes at once.
    pub concurrency: u32,
    /// The longest result that it may answer, in bytes.
    pub longest_result: u64,
}

/// What a process is told of an invocation besides its event.
#[derive(Debug, Serialize)]
pub struct Invocation<'a> {
    /// The request's number.
    pub request_id: &'a str,
    /// Time that it may take, in milliseconds.
    pub timeout_ms: u64,
    /// True if parts of the result are asked for, and there may be some of a body.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub streamed: bool,
}

/// What a function is told of a stream.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// One more of its parts was taken.
    Taken,
    /// These are some of the body, or there is no more of it.
    Body,
    /// The client has gone.
    Gone,
}

/// A message from a function's process.
#[derive(Debug)]
pub enum FromFunction {
    /// The answer to an invocation; the body is the result.
    Answer(Answer),
    /// The body is what an invocation has printed.
    Printed {
        /// The invocation.
        request_id: String,
    },
    /// Something of a stream; the body is some of the result.
    Said {
        /// What it is.
        part: Said,
        /// The invocation.
        request_id: String,
    },
}

impl Incoming for FromFunction {
    fn read(kind: u8, header: &[u8]) -> io::Result<Self> {
        #[derive(Deserialize)]
        struct Printed {
            request_id: String,
        }
        #[derive(Deserialize)]
        struct OfStream {
            part: Said,
            request_id: String,
        }
        Ok(match kind {
            kind::ANSWER => Self::Answer(json(header)?),
            kind::PRINTED => {
                let Printed { request_id } = json(header)?;
                Self::Printed { request_id }
            }
            kind::SAID => {
                let OfStream { part, request_id } = json(header)?;
                Self::Said { part, request_id }
            }
            other => return Err(unknown(other)),
        })
    }
}

/// The header of a function's answer.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Answer {
    /// The invocation that it answers. None has a handler's load that failed where several are served.
    pub request_id: Option<String>,
    /// Time in the handler, in microseconds: the function's word for it.
    #[serde(default)]
    pub run_us: f64,
    /// True if the process may have left others, which print where it does.
    #[serde(default)]
    pub others: bool,
    /// The failure, if it failed.
    pub error: Option<Failure>,
    /// The reason for which its version is to have interpreters of its own from now on, if so: its
    /// handler has changed something ahead of an import.
    pub unlike: Option<String>,
    /// Modules of distributions that it has imported since it was started or forked, and that no
    /// earlier answer has named. The function's word for it: any name may be among them.
    #[serde(default)]
    pub imported: Vec<String>,
}

/// A failure as the runtime tells it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The exception's class, or `Runtime.…`.
    pub error_type: String,
    /// Its message.
    pub error_message: String,
    /// The traceback's lines.
    pub stack_trace: Vec<String>,
    /// Time in the handler, in microseconds: the function's word for it.
    #[serde(default, rename = "run_us")]
    pub run_us: f64,
    /// True if the process can serve another invocation.
    #[serde(default)]
    pub fit: bool,
    /// True if the handler was not loaded, so that nothing has run.
    #[serde(default)]
    pub loading: bool,
    /// True if that is because the function's own code has changed, ahead of an import, what the zygote's
    /// import of the same has read.
    #[serde(default)]
    pub order: bool,
}

/// What a function says of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    /// The body precedes the result, as JSON.
    Head,
    /// The body is some of the result.
    Result,
    /// It waits for some of the client's body.
    More,
}

/// What a standby tells when it has imported.
#[derive(Debug, Deserialize)]
pub struct Prepared {
    /// What its imports have read.
    pub reads: Reads,
    /// The first import that has failed, and why.
    pub failed: Option<String>,
}

impl Incoming for Prepared {
    fn read(kind: u8, header: &[u8]) -> io::Result<Self> {
        if kind == kind::PREPARED { json(header) } else { Err(unknown(kind)) }
    }
}

fn json<T: DeserializeOwned>(header: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(header)?)
}

fn unknown(kind: u8) -> io::Error {
    let what = format!("a message of kind {kind}, which does not belong here");
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that a source defines in lines such as `NAME = 1` or `pub const NAME: u8 = 1;`.
    fn numbers(source: &str) -> BTreeMap<&str, u32> {
        let lines = source.lines().filter_map(|line| line.split_once(" = "));
        let named = lines.filter_map(|(name, value)| {
            let name = name.trim().trim_start_matches("pub const ").split(':').next()?;
            let is_name = name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            Some((name, value.trim_end_matches(';').parse().ok()?)).filter(|_| is_name)
        });
        named.collect()
    }

    #[test]
    fn both_sides_have_the_same_kinds_and_version() {
        let python = include_str!("../runtime/pipsqueak_runtime/protocol.py");
        let ours = numbers(include_str!("protocol.rs"));
        assert!(ours.len() > 15, "{ours:?}");
        assert_eq!(numbers(python), ours);
    }

    #[test]
    fn what_does_not_belong_is_refused() {
        for kind in [kind::IMPORT, kind::READY, kind::TOLD, kind::PREPARED, 0, 255] {
            assert!(FromFunction::read(kind, b"{}").is_err(), "{kind}");
        }
        for kind in [kind::IMPORT, kind::ANSWER, kind::LOAD, 0, 255] {
            assert!(FromZygote::read(kind, b"{}").is_err(), "{kind}");
        }
        assert!(matches!(FromZygote::read(kind::TRIED, b""), Ok(FromZygote::Tried)));
        assert!(FromFunction::read(kind::PRINTED, b"{}").is_err());
        assert!(FromFunction::read(kind::ANSWER, b"{}").is_ok());
    }
}
