//! The endpoints. The router looks into this table, and docs/admin-openapi.json is printed from it.

use store::AdminRole::{Admin, Owner, Viewer};

use super::endpoint::Kind::{Id, Text, Whole, Word};
use super::endpoint::{Endpoint, Kind, Param, Shape, run};
use super::{admins, audit, backups, balances, closing, health, keys, usage};

const TIME_MAX_MS: u64 = 253_402_300_799_999;

const fn param(name: &'static str, kind: Kind, about: &'static str) -> Param {
    Param { name, kind, about }
}

const LIMIT: Param = param("limit", Whole(1, 500), "At most so many; 50 where it is not said.");
const CURSOR: Param = param("cursor", Whole(0, i64::MAX as u64), "`next` of the page before.");
const FROM: Param = param("from_ms", Whole(0, TIME_MAX_MS), "Since then, in milliseconds since 1970.");
const TO: Param = param("to_ms", Whole(0, TIME_MAX_MS), "Before then.");
const ROUTE: Param = param("route", Text(600), "Of this route, as `METHOD /path` or `* /path`.");
const STATE: Param = param("state", Word(&["open", "captured", "released", "burnt"]), "In this state.");
const TAG: Param = param("tag", Text(300), "Booked under this tag: `name=value`.");
const FORMAT: Param =
    param("format", Word(&["json", "csv"]), "`csv` has the cursor of the next page in `X-Next-Cursor`.");

/// Something to read.
const fn read(
    path: &'static str,
    name: &'static str,
    (tag, about): (&'static str, &'static str),
    query: &'static [Param],
    answer: Shape,
    run: super::endpoint::Run,
) -> Endpoint {
    Endpoint {
        method: "GET",
        path,
        name,
        about,
        tag,
        role: Viewer,
        query,
        body: None,
        answer: (200, answer),
        csv: false,
        run,
    }
}

/// Something to do.
const fn act(
    (method, path): (&'static str, &'static str),
    name: &'static str,
    (tag, about): (&'static str, &'static str),
    role: store::AdminRole,
    body: Option<Shape>,
    answer: Shape,
    run: super::endpoint::Run,
) -> Endpoint {
    Endpoint { method, path, name, about, tag, role, query: &[], body, answer: (200, answer), csv: false, run }
}

const KEYS: &str = "keys";
const TOKENS: &str = "tokens";
const PLANS: &str = "plans";
const BALANCES: &str = "balances";
const USAGE: &str = "usage";
const ADMINS: &str = "admins";
const GATE: &str = "gate";

