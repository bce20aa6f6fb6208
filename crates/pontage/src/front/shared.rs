//! What every worker's front shares.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use gate::PassKeys;
use protocol::Key;
use protocol::x402::ext::{
    Claim as _, Jws, OFFER_RECEIPT, OfferClaim, ReceiptClaim, Signed, offers_extension, receipt_extension,
};
use protocol::x402::{Challenge, Extensions, Receipt};
use store::Store;
use tokio::sync::{Semaphore, watch};

use super::receipt::Receipts;
use super::sign_in::SignIns;
use super::trust::TrustKey;
use crate::accounts::Nonces;
use crate::cache::Cache;
use crate::config::{AccountsConfig, BudgetConfig, Config, ReceiptFormat, SecretSource};
use crate::host::{entropy, now_ms};
use crate::limits::Limits;
use crate::operation::Operation;
use crate::plan::Plan;
use crate::turns::Turns;

/// How many bodies may be in memory to be judged.
const BODIES_MAX: usize = 64;

/// A shorter secret could be guessed.
const PASS_SECRET_MIN_BYTES: usize = 32;

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
    /// Signs what is certified: one key, whatever that is.
    pub(super) signer: Option<Key>,
    signs_offers: bool,
    /// Where calls get receipts.
    pub(super) receipts: Option<Arc<Receipts>>,
    /// Answers of routes with a `cache_s`.
    pub(super) cache: Arc<Cache>,
    /// What each key, or all together, may call and spend.
    pub(super) account_budgets: Arc<[BudgetConfig]>,
    /// Sign passes.
    pub(super) pass_keys: Arc<PassKeys>,
    /// How accounts pay, where there are any.
    pub(crate) accounts: Option<AccountsConfig>,
    /// Which signed requests came before.
    pub(crate) nonces: Arc<Nonces>,
}

impl Shared {
    pub(crate) fn new(
        config: &Config,
        plans: watch::Receiver<Arc<Plan>>,
        role: Role,
        operation: Operation,
        store: &Store,
    ) -> anyhow::Result<Self> {
        let trust = match &config.trust_secret {
            Some(source) => Some(TrustKey::new(source.read().context("proxy.trust_secret")?.expose().as_bytes())),
            None => None,
        };
        let limits = {
            let plan = plans.borrow();
            Limits::new(plan.rates, plan.route_rates())
        };
        // What a proxy was given to report on a call is good after a crash as well.
        let names = match &trust {
            Some(trust) => trust.clone(),
            None => TrustKey::new(&store.secret("names", &entropy::<32>())?),
        };
        let signer = signer(config)?;
        let receipts = config.receipts.as_ref().zip(signer.clone());
        let receipts = receipts.map(|(config, key)| Arc::new(Receipts::new(config, key)));
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
            names,
            trust,
            signs_offers: config.offer_signer.is_some(),
            receipts,
            signer,
            cache: Arc::new(Cache::new(config.accounts.as_ref().map_or(0, |accounts| accounts.cache_max_bytes))),
            pass_keys: Arc::new(pass_keys(config, store)?),
            accounts: config.accounts,
            account_budgets: config.account_budgets.clone().into(),
            nonces: Arc::new(Nonces::new(now_ms())),
        })
    }

    /// Puts a signature under each offer, where there is a key for it.
    pub(super) async fn sign_offers(&self, challenge: &mut Challenge, now_s: u64) {
        let Some(signer) = self.signer.as_ref().filter(|_| self.signs_offers) else { return };
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
            let format = self.receipts.as_ref().map(|receipts| receipts.format).unwrap_or_default();
            let signed = match format {
                ReceiptFormat::Eip712 => Signed::sign(claim, signer).await.map(|signed| signed.to_json()),
                ReceiptFormat::Jws => Jws::sign(claim.to_json(), signer).map(|jws| jws.to_json()),
            };
            if let Ok(signed) = signed {
                extensions.insert(OFFER_RECEIPT.to_owned(), receipt_extension(&signed));
            }
        }
        extensions
    }
}

/// The secrets of passes: those of the configuration, or the journal's own.
fn pass_keys(config: &Config, store: &Store) -> anyhow::Result<PassKeys> {
    let read = |key: &'static str, source: &SecretSource| {
        let secret = source.read().context(key)?;
        let long = secret.expose().len() >= PASS_SECRET_MIN_BYTES;
        long.then_some(secret).ok_or_else(|| anyhow!("{key}: {source} is shorter than {PASS_SECRET_MIN_BYTES} bytes"))
    };
    let Some(newest) = &config.passes.secret else {
        return Ok(PassKeys::new(&store.secret("passes", &entropy::<32>())?, &[]));
    };
    let newest = read("passes.secret", newest)?;
    let earlier = config.passes.previous.as_ref().map(|source| read("passes.previous", source)).transpose()?;
    let earlier: Vec<&[u8]> = earlier.iter().map(|secret| secret.expose().as_bytes()).collect();
    Ok(PassKeys::new(newest.expose().as_bytes(), &earlier))
}

/// The key that certifies. The configuration has seen to it that there are no two.
fn signer(config: &Config) -> anyhow::Result<Option<Key>> {
    let of_offers = config.offer_signer.as_ref().map(|source| ("extensions.offer_signer", source));
    let of_receipts = config.receipts.as_ref().map(|receipts| ("receipts.signer", &receipts.signer));
    let Some((key, source)) = of_offers.or(of_receipts) else { return Ok(None) };
    let secret = source.read().context(key)?;
    Key::from_hex(secret.expose()).map(Some).map_err(|error| anyhow!("{key}: {source} {error}"))
}
