//! What a route costs: in which tokens, to whom, and when the money moves.

use std::fmt;

use gate::price::Tariff;
use ledger::Rail;
use protocol::{AssetAddress, AssetInfo, Network, NotAnAmount, Payee, parse_decimal};

use super::accounts::AccountsConfig;
use super::reader::{At, Fields, Node, Reader};
use super::tab::TabConfig;
use super::tariff;
use super::url::url;
use super::{address, optional};

const MAX_ACCEPTS: usize = 24;
const CREDITS_MAX: u64 = 1_000_000_000;
const PRICE_FIX: &str = "write a decimal number of dollars, such as price: \"0.01\".";
const ENDPOINT_FIX: &str =
    "write an address such as \"http://127.0.0.1:3000/price\", or { url, timeout_ms, cache_s, quote_s }.";
const ACCEPTS_FIX: &str = "write a list of { network, asset, price, pay_to }, such as - network: \"eip155:8453\".";
/// Wide enough to tell a price from other text; each token's own places are checked afterwards.
const WIDEST_DECIMALS: u8 = 18;
/// One millionth of a dollar at [`WIDEST_DECIMALS`].
const MICRO: u128 = 1_000_000_000_000;
/// Up to this price a call goes on the tab unless the route says otherwise.
pub(crate) const TAB_DEFAULT_MAX_MICROS: u64 = 1_000_000;
/// What a free route has no use for.
const PAID_ONLY: &[&str] =
    &["settlement", "settle_first", "pay_to", "accepts", "credits", "reentry_s", "pass", "pass_scope"];

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
    /// In which tokens, in order of preference; empty where accounts alone pay, by a tariff.
    pub(crate) accepts: Vec<AcceptConfig>,
    /// What accounts pay, where that depends on the call.
    pub(crate) tariff: Option<Tariff>,
    /// What accounts in credits pay, where the price is fixed.
    pub(crate) credits: Option<u64>,
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
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct EndpointConfig {
    /// Asked with POST `{method, path}`; answers `{"price": "0.05"}`. May hold an access key, so `Debug` leaves it out.
    pub(crate) url: String,
    /// How long it may take.
    pub(crate) timeout_ms: u64,
    /// How long its answer is used for further calls of the same method and path; 0 asks every time.
    pub(crate) cache_s: u64,
    /// How long a quoted price is honoured.
    pub(crate) quote_s: u64,
}

impl fmt::Debug for EndpointConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointConfig").field("url", &"***").field("quote_s", &self.quote_s).finish_non_exhaustive()
    }
}

/// What a route takes from the rest of the file.
pub(super) struct Around<'a> {
    pub(super) tokens: &'a [AssetInfo],
    /// Whether `tokens` are all that the file means: a network that has a mistake may be missing.
    pub(super) all_tokens: bool,
    pub(super) payee: Option<Payee>,
    pub(super) tab: TabConfig,
    /// Who pays by a tariff.
    pub(super) accounts: Option<AccountsConfig>,
    /// Whether the file means to have accounts: their section may have a mistake.
    pub(super) has_accounts: bool,
}

/// A price before it is in a token.
pub(super) struct Dollars {
    at: At,
    text: String,
    shown: String,
    micros: u64,
}

/// What the entries of `accepts` take from their route. The outer `None` is a mistake that was noted.
struct Defaults<'a> {
    around: &'a Around<'a>,
    payee: Option<Payee>,
    dollars: Option<Option<Dollars>>,
    endpoint: bool,
}

/// Reads what a route costs. Every price must be exact in each token that it is paid in.
pub(super) fn price<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>, around: &Around<'_>) -> Option<PriceConfig> {
    let free = optional(reader, fields, "free", None, |reader, node| reader.truth(node).map(Some));
    if free == Some(Some(true)) {
        return nothing(reader, fields);
    }
    check_priced(reader, fields, free);
    let due = due(reader, fields, around);
    free?;
    due.map(PriceConfig::Due)
}

fn nothing<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<PriceConfig> {
    let mut sound = true;
    if fields.get("price").or(fields.get("price_endpoint")).is_some() {
        let fix = "keep `price` or `free: true`, not both.";
        reader.mistake::<()>(&fields.at, "the route has a price and is free.", fix);
        sound = false;
    }
    for name in PAID_ONLY {
        if let Some(node) = fields.get(name) {
            let what = "the route is free: nothing is settled.";
            reader.mistake::<()>(&node.at, what, format!("leave `{name}` out."));
            sound = false;
        }
    }
    sound.then_some(PriceConfig::Free)
}

