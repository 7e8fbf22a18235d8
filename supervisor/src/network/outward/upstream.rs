//! The proxy that this machine reaches the Internet by, if the usual variables tell it to.

use std::net::IpAddr;

use base64::prelude::{BASE64_STANDARD, Engine};
use pipsqueak_fs::split_authority;

/// A proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Host of the proxy.
    pub host: String,
    /// Port of the proxy.
    pub port: u16,
    /// The value of the header field by which the proxy knows the asker.
    pub authorization: Option<Authorization>,
}

/// Why the proxy of this machine cannot be used. The message is without what the address has of credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// A proxy that is not asked by HTTP.
    #[error(
        "the proxy of this machine is one of {0}, and packages are fetched through http:// proxies \
         alone; name such a one, or none, where the supervisor is started"
    )]
    Scheme(String),
    /// The host or the port in its address.
    #[error("the proxy of this machine cannot be used: {0}")]
    Authority(String),
}

/// Credentials for a proxy, which are not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization(pub String);

impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("****")
    }
}

/// The proxies of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstream {
    plain: Option<Result<Proxy, ProxyError>>,
    encrypted: Option<Result<Proxy, ProxyError>>,
    without: Vec<String>,
}

impl Upstream {
    /// Reads the variables.
    pub fn of(value: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: [&str; 4]| {
            let said = names.into_iter().find_map(|name| value(name).filter(|v| !v.is_empty()));
            said.map(|address| read(&address))
        };
        let without = ["no_proxy", "NO_PROXY"].into_iter().find_map(&value).unwrap_or_default();
        let without = without.split([',', ' ']).filter(|host| !host.is_empty());
        Self {
            plain: first(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            encrypted: first(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            without: without.map(str::to_ascii_lowercase).collect(),
        }
    }

    /// The proxy by which a host is reached; the error says why its address cannot be used.
    pub fn to(&self, host: &str, is_plain: bool) -> Option<&Result<Proxy, ProxyError>> {
        let proxy = if is_plain { &self.plain } else { &self.encrypted };
        proxy.as_ref().filter(|_| !self.is_without(host))
    }

    fn is_without(&self, host: &str) -> bool {
        self.without.iter().any(|without| {
            let name = without.trim_start_matches("*.").trim_start_matches('.');
            let is_below = host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
            without == "*" || host == name || (is_below && host.parse::<IpAddr>().is_err())
        })
    }
}

fn read(address: &str) -> Result<Proxy, ProxyError> {
    let rest = match address.split_once("://") {
        Some(("http", rest)) => rest,
        None => address,
        Some((scheme, _)) => return Err(ProxyError::Scheme(scheme.to_owned())),
    };
    let rest = rest.split('/').next().unwrap_or_default();
    let (user, authority) = match rest.rsplit_once('@') {
        Some((user, authority)) => (Some(user), authority),
        None => (None, rest),
    };
    let (host, port) =
        split_authority(authority, 80).map_err(|error| ProxyError::Authority(error.to_string()))?;
    let authorization =
        user.map(|user| Authorization(format!("Basic {}", BASE64_STANDARD.encode(decoded(user)))));
    Ok(Proxy { host, port, authorization })
}

/// The bytes of a text in which some are written as `%XX`.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let (byte, length) = match byte.filter(|_| *first == b'%') {
            Some(byte) => (byte, 3),
            None => (*first, 1),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_those_of_the_usual_variables() {
        let upstream = Upstream::of(|name| {
            let value = match name {
                "HTTP_PROXY" => "http://me:p%40ss@proxy.corp:3128/",
                "ALL_PROXY" => "socks5://me:hunter2@proxy.corp",
                "NO_PROXY" => "localhost, .corp.example,10.0.0.1",
                _ => return None,
            };
            Some(value.to_owned())
        });
        let proxy = upstream.to("pypi.org", true).unwrap().as_ref().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.corp", 3128));
        assert_eq!(proxy.authorization.as_ref().unwrap().0, "Basic bWU6cEBzcw==");
        assert!(!format!("{upstream:?}").contains("bWU6"), "{upstream:?}");
        let error = upstream.to("pypi.org", false).unwrap().as_ref().unwrap_err();
        assert_eq!(error, &ProxyError::Scheme("socks5".to_owned()));
        assert!(!error.to_string().contains("hunter2"), "{error}");
        for host in ["localhost", "corp.example", "a.corp.example", "10.0.0.1"] {
            assert_eq!(upstream.to(host, true), None, "{host}");
        }
        assert!(upstream.to("notcorp.example", true).is_some());
        assert_eq!(Upstream::of(|_| None), Upstream::default());
    }
}
