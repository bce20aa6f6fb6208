use alloy_primitives::{Address, B256, U256, address, hex};
use serde_json::{Value, json};

use super::*;
use crate::exact::Fields;
use crate::exact::tests::{KEY_0, fixture};
use crate::x402::{Version, decode_header, encode_header};
use crate::{AssetAddress, AssetInfo, Key, Network, OfferExtra, Signer};

/// 60 seconds before the fixture ends, so that its offer's whole `maxTimeoutSeconds` is used.
const NOW_S: u64 = 1_999_999_940;
const WINDOW: Window = Window { now_s: NOW_S, remaining_min_s: 10, skew_s: 5 };
const KEY_1: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const STRANGER: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
const ORDER: [u8; 32] = hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");

fn offer() -> Offer {
    let (token, fields) = fixture();
    Offer {
        asset_info: token,
        amount_atomic: 10_000,
        payee: Payee(fields.to),
        max_timeout_s: 60,
        extra: OfferExtra::default().with_settlement("direct"),
    }
}

fn sign(key: &str, fields: &Fields, token: &AssetInfo) -> Vec<u8> {
    Key::from_hex(key).unwrap().sign_now(fields.digest(token)).unwrap().as_bytes().to_vec()
}

/// The offer as a payer repeats it.
fn echo(offer: &Offer) -> Accepted {
    Accepted {
        version: Version::V2,
        scheme: "exact".to_owned(),
        network: Some(offer.network()),
        terms: Some(Terms {
            asset: offer.asset_info.asset.address,
            pay_to: offer.payee,
            amount_atomic: offer.amount_atomic,
            max_timeout_s: offer.max_timeout_s,
            name: Some(offer.asset_info.name.clone()),
            version: Some(offer.asset_info.version.clone()),
            extra: offer.extra.clone(),
        }),
    }
}

/// The fixture, paid in v2.
fn paid() -> Credential {
    let (token, fields) = fixture();
    Credential { accepted: echo(&offer()), fields, signature: sign(KEY_0, &fields, &token), payment_id: None }
}

fn paid_v1() -> Credential {
    let accepted = Accepted { version: Version::V1, terms: None, ..echo(&offer()) };
    Credential { accepted, ..paid() }
}

fn verdict(credential: &Credential) -> Result<(), Refusal> {
    verify(credential, &[offer()], WINDOW).map(|_| ())
}

fn terms(credential: &mut Credential) -> &mut Terms {
    credential.accepted.terms.as_mut().unwrap()
}

#[test]
fn an_accepted_credential_gives_the_offer_and_what_was_signed() {
    for credential in [paid(), paid_v1()] {
        let proven = verify(&credential, &[offer()], WINDOW).unwrap();
        let authorization = proven.authorization();
        assert_eq!(proven.offer(), &offer());
        assert_eq!(authorization.fields(), fixture().1);
        assert_eq!(authorization.amount(), offer().amount());
        assert_eq!(authorization.payee, offer().payee);
        assert_eq!(authorization.key, fixture().1.key(offer().asset_info.asset));
        assert_eq!(authorization.signature.as_bytes().to_vec(), credential.signature);
        assert_eq!((authorization.valid_after_s, authorization.valid_before_s), (0, 2_000_000_000));
    }
}

/// What is wrong, and the refusal that says so.
type Fault = (fn(&mut Credential), Refusal);