fn check_priced<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>, free: Option<Option<bool>>) {
    let priced = ["price", "price_endpoint", "accepts"].iter().any(|name| fields.was_meant(name));
    match free {
        _ if priced => {}
        Some(Some(_)) => {
            reader.mistake::<()>(&fields.at, "the route is not free, and has no price.", PRICE_FIX);
        }
        Some(None) if !fields.was_meant("free") => {
            let what = "the route has neither a price nor `free: true`.";
            let fix = "write price: \"0.01\", or free: true if the calls shall cost nothing.";
            reader.mistake::<()>(&fields.at, what, fix);
        }
        Some(None) | None => {}
    }
}

fn due<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>, around: &Around<'_>) -> Option<DueConfig> {
    let payee = match fields.get("pay_to") {
        Some(node) => address::payee(reader, &node),
        None => around.payee,
    };
    let priced = optional(reader, fields, "price", (None, None), |reader, node| priced(reader, node, fields, around));
    let (dollars, tariff) = match priced {
        Some((dollars, tariff)) => (Some(dollars), Some(tariff)),
        None => (None, None),
    };
    let credits =
        optional(reader, fields, "credits", None, |reader, node| credits(reader, node, fields, around).map(Some));
    let endpoint = optional(reader, fields, "price_endpoint", None, |reader, node| endpoint(reader, node).map(Some));
    let defaults = Defaults { around, payee, dollars, endpoint: fields.was_meant("price_endpoint") };
    let accepts = match fields.get("accepts") {
        Some(node) => accepts(reader, &node, &defaults),
        None if matches!((&tariff, &defaults.dollars), (Some(Some(_)), Some(None))) => Some(Vec::new()),
        None => in_tokens(reader, around.tokens, defaults.dollars.as_ref().and_then(Option::as_ref), payee),
    };
    let dearest = accepts.iter().flatten().filter_map(|accept| Some(accept.price.as_ref()?.micros)).max();
    let whole = defaults.dollars.iter().flatten().map(|dollars| dollars.micros).max();
    let (rail, settle_first) = rail(reader, fields, around, dearest.max(whole))?;
    defaults.dollars?;
    Some(DueConfig { accepts: accepts?, tariff: tariff?, credits: credits?, endpoint: endpoint?, rail, settle_first })
}

/// A price in dollars; or a tariff, with what x402 payers pay instead.
fn priced<'d>(
    reader: &mut Reader<'d>,
    node: &Node<'d>,
    route: &Fields<'d>,
    around: &Around<'_>,
) -> Option<(Option<Dollars>, Option<Tariff>)> {
    if !node.is_mapping() {
        return dollars(reader, node).map(|dollars| (Some(dollars), None));
    }
    let fields = tariff::fields(reader, node)?;
    let mut sound = needs_accounts(reader, node, around);
    if let Some(endpoint) = route.get("price_endpoint") {
        let what = "the route has a price of several parts, and an endpoint that says it.";
        reader.mistake::<()>(&endpoint.at, what, "keep one of the two.");
        sound = false;
    }
    let offer = optional(reader, &fields, "offer", None, |reader, node| dollars(reader, node).map(Some));
    let tariff = tariff::tariff(reader, node, &fields, around.accounts.as_ref());
    let (offer, tariff) = (offer?, tariff?);
    sound.then_some((offer, Some(tariff)))
}

/// Notes that there are no accounts, where there are none.
fn needs_accounts(reader: &mut Reader<'_>, node: &Node<'_>, around: &Around<'_>) -> bool {
    if !around.has_accounts {
        let what = "only accounts pay in this way, and the file has no `accounts`.";
        reader.mistake::<()>(&node.at, what, "write accounts: {} as well, or a price in dollars.");
    }
    around.has_accounts
}

fn credits<'d>(reader: &mut Reader<'d>, node: &Node<'d>, route: &Fields<'d>, around: &Around<'_>) -> Option<u64> {
    let sound = needs_accounts(reader, node, around);
    let credits = reader.whole(node, 1..=CREDITS_MAX, "credits");
    if route.get("price").is_none_or(|price| price.is_mapping()) {
        let what = "credits stand beside a price in dollars, and there is none.";
        return reader.mistake(&node.at, what, "write price: \"0.01\" as well, or price: { in: credits, call: 1 }.");
    }
    credits.filter(|_| sound)
}

