//! `offer-receipt`: offers and receipts that the payee signs, in EIP-712 form. Who reads one must still ask what ties the
//! signer to the payee or to the domain: a signature alone proves no more than that its key was used.

use alloy_primitives::{Address, B256, U256, hex, keccak256};
use serde_json::{Value, json};

use super::super::json::get;
use super::schema;
use crate::exact::{typed_digest, words_hash};
use crate::{Network, Offer, Payer, SignFault, Signature, Signer};

/// Its key in `extensions`, of a 402 and of a receipt.
pub const OFFER_RECEIPT: &str = "offer-receipt";

/// keccak256 of `Offer(uint256 version,string resourceUrl,string scheme,string network,string asset,string payTo,string amount,uint256 validUntil)`.
const OFFER_TYPEHASH: B256 = B256::new(hex!("85143d3249b5e62ed5edd3d59a352d4e1181c775ff4f762f9c8a617f6bf1e97d"));
/// keccak256 of `Receipt(uint256 version,string network,string resourceUrl,string payer,uint256 issuedAt,string transaction)`.
const RECEIPT_TYPEHASH: B256 = B256::new(hex!("616944bc4bb51b3d5fcbba8c559f76d57a93ac1e0d6659f1abbe95f92300c06f"));
/// keccak256 of `EIP712Domain(string name,string version,uint256 chainId)`.
const DOMAIN_TYPEHASH: B256 = B256::new(hex!("c2f8787176b8ac6bf7215b4adcc1e069bf4ab82d9ab1df05a57a91d425935b6e"));

/// What is said about one offer. Texts are as written: the signature is over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferClaim {
    /// What is offered.
    pub resource_url: String,
    /// Its scheme.
    pub scheme: String,
    /// CAIP-2.
    pub network: String,
    /// The token's contract.
    pub asset: String,
    /// Who is paid.
    pub pay_to: String,
    /// Atomic units.
    pub amount: String,
    /// Until when the offer stands, in seconds; 0 is not said.
    pub valid_until_s: u64,
}

/// What is said about one payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptClaim {
    /// CAIP-2.
    pub network: String,
    /// What was paid for.
    pub resource_url: String,
    /// Who paid.
    pub payer: String,
    /// When this was signed, in seconds.
    pub issued_at_s: u64,
    /// The chain_tx, or empty where it is not said.
    pub transaction: String,
}

/// A claim and the payee's signature over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed<C> {
    /// What is said.
    pub claim: C,
    /// By whom: see [`Signed::signer`].
    pub signature: Signature,
}

/// An [`OfferClaim`] or a [`ReceiptClaim`].
pub trait Claim: Sized {
    /// The EIP-712 digest that is signed.
    fn digest(&self) -> B256;

    /// `payload` as it is written.
    fn to_json(&self) -> Value;

    /// Reads `payload`. `None` where a field is missing or of another type, or where the version is not 1.
    fn parse(payload: &Value) -> Option<Self>;
}

impl OfferClaim {
    /// What `offer` says about the resource.
    #[must_use]
    pub fn of(offer: &Offer, resource_url: &str, valid_until_s: u64) -> Self {
        Self {
            resource_url: resource_url.to_owned(),
            scheme: "exact".to_owned(),
            network: offer.network().to_string(),
            asset: offer.asset_info.asset.address.to_string(),
            pay_to: offer.payee.to_string(),
            amount: offer.amount_atomic.to_string(),
            valid_until_s,
        }
    }
}

impl ReceiptClaim {
    /// That `payer` paid for the resource. A receipt for the tab names no chain_tx, for there is none yet.
    #[must_use]
    pub fn of(resource_url: &str, network: Network, payer: Payer, chain_tx: Option<B256>, issued_at_s: u64) -> Self {
        Self {
            network: network.to_string(),
            resource_url: resource_url.to_owned(),
            payer: payer.to_string(),
            issued_at_s,
            transaction: chain_tx.map(|hash| hash.to_string()).unwrap_or_default(),
        }
    }
}

impl Claim for OfferClaim {
    fn digest(&self) -> B256 {
        let hash = words_hash([
            OFFER_TYPEHASH,
            word(1),
            keccak256(&self.resource_url),
            keccak256(&self.scheme),
            keccak256(&self.network),
            keccak256(&self.asset),
            keccak256(&self.pay_to),
            keccak256(&self.amount),
            word(self.valid_until_s),
        ]);
        typed_digest(domain("x402 offer"), hash)
    }

    fn to_json(&self) -> Value {
        json!({
            "version": 1,
            "resourceUrl": self.resource_url,
            "scheme": self.scheme,
            "network": self.network,
            "asset": self.asset,
            "payTo": self.pay_to,
            "amount": self.amount,
            "validUntil": self.valid_until_s,
        })
    }

