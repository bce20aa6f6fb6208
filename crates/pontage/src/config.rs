//! The configuration: a file becomes a [`Config`] in which everything is present and checked, or all its [`Mistakes`] at once.
//!
//! It reads one file and the environment, and looks at nothing else: no name is resolved, no chain is asked, no secret is read.

mod expand;
mod keys;
mod limits;
mod mistake;
mod network;
mod operation;
mod reader;
mod remote;
mod route;
mod secret;
mod tab;
mod template;
mod written;
mod yaml;

use std::fmt::Display;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use gate::DefaultAction;
use protocol::{Payee, Payer};

pub(crate) use limits::{InFlightConfig, RatesConfig};
pub(crate) use mistake::{Mistake, Mistakes};
pub(crate) use network::NetworkConfig;
pub(crate) use operation::{DiscoveryConfig, LogConfig, LogFormat, LogLevel, OperationConfig};
pub(crate) use remote::RemoteConfig;
pub(crate) use route::{AcceptConfig, DueConfig, EndpointConfig, FixedPrice, PriceConfig, RouteConfig};
pub(crate) use secret::SecretSource;
pub(crate) use tab::TabConfig;
pub(crate) use template::TEMPLATE;
pub(crate) use written::{Written, changes};

use reader::{Fields, Node, Reader};

const MAX_FILE_BYTES: usize = 1024 * 1024;
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8402);
const DEFAULT_TIMEOUT_MS: u64 = 30_000;
const MAX_TIMEOUT_MS: u64 = 600_000;
const DEFAULT_STORE: &str = "pontage.db";
const MIB: u64 = 1024 * 1024;
/// The most that an answer's head may have.
const HEAD_BYTES: u64 = 64 * 1024;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Where callers come in.
    pub(crate) listen: SocketAddr,
    /// The paid service.
    pub(crate) target: proxy::Target,
    /// How long the upstream may take to its answer's head.
    pub(crate) timeout_ms: u64,
    /// Who is paid; never the zero address.
    pub(crate) payee: Payee,
    /// What happens to a call that no route matches.
    pub(crate) default_action: DefaultAction,
    /// In order: the first that matches decides. Never empty.
    pub(crate) routes: Vec<RouteConfig>,
    /// In order of preference. Empty only when every route is free.
    pub(crate) networks: Vec<NetworkConfig>,
    /// Where the settlement key is kept. `None` validates and does not start.
    pub(crate) signer: Option<SecretSource>,
    /// Facilitators of others, who settle instead of us. Never beside a signer.
    pub(crate) remote: Option<RemoteConfig>,
    /// The journal.
    pub(crate) store_path: PathBuf,
    /// How replays are answered.
    pub(crate) replay: ReplayConfig,
    /// What may be served before it is settled.
    pub(crate) tab: TabConfig,
    /// The gate's own origin as callers know it, `https://host[:port]` without a path: for resource URLs and sign-in.
    /// Without it a caller's `Host` is taken.
    pub(crate) public_url: Option<String>,
    /// How many proxies of the operator's stand between callers and this gate.
    pub(crate) trusted_proxies: usize,
    /// Who passes unpaid everywhere, by proof of the key.
    pub(crate) global_allowlist: Vec<Payer>,
    /// Whether calls are let through unpaid while nobody can verify payments.
    pub(crate) fail_open: bool,
    /// Token buckets.
    pub(crate) rates: RatesConfig,
    /// Calls at once.
    pub(crate) in_flight: InFlightConfig,
    /// Which origins of web pages may read answers; `*` is any. Empty: the gate adds no CORS words.
    pub(crate) cors_origins: Vec<String>,
    /// The log.
    pub(crate) log: LogConfig,
    /// Metrics and traces.
    pub(crate) operation: OperationConfig,
    /// What the public is told.
    pub(crate) discovery: DiscoveryConfig,
    /// The key of the HMAC over `X-Pay-*`.
    pub(crate) trust_secret: Option<SecretSource>,
    /// The key that signs offers and receipts.
    pub(crate) offer_signer: Option<SecretSource>,
    /// Whether a payment may, or must, carry an identifier.
    pub(crate) payment_identifier: IdentifierConfig,
}

/// `extensions.payment_identifier`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IdentifierConfig {
    /// The challenge does not speak of it; one that comes is honoured.
    #[default]
    Unsaid,
    /// The challenge asks for one.
    Optional,
    /// A payment without one is refused.
    Required,
}

