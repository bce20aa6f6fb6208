//! The pure verifier against a second, slower statement of its rules that shares no code with it but the digest and the recovery.
#![no_main]

use std::sync::LazyLock;

use alloy_primitives::{Address, B256, U256};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use protocol::exact::{Fields, Window, verify};
use protocol::x402::{Accepted, Credential, Terms, Version};
use protocol::{Asset, AssetAddress, Key, Network, Offer, OfferExtra, Payee, Refusal, Signature, Signer, AssetInfo};

static KEY: LazyLock<Key> =
    LazyLock::new(|| Key::from_hex(&format!("0x{}", "11".repeat(32))).expect("below the group order"));

#[derive(Arbitrary, Debug)]
struct Input {
    offers: Vec<WildOffer>,
    credential: WildCredential,
    now_s: u64,
    remaining_min_s: u8,
    skew_s: u8,
}

/// Few values for each member, so that offers often share some of them.
#[derive(Arbitrary, Debug)]
struct WildOffer {
    chain: u8,
    asset_info: u8,
    name: u8,
    version: u8,
    payee: u8,
    amount: u8,
    timeout_s: u16,
}

#[derive(Arbitrary, Debug)]
struct WildCredential {
    v1: bool,
    scheme: Option<String>,
    network: Option<Option<u64>>,
    /// Which offer is accepted, and how the terms differ from it.
    offer: u8,
    terms: Option<WildOffer>,
    no_name: bool,
    no_version: bool,
    /// What differs from the fields that would pay the offer.
    from: Option<[u8; 20]>,
    to: Option<[u8; 20]>,
    value: Option<[u8; 32]>,
    valid_after: Moment,
    valid_before: Moment,
    nonce: [u8; 32],
    signature: WildSignature,
}

#[derive(Arbitrary, Debug)]
enum Moment {
    Now(i16),
    Any([u8; 32]),
}

#[derive(Arbitrary, Debug)]
enum WildSignature {
    Good,
    OverOtherFields([u8; 32]),
    Flipped(u8, u8),
    Bytes(Vec<u8>),
}

fn pick<T: Copy>(of: &[T], at: u8) -> T {
    of[usize::from(at) % of.len()]
}

impl WildOffer {
    fn offer(&self) -> Offer {
        Offer {
            asset_info: AssetInfo {
                asset: Asset {
                    network: Network { chain_id: pick(&[84532, 8453, 1, 31337], self.chain) },
                    address: AssetAddress(Address::repeat_byte(pick(&[1, 2], self.asset_info))),
                },
                name: pick(&["USDC", "USD Coin", ""], self.name).to_owned(),
                version: pick(&["2", "1"], self.version).to_owned(),
                decimals: 6,
            },
            amount_atomic: pick(&[10_000, 1, u128::MAX], self.amount),
            payee: Payee(Address::repeat_byte(pick(&[7, 8], self.payee))),
            max_timeout_s: u64::from(self.timeout_s),
            extra: OfferExtra::default(),
        }
    }
}

impl Moment {
    fn seconds(&self, now_s: u64) -> U256 {
        match self {
            Self::Now(by) => U256::from(now_s.saturating_add_signed(i64::from(*by))),
            Self::Any(bytes) => U256::from_be_bytes(*bytes),
        }
    }
}

impl WildCredential {
    fn build(&self, offers: &[Offer], now_s: u64) -> Option<Credential> {
        let offer = &offers[usize::from(self.offer).checked_rem(offers.len())?];
        let fields = Fields {
            from: self.from.map_or(KEY.address(), Address::from),
            to: self.to.map_or(offer.payee.0, Address::from),
            value: self.value.map_or(U256::from(offer.amount_atomic), U256::from_be_bytes),
            valid_after: self.valid_after.seconds(now_s),
            valid_before: self.valid_before.seconds(now_s),
            nonce: B256::from(self.nonce),
        };
        let named = self.terms.as_ref().map_or_else(|| offer.clone(), WildOffer::offer);
        let terms = Terms {
            asset: named.asset_info.asset.address,
            pay_to: named.payee,
            amount_atomic: named.amount_atomic,
            max_timeout_s: named.max_timeout_s,
            name: (!self.no_name).then_some(named.asset_info.name),
            version: (!self.no_version).then_some(named.asset_info.version),
            extra: OfferExtra::default(),
        };
        let accepted = Accepted {
            version: if self.v1 { Version::V1 } else { Version::V2 },
            scheme: self.scheme.clone().unwrap_or_else(|| "exact".to_owned()),
            network: self.network.map_or(Some(offer.network()), |id| id.map(|chain_id| Network { chain_id })),
            terms: (!self.v1).then_some(terms),
        };
        let sign =
            |fields: &Fields| KEY.sign_now(fields.digest(&offer.asset_info)).expect("a valid key signs").as_bytes().to_vec();
        let signature = match &self.signature {
            WildSignature::Good => sign(&fields),
            WildSignature::OverOtherFields(nonce) => sign(&Fields { nonce: B256::from(*nonce), ..fields }),
            WildSignature::Flipped(at, by) => {
                let mut bytes = sign(&fields);
                let at = usize::from(*at) % bytes.len();
                bytes[at] ^= by;
                bytes
            }
            WildSignature::Bytes(bytes) => bytes.clone(),
        };
        Some(Credential { accepted, fields, signature, payment_id: None })
    }
}

