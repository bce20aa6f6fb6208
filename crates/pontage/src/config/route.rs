//! Routes: which calls, and what is done with them. Their prices have a file of their own.

use std::fmt;

use gate::Rate;
use http::Method;
use protocol::Payer;
use protocol::x402::ext::check_route_template;

use super::accounts::calls;
use super::budgets::{BudgetConfig, Place, budgets};
use super::info::info;
use super::keys::METHODS;
use super::limits::rate;
use super::pass::{self, RoutePasses};
use super::price::{Around, PriceConfig, price};
use super::reader::{At, Entry, Fields, Node, Reader};
use super::{address, optional};

pub(super) const MAX_ROUTES: usize = 1_000;
const MAX_PARAMS: usize = 32;
const REENTRY_MAX_S: u64 = 30 * 86_400;
const CACHE_MAX_S: u64 = 86_400;

/// One route: which calls, and what they cost.
#[derive(Clone, PartialEq, Eq)]
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
    /// Query parameters that the upstream gets besides. They may be secret, so `Debug` leaves them out.
    pub(crate) params: Vec<(String, String)>,
    /// Calls of the route, whoever makes them.
    pub(crate) rate_limit: Option<Rate>,
    /// What each key, or all together, may call and spend here.
    pub(crate) budgets: Vec<BudgetConfig>,
    /// For each key: its calls of the route.
    pub(crate) rate_per_key: Option<Rate>,
    /// Calls of the route that are paid from balances and with the upstream at once.
    pub(crate) in_flight_max: Option<u32>,
    /// For so long an answer is given out again to the key that it was for, in seconds; 0 is never.
    pub(crate) cache_s: u64,
    /// Passes that are sold here, and those that open it.
    pub(crate) passes: RoutePasses,
    /// Where the route stands in the file.
    pub(crate) line: usize,
}

impl fmt::Debug for RouteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteConfig")
            .field("path", &self.path.as_str())
            .field("method", &self.method)
            .field("price", &self.price)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
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
    let method = optional(reader, &fields, "method", None, |reader, node| method(reader, node).map(Some));
    let price = price(reader, &fields, around);
    let passes = pass::of_route(reader, &fields, price.as_ref());
    let allowlist = optional(reader, &fields, "allowlist", Vec::new(), address::payers);
    let reentry_s =
        optional(reader, &fields, "reentry_s", 0, |reader, node| reader.whole(node, 0..=REENTRY_MAX_S, "seconds"));
    let description = optional(reader, &fields, "description", None, |reader, node| words(reader, node, 500).map(Some));
    let mime_type = optional(reader, &fields, "mime_type", None, |reader, node| mime_type(reader, node).map(Some));
    let info = optional(reader, &fields, "info", None, |reader, node| info(reader, node).map(Some));
    let rewrite = optional(reader, &fields, "proxy_rewrite", None, |reader, node| rewrite(reader, node).map(Some));
    let params = optional(reader, &fields, "proxy_params", Vec::new(), params);
    let rate_limit = optional(reader, &fields, "rate_limit", None, rate);
    let budgets = optional(reader, &fields, "budgets", Vec::new(), |reader, node| budgets(reader, node, Place::Route));
    let rate_per_key = optional(reader, &fields, "rate_per_key", None, rate);
    let in_flight_max = optional(reader, &fields, "in_flight_max", None, calls);
    let cache_s =
        optional(reader, &fields, "cache_s", 0, |reader, node| reader.whole(node, 0..=CACHE_MAX_S, "seconds"));
    of_accounts(reader, &fields);
    let (path, template) = path?;
    Some(RouteConfig {
        path,
        method: method?,
        price: price?,
        allowlist: allowlist?,
        reentry_s: reentry_s?,
        description: description?,
        mime_type: mime_type?,
        info: info?,
        template,
        rewrite: rewrite?,
        params: params?,
        rate_limit: rate_limit?,
        budgets: budgets?,
        rate_per_key: rate_per_key?,
        in_flight_max: in_flight_max?,
        cache_s: cache_s?,
        passes: passes?,
        line: item.at.line,
    })
}

/// What is said of keys where there are none is a mistake.
fn of_accounts(reader: &mut Reader<'_>, fields: &Fields<'_>) {
    let has_accounts = reader.root().has("accounts");
    for name in ["budgets", "rate_per_key", "in_flight_max", "cache_s"] {
        if let Some(node) = fields.get(name).filter(|_| !has_accounts) {
            let fix = "write the section `accounts` too (`accounts: {}` will do), or leave this out.";
            reader.mistake::<()>(&node.at, "this is for calls of API keys, and there are none.", fix);
        }
    }
}

