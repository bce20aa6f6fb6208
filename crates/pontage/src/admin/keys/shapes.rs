//! What keys, plans and tokens look like, for the OpenAPI document: their values are the desk's.
#![expect(dead_code, reason = "these are shapes; the desk has the values")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

/// What a key may do. What is not there is not limited.
#[derive(ToSchema)]
pub(in crate::admin) struct Policy {
    /// How many calls in a span of time. Each one that covers a call counts it.
    rates: Option<Vec<RateRule>>,
    /// How much may be used or spent.
    budgets: Option<Vec<BudgetRule>>,
    /// By how much each price is multiplied: a decimal number of at most six places.
    price_multiplier: Option<String>,
    /// Prices of its own; the first rule that covers a call has its price.
    prices: Option<Vec<PriceRule>>,
    /// Which routes may be called.
    routes: Option<Scope>,
    /// Which tools may be called.
    tools: Option<Scope>,
    /// From where: addresses and networks. An empty list is nowhere.
    addresses: Option<Vec<String>>,
    /// How many calls may run at once.
    in_flight_max: Option<u32>,
    /// Its place where calls have to wait: 0 is first, 9 is last.
    #[schema(maximum = 9)]
    priority: Option<u8>,
    /// Whether every call must be signed.
    signed: Option<bool>,
}

/// What is allowed, less what is denied: rules such as `/paid/*` or `GET /paid/*`, or names of tools.
#[derive(ToSchema)]
pub(in crate::admin) struct Scope {
    /// What alone is allowed; without it everything is.
    allow: Option<Vec<String>>,
    deny: Option<Vec<String>>,
}

#[derive(ToSchema)]
pub(in crate::admin) struct RateRule {
    #[schema(minimum = 1)]
    calls: u32,
    #[schema(minimum = 1, maximum = 86_400)]
    span_s: u32,
    /// How many at once after a rest.
    burst: Option<u32>,
    /// Which calls; all where it is not said.
    routes: Option<String>,
}

#[derive(ToSchema)]
pub(in crate::admin) struct BudgetRule {
    /// `hour`, `day`, `week`, `month` or `lifetime`, in UTC.
    span: String,
    /// `calls` or `amount`.
    measure: String,
    limit: u64,
    #[schema(maximum = 1_000)]
    burst_percent: Option<u16>,
    /// `warn`, `throttle`, `deny` or `suspend`.
    action: String,
    routes: Option<String>,
}

#[derive(ToSchema)]
pub(in crate::admin) struct PriceRule {
    routes: String,
    /// In the key's unit.
    amount: Option<u64>,
    /// Whether such calls cost nothing, in the place of an amount.
    free: Option<bool>,
}

/// A key, as it is told. What it does not have is not there.
#[derive(ToSchema)]
pub(in crate::admin) struct Key {
    /// Its name, which stays when its secret is rotated.
    id: String,
    /// `usd` (millionths of a dollar) or `credit`.
    unit: String,
    name: String,
    alias: Option<String>,
    /// `active`, `suspended` or `revoked`: what was made of it.
    state: String,
    /// How it stands now: `active`, `grace`, `suspended`, `expired` or `revoked`.
    status: String,
    created_at_ms: u64,
    expires_at_ms: Option<u64>,
    /// For how long after that it may still be used.
    grace_ms: Option<u64>,
    sunset_at_ms: Option<u64>,
    plan: Option<String>,
    /// What it has of its own over the plan's.
    policy: Policy,
    /// Whether its calls move no money.
    sandbox: Option<bool>,
    tags: Option<BTreeMap<String, String>>,
    notes: Option<Vec<KeyNote>>,
    /// What is to come.
    schedule: Option<Vec<Scheduled>>,
    rotated_at_ms: Option<u64>,
    /// How its secrets begin.
    shown: Vec<String>,
    /// What of its balance may be spent now.
    balance: u64,
    calls: u64,
    spent: u64,
    #[schema(required = true)]
    used_at_ms: Option<u64>,
}

#[derive(ToSchema)]
pub(in crate::admin) struct KeyNote {
    id: u32,
    at_ms: u64,
    text: String,
}

#[derive(ToSchema)]
pub(in crate::admin) struct Scheduled {
    id: u32,
    at_ms: u64,
    /// `suspend`, `resume`, `revoke`, `expire`, or `{"top_up": 100}`.
    act: Value,
}

#[derive(ToSchema)]
pub(in crate::admin) struct Keys {
    keys: Vec<Key>,
    /// The cursor of the next page.
    #[schema(required = true)]
    next: Option<String>,
}

/// A key with a secret that was made now. It is shown once.
#[derive(ToSchema)]
pub(in crate::admin) struct MadeKey {
    key: Key,
    /// Nothing where the request was carried out before.
    secret: Option<String>,
}