/// Every rule, none depending on the one before, in the order in which they must be reported. `None` where nothing is wrong.
fn fault(credential: &Credential, offers: &[Offer], window: Window) -> Option<Refusal> {
    let Credential { accepted, fields, signature, .. } = credential;
    let (scheme, network) = match accepted.version {
        Version::V1 => ("scheme", "network"),
        Version::V2 => ("accepted.scheme", "accepted.network"),
    };
    if accepted.scheme != "exact" {
        return Some(Refusal::UnsupportedScheme(scheme));
    }
    let here: Vec<_> = offers.iter().filter(|offer| accepted.network == Some(offer.asset_info.asset.network)).collect();
    let Some(first) = here.first() else { return Some(Refusal::NetworkMismatch(network)) };
    let offer = match &accepted.terms {
        None => first,
        Some(terms) => {
            let names = |offer: &&&Offer| {
                [
                    ("accepted.asset", offer.asset_info.asset.address == terms.asset),
                    ("accepted.payTo", offer.payee == terms.pay_to),
                    ("accepted.amount", offer.amount_atomic == terms.amount_atomic),
                    ("accepted.maxTimeoutSeconds", offer.max_timeout_s == terms.max_timeout_s),
                    ("accepted.extra.name", terms.name.as_ref() == Some(&offer.asset_info.name)),
                    ("accepted.extra.version", terms.version.as_ref() == Some(&offer.asset_info.version)),
                ]
            };
            match here.iter().find(|offer| names(offer).iter().all(|(_, same)| *same)) {
                Some(offer) => offer,
                None => {
                    // The nearest offer is the one that agrees for the longest from the start.
                    let agreed = |offer: &&&Offer| names(offer).iter().take_while(|(_, same)| *same).count();
                    let nearest = here.iter().max_by_key(agreed)?;
                    return Some(Refusal::NoMatchingOffer(names(&nearest)[agreed(&nearest)].0));
                }
            }
        }
    };
    let wide = |seconds: u64| U256::from(seconds);
    let now = wide(window.now_s);
    let least = now + wide(window.remaining_min_s);
    let most = now + wide(offer.max_timeout_s) + wide(window.skew_s);
    let shaped = Signature::from_bytes(signature);
    let signer = shaped.and_then(|signature| signature.recover(fields.digest(&offer.asset_info)));
    [
        (fields.to == offer.payee.0, Refusal::RecipientMismatch),
        (fields.value == U256::from(offer.amount_atomic), Refusal::ValueMismatch),
        (fields.valid_before >= least, Refusal::ValidBeforeTooSoon),
        (fields.valid_before <= most, Refusal::ValidBeforeTooFar),
        (fields.valid_after < now, Refusal::ValidAfter),
        (shaped.is_some(), Refusal::SignatureShape),
        (signer == Some(fields.from), Refusal::Signature),
    ]
    .into_iter()
    .find_map(|(holds, refusal)| (!holds).then_some(refusal))
}

fuzz_target!(|input: Input| {
    let offers: Vec<_> = input.offers.iter().take(8).map(WildOffer::offer).collect();
    // 64-bit times beyond this belong to no chain; the verifier saturates there and the second statement does not.
    let now_s = input.now_s % (1 << 40);
    let Some(credential) = input.credential.build(&offers, now_s) else { return };
    let window = Window { now_s, remaining_min_s: u64::from(input.remaining_min_s), skew_s: u64::from(input.skew_s) };
    let verdict = verify(&credential, &offers, window);
    assert_eq!(verdict.as_ref().err().copied(), fault(&credential, &offers, window));
    let Ok(proven) = verdict else { return };
    let (authorization, offer) = (proven.authorization(), proven.offer());
    assert!(offers.contains(offer), "proven against an offer that was not made");
    assert_eq!(authorization.fields(), credential.fields);
    assert_eq!(authorization.amount(), offer.amount());
    assert_eq!(authorization.payee, offer.payee);
    assert_eq!(authorization.key, credential.fields.key(offer.asset_info.asset));
    let signer = authorization.signature.recover(authorization.fields().digest(&offer.asset_info));
    assert_eq!(signer, Some(authorization.key.payer.0));
});