/// The pattern that matches, and the template's text where there is one.
fn path<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<(gate::Pattern, Option<String>)> {
    let fix = "write a path such as /health, /paid/* (everything beneath) or /users/*/card.";
    let path = match fields.get("path") {
        None if fields.was_meant("route_template") => None,
        _ => Some(reader.required(fields, "path", fix).and_then(|node| pattern(reader, &node, fix))),
    };
    match (fields.get("route_template"), path) {
        (Some(node), path) => {
            let template = template(reader, &node);
            path.map_or(Some(()), |path| path.map(|_| ()))?;
            let template = template?;
            let text = template.as_str().to_owned();
            Some((template, Some(text)))
        }
        (None, path) => Some((path??, None)),
    }
}

fn pattern<'d>(reader: &mut Reader<'d>, node: &Node<'d>, fix: &str) -> Option<gate::Pattern> {
    let text = reader.text(node, fix)?;
    match gate::Pattern::parse(&text.value) {
        Ok(pattern) => Some(pattern),
        Err(why) => reader.mistake(&node.at, format!("{} is not a path pattern: it {why}.", text.shown()), fix),
    }
}

fn template<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<gate::Pattern> {
    let fix = "write a path with a name for each segment that differs, such as /users/:id.";
    let text = reader.text(node, fix)?;
    if let Err(why) = check_route_template(&text.value) {
        return reader.mistake(&node.at, format!("{} is not a template: it {why}.", text.shown()), fix);
    }
    pattern(reader, node, fix)
}

/// A path as it is, which the upstream gets instead of the call's.
fn rewrite<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<String> {
    let fix = "write a path as the API shall get it, such as /v1/forecast.json; nothing in it is filled in.";
    let text = reader.text(node, fix)?;
    let plain = !text.value.contains('*') && !text.value.contains("/:");
    match gate::Pattern::parse(&text.value) {
        Ok(_) if plain => Some(text.value),
        Ok(_) => reader.mistake(&node.at, format!("{} holds * or a :name.", text.shown()), fix),
        Err(why) => reader.mistake(&node.at, format!("{} is not a path: it {why}.", text.shown()), fix),
    }
}

/// The values are not repeated: they may be keys of the upstream's.
fn params<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Vec<(String, String)>> {
    let fix = "write names with a value each, such as { key: \"${API_KEY}\" }.";
    let entries = reader.entries(node, fix)?;
    if entries.len() > MAX_PARAMS {
        let what = format!("{} parameters are more than {MAX_PARAMS}.", entries.len());
        return reader.mistake(&node.at, what, "keep those that every call needs.");
    }
    let param = |entry: &Entry<'d>| {
        if entry.name.is_empty() || entry.name.len() > 100 || entry.name.chars().any(char::is_control) {
            return reader.mistake(&entry.at, "this is not the name of a parameter.", fix);
        }
        Some((entry.name.clone(), reader.text(&entry.node, fix)?.value))
    };
    let read: Vec<_> = entries.iter().map(param).collect();
    read.into_iter().collect()
}

/// Text for people, on one line, of at most so many characters.
pub(super) fn words<'d>(reader: &mut Reader<'d>, node: &Node<'d>, most: usize) -> Option<String> {
    let fix = format!("write 1 to {most} printable characters on one line.");
    let text = reader.text(node, &fix)?;
    let length = text.value.chars().count();
    if length == 0 || text.value.chars().any(char::is_control) {
        return reader.mistake(&node.at, "the text is empty or holds control characters.", fix);
    }
    if length > most {
        return reader.mistake(&node.at, format!("the text has {length} characters, more than {most}."), fix);
    }
    Some(text.value)
}

fn mime_type<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<String> {
    let fix = "write a media type, such as application/json.";
    let text = reader.text(node, fix)?;
    let good = |c: char| c.is_ascii_graphic() || c == ' ';
    let halves = text.value.split(';').next().and_then(|kind| kind.trim().split_once('/'));
    let named = halves.is_some_and(|(kind, sort)| !kind.is_empty() && !sort.is_empty() && !sort.contains('/'));
    if !named || text.value.len() > 100 || !text.value.chars().all(good) {
        return reader.mistake(&node.at, format!("{} is not a media type.", text.shown()), fix);
    }
    Some(text.value)
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