/// One fault for every step of the check before the signature, in the documented order. The signature is made afterwards, so
/// each row has this fault alone.
const BEFORE_SIGNING: &[Fault] = &[
    (|c| c.accepted.scheme = "upto".to_owned(), Refusal::UnsupportedScheme("accepted.scheme")),
    (|c| c.accepted.network = None, Refusal::NetworkMismatch("accepted.network")),
    (|c| terms(c).asset = AssetAddress(STRANGER), Refusal::NoMatchingOffer("accepted.asset")),
    (|c| terms(c).pay_to = Payee(STRANGER), Refusal::NoMatchingOffer("accepted.payTo")),
    (|c| terms(c).amount_atomic = 9_999, Refusal::NoMatchingOffer("accepted.amount")),
    (|c| terms(c).max_timeout_s = 61, Refusal::NoMatchingOffer("accepted.maxTimeoutSeconds")),
    (|c| terms(c).name = Some("USD Coin".to_owned()), Refusal::NoMatchingOffer("accepted.extra.name")),
    (|c| terms(c).version = Some("1".to_owned()), Refusal::NoMatchingOffer("accepted.extra.version")),
    (|c| terms(c).extra = OfferExtra::default(), Refusal::NoMatchingOffer("accepted.extra")),
    (|c| c.fields.to = STRANGER, Refusal::RecipientMismatch),
    (|c| c.fields.value = U256::from(1), Refusal::ValueMismatch),
    (|c| c.fields.valid_before = U256::from(NOW_S), Refusal::ValidBeforeTooSoon),
    (|c| c.fields.valid_after = U256::from(NOW_S + 1), Refusal::ValidAfter),
];

/// The faults of a signature that is there already.
const AFTER_SIGNING: &[Fault] = &[
    (|c| c.signature.push(0), Refusal::SignatureShape),
    (|c| c.signature = sign(KEY_1, &c.fields, &fixture().0), Refusal::Signature),
];

/// The paid fixture with the faults at these places of the whole order. The last is made first, for a later fault may replace
/// what an earlier one bends.
fn with_faults(mut at: Vec<usize>) -> Credential {
    let mut credential = paid();
    at.sort_unstable_by(|a, b| b.cmp(a));
    for (fault, _) in at.iter().filter_map(|at| BEFORE_SIGNING.get(*at)) {
        fault(&mut credential);
    }
    credential.signature = sign(KEY_0, &credential.fields, &fixture().0);
    let after = at.iter().filter_map(|at| at.checked_sub(BEFORE_SIGNING.len()));
    for at in after {
        AFTER_SIGNING[at].0(&mut credential);
    }
    credential
}

fn all_faults() -> Vec<Refusal> {
    BEFORE_SIGNING.iter().chain(AFTER_SIGNING).map(|(_, refusal)| *refusal).collect()
}

#[test]
fn each_fault_alone_is_named() {
    for (at, want) in all_faults().into_iter().enumerate() {
        assert_eq!(verdict(&with_faults(vec![at])), Err(want), "{at}");
    }
    let more: [Fault; 10] = [
        (|c| c.accepted.scheme = String::new(), Refusal::UnsupportedScheme("accepted.scheme")),
        (|c| c.accepted.scheme = "Exact".to_owned(), Refusal::UnsupportedScheme("accepted.scheme")),
        (|c| c.accepted.network = Some(Network { chain_id: 8453 }), Refusal::NetworkMismatch("accepted.network")),
        (|c| terms(c).amount_atomic = 10_001, Refusal::NoMatchingOffer("accepted.amount")),
        (|c| terms(c).max_timeout_s = 59, Refusal::NoMatchingOffer("accepted.maxTimeoutSeconds")),
        (|c| terms(c).name = None, Refusal::NoMatchingOffer("accepted.extra.name")),
        (|c| terms(c).name = Some("usdc".to_owned()), Refusal::NoMatchingOffer("accepted.extra.name")),
        (|c| terms(c).version = None, Refusal::NoMatchingOffer("accepted.extra.version")),
        (|c| terms(c).extra = OfferExtra::default().with_settlement("tab"), Refusal::NoMatchingOffer("accepted.extra")),
        (|c| c.fields.valid_before = U256::from(NOW_S + 99), Refusal::ValidBeforeTooFar),
    ];
    for (change, want) in more {
        let mut credential = paid();
        change(&mut credential);
        credential.signature = sign(KEY_0, &credential.fields, &fixture().0);
        assert_eq!(verdict(&credential), Err(want), "{credential:?}");
    }
}

