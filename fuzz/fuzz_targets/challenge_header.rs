//! A 402 of a server that we pay: never a panic, and printing it again gives the same challenge.
#![no_main]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use protocol::x402::{Challenge, HEADER_MAX_BYTES, encode_header};

fuzz_target!(|data: &[u8]| {
    check(data);
    check(STANDARD.encode(data).as_bytes());
});

fn check(header: &[u8]) {
    let Ok(read) = Challenge::parse_v2(header) else { return };
    assert!(!read.offers.is_empty() && read.offers.len() <= 64);
    assert!(read.to_v1_accepts().len() <= read.offers.len());
    let printed = encode_header(&read.to_v2());
    // Control characters are longer escaped than plain, so a header at the limit may print to more than it was.
    if printed.len() <= HEADER_MAX_BYTES {
        assert_eq!(Challenge::parse_v2(printed.as_bytes()).as_ref(), Ok(&read));
    }
}
