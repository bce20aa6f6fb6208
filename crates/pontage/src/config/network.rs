//! Networks, their nodes and the tokens that are taken there.

use std::fmt;

use facilitator::engine::{FinalAt, Finality};
use protocol::{Asset, AssetAddress, AssetInfo, Network};

use super::optional;
use super::reader::{At, Entry, Fields, Node, Reader};
use super::url::check_url;

const MAX_NETWORKS: usize = 32;
const MAX_TOKENS: usize = 16;
/// What a node may be behind the others where the file does not say.
const LAG_BLOCKS: u64 = 3;
/// An offer takes about 300 bytes of the challenge's header, of which clients and proxies take 8 KiB.
const MAX_OFFERS: usize = 24;
const MAX_DECIMALS: u64 = 36;
const MAX_CONFIRMATIONS: u64 = 64;
const MAX_FINAL_BLOCKS: u64 = 10_000;
const FINAL_FIX: &str = "write safe, finalized, or how many blocks must be on top, such as final: 12.";
const NETWORKS_FIX: &str = "write a network by its CAIP-2 id, such as eip155:8453, with rpc_urls beneath it.";
/// How many nodes of one network are asked.
const MAX_NODES: usize = 8;
const MAX_LAG_BLOCKS: u64 = 1_000;
const MAX_AGREE: u64 = 3;
const RPC_FIX: &str = "write a list of addresses, such as rpc_urls: [\"http://127.0.0.1:8545\"].";
const ASSETS_FIX: &str = "write `usdc`, or a token as { address, name, version, decimals }.";

/// One network that payments are taken on.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NetworkConfig {
    /// Which chain.
    pub(crate) network: Network,
    /// Its nodes in order of preference; none where facilitators of others settle. May hold an access key, so `Debug` leaves them out.
    pub(crate) rpc_urls: Vec<String>,
    /// How many blocks a node may be behind the others and is read from all the same.
    pub(crate) rpc_lag_blocks: u64,
    /// How many nodes must say the same of what money depends on; at most as many as there are.
    pub(crate) rpc_agree: usize,
    /// How deep a payment must be there.
    pub(crate) finality: Finality,
    /// The tokens that are taken, in order of preference; at least one. What they say is not yet compared with the chain.
    pub(crate) tokens: Vec<AssetInfo>,
}

impl fmt::Debug for NetworkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkConfig")
            .field("network", &self.network)
            .field("rpc_urls", &"***")
            .field("rpc_lag_blocks", &self.rpc_lag_blocks)
            .field("rpc_agree", &self.rpc_agree)
            .field("finality", &self.finality)
            .field("tokens", &self.tokens)
            .finish()
    }
}

impl NetworkConfig {
    /// What stands in where the file names no network: its USDC, and no node. `None` where pontage knows no USDC there.
    pub(super) fn default_on(network: Network) -> Option<Self> {
        let (rpc_urls, finality) = (Vec::new(), Finality::default());
        let tokens = vec![AssetInfo::usdc(network)?];
        Some(Self { network, rpc_urls, rpc_lag_blocks: LAG_BLOCKS, rpc_agree: 1, finality, tokens })
    }
}

/// Reads `networks`. `tokens` takes every token that was read, also of a network that has a mistake elsewhere.
pub(super) fn networks<'d>(
    reader: &mut Reader<'d>,
    node: &Node<'d>,
    tokens: &mut Vec<AssetInfo>,
    needs_node: bool,
) -> Option<Vec<NetworkConfig>> {
    let entries = reader.entries(node, NETWORKS_FIX)?;
    if entries.len() > MAX_NETWORKS {
        let what = format!("{} networks are more than {MAX_NETWORKS}.", entries.len());
        return reader.mistake(&node.at, what, "remove the networks that nobody pays on.");
    }
    let read: Vec<_> = entries.iter().map(|entry| network(reader, entry, tokens, needs_node)).collect();
    if tokens.len() > MAX_OFFERS {
        let what = format!("{} tokens on all networks together are more than {MAX_OFFERS}.", tokens.len());
        return reader.mistake(&node.at, what, "remove tokens: every 402 lists them all in one header.");
    }
    read.into_iter().collect()
}