#[test]
fn the_earlier_of_two_faults_is_reported() {
    let faults = all_faults();
    for (first, want) in faults.iter().enumerate() {
        for (second, later) in faults.iter().enumerate().skip(first + 1) {
            let credential = with_faults(vec![first, second]);
            assert_eq!(verdict(&credential), Err(*want), "{want:?} before {later:?}");
        }
    }
}

#[test]
fn repaired_one_by_one_the_faults_come_in_order() {
    let faults = all_faults();
    let seen: Vec<_> =
        (0..faults.len()).map(|done| verdict(&with_faults((done..faults.len()).collect())).unwrap_err()).collect();
    assert_eq!(seen, faults);
    assert_eq!(verdict(&with_faults(Vec::new())), Ok(()));
}

#[test]
fn too_soon_comes_before_too_far_and_too_far_before_not_yet() {
    let mut credential = paid();
    let short = Offer { max_timeout_s: 3, ..offer() };
    terms(&mut credential).max_timeout_s = 3;
    for (valid_before_s, valid_after_s, want) in [
        // At 9 s it is both: 10 must be left, and 3 + 5 are allowed.
        (NOW_S + 9, NOW_S + 1, Refusal::ValidBeforeTooSoon),
        (NOW_S + 10, NOW_S + 1, Refusal::ValidBeforeTooFar),
    ] {
        credential.fields.valid_before = U256::from(valid_before_s);
        credential.fields.valid_after = U256::from(valid_after_s);
        let verdict = verify(&credential, std::slice::from_ref(&short), WINDOW).map(|_| ());
        assert_eq!(verdict, Err(want), "{valid_before_s}");
    }
}

#[test]
fn boundaries() {
    let (value, after, before) = (U256::from(10_000), U256::ZERO, U256::from(2_000_000_000u64));
    let word = U256::from(1) << 64;
    let two_words = U256::from(1) << 128;
    let s = |at_s: u64| U256::from(at_s);
    for (value, after, before, want) in [
        (s(9_999), after, before, Err(Refusal::ValueMismatch)),
        (s(10_000), after, before, Ok(())),
        (s(10_001), after, before, Err(Refusal::ValueMismatch)),
        (U256::ZERO, after, before, Err(Refusal::ValueMismatch)),
        (U256::MAX, after, before, Err(Refusal::ValueMismatch)),
        // The right number in the low bits.
        (two_words + value, after, before, Err(Refusal::ValueMismatch)),
        (word + value, after, before, Err(Refusal::ValueMismatch)),
        (value, s(NOW_S - 1), before, Ok(())),
        (value, s(NOW_S), before, Err(Refusal::ValidAfter)),
        (value, s(NOW_S + 1), before, Err(Refusal::ValidAfter)),
        (value, s(u64::MAX), before, Err(Refusal::ValidAfter)),
        (value, word, before, Err(Refusal::ValidAfter)),
        (value, word + s(NOW_S), before, Err(Refusal::ValidAfter)),
        (value, U256::MAX, before, Err(Refusal::ValidAfter)),
        (value, after, U256::ZERO, Err(Refusal::ValidBeforeTooSoon)),
        (value, after, s(NOW_S - 1), Err(Refusal::ValidBeforeTooSoon)),
        (value, after, s(NOW_S + 9), Err(Refusal::ValidBeforeTooSoon)),
        (value, after, s(NOW_S + 10), Ok(())),
        (value, after, s(NOW_S + 65), Ok(())),
        (value, after, s(NOW_S + 66), Err(Refusal::ValidBeforeTooFar)),
        (value, after, s(u64::MAX), Err(Refusal::ValidBeforeTooFar)),
        (value, after, word, Err(Refusal::ValidBeforeTooFar)),
        (value, after, word + before, Err(Refusal::ValidBeforeTooFar)),
        (value, after, U256::MAX, Err(Refusal::ValidBeforeTooFar)),
        (value, U256::MAX, U256::MAX, Err(Refusal::ValidBeforeTooFar)),
        (U256::MAX, U256::MAX, U256::MAX, Err(Refusal::ValueMismatch)),
    ] {
        let (token, fields) = fixture();
        let fields = Fields { value, valid_after: after, valid_before: before, ..fields };
        let credential = Credential { fields, signature: sign(KEY_0, &fields, &token), ..paid() };
        assert_eq!(verdict(&credential), want, "{value} {after} {before}");
    }
}

