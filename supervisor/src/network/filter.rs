//! What packets may go where: tables of nftables, as plain data and as the kernel is told them.

use std::io;
use std::net::Ipv4Addr;

use nix::libc;
use nix::sys::socket::SockProtocol;

use super::netlink::{self, ACK, APPEND, CREATE, Message};
use super::range::Range;

/// What the tables of instances are called at first; then comes an instance's ID.
pub const TABLE_PREFIX: &str = "pipsqueak-";
/// What instances share: which links the machine forwards by only because of them.
const SHARED_TABLE: &str = "pipsqueak";
const SHARED_SET: &str = "ways";
const SHARED_CHAIN: &str = "guard";

/// Addresses that clouds tell a machine its credentials at, among others that only the machine
/// itself should use.
const LINK_LOCAL: Range = Range::new(Ipv4Addr::new(169, 254, 0, 0), 16);

/// Where the resolver is asked.
const DNS_PORT: u16 = 53;

/// What the rules of an instance are about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The bridge that all its sandboxes are behind.
    pub bridge: &'a str,
    /// Their addresses, and that of the bridge.
    pub range: Range,
    /// The ports that its resolver really listens at: UDP, TCP.
    pub resolver: [u16; 2],
}

/// Where in a packet's way a chain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chain {
    /// Before it is known whether a packet is for this machine or to be passed on.
    Arrival,
    Input,
    Forward,
    Prerouting,
    Postrouting,
}

/// What a rule asks of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Term<'a> {
    From(&'a str),
    To(&'a str),
    NotTo(&'a str),
    FromShared,
    ToShared,
    Source(Range),
    Destination(Range),
    Udp(u16),
    Tcp(u16),
    /// Of a connection that was let through in the other direction, or about one.
    Reply,
}

/// What becomes of a packet that a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
    /// As dropped, and the sender is told at once.
    Reject,
    Masquerade,
    /// To the same address, and a port of ours.
    Redirect(u16),
}

type Rule<'a> = (Chain, Vec<Term<'a>>, Verdict);