/// One price in each of some tokens. At the first that cannot hold it the mistake is noted.
fn in_tokens<'t>(
    reader: &mut Reader<'_>,
    tokens: impl IntoIterator<Item = &'t AssetInfo>,
    dollars: Option<&Dollars>,
    payee: Option<Payee>,
) -> Option<Vec<AcceptConfig>> {
    let mut accepts = Vec::new();
    for token in tokens {
        let price = match dollars {
            Some(dollars) => Some(in_token(reader, dollars, token)?),
            None => None,
        };
        accepts.push(AcceptConfig { token: token.clone(), payee: payee?, price });
    }
    payee?;
    Some(accepts)
}

pub(super) fn in_token(reader: &mut Reader<'_>, dollars: &Dollars, token: &AssetInfo) -> Option<FixedPrice> {
    let (shown, name, network) = (&dollars.shown, &token.name, token.asset.network);
    let what = match parse_decimal(&dollars.text, token.decimals) {
        Ok(atomic) => return Some(FixedPrice { atomic, micros: dollars.micros }),
        Err(NotAnAmount::TooFine) => {
            format!("{shown} has more decimal places than {name} on {network}, which has {}.", token.decimals)
        }
        Err(why @ (NotAnAmount::NotDecimal | NotAnAmount::LeadingZero | NotAnAmount::TooLarge)) => {
            format!("{shown} {why} in {name} on {network}.")
        }
    };
    reader.mistake(&dollars.at, what, "write fewer decimal places, or a smaller price.")
}

fn accepts<'d>(reader: &mut Reader<'d>, node: &Node<'d>, defaults: &Defaults<'_>) -> Option<Vec<AcceptConfig>> {
    let items = reader.items(node, ACCEPTS_FIX)?;
    if items.is_empty() {
        return reader.mistake(&node.at, "there is no token to be paid in.", ACCEPTS_FIX);
    }
    if items.len() > MAX_ACCEPTS {
        let what = format!("{} tokens are more than {MAX_ACCEPTS}.", items.len());
        return reader.mistake(&node.at, what, "remove the tokens that nobody pays in.");
    }
    let mut all: Vec<AcceptConfig> = Vec::new();
    let mut sound = true;
    for item in &items {
        let read = accept(reader, item, defaults);
        sound &= read.is_some();
        for accept in read.into_iter().flatten() {
            if all.iter().any(|other| other.token.asset == accept.token.asset) {
                reader.mistake::<()>(&item.at, "the token is listed twice.", "keep one of the two.");
                sound = false;
            }
            all.push(accept);
        }
    }
    sound.then_some(all)
}

fn accept<'d>(reader: &mut Reader<'d>, item: &Node<'d>, defaults: &Defaults<'_>) -> Option<Vec<AcceptConfig>> {
    let fields = reader.fields(item, "routes[].accepts[]")?;
    let tokens = accepted_tokens(reader, &fields, defaults.around);
    let payee = match fields.get("pay_to") {
        Some(node) => address::payee(reader, &node),
        None => defaults.payee,
    };
    let own = optional(reader, &fields, "price", None, |reader, node| dollars(reader, node).map(Some))?;
    let dollars = own.as_ref().or(defaults.dollars.as_ref().and_then(Option::as_ref));
    // A route whose price has a mistake means to have one.
    if dollars.is_none() && matches!(defaults.dollars, Some(None)) && !defaults.endpoint && !fields.was_meant("price") {
        return reader.mistake(&item.at, "the token has no price, and the route has none either.", PRICE_FIX);
    }
    in_tokens(reader, tokens?, dollars, payee)
}

/// The tokens that an entry of `accepts` names: one, or all of a network.
fn accepted_tokens<'a, 'd>(
    reader: &mut Reader<'d>,
    fields: &Fields<'d>,
    around: &Around<'a>,
) -> Option<Vec<&'a AssetInfo>> {
    let mut networks: Vec<String> = around.tokens.iter().map(|token| token.asset.network.to_string()).collect();
    networks.dedup();
    let fix = format!("write a network that is configured: {}.", networks.join(", "));
    let node = reader.required(fields, "network", &fix)?;
    let text = reader.text(&node, &fix)?;
    let network = text.value.parse::<Network>().ok();
    let on = |token: &&AssetInfo| Some(token.asset.network) == network;
    let tokens: Vec<_> = around.tokens.iter().filter(on).collect();
    if tokens.is_empty() {
        if network.is_some() && !around.all_tokens {
            return Some(tokens);
        }
        return reader.mistake(&node.at, format!("{} is not a network of this file.", text.shown()), fix);
    }
    let Some(node) = fields.get("asset") else { return Some(tokens) };
    let fix = "write usdc, or the address of a token that is listed under networks.";
    let text = reader.text(&node, fix)?;
    let asset = match text.value.eq_ignore_ascii_case("usdc") {
        true => network.and_then(AssetInfo::usdc).map(|token| token.asset.address),
        false => text.value.parse::<AssetAddress>().ok(),
    };
    match tokens.into_iter().find(|token| Some(token.asset.address) == asset) {
        Some(token) => Some(vec![token]),
        None if asset.is_some() && !around.all_tokens => Some(Vec::new()),
        None => reader.mistake(&node.at, format!("{} is not a token of this network.", text.shown()), fix),
    }
}

