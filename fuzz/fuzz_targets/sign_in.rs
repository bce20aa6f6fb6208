//! A sign-in from anyone: never a panic, one verdict, and nobody signs in without the signature over exactly these fields.
#![no_main]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use protocol::Network;
use protocol::x402::HEADER_MAX_BYTES;
use protocol::x402::ext::{SignInRefusal, SignInSecret, SignInTerms, verify_sign_in};

/// Of the seeds, which are signed for this moment.
const NOW_S: u64 = 1_900_000_000;

fuzz_target!(|data: &[u8]| {
    check(data);
    check(STANDARD.encode(data).as_bytes());
});

fn check(header: &[u8]) {
    let secret = SignInSecret::new([7; 32]);
    let terms = SignInTerms {
        domain: "api.example.com",
        origin: "https://api.example.com",
        chains: &[Network::BASE_SEPOLIA, Network { chain_id: 8453 }],
        secret: &secret,
        age_max_s: 300,
        skew_s: 0,
    };
    let verdict = verify_sign_in(header, &terms, NOW_S);
    assert_eq!(verdict, verify_sign_in(header, &terms, NOW_S));
    match verdict {
        Ok(signed_in) => {
            assert!(header.len() <= HEADER_MAX_BYTES, "read a header over the limit");
            // The one key that signed the seeds.
            assert_eq!(signed_in.address.to_string(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
            assert!(signed_in.issued_at_s <= NOW_S && signed_in.issued_at_s + 300 >= NOW_S);
            assert!(signed_in.nonce.issued_at_s <= NOW_S && signed_in.nonce.issued_at_s + 300 >= NOW_S);
        }
        Err(refusal) => {
            assert!(refusal.code().starts_with("invalid_siwx_") && !refusal.message().is_empty());
            assert_eq!(refusal.field().is_none(), refusal == SignInRefusal::Header);
        }
    }
}