/// The rules of an instance, those of a chain in the order in which they are asked.
fn rules(subject: Subject<'_>) -> Vec<Rule<'_>> {
    use Chain::{Arrival, Forward, Input, Postrouting, Prerouting};
    use Term::{Destination, From, NotTo, Reply, Source, Tcp, To, Udp};
    use Verdict::{Accept, Drop, Masquerade, Redirect, Reject};
    let Subject { bridge, range, resolver: [udp, tcp] } = subject;
    let gateway = Destination(Range::new(range.gateway(), 32));
    vec![
        (Prerouting, vec![From(bridge), gateway, Udp(DNS_PORT)], Redirect(udp)),
        (Prerouting, vec![From(bridge), gateway, Tcp(DNS_PORT)], Redirect(tcp)),
        // Here, because the way on would tell its sender to ask the other directly, and then, for a
        // while, nothing more.
        (Arrival, vec![From(bridge), gateway], Accept),
        (Arrival, vec![From(bridge), Destination(range)], Reject),
        // All that the host itself has, at whichever of its addresses, but for the resolver.
        (Input, vec![From(bridge), gateway, Udp(udp)], Accept),
        (Input, vec![From(bridge), gateway, Tcp(tcp)], Accept),
        (Input, vec![From(bridge)], Reject),
        (Forward, vec![From(bridge), To(bridge)], Reject),
        (Forward, vec![From(bridge), Destination(LINK_LOCAL)], Reject),
        (Forward, vec![From(bridge)], Accept),
        (Forward, vec![To(bridge), Reply], Accept),
        (Forward, vec![To(bridge)], Drop),
        (Postrouting, vec![Source(range), NotTo(bridge)], Masquerade),
    ]
}

/// Sets the rules of an instance in a table of its own.
pub fn set(table: &str, subject: Subject<'_>) -> io::Result<()> {
    use Chain::{Arrival, Forward, Input, Postrouting, Prerouting};
    let mut messages = vec![new_table(table)];
    let chains = [Arrival, Input, Forward, Prerouting, Postrouting];
    messages.extend(chains.map(|chain| new_chain(table, chain.name(), chain)));
    let rules = rules(subject);
    messages.extend(
        rules.iter().map(|(chain, terms, verdict)| new_rule(table, chain.name(), terms, *verdict)),
    );
    commit(messages)
}

/// Removes a table; whether there was one.
pub fn remove(table: &str) -> io::Result<bool> {
    let message = Message::new(kind(libc::NFT_MSG_DELTABLE), ACK, &HEADER);
    match commit(vec![message.with_text(nfta::TABLE_NAME, table)]) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The names of all tables of our family.
pub fn tables() -> io::Result<Vec<String>> {
    let tables = netlink::list(NETFILTER, kind(libc::NFT_MSG_GETTABLE), &HEADER)?;
    let names = tables.iter().filter_map(|body| {
        Some(netlink::text(netlink::find(body.get(HEADER.len()..)?, nfta::TABLE_NAME)?))
    });
    Ok(names.collect())
}

/// Notes links that the machine forwards by only because of us. Between two of them it forwards
/// nothing, as before.
pub fn share(links: &[String]) -> io::Result<()> {
    let (table, chain) = (SHARED_TABLE, SHARED_CHAIN);
    let set = Message::new(kind(libc::NFT_MSG_NEWSET), ACK | CREATE, &HEADER)
        .with_text(nfta::SET_TABLE, table)
        .with_text(nfta::SET_NAME, SHARED_SET)
        .with_be32(nfta::SET_FLAGS, 0)
        .with_be32(nfta::SET_KEY_TYPE, IFNAME_TYPE)
        .with_be32(nfta::SET_KEY_LEN, IFNAME_BYTES)
        .with_be32(nfta::SET_ID, 1)
        .with(nfta::SET_USERDATA, &IFNAME_ORDER);
    let elements = Message::new(kind(libc::NFT_MSG_NEWSETELEM), ACK | CREATE, &HEADER)
        .with_text(nfta::ELEMENTS_TABLE, table)
        .with_text(nfta::ELEMENTS_SET, SHARED_SET)
        .within(nfta::ELEMENTS, &[], |m| {
            links.iter().fold(m, |m, link| {
                m.within(nfta::LIST_ITEM, &[], |m| data(m, nfta::ELEMENT_KEY, &padded(link)))
            })
        });
    // Rules of an earlier instance, which say the same.
    let flush = Message::new(kind(libc::NFT_MSG_DELRULE), ACK, &HEADER)
        .with_text(nfta::RULE_TABLE, table)
        .with_text(nfta::RULE_CHAIN, chain);
    let guard = [Term::FromShared, Term::ToShared];
    commit(vec![
        new_table(table),
        set,
        elements,
        new_chain(table, chain, Chain::Forward),
        flush,
        new_rule(table, chain, &guard, Verdict::Drop),
    ])
}

/// The links that were noted.
pub fn shared() -> io::Result<Vec<String>> {
    let question = Message::new(kind(libc::NFT_MSG_GETSETELEM), 0, &HEADER)
        .with_text(nfta::ELEMENTS_TABLE, SHARED_TABLE)
        .with_text(nfta::ELEMENTS_SET, SHARED_SET);
    let bodies = match netlink::ask(NETFILTER, question) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
        answered => answered?,
    };
    let mut links = Vec::new();
    for body in &bodies {
        let all = body.get(HEADER.len()..).unwrap_or_default();
        let items = netlink::find(all, nfta::ELEMENTS).unwrap_or_default();
        links.extend(netlink::attributes(items).filter_map(|(_, item)| {
            let key = netlink::find(item, nfta::ELEMENT_KEY)?;
            netlink::find(key, nfta::DATA_VALUE).map(netlink::text)
        }));
    }
    Ok(links)
}

/// Forgets the links that were noted.
pub fn unshare() -> io::Result<bool> {
    remove(SHARED_TABLE)
}

impl Chain {
    fn name(self) -> &'static str {
        match self {
            Self::Arrival => "arrival",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Prerouting => "prerouting",
            Self::Postrouting => "postrouting",
        }
    }

    /// What kind of chain it is, its hook, and its priority, as nft(8) has them by name.
    fn place(self) -> (&'static str, i32, i32) {
        match self {
            Self::Arrival => ("filter", libc::NF_INET_PRE_ROUTING, 0),
            Self::Input => ("filter", libc::NF_INET_LOCAL_IN, 0),
            Self::Forward => ("filter", libc::NF_INET_FORWARD, 0),
            Self::Prerouting => ("nat", libc::NF_INET_PRE_ROUTING, -100),
            Self::Postrouting => ("nat", libc::NF_INET_POST_ROUTING, 100),
        }
    }
}