#[test]
fn times_at_the_end_of_the_range_do_not_wrap() {
    for (window, max_timeout_s, want) in [
        (Window { now_s: u64::MAX, ..WINDOW }, 60, Err(Refusal::ValidBeforeTooSoon)),
        (Window { remaining_min_s: u64::MAX, ..WINDOW }, 60, Err(Refusal::ValidBeforeTooSoon)),
        (Window { skew_s: u64::MAX, ..WINDOW }, 60, Ok(())),
        (WINDOW, u64::MAX, Ok(())),
        (Window { now_s: 0, ..WINDOW }, 60, Err(Refusal::ValidBeforeTooFar)),
    ] {
        let offer = Offer { max_timeout_s, ..offer() };
        let credential = Credential { accepted: echo(&offer), ..paid() };
        assert_eq!(verify(&credential, &[offer], window).map(|_| ()), want, "{window:?}");
    }
}

#[test]
fn prices_at_the_end_of_the_range() {
    for (amount_atomic, value, want) in [
        (u128::MAX, U256::from(u128::MAX), Ok(())),
        (u128::MAX, U256::from(u128::MAX) + U256::from(1), Err(Refusal::ValueMismatch)),
        (u128::MAX, U256::MAX, Err(Refusal::ValueMismatch)),
        (1, U256::from(1), Ok(())),
        (1, U256::from(1) << 128, Err(Refusal::ValueMismatch)),
    ] {
        let (token, fields) = fixture();
        let fields = Fields { value, ..fields };
        let offer = Offer { amount_atomic, ..offer() };
        let credential =
            Credential { accepted: echo(&offer), fields, signature: sign(KEY_0, &fields, &token), ..paid() };
        assert_eq!(verify(&credential, &[offer], WINDOW).map(|_| ()), want, "{amount_atomic} {value}");
    }
}

/// An EIP-6492 wrapper: factory, calldata and the inner signature, then the magic word.
fn wrapped(inner: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 96];
    bytes[44..64].copy_from_slice(STRANGER.as_slice());
    bytes.extend_from_slice(inner);
    bytes.extend_from_slice(&hex!("6492649264926492649264926492649264926492649264926492649264926492"));
    bytes
}

/// The same signature in its other, malleable form.
fn high_s(signature: &[u8]) -> Vec<u8> {
    let mut bytes = signature.to_vec();
    let s = U256::from_be_bytes(ORDER) - U256::from_be_slice(&bytes[32..64]);
    bytes[32..64].copy_from_slice(&s.to_be_bytes::<32>());
    bytes[64] = 55 - bytes[64];
    bytes
}

fn replaced(signature: &[u8], at: usize, by: &[u8]) -> Vec<u8> {
    let mut bytes = signature.to_vec();
    bytes[at..at + by.len()].copy_from_slice(by);
    bytes
}