/// Every endpoint.
#[rustfmt::skip]
pub(super) const ENDPOINTS: &[Endpoint] = &[
    read("/admin/v1/keys", "keys", (KEYS, "Keys, filtered, sorted, a page at a time."), LIST,
        Shape::of::<keys::Keys>(), run!(keys::list)),
    Endpoint { answer: (201, Shape::of::<keys::MadeKey>()), ..act(("POST", "/admin/v1/keys"), "create_key", (KEYS, "Make a key. Its secret is shown once."),
        Admin, Some(Shape::of::<keys::NewKeyShape>()), Shape::of::<keys::MadeKey>(), run!(keys::create)) },
    Endpoint { csv: true, ..read("/admin/v1/keys/export", "export_keys", (KEYS, "Keys without their secrets, as JSON or CSV, a thousand at a time."), EXPORT,
        Shape::of::<keys::Export>(), run!(keys::export)) },
    act(("POST", "/admin/v1/keys/import"), "import_keys", (KEYS, "Take keys in, also with secrets that they have. New secrets are shown once."),
        Admin, Some(Shape::of::<keys::Import>()), Shape::of::<keys::Results>(), run!(keys::import)),
    act(("POST", "/admin/v1/keys/bulk"), "bulk_keys", (KEYS, "Do something with up to 1,000 keys in one step."),
        Admin, Some(Shape::of::<keys::Bulk>()), Shape::of::<keys::Results>(), run!(keys::bulk)),
    read("/admin/v1/keys/{key}", "key", (KEYS, "A key, by its id or alias."), &[], Shape::of::<keys::Key>(), run!(keys::get)),
    act(("PATCH", "/admin/v1/keys/{key}"), "update_key", (KEYS, "Write a key anew. What is not said stays; a null takes away."),
        Admin, Some(Shape::of::<keys::KeyChange>()), Shape::of::<keys::Key>(), run!(keys::update)),
    act(("POST", "/admin/v1/keys/{key}/suspend"), "suspend_key", (KEYS, "It may not be used, until it is resumed."),
        Admin, None, Shape::of::<keys::Key>(), run!(keys::suspend)),
    act(("POST", "/admin/v1/keys/{key}/resume"), "resume_key", (KEYS, "It may be used again, also where a budget suspended it."),
        Admin, None, Shape::of::<keys::Key>(), run!(keys::resume)),
    act(("POST", "/admin/v1/keys/{key}/revoke"), "revoke_key", (KEYS, "It may not be used any more, for good."),
        Admin, None, Shape::of::<keys::Key>(), run!(keys::revoke)),
    act(("POST", "/admin/v1/keys/{key}/rotate"), "rotate_key", (KEYS, "Give a key another secret, which is shown once. Balance and policy stay."),
        Admin, Some(Shape::of::<keys::RotateBody>()), Shape::of::<keys::MadeKey>(), run!(keys::rotate)),
    Endpoint { answer: (201, Shape::of::<keys::MadeKey>()), ..act(("POST", "/admin/v1/keys/{key}/clone"), "clone_key", (KEYS, "Make a key like another, with none of its money."),
        Admin, Some(Shape::of::<keys::CloneKey>()), Shape::of::<keys::MadeKey>(), run!(keys::clone)) },
    act(("POST", "/admin/v1/keys/{key}/notes"), "note", (KEYS, "Note something of a key."),
        Admin, Some(Shape::of::<keys::NoteBody>()), Shape::of::<keys::Key>(), run!(keys::note)),
    act(("DELETE", "/admin/v1/keys/{key}/notes/{number}"), "remove_note", (KEYS, "Take a note away."),
        Admin, None, Shape::of::<keys::Key>(), run!(keys::unnote)),
    act(("POST", "/admin/v1/keys/{key}/schedule"), "schedule", (KEYS, "Change a key at a time to come."),
        Admin, Some(Shape::of::<keys::ScheduleBody>()), Shape::of::<keys::Key>(), run!(keys::schedule)),
    act(("DELETE", "/admin/v1/keys/{key}/schedule/{number}"), "unschedule", (KEYS, "Do not change it after all."),
        Admin, None, Shape::of::<keys::Key>(), run!(keys::unschedule)),
    act(("POST", "/admin/v1/keys/{key}/tokens"), "issue_token", (TOKENS, "Make a scoped token of a key. It is shown once."),
        Admin, Some(Shape::of::<keys::NewToken>()), Shape::of::<keys::MadeToken>(), run!(keys::issue)),
    act(("POST", "/admin/v1/keys/{key}/tokens/void"), "void_tokens", (TOKENS, "Make all tokens of a key void that were made so far."),
        Admin, None, Shape::of::<keys::Key>(), run!(keys::void_all)),
    act(("POST", "/admin/v1/keys/{key}/signing"), "signing_secret", (TOKENS, "Show with what a key's holder signs his requests, or make it anew."),
        Admin, Some(Shape::of::<keys::SigningBody>()), Shape::of::<keys::SigningSecret>(), run!(keys::signing)),
    act(("POST", "/admin/v1/tokens/revoke"), "revoke_token", (TOKENS, "Make a token void before its time."),
        Admin, Some(Shape::of::<keys::RevokeToken>()), Shape::of::<keys::VoidToken>(), run!(keys::revoke_token)),
    read("/admin/v1/tokens/revoked", "revoked_tokens", (TOKENS, "Tokens that are void before their time."), &[KEY],
        Shape::of::<keys::VoidTokens>(), run!(keys::voided)),
    act(("POST", "/admin/v1/tokens/rotate"), "rotate_token_key", (TOKENS, "Sign tokens with another key from now on."),
        Owner, Some(Shape::of::<keys::RotateTokens>()), Shape::of::<keys::TokensRotated>(), run!(keys::rotate_tokens)),
    read("/admin/v1/plans", "plans", (PLANS, "Plans, with how many keys have each."), &[],
        Shape::of::<keys::Plans>(), run!(keys::plans)),
    act(("PUT", "/admin/v1/plans/{name}"), "put_plan", (PLANS, "Write a plan. All of its keys have it from then on."),
        Admin, Some(Shape::of::<keys::PlanBody>()), Shape::of::<keys::Plans>(), run!(keys::put_plan)),
    act(("DELETE", "/admin/v1/plans/{name}"), "delete_plan", (PLANS, "Take a plan away that no key has."),
        Admin, None, Shape::of::<keys::Removed>(), run!(keys::delete_plan)),
    read("/admin/v1/templates", "templates", (PLANS, "What new keys may begin as."), &[],
        Shape::of::<keys::Templates>(), run!(keys::templates)),
    act(("PUT", "/admin/v1/templates/{name}"), "put_template", (PLANS, "Write a template. Keys that were made of it stay as they are."),
        Admin, Some(Shape::of::<keys::NewKeyShape>()), Shape::of::<keys::Template>(), run!(keys::put_template)),
    act(("DELETE", "/admin/v1/templates/{name}"), "delete_template", (PLANS, "Take a template away."),
        Admin, None, Shape::of::<keys::Removed>(), run!(keys::delete_template)),
    read("/admin/v1/keys/{key}/balance", "balance", (BALANCES, "A key's balance."), &[],
        Shape::of::<balances::Balance>(), run!(balances::balance)),
    read("/admin/v1/keys/{key}/grants", "grants", (BALANCES, "What a balance is made of."), &[],
        Shape::of::<balances::Grants>(), run!(balances::grants)),
    act(("POST", "/admin/v1/keys/{key}/grants"), "grant", (BALANCES, "Raise a balance. An Idempotency-Key names the grant: it is given once."),
        Admin, Some(Shape::of::<balances::GrantBody>()), Shape::of::<balances::Granted>(), run!(balances::grant)),
    act(("POST", "/admin/v1/keys/{key}/withdraw"), "withdraw", (BALANCES, "Lower a balance. What calls hold is not touched."),
        Admin, Some(Shape::of::<balances::WithdrawBody>()), Shape::of::<balances::Balance>(), run!(balances::withdraw)),
    act(("POST", "/admin/v1/keys/{key}/transfer"), "transfer", (BALANCES, "Give a part of a balance to another key. It keeps its ends."),
        Admin, Some(Shape::of::<balances::TransferBody>()), Shape::of::<balances::Balance>(), run!(balances::transfer)),
    read("/admin/v1/keys/{key}/charges", "charges", (BALANCES, "Calls that were paid from a balance, newest first."), &[LIMIT, CURSOR],
        Shape::of::<balances::Charges>(), run!(balances::charges)),
    read("/admin/v1/charges/{id}", "charge", (BALANCES, "One such call."), &[],
        Shape::of::<balances::ChargeView>(), run!(balances::charge)),
    act(("POST", "/admin/v1/charges/{id}/refund"), "refund", (BALANCES, "Give back what was taken for a call, whole or in part, to the balance."),
        Admin, Some(Shape::of::<balances::RefundBody>()), Shape::of::<balances::ChargeView>(), run!(balances::refund)),
    Endpoint { csv: true, ..read("/admin/v1/usage", "usage", (USAGE, "Calls of all keys, newest first, as JSON or CSV."),
        &[LIMIT_USAGE, CURSOR, KEY, ROUTE, STATE, FROM, TO, TAG, FORMAT],
        Shape::of::<balances::Charges>(), run!(usage::usage)) },
    read("/admin/v1/usage/summary", "usage_summary", (USAGE, "The same in sums: by key, route, day, or the value of a tag."),
        &[KEY, ROUTE, STATE, FROM, TO, TAG, BY, BY_TAG], Shape::of::<usage::UsageSummary>(), run!(usage::summary)),
    Endpoint { csv: true, ..read("/admin/v1/keys/{key}/usage", "key_usage", (USAGE, "Calls of one key, as JSON or CSV."),
        &[LIMIT_USAGE, CURSOR, ROUTE, STATE, FROM, TO, TAG, FORMAT],
        Shape::of::<balances::Charges>(), run!(usage::usage)) },
    read("/admin/v1/keys/{key}/stats", "key_stats", (USAGE, "What a key was used for in the last day, week and month."), &[],
        Shape::of::<health::Stats>(), run!(health::stats)),
    read("/admin/v1/keys/{key}/health", "key_health", (USAGE, "How a key is doing, from 0 to 100."), &[],
        Shape::of::<health::HealthView>(), run!(health::health)),
    read("/admin/v1/audit", "audit", (ADMINS, "What was done through this API, newest first. It is only appended."),
        &[LIMIT, CURSOR, WHO, ACTION, SUBJECT, FROM, TO], Shape::of::<audit::Acts>(), run!(audit::list)),
    read("/admin/v1/me", "me", (ADMINS, "Who asks, and what he may do."), &[], Shape::of::<admins::Me>(), run!(admins::me)),
    Endpoint { role: Owner, ..read("/admin/v1/admins", "admins", (ADMINS, "Who may use this API, and who might once."), &[],
        Shape::of::<admins::Admins>(), run!(admins::list)) },
    act(("POST", "/admin/v1/admins"), "create_admin", (ADMINS, "Make somebody an admin. His token is shown once."),
        Owner, Some(Shape::of::<admins::NewAdmin>()), Shape::of::<admins::AdminToken>(), run!(admins::create)),
    act(("POST", "/admin/v1/admins/{id}/revoke"), "revoke_admin", (ADMINS, "End somebody's being an admin, for good."),
        Owner, None, Shape::of::<admins::AdminView>(), run!(admins::revoke)),
    act(("POST", "/admin/v1/admins/{id}/rotate"), "rotate_admin", (ADMINS, "Give an admin another token. The old one is none at once."),
        Owner, None, Shape::of::<admins::AdminToken>(), run!(admins::rotate)),
    read("/admin/v1/maintenance", "maintenance", (GATE, "Whether calls are taken."), &[],
        Shape::of::<closing::MaintenanceView>(), run!(closing::show)),
    act(("PUT", "/admin/v1/maintenance"), "begin_maintenance", (GATE, "Take no calls, now or in a window: they are answered 503 and nothing is charged."),
        Owner, Some(Shape::of::<closing::MaintenanceBody>()), Shape::of::<closing::MaintenanceView>(), run!(closing::begin)),
    act(("DELETE", "/admin/v1/maintenance"), "end_maintenance", (GATE, "Take calls again."),
        Owner, None, Shape::of::<closing::MaintenanceView>(), run!(closing::end)),
    act(("POST", "/admin/v1/backups"), "backup", (GATE, "Copy the journal into `backups` beside it, and check the copy."),
        Owner, None, Shape::of::<backups::BackupView>(), run!(backups::make)),
];

