//! Routes and their prices.

use gate::Rate;
use http::Method;
use ledger::Rail;
use protocol::{AssetInfo, NotAnAmount, Payee, Payer, parse_decimal};

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
    /// Which paths; the pattern keeps its text. Where there is a `route_template`, this is the template's.
    pub(crate) path: gate::Pattern,
    /// Which method; `None` is any. HEAD goes with GET and is never written here.
    pub(crate) method: Option<Method>,
    /// What a call costs.
    pub(crate) price: PriceConfig,
    /// Who passes unpaid here, by proof of the key. On a free route only these pass, where it is not empty.
    pub(crate) allowlist: Vec<Payer>,
    /// For so long a wallet that paid for a resource gets it again by signing in, in seconds; 0 is never.
    pub(crate) reentry_s: u64,
    /// For the challenge.
    pub(crate) description: Option<String>,
    /// For the challenge: the media type of the answer.
    pub(crate) mime_type: Option<String>,
    /// The bazaar block, checked.
    pub(crate) info: Option<serde_json::Value>,
    /// `/users/:id`, as the bazaar names the route.
    pub(crate) template: Option<String>,
    /// The path that the upstream gets instead.
    pub(crate) rewrite: Option<String>,
    /// Query parameters that the upstream gets besides. They may be secret, so `Debug` of this list must not be logged.
    pub(crate) params: Vec<(String, String)>,
    /// Calls of the route, whoever makes them.
    pub(crate) rate_limit: Option<Rate>,
    /// Where the route stands in the file.
    pub(crate) line: usize,
}

/// What a call of a route costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PriceConfig {
    /// Costs nothing, and says so.
    Free,
    /// Is paid for.
    Due(DueConfig),
}

/// What a paid call costs, and when its money moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DueConfig {
    /// In which tokens, in order of preference; never empty.
    pub(crate) accepts: Vec<AcceptConfig>,
    /// Who is asked for the price; the fixed prices of `accepts` stand in for him.
    pub(crate) endpoint: Option<EndpointConfig>,
    /// When the money moves. `None` where only the price endpoint's answer can tell.
    pub(crate) rail: Option<Rail>,
    /// Whether the money moves before the upstream is run.
    pub(crate) settle_first: bool,
}

/// One token that a route is paid in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AcceptConfig {
    /// Which token.
    pub(crate) token: AssetInfo,
    /// Who is paid.
    pub(crate) payee: Payee,
    /// The price; `None` where only the price endpoint knows it.
    pub(crate) price: Option<FixedPrice>,
}

/// A price of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FixedPrice {
    /// In the token's atomic units; never zero.
    pub(crate) atomic: u128,
    /// In millionths of a dollar, rounded up.
    pub(crate) micros: u64,
}

/// `price_endpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndpointConfig {
    /// Asked with POST `{method, path}`; answers `{"price": "0.05"}`.
    pub(crate) url: String,
    /// How long it may take.
    pub(crate) timeout_ms: u64,
    /// How long its answer is used for further calls of the same method and path; 0 asks every time.
    pub(crate) cache_s: u64,
    /// How long a quoted price is honoured.
    pub(crate) quote_s: u64,
}

/// What a route takes from the rest of the file.
pub(super) struct Around<'a> {
    pub(super) tokens: &'a [AssetInfo],
    pub(super) payee: Option<Payee>,
    pub(super) tab: TabConfig,
}

/// Reads `routes`. Every price must be exact in each of `tokens`.
pub(super) fn routes<'d>(reader: &mut Reader<'d>, node: &Node<'d>, around: &Around<'_>) -> Option<Vec<RouteConfig>> {
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
        let route = route(reader, item, around);
        if let Some(route) = &route {
            check_reached(reader, &item.at, route, &routes);
        }
        routes.push((item.at.clone(), route));
    }
    routes.into_iter().map(|(_, route)| route).collect()
}

fn route<'d>(reader: &mut Reader<'d>, item: &Node<'d>, around: &Around<'_>) -> Option<RouteConfig> {
    let fields = reader.fields(item, "routes[]")?;
    let path = path(reader, &fields);
    let method = match fields.get("method") {
        Some(node) => method(reader, &node).map(Some),
        None => Some(None),
    };
    let price = price(reader, &fields, around.tokens);
    let settlement = match fields.get("settlement") {
        Some(node) => settlement(reader, &node).map(|rail| Some((rail, node.at))),
        None => Some(None),
    };
    let price = on_rail(reader, price?, settlement?, around)?;
    Some(RouteConfig {
        path: path?,
        method: method?,
        price,
        allowlist: Vec::new(),
        reentry_s: 0,
        description: None,
        mime_type: None,
        info: None,
        template: None,
        rewrite: None,
        params: Vec::new(),
        rate_limit: None,
        line: item.at.line,
    })
}

/// Dollars before they are on a rail; `None` is free.
type Dollars = Option<(String, u64)>;

/// Puts a price on its rail: what the route says, or the tab up to a dollar and within the cap on one payer.
fn on_rail(
    reader: &mut Reader<'_>,
    price: Dollars,
    settlement: Option<(Rail, At)>,
    around: &Around<'_>,
) -> Option<PriceConfig> {
    let (Some((dollars, micros)), settlement) = (price, &settlement) else {
        return match settlement {
            Some((_, at)) => reader.mistake(&at, "the route is free: nothing is settled.", "leave `settlement` out."),
            None => Some(PriceConfig::Free),
        };
    };
    let caps = around.tab.caps;
    let cap = caps.payer_micros.min(caps.source_micros).min(caps.gate_micros);
    let rail = match settlement {
        Some((Rail::Tab, at)) if micros > cap => {
            let what = "the price is above a cap of `exposure`: no call could go on the tab.";
            return reader.mistake(at, what, "write direct, or raise exposure.per_payer, per_source and per_gate.");
        }
        Some((rail, _)) => *rail,
        None if micros <= cap.min(TAB_DEFAULT_MAX_MICROS) => Rail::Tab,
        None => Rail::Direct,
    };
    let payee = around.payee?;
    let accept = |token: &AssetInfo| {
        let atomic = parse_decimal(&dollars, token.decimals).expect("every price was checked against every token");
        AcceptConfig { token: token.clone(), payee, price: Some(FixedPrice { atomic, micros }) }
    };
    let accepts = around.tokens.iter().map(accept).collect();
    Some(PriceConfig::Due(DueConfig { accepts, endpoint: None, rail: Some(rail), settle_first: false }))
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

fn price<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>, tokens: &[AssetInfo]) -> Option<Dollars> {
    let free = match fields.get("free") {
        Some(node) => Some(reader.truth(&node)?),
        None => None,
    };
    match (fields.get("price"), free) {
        (Some(_), Some(true)) => {
            reader.mistake(&fields.at, "the route has a price and is free.", "keep `price` or `free: true`, not both.")
        }
        (Some(node), Some(false) | None) => dollars(reader, &node, tokens).map(Some),
        (None, Some(true)) => Some(None),
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

fn dollars<'d>(reader: &mut Reader<'d>, node: &Node<'d>, tokens: &[AssetInfo]) -> Option<(String, u64)> {
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
    Some((dollars.to_owned(), micros))
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
