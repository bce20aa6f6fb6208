//! What was called and paid from balances.

use serde::Serialize;
use store::{UsageGroup, UsageQuery};
use utoipa::ToSchema;

use super::api::Api;
use super::ask::{Ask, read_id, reply};
use super::balances::{ChargeView, charge_view, page};
use super::endpoint::{Outcome, Reply};
use super::refused::Refused;

/// Charges that have something in common.
#[derive(Serialize, ToSchema)]
pub(super) struct UsageSumView {
    /// What they have in common: a key, a route, a day or the value of a tag.
    group: String,
    unit: String,
    /// How many there are.
    charges: u64,
    /// How many were taken.
    captured: u64,
    /// How many were given back because the call failed.
    given_back: u64,
    /// What was taken, less what was refunded.
    amount: u64,
    refunded: u64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct UsageSummary {
    /// The largest first, at most 1,000.
    sums: Vec<UsageSumView>,
}

pub(super) async fn usage(api: &Api, ask: &Ask) -> Outcome {
    let asked = asked(api, ask)?;
    let rows = api.journal.usage(&asked)?;
    if ask.text("format") != Some("csv") {
        return reply(&page(rows, asked.most));
    }
    let is_full = u64::try_from(rows.len()).is_ok_and(|count| count == asked.most);
    let next = rows.last().filter(|_| is_full).map(|(turn, _)| turn.to_string());
    let mut text = format!("{}\r\n", ChargeView::COLUMNS);
    for (_, record) in rows {
        text.push_str(&line(charge_view(&record).cells()));
    }
    Ok(Reply::Csv(text, next))
}

pub(super) async fn summary(api: &Api, ask: &Ask) -> Outcome {
    let asked = asked(api, ask)?;
    let by = match (ask.text("by"), ask.text("by_tag")) {
        (_, Some(tag)) if is_tag(tag) => UsageGroup::Tag(tag.to_owned()),
        (_, Some(_)) => return Err(bad_tag("by_tag")),
        (Some("route"), None) => UsageGroup::Route,
        (Some("day"), None) => UsageGroup::Day,
        (_, None) => UsageGroup::Key,
    };
    let sums = api.journal.usage_sums(&asked, &by)?;
    let view = |sum: store::UsageSum| UsageSumView {
        group: sum.group,
        unit: sum.unit,
        charges: sum.charges,
        captured: sum.captured,
        given_back: sum.given_back,
        amount: sum.amount,
        refunded: sum.refunded,
    };
    reply(&UsageSummary { sums: sums.into_iter().map(view).collect() })
}

/// Which charges are asked for. A path that names a key asks for that key's.
fn asked(api: &Api, ask: &Ask) -> Result<UsageQuery, Refused> {
    let key = match ask.endpoint.path.contains("{key}") {
        true => Some(ask.key(api)?),
        false => ask.text("key").and_then(read_id).map(ledger::KeyId),
    };
    let state = ["open", "captured", "released", "burnt"].into_iter().find(|state| ask.text("state") == Some(*state));
    let tag = match ask.text("tag") {
        Some(tag) => {
            let (name, value) = tag.split_once('=').filter(|(name, _)| is_tag(name)).ok_or_else(|| bad_tag("tag"))?;
            Some((name.to_owned(), value.to_owned()))
        }
        None => None,
    };
    Ok(UsageQuery {
        key,
        route: ask.text("route").map(str::to_owned),
        state,
        from_ms: ask.number("from_ms"),
        to_ms: ask.number("to_ms"),
        tag,
        before: ask.number("cursor"),
        most: ask.limit(),
    })
}

fn is_tag(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

fn bad_tag(field: &str) -> Refused {
    Refused::field(
        field,
        "The name of a tag has 1 to 64 letters, digits, `_`, `-` and `.`; behind it come `=` and the value.",
    )
}

/// A row. What a spreadsheet would take for a formula is none: callers write some of it.
pub(super) fn line<const N: usize>(cells: [String; N]) -> String {
    let cell = |cell: String| {
        let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let cell = if formula { format!("'{cell}") } else { cell };
        match cell.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell,
        }
    };
    let mut line = cells.map(cell).join(",");
    line.push_str("\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_no_formulas_and_stay_apart() {
        let cells = ["=1+1", "a,b", "say \"x\"", "plain"].map(str::to_owned);
        assert_eq!(line(cells), "'=1+1,\"a,b\",\"say \"\"x\"\"\",plain\r\n");
        assert!(is_tag("team-1") && !is_tag("") && is_tag("a.b") && !is_tag("a\"b"));
    }
}