/// Numbers of attributes: `NFTA_…` of `linux/netfilter/nf_tables.h`, which libc does not have.
mod nfta {
    pub const TABLE_NAME: u16 = 1;
    pub const CHAIN_TABLE: u16 = 1;
    pub const CHAIN_NAME: u16 = 3;
    pub const CHAIN_HOOK: u16 = 4;
    pub const CHAIN_TYPE: u16 = 7;
    pub const HOOK_NUMBER: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
    pub const RULE_TABLE: u16 = 1;
    pub const RULE_CHAIN: u16 = 2;
    pub const RULE_EXPRESSIONS: u16 = 4;
    pub const LIST_ITEM: u16 = 1;
    pub const EXPRESSION_NAME: u16 = 1;
    pub const EXPRESSION_DATA: u16 = 2;
    pub const DATA_VALUE: u16 = 1;
    pub const DATA_VERDICT: u16 = 2;
    pub const VERDICT_CODE: u16 = 1;
    pub const SET_TABLE: u16 = 1;
    pub const SET_NAME: u16 = 2;
    pub const SET_FLAGS: u16 = 3;
    pub const SET_KEY_TYPE: u16 = 4;
    pub const SET_KEY_LEN: u16 = 5;
    pub const SET_ID: u16 = 10;
    pub const SET_USERDATA: u16 = 13;
    pub const ELEMENTS_TABLE: u16 = 1;
    pub const ELEMENTS_SET: u16 = 2;
    pub const ELEMENTS: u16 = 3;
    pub const ELEMENT_KEY: u16 = 1;
}

const NETFILTER: SockProtocol = SockProtocol::NetlinkNetFilter;
/// struct nfgenmsg: family, version, resource.
const HEADER: [u8; 4] = [libc::NFPROTO_INET as u8, 0, 0, 0];
/// What nft(8) calls the type of a link's name, so that it can list the set.
const IFNAME_TYPE: u32 = 41;
const IFNAME_BYTES: u32 = 16;
/// That it is in the machine's order, which nft(8) has to be told: kind, length, value.
const IFNAME_ORDER: [u8; 6] = [0, 4, 1, 0, 0, 0];
/// The register that values are loaded into.
const REGISTER: u32 = libc::NFT_REG_1 as u32;

fn kind(message: i32) -> u16 {
    (libc::NFNL_SUBSYS_NFTABLES << 8 | message) as u16
}

/// Has the kernel carry out all messages or none.
fn commit(messages: Vec<Message>) -> io::Result<()> {
    let edge = |kind: i32| {
        let header = [0, 0, 0, libc::NFNL_SUBSYS_NFTABLES as u8];
        Message::new(kind as u16, 0, &header)
    };
    let mut batch = vec![edge(libc::NFNL_MSG_BATCH_BEGIN)];
    batch.extend(messages);
    batch.push(edge(libc::NFNL_MSG_BATCH_END));
    netlink::tell(NETFILTER, batch)
}

fn new_table(table: &str) -> Message {
    let message = Message::new(kind(libc::NFT_MSG_NEWTABLE), ACK | CREATE, &HEADER);
    message.with_text(nfta::TABLE_NAME, table)
}

fn new_chain(table: &str, name: &str, chain: Chain) -> Message {
    let (what, hook, priority) = chain.place();
    Message::new(kind(libc::NFT_MSG_NEWCHAIN), ACK | CREATE, &HEADER)
        .with_text(nfta::CHAIN_TABLE, table)
        .with_text(nfta::CHAIN_NAME, name)
        .within(nfta::CHAIN_HOOK, &[], |m| {
            m.with_be32(nfta::HOOK_NUMBER, hook.cast_unsigned())
                .with_be32(nfta::HOOK_PRIORITY, priority.cast_unsigned())
        })
        .with_text(nfta::CHAIN_TYPE, what)
}

