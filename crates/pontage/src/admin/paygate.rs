//! PayGate's paths: names of the same acts. docs/compatibility-paygate.md says what differs.

mod body;

use std::collections::BTreeMap;

use bytes::Bytes;
use gate::SecretDigest;
use http::request::Parts;
use ledger::KeyId;
use serde_json::Value;

use super::api::Api;
use super::ask::read_id;
use super::endpoint::Endpoint;
use super::refused::Refused;
use super::table::ENDPOINTS;
use body::Change;

/// What is done with a body or query of theirs.
#[derive(Clone, Copy)]
enum Say {
    /// Nothing of it is needed but the key.
    Key,
    /// No key: members of the query that ours have, too.
    Query,
    /// No key: the body as it is.
    Same,
    /// A key, and a body of ours that is made of theirs.
    Made(Change),
    /// The same without a key.
    New(Change),
    /// What is named by a member, `name` or `id`.
    Named(&'static str),
    /// A key, and the number of a note or of a scheduled change.
    Numbered(&'static str),
}

const ALIASES: &[(&str, &str, &str, Say)] = &[
    ("GET", "/keys", "keys", Say::Query),
    ("POST", "/keys", "create_key", Say::New(body::key)),
    ("POST", "/keys/rotate", "rotate_key", Say::Made(body::nothing)),
    ("POST", "/keys/revoke", "revoke_key", Say::Key),
    ("POST", "/keys/suspend", "suspend_key", Say::Key),
    ("POST", "/keys/resume", "resume_key", Say::Key),
    ("POST", "/keys/clone", "clone_key", Say::Made(body::cloned)),
    ("POST", "/keys/acl", "update_key", Say::Made(body::policy)),
    ("POST", "/keys/ip", "update_key", Say::Made(body::policy)),
    ("POST", "/keys/quota", "update_key", Say::Made(body::policy)),
    ("POST", "/limits", "update_key", Say::Made(body::policy)),
    ("POST", "/keys/expiry", "update_key", Say::Made(body::expiry)),
    ("POST", "/keys/tags", "update_key", Say::Made(body::without_key)),
    ("POST", "/keys/alias", "update_key", Say::Made(body::without_key)),
    ("POST", "/keys/import", "import_keys", Say::Same),
    ("POST", "/keys/transfer", "transfer", Say::Made(body::transfer)),
    ("POST", "/keys/schedule", "schedule", Say::Made(body::schedule)),
    ("DELETE", "/keys/schedule", "unschedule", Say::Numbered("id")),
    ("POST", "/keys/notes", "note", Say::Made(body::without_key)),
    ("DELETE", "/keys/notes", "remove_note", Say::Numbered("id")),
    ("POST", "/keys/templates", "put_template", Say::Named("name")),
    ("POST", "/keys/templates/delete", "delete_template", Say::Named("name")),
    ("GET", "/keys/templates", "templates", Say::Query),
    ("GET", "/keys/export", "export_keys", Say::Query),
    ("GET", "/keys/usage", "key_usage", Say::Key),
    ("GET", "/keys/stats", "key_stats", Say::Key),
    ("GET", "/keys/spending-velocity", "key_stats", Say::Key),
    ("GET", "/keys/health", "key_health", Say::Key),
    ("GET", "/keys/notes", "key", Say::Key),
    ("GET", "/keys/schedule", "key", Say::Key),
    ("GET", "/keys/activity", "charges", Say::Key),
    ("GET", "/keys/credit-history", "grants", Say::Key),
    ("POST", "/topup", "grant", Say::Made(body::topup)),
    ("GET", "/usage", "usage", Say::Query),
    ("GET", "/audit", "audit", Say::Query),
    ("POST", "/tokens", "issue_token", Say::Made(body::token)),
    ("POST", "/tokens/revoke", "revoke_token", Say::Same),
    ("GET", "/tokens/revoked", "revoked_tokens", Say::Query),
    ("GET", "/admin/keys", "admins", Say::Query),
    ("POST", "/admin/keys", "create_admin", Say::New(body::admin)),
    ("POST", "/admin/keys/revoke", "revoke_admin", Say::Named("id")),
];

/// Which of our endpoints is asked, for what, and with which body.
pub(super) struct Meant {
    pub(super) endpoint: &'static Endpoint,
    pub(super) values: Vec<String>,
    pub(super) query: String,
    pub(super) body: Bytes,
}

/// Whether a path is one of theirs.
pub(super) fn has(path: &str) -> bool {
    ALIASES.iter().any(|(_, known, _, _)| *known == path)
}

/// What a request of theirs means here. `None` where the method is another one.
pub(super) fn meant(api: &Api, parts: &Parts, body: &Bytes) -> Option<Result<Meant, Refused>> {
    let (path, method) = (parts.uri.path(), parts.method.as_str());
    let found = ALIASES.iter().find(|(verb, known, _, _)| *known == path && *verb == method)?;
    let (_, _, name, say) = found;
    let endpoint = ENDPOINTS.iter().find(|endpoint| endpoint.name == *name)?;
    Some(meaning(api, endpoint, *say, parts.uri.query().unwrap_or_default(), body))
}

fn meaning(api: &Api, endpoint: &'static Endpoint, say: Say, query: &str, body: &Bytes) -> Result<Meant, Refused> {
    let mut asked: BTreeMap<String, String> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let dry_run = asked.remove("dry_run").map_or(String::new(), |value| format!("dry_run={value}"));
    let mut told = match body.len() {
        0 => Value::Null,
        _ => serde_json::from_slice(body).map_err(|_| Refused::field("body", "This is a JSON object."))?,
    };
    let mut meant = Meant { endpoint, values: Vec::new(), query: dry_run, body: Bytes::new() };
    // What they say in the query of a GET they say in the body of everything else.
    let mut said = |name: &str| -> Result<String, Refused> {
        let value = asked.remove(name).or_else(|| told.get_mut(name).map(Value::take)?.as_str().map(str::to_owned));
        value.ok_or_else(|| Refused::field(name, "This says which one."))
    };
    match say {
        Say::Query => meant.query = query.to_owned(),
        Say::Same => meant.body = body.clone(),
        Say::Key => meant.values.push(key(api, &said("key")?)?),
        Say::Named(member) => {
            meant.values.push(said(member)?);
            told.as_object_mut().map(|members| members.remove(member));
            meant.body = if endpoint.body.is_some() { print(&body::key(api, None, told)?) } else { Bytes::new() };
        }
        Say::Numbered(member) => {
            meant.values.push(key(api, &said("key")?)?);
            meant.values.push(said(member)?);
        }
        Say::New(change) => meant.body = print(&change(api, None, told)?),
        Say::Made(change) => {
            let member = if endpoint.name == "transfer" { "from" } else { "key" };
            let id = key(api, &said(member)?)?;
            let known = read_id(&id).map(KeyId);
            if let Some(members) = told.as_object_mut() {
                members.remove(member);
            }
            meant.body = print(&change(api, known, told)?);
            meant.values.push(id);
        }
    }
    Ok(meant)
}

/// A key by its id, its alias, or as they do, by its secret.
fn key(api: &Api, text: &str) -> Result<String, Refused> {
    if read_id(text).is_some() {
        return Ok(text.to_owned());
    }
    let by_secret = match SecretDigest::of_secret(text) {
        Some(digest) => api.journal.secret_holder(digest)?.map(|holder| holder.record.id),
        None => None,
    };
    let found = match by_secret {
        Some(id) => Some(id),
        None => api.journal.key_by_alias(text)?,
    };
    found.map(|id| id.to_string()).ok_or_else(|| Refused::unknown("key"))
}

fn print(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}
