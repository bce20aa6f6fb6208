//! The configuration: a file becomes a [`Config`] in which everything is present and checked, or all its [`Mistakes`] at once.
//!
//! It reads one file and the environment, and looks at nothing else: no name is resolved, no chain is asked, no secret is read.

mod accounts;
mod address;
mod budgets;
mod discovery;
mod ends;
mod env;
mod expand;
mod formula;
mod gas;
mod info;
mod keys;
mod limits;
mod mistake;
mod network;
mod operation;
mod pass;
mod price;
mod reader;
mod receipts;
mod refunds;
mod remote;
mod route;
mod schema;
mod secret;
mod service;
mod signer;
mod store;
mod tab;
mod tariff;
mod template;
mod url;
mod written;
mod yaml;

use std::fmt::Display;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use gate::DefaultAction;
use protocol::{Network, Payee, Payer};

pub(crate) use accounts::AccountsConfig;
pub(crate) use budgets::BudgetConfig;
pub(crate) use discovery::DiscoveryConfig;
pub(crate) use gas::GasConfig;
pub(crate) use limits::{InFlightConfig, RatesConfig};
pub(crate) use mistake::{Mistake, Mistakes};
pub(crate) use network::NetworkConfig;
pub(crate) use operation::{LogConfig, LogFormat, LogLevel, OperationConfig};
pub(crate) use pass::{PassConfig, PassesConfig, RoutePasses};
pub(crate) use price::{AcceptConfig, DueConfig, EndpointConfig, PriceConfig, TAB_DEFAULT_MAX_MICROS};
pub(crate) use receipts::{ReceiptFormat, ReceiptsConfig};
pub(crate) use refunds::RefundsConfig;
pub(crate) use remote::RemoteConfig;
pub(crate) use route::RouteConfig;
pub(crate) use schema::schema;
pub(crate) use secret::SecretSource;
#[cfg(test)]
pub(crate) use service::CallerConfig;
pub(crate) use service::ServiceConfig;
pub(crate) use signer::SignerSource;
pub(crate) use store::ReplayConfig;
pub(crate) use tab::TabConfig;
pub(crate) use template::TEMPLATE;
pub(crate) use written::{Written, changes};

use ends::ProxyKeys;
use env::Env;
use mistake::Notes;
use price::Around;
use reader::{Fields, Node, Reader};

const MAX_FILE_BYTES: usize = 1024 * 1024;
const MAX_TRUSTED_PROXIES: u64 = 16;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Where callers come in.
    pub(crate) listen: SocketAddr,
    /// The paid service. `None` validates, and is enough for a sidecar alone.
    pub(crate) target: Option<proxy::Target>,
    /// How long the upstream may take to its answer's head.
    pub(crate) timeout_ms: u64,
    /// Who is paid; the zero address for a facilitator alone, who is paid nothing.
    pub(crate) payee: Payee,
    /// What happens to a call that no route matches.
    pub(crate) default_action: DefaultAction,
    /// In order: the first that matches decides. Empty for a facilitator alone.
    pub(crate) routes: Vec<RouteConfig>,
    /// In order of preference. Empty only when every route is free.
    pub(crate) networks: Vec<NetworkConfig>,
    /// Where the settlement keys are kept, at most eight; the first seals. Without any it validates and does not start.
    pub(crate) signers: Vec<SignerSource>,
    /// What may be bid for gas, and when it is short.
    pub(crate) gas: GasConfig,
    /// Facilitators of others, who settle instead of us. Never beside signers.
    pub(crate) remote: Option<RemoteConfig>,
    /// How money is given back.
    pub(crate) refunds: RefundsConfig,
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
    /// Who signs passes.
    pub(crate) passes: PassesConfig,
    /// The key that signs offers, and what has settled.
    pub(crate) offer_signer: Option<SecretSource>,
    /// How calls get receipts. `None`: they get none.
    pub(crate) receipts: Option<ReceiptsConfig>,
    /// Whether a payment may, or must, carry an identifier.
    pub(crate) payment_identifier: IdentifierConfig,
    /// API keys with balances. `None`: there are none.
    pub(crate) accounts: Option<AccountsConfig>,
    /// What each key, or all together, may call and spend.
    pub(crate) account_budgets: Vec<BudgetConfig>,
    /// What makes this a facilitator's configuration, and not a gate's.
    pub(crate) service: Option<ServiceConfig>,
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

/// Reads a file of at most 1 MiB, and the `.env` files beside and above it. Relative paths in it start at its own folder. Where it
/// names no network and has a price, that is paid in the USDC of `default_network`, with no node to settle it.
pub(crate) fn load(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    default_network: Network,
) -> Result<Config, Mistakes> {
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
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut notes = Notes::default();
    let env = Env::load(env, folder, &mut notes);
    read(text, &name, folder, (&env, notes), default_network)
}

