//! Addresses in the web that packages are taken from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An `http` or `https` address without credentials, of printable ASCII alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    text: String,
    host: String,
    port: u16,
}

/// Reason why a text is no address that packages can be taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another scheme, or none.
    #[error(
        "packages are taken from an index, or from an address that begins with https:// or http://"
    )]
    Scheme,
    /// A user or a password.
    #[error(
        "the address has credentials, which would be stored with it; give those to the supervisor \
         instead, as [index] of its configuration file"
    )]
    Credentials,
    /// A character that addresses do not have.
    #[error("the address has a character that no address has; write it as %XX")]
    Character,
    /// A host that cannot be told from another.
    #[error("the address has a host that is neither a name nor an IP address in its usual form")]
    Host,
    /// A port that is none.
    #[error("the address has a port that is no number from 1 to 65535")]
    Port,
}

/// Characters that an address may have beside letters and digits (RFC 3986).
const MARKS: &[u8] = b"-._~:/?#[]@!$&'()*+,;=%";

impl Address {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::Scheme)?;
        let usual_port = match scheme.to_ascii_lowercase().as_str() {
            "https" => 443,
            "http" => 80,
            _ => return Err(AddressError::Scheme),
        };
        let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(AddressError::Credentials);
        }
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || MARKS.contains(&byte);
        if !text.bytes().all(is_part) {
            return Err(AddressError::Character);
        }
        let (host, port) = split_authority(authority, usual_port)?;
        Ok(Self { text: text.to_owned(), host, port })
    }

    /// The address, as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host in small letters, without brackets, and the port.
    pub fn authority(&self) -> (String, u16) {
        (self.host.clone(), self.port)
    }

    /// True if the address itself says that it is one of the machine that asks: its loopback interface, or
    /// the link that it is on.
    pub fn is_of_this_machine(&self) -> bool {
        let is_name_of = |name: &str| name == "localhost" || name.ends_with(".localhost");
        match self.host.parse::<IpAddr>() {
            Ok(address) => is_of_this_machine(address),
            Err(_) => is_name_of(self.host.trim_end_matches('.')),
        }
    }

    /// The last part of the path, without query and fragment.
    pub fn file_name(&self) -> &str {
        let path = self.text.split(['?', '#']).next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The host in small letters and without brackets, and the port, of an authority without credentials.
pub fn split_authority(authority: &str, usual_port: u16) -> Result<(String, u16), AddressError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']').ok_or(AddressError::Host)?;
            let address: Ipv6Addr = inside.parse().map_err(|_| AddressError::Host)?;
            let port = match after {
                "" => None,
                after => Some(after.strip_prefix(':').ok_or(AddressError::Port)?),
            };
            (address.to_string(), port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host.to_ascii_lowercase(), Some(port)),
            None => (authority.to_ascii_lowercase(), None),
        },
    };
    let is_v6 = authority.starts_with('[');
    if !is_v6 && !is_host(&host) {
        return Err(AddressError::Host);
    }
    let port = match port {
        None => usual_port,
        Some(port) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().ok().filter(|port| *port != 0).ok_or(AddressError::Port)?
        }
        Some(_) => return Err(AddressError::Port),
    };
    Ok((host, port))
}

/// True for a name, and for an IPv4 address in its usual form: others read `127.1`, `0x7f000001` and
/// `2130706433` as one, too.
fn is_host(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let last = labels.rsplit('.').next().unwrap_or_default();
    let is_number = last.starts_with(|c: char| c.is_ascii_digit())
        && (last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit()));
    labels.split('.').all(is_label) && (!is_number || host.parse::<Ipv4Addr>().is_ok())
}

/// True for an address that is of the machine that asks, or of the link that it is on.
pub fn is_of_this_machine(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_link_local() || address.octets()[0] == 0
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unspecified() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_the_web_and_says_where_it_leads() {
        let authority = |text: &str| Address::parse(text).unwrap().authority();
        assert_eq!(authority("https://Host.example/x.whl?a=b#c"), ("host.example".to_owned(), 443));
        assert_eq!(authority("http://127.0.0.1:80"), ("127.0.0.1".to_owned(), 80));
        assert_eq!(authority("HTTP://[::1]:8080/x"), ("::1".to_owned(), 8080));
        for (text, error) in [
            ("file:///x.whl", AddressError::Scheme),
            ("git+https://host/x", AddressError::Scheme),
            ("x.whl", AddressError::Scheme),
            ("https://me:secret@host/x", AddressError::Credentials),
            ("https://host\\@other/x", AddressError::Character),
            ("https://host/a b", AddressError::Character),
            ("https://host/${UV_DEFAULT_INDEX}", AddressError::Character),
            ("https://host/a\rb", AddressError::Character),
            ("https://hóst/", AddressError::Character),
            ("https:///x", AddressError::Host),
            ("https://%31/x", AddressError::Host),
            ("https://127.1/x", AddressError::Host),
            ("https://0x7f000001/x", AddressError::Host),
            ("https://2130706433/x", AddressError::Host),
            ("https://[::1/x", AddressError::Host),
            ("https://host:/x", AddressError::Port),
            ("https://host:0/x", AddressError::Port),
            ("https://host:+80/x", AddressError::Port),
            ("https://host:65536/x", AddressError::Port),
        ] {
            assert_eq!(Address::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn an_address_of_this_machine_is_known_as_one() {
        for own in [
            "http://localhost/x",
            "http://a.LOCALHOST./x",
            "http://127.9.9.9/x",
            "http://0.0.0.0/x",
            "http://169.254.169.254/latest",
            "http://[::1]/x",
            "http://[::ffff:127.0.0.1]/x",
            "http://[fe80::1]/x",
        ] {
            assert!(Address::parse(own).unwrap().is_of_this_machine(), "{own}");
        }
        for other in ["https://pypi.org/simple", "http://10.0.0.1/x", "http://localhost.example/"] {
            assert!(!Address::parse(other).unwrap().is_of_this_machine(), "{other}");
        }
    }
}
