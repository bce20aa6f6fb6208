//! A payment header from anyone: never a panic, and whatever is read is written and read again as the same thing.
#![no_main]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use protocol::x402::{Credential, HEADER_MAX_BYTES, Version};
use protocol::{Asset, Offer, OfferExtra, Signature, AssetInfo};

fuzz_target!(|data: &[u8]| {
    check(data);
    check(STANDARD.encode(data).as_bytes());
});

fn check(header: &[u8]) {
    let Ok(read) = Credential::parse(header) else { return };
    assert!(header.len() <= HEADER_MAX_BYTES, "read a header over the limit");
    assert!(read.signature.len() <= 1_024, "read a signature over the limit");
    let Some((offer, signature)) = offer(&read).zip(Signature::from_bytes(&read.signature)) else { return };
    let printed = Credential::print(read.accepted.version, &offer, "http://a", &read.fields, &signature);
    // Beside the fields only the scheme can differ, because we print no other than `exact`.
    let printed = printed.expect("a network that was read has a name in its version");
    // Some numbers and characters are longer as we write them, so a header at the limit may print to more than it was.
    if printed.len() > HEADER_MAX_BYTES {
        return;
    }
    let again = Credential::parse(printed.as_bytes()).expect("what we print, we read");
    assert_eq!(again.fields, read.fields);
    assert_eq!(again.signature, signature.as_bytes());
    assert_eq!(again.accepted.network, read.accepted.network);
    assert_eq!(again.accepted.terms, read.accepted.terms);
}

/// The offer that the credential says it accepted, where it says enough.
fn offer(read: &Credential) -> Option<Offer> {
    let network = read.accepted.network?;
    if read.accepted.version == Version::V1 {
        let offer = Offer {
            asset_info: AssetInfo::usdc(network)?,
            amount_atomic: 1,
            payee: protocol::Payee(read.fields.to),
            max_timeout_s: 1,
            extra: OfferExtra::default(),
        };
        return Some(offer);
    }
    let terms = read.accepted.terms.clone()?;
    Some(Offer {
        asset_info: AssetInfo {
            asset: Asset { network, address: terms.asset },
            name: terms.name?,
            version: terms.version?,
            decimals: 6,
        },
        amount_atomic: terms.amount_atomic,
        payee: terms.pay_to,
        max_timeout_s: terms.max_timeout_s,
        extra: terms.extra,
    })
}
