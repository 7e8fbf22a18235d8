//! Links, addresses and routes.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockProtocol;

use super::netlink::{self, ACK, CREATE, EXCLUSIVE, Message};

/// Begin of the names of all links of ours; then comes an instance's ID of [`ID_LETTERS`].
pub const PREFIX: &str = "pq";
const ID_LETTERS: usize = 8;
/// Name of a sandbox's end, inside.
const INSIDE: &str = "eth0";

/// `IFF_UP` of netdevice(7), as flags and as the mask of what changes.
const UP: u32 = libc::IFF_UP as u32;
/// `IFLA_BRPORT_*` and `VETH_INFO_*` of `linux/if_link.h` and `linux/veth.h`, which libc does not
/// have.
const BRPORT_ISOLATED: u16 = 33;
const VETH_PEER: u16 = 1;

const ROUTE: SockProtocol = SockProtocol::NetlinkRoute;

/// A bridge of this name with an address of its own, which is that of a network's gateway.
pub fn add_bridge(name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    // Of its own, or it would change with its ports and be unknown to those that remember it.
    let [_, b, c, d] = address.octets();
    let message = Message::new(libc::RTM_NEWLINK, ACK | CREATE | EXCLUSIVE, &link(0, UP))
        .with_text(libc::IFLA_IFNAME, name)
        .with(libc::IFLA_ADDRESS, &[0x02, b'p', b'q', b, c, d])
        .within(libc::IFLA_LINKINFO, &[], |m| m.with_text(libc::IFLA_INFO_KIND, "bridge"));
    netlink::tell(ROUTE, vec![message])?;
    netlink::tell(ROUTE, vec![new_address(if_nametoindex(name)?, address, prefix)])
}

/// A pair of links: `name` here, a port of `bridge` that talks to no other port, and `eth0` in the
/// network namespace.
///
/// The far end is made where it belongs: to move one there costs the wait of an RCU grace period.
pub fn add_pair(name: &str, bridge: &str, namespace: BorrowedFd<'_>) -> io::Result<()> {
    let bridge = if_nametoindex(bridge)?;
    let descriptor = namespace.as_raw_fd().cast_unsigned();
    let pair = Message::new(libc::RTM_NEWLINK, ACK | CREATE | EXCLUSIVE, &link(0, UP))
        .with_text(libc::IFLA_IFNAME, name)
        .with_u32(libc::IFLA_MASTER, bridge)
        .within(libc::IFLA_LINKINFO, &[], |m| {
            m.with_text(libc::IFLA_INFO_KIND, "veth").within(libc::IFLA_INFO_DATA, &[], |m| {
                m.within(VETH_PEER, &link(0, 0), |m| {
                    m.with_text(libc::IFLA_IFNAME, INSIDE)
                        .with_u32(libc::IFLA_NET_NS_FD, descriptor)
                })
            })
        });
    let isolated = Message::new(libc::RTM_NEWLINK, ACK, &link(0, 0))
        .with_text(libc::IFLA_IFNAME, name)
        .within(libc::IFLA_LINKINFO, &[], |m| {
            m.with_text(libc::IFLA_INFO_SLAVE_KIND, "bridge").within(
                libc::IFLA_INFO_SLAVE_DATA,
                &[],
                |m| m.with(BRPORT_ISOLATED, &[1]),
            )
        });
    netlink::tell(ROUTE, vec![pair, isolated])
}

/// In a sandbox's network namespace: the address of its end, and the way out through `gateway`.
///
/// The network has this one address, so all that is sent goes through the gateway, also what is
/// for other sandboxes.
pub fn address_inside(address: Ipv4Addr, gateway: Ipv4Addr) -> io::Result<()> {
    let index = if_nametoindex(INSIDE)?;
    let up = Message::new(libc::RTM_NEWLINK, ACK, &link(index, UP));
    let addressed = new_address(index, address, 32);
    let to_gateway =
        Message::new(libc::RTM_NEWROUTE, ACK | CREATE, &route(32, libc::RT_SCOPE_LINK))
            .with(libc::RTA_DST, &gateway.octets())
            .with_u32(libc::RTA_OIF, index);
    let default =
        Message::new(libc::RTM_NEWROUTE, ACK | CREATE, &route(0, libc::RT_SCOPE_UNIVERSE))
            .with(libc::RTA_GATEWAY, &gateway.octets())
            .with_u32(libc::RTA_OIF, index);
    netlink::tell(ROUTE, vec![up, addressed, to_gateway, default])
}

/// True if there is a link of this name.
pub fn exists(name: &str) -> bool {
    if_nametoindex(name).is_ok()
}

/// True if a link is of an instance, this or another.
pub fn is_ours(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .and_then(|rest| rest.get(..ID_LETTERS))
        .is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Removes a link; true if there was one.
pub fn remove(name: &str) -> io::Result<bool> {
    let message = Message::new(libc::RTM_DELLINK, ACK, &link(0, 0));
    match netlink::tell(ROUTE, vec![message.with_text(libc::IFLA_IFNAME, name)]) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Names of the links that are up and are no loopback.
pub fn ways_out() -> io::Result<Vec<String>> {
    let is_way = |body: &Vec<u8>| {
        let flags = body.get(8..12).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
        flags & UP != 0 && flags & libc::IFF_LOOPBACK.cast_unsigned() == 0
    };
    let links = netlink::list(ROUTE, libc::RTM_GETLINK, &link(0, 0))?;
    let names = links
        .iter()
        .filter(|body| is_way(body))
        .filter_map(|body| Some(netlink::text(netlink::find(body.get(16..)?, libc::IFLA_IFNAME)?)));
    Ok(names.collect())
}

/// The networks that routes of any table lead to, default routes left out: first address, prefix.
pub fn routed() -> io::Result<Vec<(Ipv4Addr, u8)>> {
    let routes = netlink::list(ROUTE, libc::RTM_GETROUTE, &route(0, 0))?;
    let networks = routes.iter().filter_map(|body| {
        let octets: [u8; 4] = netlink::find(body.get(12..)?, libc::RTA_DST)?.try_into().ok()?;
        Some((Ipv4Addr::from(octets), body[1]))
    });
    Ok(networks.collect())
}

fn new_address(index: u32, address: Ipv4Addr, prefix: u8) -> Message {
    // struct ifaddrmsg: family, prefix length, flags, scope, index.
    let mut header = vec![libc::AF_INET as u8, prefix, 0, libc::RT_SCOPE_UNIVERSE];
    header.extend(index.to_ne_bytes());
    Message::new(libc::RTM_NEWADDR, ACK | CREATE | EXCLUSIVE, &header)
        .with(libc::IFA_LOCAL, &address.octets())
        .with(libc::IFA_ADDRESS, &address.octets())
}

/// struct ifinfomsg: family, type, index, flags, which of them change.
fn link(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

/// struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type.
fn route(destination: u8, scope: u8) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = libc::AF_INET as u8;
    header[1] = destination;
    header[4] = libc::RT_TABLE_MAIN;
    header[5] = libc::RTPROT_STATIC;
    header[6] = scope;
    header[7] = libc::RTN_UNICAST;
    header
}
