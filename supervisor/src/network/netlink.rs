//! Netlink: messages of attributes to the kernel, and its answers.
//!
//! ```text
//! message    length u32, kind u16, flags u16, sequence u32, port u32, then a family's own header
//!            and attributes
//! attribute  length u16, kind u16, value, zeroes up to a multiple of four bytes
//! ```
//!
//! Integers are the machine's own, but those of nftables big-endian. Links and nftables are both
//! told in this form, so these lines serve both.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
};
use nix::sys::time::TimeVal;

const HEADER_BYTES: usize = 16;
/// Marks an attribute that holds attributes.
const NESTED: u16 = 0x8000;
/// More than the kernel puts into one datagram of answers.
const ANSWER_BYTES: usize = 64 << 10;
/// Time that the kernel may take to answer: it waits for others that change links.
const PATIENCE_SECONDS: i64 = 10;

const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
/// Asks for an answer also if all went well.
pub const ACK: u16 = libc::NLM_F_ACK as u16;
/// Makes what is not there.
pub const CREATE: u16 = libc::NLM_F_CREATE as u16;
/// Refuses to make what is there already.
pub const EXCLUSIVE: u16 = libc::NLM_F_EXCL as u16;
/// Puts a rule after those there are.
pub const APPEND: u16 = libc::NLM_F_APPEND as u16;
const DUMP: u16 = libc::NLM_F_DUMP as u16;

/// A message, built from its front to its end.
#[derive(Debug, Clone)]
pub struct Message(Vec<u8>);

impl Message {
    /// A message with a family's own header.
    pub fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(header);
        Self(bytes)
    }

    /// Adds an attribute.
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        // No value of ours is near the 64 KiB that an attribute can have.
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a text and the zero byte at its end.
    pub fn with_text(self, kind: u16, text: &str) -> Self {
        self.with(kind, &[text.as_bytes(), b"\0"].concat())
    }

    /// Adds an integer in the machine's order.
    pub fn with_u32(self, kind: u16, value: u32) -> Self {
        self.with(kind, &value.to_ne_bytes())
    }

    /// Adds a big-endian integer.
    pub fn with_be32(self, kind: u16, value: u32) -> Self {
        self.with(kind, &value.to_be_bytes())
    }

    /// Adds an attribute that holds what `fill` adds, after a header of its own if it has one.
    pub fn within(mut self, kind: u16, header: &[u8], fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        self.0.extend_from_slice(header);
        let mut filled = fill(self);
        let length = u16::try_from(filled.0.len() - start).unwrap_or(u16::MAX);
        filled.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled.0[start + 2..start + 4].copy_from_slice(&(kind | NESTED).to_ne_bytes());
        filled
    }

    fn is_answered(&self) -> bool {
        u16::from_ne_bytes([self.0[6], self.0[7]]) & ACK != 0
    }

    fn sealed(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// Tells the kernel `messages`, together, and waits until it has carried all of them out.
///
/// The error is that of the first that it refuses; of a batch of nftables none is carried out then.
pub fn tell(protocol: SockProtocol, messages: Vec<Message>) -> io::Result<()> {
    let socket = open(protocol)?;
    let mut expected = messages.iter().filter(|message| message.is_answered()).count();
    let sealed = messages.into_iter().zip(1..).map(|(message, number)| message.sealed(number));
    send(socket.as_raw_fd(), &sealed.collect::<Vec<_>>().concat(), MsgFlags::empty())?;
    while expected > 0 {
        for answer in split(&receive(&socket)?) {
            if answer.kind == libc::NLMSG_ERROR as u16 {
                answer.outcome()?;
                expected -= 1;
            }
        }
    }
    Ok(())
}

/// Asks the kernel for all of something; the bodies of its answers, without headers of netlink.
pub fn list(protocol: SockProtocol, kind: u16, header: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    ask(protocol, Message::new(kind, DUMP, header))
}

/// Variant of [`list`] that asks what the message says; its flags are set here.
pub fn ask(protocol: SockProtocol, mut message: Message) -> io::Result<Vec<Vec<u8>>> {
    message.0[6..8].copy_from_slice(&(REQUEST | DUMP).to_ne_bytes());
    let socket = open(protocol)?;
    send(socket.as_raw_fd(), &message.sealed(1), MsgFlags::empty())?;
    let mut bodies = Vec::new();
    loop {
        for answer in split(&receive(&socket)?) {
            match i32::from(answer.kind) {
                libc::NLMSG_DONE => return Ok(bodies),
                libc::NLMSG_ERROR => answer.outcome()?,
                _ => bodies.push(answer.body.to_vec()),
            }
        }
    }
}

/// The attributes in `bytes`, by kind. What is cut off ends them.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1, ..] = *bytes else { return None };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & !NESTED, value))
    })
}

/// The first attribute of a kind.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// An attribute's text, up to its zero byte.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

fn open(protocol: SockProtocol) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(PATIENCE_SECONDS, 0))?;
    Ok(socket)
}

fn receive(socket: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; ANSWER_BYTES];
    loop {
        match recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
            Ok(length) => {
                bytes.truncate(length);
                return Ok(bytes);
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
    }
}

struct Answer<'a> {
    kind: u16,
    body: &'a [u8],
}

impl Answer<'_> {
    /// Outcome in an answer of the kind `NLMSG_ERROR`: a negative errno, or 0.
    fn outcome(&self) -> io::Result<()> {
        let Some(&[a, b, c, d]) = self.body.get(..4) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        match i32::from_ne_bytes([a, b, c, d]) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }
}

fn split(mut bytes: &[u8]) -> Vec<Answer<'_>> {
    let mut answers = Vec::new();
    while let [a, b, c, d, k0, k1, ..] = *bytes {
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        let Some(body) = bytes.get(HEADER_BYTES..length) else { break };
        answers.push(Answer { kind: u16::from_ne_bytes([k0, k1]), body });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let message = Message::new(16, ACK, &[7; 4])
            .with_text(3, "eth0")
            .within(18, &[9; 4], |message| message.with_be32(1, 258).with(2, b"x"))
            .with_u32(5, 1);
        let bytes = message.sealed(4);
        let answers = split(&bytes);
        assert_eq!((answers.len(), answers[0].kind), (1, 16));
        let body = &answers[0].body[4..];
        assert_eq!(find(body, 3).map(text).as_deref(), Some("eth0"));
        let inner = &find(body, 18).unwrap()[4..];
        assert_eq!(attributes(inner).collect::<Vec<_>>(), [(1, &[0, 0, 1, 2][..]), (2, &b"x"[..])]);
        assert_eq!(find(body, 5), Some(&1u32.to_ne_bytes()[..]));
        assert_eq!(find(body, 4), None);
    }

    #[test]
    fn what_is_cut_off_is_no_attribute() {
        assert_eq!(attributes(&[9, 0, 1, 0, 5]).count(), 0);
        assert_eq!(attributes(&[1, 0, 1, 0]).count(), 0);
        assert_eq!(split(&[200, 0, 0, 0, 1, 0]).len(), 0);
    }

    #[test]
    fn the_kernel_lists_links_and_refuses_what_is_wrong() {
        let route = SockProtocol::NetlinkRoute;
        let links = list(route, libc::RTM_GETLINK, &[0; 16]).unwrap();
        let names = links.iter().filter_map(|body| find(&body[16..], libc::IFLA_IFNAME));
        assert!(names.map(text).any(|name| name == "lo"));
        let nobody = Message::new(libc::RTM_DELLINK, ACK, &[0; 16])
            .with_text(libc::IFLA_IFNAME, "pq-nobody");
        let error = tell(route, vec![nobody]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }
}
