//! What the operator asks for, and what he is told. In JSON; what is not known is refused.

use std::collections::BTreeMap;

use gate::{KeyChange, KeyRecord, Policy, RouteRule, ToolRule};
use serde::{Deserialize, Serialize};

/// A key that is asked for. What is not there is the template's, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NewKey {
    /// The template that it begins as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) template: Option<String>,
    /// What the operator calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// A unique name that is easier to say than the id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alias: Option<String>,
    /// What its balance is counted in: `usd` (millionths of a dollar) or `credit`. The configuration's where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<String>,
    /// What its balance begins with, in that unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) credits: Option<u64>,
    /// The plan that it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plan: Option<String>,
    /// What it has of its own over the plan's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<Policy>,
    /// From when on it has expired, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at_ms: Option<u64>,
    /// For how long after that it may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grace_ms: Option<u64>,
    /// The day that its holder is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sunset_at_ms: Option<u64>,
    /// Whether its calls move no money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sandbox: Option<bool>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<BTreeMap<String, String>>,
}

/// A key with a secret that was made now.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MadeKey {
    /// The key.
    pub(crate) key: KeyView,
    /// Its secret. Nobody can read it again. Not there where nothing was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<String>,
}

/// A key, as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

/// Which keys are to be listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeyQuery {
    /// `active`, `suspended`, `expired` or `revoked`.
    pub(crate) status: Option<String>,
    /// Those with the plan.
    pub(crate) plan: Option<String>,
    /// Those whose name begins so.
    pub(crate) name_prefix: Option<String>,
    /// Those with the tag: `name`, or `name=value`.
    pub(crate) tag: Option<String>,
    /// Those that move no money, or those that do.
    pub(crate) sandbox: Option<bool>,
    /// Those with at least so much.
    pub(crate) balance_min: Option<u64>,
    /// Those with at most so much.
    pub(crate) balance_max: Option<u64>,
    /// Those that expire before then.
    pub(crate) expires_before_ms: Option<u64>,
    /// Those with these words in their name, alias, tags or notes.
    pub(crate) search: Option<String>,
    /// `created` (or nothing), `name`, `balance`, `used`, `spent` or `calls`.
    pub(crate) sort: Option<String>,
    /// Whether the last comes first.
    pub(crate) descending: bool,
    /// At most so many: 50 where it is not said, 500 at most.
    pub(crate) limit: Option<u64>,
    /// Where the page before said that it goes on.
    pub(crate) cursor: Option<String>,
}

/// A page of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct KeyList {
    /// In the order that was asked for.
    pub(crate) keys: Vec<KeyView>,
    /// Where it goes on; nothing at the end.
    pub(crate) next: Option<String>,
}

/// A key that is made like another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CloneAsk {
    /// Its name; the other's where it is not said.
    pub(crate) name: Option<String>,
    /// Its alias. The other's stays with the other.
    pub(crate) alias: Option<String>,
    /// What its balance begins with: nothing where it is not said. No money moves from the other.
    pub(crate) credits: Option<u64>,
}

/// Something to be done to one of several keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum BulkItem {
    /// A key is made.
    Create {
        /// Which.
        new: NewKey,
    },
    /// A key is written anew.
    Update {
        /// Its id or alias.
        key: String,
        /// How.
        change: KeyChange,
    },
    /// A key may not be used.
    Suspend {
        /// Its id or alias.
        key: String,
    },
    /// It may be used again.
    Resume {
        /// Its id or alias.
        key: String,
    },
    /// It may not be used any more.
    Revoke {
        /// Its id or alias.
        key: String,
    },
    /// Its balance is raised.
    TopUp {
        /// Its id or alias.
        key: String,
        /// By how much, in its unit.
        amount: u64,
    },
    /// It gets another secret.
    Rotate {
        /// Its id or alias.
        key: String,
        /// For how long the one that it has still holds.
        #[serde(default)]
        overlap_s: u64,
    },
}

/// What came of one of several.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ItemResult {
    /// Its place among those that were asked for, from 0.
    pub(crate) item: usize,
    /// `made`, `changed`, `overwritten`, `skipped`, `refused`; `undone` where another's refusal undid it.
    pub(crate) result: &'static str,
    /// The key's id, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// The key's new secret. Nobody can read it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<String>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<&'static str>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}

/// What an import does about a key that is there already, by its id, alias or secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ImportMode {
    /// It stays as it is.
    Skip,
    /// It is written anew; its balance stays.
    Overwrite,
    /// Nothing at all is imported.
    #[default]
    Error,
}

/// The form of an import or export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// A list of objects.
    #[default]
    Json,
    /// A line for each key, and one with the names of the columns.
    Csv,
}

/// A key as it is exported and imported. An export has no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ExportedKey {
    /// Its id; a new one where it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// Its secret, where it has one already: `pg_` and 48 hex digits. A new one is made where it is not there.
    #[serde(skip_serializing_if = "Option::is_none", alias = "apiKey", alias = "key")]
    pub(crate) secret: Option<String>,
    /// Its name.
    pub(crate) name: String,
    /// Its alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alias: Option<String>,
    /// What its balance is counted in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<String>,
    /// Its balance: what a key that the import makes begins with.
    pub(crate) credits: u64,
    /// `active`, `suspended` or `revoked`. Where it is not said a new key is active, and one that is there stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<String>,
    /// Its plan, which must be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plan: Option<String>,
    /// What it has of its own over the plan's.
    pub(crate) policy: Policy,
    /// From when on it has expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at_ms: Option<u64>,
    /// For how long after that it may be used.
    pub(crate) grace_ms: u64,
    /// The day that its holder is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sunset_at_ms: Option<u64>,
    /// Whether its calls move no money.
    pub(crate) sandbox: bool,
    /// Words to find it by.
    pub(crate) tags: BTreeMap<String, String>,
    /// What was noted of it.
    pub(crate) notes: Vec<String>,
}

/// A template, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Template {
    /// Its name.
    pub(crate) name: String,
    /// What keys begin as that are made of it.
    pub(crate) key: NewKey,
}

/// A plan, with how many keys have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PlanView {
    /// The plan.
    #[serde(flatten)]
    pub(crate) plan: gate::Plan,
    /// How many keys have it.
    pub(crate) keys: u64,
}

/// A token that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TokenAsk {
    /// For how long it holds: an hour where it is not said, a day at most.
    pub(crate) ttl_s: Option<u64>,
    /// Which calls may be made with it, of those that its key may make; all where it is not said.
    pub(crate) routes: Option<Vec<RouteRule>>,
    /// Which tools may be called with it; all where it is not said.
    pub(crate) tools: Option<Vec<ToolRule>>,
}

/// A token that was made.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MadeToken {
    /// Its name, by which it can be made void.
    pub(crate) id: String,
    /// Its key's id.
    pub(crate) key: String,
    /// When its time is over.
    pub(crate) expires_at_ms: u64,
    /// The token. Nobody can read it again. Not there where nothing was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
}

/// A token that is to be void: the token, or its name and its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RevokeToken {
    /// The token.
    pub(crate) token: Option<String>,
    /// Its name.
    pub(crate) id: Option<String>,
    /// Its key's id or alias.
    pub(crate) key: Option<String>,
}

/// A token that is void before its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct VoidToken {
    /// Its name.
    pub(crate) id: String,
    /// Its key's id.
    pub(crate) key: String,
    /// When its time would be over anyway.
    pub(crate) expires_at_ms: u64,
    /// When it was made void.
    pub(crate) revoked_at_ms: u64,
}
