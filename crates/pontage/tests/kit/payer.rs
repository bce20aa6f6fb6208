//! A payer who can also do what a decent client would not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy_primitives::{B256, U256, keccak256};
use protocol::exact::Fields;
use protocol::x402::{Challenge, Credential, Version, decode_header};
use protocol::{Key, Offer, Signer as _};
use serde_json::Value;
use xtask::chain::TestKey;

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The problem's members, or null.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The `error` of a problem.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// The `money` of a problem.
    pub(crate) fn money(&self) -> String {
        self.json()["money"].as_str().unwrap_or_default().to_owned()
    }

    /// The v2 receipt, or null.
    pub(crate) fn receipt(&self) -> Value {
        let header = self.headers.get("payment-response");
        header.and_then(|header| decode_header(header.as_bytes()).ok()).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A payer's key, and a nonce for each payment.
pub(crate) struct Payer {
    pub(crate) key: Key,
}

static NONCES: AtomicU64 = AtomicU64::new(1);

impl Payer {
    pub(crate) fn new(key: &TestKey) -> Self {
        Self { key: Key::from_hex(key.secret).expect("a test key") }
    }

    /// One of as many as a test wants: his key is a number, in 32 bytes. It is worth nothing.
    pub(crate) fn numbered(number: u64) -> Self {
        Self { key: Key::from_hex(&format!("0x{number:064x}")).expect("a test key") }
    }

    /// His address, as the chain knows him.
    pub(crate) fn address(&self) -> String {
        self.key.address().to_string()
    }

    /// What the gate asks for.
    pub(crate) fn offer(url: &str) -> Offer {
        let answer = get(url, &[]);
        assert_eq!(answer.status, 402, "{}", answer.text());
        let challenge = Challenge::parse_v2(answer.headers["payment-required"].as_bytes()).expect("a challenge");
        challenge.offers[0].clone()
    }

    /// What a decent payer would sign for an offer.
    pub(crate) fn fields(&self, offer: &Offer) -> Fields {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
        let count = NONCES.fetch_add(1, Ordering::Relaxed);
        Fields {
            from: self.key.address(),
            to: offer.payee.0,
            value: U256::from(offer.amount_atomic),
            valid_after: U256::ZERO,
            valid_before: U256::from(now + offer.max_timeout_s),
            nonce: keccak256(format!("{} {count} {now}", std::process::id())),
        }
    }

    /// Signs fields for an offer, in a version's header.
    pub(crate) fn sign(&self, version: Version, offer: &Offer, fields: &Fields) -> String {
        let signature = self.key.sign_now(fields.digest(&offer.asset_info)).expect("a signature");
        Credential::print(version, offer, "http://localhost/", fields, &signature).expect("a header")
    }

    /// A fresh v2 payment.
    pub(crate) fn payment(&self, offer: &Offer) -> (String, B256) {
        let fields = self.fields(offer);
        (self.sign(Version::V2, offer, &fields), fields.nonce)
    }

    /// Asks for the price and pays it.
    pub(crate) fn buy(&self, url: &str) -> Answer {
        let (header, _) = self.payment(&Self::offer(url));
        get(url, &[("payment-signature", &header)])
    }
}

/// GET.
pub(crate) fn get(url: &str, headers: &[(&str, &str)]) -> Answer {
    request("GET", url, headers, b"")
}

/// Any method. A body that is empty is not sent.
pub(crate) fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    try_request(method, url, headers, body).expect("an answer")
}

pub(crate) fn try_request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(Duration::from_secs(90)))
        .max_idle_connections(0)
        .allow_non_standard_methods(true)
        .build()
        .into();
    let mut builder = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let mut response = if body.is_empty() {
        agent.run(builder.body(()).expect("a request"))?
    } else {
        agent.run(builder.body(body).expect("a request"))?
    };
    let named = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let headers = response.headers().iter().map(named).collect();
    let body = response.body_mut().with_config().limit(64 * 1024 * 1024).read_to_vec()?;
    Ok(Answer { status: response.status().as_u16(), headers, body })
}
