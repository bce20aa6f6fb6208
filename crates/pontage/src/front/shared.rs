//! What every worker's front shares.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use protocol::Key;
use protocol::x402::ext::{OFFER_RECEIPT, OfferClaim, ReceiptClaim, Signed, offers_extension, receipt_extension};
use protocol::x402::{Challenge, Extensions, Receipt};
use tokio::sync::{Semaphore, watch};

use super::sign_in::SignIns;
use super::trust::TrustKey;
use crate::config::{Config, SecretSource};
use crate::host::{self, now_ms};
use crate::limits::Limits;
use crate::operation::Operation;
use crate::plan::Plan;
use crate::turns::Turns;

/// How many bodies may be in memory to be judged.
const BODIES_MAX: usize = 64;

/// What the front does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Passes them on.
    Proxy,
    /// Only says to another proxy whether they are paid for.
    Sidecar,
    /// Passes them on for any payment header, and takes no money.
    Mock,
}

/// What every worker's front shares.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) plan: watch::Receiver<Arc<Plan>>,
    pub(crate) role: Role,
    pub(crate) operation: Operation,
    pub(crate) limits: Arc<Limits>,
    pub(super) turns: Turns,
    /// Bodies that are read before their calls are judged, of at most 1 MiB each.
    pub(super) bodies: Arc<Semaphore>,
    pub(super) sign_ins: Arc<SignIns>,
    pub(super) answer_max_bytes: u64,
    /// Where there is a secret to share with the origin.
    pub(super) trust: Option<TrustKey>,
    /// Signs the names of holds that a sidecar's proxy reports on.
    pub(super) names: TrustKey,
    /// Signs offers and receipts.
    signer: Option<Key>,
}

impl Shared {
    pub(crate) fn new(
        config: &Config,
        plans: watch::Receiver<Arc<Plan>>,
        role: Role,
        operation: Operation,
    ) -> anyhow::Result<Self> {
        let trust = match &config.trust_secret {
            Some(source) => Some(TrustKey::new(source.read().context("proxy.trust_secret")?.expose().as_bytes())),
            None => None,
        };
        let limits = {
            let plan = plans.borrow();
            Limits::new(plan.rates, plan.route_rates())
        };
        let origin = config.public_url.clone().unwrap_or_else(|| format!("http://{}", config.listen));
        Ok(Self {
            plan: plans,
            role,
            turns: Turns::new(config.in_flight, operation.telemetry.metrics.clone()),
            operation,
            limits: Arc::new(limits),
            bodies: Arc::new(Semaphore::new(BODIES_MAX)),
            sign_ins: Arc::new(SignIns::new(origin)),
            answer_max_bytes: config.replay.answer_max_bytes,
            names: trust.clone().unwrap_or_else(|| TrustKey::new(&host::entropy::<32>())),
            trust,
            signer: config.offer_signer.as_ref().map(offer_key).transpose()?,
        })
    }

    /// Puts a signature under each offer, where there is a key for it.
    pub(super) async fn sign_offers(&self, challenge: &mut Challenge, now_s: u64) {
        let Some(signer) = &self.signer else { return };
        let mut signed = Vec::new();
        for offer in &challenge.offers {
            let until_s = now_s.saturating_add(offer.max_timeout_s);
            // A key in memory always signs; an offer without a signature is as good as before.
            if let Ok(claim) = Signed::sign(OfferClaim::of(offer, &challenge.resource.url, until_s), signer).await {
                signed.push(claim);
            }
        }
        challenge.extensions.insert(OFFER_RECEIPT.to_owned(), offers_extension(&signed));
    }

    /// What a receipt says besides, where there is a key to sign it. Only what has settled is certified.
    pub(super) async fn sign_receipt(&self, receipt: &Receipt, url: &str) -> Extensions {
        let mut extensions = Extensions::new();
        if let (Some(signer), Receipt::Settled(settled)) = (&self.signer, receipt) {
            let network = settled.amount.asset.network;
            let claim = ReceiptClaim::of(url, network, settled.payer, Some(settled.chain_tx), now_ms() / 1_000);
            if let Ok(signed) = Signed::sign(claim, signer).await {
                extensions.insert(OFFER_RECEIPT.to_owned(), receipt_extension(&signed));
            }
        }
        extensions
    }
}

fn offer_key(source: &SecretSource) -> anyhow::Result<Key> {
    let secret = source.read().context("extensions.offer_signer")?;
    Key::from_hex(secret.expose()).map_err(|error| anyhow!("extensions.offer_signer: {source} {error}"))
}
