//! The network of functions that have an address of their own behind the host's (`nat`).
//!
//! ```text
//! sandbox: eth0 198.18.0.7/32 -- port -- bridge 198.18.0.1/20 -- the host's routes, masqueraded
//! sandbox: eth0 198.18.0.8/32 -- port --/           \-- resolver
//! ```
//!
//! An instance has a [`Nat`] from its first such function on: a bridge and the addresses behind it
//! (`link`, `range`), rules for what goes where (`filter`), and a `resolver`. Where the machine
//! forwards nothing, it begins to (`forwarding`). The kernel is told all of it by `netlink`. The
//! bridge is made first and removed last, so where there is none nothing else is left either.
//!
//! Jobs that download have no network of that kind, but one way out, `outward`.

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "libc's constants")]
mod filter;
mod forwarding;
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "libc's constants")]
mod link;
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "libc's constants")]
mod netlink;
mod outward;
mod range;
mod resolver;
mod turn;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};
use pipsqueak_kernel::pidfd;
use tokio::runtime::Handle;

pub use outward::{Outward, Upstream};
use range::Addresses;
pub use range::{Range, Taken};
use resolver::Resolver;
use turn::Turn;

/// How long the links of sandboxes that have ended may stand in the way.
const LINK_PATIENCE: Duration = Duration::from_secs(5);

/// Why a sandbox could not get a network.
#[derive(Debug, thiserror::Error)]
pub enum NatError {
    /// A step of making it.
    #[error("the network of functions: {step}: {error}; `pipsqueak doctor` tells what is missing")]
    Step {
        /// Which step.
        step: &'static str,
        /// Why.
        error: io::Error,
    },
    /// No address is free.
    #[error("all addresses of {0} are in use; evict some sandboxes, or name more with --nat")]
    Full(Range),
}

/// The network of an instance's functions, once one of them wants it.
#[derive(Debug)]
pub struct Nat {
    id: String,
    wanted: Option<Range>,
    resolv_conf: PathBuf,
    runtime: Handle,
    network: Mutex<Option<Arc<Network>>>,
}

/// What there is of it while there is one.
#[derive(Debug)]
struct Network {
    addresses: Arc<Addresses>,
    range: Range,
    _resolver: Resolver,
}

impl Nat {
    /// The network of the instance `id`, of eight letters, in the range `wanted` or else in one that
    /// is free; what an earlier run has left of it is removed. `run` is a folder for its files,
    /// `runtime` what its resolver runs on.
    pub fn new(
        id: &str,
        wanted: Option<Range>,
        run: &Path,
        runtime: Handle,
    ) -> Result<Self, NatError> {
        let nat = Self {
            id: id.to_owned(),
            wanted,
            resolv_conf: run.join("resolv.conf"),
            runtime,
            network: Mutex::default(),
        };
        if link::exists(&nat.bridge()) {
            nat.clear()?;
        }
        Ok(nat)
    }

    /// The file that tells a sandbox its resolver. Blocks.
    pub fn resolv_conf(&self) -> Result<&Path, NatError> {
        self.network()?;
        Ok(&self.resolv_conf)
    }

    /// Gives the sandbox of a holder an address, which it has until what this returns is dropped.
    /// Blocks.
    pub fn attach(&self, holder: BorrowedFd<'_>, pid: i32) -> Result<Taken, NatError> {
        let network = self.network()?;
        let namespace = namespace_of(holder, pid).map_err(at("finding a sandbox's network"))?;
        let until = Instant::now() + LINK_PATIENCE;
        let taken = loop {
            let taken = network.addresses.take().ok_or(NatError::Full(network.range))?;
            let name = format!("{}{}", self.bridge(), taken.offset());
            match link::add_pair(&name, &self.bridge(), namespace.as_fd()) {
                Ok(()) => break taken,
                // The link of a sandbox that has just ended; the kernel takes its time.
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists && Instant::now() < until =>
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(at("linking a sandbox")(error)),
            }
        };
        let (address, gateway) = (taken.address(), network.range.gateway());
        let addressed = inside(&namespace, || link::address_inside(address, gateway));
        addressed.map_err(at("giving a sandbox its address"))?;
        Ok(taken)
    }

    /// Removes it. Blocks.
    pub fn stop(&self) -> Result<(), NatError> {
        match self.lock().take() {
            Some(_network) => self.clear(),
            None => Ok(()),
        }
    }

