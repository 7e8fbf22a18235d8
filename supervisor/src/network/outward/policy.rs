//! Policy of what a job that downloads may reach, as plain data.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use pipsqueak_fs::{Reach, is_of_this_machine};

/// Ports at which any public host may be asked.
const WEB: [u16; 2] = [80, 443];

/// Networks that are not the Internet's, each with the length of its prefix: private ones, those of
/// providers and of tests of devices, and those that are nobody's.
const PRIVATE_V4: [(Ipv4Addr, u32); 10] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    // At which Azure tells its machines what they are to do, although it is a public one.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

/// Why a host is not reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreached {
    /// Nobody names the host and port, and the port is not one of the web.
    #[error(
        "{host}:{port} was not reached: neither the configuration nor the user names it, and its \
         port is not one of the web; name it as [index] hosts in the configuration file"
    )]
    Port {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// The name has no address.
    #[error("{host}:{port} was not reached: the name has no address")]
    NoAddress {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// Nobody names the host, and all of its addresses are private.
    #[error(
        "{host}:{port} was not reached: {first} is not a public address, and neither the \
         configuration nor the user names this host; if packages are there, name it as [index] \
         hosts in the configuration file"
    )]
    NotPublic {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// One of its addresses.
        first: IpAddr,
    },
}

/// The reason if nothing at a host and port is reached, whatever its addresses are.
pub fn refuse_port(reach: &Reach, host: &str, port: u16) -> Option<Unreached> {
    let is_named = reach.named.contains(&(host.to_owned(), port));
    (!is_named && !WEB.contains(&port)).then(|| Unreached::Port { host: host.to_owned(), port })
}

/// Addresses of a host that may be reached; the error says why there is none. `own` are the
/// addresses of this machine.
pub fn reachable(
    reach: &Reach,
    host: &str,
    port: u16,
    addresses: Vec<IpAddr>,
    own: &[IpAddr],
) -> Result<Vec<IpAddr>, Unreached> {
    let Some(first) = addresses.first().copied() else {
        return Err(Unreached::NoAddress { host: host.to_owned(), port });
    };
    if reach.named.contains(&(host.to_owned(), port)) {
        return Ok(addresses);
    }
    let public: Vec<_> = addresses.into_iter().filter(|one| is_public(*one, own)).collect();
    if public.is_empty() {
        return Err(Unreached::NotPublic { host: host.to_owned(), port, first });
    }
    Ok(public)
}

/// True for an address of the Internet that is not of this machine.
fn is_public(address: IpAddr, own: &[IpAddr]) -> bool {
    let address = within(address);
    if is_of_this_machine(address) || own.contains(&address) {
        return false;
    }
    match address {
        IpAddr::V4(address) => !PRIVATE_V4.iter().any(|(network, prefix)| {
            let shift = 32 - prefix;
            address.to_bits() >> shift == network.to_bits() >> shift
        }),
        // Of the Internet is 2000::/3 alone.
        IpAddr::V6(address) => address.segments()[0] & 0xe000 == 0x2000,
    }
}

/// The IPv4 address that an IPv6 address stands for, if it does: mapped, translated, or tunnelled.
fn within(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let octets = v6.octets();
    let v4 = |at: usize| {
        IpAddr::V4(Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]))
    };
    let translated = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0).octets();
    if octets[..12] == translated[..12] {
        return v4(12);
    }
    if octets[..2] == [0x20, 0x02] {
        return v4(2);
    }
    address.to_canonical()
}

/// The addresses of this machine's interfaces.
pub fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let address = |storage: SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    Ok(getifaddrs()?.filter_map(|interface| address(interface.address?)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_not_named_is_reached_at_public_addresses_alone() {
        let reach = Reach { named: [("index.corp".to_owned(), 8080)].into() };
        let own = addresses(&["93.184.216.34", "2606:2800::1"]);
        let of =
            |host: &str, port, all: &[&str]| reachable(&reach, host, port, addresses(all), &own);
        let public = ["151.101.1.69", "2a04:4e42::223"];
        assert_eq!(of("pypi.org", 443, &public), Ok(addresses(&public)));
        // What leads here and elsewhere is reached elsewhere.
        assert_eq!(of("x", 443, &["127.0.0.1", "151.101.1.69"]), Ok(addresses(&public[..1])));
        for inside in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "100.100.100.200",
            "169.254.169.254",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.19.0.1",
            "168.63.129.16",
            "224.0.0.1",
            "255.255.255.255",
            "93.184.216.34",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2606:2800::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
        ] {
            let error = of("x", 443, &[inside]).unwrap_err().to_string();
            assert!(
                error.contains("x:443 was not reached") && error.contains("[index]"),
                "{error}"
            );
            assert_eq!(of("index.corp", 8080, &[inside]), Ok(addresses(&[inside])));
            assert!(of("index.corp", 443, &[inside]).is_err());
        }
        let no_address = Unreached::NoAddress { host: "x".to_owned(), port: 443 };
        assert_eq!(of("x", 443, &[]), Err(no_address));
        assert_eq!(refuse_port(&reach, "index.corp", 8080), None);
        assert_eq!(refuse_port(&reach, "x", 80), None);
        let refused = refuse_port(&reach, "x", 25).unwrap();
        assert_eq!(refused, Unreached::Port { host: "x".to_owned(), port: 25 });
        assert!(refused.to_string().contains("x:25"));
    }
}
