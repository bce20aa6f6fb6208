//! Signing in with a wallet (x402 `sign-in-with-x`): what is offered in a 402, and each proof taken once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use http::HeaderValue;
use protocol::Payer;
use protocol::x402::ext::{SignInNonce, SignInOffer, SignInRefusal, SignInSecret, SignInTerms, verify_sign_in};

use crate::host::entropy;
use crate::plan::{Plan, SKEW_S};

/// How old a proof may be: as the reference has it.
const AGE_MAX_S: u64 = 300;
/// Proofs that are remembered as used. Each costs its sender a signature and us a recovery, which is limited by address.
const USED_MAX: usize = 200_000;

/// What all workers share. Nonces are ours alone and of this process: after a restart none of before is good.
pub(crate) struct SignIns {
    secret: SignInSecret,
    /// `https://host`, as configured, or where the gate listens.
    origin: String,
    domain: String,
    used: Mutex<BTreeSet<SignInNonce>>,
}

impl SignIns {
    pub(crate) fn new(origin: String) -> Self {
        let domain = origin.split_once("://").map_or(origin.as_str(), |(_, domain)| domain).to_owned();
        Self { secret: SignInSecret::new(entropy()), origin, domain, used: Mutex::default() }
    }

    /// What a 402 says about signing in.
    pub(super) fn offer(&self, plan: &Plan, url: &str, now_s: u64) -> SignInOffer {
        let nonce = SignInNonce { issued_at_s: now_s, random: entropy() };
        let path = url.splitn(4, '/').nth(3).unwrap_or_default();
        let uri = format!("{}/{path}", self.origin);
        SignInOffer {
            domain: self.domain.clone(),
            resources: vec![uri.clone()],
            uri,
            statement: Some("Sign in to get what this wallet may have without paying.".to_owned()),
            nonce: nonce.print(&self.secret),
            issued_at_s: now_s,
            expires_at_s: Some(now_s.saturating_add(AGE_MAX_S)),
            chains: plan.chains.clone(),
        }
    }

    /// Whose key a header proves, and takes the proof.
    pub(super) fn verify(&self, plan: &Plan, header: &HeaderValue, now_s: u64) -> Result<Payer, SignInRefusal> {
        let terms = SignInTerms {
            domain: &self.domain,
            origin: &self.origin,
            chains: &plan.chains,
            secret: &self.secret,
            age_max_s: AGE_MAX_S,
            skew_s: SKEW_S,
        };
        let signed_in = verify_sign_in(header.as_bytes(), &terms, now_s)?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest_s = now_s.saturating_sub(AGE_MAX_S).saturating_sub(SKEW_S);
        while used.first().is_some_and(|nonce| nonce.issued_at_s < oldest_s) {
            used.pop_first();
        }
        if used.len() >= USED_MAX || !used.insert(signed_in.nonce) {
            return Err(SignInRefusal::Nonce);
        }
        Ok(signed_in.address)
    }
}
