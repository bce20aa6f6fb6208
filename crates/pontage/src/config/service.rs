//! A facilitator for the resource servers of others: a configuration with `service` is one, and is no gate.

use std::path::Path;

use alloy_primitives::Address;
use gate::Rate;
use protocol::Payee;

use super::keys::beneath;
use super::limits::rate;
use super::reader::{Fields, Node, Reader};
use super::{SecretSource, address, optional, secret};

const MAX_CALLERS: usize = 1_000;
const NAME_MAX_CHARS: usize = 64;
const CALLERS_FIX: &str =
    "write a list of callers, each with a name and a bearer, such as - { name: shop, bearer: { env: SHOP_TOKEN } }.";
/// What the facilitator reads of the keys at the top.
const KEYS: [&str; 9] =
    ["version", "listen", "trusted_proxies", "networks", "facilitator", "store", "log", "admin", "service"];

/// `service`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceConfig {
    /// Who may ask, by a token.
    pub(crate) callers: Vec<CallerConfig>,
    /// Whether anybody may.
    pub(crate) open: bool,
    /// For each address: what it asks without a token. `None` is no limit.
    pub(crate) rate_limit: Option<Rate>,
    /// Whether payers of whom a payment was settled here are verified without a look at the chain.
    pub(crate) verify_local: bool,
    /// Whether what is settled here is listed under `/discovery`.
    pub(crate) discovery: bool,
}

/// One of `service.callers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallerConfig {
    /// For the log and the metrics.
    pub(crate) name: String,
    /// Where the token is kept that the caller shows.
    pub(crate) bearer: SecretSource,
    /// How much it may ask. `None` is no limit.
    pub(crate) rate_limit: Option<Rate>,
    /// For whom it may settle; anybody where it is empty.
    pub(crate) pay_to: Vec<Payee>,
}

/// Reads `service`. `None` inside for a gate's configuration.
pub(super) fn service<'d>(
    reader: &mut Reader<'d>,
    fields: &Fields<'d>,
    folder: &Path,
) -> Option<Option<ServiceConfig>> {
    let Some(node) = fields.get("service") else { return Some(None) };
    let mut fits = Some(());
    for name in beneath("") {
        // What the environment says for all programs of a machine is not written for this one.
        if let Some(node) = fields.get(name).filter(|node| node.at.line > 0)
            && !KEYS.contains(&name)
            && name != "telemetry"
        {
            let what = "this is for a gate, and `service` makes this file a facilitator's.";
            fits = reader.mistake(&node.at, what, "write a file for each of the two.");
        }
    }
    let fields = reader.fields(&node, "service")?;
    let callers = optional(reader, &fields, "callers", Vec::new(), |reader, node| callers(reader, node, folder));
    let open = optional(reader, &fields, "open", false, |reader, node| reader.truth(node));
    let rate_limit = optional(reader, &fields, "rate_limit", Some(Rate::new(1_000, 60_000)), rate);
    let verify_local = optional(reader, &fields, "verify", false, super::tab::verify_local);
    let discovery = optional(reader, &fields, "discovery", true, |reader, node| reader.truth(node));
    let (rate_limit, verify_local) = (rate_limit?, verify_local?);
    let config = ServiceConfig { callers: callers?, open: open?, rate_limit, verify_local, discovery: discovery? };
    fits?;
    if config.callers.is_empty() && !config.open && !fields.refused() {
        let fix = format!("{CALLERS_FIX} Or write open: true, to settle for anybody at the cost of your gas.");
        return reader.mistake(&node.at, "nobody may ask this facilitator.", fix);
    }
    Some(Some(config))
}

/// Who is paid where nobody is: a facilitator sells nothing.
pub(super) const NOBODY: Payee = Payee(Address::ZERO);

fn callers<'d>(reader: &mut Reader<'d>, node: &Node<'d>, folder: &Path) -> Option<Vec<CallerConfig>> {
    let items = reader.items(node, CALLERS_FIX)?;
    if items.len() > MAX_CALLERS {
        let what = format!("{} callers are more than {MAX_CALLERS}.", items.len());
        return reader.mistake(&node.at, what, "run several facilitators.");
    }
    let read: Vec<_> = items.iter().map(|item| caller(reader, item, folder)).collect();
    let callers: Vec<CallerConfig> = read.into_iter().collect::<Option<_>>()?;
    for (at, caller) in callers.iter().enumerate() {
        if let (true, Some(item)) = (callers.iter().take(at).any(|other| other.name == caller.name), items.get(at)) {
            return reader.mistake(&item.at, "another caller has the same name.", "give each a name of its own.");
        }
    }
    Some(callers)
}

fn caller<'d>(reader: &mut Reader<'d>, node: &Node<'d>, folder: &Path) -> Option<CallerConfig> {
    let fields = reader.fields(node, "service.callers[]")?;
    let name = reader.required(&fields, "name", CALLERS_FIX).and_then(|node| name(reader, &node));
    let bearer = reader
        .required(&fields, "bearer", "write bearer: { env: NAME } with the name of an environment variable.")
        .and_then(|node| secret::source(reader, &node, folder));
    let rate_limit = optional(reader, &fields, "rate_limit", None, rate);
    let pay_to = optional(reader, &fields, "pay_to", Vec::new(), |reader, node| {
        let payers = address::payers(reader, node)?;
        Some(payers.into_iter().map(|payer| Payee(payer.0)).collect())
    });
    Some(CallerConfig { name: name?, bearer: bearer?, rate_limit: rate_limit?, pay_to: pay_to? })
}

fn name<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<String> {
    let fix = "write 1 to 64 letters, digits, dots, dashes or underscores.";
    let text = reader.text(node, fix)?;
    let plain = text.value.chars().all(|char| char.is_ascii_alphanumeric() || "._-".contains(char));
    if !plain || text.value.is_empty() || text.value.len() > NAME_MAX_CHARS {
        return reader.mistake(&node.at, format!("{} is not a name.", text.shown()), fix);
    }
    Some(text.value)
}
