//! What the operator does with keys. Each act is one step of the journal, or with `dry_run` none: it then says what would have come of it.

use std::collections::BTreeMap;

use gate::{Fault, KeyRecord, KeyRefusal, Policy, SecretDigest, new_secret, secret_prefix};
use ledger::{Grant, GrantId, GrantSource, KeyId, Unit};
use serde::{Deserialize, Serialize};
use store::{Handle, KeyToMake};

use crate::host::{entropy, now_ms};

/// A balance is at most so much.
const CREDITS_MAX: u64 = 1_000_000_000_000_000;

/// Why something was not done. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeskError {
    /// It cannot be done as it was asked.
    #[error(transparent)]
    Refused(#[from] KeyRefusal),
    /// It cannot be done now.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A key that is asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NewKey {
    /// What the operator calls it.
    pub(crate) name: String,
    /// A unique name that is easier to say than the id.
    pub(crate) alias: Option<String>,
    /// What its balance is counted in: `usd` (millionths of a dollar) or `credit`. The configuration's where it is not said.
    pub(crate) unit: Option<String>,
    /// What its balance begins with, in that unit.
    pub(crate) credits: u64,
    /// The plan that it has.
    pub(crate) plan: Option<String>,
    /// What it has of its own over the plan's.
    pub(crate) policy: Policy,
    /// From when on it has expired, in milliseconds since 1970.
    pub(crate) expires_at_ms: Option<u64>,
    /// For how long after that it may be used.
    pub(crate) grace_ms: u64,
    /// The day that its holder is told.
    pub(crate) sunset_at_ms: Option<u64>,
    /// Whether its calls move no money.
    pub(crate) sandbox: bool,
    /// Words to find it by.
    pub(crate) tags: BTreeMap<String, String>,
}

/// A key that was made.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MadeKey {
    /// The key.
    pub(crate) key: KeyView,
    /// Its secret. Nobody can read it again.
    pub(crate) secret: String,
}

/// A key, as it is told.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct KeyView {
    /// All that is written of it.
    #[serde(flatten)]
    pub(crate) record: KeyRecord,
    /// How it stands now: active, grace, suspended, expired or revoked.
    pub(crate) status: &'static str,
    /// How its secrets begin.
    pub(crate) shown: Vec<String>,
    /// What of its balance may be drawn now.
    pub(crate) balance: u64,
    /// Calls that were paid from it.
    pub(crate) calls: u64,
    /// What they cost.
    pub(crate) spent: u64,
    /// When the last one was.
    pub(crate) used_at_ms: Option<u64>,
}

/// Where keys are made and changed. Cheap to make; one for each thread.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    journal: Handle,
    default_unit: Unit,
}

impl Desk {
    pub(crate) fn new(journal: Handle, default_unit: Unit) -> Self {
        Self { journal, default_unit }
    }

    /// Makes a key. Its secret is in the answer, and nowhere else.
    pub(crate) async fn create(&self, asked: &NewKey) -> Result<MadeKey, DeskError> {
        let now_ms = now_ms();
        let secret = new_secret(entropy());
        let make = self.to_make(asked, &secret, now_ms)?;
        let key = KeyView {
            status: make.record.standing(now_ms).code(),
            record: make.record.clone(),
            shown: vec![make.shown.clone()],
            balance: asked.credits,
            calls: 0,
            spent: 0,
            used_at_ms: None,
        };
        self.journal.make_key(make).await??;
        Ok(MadeKey { key, secret })
    }

    fn to_make(&self, asked: &NewKey, secret: &str, now_ms: u64) -> Result<KeyToMake, KeyRefusal> {
        let unit = match asked.unit.as_deref() {
            None => self.default_unit,
            // A pass counts calls; a key does not.
            Some(word) => {
                let unit = Unit::parse(word).filter(|unit| *unit != Unit::Call);
                unit.ok_or(KeyRefusal::BadValue("unit"))?
            }
        };
        let id = KeyId(entropy());
        let record = KeyRecord {
            alias: asked.alias.clone(),
            expires_at_ms: asked.expires_at_ms,
            grace_ms: asked.grace_ms,
            sunset_at_ms: asked.sunset_at_ms,
            plan: asked.plan.clone(),
            policy: asked.policy.clone(),
            sandbox: asked.sandbox,
            tags: asked.tags.clone(),
            ..KeyRecord::new(id, unit, asked.name.clone(), now_ms)
        };
        record.check()?;
        if asked.credits > CREDITS_MAX {
            return Err(KeyRefusal::TooLong { field: "credits", most: CREDITS_MAX });
        }
        let opening = (asked.credits > 0).then(|| Grant {
            id: GrantId(entropy()),
            key: id,
            unit,
            source: GrantSource::Operator,
            label: "opening".to_owned(),
            priority: 100,
            granted: asked.credits,
            left: asked.credits,
            granted_at_ms: now_ms,
            expires_at_ms: None,
        });
        let digest = SecretDigest::of_secret(secret).ok_or(KeyRefusal::BadValue("secret"))?;
        Ok(KeyToMake { record, secret: digest, shown: secret_prefix(secret), opening })
    }
}
