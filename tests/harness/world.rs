//! A network of a test's own: a host and the outside, each a network namespace.
//!
//! The outside has the addresses that tests ask for. One of them is that of the machine's resolver,
//! so that the host here needs no `/etc/resolv.conf` of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};

/// The host's address on the link to the outside.
pub const HOST: &str = "192.0.2.1";
/// The outside's address on that link.
pub const OUTSIDE: &str = "192.0.2.2";
/// The address at which clouds give a machine its credentials.
pub const METADATA: &str = "169.254.169.254";
/// The address of every name that the resolver is asked for.
pub const NAMED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

/// The two namespaces, removed when dropped.
#[derive(Debug)]
pub struct World {
    host: File,
    outside: File,
}

impl World {
    /// Makes both namespaces, linked, with two servers outside: one that tells its clients their
    /// address, at port 8000, and a resolver.
    pub fn start() -> Self {
        let world = Self { host: namespace(), outside: namespace() };
        world.on_host(|| {
            // The far end is moved by the number of a thread that is in the namespace.
            ip("link add out type veth peer name in");
            let thread = outsider(&world.outside);
            ip(&format!("link set in netns {}", thread.0));
            ip("link set lo up");
            ip(&format!("addr add {HOST}/24 dev out"));
            ip("link set out up");
            ip(&format!("route add default via {OUTSIDE} onlink dev out"));
        });
        let resolver = resolver();
        let host = if resolver.is_loopback() { &world.host } else { &world.outside };
        within(&world.outside, || {
            ip("link set lo up");
            ip(&format!("addr add {OUTSIDE}/24 dev in"));
            ip("link set in up");
            ip(&format!("addr add {METADATA}/32 dev lo"));
            // What a function's address would be answered by, if anything were sent from there.
            ip(&format!("route add 198.18.0.0/15 via {HOST}"));
            if !resolver.is_loopback() {
                ip(&format!("addr add {resolver} dev lo"));
            }
        });
        within(&world.outside, || serve_addresses(TcpListener::bind("0.0.0.0:8000").unwrap()));
        within(host, || serve_names(UdpSocket::bind((resolver, 53)).unwrap()));
        world
    }

    /// Does something on the host; processes that it starts are there, too.
    pub fn on_host<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        within(&self.host, act)
    }

    /// Does something outside.
    pub fn outside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        within(&self.outside, act)
    }

    /// Traces of an instance on the host: links, rules, and settings of forwarding.
    pub fn traces(&self) -> Vec<String> {
        self.on_host(|| {
            let links = said("ip", "-o link");
            let links = links.lines().filter(|line| line.contains(": pq"));
            let tables = said("nft", "list tables");
            let all: Vec<_> = links.chain(tables.lines()).map(ToOwned::to_owned).collect();
            let forwards = |link: &&str| {
                let path = format!("/proc/sys/net/ipv4/conf/{link}/forwarding");
                std::fs::read_to_string(path).unwrap().trim() == "1"
            };
            let forwarding = ["all", "out", "lo"].into_iter().filter(forwards);
            all.into_iter().chain(forwarding.map(|link| format!("forwards by {link}"))).collect()
        })
    }
}

fn within<T: Send>(namespace: &File, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            act()
        };
        scope.spawn(inside).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn namespace() -> File {
    let made = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        // It would forward where the machine does, as one with a container engine.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        File::open("/proc/thread-self/ns/net").unwrap()
    });
    made.join().unwrap()
}

/// A process in a namespace, by its number. Ended when dropped.
struct Outsider(u32, std::process::Child);

impl Drop for Outsider {
    fn drop(&mut self) {
        let _ = self.1.kill();
        let _ = self.1.wait();
    }
}

fn outsider(namespace: &File) -> Outsider {
    let child = within(namespace, || Command::new("sleep").arg("1000").spawn().unwrap());
    Outsider(child.id(), child)
}

fn ip(arguments: &str) {
    said("ip", arguments);
}

fn said(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "{program} {arguments}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The first resolver in the machine's configuration.
fn resolver() -> IpAddr {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("nameserver"));
    line.and_then(|address| address.trim().parse().ok()).unwrap_or(Ipv4Addr::LOCALHOST.into())
}

fn serve_addresses(listener: TcpListener) {
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            let _ = client.write_all(client.peer_addr().unwrap().ip().to_string().as_bytes());
            let _ = client.shutdown(std::net::Shutdown::Write);
            let _ = client.read(&mut [0]);
        }
    });
}

/// Answers each question in the form of RFC 1035: with [`NAMED`], or with nothing for other types.
fn serve_names(socket: UdpSocket) {
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, asker)) = socket.recv_from(&mut packet) {
            let question = &packet[12..length];
            let end = question.iter().position(|byte| *byte == 0).unwrap() + 5;
            let is_address = question[end - 4..end - 2] == [0, 1];
            let mut answer = packet[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
            answer.extend(&question[..end]);
            if is_address {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend(NAMED.octets());
            }
            socket.send_to(&answer, asker).unwrap();
        }
    });
}