const LIMIT_USAGE: Param = param("limit", Whole(1, 10_000), "At most so many; 50 where it is not said.");
const KEY: Param = param("key", Id, "Of this key.");
const BY: Param = param("by", Word(&["key", "route", "day"]), "By what it is summed; `key` where it is not said.");
const BY_TAG: Param = param("by_tag", Text(64), "By the value of this tag.");
const WHO: Param = param("who", Text(100), "Of this admin.");
const ACTION: Param = param("action", Text(100), "This act, such as `grant`.");
const SUBJECT: Param = param("subject", Text(200), "About this, such as `key:` and its name.");
const AMOUNT: Kind = Whole(0, 1_000_000_000_000_000);
const KEY_CURSOR: Param = param("cursor", Text(600), "`next` of the page before.");
const STATUS: Param = param("status", Word(&["active", "suspended", "expired", "revoked"]), "Those that stand so.");
const PLAN: Param = param("plan", Text(100), "Those with this plan.");
const NAME_PREFIX: Param = param("name_prefix", Text(200), "Those whose name begins so.");
const KEY_TAG: Param = param("tag", Text(300), "Those with this tag: `name`, or `name=value`.");
const SANDBOX: Param = param("sandbox", Word(&["true", "false"]), "Those that move no money, or those that do.");
const BALANCE_MIN: Param = param("balance_min", AMOUNT, "Those with at least so much.");
const BALANCE_MAX: Param = param("balance_max", AMOUNT, "Those with at most so much.");
const EXPIRES: Param = param("expires_before_ms", Whole(0, TIME_MAX_MS), "Those that expire before then.");
const SEARCH: Param = param("search", Text(200), "Those with these words in their name, alias, tags or notes.");
const SORT: Param =
    param("sort", Word(&["created", "name", "balance", "used", "spent", "calls"]), "By what they are sorted.");
const ORDER: Param = param("order", Word(&["asc", "desc"]), "Whether the last comes first.");
const LIST: &[Param] = &[
    LIMIT,
    KEY_CURSOR,
    STATUS,
    PLAN,
    NAME_PREFIX,
    KEY_TAG,
    SANDBOX,
    BALANCE_MIN,
    BALANCE_MAX,
    EXPIRES,
    SEARCH,
    SORT,
    ORDER,
];
const EXPORT_LIMIT: Param = param("limit", Whole(1, 1_000), "At most so many; 1,000 where it is not said.");
const EXPORT: &[Param] = &[EXPORT_LIMIT, KEY_CURSOR, STATUS, PLAN, NAME_PREFIX, KEY_TAG, SANDBOX, SEARCH, FORMAT];
