//! The chain's node as the engine sees it: late, deaf, forgetful, behind, but never lying about what it shows.

use std::rc::Rc;

use alloy_primitives::{Address, B256, Bytes, U256};
use facilitator::engine::{Block, BlockAt, CallResult, ChainReceipt, EthCall, Fees, Log, Node, NodeFault, Sent};

use ledger::BlockRef;

use crate::chain::abi::TransferWith;
use crate::chain::{self, Chain, Deed};
use crate::chance::Chance;
use crate::executor::Owner;
use crate::keys::LANES;
use crate::plan::{Moment, STRANGER, Stale};
use crate::world::World;

#[derive(Clone)]
pub(crate) struct SimNode(pub(crate) Rc<World>);

impl SimNode {
    /// The request is on its way; returns the height that the node answers from.
    async fn arrive(&self) -> Result<u64, NodeFault> {
        let world = &self.0;
        world.delay(60).await;
        if world.node_is_away() || world.strikes(world.plan.faults.node_lost_per_mille) {
            world.count(|figures| figures.node_faults += 1);
            world.delay(2_000).await;
            return Err(NodeFault);
        }
        Ok(self.view())
    }

    fn view(&self) -> u64 {
        let world = &self.0;
        let height = world.chain.borrow().height();
        let lag = |max| height.saturating_sub(world.chance.borrow_mut().below(max + 1));
        if world.quiet.get() {
            return height;
        }
        match world.plan.stale {
            Stale::Never => height,
            Stale::OneNode(max) => {
                let view = world.shown.get().max(lag(max));
                world.shown.set(view);
                view
            }
            Stale::ManyNodes(max) => lag(max),
        }
    }

    /// The answer is on its way.
    async fn depart<T>(&self, answer: T) -> Result<T, NodeFault> {
        let world = &self.0;
        world.delay(60).await;
        if world.strikes(world.plan.faults.node_answer_per_mille) {
            world.count(|figures| figures.node_faults += 1);
            return Err(NodeFault);
        }
        Ok(answer)
    }

    async fn ask<T>(&self, answer: impl FnOnce(&Chain, u64) -> Option<T>) -> Result<T, NodeFault> {
        let view = self.arrive().await?;
        let answer = match self.left_branch() {
            Some(chain) => answer(&chain, chain.height()),
            None => answer(&self.0.chain.borrow(), view),
        };
        self.depart(answer).await?.ok_or(NodeFault)
    }

    /// The branch that a reorg has left, where the endpoint that is asked has not heard of it. The other one has, and each request may
    /// fall on either.
    fn left_branch(&self) -> Option<Rc<Chain>> {
        let world = &self.0;
        let heard = world.age_ms() >= world.reorged_ms.get().saturating_add(world.plan.branches_ms);
        if world.quiet.get() || heard || world.chance.borrow_mut().one_in(2) {
            return None;
        }
        world.chain.borrow().before.clone()
    }

    /// A chain_tx reaches the mempool.
    fn take(&self, raw: &Bytes) -> Sent {
        let world = &self.0;
        let mut chain = world.chain.borrow_mut();
        let Some(raw) = chain::decode_raw(raw) else { return Sent::NotAccepted };
        let (hash, mined) = (raw.hash, chain.latest().token.sequence(raw.signer));
        if world.strikes(world.plan.rivals_per_mille) {
            let rival = rival(&raw.carried(), &mut world.chance.borrow_mut());
            world.say(|| format!("a rival: {rival:?}"));
            chain.deeds.extend(rival);
        }
        if !chain.pool.add(raw, mined) {
            return Sent::NotAccepted;
        }
        if world.strikes(world.plan.faults.stuck_per_mille) {
            chain.pool.stuck.insert(hash);
        }
        Sent::Accepted
    }
}

/// What somebody who watches the mempool does about a chain_tx of ours.
fn rival(carried: &[TransferWith], chance: &mut Chance) -> Option<Deed> {
    let data = carried.get(chance.place(carried.len()))?.clone();
    Some(match chance.below(5) {
        0 => Deed::Land { by: data.from, data },
        1 => Deed::Land { by: STRANGER, data },
        2 => Deed::Cancel { payer: data.from, nonce: data.nonce },
        3 => Deed::Spend { payer: data.from, amount: 1_000_000 },
        _ => Deed::Block { payer: data.from },
    })
}

