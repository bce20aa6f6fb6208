//! Bodies of theirs, in our words. What has no meaning here is refused by its name, and nothing is guessed.

use ledger::KeyId;
use serde_json::{Map, Value, json};

use super::super::api::Api;
use super::super::refused::Refused;
use super::key as key_of;
use crate::host::now_ms;

/// Makes a body of ours of theirs, for a key that is there where there is one.
pub(super) type Change = fn(&Api, Option<KeyId>, Value) -> Result<Value, Refused>;

pub(super) fn nothing(_: &Api, _: Option<KeyId>, _: Value) -> Result<Value, Refused> {
    Ok(json!({}))
}

/// Members that are called the same here.
pub(super) fn without_key(_: &Api, _: Option<KeyId>, told: Value) -> Result<Value, Refused> {
    Ok(Value::Object(members(told)?))
}

pub(super) fn cloned(_: &Api, _: Option<KeyId>, told: Value) -> Result<Value, Refused> {
    let mut told = members(told)?;
    let ours = take(&mut told, &["name", "alias", "credits"]);
    done(told, ours)
}

/// A new key, or a template.
pub(super) fn key(_: &Api, _: Option<KeyId>, told: Value) -> Result<Value, Refused> {
    let mut told = members(told)?;
    let mut ours = take(&mut told, &["name", "alias", "credits", "template", "tags", "sandbox"]);
    ours.extend(told.remove("group").map(|plan| ("plan".to_owned(), plan)));
    if let Some(space) = told.remove("namespace") {
        let tags = ours.entry("tags").or_insert_with(|| json!({})).as_object_mut();
        tags.ok_or_else(|| Refused::field("tags", "This is a JSON object."))?.insert("namespace".to_owned(), space);
    }
    ours.extend(expires(&mut told)?);
    let policy = limits(&mut told, Map::new())?;
    if !policy.is_empty() {
        ours.insert("policy".to_owned(), Value::Object(policy));
    }
    done(told, ours)
}

/// A key's rules, of which theirs take the place; the others stay.
pub(super) fn policy(api: &Api, id: Option<KeyId>, told: Value) -> Result<Value, Refused> {
    let mut told = members(told)?;
    let id = id.ok_or_else(|| Refused::unknown("key"))?;
    let record = api.journal.key(id)?.ok_or_else(|| Refused::unknown("key"))?;
    let has = serde_json::to_value(&record.policy).ok().and_then(|policy| policy.as_object().cloned());
    let policy = limits(&mut told, has.unwrap_or_default())?;
    done(told, Map::from_iter([("policy".to_owned(), Value::Object(policy))]))
}

pub(super) fn expiry(_: &Api, _: Option<KeyId>, told: Value) -> Result<Value, Refused> {
    let mut told = members(told)?;
    let ours =
        expires(&mut told)?.ok_or_else(|| Refused::field("expiresIn", "This says when, in seconds from now."))?;
    done(told, Map::from_iter([ours]))
}

pub(super) fn transfer(api: &Api, _: Option<KeyId>, told: Value) -> Result<Value, Refused> {
    let mut told = members(told)?;
    let to = told.remove("to").and_then(|to| to.as_str().map(str::to_owned));
    let to = key_of(api, &to.ok_or_else(|| Refused::field("to", "This says who gets it."))?)?;
    let amount = told.remove("credits").unwrap_or_default();
    done(told, Map::from_iter([("to".to_owned(), to.into()), ("amount".to_owned(), amount)]))
}

pub(super) fn topup(_: &Api, _: Option<KeyId>, told: Value) -> Result<Value, Refused> {
    let mut told = members(told)?;
    let amount = told.remove("credits").unwrap_or_default();
    done(told, Map::from_iter([("amount".to_owned(), amount)]))
}

pub(super) fn schedule(_: &Api, _: Option<KeyId>, told: Value) -> Result<Value, Refused> {
    let mut told = members(told)?;
    let (act, at_ms) = (told.remove("action").unwrap_or_default(), told.remove("executeAt").unwrap_or_default());
    done(told, Map::from_iter([("act".to_owned(), act), ("at_ms".to_owned(), at_ms)]))
}

pub(super) fn token(_: &Api, _: Option<KeyId>, told: Value) -> Result<Value, Refused> {
    let mut told = members(told)?;
    let mut ours = Map::new();
    ours.extend(told.remove("allowedTools").map(|tools| ("tools".to_owned(), tools)));
    ours.extend(told.remove("ttl").map(|seconds| ("ttl_s".to_owned(), seconds)));
    done(told, ours)
}

pub(super) fn admin(_: &Api, _: Option<KeyId>, told: Value) -> Result<Value, Refused> {
    let mut told = members(told)?;
    let mut ours = take(&mut told, &["name"]);
    let role = told.remove("role").unwrap_or_default();
    ours.insert("role".to_owned(), if role == "super_admin" { "owner".into() } else { role });
    done(told, ours)
}

