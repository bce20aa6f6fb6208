//! The endpoints. The router looks into this table, and docs/admin-openapi.json is printed from it.

use store::AdminRole::{Admin, Owner, Viewer};

use super::endpoint::Kind::{Id, Text, Whole, Word};
use super::endpoint::{Endpoint, Kind, Param, Shape, run};
use super::{admins, audit, backups, balances, closing, keys, usage};

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
    method: &'static str,
    path: &'static str,
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
const BALANCES: &str = "balances";
const USAGE: &str = "usage";
const ADMINS: &str = "admins";
const GATE: &str = "gate";

/// Every endpoint.
#[rustfmt::skip]
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { answer: (201, Shape::of::<keys::MadeKey>()), ..act("POST", "/admin/v1/keys", "create_key", (KEYS, "Make a key. Its secret is shown once."),
        Admin, Some(Shape::of::<keys::NewKeyBody>()), Shape::of::<keys::MadeKey>(), run!(keys::create)) },
    read("/admin/v1/keys/{id}/balance", "balance", (BALANCES, "A key's balance."), &[],
        Shape::of::<balances::Balance>(), run!(balances::balance)),
    read("/admin/v1/keys/{id}/grants", "grants", (BALANCES, "What a balance is made of."), &[],
        Shape::of::<balances::Grants>(), run!(balances::grants)),
    act("POST", "/admin/v1/keys/{id}/grants", "grant", (BALANCES, "Raise a balance. An Idempotency-Key names the grant: it is given once."),
        Admin, Some(Shape::of::<balances::GrantBody>()), Shape::of::<balances::Granted>(), run!(balances::grant)),
    act("POST", "/admin/v1/keys/{id}/withdraw", "withdraw", (BALANCES, "Lower a balance. What calls hold is not touched."),
        Admin, Some(Shape::of::<balances::WithdrawBody>()), Shape::of::<balances::Balance>(), run!(balances::withdraw)),
    act("POST", "/admin/v1/keys/{id}/transfer", "transfer", (BALANCES, "Give a part of a balance to another key. It keeps its ends."),
        Admin, Some(Shape::of::<balances::TransferBody>()), Shape::of::<balances::Balance>(), run!(balances::transfer)),
    read("/admin/v1/keys/{id}/charges", "charges", (BALANCES, "Calls that were paid from a balance, newest first."), &[LIMIT, CURSOR],
        Shape::of::<balances::Charges>(), run!(balances::charges)),
    read("/admin/v1/charges/{id}", "charge", (BALANCES, "One such call."), &[],
        Shape::of::<balances::ChargeView>(), run!(balances::charge)),
    act("POST", "/admin/v1/charges/{id}/refund", "refund", (BALANCES, "Give back what was taken for a call, whole or in part, to the balance."),
        Admin, Some(Shape::of::<balances::RefundBody>()), Shape::of::<balances::ChargeView>(), run!(balances::refund)),
    Endpoint { csv: true, ..read("/admin/v1/usage", "usage", (USAGE, "Calls of all keys, newest first, as JSON or CSV."),
        &[LIMIT_USAGE, CURSOR, KEY, ROUTE, STATE, FROM, TO, TAG, FORMAT],
        Shape::of::<balances::Charges>(), run!(usage::usage)) },
    read("/admin/v1/usage/summary", "usage_summary", (USAGE, "The same in sums: by key, route, day, or the value of a tag."),
        &[KEY, ROUTE, STATE, FROM, TO, TAG, BY, BY_TAG], Shape::of::<usage::UsageSummary>(), run!(usage::summary)),
    Endpoint { csv: true, ..read("/admin/v1/keys/{id}/usage", "key_usage", (USAGE, "Calls of one key, as JSON or CSV."),
        &[LIMIT_USAGE, CURSOR, ROUTE, STATE, FROM, TO, TAG, FORMAT],
        Shape::of::<balances::Charges>(), run!(usage::usage)) },
    read("/admin/v1/audit", "audit", (ADMINS, "What was done through this API, newest first. It is only appended."),
        &[LIMIT, CURSOR, WHO, ACTION, SUBJECT, FROM, TO], Shape::of::<audit::Acts>(), run!(audit::list)),
    read("/admin/v1/me", "me", (ADMINS, "Who asks, and what he may do."), &[], Shape::of::<admins::Me>(), run!(admins::me)),
    Endpoint { role: Owner, ..read("/admin/v1/admins", "admins", (ADMINS, "Who may use this API, and who might once."), &[],
        Shape::of::<admins::Admins>(), run!(admins::list)) },
    act("POST", "/admin/v1/admins", "create_admin", (ADMINS, "Make somebody an admin. His token is shown once."),
        Owner, Some(Shape::of::<admins::NewAdmin>()), Shape::of::<admins::AdminToken>(), run!(admins::create)),
    act("POST", "/admin/v1/admins/{id}/revoke", "revoke_admin", (ADMINS, "End somebody's being an admin, for good."),
        Owner, None, Shape::of::<admins::AdminView>(), run!(admins::revoke)),
    act("POST", "/admin/v1/admins/{id}/rotate", "rotate_admin", (ADMINS, "Give an admin another token. The old one is none at once."),
        Owner, None, Shape::of::<admins::AdminToken>(), run!(admins::rotate)),
    read("/admin/v1/maintenance", "maintenance", (GATE, "Whether calls are taken."), &[],
        Shape::of::<closing::MaintenanceView>(), run!(closing::show)),
    act("PUT", "/admin/v1/maintenance", "begin_maintenance", (GATE, "Take no calls, now or in a window: they are answered 503 and nothing is charged."),
        Owner, Some(Shape::of::<closing::MaintenanceBody>()), Shape::of::<closing::MaintenanceView>(), run!(closing::begin)),
    act("DELETE", "/admin/v1/maintenance", "end_maintenance", (GATE, "Take calls again."),
        Owner, None, Shape::of::<closing::MaintenanceView>(), run!(closing::end)),
    act("POST", "/admin/v1/backups", "backup", (GATE, "Copy the journal into `backups` beside it, and check the copy."),
        Owner, None, Shape::of::<backups::BackupView>(), run!(backups::make)),
];

const LIMIT_USAGE: Param = param("limit", Whole(1, 10_000), "At most so many; 50 where it is not said.");
const KEY: Param = param("key", Id, "Of this key.");
const BY: Param = param("by", Word(&["key", "route", "day"]), "By what it is summed; `key` where it is not said.");
const BY_TAG: Param = param("by_tag", Text(64), "By the value of this tag.");
const WHO: Param = param("who", Text(100), "Of this admin.");
const ACTION: Param = param("action", Text(100), "This act, such as `grant`.");
const SUBJECT: Param = param("subject", Text(200), "About this, such as `key:` and its name.");