/// Reads the text of a file called `file`, whose relative paths start at `folder`. No `.env` file is looked for, and where the text
/// names no network it is Base Sepolia.
#[cfg(test)]
pub(crate) fn parse(
    text: &str,
    file: &str,
    folder: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Mistakes> {
    read(text, file, folder, (&Env::new(env), Notes::default()), Network::BASE_SEPOLIA)
}

fn read(
    text: &str,
    file: &str,
    folder: &Path,
    (env, notes): (&Env<'_>, Notes),
    default_network: Network,
) -> Result<Config, Mistakes> {
    let document = yaml::read(text).map_err(|broken| whole_file(file, broken.line, broken.what, broken.fix))?;
    let mut reader = Reader::new(&document, env, notes);
    let config = config(&mut reader, folder, default_network);
    reader.finish(file, config)
}

fn too_large(file: &str) -> Mistakes {
    whole_file(file, None, "the file is larger than 1 MiB.".to_owned(), "join routes with patterns, such as /paid/*.")
}

fn whole_file(file: &str, line: Option<usize>, what: String, fix: &str) -> Mistakes {
    Mistakes::one(file, Mistake { file: None, path: String::new(), line, what, fix: fix.to_owned() })
}

fn config(reader: &mut Reader<'_>, folder: &Path, default_network: Network) -> Option<Config> {
    let root = reader.root();
    let fields = &reader.fields(&root, "")?;
    let version = version(reader, fields);
    let service = service::service(reader, fields, folder);
    let (accounts, account_budgets) = accounts::accounts(reader, fields).unzip();
    let payee = paid(reader, fields);
    let listen = optional(reader, fields, "listen", ends::DEFAULT_LISTEN, ends::listen);
    let proxy = ends::proxy(reader, fields, folder, listen);
    let default_action = optional(reader, fields, "default_action", DefaultAction::Block, default_action);
    let fail_open = optional(reader, fields, "fail_mode", false, fail_open);
    let trusted_proxies = optional(reader, fields, "trusted_proxies", 0, trusted_proxies);
    let global_allowlist = optional(reader, fields, "global_allowlist", Vec::new(), address::payers);
    let tab = tab::tab(reader, fields);
    let money = money(reader, fields, (payee, tab.unwrap_or_default(), accounts.flatten()), default_network);
    let facilitator = facilitator(reader, fields, folder);
    let refunds = refunds::refunds(reader, fields, folder);
    let passes = pass::passes(reader, fields, folder);
    let store_path = store::path(reader, fields, folder);
    let replay = store::replay(reader, fields);
    let rates = limits::rates(reader, fields);
    let in_flight = limits::in_flight(reader, fields);
    let cors_origins = discovery::cors(reader, fields);
    let log = operation::log(reader, fields);
    let operation = operation::operation(reader, fields, folder, listen);
    let discovery = discovery::discovery(reader, fields);
    let public_url = ends::public_url(reader, fields, discovery.as_ref());
    let extensions = extensions(reader, fields, folder);
    let offer_signer = extensions.as_ref().and_then(|(signer, _)| signer.as_ref());
    let receipts = receipts::receipts(reader, fields, folder, offer_signer);
    let ProxyKeys { target, timeout_ms, trust_secret } = proxy?;
    let (networks, routes) = version.and(money)?;
    let (signers, gas, remote) = facilitator?;
    let (offer_signer, payment_identifier) = extensions?;
    Some(Config {
        listen: listen?,
        target,
        timeout_ms,
        payee: payee?,
        default_action: default_action?,
        routes,
        networks,
        signers,
        gas,
        remote,
        refunds: refunds?,
        passes: passes?,
        store_path: store_path?,
        replay: replay?,
        tab: tab?,
        public_url: public_url?,
        trusted_proxies: trusted_proxies?,
        global_allowlist: global_allowlist?,
        fail_open: fail_open?,
        rates: rates?,
        in_flight: in_flight?,
        cors_origins: cors_origins?,
        log: log?,
        operation: operation?,
        discovery: discovery?,
        trust_secret,
        offer_signer,
        receipts: receipts?,
        payment_identifier,
        accounts: accounts?,
        account_budgets: account_budgets?,
        service: service?,
    })
}

/// Who is paid: a facilitator is not.
fn paid<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<Payee> {
    if fields.get("service").is_none() { address::provider(reader, fields) } else { Some(service::NOBODY) }
}

/// Reads the `networks` of a facilitator.
fn chains<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<Vec<NetworkConfig>> {
    let fix = "write the networks to settle on, such as networks: { \"eip155:8453\": { rpc_urls: [\"http://127.0.0.1:8545\"] } }.";
    let node = reader.required(fields, "networks", fix)?;
    network::networks(reader, &node, &mut Vec::new(), true)
}

/// Reads `networks` and `routes`. Where the file has a price and names no network, the default one stands in.
fn money<'d>(
    reader: &mut Reader<'d>,
    fields: &Fields<'d>,
    (payee, tab, accounts): (Option<Payee>, TabConfig, Option<AccountsConfig>),
    default_network: Network,
) -> Option<(Vec<NetworkConfig>, Vec<RouteConfig>)> {
    if fields.get("service").is_some() {
        return chains(reader, fields).map(|networks| (networks, Vec::new()));
    }
    let mut tokens = Vec::new();
    // Whatever is wrong with them: where other facilitators are meant to settle, a network needs no node.
    let needs_node = !fields.get("facilitator").is_some_and(|node| node.has("urls"));
    let networks = optional(reader, fields, "networks", Vec::new(), |reader, node| {
        network::networks(reader, node, &mut tokens, needs_node)
    });
    let named = networks.as_ref().is_none_or(|networks| !networks.is_empty()) || misspelt(fields, "networks");
    let default = (!named).then(|| NetworkConfig::default_on(default_network)).flatten();
    tokens.extend(default.iter().flat_map(|network| network.tokens.clone()));
    let fix = "write a list of routes, each with a path and a price or `free: true`.";
    let routes = reader.required(fields, "routes", fix).and_then(|node| {
        let all_tokens = networks.is_some() && !misspelt(fields, "networks");
        let has_accounts = fields.was_meant("accounts");
        route::routes(reader, &node, &Around { tokens: &tokens, all_tokens, payee, tab, accounts, has_accounts })
    })?;
    let mut networks = networks?;
    if routes.iter().any(|route| route.price != PriceConfig::Free) {
        networks.extend(default);
    }
    Some((networks, routes))
}

/// Whether a key is not there, and one that was probably meant to be it.
fn misspelt(fields: &Fields<'_>, name: &str) -> bool {
    fields.was_meant(name) && fields.get(name).is_none()
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

fn default_action<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<DefaultAction> {
    let fix = "write block, or passthrough to forward unknown calls unpaid.";
    let text = reader.text(node, fix)?;
    match text.value.as_str() {
        "block" => Some(DefaultAction::Block),
        "passthrough" => Some(DefaultAction::Passthrough),
        _ => reader.mistake(&node.at, format!("{} is not an action.", text.shown()), fix),
    }
}

fn fail_open<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<bool> {
    let fix = "write closed, or open to forward calls unpaid while nobody can verify payments.";
    let text = reader.text(node, fix)?;
    match text.value.as_str() {
        "closed" => Some(false),
        "open" => Some(true),
        _ => reader.mistake(&node.at, format!("{} is neither closed nor open.", text.shown()), fix),
    }
}

fn trusted_proxies<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<usize> {
    let count = reader.whole(node, 0..=MAX_TRUSTED_PROXIES, "proxies")?;
    usize::try_from(count).ok()
}

fn extensions<'d>(
    reader: &mut Reader<'d>,
    fields: &Fields<'d>,
    folder: &Path,
) -> Option<(Option<SecretSource>, IdentifierConfig)> {
    let fields = reader.section(fields, "extensions", "extensions")?;
    let signer =
        optional(reader, &fields, "offer_signer", None, |reader, node| secret::source(reader, node, folder).map(Some));
    let identifier = optional(reader, &fields, "payment_identifier", IdentifierConfig::Unsaid, |reader, node| {
        let fix = "write optional or required.";
        let text = reader.text(node, fix)?;
        match text.value.as_str() {
            "optional" => Some(IdentifierConfig::Optional),
            "required" => Some(IdentifierConfig::Required),
            _ => reader.mistake(&node.at, format!("{} is neither optional nor required.", text.shown()), fix),
        }
    });
    Some((signer?, identifier?))
}

/// Who settles: keys of ours, or facilitators of others.
type Settling = (Vec<SignerSource>, GasConfig, Option<RemoteConfig>);

fn facilitator<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>, folder: &Path) -> Option<Settling> {
    let fields = reader.section(fields, "facilitator", "facilitator")?;
    let signers = signer::signers(reader, &fields, folder);
    let gas = gas::gas(reader, &fields);
    let remote = remote::remote(reader, &fields, folder);
    if (fields.get("signer").is_some() || fields.get("signers").is_some()) && fields.get("urls").is_some() {
        let what = "there are a signer and urls: it is not clear who settles.";
        let fix = "keep signer to settle with a key of yours, or urls to let other facilitators settle.";
        return reader.mistake(&fields.at, what, fix);
    }
    Some((signers?, gas?, remote?))
}

#[cfg(test)]
mod compat_tests;
#[cfg(test)]
mod env_tests;
#[cfg(test)]
mod mistake_tests;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod tests;
