//! From which addresses a key may be used.

use core::net::IpAddr;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::KeyRefusal;

/// An address, or a block of them in CIDR form. An IPv4 address that came mapped into IPv6 is the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRule {
    base: IpAddr,
    length: u8,
}

impl AddressRule {
    /// Whether an address is in the block.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.base.is_ipv4() == address.is_ipv4() && masked(self.base, self.length) == masked(address, self.length)
    }
}

impl FromStr for AddressRule {
    type Err = KeyRefusal;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = KeyRefusal::BadValue("addresses");
        let (base, length) = match text.split_once('/') {
            Some((base, length)) => (base, Some(length)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| bad)?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => most,
            // `+8` and `08` are no lengths.
            Some(digits) => {
                let length: u8 = digits.parse().map_err(|_| bad)?;
                if length.to_string() == digits { length } else { return Err(bad) }
            }
        };
        // A block whose base has bits beyond its length was meant to be another one.
        if length > most || masked(base, length) != bits(base) || base.to_canonical() != base {
            return Err(bad);
        }
        Ok(Self { base, length })
    }
}

impl fmt::Display for AddressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.base.is_ipv4() { 32 } else { 128 };
        if self.length == whole { self.base.fmt(f) } else { write!(f, "{}/{}", self.base, self.length) }
    }
}

impl TryFrom<String> for AddressRule {
    type Error = KeyRefusal;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AddressRule> for String {
    fn from(rule: AddressRule) -> Self {
        rule.to_string()
    }
}

/// An address's bits, at the left end of 128.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn masked(address: IpAddr, length: u8) -> u128 {
    let beyond = u128::MAX.checked_shr(u32::from(length)).unwrap_or(0);
    bits(address) & !beyond
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_covers_its_own_addresses() {
        for (rule, address, want) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "10.0.0.1", false),
            ("2001:db8::/32", "2001:db8:1::5", true),
            ("2001:db8::/32", "2001:db9::5", false),
            ("2001:db8::1", "2001:db8::1", true),
            ("192.168.0.0/31", "192.168.0.1", true),
            ("192.168.0.0/31", "192.168.0.2", false),
        ] {
            let rule: AddressRule = rule.parse().unwrap();
            assert_eq!(rule.covers(address.parse().unwrap()), want, "{rule} {address}");
            assert_eq!(rule.to_string().parse(), Ok(rule));
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for text in [
            "",
            "10",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0.0/8/8",
            "2001:db8::/129",
            "::ffff:10.0.0.0/104",
            "example.com",
            "10.0.0.0/-1",
            " 10.0.0.1",
        ] {
            assert_eq!(text.parse::<AddressRule>(), Err(KeyRefusal::BadValue("addresses")), "{text}");
        }
    }
}