    fn parse(payload: &Value) -> Option<Self> {
        let text = |name| Some(get(payload, name)?.as_str()?.to_owned());
        one(payload)?;
        Some(Self {
            resource_url: text("resourceUrl")?,
            scheme: text("scheme")?,
            network: text("network")?,
            asset: text("asset")?,
            pay_to: text("payTo")?,
            amount: text("amount")?,
            valid_until_s: get(payload, "validUntil").map_or(Some(0), Value::as_u64)?,
        })
    }
}

impl Claim for ReceiptClaim {
    fn digest(&self) -> B256 {
        let hash = words_hash([
            RECEIPT_TYPEHASH,
            word(1),
            keccak256(&self.network),
            keccak256(&self.resource_url),
            keccak256(&self.payer),
            word(self.issued_at_s),
            keccak256(&self.transaction),
        ]);
        typed_digest(domain("x402 receipt"), hash)
    }

    fn to_json(&self) -> Value {
        json!({
            "version": 1,
            "network": self.network,
            "resourceUrl": self.resource_url,
            "payer": self.payer,
            "issuedAt": self.issued_at_s,
            "transaction": self.transaction,
        })
    }

    fn parse(payload: &Value) -> Option<Self> {
        let text = |name| Some(get(payload, name)?.as_str()?.to_owned());
        one(payload)?;
        Some(Self {
            network: text("network")?,
            resource_url: text("resourceUrl")?,
            payer: text("payer")?,
            issued_at_s: get(payload, "issuedAt")?.as_u64()?,
            transaction: get(payload, "transaction").map_or(Some(""), Value::as_str)?.to_owned(),
        })
    }
}

impl<C: Claim> Signed<C> {
    /// Signs a claim.
    ///
    /// # Errors
    /// [`SignFault`] when the signer cannot sign now.
    pub async fn sign(claim: C, signer: &impl Signer) -> Result<Self, SignFault> {
        let signature = signer.sign(claim.digest()).await?;
        Ok(Self { claim, signature })
    }

    /// The address whose key made the signature over exactly this claim, if there is one.
    #[must_use]
    pub fn signer(&self) -> Option<Address> {
        self.signature.recover(self.claim.digest())
    }

    /// `{format, payload, signature}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "format": "eip712", "payload": self.claim.to_json(), "signature": format!("{:?}", self.signature) })
    }

    /// Reads `{format, payload, signature}`. `None` for other formats, too: [`Jws`](super::Jws) reads the other one.
    #[must_use]
    pub fn parse(value: &Value) -> Option<Self> {
        if get(value, "format")? != "eip712" {
            return None;
        }
        let claim = C::parse(get(value, "payload")?)?;
        let digits = get(value, "signature")?.as_str()?.strip_prefix("0x").filter(|digits| digits.len() == 130)?;
        let bytes = hex::decode_to_array::<_, 65>(digits).ok()?;
        Some(Self { claim, signature: Signature::from_bytes(&bytes)? })
    }
}

/// The object in a 402's `extensions`: the signed offers in the order of its `accepts`.
#[must_use]
pub fn offers_extension(offers: &[Signed<OfferClaim>]) -> Value {
    let one = |(index, offer): (usize, &Signed<OfferClaim>)| {
        let mut value = offer.to_json();
        if let Some(members) = value.as_object_mut() {
            // A hint without a signature: the claim itself says what it is about.
            members.insert("acceptIndex".to_owned(), index.into());
        }
        value
    };
    let text = json!({ "type": "string" });
    let integer = json!({ "type": "integer" });
    let payload = json!({
        "type": "object",
        "properties": {
            "version": integer, "resourceUrl": text, "scheme": text, "network": text, "asset": text, "payTo": text,
            "amount": text, "validUntil": integer,
        },
        "required": ["version", "resourceUrl", "scheme", "network", "asset", "payTo", "amount"],
    });
    let item = json!({
        "type": "object",
        "properties": { "format": text, "acceptIndex": integer, "payload": payload, "signature": text },
        "required": ["format", "signature"],
    });
    json!({
        "info": { "offers": offers.iter().enumerate().map(one).collect::<Vec<_>>() },
        "schema": schema(&json!({ "offers": { "type": "array", "items": item } }), &["offers"]),
    })
}

/// The object in the `extensions` of a `PAYMENT-RESPONSE`: a [`Signed::to_json`] or a [`Jws::to_json`](super::Jws::to_json).
#[must_use]
pub fn receipt_extension(receipt: &Value) -> Value {
    let text = json!({ "type": "string" });
    let integer = json!({ "type": "integer" });
    let payload = json!({
        "type": "object",
        "properties": {
            "version": integer, "network": text, "resourceUrl": text, "payer": text, "issuedAt": integer,
            "transaction": text,
        },
        "required": ["version", "network", "resourceUrl", "payer", "issuedAt"],
    });
    let receipt_schema = json!({
        "type": "object",
        "properties": { "format": text, "payload": payload, "signature": text },
        "required": ["format", "signature"],
    });
    json!({
        "info": { "receipt": receipt },
        "schema": schema(&json!({ "receipt": receipt_schema }), &["receipt"]),
    })
}