fn new_rule(table: &str, chain: &str, terms: &[Term<'_>], verdict: Verdict) -> Message {
    Message::new(kind(libc::NFT_MSG_NEWRULE), ACK | CREATE | APPEND, &HEADER)
        .with_text(nfta::RULE_TABLE, table)
        .with_text(nfta::RULE_CHAIN, chain)
        .within(nfta::RULE_EXPRESSIONS, &[], |m| {
            let asked = terms.iter().fold(m, |m, term| term.add_to(m));
            verdict.add_to(asked)
        })
}

/// Adds one expression, whose attributes are `fill`'s.
fn expression(message: Message, name: &str, fill: impl FnOnce(Message) -> Message) -> Message {
    message.within(nfta::LIST_ITEM, &[], |m| {
        m.with_text(nfta::EXPRESSION_NAME, name).within(nfta::EXPRESSION_DATA, &[], fill)
    })
}

/// Adds a value as an attribute.
fn data(message: Message, kind: u16, value: &[u8]) -> Message {
    message.within(kind, &[], |m| m.with(nfta::DATA_VALUE, value))
}

fn padded(link: &str) -> Vec<u8> {
    let mut name = link.as_bytes().to_vec();
    name.resize(IFNAME_BYTES as usize, 0);
    name
}

/// Loads something about a packet: `NFTA_META_DREG`, `NFTA_META_KEY`.
fn load(message: Message, key: i32) -> Message {
    expression(message, "meta", |m| m.with_be32(1, REGISTER).with_be32(2, key.cast_unsigned()))
}

/// Loads a part of a header: `NFTA_PAYLOAD_DREG`, `…_BASE`, `…_OFFSET`, `…_LEN`.
fn load_header(message: Message, base: i32, offset: u32, length: u32) -> Message {
    expression(message, "payload", |m| {
        m.with_be32(1, REGISTER)
            .with_be32(2, base.cast_unsigned())
            .with_be32(3, offset)
            .with_be32(4, length)
    })
}

/// Keeps the bits of a mask: `NFTA_BITWISE_SREG`, `…_DREG`, `…_LEN`, `…_MASK`, `…_XOR`.
fn mask(message: Message, mask: [u8; 4]) -> Message {
    expression(message, "bitwise", |m| {
        let m = m.with_be32(1, REGISTER).with_be32(2, REGISTER).with_be32(3, 4);
        data(data(m, 4, &mask), 5, &[0; 4])
    })
}

/// Goes on where what is loaded is (or is not) a value: `NFTA_CMP_SREG`, `…_OP`, `…_DATA`.
fn compare(message: Message, operator: i32, value: &[u8]) -> Message {
    expression(message, "cmp", |m| {
        data(m.with_be32(1, REGISTER).with_be32(2, operator.cast_unsigned()), 3, value)
    })
}

/// Goes on where what is loaded is in the shared set: `NFTA_LOOKUP_SET`, `…_SREG`.
fn in_shared(message: Message) -> Message {
    expression(message, "lookup", |m| m.with_text(1, SHARED_SET).with_be32(2, REGISTER))
}

impl Term<'_> {
    fn add_to(self, m: Message) -> Message {
        let (is, is_not) = (libc::NFT_CMP_EQ, libc::NFT_CMP_NEQ);
        match self {
            Self::From(link) => compare(load(m, libc::NFT_META_IIFNAME), is, &padded(link)),
            Self::To(link) => compare(load(m, libc::NFT_META_OIFNAME), is, &padded(link)),
            Self::NotTo(link) => compare(load(m, libc::NFT_META_OIFNAME), is_not, &padded(link)),
            Self::FromShared => in_shared(load(m, libc::NFT_META_IIFNAME)),
            Self::ToShared => in_shared(load(m, libc::NFT_META_OIFNAME)),
            // Where the addresses are in the header of IPv4, RFC 791.
            Self::Source(range) => in_range(m, 12, range),
            Self::Destination(range) => in_range(m, 16, range),
            Self::Udp(port) => to_port(m, libc::IPPROTO_UDP, port),
            Self::Tcp(port) => to_port(m, libc::IPPROTO_TCP, port),
            Self::Reply => {
                // NFTA_CT_DREG, NFTA_CT_KEY; the states established and related, as the kernel's bits.
                let loaded = expression(m, "ct", |m| {
                    m.with_be32(1, REGISTER).with_be32(2, libc::NFT_CT_STATE.cast_unsigned())
                });
                compare(mask(loaded, 6u32.to_ne_bytes()), is_not, &[0; 4])
            }
        }
    }
}

