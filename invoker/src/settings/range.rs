//! Ranges of IPv4 addresses, such as `198.18.0.0/20`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::de::Deserializer;

use super::error::{SettingsError, Wrong};
use super::kind::{FlagKind, Kind, parse, parse_file};
use super::variables::Variables;

/// Longest prefix of a range for sandboxes: the fewest addresses, two of them for one sandbox.
const LONGEST_PREFIX: u8 = 30;
/// Shortest prefix: a sandbox's number is in the name of its link, which has room for five digits.
const SHORTEST_PREFIX: u8 = 16;

/// A text is no range of addresses for sandboxes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no range of addresses; write its first address and a prefix from {SHORTEST_PREFIX} \
     to {LONGEST_PREFIX}, such as 10.11.0.0/20"
)]
pub struct RangeError {
    text: String,
}

/// A range of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: Ipv4Addr,
    prefix: u8,
}

impl Range {
    /// The range that `first` begins, of addresses with the same first `prefix` bits.
    pub const fn new(first: Ipv4Addr, prefix: u8) -> Self {
        Self { first, prefix }
    }

    /// First address, which no sandbox has.
    pub fn first(self) -> Ipv4Addr {
        self.first
    }

    /// Number of bits that all addresses share.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Mask of the shared bits.
    pub fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    /// Address that the sandboxes of the range send by.
    pub fn gateway(self) -> Ipv4Addr {
        self.address(1)
    }

    /// Address at a distance from the first.
    pub fn address(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.to_bits().wrapping_add(offset))
    }

    /// Distance from the first address to the last, which no sandbox has either.
    pub fn last_offset(self) -> u32 {
        !self.mask()
    }

    /// True if the range shares an address with another.
    pub fn overlaps(self, other: Self) -> bool {
        let mask = self.mask() & other.mask();
        self.first.to_bits() & mask == other.first.to_bits() & mask
    }
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let range = text.trim().split_once('/').and_then(|(first, prefix)| {
            let range = Self::new(first.parse().ok()?, prefix.parse().ok()?);
            let is_sized = (SHORTEST_PREFIX..=LONGEST_PREFIX).contains(&range.prefix);
            (is_sized && range.first.to_bits() & !range.mask() == 0).then_some(range)
        });
        range.ok_or_else(|| RangeError { text: text.to_owned() })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// A range, or none: then the supervisor takes one that is free.
pub(super) enum RangeOrFree {}

impl Kind for RangeOrFree {
    type Said = Option<Range>;
    type Value = Option<Range>;

    const EXAMPLE: &'static str = "\"10.11.0.0/20\"";
    const IS_QUOTED: bool = true;

    fn read_file<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Range>, D::Error> {
        parse_file(from).map(Some)
    }

    fn settle(said: Option<Range>, _: &Variables) -> Result<Option<Range>, SettingsError> {
        Ok(said)
    }

    fn write(value: &Option<Range>) -> Option<OsString> {
        value.map(|range| range.to_string().into())
    }
}

impl FlagKind for RangeOrFree {
    const NAME: &'static str = "CIDR";

    fn read(text: &OsStr) -> Result<Option<Range>, Wrong> {
        parse(text).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_what_is_none_is_refused() {
        let range: Range = "10.11.16.0/20".parse().unwrap();
        assert_eq!(range.to_string(), "10.11.16.0/20");
        assert_eq!(range.gateway(), Ipv4Addr::new(10, 11, 16, 1));
        assert_eq!(range.address(range.last_offset()), Ipv4Addr::new(10, 11, 31, 255));
        for text in ["", "10.0.0.0", "10.0.0.1/20", "10.0.0.0/8", "10.0.0.0/31", "::/20", "x/20"] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
    }

    #[test]
    fn overlaps_are_seen_either_way() {
        let range = |text: &str| {
            let (first, prefix) = text.split_once('/').unwrap();
            Range::new(first.parse().unwrap(), prefix.parse().unwrap())
        };
        for (one, other, is) in [
            ("10.0.0.0/20", "10.0.8.0/24", true),
            ("10.0.8.7/32", "10.0.0.0/20", true),
            ("10.0.0.0/20", "10.0.16.0/20", false),
            ("0.0.0.0/0", "10.0.16.0/20", true),
        ] {
            assert_eq!(range(one).overlaps(range(other)), is, "{one} {other}");
            assert_eq!(range(other).overlaps(range(one)), is, "{one} {other}");
        }
    }
}
