//! Routes and their prices.

use http::Method;
use ledger::Rail;
use protocol::{AssetInfo, NotAnAmount, parse_decimal};

use super::reader::{At, Fields, Node, Reader};
use super::tab::TabConfig;

pub(super) const MAX_ROUTES: usize = 1_000;
const PRICE_FIX: &str = "write a decimal number of dollars, such as price: \"0.01\".";
const METHODS: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// Wide enough to tell a price from other text; each token's own places are checked afterwards.
const WIDEST_DECIMALS: u8 = 18;
/// One millionth of a dollar at [`WIDEST_DECIMALS`].
const MICRO: u128 = 1_000_000_000_000;
/// Up to this price a call goes on the tab unless the route says otherwise.
const TAB_DEFAULT_MAX_MICROS: u64 = 1_000_000;

/// One route: which calls, and what they cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteConfig {
    /// Which paths; the pattern keeps its text.
    pub(crate) path: gate::Pattern,
    /// Which method; `None` is any. HEAD goes with GET and is never written here.
    pub(crate) method: Option<Method>,
    /// What a call costs.
    pub(crate) price: PriceConfig,
    /// Where the route stands in the file.
    pub(crate) line: usize,
}

/// A price before it is known in which tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PriceConfig {
    /// Costs nothing, and says so.
    Free,
    /// A positive amount.
    Due {
        /// Decimal, without a dollar sign; it has an exact amount in every configured token.
        dollars: String,
        /// The price in millionths of a dollar, rounded up.
        micros: u64,
        /// When the money moves.
        rail: Rail,
    },
}

/// Reads `routes`. Every price must be exact in each of `tokens`.
pub(super) fn routes<'d>(
    reader: &mut Reader<'d>,
    node: &Node<'d>,
    tokens: &[AssetInfo],
    tab: &TabConfig,
) -> Option<Vec<RouteConfig>> {
    let fix = "write at least one route, such as `- path: /health` with `free: true` beneath it.";
    let items = reader.items(node, fix)?;
    if items.is_empty() {
        return reader.mistake(&node.at, "there is no route.", fix);
    }
    if items.len() > MAX_ROUTES {
        let what = format!("{} routes are more than {MAX_ROUTES}.", items.len());
        return reader.mistake(&node.at, what, "join routes with a pattern, such as /paid/*.");
    }
    let mut routes: Vec<(At, Option<RouteConfig>)> = Vec::new();
    for item in &items {
        let route = route(reader, item, tokens, tab);
        if let Some(route) = &route {
            check_reached(reader, &item.at, route, &routes);
        }
        routes.push((item.at.clone(), route));
    }
    routes.into_iter().map(|(_, route)| route).collect()
}

fn route<'d>(reader: &mut Reader<'d>, item: &Node<'d>, tokens: &[AssetInfo], tab: &TabConfig) -> Option<RouteConfig> {
    let fields = reader.fields(item, "routes[]")?;
    let path = path(reader, &fields);
    let method = match fields.get("method") {
        Some(node) => method(reader, &node).map(Some),
        None => Some(None),
    };
    let price = price(reader, &fields, tokens);
    let settlement = match fields.get("settlement") {
        Some(node) => settlement(reader, &node).map(|rail| Some((rail, node.at))),
        None => Some(None),
    };
    let price = on_rail(reader, price?, settlement?, tab)?;
    Some(RouteConfig { path: path?, method: method?, price, line: item.at.line })
}

/// Puts a price on its rail: what the route says, or the tab up to a dollar and within the cap on one payer.
fn on_rail(
    reader: &mut Reader<'_>,
    price: PriceConfig,
    settlement: Option<(Rail, At)>,
    tab: &TabConfig,
) -> Option<PriceConfig> {
    let (PriceConfig::Due { dollars, micros, .. }, settlement) = (price, &settlement) else {
        return match settlement {
            Some((_, at)) => reader.mistake(&at, "the route is free: nothing is settled.", "leave `settlement` out."),
            None => Some(PriceConfig::Free),
        };
    };
    let cap = tab.caps.payer_micros.min(tab.caps.source_micros).min(tab.caps.gate_micros);
    let rail = match settlement {
        Some((Rail::Tab, at)) if micros > cap => {
            let what = "the price is above a cap of `exposure`: no call could go on the tab.";
            return reader.mistake(at, what, "write direct, or raise exposure.per_payer, per_source and per_gate.");
        }
        Some((rail, _)) => *rail,
        None if micros <= cap.min(TAB_DEFAULT_MAX_MICROS) => Rail::Tab,
        None => Rail::Direct,
    };
    Some(PriceConfig::Due { dollars, micros, rail })
}

fn path<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<gate::Pattern> {
    let fix = "write a path such as /health, /paid/* (everything beneath) or /users/*/card.";
    let node = reader.required(fields, "path", fix)?;
    let text = reader.text(&node, fix)?;
    match gate::Pattern::parse(&text.value) {
        Ok(pattern) => Some(pattern),
        Err(why) => reader.mistake(&node.at, format!("{} is not a path pattern: it {why}.", text.shown()), fix),
    }
}