/// How a credential that was used before is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplayConfig {
    /// How long a duplicate waits for the first call's end.
    pub(crate) wait_ms: u64,
    /// The largest answer that is kept.
    pub(crate) answer_max_bytes: u64,
    /// All kept answers together.
    pub(crate) answers_max_bytes: u64,
    /// How long an answer is kept.
    pub(crate) answers_keep_s: u64,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self { wait_ms: 10_000, answer_max_bytes: MIB, answers_max_bytes: 256 * MIB, answers_keep_s: 3_600 }
    }
}

/// Reads a file of at most 1 MiB. Relative paths in it start at its own folder.
pub(crate) fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Mistakes> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let unreadable = |why: &dyn Display| {
        let what = format!("the file cannot be read: {why}.");
        whole_file(&name, None, what, "check the path and its permissions, or write a new file with `pontage init`.")
    };
    let file = std::fs::File::open(path).map_err(|why| unreadable(&why))?;
    let mut bytes = Vec::new();
    let limit = MAX_FILE_BYTES as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(|why| unreadable(&why))?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(too_large(&name));
    }
    let text = std::str::from_utf8(&bytes).map_err(|why| {
        let before = bytes.iter().take(why.valid_up_to());
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        whole_file(&name, Some(line), "the file is not UTF-8 text.".to_owned(), "save it as UTF-8.")
    })?;
    parse(text, &name, path.parent().unwrap_or(Path::new("")), env)
}

/// Reads the text of a file called `file`, whose relative paths start at `folder`.
pub(crate) fn parse(
    text: &str,
    file: &str,
    folder: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Mistakes> {
    if text.len() > MAX_FILE_BYTES {
        return Err(too_large(file));
    }
    let document = yaml::read(text).map_err(|broken| whole_file(file, broken.line, broken.what, broken.fix))?;
    let mut reader = Reader::new(&document, env);
    let config = config(&mut reader, folder);
    reader.finish(file, config)
}

fn too_large(file: &str) -> Mistakes {
    whole_file(file, None, "the file is larger than 1 MiB.".to_owned(), "join routes with patterns, such as /paid/*.")
}

fn whole_file(file: &str, line: Option<usize>, what: String, fix: &str) -> Mistakes {
    Mistakes::one(file, Mistake { path: String::new(), line, what, fix: fix.to_owned() })
}

fn config(reader: &mut Reader<'_>, folder: &Path) -> Option<Config> {
    let root = reader.root();
    let fields = reader.fields(&root, "")?;
    let version = version(reader, &fields);
    let payee = payee(reader, &fields);
    let listen = optional(reader, &fields, "listen", DEFAULT_LISTEN, listen);
    let proxy = proxy(reader, &fields);
    let default_action = optional(reader, &fields, "default_action", DefaultAction::Block, default_action);
    let mut tokens = Vec::new();
    let facilitator =
        optional(reader, &fields, "facilitator", (None, None), |reader, node| facilitator(reader, node, folder));
    // Whatever is wrong with them: where other facilitators are meant to settle, a network needs no node.
    let needs_node = !fields.get("facilitator").is_some_and(|node| node.has("urls"));
    let networks = optional(reader, &fields, "networks", Vec::new(), |reader, node| {
        network::networks(reader, node, &mut tokens, needs_node)
    });
    let tab = tab::tab(reader, &fields);
    let routes = reader
        .required(&fields, "routes", "write a list of routes, each with a path and a price or `free: true`.")
        .and_then(|node| {
            let around = route::Around { tokens: &tokens, payee, tab: tab.unwrap_or_default() };
            route::routes(reader, &node, &around)
        });
    check_networks(reader, &fields, networks.as_deref());
    let default_store = folder.join(DEFAULT_STORE);
    let store_path = optional(reader, &fields, "store", default_store, |reader, node| store(reader, node, folder));
    let replay = optional(reader, &fields, "replay", ReplayConfig::default(), replay);
    version?;
    let (target, timeout_ms) = proxy?;
    let (signer, remote) = facilitator?;
    Some(Config {
        listen: listen?,
        target,
        timeout_ms,
        payee: payee?,
        default_action: default_action?,
        routes: routes?,
        networks: networks?,
        signer,
        remote,
        store_path: store_path?,
        replay: replay?,
        tab: tab?,
        public_url: None,
        trusted_proxies: 0,
        global_allowlist: Vec::new(),
        fail_open: false,
        rates: RatesConfig::default(),
        in_flight: InFlightConfig::default(),
        cors_origins: vec!["*".to_owned()],
        log: LogConfig::default(),
        operation: OperationConfig::default(),
        discovery: DiscoveryConfig::default(),
        trust_secret: None,
        offer_signer: None,
        payment_identifier: IdentifierConfig::default(),
    })
}

/// The value of a key that may be left out: `default` then, and `None` only after a mistake.
fn optional<'d, T>(
    reader: &mut Reader<'d>,
    fields: &Fields<'d>,
    name: &str,
    default: T,
    read: impl FnOnce(&mut Reader<'d>, &Node<'d>) -> Option<T>,
) -> Option<T> {
    match fields.get(name) {
        Some(node) => read(reader, &node),
        None => Some(default),
    }
}

