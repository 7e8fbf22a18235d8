//! The resolver that functions ask: it passes on to the host's, wherever that is.
//!
//! A host's own resolver is often at its loopback address (systemd-resolved), which no sandbox can
//! reach, and changes with the host's network. So functions ask the bridge's address, and what they
//! ask is sent, as it is, to the servers that the host's `/etc/resolv.conf` names at that time.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const CONFIGURATION: &str = "/etc/resolv.conf";
const PORT: u16 = 53;
/// Most questions that are being answered at once; the next are dropped, and asked again.
const QUESTIONS: usize = 512;
/// Most connections at once.
const CONNECTIONS: usize = 64;
/// Time that one server may take before the next is asked.
const SERVER_PATIENCE: Duration = Duration::from_secs(3);
/// Time that a connection may be open.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(30);
/// Longest datagram.
const MAX_BYTES: usize = 65_535;

/// Sockets that nobody reads yet.
#[derive(Debug)]
pub struct Listening {
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
    ports: [u16; 2],
}

/// A resolver that runs until it is dropped.
#[derive(Debug)]
pub struct Resolver([JoinHandle<()>; 2]);

/// Takes ports at `address`. They are not that of resolvers: one that listens at every address of
/// the host would have it already.
pub fn listen(address: Ipv4Addr) -> io::Result<Listening> {
    let udp = std::net::UdpSocket::bind((address, 0))?;
    let tcp = std::net::TcpListener::bind((address, 0))?;
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    let ports = [udp.local_addr()?.port(), tcp.local_addr()?.port()];
    Ok(Listening { udp, tcp, ports })
}

/// Text of a sandbox's `/etc/resolv.conf`: its resolver, and how the host looks names up.
pub fn configuration(address: Ipv4Addr) -> String {
    let host = fs::read_to_string(CONFIGURATION).unwrap_or_default();
    configuration_like(&host, address)
}

fn configuration_like(host: &str, address: Ipv4Addr) -> String {
    let mut text = format!("nameserver {address}\n");
    for line in host.lines() {
        if matches!(line.split_whitespace().next(), Some("search" | "domain" | "options")) {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

/// The servers that a configuration names; the one at this machine if it names none
/// (resolv.conf(5)).
fn servers(configuration: &str) -> Vec<SocketAddr> {
    let lines = configuration.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok()).flatten()
    });
    let named: Vec<_> = lines.map(|address| SocketAddr::new(address, PORT)).collect();
    if named.is_empty() { vec![SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))] } else { named }
}

async fn host_servers() -> Vec<SocketAddr> {
    servers(
        &tokio::task::spawn_blocking(|| fs::read_to_string(CONFIGURATION))
            .await
            .map(Result::unwrap_or_default)
            .unwrap_or_default(),
    )
}

impl Listening {
    /// The ports: UDP, TCP.
    pub fn ports(&self) -> [u16; 2] {
        self.ports
    }

    /// Answers.
    pub fn serve(self, runtime: &Handle) -> io::Result<Resolver> {
        let _inside = runtime.enter();
        let udp = Arc::new(UdpSocket::from_std(self.udp)?);
        let tcp = TcpListener::from_std(self.tcp)?;
        Ok(Resolver([runtime.spawn(serve_datagrams(udp)), runtime.spawn(serve_connections(tcp))]))
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

async fn serve_datagrams(socket: Arc<UdpSocket>) {
    let free = Arc::new(Semaphore::new(QUESTIONS));
    let mut question = vec![0; MAX_BYTES];
    loop {
        let (length, asker) = match socket.recv_from(&mut question).await {
            Ok(received) => received,
            Err(error) => {
                // What a sandbox that has ended did not take.
                tracing::debug!(%error, "reading a question");
                continue;
            }
        };
        let Ok(permit) = free.clone().try_acquire_owned() else { continue };
        let (question, socket) = (question[..length].to_vec(), socket.clone());
        tokio::spawn(async move {
            if let Some(answer) = ask(&question).await
                && let Err(error) = socket.send_to(&answer, asker).await
            {
                tracing::debug!(%error, "answering a question");
            }
            drop(permit);
        });
    }
}

/// The answer of the first server that has one.
async fn ask(question: &[u8]) -> Option<Vec<u8>> {
    for server in host_servers().await {
        let asked = async {
            let any: IpAddr = match server {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            // A socket of its own, at a port that nobody can know, hears that server alone.
            let socket = UdpSocket::bind((any, 0)).await?;
            socket.connect(server).await?;
            socket.send(question).await?;
            let mut answer = vec![0; MAX_BYTES];
            let length = socket.recv(&mut answer).await?;
            answer.truncate(length);
            Ok::<_, io::Error>(answer)
        };
        if let Ok(Ok(answer)) = timeout(SERVER_PATIENCE, asked).await {
            return Some(answer);
        }
    }
    None
}

async fn serve_connections(listener: TcpListener) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = free.clone().acquire_owned().await else { return };
        let mut asker = match listener.accept().await {
            Ok((asker, _)) => asker,
            Err(error) => {
                // Such as no descriptor being free.
                tracing::warn!(%error, "accepting a connection for the resolver");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        tokio::spawn(async move {
            let talk = async {
                for server in host_servers().await {
                    let connected = timeout(SERVER_PATIENCE, TcpStream::connect(server)).await;
                    if let Ok(Ok(mut server)) = connected {
                        // Either side may end it at any time.
                        let _ = copy_bidirectional(&mut asker, &mut server).await;
                        return;
                    }
                }
            };
            let _ = timeout(CONNECTION_PATIENCE, talk).await;
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_and_there_is_always_one() {
        let text = "# nameserver 1.1.1.1\nnameserver 127.0.0.53\nnameserver  ::1 \nsearch a b\n";
        let found: Vec<_> = servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.53:53", "[::1]:53"]);
        assert_eq!(servers("nameserver x\n")[0].to_string(), "127.0.0.1:53");
    }

    #[test]
    fn a_sandbox_looks_names_up_as_the_host_does() {
        let host = "nameserver 127.0.0.53\noptions edns0\n\nsearch example.com\n# end\n";
        let own = configuration_like(host, Ipv4Addr::new(198, 18, 0, 1));
        assert_eq!(own, "nameserver 198.18.0.1\noptions edns0\nsearch example.com\n");
    }
}
