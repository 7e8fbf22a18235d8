//! The one way that a job which downloads has to the network.
//!
//! ```text
//! job, in a network namespace of its own -- 127.0.0.1, a proxy of HTTP -- the supervisor -- the host's network
//! ```
//!
//! The job has a loopback interface and nothing else; the socket that listens there is the
//! supervisor's. What the job asks for is resolved here, held against what it may reach (`policy`),
//! and connected to from the host's network, or from there by the machine's own proxy (`upstream`).
//! Neither a name that leads elsewhere the second time nor an answer that sends the job on gets by it.

mod head;
mod policy;
mod upstream;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use pipsqueak_fs::Reach;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use head::{Kind, LONGEST, Request};
use policy::Unreached;
pub use upstream::Upstream;
use upstream::{Proxy, ProxyError};

use super::namespace::{self, NamespaceError};
use crate::sync::{Mutex, lock};

/// Most connections of a job at once; the next wait.
const CONNECTIONS: usize = 256;
/// Time that a client may take to say what it wants.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// Time that one address may take to answer.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);
/// Most reasons that are kept of what was not reached.
const REASONS: usize = 8;

/// A job's way out, until it is dropped.
#[derive(Debug)]
pub struct Outward {
    port: u16,
    refused: Arc<Mutex<BTreeSet<String>>>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Way {
    reach: Reach,
    upstream: Arc<Upstream>,
    refused: Arc<Mutex<BTreeSet<String>>>,
}

/// Why a client was not connected.
enum Refusal {
    /// The policy of what the job may reach.
    Policy(Unreached),
    /// The machine's own proxy.
    Proxy(ProxyError),
    /// The connection itself.
    Io(io::Error),
}

/// Why a job has no way out.
#[derive(Debug, thiserror::Error)]
pub enum OutwardError {
    /// The job's network namespace.
    #[error("finding the network of a job: {0}")]
    Namespace(#[source] NamespaceError),
    /// bind(2) in that.
    #[error("listening in the network of a job: {0}")]
    Listen(#[source] NamespaceError),
    /// The socket, given to a task.
    #[error("serving the network of a job: {0}")]
    Serve(#[source] io::Error),
}

impl Outward {
    /// Opens a way out of the network namespace of a sandbox's holder. Blocks.
    pub fn open(
        holder: BorrowedFd<'_>,
        pid: i32,
        reach: Reach,
        upstream: Arc<Upstream>,
        runtime: &Handle,
    ) -> Result<Self, OutwardError> {
        let namespace = namespace::of_process(holder, pid).map_err(OutwardError::Namespace)?;
        let listener =
            namespace::inside(&namespace, || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
                .map_err(OutwardError::Listen)?;
        listener.set_nonblocking(true).map_err(OutwardError::Serve)?;
        let port = listener.local_addr().map_err(OutwardError::Serve)?.port();
        let refused = Arc::<Mutex<BTreeSet<String>>>::default();
        let way = Way { reach, upstream, refused: refused.clone() };
        let _inside = runtime.enter();
        let listener = TcpListener::from_std(listener).map_err(OutwardError::Serve)?;
        let task = runtime.spawn(serve(listener, Arc::new(way)));
        Ok(Self { port, refused, task })
    }

    /// The variables that lead a job's programs to it.
    pub fn variables(&self) -> impl Iterator<Item = (String, String)> {
        let address = format!("http://127.0.0.1:{}", self.port);
        ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
            .into_iter()
            .map(move |name| (name.to_owned(), address.clone()))
    }

    /// Hosts that were not reached, and why, a sentence each.
    pub fn refused(&self) -> Vec<String> {
        lock(&self.refused).iter().cloned().collect()
    }
}

impl Drop for Outward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, way: Arc<Way>) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let mut clients = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = free.clone().acquire_owned().await else { return };
        while clients.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((client, _)) => {
                let way = way.clone();
                clients.spawn(async move {
                    // A client that goes away has had enough.
                    let _ = way.serve_one(client).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Such as no descriptor being free.
                tracing::warn!(%error, "accepting a connection of a job");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Way {
    async fn serve_one(&self, mut client: TcpStream) -> io::Result<()> {
        let read = timeout(HEAD_PATIENCE, read_head(&mut client)).await;
        let (request, rest) = match read {
            Ok(Ok((head, rest))) => (Request::parse(&head), rest),
            _ => (None, Vec::new()),
        };
        let Some(request) = request else {
            return answer(&mut client, "400 Bad Request", "it is no request to a proxy").await;
        };
        match self.connect(&request).await {
            Ok(mut host) => {
                let (to_host, to_client) = host.first;
                host.stream.write_all(to_host.as_bytes()).await?;
                host.stream.write_all(&rest).await?;
                client.write_all(to_client.as_bytes()).await?;
                copy_bidirectional(&mut client, &mut host.stream).await.map(drop)
            }
            Err(Refusal::Policy(reason)) => self.refuse(&mut client, reason.to_string()).await,
            Err(Refusal::Proxy(reason)) => self.refuse(&mut client, reason.to_string()).await,
            Err(Refusal::Io(error)) => {
                answer(&mut client, "502 Bad Gateway", &error.to_string()).await
            }
        }
    }

    /// Tells a client why it is not connected, and keeps the reason for the installer, which has started the job.
    async fn refuse(&self, client: &mut TcpStream, reason: String) -> io::Result<()> {
        {
            let mut refused = lock(&self.refused);
            if refused.len() < REASONS {
                refused.insert(reason.clone());
            }
        }
        answer(client, "403 Forbidden", &reason).await
    }

    async fn connect(&self, request: &Request) -> Result<Connected, Refusal> {
        let Request { host, port, kind } = request;
        if let Some(reason) = policy::refuse_port(&self.reach, host, *port) {
            return Err(Refusal::Policy(reason));
        }
        let found = lookup_host((host.as_str(), *port)).await;
        let proxy = self.upstream.to(host, *kind != Kind::Tunnel);
        let addresses: Vec<IpAddr> = match found {
            Ok(found) => found.map(|address| address.ip()).collect(),
            // Where there is a proxy, it may be the only one who knows names.
            Err(error) if proxy.is_none() => return Err(Refusal::Io(error)),
            Err(_) => Vec::new(),
        };
        let is_unknown = addresses.is_empty() && proxy.is_some();
        let own = policy::own_addresses().map_err(Refusal::Io)?;
        let reachable = policy::reachable(&self.reach, host, *port, addresses, &own);
        match proxy {
            Some(Err(reason)) => Err(Refusal::Proxy(reason.clone())),
            Some(Ok(proxy)) => {
                if !is_unknown {
                    reachable.map_err(Refusal::Policy)?;
                }
                let stream = connect_to_proxy(proxy).await.map_err(Refusal::Io)?;
                let authorization = proxy.authorization.as_ref().map(|one| one.0.as_str());
                // It answers a client that wants a tunnel itself.
                Ok(Connected { stream, first: (request.to_proxy(authorization), "") })
            }
            None => {
                let addresses = reachable.map_err(Refusal::Policy)?;
                let stream = connect_to_one(&addresses, *port).await.map_err(Refusal::Io)?;
                let to_client = if *kind == Kind::Tunnel { ESTABLISHED } else { "" };
                Ok(Connected { stream, first: (request.to_host().unwrap_or_default(), to_client) })
            }
        }
    }
}

/// Answer to a client whose tunnel is open.
const ESTABLISHED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

/// A host that is connected, and what it and the client are told before they talk.
struct Connected {
    stream: TcpStream,
    first: (String, &'static str),
}

async fn connect_to_proxy(proxy: &Proxy) -> io::Result<TcpStream> {
    let found = lookup_host((proxy.host.as_str(), proxy.port)).await?;
    let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    connect_to_one(&addresses, proxy.port).await
}

/// A connection to the first address that answers.
async fn connect_to_one(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match timeout(CONNECT_PATIENCE, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed)
}

/// The head of what a client says, and what it has said after that already.
async fn read_head(client: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut said = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let bytes = client.read(&mut piece).await?;
        said.extend_from_slice(&piece[..bytes]);
        let end = said.windows(4).position(|four| four == b"\r\n\r\n");
        match end {
            Some(end) => {
                let rest = said.split_off(end + 4);
                return Ok((String::from_utf8_lossy(&said).into_owned(), rest));
            }
            None if bytes == 0 || said.len() > LONGEST => {
                return Err(io::ErrorKind::InvalidData.into());
            }
            None => {}
        }
    }
}

async fn answer(client: &mut TcpStream, status: &str, reason: &str) -> io::Result<()> {
    let length = reason.len();
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{reason}"
    );
    client.write_all(text.as_bytes()).await?;
    client.shutdown().await
}