#[test]
fn signatures_of_every_shape() {
    let good = paid().signature;
    for (name, signature, want) in [
        ("as signed", good.clone(), Ok(())),
        ("v 27", replaced(&good, 64, &[27]), Ok(())),
        ("v 0", replaced(&good, 64, &[0]), Ok(())),
        ("v 28", replaced(&good, 64, &[28]), Err(Refusal::Signature)),
        ("v 1", replaced(&good, 64, &[1]), Err(Refusal::Signature)),
        ("v 2", replaced(&good, 64, &[2]), Err(Refusal::SignatureShape)),
        ("v 26", replaced(&good, 64, &[26]), Err(Refusal::SignatureShape)),
        ("v 29", replaced(&good, 64, &[29]), Err(Refusal::SignatureShape)),
        ("v 255", replaced(&good, 64, &[255]), Err(Refusal::SignatureShape)),
        ("v of EIP-155", replaced(&good, 64, &[37]), Err(Refusal::SignatureShape)),
        ("high s", high_s(&good), Err(Refusal::SignatureShape)),
        ("s of the order", replaced(&good, 32, &ORDER), Err(Refusal::SignatureShape)),
        ("s of nothing", replaced(&good, 32, &[0; 32]), Err(Refusal::Signature)),
        ("r of nothing", replaced(&good, 0, &[0; 32]), Err(Refusal::Signature)),
        ("r of the order", replaced(&good, 0, &ORDER), Err(Refusal::Signature)),
        ("r of all ones", replaced(&good, 0, &[255; 32]), Err(Refusal::Signature)),
        ("nothing but zeros", vec![0; 65], Err(Refusal::Signature)),
        ("empty", Vec::new(), Err(Refusal::SignatureShape)),
        ("64 bytes", good[..64].to_vec(), Err(Refusal::SignatureShape)),
        ("66 bytes", [good.as_slice(), &[0]].concat(), Err(Refusal::SignatureShape)),
        ("twice", good.repeat(2), Err(Refusal::SignatureShape)),
        ("EIP-6492", wrapped(&good), Err(Refusal::SignatureShape)),
        ("1,024 bytes", vec![27; 1_024], Err(Refusal::SignatureShape)),
    ] {
        let credential = Credential { signature, ..paid() };
        assert_eq!(verdict(&credential), want, "{name}");
        let v1 = Credential { accepted: paid_v1().accepted, ..credential };
        assert_eq!(verdict(&v1), want, "{name}, v1");
    }
}

