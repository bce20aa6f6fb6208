//! The receipts of calls: digests that are taken as bodies pass, the header that goes out with an answer, and what is fetched later.

use std::net::IpAddr;
use std::sync::Arc;

use alloy_primitives::{B256, hex};
use bytes::Bytes;
use gate::{Fault, Journal as _, Rate};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use ledger::{Hold, HoldId, Record};
use protocol::x402::{CallReceipt, RECEIPTS, Receipt, ReceiptName, SettlementNote, SignedReceipt, encode_header};
use protocol::{Authorization, Key, MoneyState, SignFault};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use store::ReceiptRow;
use tracing::warn;

use super::arriving::Arriving;
use super::story::{Story, Told};
use super::upload::Digest;
use super::{Front, own};
use crate::config::{ReceiptFormat, ReceiptsConfig};
use crate::host::now_ms;
use crate::limits;
use crate::problem::Problem;
use crate::source;
use crate::telemetry::{Limit, MoneyOutcome};

/// A receipt in base64, or where it can be fetched: that begins with a slash, which no receipt does.
const X_402_RECEIPT: HeaderName = HeaderName::from_static("x-402-receipt");

/// More than this of a header is refused by some clients and proxies.
const HEADER_MAX_BYTES: usize = 6 * 1024;

/// Where receipts are looked up besides, as far as no route covers it.
const BESIDES: [&str; 2] = ["/receipts/", "/api/receipts/"];

/// How receipts are given.
pub(super) struct Receipts {
    key: Key,
    ttl_ms: u64,
    lookups: Rate,
    pub(super) format: ReceiptFormat,
}

/// What is noted of a paid call: the digest of its request, and its receipt in the making where it gets one.
#[derive(Default)]
pub(super) struct Noted {
    pub(super) request: Digest,
    pub(super) draft: Option<Box<Draft>>,
}

/// A receipt in the making. From the answer's head on, what is known of it is written when it is dropped, however the answer ended.
pub(super) struct Draft {
    front: Front,
    receipts: Arc<Receipts>,
    authorization: Authorization,
    url_hash: B256,
    row: ReceiptRow,
    request: Digest,
    response: Sha256,
    /// The digest of an answer that was at hand with its head. It is the row's when the answer has been given out.
    at_hand: Option<B256>,
    begun: bool,
}

impl Receipts {
    pub(super) fn new(config: &ReceiptsConfig, key: Key) -> Self {
        let ReceiptsConfig { signer: _, ttl_s, format, lookups } = *config;
        Self { key, ttl_ms: ttl_s.saturating_mul(1_000), lookups, format }
    }

    /// Signs what a row and its payment say now.
    fn sign(
        &self,
        row: &ReceiptRow,
        authorization: &Authorization,
        url_hash: B256,
        settlement: SettlementNote,
    ) -> Result<Value, SignFault> {
        let receipt = CallReceipt {
            payment: row.hold.0,
            authorization,
            settlement,
            served_at_s: row.at_ms / 1_000,
            method: &row.method,
            path: &row.path,
            url_hash,
            request_hash: row.request_hash,
            response_hash: row.response_hash,
        };
        Ok(SignedReceipt::sign(receipt.to_json(), &self.key)?.to_json())
    }

    /// The same as the books have it now.
    fn sign_record(&self, row: &ReceiptRow, record: &Record) -> Result<Value, SignFault> {
        let (state, chain_tx, block) = own::state(record);
        let note = SettlementNote { state, chain_tx, block, as_of_s: now_ms() / 1_000 };
        self.sign(row, &record.hold.authorization, record.hold.fingerprint, note)
    }
}

impl Draft {
    /// Says with an answer's head what there is of a receipt: all of it where the answer is at hand, or where it will be.
    pub(super) fn head(&mut self, headers: &mut HeaderMap, at_hand: Option<&[u8]>, receipt: &Receipt) {
        self.begin();
        let whole = at_hand.filter(|_| self.row.request_hash.is_some()).and_then(|bytes| {
            self.at_hand = Some(B256::from_slice(&Sha256::digest(bytes)));
            let row = ReceiptRow { response_hash: self.at_hand, ..self.row.clone() };
            let signed = self.receipts.sign(&row, &self.authorization, self.url_hash, note(receipt)?).ok()?;
            Some(encode_header(&signed)).filter(|text| text.len() <= HEADER_MAX_BYTES)
        });
        let text = whole.unwrap_or_else(|| {
            // It can be asked for while the answer still comes, and is there if the process dies with it.
            self.write();
            format!("{RECEIPTS}{}", hex::encode(self.row.hold.0))
        });
        if let Ok(text) = HeaderValue::try_from(text) {
            headers.insert(X_402_RECEIPT, text);
        }
    }

    /// The answer begins.
    pub(super) fn begin(&mut self) {
        self.begun = true;
        self.row.at_ms = now_ms();
        self.row.request_hash = self.request.value();
    }

    /// A piece of the answer.
    pub(super) fn note(&mut self, data: &[u8]) {
        if self.at_hand.is_none() {
            self.response.update(data);
        }
    }

    /// That was all of it.
    pub(super) fn end(mut self: Box<Self>) {
        let passed = || B256::from_slice(&std::mem::take(&mut self.response).finalize());
        self.row.response_hash = Some(self.at_hand.unwrap_or_else(passed));
    }

    fn write(&self) {
        let (front, row) = (self.front.clone(), self.row.clone());
        self.front.0.tasks.spawn(async move {
            let hold = row.hold;
            if let Err(fault) = front.0.flow.journal.keep_receipt(row).await {
                warn!(%hold, %fault, "what the receipt of a call needs was not written: it cannot be fetched");
            }
        });
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.begun {
            self.row.request_hash = self.request.value();
            self.write();
        }
    }
}