    fn network(&self) -> Result<Arc<Network>, NatError> {
        let mut network = self.lock();
        if let Some(network) = &*network {
            return Ok(network.clone());
        }
        let started = self.start().inspect_err(|_| {
            if let Err(error) = self.clear() {
                tracing::error!(%error, "clearing what was begun");
            }
        })?;
        tracing::info!(range = %started.range, "functions have a network");
        Ok(network.insert(Arc::new(started)).clone())
    }

    fn start(&self) -> Result<Network, NatError> {
        let _turn = Turn::take().map_err(at("waiting for other instances"))?;
        let bridge = self.bridge();
        let range = match self.wanted {
            Some(range) => range,
            None => range::choose().map_err(at("choosing addresses"))?,
        };
        link::add_bridge(&bridge, range.gateway(), range.prefix())
            .map_err(at("adding a bridge"))?;
        let listening =
            resolver::listen(range.gateway()).map_err(at("listening for the resolver"))?;
        let subject = filter::Subject {
            bridge: &bridge,
            range,
            resolver: listening.ports(),
            connections: Some(most_connections()),
        };
        filter::set(&self.table(), subject).map_err(at("setting rules of nftables"))?;
        forwarding::begin(&bridge).map_err(at("turning forwarding on"))?;
        fs::write(&self.resolv_conf, resolver::configuration(range.gateway()))
            .map_err(at("writing resolv.conf"))?;
        let resolver = listening.serve(&self.runtime).map_err(at("starting the resolver"))?;
        Ok(Network { addresses: Addresses::of(range), range, _resolver: resolver })
    }

    fn clear(&self) -> Result<(), NatError> {
        let _turn = Turn::take().map_err(at("waiting for other instances"))?;
        let file = match fs::remove_file(&self.resolv_conf) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        // Each of them, also where one before fails: what was begun may be a part of it.
        let steps = [
            file.map_err(at("removing resolv.conf")),
            filter::remove(&self.table()).map(drop).map_err(at("removing rules of nftables")),
            forwarding::end().map_err(at("turning forwarding off")),
            link::remove(&self.bridge()).map(drop).map_err(at("removing the bridge")),
        ];
        steps.into_iter().collect()
    }

    fn bridge(&self) -> String {
        format!("{}{}", link::PREFIX, self.id)
    }

    fn table(&self) -> String {
        format!("{}{}", filter::TABLE_PREFIX, self.id)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Network>>> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries in a network namespace of this process's own whether the machine can do all this.
pub fn try_out() -> Result<(), NatError> {
    let bridge = "pq-tried";
    let range = Range::new(std::net::Ipv4Addr::new(198, 18, 0, 0), 20);
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| at("making a namespace")(error.into()))?;
    link::add_bridge(bridge, range.gateway(), range.prefix()).map_err(at("adding a bridge"))?;
    let own = File::open("/proc/self/ns/net").map_err(at("opening a namespace"))?;
    link::add_pair("pq-port", bridge, own.as_fd()).map_err(at("linking a sandbox"))?;
    let subject = filter::Subject { bridge, range, resolver: [1, 1], connections: Some(1) };
    filter::set("pipsqueak-tried", subject).map_err(at("setting rules of nftables"))?;
    forwarding::begin(bridge).map_err(at("turning forwarding on"))
}

/// Does something in a network namespace: on a thread, which may be in another than the rest.
fn inside<T: Send>(namespace: &File, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let there = || {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            work()
        };
        scope.spawn(there).join().unwrap_or_else(|_| Err(io::Error::other("it panicked")))
    })
}

/// Opens the network namespace of a process that a pidfd is of.
fn namespace_of(process: BorrowedFd<'_>, pid: i32) -> io::Result<File> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    // Its number would be another's only after it has ended.
    if pidfd::wait_end(process, Duration::ZERO)? {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(namespace)
}

fn at(step: &'static str) -> impl Fn(io::Error) -> NatError {
    move |error| NatError::Step { step, error }
}

/// The parts of the machine's table of connections, of which a sandbox may have one.
const CONNECTIONS_PART: u32 = 32;

/// Most connections of one sandbox.
fn most_connections() -> u32 {
    // The file is there once anything tracks connections; these are the kernel's own numbers else.
    let all = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max");
    let all = all.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(65_536_u32);
    (all / CONNECTIONS_PART).max(256)
}
