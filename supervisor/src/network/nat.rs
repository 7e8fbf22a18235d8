//! The network of an instance's functions: made by the first of them, removed at the end.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use tokio::runtime::Handle;

use super::error::{NatError, NatStep};
use super::range::{Addresses, Range, Taken};
use super::resolver::Resolver;
use super::turn::Turn;
use super::{filter, forwarding, link, namespace, range, resolver};
use crate::sync::{Mutex, MutexGuard, lock};

/// Time that the links of sandboxes that have ended may stand in the way.
const LINK_PATIENCE: Duration = Duration::from_secs(5);

/// The network of an instance's functions, once one of them wants it.
#[derive(Debug)]
pub struct Nat {
    id: String,
    wanted: Option<Range>,
    resolv_conf: PathBuf,
    runtime: Handle,
    network: Mutex<Option<Arc<Network>>>,
}

/// The parts of a network that there is.
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
        let namespace = namespace::of_process(holder, pid).map_err(NatStep::Namespace)?;
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
                Err(error) => return Err(NatStep::Link(error).into()),
            }
        };
        let (address, gateway) = (taken.address(), network.range.gateway());
        namespace::inside(&namespace, || link::address_inside(address, gateway))
            .map_err(NatStep::Address)?;
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

    fn start(&self) -> Result<Network, NatStep> {
        let _turn = Turn::take().map_err(NatStep::Turn)?;
        let bridge = self.bridge();
        let range = match self.wanted {
            Some(range) => range,
            None => range::choose().map_err(NatStep::Range)?,
        };
        // First, and removed last: if there is no bridge, nothing else is left.
        link::add_bridge(&bridge, range.gateway(), range.prefix()).map_err(NatStep::AddBridge)?;
        let listening = resolver::listen(range.gateway()).map_err(NatStep::Listen)?;
        let subject = filter::Subject {
            bridge: &bridge,
            range,
            resolver: listening.ports(),
            connections: Some(most_connections()),
        };
        // Before anything is forwarded, and after the ports of the resolver are known, which the rules name.
        filter::set(&self.table(), subject).map_err(NatStep::SetRules)?;
        forwarding::begin(&bridge).map_err(NatStep::Forward)?;
        fs::write(&self.resolv_conf, resolver::configuration(range.gateway()))
            .map_err(NatStep::WriteResolvConf)?;
        // Last, because nothing after it can fail: no task is left of a network that is none.
        let resolver = listening.serve(&self.runtime).map_err(NatStep::Serve)?;
        Ok(Network { addresses: Addresses::of(range), range, _resolver: resolver })
    }

    fn clear(&self) -> Result<(), NatError> {
        let _turn = Turn::take().map_err(NatStep::Turn)?;
        let file = match fs::remove_file(&self.resolv_conf) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        // Each of them, also where one before fails: what was begun may be a part of it.
        let steps = [
            file.map_err(NatStep::RemoveResolvConf),
            filter::remove(&self.table()).map(drop).map_err(NatStep::RemoveRules),
            forwarding::end().map_err(NatStep::StopForwarding),
            link::remove(&self.bridge()).map(drop).map_err(NatStep::RemoveBridge),
        ];
        Ok(steps.into_iter().collect::<Result<(), NatStep>>()?)
    }

    fn bridge(&self) -> String {
        format!("{}{}", link::PREFIX, self.id)
    }

    fn table(&self) -> String {
        format!("{}{}", filter::TABLE_PREFIX, self.id)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Network>>> {
        lock(&self.network)
    }
}

/// Tries in a network namespace of this process's own whether the machine can do all this.
pub fn try_out() -> Result<(), NatError> {
    let bridge = "pq-tried";
    let range = Range::new(std::net::Ipv4Addr::new(198, 18, 0, 0), 20);
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| NatStep::Unshare(error.into()))?;
    link::add_bridge(bridge, range.gateway(), range.prefix()).map_err(NatStep::AddBridge)?;
    let own = File::open("/proc/self/ns/net").map_err(NatStep::OpenOwn)?;
    link::add_pair("pq-port", bridge, own.as_fd()).map_err(NatStep::Link)?;
    let subject = filter::Subject { bridge, range, resolver: [1, 1], connections: Some(1) };
    filter::set("pipsqueak-tried", subject).map_err(NatStep::SetRules)?;
    forwarding::begin(bridge).map_err(NatStep::Forward)?;
    Ok(())
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
