//! Passes: one payment, many calls. A pass is a text that whoever has it may show, `base64url(payload).base64url(HMAC-SHA256(payload))`.
//! One for a time is checked by its tag alone; one that counts has an account besides, of the payment's name.

use alloy_primitives::hex;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ledger::{HoldId, KeyId, Purchase, Unit};
use protocol::Payer;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{FreePass, Route, Unpaid};

/// No pass is longer.
const PASS_MAX_BYTES: usize = 2_048;

/// What a pass is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassKind {
    /// Calls without number, for a time.
    Time,
    /// So many calls.
    Calls,
    /// Calls that cost no more than was paid, together.
    Amount,
}

impl PassKind {
    const ALL: [Self; 3] = [Self::Time, Self::Calls, Self::Amount];

    /// The word on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Calls => "calls",
            Self::Amount => "amount",
        }
    }

    /// The unit in which its balance counts; one for a time has none.
    #[must_use]
    pub const fn unit(self) -> Option<Unit> {
        match self {
            Self::Time => None,
            Self::Calls => Some(Unit::Call),
            Self::Amount => Some(Unit::Usd),
        }
    }
}

/// What a pass says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The payment that bought it; its account's name where it counts.
    pub payment: HoldId,
    /// Who paid.
    pub payer: Payer,
    /// From when on it opens nothing, in seconds since 1970.
    pub expires_at_s: Option<u64>,
    /// Which routes it opens: a route's name, or a name that several routes share.
    pub scope: String,
    /// What it is good for.
    pub kind: PassKind,
}

/// Why a pass opens nothing. Nothing was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassRefusal {
    /// It is no pass of this gate.
    Bad,
    /// It was taken back.
    Revoked,
    /// It opens other routes.
    WrongRoute,
    /// Its time is over.
    Expired,
    /// What it was bought for is used.
    UsedUp,
}

impl PassRefusal {
    /// Every one, in the order in which they are looked for.
    pub const ALL: [Self; 5] = [Self::Bad, Self::Revoked, Self::WrongRoute, Self::Expired, Self::UsedUp];

    /// The word in answers.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Bad => "bad_pass",
            Self::Revoked => "pass_revoked",
            Self::WrongRoute => "pass_wrong_route",
            Self::Expired => "pass_expired",
            Self::UsedUp => "pass_used_up",
        }
    }

    /// For people.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Bad => "X-Payment-Pass is not a pass of this gate. Nothing was charged.",
            Self::Revoked => "This pass was taken back. Nothing was charged.",
            Self::WrongRoute => "This pass is for other endpoints. Nothing was charged.",
            Self::Expired => "The time of this pass is over. Nothing was charged.",
            Self::UsedUp => "This pass is used up for a call of this price. Nothing was charged.",
        }
    }
}

/// What a pass opens.
#[derive(Debug)]
pub enum Admission {
    /// The call, without counting.
    Free(FreePass),
    /// The call, charged to the pass's account.
    Balance {
        /// Whose.
        key: KeyId,
        /// Of what.
        unit: Unit,
    },
}

/// The secrets that make passes. The first signs; what another one has signed is good as well, so that a secret can be changed while
/// passes are out. They print as nothing.
#[derive(Clone)]
pub struct PassKeys {
    newest: Hmac<Sha256>,
    earlier: Vec<Hmac<Sha256>>,
}

impl std::fmt::Debug for PassKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PassKeys").finish_non_exhaustive()
    }
}

impl Pass {
    /// The pass that a payment bought: what it bought is an account of its own. `None` where it raised somebody's balance.
    #[must_use]
    pub fn bought(payment: HoldId, payer: Payer, scope: String, purchase: &Purchase) -> Option<Self> {
        let kind = match (purchase.amount, purchase.unit) {
            (0, _) => PassKind::Time,
            (_, Unit::Call) => PassKind::Calls,
            (_, Unit::Usd | Unit::Credit) => PassKind::Amount,
        };
        let expires_at_s = purchase.expires_at_ms.map(|ends| ends.div_euclid(1_000));
        (purchase.key.0 == payment.0).then_some(Self { payment, payer, expires_at_s, scope, kind })
    }