/// When the money moves: what the route says, or the tab up to a dollar and within the cap on one payer.
fn rail<'d>(
    reader: &mut Reader<'d>,
    fields: &Fields<'d>,
    around: &Around<'_>,
    micros: Option<u64>,
) -> Option<(Option<Rail>, bool)> {
    let settlement = optional(reader, fields, "settlement", None, |reader, node| {
        Some(Some((settlement(reader, node)?, node.at.clone())))
    });
    let settle_first = optional(reader, fields, "settle_first", false, |reader, node| reader.truth(node));
    let (settlement, settle_first) = (settlement?, settle_first?);
    let caps = around.tab.caps;
    let cap = caps.payer_micros.min(caps.source_micros).min(caps.gate_micros);
    let rail = match &settlement {
        Some((Rail::Tab, at)) if settle_first => {
            let what = "the route is settled first and goes on the tab, which is settled later.";
            return reader.mistake(at, what, "write direct, or leave `settle_first` out.");
        }
        Some((Rail::Tab, at)) if micros.is_some_and(|micros| micros > cap) => {
            let what = "the price is above a cap of `exposure`: no call could go on the tab.";
            return reader.mistake(at, what, "write direct, or raise exposure.per_payer, per_source and per_gate.");
        }
        Some((rail, _)) => Some(*rail),
        None if settle_first => Some(Rail::Direct),
        // The price of a call is known when its quote is.
        None if fields.was_meant("price_endpoint") => None,
        None if micros.is_some_and(|micros| micros <= cap.min(TAB_DEFAULT_MAX_MICROS)) => Some(Rail::Tab),
        None => Some(Rail::Direct),
    };
    Some((rail, settle_first))
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

pub(super) fn dollars<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Dollars> {
    let text = reader.text(node, PRICE_FIX)?;
    let dollars = text.value.strip_prefix('$').unwrap_or(&text.value);
    let refuse = |why: &str| format!("{} is not a price: {why}.", text.shown());
    let zero_fix = "write `free: true`, or a price such as \"0.01\".";
    if dollars.starts_with('-') {
        return reader.mistake(&node.at, refuse("it is negative"), PRICE_FIX);
    }
    // Too fine for a millionth, or too dear for the count of them: rounded up either way.
    let micros = match parse_decimal(&text.value, WIDEST_DECIMALS) {
        Ok(0) => return reader.mistake(&node.at, refuse("zero is not free"), zero_fix),
        Ok(atto) => u64::try_from(atto.div_ceil(MICRO)).unwrap_or(u64::MAX),
        // Too fine for any token; the tokens say it with their names.
        Err(NotAnAmount::TooFine) => u64::MAX,
        Err(why @ (NotAnAmount::NotDecimal | NotAnAmount::LeadingZero | NotAnAmount::TooLarge)) => {
            let fix = if dollars.eq_ignore_ascii_case("free") { zero_fix } else { PRICE_FIX };
            return reader.mistake(&node.at, refuse(&format!("it {why}")), fix);
        }
    };
    Some(Dollars { at: node.at.clone(), shown: text.shown(), text: text.value, micros })
}

fn endpoint<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<EndpointConfig> {
    let default = EndpointConfig { url: String::new(), timeout_ms: 3_000, cache_s: 0, quote_s: 60 };
    if !node.is_mapping() {
        return Some(EndpointConfig { url: url(reader, node, ENDPOINT_FIX)?, ..default });
    }
    let fields = reader.fields(node, "routes[].price_endpoint")?;
    let url = reader.required(&fields, "url", ENDPOINT_FIX).and_then(|node| url(reader, &node, ENDPOINT_FIX));
    let mut number = |name: &str, default, least, most, unit| {
        optional(reader, &fields, name, default, |reader, node| reader.whole(node, least..=most, unit))
    };
    let timeout_ms = number("timeout_ms", default.timeout_ms, 1, 60_000, "milliseconds");
    let cache_s = number("cache_s", default.cache_s, 0, 86_400, "seconds");
    let quote_s = number("quote_s", default.quote_s, 1, 3_600, "seconds");
    Some(EndpointConfig { url: url?, timeout_ms: timeout_ms?, cache_s: cache_s?, quote_s: quote_s? })
}
