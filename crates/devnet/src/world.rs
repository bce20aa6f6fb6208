//! Accounts and their storage: as they are, and as they were some blocks ago.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;

use alloy_primitives::{Address, B256, U256};
use revm::DatabaseRef;
use revm::state::{AccountInfo, Bytecode, EvmState};

use crate::chain::Block;

/// How many blocks back the state can be asked for.
pub(crate) const KEPT_BLOCKS: usize = 128;

/// The state. An account that was never touched is an empty one.
#[derive(Debug, Default)]
pub(crate) struct World {
    accounts: HashMap<Address, Entry>,
    /// One for each of the last blocks, oldest first.
    undo: VecDeque<Undo>,
}

#[derive(Debug, Default)]
struct Entry {
    info: AccountInfo,
    slots: HashMap<U256, U256>,
}

/// What one block changed, as it was before that block.
#[derive(Debug, Default)]
struct Undo {
    block: u64,
    accounts: HashMap<Address, AccountInfo>,
    slots: HashMap<(Address, U256), U256>,
}

impl World {
    /// From here on, changes belong to `block`.
    pub(crate) fn begin(&mut self, block: u64) {
        self.undo.push_back(Undo { block, ..Undo::default() });
        if self.undo.len() > KEPT_BLOCKS {
            self.undo.pop_front();
        }
    }

    pub(crate) fn info(&self, address: Address) -> AccountInfo {
        self.accounts.get(&address).map(|entry| entry.info.clone()).unwrap_or_default()
    }

    /// The account's counter.
    pub(crate) fn sequence(&self, address: Address) -> u64 {
        self.accounts.get(&address).map_or(0, |entry| entry.info.nonce)
    }

    pub(crate) fn set_info(&mut self, address: Address, info: AccountInfo) {
        let entry = self.accounts.entry(address).or_default();
        let before = std::mem::replace(&mut entry.info, info);
        if let Some(undo) = self.undo.back_mut() {
            undo.accounts.entry(address).or_insert(before);
        }
    }

    pub(crate) fn set_balance(&mut self, address: Address, balance: U256) {
        let info = AccountInfo { balance, ..self.info(address) };
        self.set_info(address, info);
    }

    /// Plants runtime code. No constructor runs, and the account's storage stays as it is.
    pub(crate) fn set_code(&mut self, address: Address, code: Bytecode) {
        let info = self.info(address);
        self.set_info(address, AccountInfo::new(info.balance, info.nonce, code.hash_slow(), code));
    }

    pub(crate) fn set_slot(&mut self, address: Address, slot: U256, value: U256) {
        let slots = &mut self.accounts.entry(address).or_default().slots;
        let before = if value.is_zero() { slots.remove(&slot) } else { slots.insert(slot, value) };
        if let Some(undo) = self.undo.back_mut() {
            undo.slots.entry((address, slot)).or_insert(before.unwrap_or_default());
        }
    }

    /// Takes over what a chain_tx changed.
    pub(crate) fn commit(&mut self, state: EvmState) {
        for (address, account) in state {
            if !account.is_touched() {
                continue;
            }
            let gone = account.is_selfdestructed();
            if gone || account.is_created() {
                self.clear_slots(address);
            }
            if gone {
                self.set_info(address, AccountInfo::default());
                continue;
            }
            for (slot, value) in account.changed_storage_slots() {
                self.set_slot(address, *slot, value.present_value);
            }
            let before = self.info(address);
            let code = account.info.code.clone().or(before.code);
            self.set_info(address, AccountInfo { code, account_id: None, ..account.info });
        }
    }

    fn clear_slots(&mut self, address: Address) {
        let slots: Vec<U256> =
            self.accounts.get(&address).iter().flat_map(|entry| entry.slots.keys().copied()).collect();
        for slot in slots {
            self.set_slot(address, slot, U256::ZERO);
        }
    }

    /// Whether the state after `block` can still be told.
    pub(crate) fn keeps(&self, block: u64) -> bool {
        // To go back to a block, every later one must be undone.
        self.undo.front().is_none_or(|oldest| block.saturating_add(1) >= oldest.block)
    }

    fn info_at(&self, block: u64, address: Address) -> AccountInfo {
        let later = self.later(block).find_map(|undo| undo.accounts.get(&address));
        later.cloned().unwrap_or_else(|| self.info(address))
    }

    fn slot_at(&self, block: u64, address: Address, slot: U256) -> U256 {
        let later = self.later(block).find_map(|undo| undo.slots.get(&(address, slot)));
        later.or_else(|| self.accounts.get(&address)?.slots.get(&slot)).copied().unwrap_or_default()
    }

    /// The first block after `block` that changed a value knows what it was at `block`.
    fn later(&self, block: u64) -> impl Iterator<Item = &Undo> {
        let first = self.undo.partition_point(|undo| undo.block <= block);
        self.undo.range(first..)
    }
}

/// The state after one block, for the EVM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) world: &'a World,
    pub(crate) blocks: &'a [Block],
    pub(crate) at: u64,
}

impl View<'_> {
    pub(crate) fn info(&self, address: Address) -> AccountInfo {
        self.world.info_at(self.at, address)
    }

    pub(crate) fn slot(&self, address: Address, slot: U256) -> U256 {
        self.world.slot_at(self.at, address, slot)
    }
}

impl DatabaseRef for View<'_> {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        let info = self.info(address);
        // Sending to an account that does not exist costs more than to one that does.
        Ok((!info.is_empty()).then_some(info))
    }

    fn code_by_hash_ref(&self, _hash: B256) -> Result<Bytecode, Infallible> {
        // Every account comes with its code, so nothing is ever asked for by its hash.
        Ok(Bytecode::default())
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        Ok(self.slot(address, slot))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        Ok(self.blocks.get(index).map_or(B256::ZERO, |block| block.hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Address = Address::repeat_byte(1);

    #[test]
    fn each_block_keeps_its_values() {
        let mut world = World::default();
        let slot = U256::from(7);
        for block in 0..=130_u64 {
            world.begin(block);
            if block % 2 == 0 {
                world.set_balance(ONE, U256::from(block + 1000));
                world.set_slot(ONE, slot, U256::from(block));
            }
        }
        for block in 2..=130_u64 {
            let even = block / 2 * 2;
            assert!(world.keeps(block));
            assert_eq!(world.info_at(block, ONE).balance, U256::from(even + 1000), "{block}");
            assert_eq!(world.slot_at(block, ONE, slot), U256::from(even), "{block}");
        }
        assert!(!world.keeps(1));
    }

    #[test]
    fn what_is_set_between_blocks_belongs_to_the_latest() {
        let mut world = World::default();
        world.begin(0);
        world.begin(1);
        world.set_balance(ONE, U256::from(5));
        world.set_balance(ONE, U256::from(6));
        world.begin(2);
        world.set_balance(ONE, U256::from(7));
        let balances = [0, 1, 2].map(|block| world.info_at(block, ONE).balance);
        assert_eq!(balances, [0, 6, 7].map(U256::from));
    }
}