/// A key that is asked for. What is not there is the template's, or nothing.
#[derive(ToSchema)]
pub(in crate::admin) struct NewKey {
    template: Option<String>,
    #[schema(max_length = 200)]
    name: Option<String>,
    /// A unique name that is easier to say than the id.
    #[schema(pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")]
    alias: Option<String>,
    /// `usd` (millionths of a dollar) or `credit`; the configuration's where it is not said.
    unit: Option<String>,
    /// What its balance begins with, in its unit.
    #[schema(maximum = 1_000_000_000_000_000_i64)]
    credits: Option<u64>,
    plan: Option<String>,
    policy: Option<Policy>,
    expires_at_ms: Option<u64>,
    grace_ms: Option<u64>,
    sunset_at_ms: Option<u64>,
    sandbox: Option<bool>,
    tags: Option<BTreeMap<String, String>>,
}

/// What of a key is written anew. What is not there stays; a null takes away.
#[derive(ToSchema)]
pub(in crate::admin) struct KeyChange {
    #[schema(max_length = 200, nullable = false)]
    name: Option<String>,
    alias: Option<String>,
    expires_at_ms: Option<u64>,
    grace_ms: Option<u64>,
    sunset_at_ms: Option<u64>,
    plan: Option<String>,
    /// All that it has of its own over the plan's.
    policy: Option<Policy>,
    sandbox: Option<bool>,
    /// Tags to set, or with a null to take away.
    tags: Option<BTreeMap<String, Option<String>>>,
}

#[derive(ToSchema)]
pub(in crate::admin) struct CloneKey {
    /// The other's where it is not said.
    name: Option<String>,
    alias: Option<String>,
    /// What its balance begins with. No money moves from the other.
    credits: Option<u64>,
}

/// Acts on many keys in one step; one that is refused does not keep the others back.
#[derive(ToSchema)]
pub(in crate::admin) struct Bulk {
    /// Such as `{"act": "suspend", "key": …}`: `create`, `update`, `suspend`, `resume`, `revoke`, `top_up`, `rotate`.
    #[schema(max_items = 1_000)]
    items: Vec<Value>,
}

#[derive(ToSchema)]
pub(in crate::admin) struct Import {
    /// As an export has them, and each with its `secret` where it has one. Either these or `csv`.
    #[schema(max_items = 1_000)]
    keys: Option<Vec<Value>>,
    csv: Option<String>,
    /// About a key that is there: `skip`, `overwrite`, or `error`, which imports nothing then.
    mode: Option<String>,
}

#[derive(ToSchema)]
pub(in crate::admin) struct ItemResult {
    /// Its place among those that were asked for, from 0.
    item: u64,
    /// `made`, `changed`, `skipped`, `refused`, or `undone`.
    result: String,
    key: Option<String>,
    /// It is shown once.
    secret: Option<String>,
    code: Option<String>,
    message: Option<String>,
}

#[derive(ToSchema)]
pub(in crate::admin) struct Results {
    results: Vec<ItemResult>,
}

/// Keys without their secrets, as an import takes them.
#[derive(ToSchema)]
pub(in crate::admin) struct Export {
    keys: Vec<Value>,
    #[schema(required = true)]
    next: Option<String>,
}

/// A policy for many keys: a plan, a group, a tier.
#[derive(ToSchema)]
pub(in crate::admin) struct Plan {
    name: String,
    policy: Policy,
    /// How many keys have it.
    keys: u64,
}

#[derive(ToSchema)]
pub(in crate::admin) struct Plans {
    plans: Vec<Plan>,
}

/// What new keys may begin as.
#[derive(ToSchema)]
pub(in crate::admin) struct Template {
    name: String,
    key: NewKey,
}

#[derive(ToSchema)]
pub(in crate::admin) struct Templates {
    templates: Vec<Template>,
}

/// A scoped token that is asked for.
#[derive(ToSchema)]
pub(in crate::admin) struct NewToken {
    /// An hour where it is not said, a day at most.
    #[schema(maximum = 86_400)]
    ttl_s: Option<u64>,
    /// Which of its key's calls may be made with it.
    routes: Option<Vec<String>>,
    tools: Option<Vec<String>>,
}

/// A scoped token. It is shown once.
#[derive(ToSchema)]
pub(in crate::admin) struct MadeToken {
    id: String,
    key: String,
    expires_at_ms: u64,
    token: Option<String>,
}

/// A token that is to be void: the token, or its name and its key.
#[derive(ToSchema)]
pub(in crate::admin) struct RevokeToken {
    token: Option<String>,
    id: Option<String>,
    key: Option<String>,
}

#[derive(ToSchema)]
pub(in crate::admin) struct VoidToken {
    id: String,
    key: String,
    expires_at_ms: u64,
    revoked_at_ms: u64,
}

#[derive(ToSchema)]
pub(in crate::admin) struct VoidTokens {
    tokens: Vec<VoidToken>,
}