fn in_range(message: Message, offset: u32, range: Range) -> Message {
    let ipv4 = [libc::NFPROTO_IPV4 as u8];
    let message = compare(load(message, libc::NFT_META_NFPROTO), libc::NFT_CMP_EQ, &ipv4);
    let loaded = load_header(message, libc::NFT_PAYLOAD_NETWORK_HEADER, offset, 4);
    let masked = mask(loaded, range.mask().to_be_bytes());
    compare(masked, libc::NFT_CMP_EQ, &range.first().octets())
}

fn to_port(message: Message, transport: i32, port: u16) -> Message {
    let transport = [transport as u8];
    let message = compare(load(message, libc::NFT_META_L4PROTO), libc::NFT_CMP_EQ, &transport);
    // The destination's port is the second of both headers.
    let loaded = load_header(message, libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
    compare(loaded, libc::NFT_CMP_EQ, &port.to_be_bytes())
}

impl Verdict {
    fn add_to(self, m: Message) -> Message {
        // NFTA_IMMEDIATE_DREG, NFTA_IMMEDIATE_DATA.
        let end = |m, code: i32| {
            expression(m, "immediate", |m| {
                m.with_be32(1, libc::NFT_REG_VERDICT.cast_unsigned()).within(2, &[], |m| {
                    m.within(nfta::DATA_VERDICT, &[], |m| {
                        m.with_be32(nfta::VERDICT_CODE, code.cast_unsigned())
                    })
                })
            })
        };
        match self {
            Self::Accept => end(m, libc::NF_ACCEPT),
            Self::Drop => end(m, libc::NF_DROP),
            // NFTA_REJECT_TYPE, NFTA_REJECT_ICMP_CODE.
            Self::Reject => expression(m, "reject", |m| {
                m.with_be32(1, libc::NFT_REJECT_ICMPX_UNREACH.cast_unsigned())
                    .with(2, &[libc::NFT_REJECT_ICMPX_ADMIN_PROHIBITED as u8])
            }),
            Self::Masquerade => expression(m, "masq", |m| m),
            // The port is loaded first: NFTA_IMMEDIATE_…, then NFTA_REDIR_REG_PROTO_MIN.
            Self::Redirect(port) => {
                let loaded = expression(m, "immediate", |m| {
                    data(m.with_be32(1, REGISTER), 2, &port.to_be_bytes())
                });
                expression(loaded, "redir", |m| m.with_be32(1, REGISTER))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_from_a_sandbox_and_not_let_through_ends_there() {
        let range = Range::new(Ipv4Addr::new(198, 18, 16, 0), 20);
        let subject = Subject { bridge: "pq0", range, resolver: [1053, 1054] };
        let rules = rules(subject);
        for chain in [Chain::Input, Chain::Forward] {
            let of_chain: Vec<_> = rules.iter().filter(|(of, ..)| *of == chain).collect();
            assert!(
                of_chain
                    .iter()
                    .all(|(_, terms, _)| matches!(terms[0], Term::From("pq0") | Term::To("pq0")))
            );
        }
        let last_of = |chain| rules.iter().rfind(|(of, ..)| *of == chain).unwrap();
        assert_eq!(
            last_of(Chain::Input),
            &(Chain::Input, vec![Term::From("pq0")], Verdict::Reject)
        );
        assert_eq!(
            last_of(Chain::Forward),
            &(Chain::Forward, vec![Term::To("pq0")], Verdict::Drop)
        );
    }
}