/// Where the money is as the answer's head goes out. `None` where nothing is certified.
fn note(receipt: &Receipt) -> Option<SettlementNote> {
    let as_of_s = now_ms() / 1_000;
    match receipt {
        Receipt::Settled(settled) => {
            let (chain_tx, block) = (Some(settled.chain_tx), own::block_of(*settled));
            Some(SettlementNote { state: "settled", chain_tx, block, as_of_s })
        }
        Receipt::Held { .. } => Some(SettlementNote { state: "held", chain_tx: None, block: None, as_of_s }),
        Receipt::Refused { .. } | Receipt::Pending { .. } => None,
    }
}

/// Who signs, for whoever trusts what this origin says.
pub(super) fn signer(key: &Key) -> Response<Bytes> {
    let public = key.public();
    let body = json!({
        "address": public.address().to_string(),
        "public_key": public.to_string(),
        "did": public.did_key(),
    });
    said(StatusCode::OK, &body)
}

/// What a path asks for.
pub(super) enum Asked {
    Named(ReceiptName),
    Payment(HoldId),
}

impl Asked {
    fn parse(name: &str) -> Option<Self> {
        let payment = || hex::decode_to_array::<_, 16>(name).ok().map(|id| Self::Payment(HoldId(id)));
        ReceiptName::parse(name).map(Self::Named).or_else(payment)
    }
}

/// The name that a path beneath the gate's own holds, whatever it is.
pub(super) fn name_beneath(path: &str) -> Option<&str> {
    path.strip_prefix(RECEIPTS)
}

impl Front {
    /// Begins the receipt of a call, where calls get receipts.
    pub(super) fn draft(&self, arriving: &Arriving<'_>, hold: &Hold, request: Digest) -> Option<Box<Draft>> {
        let receipts = Arc::clone(self.0.shared.receipts.as_ref()?);
        let (method, path) = (arriving.method.to_owned(), arriving.path.path().to_owned());
        Some(Box::new(Draft {
            front: self.clone(),
            receipts,
            authorization: hold.authorization,
            url_hash: hold.fingerprint,
            row: ReceiptRow { hold: hold.id, at_ms: 0, method, path, request_hash: None, response_hash: None },
            request,
            response: Sha256::new(),
            at_hand: None,
            begun: false,
        }))
    }

    /// Whether a call that no route covers asks for a receipt.
    pub(super) fn asks_for_receipt<'p>(&self, method: &Method, path: &'p str) -> Option<&'p str> {
        self.0.shared.receipts.as_ref().filter(|_| matches!(*method, Method::GET | Method::HEAD))?;
        let name = BESIDES.iter().find_map(|beneath| path.strip_prefix(beneath))?;
        Asked::parse(name).map(|_| name)
    }

    /// Gives a receipt out by its name, or its payment's. One address may ask so often.
    pub(super) async fn receipt(&self, method: &Method, name: &str, from: IpAddr) -> Told<Bytes> {
        let story = Story::of(MoneyOutcome::Own);
        let Some(receipts) = &self.0.shared.receipts else { return story.with(Problem::not_found().into_response()) };
        if !matches!(*method, Method::GET | Method::HEAD) {
            return story.with(Problem::method_not_allowed("GET, HEAD"));
        }
        let taken = self.0.shared.limits.take(limits::Key::Lookup(source::source(from), receipts.lookups), now_ms());
        let story = Story { taken, ..story };
        if let Some(taken) = taken.filter(|taken| !taken.allowed) {
            let story =
                Story { limited: Some(Limit::Address), taken: Some(taken), ..Story::of(MoneyOutcome::RateLimited) };
            return story.with(Problem::too_many(taken.retry_after_s).into_response());
        }
        let found = match Asked::parse(name) {
            Some(asked) => self.signed_receipt(receipts, &asked).await,
            None => Ok(None),
        };
        match found {
            Ok(Some(mut signed)) => {
                if let Some(members) = signed.as_object_mut() {
                    members.insert("status".to_owned(), "valid".into());
                }
                story.with(said(StatusCode::OK, &signed))
            }
            Ok(None) => {
                let message = "Receipt may have expired or never existed";
                story.with(said(StatusCode::NOT_FOUND, &json!({ "error": "Receipt not found", "message": message })))
            }
            Err(fault) => {
                let fault = Fault { money: MoneyState::Unknown, ..fault };
                story.because(fault.code()).with(Problem::fault(fault).into_response())
            }
        }
    }

    /// Puts the receipt of a payment that was served before to its stored answer.
    pub(super) async fn receipt_again(&self, hold: HoldId, headers: &mut HeaderMap) {
        let Some(receipts) = &self.0.shared.receipts else { return };
        // Without it the answer is as good.
        if let Ok(Some(signed)) = self.signed_receipt(receipts, &Asked::Payment(hold)).await
            && let Ok(text) = HeaderValue::try_from(encode_header(&signed))
            && text.len() <= HEADER_MAX_BYTES
        {
            headers.insert(X_402_RECEIPT, text);
        }
    }

    async fn signed_receipt(&self, receipts: &Receipts, asked: &Asked) -> Result<Option<Value>, Fault> {
        let journal = &self.0.flow.journal;
        let row = match asked {
            Asked::Named(ReceiptName(end)) => journal.receipt_named(*end)?,
            Asked::Payment(hold) => journal.receipt(*hold)?,
        };
        let Some(row) = row.filter(|row| now_ms() < row.at_ms.saturating_add(receipts.ttl_ms)) else { return Ok(None) };
        let record = journal.payment(row.hold).await?;
        // A key in memory always signs.
        Ok(record.and_then(|record| receipts.sign_record(&row, &record).ok()))
    }
}

fn said(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
