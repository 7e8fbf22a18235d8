//! Rules of which packets may go where, as plain data.

use std::net::Ipv4Addr;

use crate::network::range::Range;

/// Addresses that clouds tell a machine its credentials at, among others that only the machine
/// itself should use.
const LINK_LOCAL: Range = Range::new(Ipv4Addr::new(169, 254, 0, 0), 16);

/// Port at which the resolver is asked.
const DNS_PORT: u16 = 53;

/// Subject of the rules of an instance.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The bridge that all its sandboxes are behind.
    pub bridge: &'a str,
    /// Addresses of the sandboxes, and that of the bridge.
    pub range: Range,
    /// The ports that its resolver really listens at: UDP, TCP.
    pub resolver: [u16; 2],
    /// Most connections of one sandbox that the host tracks at a time; none if its kernel cannot count them.
    pub connections: Option<u32>,
}

/// Place of a chain in a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// Before it is known whether a packet is for this machine or to be passed on.
    Arrival,
    Input,
    Forward,
    Prerouting,
    Postrouting,
}

/// Condition of a rule on a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term<'a> {
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
    /// Of a connection that begins.
    New,
    /// From a sandbox that has more connections than so many.
    Beyond(u32),
}

/// End of a packet that a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Drop,
    /// As dropped, and the sender is told at once.
    Reject,
    Masquerade,
    /// To the same address, and a port of ours.
    Redirect(u16),
}

/// A rule: its chain, what it asks of a packet, and what becomes of the packet.
pub type Rule<'a> = (Chain, Vec<Term<'a>>, Verdict);

/// The rules of an instance, those of a chain in the order in which they are asked.
pub fn rules(subject: Subject<'_>) -> Vec<Rule<'_>> {
    use Chain::{Arrival, Forward, Input, Postrouting, Prerouting};
    use Term::{Beyond, Destination, From, New, NotTo, Reply, Source, Tcp, To, Udp};
    use Verdict::{Accept, Drop, Masquerade, Redirect, Reject};
    let Subject { bridge, range, resolver: [udp, tcp], connections } = subject;
    let gateway = Destination(Range::new(range.gateway(), 32));
    // First of all: questions to the resolver are connections as well.
    let bounded = connections
        .map(|most| (Arrival, vec![From(bridge), Source(range), New, Beyond(most)], Reject));
    let others = vec![
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
    ];
    bounded.into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_from_a_sandbox_and_not_let_through_ends_there() {
        let range = Range::new(Ipv4Addr::new(198, 18, 16, 0), 20);
        let subject =
            Subject { bridge: "pq0", range, resolver: [1053, 1054], connections: Some(9) };
        let rules = rules(subject);
        for chain in [Chain::Input, Chain::Forward] {
            let of_chain: Vec<_> = rules.iter().filter(|(of, ..)| *of == chain).collect();
            assert!(
                of_chain
                    .iter()
                    .all(|(_, terms, _)| matches!(terms[0], Term::From("pq0") | Term::To("pq0")))
            );
        }
        let first = rules.iter().find(|(of, ..)| *of == Chain::Arrival).unwrap();
        assert_eq!((first.1.last(), first.2), (Some(&Term::Beyond(9)), Verdict::Reject));
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