#[test]
fn both_values_of_v_are_the_payers_own() {
    let (token, fixed) = fixture();
    let mut seen = [0, 0];
    for nonce in 0..16 {
        let fields = Fields { nonce: B256::repeat_byte(nonce), ..fixed };
        let signature = sign(KEY_0, &fields, &token);
        seen[usize::from(signature[64] - 27)] += 1;
        let zero_based = replaced(&signature, 64, &[signature[64] - 27]);
        for signature in [signature, zero_based] {
            assert_eq!(verdict(&Credential { fields, signature, ..paid() }), Ok(()), "{nonce}");
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[test]
fn a_signature_over_anything_else_is_refused() {
    let (token, fields) = fixture();
    let token_at = |change: fn(&mut AssetInfo)| {
        let mut token = token.clone();
        change(&mut token);
        sign(KEY_0, &fields, &token)
    };
    let fields_at = |change: fn(&mut Fields)| {
        let mut fields = fields;
        change(&mut fields);
        sign(KEY_0, &fields, &token)
    };
    for (name, signature) in [
        ("another key", sign(KEY_1, &fields, &token)),
        ("chain id", token_at(|token| token.asset.network.chain_id = 8453)),
        ("token", token_at(|token| token.asset.address = AssetAddress(STRANGER))),
        ("domain name", token_at(|token| token.name = "USD Coin".to_owned())),
        ("empty domain name", token_at(|token| token.name = String::new())),
        ("domain version", token_at(|token| token.version = "1".to_owned())),
        ("from", fields_at(|fields| fields.from = STRANGER)),
        ("to", fields_at(|fields| fields.to = STRANGER)),
        ("value", fields_at(|fields| fields.value = U256::from(9_999))),
        ("validAfter", fields_at(|fields| fields.valid_after = U256::from(1))),
        ("validBefore", fields_at(|fields| fields.valid_before = U256::from(1_999_999_999u64))),
        ("nonce", fields_at(|fields| fields.nonce = B256::ZERO)),
    ] {
        assert_eq!(verdict(&Credential { signature, ..paid() }), Err(Refusal::Signature), "{name}");
    }
    // Someone else's name over the payer's own signature, and the other way round.
    let stolen = Fields { from: STRANGER, ..fields };
    assert_eq!(verdict(&Credential { fields: stolen, ..paid() }), Err(Refusal::Signature));
    let own = Fields { from: Key::from_hex(KEY_1).unwrap().address(), ..fields };
    let own = Credential { fields: own, signature: sign(KEY_1, &own, &token), ..paid() };
    assert_eq!(verdict(&own), Ok(()));
}

/// Four offers: two tokens on one network, one token at two prices for two payees on another.
fn menu() -> [Offer; 4] {
    let base = Offer { asset_info: AssetInfo::usdc(Network { chain_id: 8453 }).unwrap(), ..offer() };
    let mut other_token = Offer { amount_atomic: 20_000, ..offer() };
    other_token.asset_info.asset.address = AssetAddress(STRANGER);
    let dear = Offer { payee: Payee(STRANGER), amount_atomic: 30_000, ..base.clone() };
    [offer(), other_token, base, dear]
}

#[test]
fn the_accepted_offer_is_the_one_that_is_matched() {
    let menu = menu();
    for offer in &menu {
        assert_eq!(match_offer(&echo(offer), &menu), Ok(offer));
        // Paid in full as well, so the signature is checked under the token that was accepted.
        let fields = Fields { to: offer.payee.0, value: U256::from(offer.amount_atomic), ..fixture().1 };
        let accepted = echo(offer);
        let credential = Credential { accepted, fields, signature: sign(KEY_0, &fields, &offer.asset_info), ..paid() };
        let proven = verify(&credential, &menu, WINDOW).unwrap();
        assert_eq!((proven.offer(), proven.authorization().key.asset), (offer, offer.asset_info.asset));
    }
}

#[test]
fn what_differs_from_the_nearest_offer_is_named() {
    use Refusal::{NetworkMismatch, NoMatchingOffer};
    type Row = (usize, fn(&mut Accepted, &mut Terms), Refusal);
    let rows: &[Row] = &[
        (0, |_, terms| terms.asset = AssetAddress(Address::ZERO), NoMatchingOffer("accepted.asset")),
        // The second token at the first one's price.
        (0, |_, terms| terms.asset = AssetAddress(STRANGER), NoMatchingOffer("accepted.amount")),
        // The dear payee at the cheap price: the dear offer agrees for longer.
        (2, |_, terms| terms.pay_to = Payee(STRANGER), NoMatchingOffer("accepted.amount")),
        (3, |_, terms| terms.amount_atomic = 10_000, NoMatchingOffer("accepted.amount")),
        (3, |_, terms| terms.pay_to = Payee(Address::ZERO), NoMatchingOffer("accepted.payTo")),
        (3, |_, terms| terms.version = None, NoMatchingOffer("accepted.extra.version")),
        // An offer of another network does not count, however near it is.
        (1, |accepted, _| accepted.network = Some(Network { chain_id: 8453 }), NoMatchingOffer("accepted.asset")),
        (0, |accepted, _| accepted.network = Some(Network { chain_id: 137 }), NetworkMismatch("accepted.network")),
        (0, |accepted, _| accepted.network = None, NetworkMismatch("accepted.network")),
    ];
    let mut backwards = menu();
    backwards.reverse();
    for (at, change, want) in rows {
        let mut accepted = echo(&menu()[*at]);
        let mut terms = accepted.terms.take().unwrap();
        change(&mut accepted, &mut terms);
        accepted.terms = Some(terms);
        assert_eq!(match_offer(&accepted, &menu()), Err(*want), "{accepted:?}");
        assert_eq!(match_offer(&accepted, &backwards), Err(*want), "in the other order: {accepted:?}");
    }
    assert_eq!(match_offer(&echo(&offer()), &[]), Err(NetworkMismatch("accepted.network")));
    assert_eq!(match_offer(&echo(&offer()), &[offer(), offer()]), Ok(&offer()));
}

#[test]
fn v1_means_the_first_offer_on_the_network() {
    use Refusal::{NetworkMismatch, UnsupportedScheme};
    let menu = menu();
    for (scheme, network, want) in [
        ("exact", Network::from_v1_name("base-sepolia"), Ok(&menu[0])),
        ("exact", Network::from_v1_name("base"), Ok(&menu[2])),
        ("exact", Network::from_v1_name("polygon"), Err(NetworkMismatch("network"))),
        ("exact", Network::from_v1_name("solana"), Err(NetworkMismatch("network"))),
        ("exact", Network::from_v1_name("eip155:84532"), Err(NetworkMismatch("network"))),
        ("exact", Network::from_v1_name("Base"), Err(NetworkMismatch("network"))),
        ("upto", Network::from_v1_name("base"), Err(UnsupportedScheme("scheme"))),
        ("upto", None, Err(UnsupportedScheme("scheme"))),
    ] {
        let accepted = Accepted { version: Version::V1, scheme: scheme.to_owned(), network, terms: None };
        assert_eq!(match_offer(&accepted, &menu), want, "{scheme} {network:?}");
    }
}

/// The printed fixture after a change of its JSON, read and checked.
fn wire(version: Version, change: impl Fn(&mut Value)) -> Result<(), Refusal> {
    let (token, fields) = fixture();
    let signature = Signature::from_bytes(&sign(KEY_0, &fields, &token)).unwrap();
    let header = Credential::print(version, &offer(), "http://a/paid", &fields, &signature).unwrap();
    let mut value = decode_header(header.as_bytes()).unwrap();
    change(&mut value);
    verdict(&Credential::parse(encode_header(&value).as_bytes())?)
}

#[test]
fn what_a_payer_may_write_otherwise() {
    const ADDRESSES: [&str; 4] =
        ["/accepted/asset", "/accepted/payTo", "/payload/authorization/from", "/payload/authorization/to"];
    fn recase(value: &mut Value, case: impl Fn(&str) -> String) {
        for pointer in ADDRESSES {
            let text = value.pointer_mut(pointer).unwrap();
            *text = json!(format!("0x{}", case(&text.as_str().unwrap()[2..])));
        }
    }
    let missing = Refusal::NoMatchingOffer("accepted.extra.name");
    type Row = (&'static str, fn(&mut Value), Result<(), Refusal>);
    let rows: &[Row] = &[
        ("as printed", |_| {}, Ok(())),
        ("lower case", |value| recase(value, str::to_ascii_lowercase), Ok(())),
        ("upper case", |value| recase(value, str::to_ascii_uppercase), Ok(())),
        (
            "wrong checksum",
            |value| value["accepted"]["payTo"] = json!("0x209693BC6afc0C5328bA36FaF03C514EF312287C"),
            Ok(()),
        ),
        ("more in extra", |value| value["accepted"]["extra"]["feePayer"] = json!({"a": [1]}), Ok(())),
        ("no name", |value| value["accepted"]["extra"] = json!({"version": "2"}), Err(missing)),
        ("null name", |value| value["accepted"]["extra"]["name"] = Value::Null, Err(missing)),
        ("name of another type", |value| value["accepted"]["extra"]["name"] = json!(["USDC"]), Err(missing)),
        ("null extra", |value| value["accepted"]["extra"] = Value::Null, Err(missing)),
        ("extra of another type", |value| value["accepted"]["extra"] = json!("USDC"), Err(missing)),
    ];
    for (name, change, want) in rows {
        assert_eq!(wire(Version::V2, change), *want, "{name}");
    }
    let v1_network = |name: &'static str| wire(Version::V1, move |value| value["network"] = json!(name));
    assert_eq!(v1_network("base-sepolia"), Ok(()));
    assert_eq!(v1_network("base"), Err(Refusal::NetworkMismatch("network")));
    assert_eq!(v1_network("atlantis"), Err(Refusal::NetworkMismatch("network")));
}