/// What of their rules there is, over the rules that a key has.
fn limits(told: &mut Map<String, Value>, mut policy: Map<String, Value>) -> Result<Map<String, Value>, Refused> {
    if let Some(addresses) = told.remove("ipAllowlist").or_else(|| told.remove("ips")) {
        policy.insert("addresses".to_owned(), addresses);
    }
    for (theirs, ours) in [("allowedTools", "allow"), ("deniedTools", "deny")] {
        if let Some(tools) = told.remove(theirs) {
            policy.entry("tools").or_insert_with(|| json!({}))[ours] = tools;
        }
    }
    let mut budgets = match policy.remove("budgets") {
        Some(Value::Array(budgets)) => budgets,
        Some(_) | None => Vec::new(),
    };
    let mut budget = |span: &str, measure: &str, limit: Option<Value>| {
        let Some(limit) = limit else { return };
        // What guards routes by themselves is none of theirs, and stays.
        budgets.retain(|has| has["span"] != span || has["measure"] != measure || !has["routes"].is_null());
        // A limit of nothing is none with them.
        if limit != 0 {
            budgets.push(json!({ "span": span, "measure": measure, "limit": limit, "action": "deny" }));
        }
    };
    if let Some(quota) = told.remove("quota") {
        let Value::Object(mut quota) = quota else {
            return Err(Refused::field("quota", "This is a JSON object. Nothing was done."));
        };
        budget("day", "calls", quota.remove("dailyCallLimit"));
        budget("month", "calls", quota.remove("monthlyCallLimit"));
        budget("day", "amount", quota.remove("dailyCreditLimit"));
        budget("month", "amount", quota.remove("monthlyCreditLimit"));
        if let Some(name) = quota.keys().next() {
            return Err(unknown(&format!("quota.{name}")));
        }
    }
    budget("lifetime", "amount", told.remove("spendingLimit"));
    if !budgets.is_empty() {
        policy.insert("budgets".to_owned(), budgets.into());
    }
    Ok(policy)
}

/// When a key expires: in so many seconds, or at a time in milliseconds since 1970.
fn expires(told: &mut Map<String, Value>) -> Result<Option<(String, Value)>, Refused> {
    let name = || "expires_at_ms".to_owned();
    if let Some(at_ms) = told.remove("expiresAtMs") {
        return Ok(Some((name(), at_ms)));
    }
    match told.remove("expiresIn") {
        None => Ok(None),
        Some(seconds) => {
            let seconds = seconds.as_u64().ok_or_else(|| Refused::field("expiresIn", "These are whole seconds."))?;
            Ok(Some((name(), now_ms().saturating_add(seconds.saturating_mul(1_000)).into())))
        }
    }
}

fn members(told: Value) -> Result<Map<String, Value>, Refused> {
    match told {
        Value::Object(members) => Ok(members),
        Value::Null => Ok(Map::new()),
        _ => Err(Refused::field("body", "This is a JSON object.")),
    }
}

fn take(told: &mut Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    names.iter().filter_map(|name| Some(((*name).to_owned(), told.remove(*name)?))).collect()
}

/// What is left of theirs has no meaning here.
fn done(told: Map<String, Value>, ours: Map<String, Value>) -> Result<Value, Refused> {
    match told.keys().next() {
        Some(name) => Err(unknown(name)),
        None => Ok(Value::Object(ours)),
    }
}

fn unknown(name: &str) -> Refused {
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    Refused::field(name, "This has no meaning here. Nothing was done.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(policy: Value, theirs: Value) -> Result<Value, ()> {
        let policy = policy.as_object().cloned().unwrap_or_default();
        limits(&mut theirs.as_object().cloned().unwrap(), policy).map(Value::Object).map_err(|_| ())
    }

    #[test]
    fn a_limit_takes_the_place_of_its_like_alone() {
        let rule = |span: &str, measure: &str, limit: u64| json!({ "span": span, "measure": measure, "limit": limit, "action": "deny" });
        let calls = rule("day", "calls", 5);
        let mut of_routes = calls.clone();
        of_routes["routes"] = json!({ "allow": ["/paid/*"] });
        let has = json!({ "budgets": [calls, of_routes, rule("lifetime", "amount", 9)] });
        for (theirs, want) in [
            (json!({ "spendingLimit": 7 }), Ok(json!([calls, of_routes, rule("lifetime", "amount", 7)]))),
            (json!({ "spendingLimit": 0 }), Ok(json!([calls, of_routes]))),
            (
                json!({ "quota": { "dailyCallLimit": 6 } }),
                Ok(json!([of_routes, rule("lifetime", "amount", 9), rule("day", "calls", 6)])),
            ),
            (json!({ "quota": {} }), Ok(has["budgets"].clone())),
            (json!({ "quota": 7 }), Err(())),
            (json!({ "quota": null }), Err(())),
            (json!({ "quota": { "weekly": 7 } }), Err(())),
        ] {
            assert_eq!(of(has.clone(), theirs.clone()).map(|policy| policy["budgets"].clone()), want, "{theirs}");
        }
        assert_eq!(
            of(json!({ "budgets": [rule("lifetime", "amount", 9)] }), json!({ "spendingLimit": 0 })),
            Ok(json!({}))
        );
    }
}
