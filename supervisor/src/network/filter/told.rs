//! Rules as the kernel takes them: tables of nftables, by netlink.

use std::io;

use nix::libc;
use nix::sys::socket::SockProtocol;

use super::rules::{Chain, Rule, Term, Verdict};
use crate::network::netlink::{self, ACK, APPEND, CREATE, Message};
use crate::network::range::Range;

/// A record that instances share: which links the machine forwards by only because of them.
const SHARED_TABLE: &str = "pipsqueak";
const SHARED_SET: &str = "ways";
const SHARED_CHAIN: &str = "guard";
/// The sandboxes of an instance, by their addresses, whose connections are counted.
const COUNTED_SET: &str = "counted";

/// Sets rules in a table of their own.
pub(super) fn set(table: &str, rules: &[Rule<'_>]) -> io::Result<()> {
    use Chain::{Arrival, Forward, Input, Postrouting, Prerouting};
    let mut messages = vec![new_table(table)];
    let counts =
        rules.iter().any(|(_, terms, _)| terms.iter().any(|t| matches!(t, Term::Beyond(_))));
    if counts {
        messages.push(
            Message::new(kind(libc::NFT_MSG_NEWSET), ACK | CREATE, &HEADER)
                .with_text(nfta::SET_TABLE, table)
                .with_text(nfta::SET_NAME, COUNTED_SET)
                .with_be32(nfta::SET_FLAGS, SET_EVAL)
                .with_be32(nfta::SET_KEY_TYPE, IPV4_TYPE)
                .with_be32(nfta::SET_KEY_LEN, 4)
                .with_be32(nfta::SET_ID, 1),
        );
    }
    let chains = [Arrival, Input, Forward, Prerouting, Postrouting];
    messages.extend(chains.map(|chain| new_chain(table, chain.name(), chain)));
    messages.extend(
        rules.iter().map(|(chain, terms, verdict)| new_rule(table, chain.name(), terms, *verdict)),
    );
    commit(messages)
}

/// Removes a table; true if there was one.
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

    /// Kind of the chain, its hook, and its priority, as nft(8) has them by name.
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
/// The type of a link's name as nft(8) has it, so that it can list the set.
const IFNAME_TYPE: u32 = 41;
const IFNAME_BYTES: u32 = 16;
/// User data by which nft(8) knows that it is in the machine's order: kind, length, value.
const IFNAME_ORDER: [u8; 6] = [0, 4, 1, 0, 0, 0];
/// The type of an address as nft(8) has it.
const IPV4_TYPE: u32 = 7;
/// Flag of a set to which packets add: `NFT_SET_EVAL`.
const SET_EVAL: u32 = 0x20;
/// Flag of a rule for those beyond a limit, not for those within: `NFT_CONNLIMIT_F_INV`.
const BEYOND: u32 = 1;
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

/// Loads the state of a packet's connection: `NFTA_CT_DREG`, `NFTA_CT_KEY`.
fn load_state(message: Message) -> Message {
    expression(message, "ct", |m| {
        m.with_be32(1, REGISTER).with_be32(2, libc::NFT_CT_STATE.cast_unsigned())
    })
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
            // The states established and related, and new, as the kernel's bits.
            Self::Reply => compare(mask(load_state(m), 6u32.to_ne_bytes()), is_not, &[0; 4]),
            Self::New => compare(mask(load_state(m), 8u32.to_ne_bytes()), is_not, &[0; 4]),
            Self::Beyond(most) => {
                let loaded = load_header(m, libc::NFT_PAYLOAD_NETWORK_HEADER, 12, 4);
                // NFTA_DYNSET_SET_NAME, …_SET_ID, …_OP (to add), …_SREG_KEY, …_EXPR; NFTA_CONNLIMIT_COUNT, …_FLAGS.
                expression(loaded, "dynset", |m| {
                    m.with_text(1, COUNTED_SET)
                        .with_be32(2, 1)
                        .with_be32(3, 0)
                        .with_be32(4, REGISTER)
                        .within(7, &[], |m| {
                            m.with_text(nfta::EXPRESSION_NAME, "connlimit").within(
                                nfta::EXPRESSION_DATA,
                                &[],
                                |m| m.with_be32(1, most).with_be32(2, BEYOND),
                            )
                        })
                })
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
