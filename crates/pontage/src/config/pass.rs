//! Passes: what a route sells beside a single call, and whose secret signs it.

use std::path::Path;

use gate::PassKind;

use super::optional;
use super::price::{AcceptConfig, PriceConfig, dollars, in_token};
use super::reader::{Fields, Node, Reader};
use super::secret::{self, SecretSource};
use super::tab::micros;

const MAX_PASSES: usize = 8;
const MAX_CALLS: u64 = 1_000_000_000;
const MAX_SCOPE_CHARS: usize = 64;
/// A leap year.
const MAX_SPAN_S: u64 = 366 * 86_400;
const FIX: &str =
    "write what it costs and what for, such as { price: \"1.00\", for: 24h } or { price: \"1.00\", calls: 100 }.";

/// A pass that a route sells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PassConfig {
    /// What it costs, in the tokens that the route is paid in; each has a price.
    pub(crate) accepts: Vec<AcceptConfig>,
    /// What it is good for.
    pub(crate) kind: PassKind,
    /// How many calls, or how many millionths of a dollar; nothing for one that is for a time.
    pub(crate) amount: u64,
    /// For how long.
    pub(crate) valid_s: Option<u64>,
}

/// Who signs passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PassesConfig {
    /// The secret; without it the journal has one.
    pub(crate) secret: Option<SecretSource>,
    /// The secret before it, whose passes are good still.
    pub(crate) previous: Option<SecretSource>,
}

/// What a route says of passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoutePasses {
    /// What it sells.
    pub(crate) sold: Vec<PassConfig>,
    /// Passes of which name open it.
    pub(crate) scope: Option<String>,
}

/// Reads `passes`.
pub(super) fn passes<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>, folder: &Path) -> Option<PassesConfig> {
    let Some(node) = fields.get("passes") else { return Some(PassesConfig::default()) };
    let fields = reader.fields(&node, "passes")?;
    let mut place =
        |name| optional(reader, &fields, name, None, |reader, node| secret::source(reader, node, folder).map(Some));
    let (secret, previous) = (place("secret")?, place("previous")?);
    if secret.is_none() && previous.is_some() {
        let fix = "add the place of the new secret as passes.secret.";
        return reader.mistake(&node.at, "there is a secret before the newest, and no newest.", fix);
    }
    Some(PassesConfig { secret, previous })
}

/// Reads `pass` and `pass_scope` of a route. Within a token every price of the route must differ: by them payments are told apart.
pub(super) fn of_route<'d>(
    reader: &mut Reader<'d>,
    fields: &Fields<'d>,
    price: Option<&PriceConfig>,
) -> Option<RoutePasses> {
    let scope = optional(reader, fields, "pass_scope", None, |reader, node| scope(reader, node).map(Some));
    let Some(node) = fields.get("pass") else { return Some(RoutePasses { sold: Vec::new(), scope: scope? }) };
    // A free route has been told so already.
    let Some(PriceConfig::Due(due)) = price else { return None };
    if due.tariff.is_some() && due.accepts.is_empty() {
        let fix = "write what a call costs x402 payers as price.offer, or leave `pass` out.";
        return reader.mistake(&node.at, "nobody can pay for a pass: the route has no price for payments.", fix);
    }
    let items = if node.is_mapping() { vec![node] } else { several(reader, &node)? };
    let mut sold: Vec<PassConfig> = Vec::new();
    let mut sound = true;
    for item in &items {
        let Some(pass) = pass(reader, item, &due.accepts) else {
            sound = false;
            continue;
        };
        let earlier = sold.iter().flat_map(|pass| &pass.accepts).chain(&due.accepts);
        let same = |accept: &AcceptConfig, other: &AcceptConfig| {
            let atomic = |accept: &AcceptConfig| accept.price.as_ref().map(|price| price.atomic);
            accept.token.asset == other.token.asset && atomic(accept).is_some() && atomic(accept) == atomic(other)
        };
        if earlier.into_iter().any(|other| pass.accepts.iter().any(|accept| same(accept, other))) {
            let what = "the pass costs what a call, or another pass of the route, costs: a payment does not tell which it buys.";
            reader.mistake::<()>(&item.at, what, "give it another price.");
            sound = false;
        }
        sold.push(pass);
    }
    let scope = scope?;
    sound.then_some(RoutePasses { sold, scope })
}

fn several<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Vec<Node<'d>>> {
    let items = reader.items(node, FIX)?;
    if items.is_empty() || items.len() > MAX_PASSES {
        return reader.mistake(&node.at, format!("{} passes are not 1 to {MAX_PASSES}.", items.len()), FIX);
    }
    Some(items)
}

