//! The nodes of a network: opened and checked at start, and looked after while the process runs.

use std::time::Duration;

use alloy_primitives::B256;
use anyhow::{Context as _, anyhow, bail};
use facilitator::engine::{self, BlockAt, FinalAt, Node as _, NodeFault};
use facilitator::rpc::{Identity, Nodes, NodesTerms};
use protocol::Network;
use store::Store;
use tracing::{info, warn};

use crate::config::NetworkConfig;

/// How long one question may take, all nodes that are asked together.
const TIMEOUT_MS: u64 = 5_000;
/// How often it is looked where each node stands.
const LOOK_MS: u64 = 2_000;

/// The nodes of a network, which are given `timeout_ms` for each question.
pub(crate) fn open(config: &NetworkConfig, timeout_ms: u64) -> Result<Nodes, NodeFault> {
    let terms = NodesTerms {
        chain_id: config.network.chain_id,
        timeout_ms,
        lag_blocks: config.rpc_lag_blocks,
        agree: config.rpc_agree,
    };
    Nodes::new(&config.rpc_urls, terms)
}

/// Opens the nodes of a network, and compares what the configuration and the journal say of it with what they say. One that does not
/// answer is left for later, as long as another does.
pub(crate) async fn start(config: &NetworkConfig, store: &Store) -> anyhow::Result<Nodes> {
    let network = config.network;
    let nodes = open(config, TIMEOUT_MS)?;
    let identities = nodes.identify().await;
    let genesis = match agreed(network, &identities) {
        Ok(genesis) => genesis.ok_or(NodeFault).with_context(|| out_of_reach(config))?,
        Err(why) => bail!(why),
    };
    if !store.bind_chain(network, genesis.as_slice())? {
        bail!(
            "store.path: this journal was written for another chain with the id {} (its first block differs). \
             Use another file for another chain",
            network.chain_id
        );
    }
    nodes.trust(genesis);
    for (at, identity) in identities.iter().enumerate() {
        match identity {
            Ok(_) => info!(%network, endpoint = %url(at), "a chain node is there"),
            Err(NodeFault) => {
                warn!(%network, endpoint = %url(at), "a chain node does not answer; it is asked once it does")
            }
        }
    }
    if let Some((tag, at)) = match config.finality.last {
        FinalAt::Safe => Some(("safe", BlockAt::Safe)),
        FinalAt::Finalized => Some(("finalized", BlockAt::Finalized)),
        FinalAt::Blocks(_) => None,
    } {
        let named = nodes.block(at).await;
        named.with_context(|| format!("networks.{network}.finality.final: its nodes name no block `{tag}`"))?;
    }
    for (at, token) in config.tokens.iter().enumerate() {
        let answer = engine::check_asset(&nodes, token).await.with_context(|| out_of_reach(config))?;
        answer.map_err(|fault| anyhow!("networks.{network}.assets[{at}].{fault}"))?;
    }
    Ok(nodes)
}

/// The first block that all nodes name which answer; `None` when none does. Whoever is on another chain is told apart by its place.
pub(crate) fn agreed(network: Network, identities: &[Result<Identity, NodeFault>]) -> Result<Option<B256>, String> {
    let mut first: Option<(usize, B256)> = None;
    for (at, identity) in identities.iter().enumerate() {
        let Ok(Identity { chain_id, genesis }) = identity else { continue };
        if *chain_id != network.chain_id {
            return Err(format!("networks.{network}.{}: this node is on eip155:{chain_id}, not on {network}", url(at)));
        }
        match first {
            Some((other, first)) if first != *genesis => {
                return Err(format!(
                    "networks.{network}.{}: this node is on another chain with the id {chain_id} than {} (their first blocks \
                     differ)",
                    url(at),
                    url(other)
                ));
            }
            Some(_) => {}
            None => first = Some((at, *genesis)),
        }
    }
    Ok(first.map(|(_, genesis)| genesis))
}

/// Looks where each node stands. Does not end.
pub(crate) async fn mind(nodes: &Nodes) {
    loop {
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        nodes.look().await;
    }
}

/// What is said when none of them answers, or none any more.
pub(crate) fn out_of_reach(config: &NetworkConfig) -> String {
    let urls = if config.rpc_urls.len() == 1 { url(0) } else { "rpc_urls".to_owned() };
    format!("networks.{}.{urls} (the cause is in the log)", config.network)
}

/// A node as messages name it: its address may hold an access key.
fn url(at: usize) -> String {
    format!("rpc_urls[{at}]")
}
