//! Messages between the supervisor and the Python runtime: each kind, in each direction. The runtime's side
//! of this is `runtime/pipsqueak_runtime/protocol.py`.
//!
//! A message is a byte for its kind, a header, which is a line of JSON, and a body. The body is an event or
//! an answer as JSON, or bytes of a stream or of printed output. [`crate::channel`] sends and receives
//! messages. The first message to each process has the [`VERSION`].

pub mod kind;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of the protocol. Both sides come with one program, so they always have the same version.
pub const VERSION: u32 = 1;

/// A message that the supervisor sends.
pub trait Outgoing: Serialize {
    /// The kind of the message.
    fn kind(&self) -> u8;
}

/// A message that the supervisor receives.
pub trait Incoming: Sized {
    /// Reads a header of a kind. Errors if this side does not receive that kind.
    fn read(kind: u8, header: &[u8]) -> io::Result<Self>;
}

/// A message to a zygote.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ToZygote<'a> {
    /// Import modules, then wait for orders.
    Import {
        /// [`VERSION`].
        protocol: u32,
        /// The modules, in the order in which they are imported.
        modules: &'a [String],
    },
    /// Fork. The channel, the end to print to and the sandbox's holder are attached to the message.
    Fork {
        /// The order's number, which the answer repeats.
        id: u64,
        /// The child's role: a function's process or a zygote.
        role: &'static str,
        /// True if the sandbox has a network of its own.
        own_network: bool,
        /// True if no request waits for the child yet.
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
    /// All modules are imported.
    Ready(Ready),
    /// An import has failed.
    Failed(Failed),
    /// The zygote cannot fork.
    Unready {
        /// The reason.
        reason: String,
    },
    /// The trial child has done what each child will.
    Tried,
    /// The zygote has forked for an order.
    Forked {
        /// The order's number.
        id: u64,
        /// The child's number in the zygote's pid namespace.
        pid: i32,
    },
    /// There is no child, or none of use.
    Refused {
        /// The order's number.
        id: u64,
        /// The reason.
        reason: String,
    },
}

/// The imports of a zygote.
#[derive(Debug, Deserialize)]
pub struct Ready {
    /// Imported modules.
    pub modules: Vec<Imported>,
    /// Names that the imports have read.
    pub reads: Reads,
    /// Bytes of the files that the imports have left.
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

/// One imported module, as the zygote reports it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Imported {
    /// Name of the module. If hazardous, also `site` for code that ran before any import, and
    /// `snapshot_restore_py` for hooks that ran after all imports.
    pub module: String,
    /// Time of the import, in microseconds, without other requested modules.
    pub us: u64,
    /// Growth of the process's private memory, in bytes; negative if it shrank.
    pub bytes: i64,
    /// State that the import has left and that a fork would break or share.
    pub hazards: Vec<String>,
    /// State that the import has left and that does no harm.
    pub remarks: Vec<String>,
}

/// A module whose import has failed in a zygote.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Failed {
    /// Name of the module.
    pub module: String,
    /// The reason.
    pub reason: String,
    /// Other requested modules whose imports have met the failed import.
    pub importers: Vec<String>,
}

/// The names that imports have asked their surroundings for.
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
    /// Import modules, before being any function's process.
    Standby {
        /// [`VERSION`].
        protocol: u32,
        /// The modules.
        modules: &'a BTreeSet<String>,
    },
    /// Become this function's process, and load its handler once it is invoked.
    Load(Load<'a>),
    /// Run the handler; the body is the event.
    Invoke(Invocation<'a>),
    /// Take part of a stream; the body is part of the client's body.
    Told {
        /// The kind of part.
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
    /// The function's name.
    pub function: &'a str,
    /// The function's version.
    pub version: u64,
    /// The function's entry point, `module.name`.
    pub handler: &'a str,
    /// The function's memory limit, in bytes.
    pub memory: u64,
    /// The function's variables.
    pub variables: &'a BTreeMap<String, String>,
    /// True if the function's environment has more than the zygote has seen from which the process comes.
    pub wider: bool,
    /// Invocations that the process takes at once.
    pub concurrency: u32,
    /// The longest result that the process may answer, in bytes.
    pub longest_result: u64,
}

/// The data of an invocation besides its event.
#[derive(Debug, Serialize)]
pub struct Invocation<'a> {
    /// The request's number.
    pub request_id: &'a str,
    /// Time limit, in milliseconds.
    pub timeout_ms: u64,
    /// True if parts of the result are wanted, and the client may send parts of a body.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub streamed: bool,
}

/// The kinds of parts of a stream to a function.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// The supervisor took one more part of the function's.
    Taken,
    /// The body is part of the client's body, or marks its end.
    Body,
    /// The client has gone.
    Gone,
}

/// A message from a function's process.
#[derive(Debug)]
pub enum FromFunction {
    /// The answer to an invocation; the body is the result.
    Answer(Answer),
    /// The body is output of an invocation.
    Printed {
        /// The invocation.
        request_id: String,
    },
    /// Part of a stream; the body is part of the result.
    Said {
        /// The kind of part.
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
    /// The invocation that is answered. `None` if the handler's load failed while several are served.
    pub request_id: Option<String>,
    /// Time in the handler, in microseconds, as the function claims.
    #[serde(default)]
    pub run_us: f64,
    /// True if the process may have left other processes, which print to the same pipe.
    #[serde(default)]
    pub others: bool,
    /// The failure, if it failed.
    pub error: Option<Failure>,
    /// The reason for which its version is to have interpreters of its own from now on, if any: its handler
    /// has changed state ahead of an import.
    pub unlike: Option<String>,
    /// Modules of distributions that the process has imported since it was started or forked, without those
    /// in earlier answers. This is the function's claim: any name may be among them.
    #[serde(default)]
    pub imported: Vec<String>,
}

/// A failure, as the runtime reports it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Class of the exception, or `Runtime.…`.
    pub error_type: String,
    /// Message of the exception.
    pub error_message: String,
    /// Lines of the traceback.
    pub stack_trace: Vec<String>,
    /// Time in the handler, in microseconds, as the function claims.
    #[serde(default, rename = "run_us")]
    pub run_us: f64,
    /// True if the process can serve another invocation.
    #[serde(default)]
    pub fit: bool,
    /// True if the handler was not loaded, so that no event was handled.
    #[serde(default)]
    pub loading: bool,
    /// True if the load failed because the function's own code has changed state, ahead of an import, that
    /// the zygote's import of the same module has read.
    #[serde(default)]
    pub order: bool,
}

/// The kinds of parts of a stream from a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    /// The body is the head that precedes the result, as JSON.
    Head,
    /// The body is part of the result.
    Result,
    /// The function waits for part of the client's body.
    More,
}

/// The report of a standby after its imports.
#[derive(Debug, Deserialize)]
pub struct Prepared {
    /// Names that the imports have read.
    pub reads: Reads,
    /// The first failed import, with the reason.
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
        let mut ours = numbers(include_str!("protocol.rs"));
        ours.extend(numbers(include_str!("protocol/kind.rs")));
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