fn network<'d>(
    reader: &mut Reader<'d>,
    entry: &Entry<'d>,
    all_tokens: &mut Vec<AssetInfo>,
    needs_node: bool,
) -> Option<NetworkConfig> {
    let network = network_id(reader, entry);
    let fields = reader.fields(&entry.node, "networks.<caip2>")?;
    let rpc_urls = match fields.get("rpc_urls") {
        None if !needs_node && !fields.was_meant("rpc_urls") => Some(Vec::new()),
        _ => rpc_urls(reader, &fields),
    };
    let rpc_lag_blocks = optional(reader, &fields, "rpc_lag_blocks", LAG_BLOCKS, |reader, node| {
        reader.whole(node, 0..=MAX_LAG_BLOCKS, "blocks")
    });
    let rpc_agree = optional(reader, &fields, "rpc_agree", 1, |reader, node| agree(reader, node, rpc_urls.as_deref()));
    let finality = optional(reader, &fields, "finality", Finality::default(), finality);
    let tokens = match (fields.get("assets"), network) {
        (Some(node), _) => assets(reader, &node, network),
        (None, Some(network)) if !fields.was_meant("assets") => default_token(reader, &entry.at, network),
        (None, _) => None,
    };
    all_tokens.extend(tokens.iter().flatten().cloned());
    Some(NetworkConfig {
        network: network?,
        rpc_urls: rpc_urls?,
        rpc_lag_blocks: rpc_lag_blocks?,
        rpc_agree: rpc_agree?,
        finality: finality?,
        tokens: tokens?,
    })
}

fn finality<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Finality> {
    let fields = reader.fields(node, "networks.<caip2>.finality")?;
    let default = Finality::default();
    let confirmations = optional(reader, &fields, "confirmations", default.confirmations, |reader, node| {
        reader.whole(node, 1..=MAX_CONFIRMATIONS, "blocks")
    });
    let last = optional(reader, &fields, "final", default.last, |reader, node| {
        match reader.text(node, FINAL_FIX)?.value.as_str() {
            "safe" => Some(FinalAt::Safe),
            "finalized" => Some(FinalAt::Finalized),
            text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                reader.whole(node, 1..=MAX_FINAL_BLOCKS, "blocks").map(FinalAt::Blocks)
            }
            _ => reader.mistake(&node.at, "this is neither a block that nodes name nor a number.", FINAL_FIX),
        }
    });
    let finality = Finality { confirmations: confirmations?, last: last? };
    match finality.last {
        FinalAt::Blocks(blocks) if finality.confirmations > blocks.saturating_add(1) => {
            let what = "a payment would be final before it is settled.";
            reader.mistake(&node.at, what, "write a higher number for final, or a lower one for confirmations.")
        }
        FinalAt::Blocks(_) | FinalAt::Safe | FinalAt::Finalized => Some(finality),
    }
}

fn network_id(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<Network> {
    if let Ok(network) = entry.name.parse() {
        return Some(network);
    }
    let by_number = format!("eip155:{}", entry.name).parse::<Network>().ok();
    let fix = match Network::from_v1_name(&entry.name).or(by_number) {
        Some(network) => format!("write {network}."),
        None => NETWORKS_FIX.to_owned(),
    };
    reader.mistake(&entry.at, "this is not the CAIP-2 id of an EVM chain.", fix)
}

fn rpc_urls<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<Vec<String>> {
    let node = reader.required(fields, "rpc_urls", RPC_FIX)?;
    let items = reader.items(&node, RPC_FIX)?;
    if items.is_empty() {
        return reader.mistake(&node.at, "there is no address of a node.", RPC_FIX);
    }
    if items.len() > MAX_NODES {
        let what = format!("{} nodes are more than {MAX_NODES}.", items.len());
        return reader.mistake(&node.at, what, "keep the best of them.");
    }
    let mut urls: Vec<Option<String>> = Vec::new();
    for item in &items {
        let url = rpc_url(reader, item);
        // It would agree with itself.
        let same =
            |other: &String| url.as_ref().is_some_and(|url| url.trim_end_matches('/') == other.trim_end_matches('/'));
        if urls.iter().flatten().any(same) {
            reader.mistake::<()>(&item.at, "this node is listed twice.", "keep one of the two.");
        }
        urls.push(url);
    }
    urls.into_iter().collect()
}

/// How many nodes must agree: no more than there are.
fn agree<'d>(reader: &mut Reader<'d>, node: &Node<'d>, urls: Option<&[String]>) -> Option<usize> {
    let agree = usize::try_from(reader.whole(node, 1..=MAX_AGREE, "nodes")?).ok()?;
    match urls {
        Some(urls) if urls.len() < agree => {
            let what = format!("{agree} nodes cannot agree where rpc_urls names {}.", urls.len());
            reader.mistake(&node.at, what, "add nodes, of other providers than the first, or lower it.")
        }
        Some(_) | None => Some(agree),
    }
}