fn version<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<()> {
    let fix = "write version: 1.";
    let node = reader.required(fields, "version", fix)?;
    let text = reader.text(&node, fix)?;
    match text.value.as_str() {
        "1" => Some(()),
        _ => reader.mistake(&node.at, format!("{} is not a version that this pontage reads.", text.shown()), fix),
    }
}

fn payee<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<Payee> {
    let fix = "write the address that shall be paid: 0x and 40 hex digits. Its key is not needed.";
    let node = reader.required(fields, "provider_address", fix)?;
    let text = reader.text(&node, fix)?;
    match text.value.parse::<Payee>() {
        Ok(payee) if payee.0.is_zero() => {
            let what = "this is the zero address: what is paid to it is lost.";
            reader.mistake(&node.at, what, fix)
        }
        Ok(payee) => Some(payee),
        Err(why) => reader.mistake(&node.at, format!("{} {why}.", text.shown()), fix),
    }
}

fn listen<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<SocketAddr> {
    let fix = "write an IP address and a port, such as \"127.0.0.1:8402\", or a port alone for 127.0.0.1.";
    let text = reader.text(node, fix)?;
    let local = text.value.strip_prefix("localhost:").unwrap_or(&text.value);
    let address = match local.bytes().all(|b| b.is_ascii_digit()) {
        true => local.parse().ok().map(|port| SocketAddr::new(DEFAULT_LISTEN.ip(), port)),
        false => text.value.parse().ok(),
    };
    match address {
        Some(address) => Some(address),
        None => reader.mistake(&node.at, format!("{} is not an address to listen on.", text.shown()), fix),
    }
}

fn proxy<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<(proxy::Target, u64)> {
    let fix = "write the origin of your API, such as target: \"http://127.0.0.1:3000\".";
    let node = reader.required(fields, "proxy", "write `proxy:` with the target beneath it.")?;
    let fields = reader.fields(&node, "proxy")?;
    let target = reader.required(&fields, "target", fix).and_then(|node| {
        let text = reader.text(&node, fix)?;
        match proxy::Target::parse(&text.value) {
            Ok(target) => Some(target),
            Err(why) => reader.mistake(&node.at, format!("{} is not a target: {why}.", text.shown()), fix),
        }
    });
    let timeout_ms = optional(reader, &fields, "timeout", DEFAULT_TIMEOUT_MS, timeout_ms);
    Some((target?, timeout_ms?))
}

fn timeout_ms<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<u64> {
    let fix = "write a whole number with a unit, such as 500ms, 30s or 2m; from 1ms to 10m.";
    let text = reader.text(node, fix)?;
    let end = text.value.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.value.len());
    let (digits, unit) = text.value.split_at(end);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "" if !digits.is_empty() => {
            return reader.mistake(&node.at, format!("{} has no unit.", text.shown()), fix);
        }
        _ => {
            return reader.mistake(&node.at, format!("{} is not a length of time.", text.shown()), fix);
        }
    };
    if digits.is_empty() {
        return reader.mistake(&node.at, format!("{} is not a length of time.", text.shown()), fix);
    }
    let ms = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit_ms));
    match ms.filter(|ms| (1..=MAX_TIMEOUT_MS).contains(ms)) {
        Some(ms) => Some(ms),
        None => reader.mistake(&node.at, format!("{} is out of range.", text.shown()), fix),
    }
}

