use alloy_primitives::{address, b256, hex};
use proptest::prelude::*;
use protocol::Key;

use super::*;

/// The example of EIP-155.
const EXAMPLE: [u8; 110] = hex!(
    "f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"
);

fn key() -> Key {
    Key::from_hex("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").unwrap()
}

/// One of type 1 or 2, signed by the first test key.
fn typed(kind: u8, chain_id: u64, more: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let envelope = |more: &dyn Fn(&mut Vec<u8>)| {
        let mut fields = Vec::new();
        chain_id.encode(&mut fields);
        7_u64.encode(&mut fields);
        if kind == 2 {
            3_u128.encode(&mut fields);
        }
        9_u128.encode(&mut fields);
        50_000_u64.encode(&mut fields);
        TxKind::Call(Address::repeat_byte(0x22)).encode(&mut fields);
        U256::from(5).encode(&mut fields);
        Bytes::from_static(b"data").encode(&mut fields);
        AccessList::default().encode(&mut fields);
        more(&mut fields);
        let mut raw = vec![kind];
        Header { list: true, payload_length: fields.len() }.encode(&mut raw);
        raw.extend_from_slice(&fields);
        raw
    };
    let (v, r, s) = key().sign_now(keccak256(envelope(&|_| {}))).unwrap().parts();
    envelope(&|fields| {
        u64::from(v - 27).encode(fields);
        U256::from_be_bytes(r.0).encode(fields);
        U256::from_be_bytes(s.0).encode(fields);
        more(fields);
    })
}

#[test]
fn the_example_of_eip_155() {
    let chain_tx = ChainTx::decode(&EXAMPLE).unwrap();
    assert_eq!(chain_tx.from, address!("0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F"));
    assert_eq!(chain_tx.hash, b256!("0x33469b22e9f636356c4160a87eb19df52b7412e8eac32a4a55ffe88ea8350788"));
    assert_eq!((chain_tx.chain_id, chain_tx.sequence, chain_tx.gas_limit), (1, 9, 21_000));
    assert_eq!((chain_tx.fee_max, chain_tx.tip_max), (20_000_000_000, 20_000_000_000));
}

#[test]
fn both_types_name_their_signer() {
    use protocol::Signer as _;
    for (kind, layout, tip) in [(1, Layout::AccessList, 9), (2, Layout::DynamicFee, 3)] {
        let chain_tx = ChainTx::decode(&typed(kind, 84532, |_| {})).unwrap();
        assert_eq!(chain_tx.from, key().address());
        assert_eq!((chain_tx.layout, chain_tx.chain_id, chain_tx.sequence), (layout, 84532, 7));
        assert_eq!((chain_tx.fee_max, chain_tx.tip_max), (9, tip));
        assert_eq!((chain_tx.value, chain_tx.data.as_ref()), (U256::from(5), b"data".as_slice()));
    }
}

#[test]
fn what_is_no_chain_tx() {
    let mut trailing = EXAMPLE.to_vec();
    trailing.push(0);
    let mut unprotected = EXAMPLE.to_vec();
    unprotected[43] = 27;
    let mut zero_r = typed(2, 1, |_| {});
    let at = zero_r.len() - 66;
    zero_r[at + 1..at + 33].fill(0xff);
    let cases: [(&[u8], NotAChainTx); 9] = [
        (&[], NotAChainTx::Empty),
        (&[0x03, 0xc0], NotAChainTx::Blob),
        (&[0x04, 0xc0], NotAChainTx::SetCode),
        (&[0x05, 0xc0], NotAChainTx::UnknownType(5)),
        (&EXAMPLE[..100], NotAChainTx::Malformed),
        (&trailing, NotAChainTx::Trailing),
        (&unprotected, NotAChainTx::NotProtected),
        (&typed(2, 1, |fields| fields.push(0x80)), NotAChainTx::Malformed),
        (&zero_r, NotAChainTx::Signature),
    ];
    for (raw, expected) in cases {
        assert_eq!(ChainTx::decode(raw).unwrap_err(), expected, "{}", hex::encode(raw));
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(kind in 0_u8..6, raw: Vec<u8>, at in 0_usize..110, byte: u8) {
        prop_assert!(ChainTx::decode(&[[kind].as_slice(), &raw].concat()).is_err());
        let mut changed = EXAMPLE.to_vec();
        changed[at] = byte;
        // It may still be one, of another sender.
        drop(ChainTx::decode(&changed));
    }
}
