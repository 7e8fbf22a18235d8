//! Heads of requests to a proxy (RFC 9110, 9112), and the heads that are sent on for them.

use pipsqueak_fs::split_authority;

/// Longest head that is read, in bytes.
pub const LONGEST: usize = 64 << 10;

/// A request to a proxy.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Host in small letters.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Kind of the request.
    pub kind: Kind,
}

/// Kind of a request to a host.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection, over which both then talk as they like.
    Tunnel,
    /// One answer of a host that is asked without encryption.
    Plain {
        /// Method, such as `GET`.
        method: String,
        /// Path and query.
        path: String,
        /// The request's own header fields, each with its end of line.
        fields: String,
    },
}

/// Header fields that are between a client and a proxy, or are said anew.
const HOP: [&str; 7] = [
    "connection",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "upgrade",
];

impl Request {
    /// Reads a head, which an empty line ends; `None` if it is none.
    pub fn parse(head: &str) -> Option<Self> {
        let (first, fields) = head.strip_suffix("\r\n")?.split_once("\r\n")?;
        let [method, target, version] = first.split(' ').collect::<Vec<_>>()[..] else {
            return None;
        };
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if !version.starts_with("HTTP/1.") || ![method, target].into_iter().all(is_word) {
            return None;
        }
        if method == "CONNECT" {
            let (host, port) = split_authority(target, 443).ok()?;
            return Some(Self { host, port, kind: Kind::Tunnel });
        }
        let rest = target.strip_prefix("http://")?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (host, port) = split_authority(authority, 80).ok()?;
        let mut own = String::new();
        for field in fields.split_terminator("\r\n") {
            let (name, value) = field.split_once(':')?;
            if !is_word(name) || value.contains(['\r', '\n', '\0']) {
                return None;
            }
            if !HOP.iter().any(|hop| name.eq_ignore_ascii_case(hop)) {
                own.push_str(field);
                own.push_str("\r\n");
            }
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        let (method, path) = (method.to_owned(), format!("{slash}{path}"));
        Some(Self { host, port, kind: Kind::Plain { method, path, fields: own } })
    }

    /// Host and port as they stand in a request.
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The head that the host is sent itself; none if it hears what the client says then.
    pub fn to_host(&self) -> Option<String> {
        let Kind::Plain { method, path, fields } = &self.kind else { return None };
        let authority = self.authority();
        Some(format!(
            "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{fields}\r\n"
        ))
    }

    /// The head that another proxy is sent, with `authorization`, the value of a field, if it wants one.
    pub fn to_proxy(&self, authorization: Option<&str>) -> String {
        let authority = self.authority();
        let own = authorization.map(|value| format!("Proxy-Authorization: {value}\r\n"));
        let own = own.unwrap_or_default();
        match &self.kind {
            Kind::Tunnel => {
                format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{own}\r\n")
            }
            Kind::Plain { method, path, fields } => format!(
                "{method} http://{authority}{path} HTTP/1.1\r\nHost: {authority}\r\n\
                 Connection: close\r\n{own}{fields}\r\n"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_to_a_proxy_is_read_and_said_on() {
        let tunnel = Request::parse("CONNECT Pypi.org:443 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!((tunnel.host.as_str(), tunnel.port), ("pypi.org", 443));
        assert_eq!(tunnel.to_host(), None);
        assert_eq!(
            tunnel.to_proxy(Some("Basic eA==")),
            "CONNECT pypi.org:443 HTTP/1.1\r\nHost: pypi.org:443\r\nProxy-Authorization: Basic eA==\r\n\r\n"
        );
        let head = "GET http://[::1]:8080/simple/?a=b HTTP/1.1\r\nHost: other\r\nAccept: */*\r\n\
                    Proxy-Connection: keep-alive\r\nCONNECTION: upgrade\r\n\r\n";
        let plain = Request::parse(head).unwrap();
        assert_eq!(
            plain.to_host().unwrap(),
            "GET /simple/?a=b HTTP/1.1\r\nHost: [::1]:8080\r\nConnection: close\r\nAccept: */*\r\n\r\n"
        );
        assert!(plain.to_proxy(None).starts_with("GET http://[::1]:8080/simple/?a=b HTTP/1.1\r\n"));
        let bare = Request::parse("GET http://host HTTP/1.1\r\n\r\n").unwrap();
        assert!(bare.to_host().unwrap().starts_with("GET / HTTP/1.1\r\nHost: host:80\r\n"));
    }

    #[test]
    fn what_is_no_request_to_a_proxy_is_none() {
        for head in [
            "",
            "\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET ftp://host/ HTTP/1.1\r\n\r\n",
            "GET https://host/ HTTP/1.1\r\n\r\n",
            "GET http://user@host/ HTTP/1.1\r\n\r\n",
            "GET http://127.1/ HTTP/1.1\r\n\r\n",
            "GET http://host/ HTTP/2\r\n\r\n",
            "GET http://host/ a HTTP/1.1\r\n\r\n",
            "GET http://host/ HTTP/1.1\r\nno field\r\n\r\n",
            "GET http://host/ HTTP/1.1\r\n folded: x\r\n\r\n",
            "GET http://host/ HTTP/1.1\r\na: b\nHost: c\r\n\r\n",
            "CONNECT host:0 HTTP/1.1\r\n\r\n",
            "CONNECT http://host HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(Request::parse(head), None, "{head:?}");
        }
    }
}