fn default_action<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<DefaultAction> {
    let fix = "write block, or passthrough to forward unknown calls unpaid.";
    let text = reader.text(node, fix)?;
    match text.value.as_str() {
        "block" => Some(DefaultAction::Block),
        "passthrough" => Some(DefaultAction::Passthrough),
        _ => reader.mistake(&node.at, format!("{} is not an action.", text.shown()), fix),
    }
}

/// A price needs a network to be paid on. Where the networks have mistakes of their own, nothing is added to them.
fn check_networks(reader: &mut Reader<'_>, fields: &Fields<'_>, networks: Option<&[NetworkConfig]>) {
    let written = fields.get("networks");
    let mistyped = written.is_none() && fields.was_meant("networks");
    // Looked up in the tree, not in the routes: those may have mistakes of their own.
    let priced = fields.get("routes").and_then(|routes| routes.first_item_with("price"));
    if let (Some(price_line), Some([]), false) = (priced, networks, mistyped) {
        let line = written.map_or(fields.at.line, |node| node.at.line);
        let what = format!("line {price_line} has a price, and there is no network to pay it on.");
        let fix = "write `networks:` with a network beneath it, such as \"eip155:8453\": { rpc_urls: [\"http://127.0.0.1:8545\"] }.";
        reader.mistake::<()>(&fields.at.key("networks", line), what, fix);
    }
}

/// Who settles: a key of ours, or facilitators of others.
type Settling = (Option<SecretSource>, Option<RemoteConfig>);

fn facilitator<'d>(reader: &mut Reader<'d>, node: &Node<'d>, folder: &Path) -> Option<Settling> {
    let fields = reader.fields(node, "facilitator")?;
    let signer =
        optional(reader, &fields, "signer", None, |reader, node| secret::source(reader, node, folder).map(Some));
    let remote = remote::remote(reader, &fields, folder);
    if fields.get("signer").is_some() && fields.get("urls").is_some() {
        let what = "there are a signer and urls: it is not clear who settles.";
        let fix = "keep signer to settle with a key of yours, or urls to let other facilitators settle.";
        return reader.mistake(&node.at, what, fix);
    }
    Some((signer?, remote?))
}

fn store<'d>(reader: &mut Reader<'d>, node: &Node<'d>, folder: &Path) -> Option<PathBuf> {
    let fields = reader.fields(node, "store")?;
    let default = folder.join(DEFAULT_STORE);
    optional(reader, &fields, "path", default, |reader, node| store_path(reader, node, folder))
}

fn store_path<'d>(reader: &mut Reader<'d>, node: &Node<'d>, folder: &Path) -> Option<PathBuf> {
    let fix = "write the path of a file, such as pontage.db; it is created if it is not there.";
    let text = reader.text(node, fix)?;
    let value = &text.value;
    // SQLite takes some names for something else than a file, and the books would be gone with the process.
    let special = value.starts_with(':') || value.starts_with("file:");
    if value.is_empty() || special || value.ends_with('/') || value.chars().any(char::is_control) {
        return reader.mistake(&node.at, format!("{} is not the path of a file.", text.shown()), fix);
    }
    Some(folder.join(value))
}

fn replay<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<ReplayConfig> {
    let fields = reader.fields(node, "replay")?;
    let default = ReplayConfig::default();
    let mut number = |name: &str, default: u64, most: u64, unit: &str| {
        optional(reader, &fields, name, default, |reader, node| reader.whole(node, 0..=most, unit))
    };
    let wait_ms = number("wait_ms", default.wait_ms, 60_000, "milliseconds");
    let answer_max_bytes = number("answer_max_bytes", default.answer_max_bytes, 64 * MIB, "bytes");
    let answers_max_bytes = number("answers_max_bytes", default.answers_max_bytes, MIB * MIB, "bytes");
    let answers_keep_s = number("answers_keep_s", default.answers_keep_s, 30 * 86_400, "seconds");
    let config = ReplayConfig {
        wait_ms: wait_ms?,
        answer_max_bytes: answer_max_bytes?,
        answers_max_bytes: answers_max_bytes?,
        answers_keep_s: answers_keep_s?,
    };
    if config.answers_max_bytes < config.answer_max_bytes.saturating_add(HEAD_BYTES) {
        let what = "answers_max_bytes has no room for one answer of answer_max_bytes and its head (64 KiB).";
        return reader.mistake(&node.at, what, "raise answers_max_bytes, or lower answer_max_bytes.");
    }
    Some(config)
}

#[cfg(test)]
mod mistake_tests;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod tests;