fn one(payload: &Value) -> Option<()> {
    (get(payload, "version")?.as_u64()? == 1).then_some(())
}

fn word(number: u64) -> B256 {
    U256::from(number).into()
}

/// The chain is 1 for every network: the claim names its own.
fn domain(name: &str) -> B256 {
    words_hash([DOMAIN_TYPEHASH, keccak256(name), keccak256("1"), word(1)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::tests::{KEY_0, fixture};
    use crate::{Key, OfferExtra, Payee};

    #[test]
    fn typehashes_are_the_hashes_of_their_types() {
        for (text, hash) in [
            (
                "Offer(uint256 version,string resourceUrl,string scheme,string network,string asset,string payTo,string amount,uint256 validUntil)",
                OFFER_TYPEHASH,
            ),
            (
                "Receipt(uint256 version,string network,string resourceUrl,string payer,uint256 issuedAt,string transaction)",
                RECEIPT_TYPEHASH,
            ),
            ("EIP712Domain(string name,string version,uint256 chainId)", DOMAIN_TYPEHASH),
        ] {
            assert_eq!(keccak256(text), hash, "{text}");
        }
    }

    fn claims() -> (OfferClaim, ReceiptClaim) {
        let (token, fields) = fixture();
        let offer = Offer {
            asset_info: token,
            amount_atomic: 10_000,
            payee: Payee(fields.to),
            max_timeout_s: 60,
            extra: OfferExtra::default(),
        };
        let url = "https://api.example.com/premium-data";
        let receipt = ReceiptClaim::of(url, offer.network(), Payer(fields.from), None, 1_900_000_000);
        (OfferClaim::of(&offer, url, 2_000_000_000), receipt)
    }

    /// The values of reference x402 §18.
    #[test]
    fn known_digests() {
        let (offer, receipt) = claims();
        assert_eq!(offer.digest(), B256::new(hex!("ede072b97408472a4e8213e5239c7c42505a72a09cf2b6c206a8f6a3a0c16b11")));
        assert_eq!(
            receipt.digest(),
            B256::new(hex!("30328d6c68ccba8f0dcc51fe5d910dae44f45666a6f161d1e547e43b0df84992"))
        );
    }

    #[test]
    fn what_is_signed_reads_back_and_names_its_signer() {
        let (offer, receipt) = claims();
        let key = Key::from_hex(KEY_0).unwrap();
        let offer = Signed { signature: key.sign_now(offer.digest()).unwrap(), claim: offer };
        let receipt = Signed { signature: key.sign_now(receipt.digest()).unwrap(), claim: receipt };
        assert_eq!((offer.signer(), receipt.signer()), (Some(key.address()), Some(key.address())));
        let printed = offers_extension(&[offer.clone(), offer.clone()]);
        assert_eq!(printed["info"]["offers"][1]["acceptIndex"], 1);
        assert_eq!(Signed::parse(&printed["info"]["offers"][0]), Some(offer));
        let printed = receipt_extension(&receipt.to_json());
        assert_eq!(Signed::parse(&printed["info"]["receipt"]), Some(receipt));
    }

    #[test]
    fn every_member_is_signed_and_none_may_be_odd() {
        let (offer, receipt) = claims();
        let key = Key::from_hex(KEY_0).unwrap();
        let offer = Signed { signature: key.sign_now(offer.digest()).unwrap(), claim: offer }.to_json();
        let receipt = Signed { signature: key.sign_now(receipt.digest()).unwrap(), claim: receipt }.to_json();
        spoil::<OfferClaim>(&offer, key.address());
        spoil::<ReceiptClaim>(&receipt, key.address());
    }

    fn spoil<C: Claim + std::fmt::Debug>(good: &Value, signer: Address) {
        for (name, value) in good["payload"].as_object().unwrap() {
            let other = if value.is_u64() { json!(7) } else { json!("other") };
            for change in [other, json!(null), json!([]), json!(-1), json!(1.5)] {
                let mut bad = good.clone();
                bad["payload"][name] = change.clone();
                let read = Signed::<C>::parse(&bad);
                let empty = good["payload"][name] == "";
                let same = change.is_null() && empty;
                assert_eq!(read.and_then(|read| read.signer()) == Some(signer), same, "{name} {change}");
            }
        }
        for (name, value) in
            [("format", json!("jws")), ("signature", json!("0x")), ("signature", json!(null)), ("payload", json!(null))]
        {
            let mut bad = good.clone();
            bad[name] = value;
            assert!(Signed::<C>::parse(&bad).is_none(), "{name}");
        }
    }
}