fn head(block: &chain::Block) -> Block {
    Block { number: block.number, hash: block.hash, time_s: block.time_s }
}

fn place(chain: &Chain, at: BlockAt, view: u64) -> Option<&chain::Block> {
    match at {
        BlockAt::Latest => chain.at(view),
        BlockAt::Number(number) => chain.at(number).filter(|block| block.number <= view),
        BlockAt::Of(BlockRef { number, hash }) => {
            place(chain, BlockAt::Number(number), view).filter(|block| block.hash == hash)
        }
        BlockAt::Safe | BlockAt::Finalized => None,
    }
}

impl Node for SimNode {
    async fn chain_id(&self) -> Result<u64, NodeFault> {
        Ok(self.0.network().chain_id)
    }

    async fn block(&self, at: BlockAt) -> Result<Block, NodeFault> {
        self.ask(|chain, view| place(chain, at, view).map(head)).await
    }

    async fn under(&self, of: BlockRef, number: u64) -> Result<Block, NodeFault> {
        self.ask(|chain, view| {
            place(chain, BlockAt::Of(of), view)?;
            place(chain, BlockAt::Number(number), of.number).map(head)
        })
        .await
    }

    async fn calls(&self, calls: &[EthCall], at: BlockAt) -> Result<Vec<CallResult>, NodeFault> {
        self.ask(|chain, view| {
            let block = place(chain, at, view)?;
            Some(calls.iter().map(|call| chain.call(call, block)).collect())
        })
        .await
    }

    async fn sequence(&self, account: Address, at: BlockAt) -> Result<u64, NodeFault> {
        self.ask(|chain, view| place(chain, at, view).map(|block| block.token.sequence(account))).await
    }

    async fn native_balance(&self, _: Address) -> Result<U256, NodeFault> {
        Ok(U256::MAX)
    }

    async fn fees(&self) -> Result<Fees, NodeFault> {
        self.ask(|chain, view| chain.at(view).map(|block| Fees { base: block.base_fee, tip: 1_000_000_000 })).await
    }

    async fn send(&self, raw: &[Bytes]) -> Result<Vec<Sent>, NodeFault> {
        let world = &self.0;
        for raw in raw.iter().filter_map(|raw| chain::decode_raw(raw)) {
            world.say(|| format!("send {} at {}", crate::world::short(raw.hash), raw.sequence));
            let disk = world.disk.borrow();
            let known = disk.chain_txs.iter().find(|signed| signed.chain_tx.hash == raw.hash);
            let clashes = known.is_some_and(|known| disk.clashes(&known.chain_tx));
            let payload = (!LANES.contains(&raw.to)).then(|| raw.payload());
            world.audit.borrow_mut().sent(raw.hash, (raw.signer, raw.sequence), payload, known.is_some(), clashes);
        }
        world.reaches(Moment::Send);
        self.arrive().await?;
        let mut answers = Vec::new();
        for raw in raw {
            let faults = world.plan.faults;
            if world.strikes(faults.late_per_mille) {
                // It reaches the miners later, and again: what was sent once may be sent by anybody.
                let (node, raw) = (self.clone(), raw.clone());
                let ms = world.chance.borrow_mut().between(500, 12_000);
                world.exec.spawn(Owner::WORLD, "late", async move {
                    node.0.exec.sleep(ms).await;
                    node.take(&raw);
                });
                answers.push(Sent::Accepted);
                continue;
            }
            answers.push(self.take(raw));
            if world.strikes(faults.twice_per_mille) {
                self.take(raw);
            }
        }
        self.depart(answers).await
    }

    async fn receipt(&self, chain_tx: B256) -> Result<Option<ChainReceipt>, NodeFault> {
        self.ask(|chain, view| Some(chain.receipt(chain_tx, view))).await
    }

    async fn logs(
        &self,
        address: Address,
        topics: &[Vec<B256>],
        from_block: u64,
        of: BlockRef,
    ) -> Result<Vec<Log>, NodeFault> {
        self.ask(|chain, view| {
            place(chain, BlockAt::Of(of), view)?;
            Some(chain.logs_from(address, topics, from_block, of.number))
        })
        .await
    }
}