    /// Whether it opens a route now. Of one that counts the account has the last word.
    ///
    /// # Errors
    /// Why it opens nothing.
    pub fn opens(&self, route: &Route, is_revoked: bool, now_s: u64) -> Result<Admission, PassRefusal> {
        if is_revoked {
            return Err(PassRefusal::Revoked);
        }
        let named = route.pass_scope.as_deref() == Some(self.scope.as_str());
        if !named && (route.pass_scope.is_none() || route.id != self.scope) {
            return Err(PassRefusal::WrongRoute);
        }
        if self.expires_at_s.is_some_and(|ends| now_s >= ends) {
            return Err(PassRefusal::Expired);
        }
        Ok(match self.kind.unit() {
            None => Admission::Free(FreePass::new(Unpaid::Pass { payer: self.payer, payment: self.payment })),
            Some(unit) => Admission::Balance { key: KeyId(self.payment.0), unit },
        })
    }

    fn payload(&self) -> String {
        let mut payload = json!({
            "payer": self.payer.to_string(),
            "jti": self.payment.to_string(),
            "scope": self.scope,
            "kind": self.kind.code(),
        });
        if let (Some(ends), Some(members)) = (self.expires_at_s, payload.as_object_mut()) {
            members.insert("exp".to_owned(), ends.into());
        }
        payload.to_string()
    }

    fn parse(payload: &[u8]) -> Option<Self> {
        let payload: Value = serde_json::from_slice(payload).ok()?;
        let text = |name: &str| payload.get(name).and_then(Value::as_str);
        let expires_at_s = match payload.get("exp") {
            None => None,
            Some(ends) => Some(ends.as_u64()?),
        };
        let kind = text("kind").and_then(|word| PassKind::ALL.into_iter().find(|kind| kind.code() == word))?;
        // One for a time has an end, or it would be for ever.
        if kind == PassKind::Time && expires_at_s.is_none() {
            return None;
        }
        Some(Self {
            payment: HoldId(hex::decode_to_array(text("jti")?).ok()?),
            payer: text("payer")?.parse().ok()?,
            expires_at_s,
            scope: text("scope")?.to_owned(),
            kind,
        })
    }
}

impl PassKeys {
    /// The newest secret, and those before it. HMAC takes secrets of every length.
    #[must_use]
    pub fn new(newest: &[u8], earlier: &[&[u8]]) -> Self {
        let key = |secret: &[u8]| Hmac::new_from_slice(secret).expect("HMAC takes keys of every length");
        Self { newest: key(newest), earlier: earlier.iter().map(|secret| key(secret)).collect() }
    }

    /// The text of a pass.
    #[must_use]
    pub fn issue(&self, pass: &Pass) -> String {
        let payload = pass.payload();
        let tag = self.newest.clone().chain_update(payload.as_bytes()).finalize().into_bytes();
        format!("{}.{}", URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(tag))
    }

    /// What a text says, if one of the secrets made it.
    ///
    /// # Errors
    /// [`PassRefusal::Bad`].
    pub fn read(&self, text: &[u8]) -> Result<Pass, PassRefusal> {
        self.verified(text).and_then(|payload| Pass::parse(&payload)).ok_or(PassRefusal::Bad)
    }

    fn verified(&self, text: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= PASS_MAX_BYTES)?;
        let (payload, tag) = text.split_once('.')?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        let made = |key: &Hmac<Sha256>| key.clone().chain_update(&payload).verify_slice(&tag).is_ok();
        (made(&self.newest) || self.earlier.iter().any(made)).then_some(payload)
    }
}

#[cfg(test)]
mod tests;
