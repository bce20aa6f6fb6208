//! A receipt from anyone: never a panic, one verdict, and none is valid but those that the seeds' key signed.
#![no_main]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use protocol::x402::ext::{Jws, ReceiptClaim, Signed};
use protocol::x402::{SignedReceipt, decode_header};

/// Whose key signed the seeds.
const SIGNER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

fuzz_target!(|data: &[u8]| {
    if let Some(jws) = std::str::from_utf8(data).ok().and_then(Jws::parse) {
        assert_eq!(jws.signer.address().to_string(), SIGNER);
    }
    let Ok(value) = decode_header(STANDARD.encode(data).as_bytes()) else { return };
    if let Some(read) = SignedReceipt::parse(&value) {
        assert_eq!(SignedReceipt::parse(&read.to_json()).as_ref(), Some(&read), "what is read is written the same");
        assert_eq!(read.is_valid(), read.is_valid());
        assert!(!read.is_valid() || read.public_key.address().to_string() == SIGNER);
    }
    if let Some(read) = Signed::<ReceiptClaim>::parse(&value) {
        assert_eq!(Signed::parse(&read.to_json()), Some(read));
    }
});