/// The address is not repeated in messages: many providers put their access key into it.
fn rpc_url<'d>(reader: &mut Reader<'d>, item: &Node<'d>) -> Option<String> {
    let text = reader.text(item, RPC_FIX)?;
    match check_url(&text.value) {
        Ok(()) => Some(text.value),
        Err(why) => reader.mistake(&item.at, format!("the address of the node {why}."), RPC_FIX),
    }
}

fn default_token(reader: &mut Reader<'_>, at: &At, network: Network) -> Option<Vec<AssetInfo>> {
    match AssetInfo::usdc(network) {
        Some(token) => Some(vec![token]),
        None => reader.mistake(
            &at.key("assets", at.line),
            format!("`assets` is missing, and pontage knows no USDC on {network}."),
            "list the tokens, each as { address, name, version, decimals }.",
        ),
    }
}

fn assets<'d>(reader: &mut Reader<'d>, node: &Node<'d>, network: Option<Network>) -> Option<Vec<AssetInfo>> {
    let items = reader.items(node, ASSETS_FIX)?;
    if items.is_empty() {
        return reader.mistake(&node.at, "there is no token to be paid in.", ASSETS_FIX);
    }
    if items.len() > MAX_TOKENS {
        let what = format!("{} tokens are more than {MAX_TOKENS}.", items.len());
        return reader.mistake(&node.at, what, "remove the tokens that nobody pays in.");
    }
    // Tokens of a network that is not known are read for their mistakes all the same.
    let on = network.unwrap_or(Network::BASE_SEPOLIA);
    let mut tokens: Vec<Option<AssetInfo>> = Vec::new();
    for item in &items {
        let token = match item.is_mapping() {
            true => token(reader, item, on),
            false => known_token(reader, item, network),
        };
        let twice = |token: &AssetInfo| tokens.iter().flatten().any(|other| other.asset == token.asset);
        if token.as_ref().is_some_and(twice) {
            reader.mistake::<()>(&item.at, "the token is listed twice.", "keep one of the two.");
        }
        tokens.push(token);
    }
    network?;
    tokens.into_iter().collect()
}

fn known_token<'d>(reader: &mut Reader<'d>, item: &Node<'d>, network: Option<Network>) -> Option<AssetInfo> {
    let text = reader.text(item, ASSETS_FIX)?;
    if !text.value.eq_ignore_ascii_case("usdc") {
        return reader.mistake(&item.at, format!("{} is not a token known by name.", text.shown()), ASSETS_FIX);
    }
    let network = network?;
    match AssetInfo::usdc(network) {
        Some(token) => Some(token),
        None => reader.mistake(
            &item.at,
            format!("pontage knows no USDC on {network}."),
            "write the token as { address, name, version, decimals }.",
        ),
    }
}

fn token<'d>(reader: &mut Reader<'d>, item: &Node<'d>, network: Network) -> Option<AssetInfo> {
    let fields = reader.fields(item, "networks.<caip2>.assets[]")?;
    let address = token_address(reader, &fields);
    let name = domain_word(reader, &fields, "name");
    let version = domain_word(reader, &fields, "version");
    let decimals = reader
        .required(&fields, "decimals", "write the token's decimal places, such as decimals: 6.")
        .and_then(|node| reader.whole(&node, 0..=MAX_DECIMALS, "decimal places"))
        .and_then(|places| u8::try_from(places).ok());
    Some(AssetInfo { asset: Asset { network, address: address? }, name: name?, version: version?, decimals: decimals? })
}

fn token_address<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<AssetAddress> {
    let fix = "write the address of the token's contract: 0x and 40 hex digits.";
    let node = reader.required(fields, "address", fix)?;
    let text = reader.text(&node, fix)?;
    match text.value.parse::<AssetAddress>() {
        Ok(address) if address.0.is_zero() => {
            reader.mistake(&node.at, "this is the zero address, which is no token.", fix)
        }
        Ok(address) => Some(address),
        Err(why) => reader.mistake(&node.at, format!("{} {why}.", text.shown()), fix),
    }
}

/// Name and version of the EIP-712 domain. Whether the contract has the same is found out at start, from the chain.
fn domain_word<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>, key: &'static str) -> Option<String> {
    let fix = format!("write what the contract answers to {key}(), at most 64 characters.");
    let node = reader.required(fields, key, &fix)?;
    let text = reader.text(&node, &fix)?;
    let length = text.value.chars().count();
    if length == 0 || length > 64 || text.value.chars().any(char::is_control) {
        return reader.mistake(&node.at, format!("{} is not a {key} of a token.", text.shown()), fix);
    }
    Some(text.value)
}
