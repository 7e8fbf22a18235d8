//! Why a sandbox could not get a network.

use std::io;

use super::forwarding::ForwardingError;
use super::namespace::NamespaceError;
use super::range::{Range, RangeError};

/// Why a sandbox could not get a network.
#[derive(Debug, thiserror::Error)]
pub enum NatError {
    /// A step of making or removing it.
    #[error("the network of functions: {0}; `pipsqueak doctor` tells what is missing")]
    Step(#[from] NatStep),
    /// No address is free.
    #[error("all addresses of {0} are in use; evict some sandboxes, or name more with --nat")]
    Full(Range),
}

/// The step that failed.
#[derive(Debug, thiserror::Error)]
pub enum NatStep {
    /// The lock that instances share.
    #[error("waiting for other instances: {0}")]
    Turn(#[source] io::Error),
    /// A part of the pool that no route leads to.
    #[error("choosing addresses: {0}")]
    Range(#[from] RangeError),
    /// `RTM_NEWLINK` and `RTM_NEWADDR`.
    #[error("adding a bridge: {0}")]
    AddBridge(#[source] io::Error),
    /// bind(2).
    #[error("listening for the resolver: {0}")]
    Listen(#[source] io::Error),
    /// A batch of nftables.
    #[error("setting rules of nftables: {0}")]
    SetRules(#[source] io::Error),
    /// Forwarding, on.
    #[error("turning forwarding on: {0}")]
    Forward(#[source] ForwardingError),
    /// write(2) of `resolv.conf`.
    #[error("writing resolv.conf: {0}")]
    WriteResolvConf(#[source] io::Error),
    /// Sockets of the resolver, given to its tasks.
    #[error("starting the resolver: {0}")]
    Serve(#[source] io::Error),
    /// The network namespace of a sandbox.
    #[error("finding a sandbox's network: {0}")]
    Namespace(#[source] NamespaceError),
    /// `RTM_NEWLINK` of a veth pair.
    #[error("linking a sandbox: {0}")]
    Link(#[source] io::Error),
    /// `RTM_NEWADDR` and `RTM_NEWROUTE` in a sandbox.
    #[error("giving a sandbox its address: {0}")]
    Address(#[source] NamespaceError),
    /// unlink(2) of `resolv.conf`.
    #[error("removing resolv.conf: {0}")]
    RemoveResolvConf(#[source] io::Error),
    /// `NFT_MSG_DELTABLE`.
    #[error("removing rules of nftables: {0}")]
    RemoveRules(#[source] io::Error),
    /// Forwarding, off.
    #[error("turning forwarding off: {0}")]
    StopForwarding(#[source] ForwardingError),
    /// `RTM_DELLINK`.
    #[error("removing the bridge: {0}")]
    RemoveBridge(#[source] io::Error),
    /// unshare(2), to try it out.
    #[error("making a namespace: {0}")]
    Unshare(#[source] io::Error),
    /// open(2) of that namespace.
    #[error("opening a namespace: {0}")]
    OpenOwn(#[source] io::Error),
}
