//! The sandbox's payer: the wallet's core behind a hidden command, until `pontage pay` exists.

use std::time::Duration;

use alloy_primitives::B256;
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Empty, Limited};
use protocol::x402::{Challenge, decode_header};
use protocol::{Key, Signer as _};
use proxy::{CleanPath, Target, Upstream, UpstreamLimits};
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::host;

const ANSWER_MAX_BYTES: usize = 1024 * 1024;
/// Shorter than what container engines give a check.
const STATUS_WAIT: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
pub(crate) struct PayArgs {
    /// What to ask for; over plain http.
    url: String,
    /// The most that is paid, in atomic units.
    #[arg(long, default_value_t = 1_000_000)]
    max_atomic: u128,
}

/// Pays for one GET with the key in `PONTAGE_PAYER_KEY` and prints the exchange as one JSON object.
pub(crate) fn run(args: &PayArgs) -> anyhow::Result<()> {
    let secret = std::env::var("PONTAGE_PAYER_KEY").context("PONTAGE_PAYER_KEY holds the payer's key")?;
    let key = Key::from_hex(&secret).context("PONTAGE_PAYER_KEY")?;
    crate::say(&serde_json::to_string_pretty(&pay_now(&args.url, args.max_atomic, &key)?)?)
}

/// Pays for one GET, at most `max_atomic`, and returns the exchange.
pub(crate) fn pay_now(url: &str, max_atomic: u128, key: &Key) -> anyhow::Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, exchange(url, max_atomic, key))
}

/// Reads the JSON beneath a URL.
pub(crate) fn get_json(url: &str) -> anyhow::Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (_, body) = LocalSet::new().block_on(&runtime, async {
        let (upstream, path) = reach(url)?;
        ask(&upstream, &path, None).await
    })?;
    Ok(serde_json::from_slice(&body)?)
}

/// The status that a URL answers with.
pub(crate) fn get_status(url: &str) -> anyhow::Result<u16> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = async {
        let (upstream, path) = reach(url)?;
        let (head, _) =
            tokio::time::timeout(STATUS_WAIT, ask(&upstream, &path, None)).await.context("no answer in time")??;
        Ok(head.status().as_u16())
    };
    LocalSet::new().block_on(&runtime, asked)
}

/// Where a URL leads.
fn reach(url: &str) -> anyhow::Result<(Upstream, CleanPath)> {
    let uri: http::Uri = url.parse().context("not a URL")?;
    let path = CleanPath::parse(&uri)?;
    let authority = uri.authority().context("the URL has no host")?;
    let target = Target::parse(&format!("{}://{authority}", uri.scheme_str().unwrap_or("http")))?;
    Ok((Upstream::new(target, UpstreamLimits::default())?, path))
}

async fn exchange(url: &str, max_atomic: u128, key: &Key) -> anyhow::Result<Value> {
    let (upstream, path) = reach(url)?;

    let (first, body) = ask(&upstream, &path, None).await?;
    let header = first.headers().get("payment-required");
    let (402, Some(header)) = (first.status().as_u16(), header) else {
        bail!("the answer is {} and no challenge: {}", first.status(), String::from_utf8_lossy(&body));
    };
    let challenge = Challenge::parse_v2(header.as_bytes())?;
    let offer = wallet::choose(&challenge, max_atomic)?;
    let nonce = B256::new(host::entropy());
    let payment = wallet::sign(key, &challenge, offer, host::now_ms() / 1_000, nonce).await?;
    let (paid, body) = ask(&upstream, &path, Some(&payment.header)).await?;
    Ok(json!({
        "challenge": decode(first.headers(), "payment-required"),
        "signed": {
            "from": key.address().to_string(),
            "to": payment.fields.to.to_string(),
            "value": payment.fields.value.to_string(),
            "validAfter": payment.fields.valid_after.to_string(),
            "validBefore": payment.fields.valid_before.to_string(),
            "nonce": payment.fields.nonce.to_string(),
            "domain": {
                "name": offer.asset_info.name,
                "version": offer.asset_info.version,
                "chainId": offer.network().chain_id,
                "verifyingContract": offer.asset_info.asset.address.to_string(),
            },
            "header": payment.header,
        },
        "answer": {
            "status": paid.status().as_u16(),
            "receipt": decode(paid.headers(), "payment-response"),
            "body": String::from_utf8_lossy(&body),
        },
    }))
}

async fn ask(upstream: &Upstream, path: &CleanPath, payment: Option<&str>) -> anyhow::Result<(Response<()>, Bytes)> {
    let mut request = Request::builder().uri(path.path_and_query());
    if let Some(payment) = payment {
        request = request.header("payment-signature", payment);
    }
    let response = upstream.send(request.body(Empty::<Bytes>::new())?, || {}).await?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_MAX_BYTES).collect().await.map_err(|error| anyhow::anyhow!(error))?;
    Ok((Response::from_parts(parts, ()), body.to_bytes()))
}

fn decode(headers: &HeaderMap, name: &str) -> Option<Value> {
    decode_header(headers.get(name)?.as_bytes()).ok()
}
