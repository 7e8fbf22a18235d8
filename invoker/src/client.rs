//! A blocking client of the supervisor: no runtime, and no thread but for a body that is streamed.

use std::io::{self, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::wire::{
    Fault, FrameError, FrameKind, HEADER_BYTES, Header, LogRecord, LogsRequest, MAX_PART_BYTES,
    Progress, Refusal, Reply, Request, encode, encode_bytes,
};

/// Path of the supervisor's socket in the folder of its instance.
pub fn socket_path(run: &Path) -> PathBuf {
    run.join("supervisor.sock")
}

/// Failure of a request.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket is absent, or no process listens on it.
    #[error(
        "no supervisor answers on {}; `pipsqueak up` starts one, and --run or PIPSQUEAK_RUN \
         names the folder of another",
        socket.display()
    )]
    NoSupervisor {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket may not be opened by this user.
    #[error("this user may not talk to the supervisor on {}; try as root", socket.display())]
    Denied {
        /// The socket.
        socket: PathBuf,
    },
    /// Connecting failed in another way.
    #[error("connecting to {}: {source}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// The error of the call.
        source: io::Error,
    },
    /// A process of another user listens on the socket.
    #[error(
        "{} belongs to user {uid}, who is neither root nor this user: not sending it anything",
        socket.display()
    )]
    Untrusted {
        /// The socket.
        socket: PathBuf,
        /// The user of that process.
        uid: u32,
    },
    /// The request cannot be put into a frame.
    #[error("the request cannot be sent: {0}")]
    Request(#[source] FrameError),
    /// The connection broke.
    #[error("talking to the supervisor: {0}")]
    Broken(#[source] io::Error),
    /// The supervisor went away with the request.
    #[error(
        "the supervisor closed the connection before it had answered; its log, pipsqueakd.log \
         beside its socket, may tell why"
    )]
    Ended,
    /// The answer is not of this protocol.
    #[error("the supervisor's answer cannot be read: {0}")]
    Malformed(#[source] FrameError),
    /// The supervisor speaks another version of the protocol.
    #[error("{}", .0.message)]
    Refusal(Refusal),
    /// The body of the request cannot be read.
    #[error("reading the body: {0}")]
    Body(#[source] io::Error),
    /// A streamed result cannot be handed on.
    #[error("handing the result on: {0}")]
    Result(#[source] io::Error),
    /// The supervisor answers that the request failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A connection to the supervisor.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<Polled>,
    peer_pid: Option<u32>,
}

impl Client {
    /// Connects to the supervisor whose socket is in the folder `run`, and checks the supervisor's user.
    pub fn connect(run: &Path) -> Result<Self, ClientError> {
        let socket = socket_path(run);
        let stream = match UnixStream::connect(&socket) {
            Ok(stream) => stream,
            Err(error) => return Err(connect_error(socket, error)),
        };
        let peer = match getsockopt(&stream, PeerCredentials) {
            Ok(peer) => peer,
            Err(error) => return Err(ClientError::Connect { socket, source: error.into() }),
        };
        if !is_trusted(peer.uid(), nix::unistd::geteuid().as_raw()) {
            return Err(ClientError::Untrusted { socket, uid: peer.uid() });
        }
        // A process in a pid namespace that this one cannot see is given as 0.
        let peer_pid = u32::try_from(peer.pid()).ok().filter(|pid| *pid != 0);
        Ok(Self { stream: BufReader::new(Polled(stream)), peer_pid })
    }

    /// The supervisor's process, if this process can see it.
    pub fn peer_pid(&self) -> Option<u32> {
        self.peer_pid
    }

    /// Sends a request, hands each [`Progress`] to `told`, and waits for the reply.
    /// [`Reply::Fault`] comes as an error.
    pub fn call(
        &mut self,
        request: &Request,
        told: &mut dyn FnMut(Progress),
    ) -> Result<Reply, ClientError> {
        let heard = &mut |message| match message {
            Message::Progress(progress) => {
                told(progress);
                Ok(true)
            }
            other => Err(unexpected(other.kind())),
        };
        self.ask(request, heard)?.ok_or(ClientError::Ended)
    }

    /// Sends a [`Request::InvokeStreamed`] and, in a thread, the body that comes with it. Hands pieces
    /// of the result to `given`, and waits for the reply. If the function does not read all of the
    /// body, the thread is left behind and the connection is of no use.
    pub fn stream(
        &mut self,
        request: &Request,
        body: Option<Box<dyn Read + Send>>,
        told: &mut dyn FnMut(Progress),
        given: &mut dyn FnMut(Given) -> io::Result<()>,
    ) -> Result<Reply, ClientError> {
        let heard = &mut |message| {
            match message {
                Message::Progress(progress) => told(progress),
                Message::Given(some) => given(some).map_err(ClientError::Result)?,
                Message::Logs(_) => return Err(unexpected(FrameKind::Logs)),
            }
            Ok(true)
        };
        let Some(body) = body else {
            return self.ask(request, heard)?.ok_or(ClientError::Ended);
        };
        let frame = encode(FrameKind::Request, request).map_err(ClientError::Request)?;
        self.stream.get_mut().0.write_all(&frame).map_err(ClientError::Broken)?;
        let socket = self.stream.get_ref().0.try_clone().map_err(ClientError::Broken)?;
        let (failed, failure) = mpsc::channel();
        std::thread::spawn(move || send_body(&socket, body, &failed));
        let reply = self.answer(heard);
        match failure.try_recv() {
            Ok(error) => Err(ClientError::Body(error)),
            Err(_) => reply?.ok_or(ClientError::Ended),
        }
    }

    /// Asks for a function's logs and hands each batch of records to `read`, until there are no more
    /// or `read` says `false`. The connection is of no use afterwards.
    pub fn logs(
        &mut self,
        wanted: LogsRequest,
        read: &mut dyn FnMut(Vec<LogRecord>) -> bool,
    ) -> Result<(), ClientError> {
        let heard = &mut |message| match message {
            Message::Logs(records) => Ok(read(records)),
            Message::Progress(_) => Ok(true),
            Message::Given(_) => Err(unexpected(FrameKind::Part)),
        };
        self.ask(&Request::Logs(wanted), heard).map(drop)
    }

    /// Sends a request and hears messages until the reply; `None` if `heard` wants no more.
    fn ask(&mut self, request: &Request, heard: Heard<'_>) -> Result<Option<Reply>, ClientError> {
        let frame = encode(FrameKind::Request, request).map_err(ClientError::Request)?;
        if let Err(error) = self.stream.get_mut().0.write_all(&frame) {
            // A supervisor that refuses a request may not read it to its end. Its reply explains more
            // than the broken pipe.
            return self.answer(heard).map_err(|answer| match answer {
                ClientError::Ended | ClientError::Broken(_) => ClientError::Broken(error),
                other => other,
            });
        }
        self.answer(heard)
    }

    /// Waits until the supervisor closes the connection.
    pub fn await_end(mut self) {
        // An error is an end too.
        let _ = io::copy(&mut self.stream, &mut io::sink());
    }

    fn answer(&mut self, heard: Heard<'_>) -> Result<Option<Reply>, ClientError> {
        loop {
            let (kind, body) = self.frame()?;
            let message = match kind {
                FrameKind::Progress => Message::Progress(decode(&body)?),
                FrameKind::Logs => Message::Logs(decode(&body)?),
                FrameKind::Head => Message::Given(Given::Head(decode(&body)?)),
                FrameKind::Part => Message::Given(Given::Part(body)),
                FrameKind::Refusal => return Err(ClientError::Refusal(decode(&body)?)),
                FrameKind::Reply => {
                    return match decode(&body)? {
                        Reply::Fault(fault) => Err(fault.into()),
                        reply => Ok(Some(reply)),
                    };
                }
                FrameKind::Request => return Err(unexpected(kind)),
            };
            if !heard(message)? {
                return Ok(None);
            }
        }
    }

    fn frame(&mut self) -> Result<(FrameKind, Vec<u8>), ClientError> {
        let mut header = [0; HEADER_BYTES];
        self.stream.read_exact(&mut header).map_err(read_error)?;
        let header = Header::decode(&header).map_err(ClientError::Malformed)?;
        let mut body = vec![0; header.length as usize];
        self.stream.read_exact(&mut body).map_err(read_error)?;
        Ok((header.kind, body))
    }
}

/// A socket that is polled before it is read. A thread that waits in a read also wakes each time that
/// the other side reads; a thread that polls for arriving bytes does not.
#[derive(Debug)]
struct Polled(UnixStream);

impl Read for Polled {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
        self.0.read(buffer)
    }
}

/// A piece of a streamed result.
#[derive(Debug)]
pub enum Given {
    /// Head of the result: status and headers of an HTTP response.
    Head(Box<RawValue>),
    /// Bytes of the result.
    Part(Vec<u8>),
}

/// A message that may come before a reply.
enum Message {
    Progress(Progress),
    Logs(Vec<LogRecord>),
    Given(Given),
}

impl Message {
    fn kind(&self) -> FrameKind {
        match self {
            Self::Progress(_) => FrameKind::Progress,
            Self::Logs(_) => FrameKind::Logs,
            Self::Given(Given::Head(_)) => FrameKind::Head,
            Self::Given(Given::Part(_)) => FrameKind::Part,
        }
    }
}

/// Sends all of a body and its end. If the body cannot be read, shuts the connection down, so that the
/// function does not take a part for the whole.
fn send_body(mut socket: &UnixStream, mut body: impl Read, failed: &mpsc::Sender<io::Error>) {
    let mut part = vec![0; MAX_PART_BYTES];
    loop {
        let length = match body.read(&mut part) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let _ = failed.send(error);
                let _ = socket.shutdown(Shutdown::Both);
                return;
            }
            Ok(length) => length,
        };
        let Ok(frame) = encode_bytes(FrameKind::Part, &part[..length]) else { return };
        // If the function reads no further, the reply tells the reason.
        if socket.write_all(&frame).is_err() || length == 0 {
            return;
        }
    }
}

/// Hears a message; true if more is wanted.
type Heard<'a> = &'a mut dyn FnMut(Message) -> Result<bool, ClientError>;

fn unexpected(kind: FrameKind) -> ClientError {
    ClientError::Malformed(FrameError::Kind(kind as u16))
}

fn connect_error(socket: PathBuf, error: io::Error) -> ClientError {
    match error.kind() {
        // Refused: the file is what a killed supervisor has left.
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NoSupervisor { socket }
        }
        io::ErrorKind::PermissionDenied => ClientError::Denied { socket },
        _ => ClientError::Connect { socket, source: error },
    }
}

fn read_error(error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => ClientError::Ended,
        _ => ClientError::Broken(error),
    }
}

/// True if a client of user `own` may talk to a server of user `peer`. Any user can bind a socket in a
/// folder that they may write to, and must not get payloads that way.
fn is_trusted(peer: u32, own: u32) -> bool {
    peer == 0 || peer == own
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|error| ClientError::Malformed(FrameError::Body(error)))
}

#[cfg(test)]
mod tests;