fn method<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Method> {
    let fix = format!("write one of {}, or leave the key out for every method.", METHODS.join(", "));
    let text = reader.text(node, &fix)?;
    let upper = text.value.to_ascii_uppercase();
    if METHODS.contains(&upper.as_str()) {
        return Some(Method::from_bytes(upper.as_bytes()).expect("every listed method is a method"));
    }
    if upper == "HEAD" {
        return reader.mistake(&node.at, "HEAD has no route of its own: it goes with GET.", "write GET.");
    }
    let what = format!("{} is not a method that is forwarded.", text.shown());
    reader.mistake(&node.at, what, fix)
}

fn price<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>, tokens: &[AssetInfo]) -> Option<PriceConfig> {
    let free = match fields.get("free") {
        Some(node) => Some(reader.truth(&node)?),
        None => None,
    };
    match (fields.get("price"), free) {
        (Some(_), Some(true)) => {
            reader.mistake(&fields.at, "the route has a price and is free.", "keep `price` or `free: true`, not both.")
        }
        (Some(node), Some(false) | None) => dollars(reader, &node, tokens),
        (None, Some(true)) => Some(PriceConfig::Free),
        (None, _) if fields.was_meant("price") => None,
        (None, Some(false)) => {
            let what = "the route is not free, and has no price.";
            reader.mistake(&fields.at, what, PRICE_FIX)
        }
        (None, None) if fields.was_meant("free") => None,
        (None, None) => {
            let what = "the route has neither a price nor `free: true`.";
            let fix = "write price: \"0.01\", or free: true if the calls shall cost nothing.";
            reader.mistake(&fields.at, what, fix)
        }
    }
}

fn dollars<'d>(reader: &mut Reader<'d>, node: &Node<'d>, tokens: &[AssetInfo]) -> Option<PriceConfig> {
    let text = reader.text(node, PRICE_FIX)?;
    let dollars = text.value.strip_prefix('$').unwrap_or(&text.value);
    let refuse = |why: &str| format!("{} is not a price: {why}.", text.shown());
    let zero_fix = "write `free: true`, or a price such as \"0.01\".";
    if dollars.starts_with('-') {
        return reader.mistake(&node.at, refuse("it is negative"), PRICE_FIX);
    }
    let read = parse_decimal(&text.value, WIDEST_DECIMALS);
    match read {
        Ok(0) => return reader.mistake(&node.at, refuse("zero is not free"), zero_fix),
        // Too fine for any token; the tokens below say it with their names.
        Ok(_) | Err(NotAnAmount::TooFine) => {}
        Err(why @ (NotAnAmount::NotDecimal | NotAnAmount::LeadingZero | NotAnAmount::TooLarge)) => {
            let fix = if dollars.eq_ignore_ascii_case("free") { zero_fix } else { PRICE_FIX };
            return reader.mistake(&node.at, refuse(&format!("it {why}")), fix);
        }
    }
    for token in tokens {
        if let Err(why) = parse_decimal(&text.value, token.decimals) {
            let what = not_in_token(&text.shown(), token, why);
            return reader.mistake(&node.at, what, "write fewer decimal places, or a smaller price.");
        }
    }
    // Too fine for a millionth, or too dear for the count of them: rounded up either way.
    let micros = read.map_or(u64::MAX, |atto| u64::try_from(atto.div_ceil(MICRO)).unwrap_or(u64::MAX));
    let micros = if read == Err(NotAnAmount::TooFine) { u64::MAX } else { micros };
    Some(PriceConfig::Due { dollars: dollars.to_owned(), micros, rail: Rail::Direct })
}

fn not_in_token(shown: &str, token: &AssetInfo, why: NotAnAmount) -> String {
    let (name, network) = (&token.name, token.asset.network);
    match why {
        NotAnAmount::TooFine => {
            format!("{shown} has more decimal places than {name} on {network}, which has {}.", token.decimals)
        }
        NotAnAmount::NotDecimal | NotAnAmount::LeadingZero | NotAnAmount::TooLarge => {
            format!("{shown} {why} in {name} on {network}.")
        }
    }
}

fn settlement<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Rail> {
    let fix = "write direct, or tab to serve now and settle later, many payments at once.";
    let text = reader.text(node, fix)?;
    match text.value.as_str() {
        "direct" => Some(Rail::Direct),
        "tab" => Some(Rail::Tab),
        _ => reader.mistake(&node.at, format!("{} is not a kind of settlement.", text.shown()), fix),
    }
}

/// The first route that matches decides, so an equal one after it is dead: its price would never be asked. Only equal text is found;
/// a pattern that covers another one is not.
fn check_reached(reader: &mut Reader<'_>, at: &At, route: &RouteConfig, earlier: &[(At, Option<RouteConfig>)]) {
    let same = |other: &RouteConfig| other.path.as_str() == route.path.as_str() && other.method == route.method;
    let first = earlier.iter().find(|(_, other)| other.as_ref().is_some_and(same));
    if let Some((first, _)) = first {
        let what =
            format!("the route is never reached: {} (line {}) has the same path and method.", first.path, first.line);
        reader.mistake::<()>(at, what, "remove one of the two.");
    }
}
