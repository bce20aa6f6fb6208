//! The receipt: `PAYMENT-RESPONSE` (v2) and `X-PAYMENT-RESPONSE` (v1).

use alloy_primitives::{B256, hex};
use serde_json::{Value, json};

use super::Version;
use super::ext::Extensions;
use super::header::{encode_header, encode_text};
use crate::{Amount, Network, Payer, Refusal, Settled};

/// Beneath this path of the gate, the state of a payment on the tab can be asked for by its name.
pub const PAYMENTS: &str = "/__pay/payments/";

/// What became of a payment, as told to the payer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The money moved.
    Settled(Settled),
    /// The money did not move and will not.
    Refused {
        /// On which chain it was tried.
        network: Network,
        /// Who would have paid.
        payer: Payer,
        /// Why.
        refusal: Refusal,
    },
    /// Served on the tab: the authorization is held and will be settled later. Nothing has moved yet.
    Held {
        /// What will move.
        amount: Amount,
        /// Who pays.
        payer: Payer,
        /// The payment's name, by which its state can be asked for.
        payment: [u8; 16],
    },
    /// Not known yet. Never a reason to pay again.
    Pending {
        /// On which chain.
        network: Network,
        /// Who pays.
        payer: Payer,
        /// The chain_tx that was sent, if one was.
        chain_tx: Option<B256>,
    },
}

impl Receipt {
    /// The header's text in v2 form, where the network is a CAIP-2 id.
    #[must_use]
    pub fn to_v2_header(&self) -> String {
        encode_header(&self.to_json(|network| Some(network.to_string())))
    }

    /// The headers' texts in v2 form and, where it has a name for the network, in v1 form. A payment on the tab is most calls', so it
    /// is written at once.
    #[must_use]
    pub fn to_headers(&self, extensions: Extensions) -> (String, Option<String>) {
        let Self::Held { amount, payer, payment } = self else {
            return (self.to_v2_header_with(extensions), self.to_v1_header());
        };
        if !extensions.is_empty() {
            return (self.to_v2_header_with(extensions), self.to_v1_header());
        }
        let (network, amount, name) = (amount.asset.network, amount.atomic, hex::encode(payment));
        let before = format!(
            r#"{{"amount":"{amount}","extra":{{"payment":"{name}","state":"held","status_url":"{PAYMENTS}{name}"}},"network":""#
        );
        let after = format!(r#"","payer":"{payer}","success":true,"transaction":""}}"#);
        let print = |network: &str| encode_text(&[&before, network, &after].concat());
        (print(&network.to_string()), network.v1_name().map(print))
    }

    /// The same with extensions of x402: the signed receipt lies there.
    #[must_use]
    pub fn to_v2_header_with(&self, extensions: Extensions) -> String {
        let mut value = self.to_v2();
        if let (Some(members), false) = (value.as_object_mut(), extensions.is_empty()) {
            members.insert("extensions".to_owned(), extensions.into());
        }
        encode_header(&value)
    }

    /// The header's text in v1 form, or `None` when v1 has no name for the network.
    #[must_use]
    pub fn to_v1_header(&self) -> Option<String> {
        self.to_object(Version::V1).map(|value| encode_header(&value))
    }

    /// The v2 object, for bodies.
    #[must_use]
    pub fn to_v2(&self) -> Value {
        self.to_json(|network| Some(network.to_string()))
    }

    /// The object in a version's words, or `None` when v1 has no name for the network.
    #[must_use]
    pub fn to_object(&self, version: Version) -> Option<Value> {
        match version {
            Version::V1 => {
                let value = self.to_json(|network| network.v1_name().map(str::to_owned));
                value.get("network").is_some_and(Value::is_string).then_some(value)
            }
            Version::V2 => Some(self.to_v2()),
        }
    }

    fn to_json(self, name: impl Fn(Network) -> Option<String>) -> Value {
        match self {
            Self::Settled(settled) => json!({
                "success": true,
                "transaction": settled.chain_tx.to_string(),
                "network": name(settled.amount.asset.network),
                "payer": settled.payer.to_string(),
                "amount": settled.amount.atomic.to_string(),
            }),
            Self::Refused { network, payer, refusal } => json!({
                "success": false,
                "transaction": "",
                "network": name(network),
                "payer": payer.to_string(),
                "errorReason": refusal.code(),
                "errorMessage": refusal.message(),
            }),
            Self::Held { amount, payer, payment } => json!({
                "success": true,
                "transaction": "",
                "network": name(amount.asset.network),
                "payer": payer.to_string(),
                "amount": amount.atomic.to_string(),
                "extra": {
                    "state": "held",
                    "payment": hex::encode(payment),
                    "status_url": format!("{PAYMENTS}{}", hex::encode(payment)),
                },
            }),
            Self::Pending { network, payer, chain_tx } => json!({
                "success": false,
                "transaction": chain_tx.map(|hash| hash.to_string()).unwrap_or_default(),
                "network": name(network),
                "payer": payer.to_string(),
                "errorReason": "settlement_pending",
                "errorMessage": "The settlement is not confirmed yet. Do not pay again.",
            }),
        }
    }
}
