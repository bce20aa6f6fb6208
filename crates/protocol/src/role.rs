//! Addresses by the role they play, so that a payee is never passed where a payer is meant.

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;

use alloy_primitives::{Address, AddressChecksumBuffer, hex};

/// Not `0x` and 40 hex digits, or mixed case with a wrong EIP-55 checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAddress {
    /// Wrong length, prefix or characters.
    #[error("is not an address: it must be 0x and 40 hex digits")]
    Shape,
    /// Mixed case that is not the EIP-55 checksum: most likely a typing mistake.
    #[error("has a wrong checksum (EIP-55): a character may be mistyped")]
    Checksum,
}

macro_rules! role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Address);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                print(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = NotAnAddress;

            /// All-lower and all-upper hex is taken as it is; mixed case must carry the right EIP-55 checksum.
            fn from_str(text: &str) -> Result<Self, NotAnAddress> {
                parse_address(text, true).map(Self)
            }
        }
    };
}

/// Prints an address with its EIP-55 checksum. That takes a hash, and the addresses of a moment are few: each thread keeps some.
fn print(address: Address, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const KEPT: usize = 16;
    thread_local! {
        static PRINTED: RefCell<[Option<(Address, AddressChecksumBuffer)>; KEPT]> =
            const { RefCell::new([const { None }; KEPT]) };
    }
    PRINTED.with_borrow_mut(|printed| {
        let place = address.last().map_or(0, |byte| usize::from(*byte) % KEPT);
        let Some(place) = printed.get_mut(place) else { return Err(fmt::Error) };
        if place.as_ref().is_none_or(|(known, _)| *known != address) {
            *place = Some((address, address.to_checksum_buffer(None)));
        }
        place.as_ref().map_or(Err(fmt::Error), |(_, text)| f.pad(text.as_str()))
    })
}

role! {
    /// Who pays: the `from` of an authorization.
    Payer
}
role! {
    /// Who is paid: x402 `payTo`.
    Payee
}
role! {
    /// The contract of a token.
    AssetAddress
}

/// Reads an address; `strict` also refuses a wrong checksum. What callers send is read without it: clients differ in case.
pub(crate) fn parse_address(text: &str, strict: bool) -> Result<Address, NotAnAddress> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 40).ok_or(NotAnAddress::Shape)?;
    let address = hex::decode_to_array(digits).map(Address::new).map_err(|_| NotAnAddress::Shape)?;
    let is_mixed = || digits.bytes().any(|b| b.is_ascii_lowercase()) && digits.bytes().any(|b| b.is_ascii_uppercase());
    if strict && is_mixed() {
        return Address::parse_checksummed(text, None).map_err(|_| NotAnAddress::Checksum);
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_table() {
        for (text, want) in [
            ("0x209693Bc6afc0C5328bA36FaF03C514EF312287C", None),
            ("0x209693bc6afc0c5328ba36faf03c514ef312287c", None),
            ("0x209693Bc6afc0C5328bA36FaF03C514EF312287c", Some(NotAnAddress::Checksum)),
            ("209693bc6afc0c5328ba36faf03c514ef312287c", Some(NotAnAddress::Shape)),
            ("0x209693bc6afc0c5328ba36faf03c514ef312287", Some(NotAnAddress::Shape)),
            ("0x209693bc6afc0c5328ba36faf03c514ef312287g", Some(NotAnAddress::Shape)),
            ("", Some(NotAnAddress::Shape)),
        ] {
            assert_eq!(text.parse::<Payee>().err(), want, "{text}");
        }
    }

    #[test]
    fn addresses_are_printed_with_their_checksum_however_many_there_are() {
        for _ in 0..2 {
            for byte in 0..=255 {
                let address = Address::with_last_byte(byte);
                assert_eq!(Payer(address).to_string(), address.to_checksum(None));
                let other = Address::repeat_byte(byte);
                assert_eq!(format!("{:>44}", Payee(other)), format!("  {}", other.to_checksum(None)));
            }
        }
    }
}
