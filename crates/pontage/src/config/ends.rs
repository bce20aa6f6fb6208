//! Where callers come in, and where their calls go.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::reader::{Fields, Node, Reader};
use super::url::{origin, origin_of};
use super::{DiscoveryConfig, SecretSource, optional, secret};

pub(super) const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8402);
const DEFAULT_TIMEOUT_MS: u64 = 30_000;
const MAX_TIMEOUT_MS: u64 = 600_000;

/// `proxy`.
pub(super) struct ProxyKeys {
    pub(super) target: Option<proxy::Target>,
    pub(super) timeout_ms: u64,
    pub(super) trust_secret: Option<SecretSource>,
}

/// Reads an address to listen on.
pub(super) fn listen<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<SocketAddr> {
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

/// Reads `proxy`. A target that is `listen` itself is refused: every call would come back.
pub(super) fn proxy<'d>(
    reader: &mut Reader<'d>,
    fields: &Fields<'d>,
    folder: &Path,
    listen: Option<SocketAddr>,
) -> Option<ProxyKeys> {
    let fields = reader.section(fields, "proxy", "proxy")?;
    let target = optional(reader, &fields, "target", None, |reader, node| target(reader, node, listen).map(Some));
    let timeout_ms = optional(reader, &fields, "timeout", DEFAULT_TIMEOUT_MS, timeout_ms);
    let trust_secret =
        optional(reader, &fields, "trust_secret", None, |reader, node| secret::source(reader, node, folder).map(Some));
    Some(ProxyKeys { target: target?, timeout_ms: timeout_ms?, trust_secret: trust_secret? })
}

fn target<'d>(reader: &mut Reader<'d>, node: &Node<'d>, listen: Option<SocketAddr>) -> Option<proxy::Target> {
    let fix = "write the origin of your API, such as target: \"http://127.0.0.1:3000\".";
    let text = reader.text(node, fix)?;
    match proxy::Target::parse(&text.value) {
        Ok(target) if listen.is_some_and(|listen| is_self(&target, listen)) => {
            reader.mistake(&node.at, "pontage itself listens there: every call would come back to it.", fix)
        }
        Ok(target) => Some(target),
        Err(why) => reader.mistake(&node.at, format!("{} is not a target: {why}.", text.shown()), fix),
    }
}

/// Whether a target is where pontage listens, as far as that is said without asking for names.
fn is_self(target: &proxy::Target, listen: SocketAddr) -> bool {
    let host = match target.host() {
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        host => host.parse::<IpAddr>().ok(),
    };
    let own = |host: IpAddr| {
        let local = host.is_loopback() || host.is_unspecified();
        host == listen.ip()
            || (local && (listen.ip().is_unspecified() || listen.ip().is_loopback() && host.is_unspecified()))
    };
    target.port() == listen.port() && host.is_some_and(own)
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

/// Reads `public_url`. Without it the origin of the service's public address is taken.
pub(super) fn public_url<'d>(
    reader: &mut Reader<'d>,
    fields: &Fields<'d>,
    discovery: Option<&DiscoveryConfig>,
) -> Option<Option<String>> {
    let fix = "write the origin that callers know, such as \"https://api.example.com\".";
    let known = discovery.and_then(|discovery| origin_of(discovery.base_url.as_deref()?));
    optional(reader, fields, "public_url", known, |reader, node| origin(reader, node, fix).map(Some))
}