fn pass<'d>(reader: &mut Reader<'d>, node: &Node<'d>, accepts: &[AcceptConfig]) -> Option<PassConfig> {
    let fields = reader.fields(node, "routes[].pass[]")?;
    let price = reader.required(&fields, "price", FIX).and_then(|node| dollars(reader, &node));
    let valid_s = optional(reader, &fields, "for", None, |reader, node| span_s(reader, node).map(Some));
    let calls =
        optional(reader, &fields, "calls", None, |reader, node| reader.whole(node, 1..=MAX_CALLS, "calls").map(Some));
    let worth = optional(reader, &fields, "amount", None, |reader, node| micros(reader, node).map(Some));
    let (price, valid_s) = (price?, valid_s?);
    let (kind, amount) = match (calls?, worth?) {
        (Some(calls), None) => (PassKind::Calls, calls),
        (None, Some(0)) => return reader.mistake(&node.at, "a pass for nothing opens nothing.", FIX),
        (None, Some(worth)) => (PassKind::Amount, worth),
        (None, None) if valid_s.is_some() => (PassKind::Time, 0),
        (None, None) => return reader.mistake(&node.at, "the pass says not what it is for.", FIX),
        (Some(_), Some(_)) => {
            return reader.mistake(&node.at, "the pass counts calls and money.", "keep `calls` or `amount`.");
        }
    };
    let mut priced = Vec::new();
    for accept in accepts {
        priced.push(AcceptConfig { price: Some(in_token(reader, &price, &accept.token)?), ..accept.clone() });
    }
    Some(PassConfig { accepts: priced, kind, amount, valid_s })
}

fn span_s<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<u64> {
    let fix = "write a whole number with a unit, such as 30m, 24h or 30d; from 1s to 366d.";
    let text = reader.text(node, fix)?;
    let end = text.value.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.value.len());
    let (digits, unit) = text.value.split_at(end);
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return reader.mistake(&node.at, format!("{} is not a length of time.", text.shown()), fix),
    };
    let seconds = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit_s));
    match seconds.filter(|seconds| (1..=MAX_SPAN_S).contains(seconds)) {
        Some(seconds) => Some(seconds),
        None => reader.mistake(&node.at, format!("{} is out of range.", text.shown()), fix),
    }
}

/// Not what a route's own name looks like, which has a space and a slash.
fn scope<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<String> {
    let fix = "write 1 to 64 letters, digits and `. _ -`.";
    let text = reader.text(node, fix)?;
    let plain = text.value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    match plain && (1..=MAX_SCOPE_CHARS).contains(&text.value.len()) {
        true => Some(text.value),
        false => reader.mistake(&node.at, format!("{} is not a name of passes.", text.shown()), fix),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FREE, HEAD, read};
    use super::*;

    type Sold = (PassKind, u64, Option<u64>, u128);

    fn passes(lines: &str) -> Result<Vec<Sold>, String> {
        let route = format!("{HEAD}routes:\n  - path: /a\n    price: \"0.01\"\n{lines}");
        let config = read(&route).map_err(|mistakes| mistakes.to_string())?;
        let atomic = |pass: &PassConfig| pass.accepts[0].price.as_ref().map(|price| price.atomic).unwrap_or_default();
        let sold = &config.routes[0].passes.sold;
        Ok(sold.iter().map(|pass| (pass.kind, pass.amount, pass.valid_s, atomic(pass))).collect())
    }

    #[test]
    fn what_is_sold() {
        for (lines, want) in [
            ("    pass: { price: \"1\", for: 24h }\n", vec![(PassKind::Time, 0, Some(86_400), 1_000_000)]),
            ("    pass: { price: 1.50, calls: 100 }\n", vec![(PassKind::Calls, 100, None, 1_500_000)]),
            (
                "    pass:\n      - { price: \"$4\", amount: \"$5\", for: 30d }\n      - { price: 1, for: 90s }\n",
                vec![
                    (PassKind::Amount, 5_000_000, Some(2_592_000), 4_000_000),
                    (PassKind::Time, 0, Some(90), 1_000_000),
                ],
            ),
        ] {
            assert_eq!(passes(lines), Ok(want), "{lines}");
        }
    }

    #[test]
    fn what_is_not() {
        for (lines, says) in [
            ("    pass: { price: \"0.01\", for: 24h }\n", "a payment does not tell which it buys"),
            (
                "    pass: [{ price: 1, for: 24h }, { price: 1.00, calls: 3 }]\n",
                "a payment does not tell which it buys",
            ),
            ("    pass: { price: 1 }\n", "says not what it is for"),
            ("    pass: { for: 24h }\n", "`price` is missing"),
            ("    pass: { price: 0, for: 24h }\n", "zero is not free"),
            ("    pass: { price: 1, calls: 3, amount: 5 }\n", "counts calls and money"),
            ("    pass: { price: 1, calls: 0 }\n", "out of range"),
            ("    pass: { price: 1, amount: 0 }\n", "opens nothing"),
            ("    pass: { price: 1, for: 367d }\n", "out of range"),
            ("    pass: { price: 1, for: 24 }\n", "not a length of time"),
            ("    pass: { price: 1, for: 1w }\n", "not a length of time"),
            ("    pass: []\n", "not 1 to 8"),
            ("    pass: { price: 1, for: 24h, secret: x }\n", "secret"),
            ("    pass: { price: 1, for: 24h }\n    pass_scope: \"GET /a\"\n", "not a name of passes"),
            ("    pass: { price: 1, for: 24h }\n    pass_scope: \"\"\n", "pass_scope"),
            ("passes: { previous: { env: OLD } }\n", "no newest"),
        ] {
            let got = passes(lines);
            assert!(got.as_ref().is_err_and(|mistakes| mistakes.contains(says)), "{lines}: {got:?}");
        }
        let free = format!("{HEAD}{FREE}").replacen("free: true", "free: true, pass_scope: news", 1);
        assert!(read(&free).is_err_and(|mistakes| mistakes.to_string().contains("the route is free")), "{free}");
    }
}
