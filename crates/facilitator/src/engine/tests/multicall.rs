//! The token and Multicall3 as an `eth_call` meets them. The calldata is taken apart by hand, by the rules of the ABI alone.

use super::*;
use crate::engine::token::MULTICALL3;

/// What is at the address of Multicall3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Multicall {
    #[default]
    Works,
    /// Nothing.
    Absent,
    /// It reverts as a whole, as when the gas of a trial is not enough for all.
    Fails,
    /// It reverts as a whole where one member fails.
    FailsByMember,
    /// The node gives up on every trial of it.
    Faults,
    /// The node gives up on a trial in which one member fails.
    FaultsByMember,
    /// Something that gives fewer results than it was asked for.
    Short,
}

/// What earlier members of a batch have changed.
#[derive(Default)]
struct Changed {
    spent: BTreeMap<Address, u128>,
    used: BTreeSet<B256>,
}

fn word_at(bytes: &[u8], at: usize) -> U256 {
    U256::from_be_slice(&bytes[at..at + 32])
}

fn place(bytes: &[u8], at: usize) -> usize {
    usize::try_from(word_at(bytes, at)).unwrap()
}

pub(super) fn try_call(world: &World, call: &EthCall) -> CallResult {
    if call.to == MULTICALL3 { aggregate3(world, &call.data) } else { token_call(world, call, &mut Changed::default()) }
}

fn token_call(world: &World, call: &EthCall, changed: &mut Changed) -> CallResult {
    let returned = |value: U256| CallResult::Returned(value.to_be_bytes::<32>().into());
    if !world.deployed.get() || call.to != token() {
        return CallResult::Returned(Bytes::new());
    }
    let word = |at: usize| word_at(&call.data, 4 + 32 * at);
    let account = |at: usize| Address::from_word(word(at).into());
    let balance = |account: Address| {
        let second = account == Key::from_hex(SECOND_PAYER).unwrap().address();
        if second { world.second_balance.get() } else { world.balance.get() }
    };
    // authorizationState, balanceOf and transferWithAuthorization differ in how many words they take.
    match call.data.len() {
        68 => returned(U256::from(world.used.borrow().contains(&B256::from(word(1))))),
        36 => returned(U256::from(balance(account(0)))),
        292 => {
            let (nonce, value) = (B256::from(word(5)), u128::try_from(word(2)).unwrap());
            let spent = changed.spent.entry(account(0)).or_default();
            let used = world.used.borrow().contains(&nonce) || changed.used.contains(&nonce);
            let time_s = U256::from(world.genesis_s.get() + world.latest.get());
            let (early, late) = (time_s <= word(3), time_s >= word(4));
            let poisoned = world.token_refuses.get() || world.poisoned.borrow().contains(&nonce);
            if poisoned || used || early || late || balance(account(0)) < *spent + value {
                return CallResult::Reverted;
            }
            *spent += value;
            changed.used.insert(nonce);
            CallResult::Returned(Bytes::new())
        }
        other => panic!("{other} bytes of calldata"),
    }
}

/// `aggregate3((address target, bool allowFailure, bytes callData)[])`.
fn aggregate3(world: &World, data: &[u8]) -> CallResult {
    match world.multicall.get() {
        Multicall::Absent => return CallResult::Returned(Bytes::new()),
        Multicall::Fails => return CallResult::Reverted,
        Multicall::Works
        | Multicall::Short
        | Multicall::Faults
        | Multicall::FailsByMember
        | Multicall::FaultsByMember => {}
    }
    let results = members(world, data);
    match world.multicall.get() {
        Multicall::FailsByMember if results.contains(&false) => CallResult::Reverted,
        Multicall::Short => CallResult::Returned(encode(&results[..results.len().saturating_sub(1)])),
        Multicall::Absent
        | Multicall::Fails
        | Multicall::FailsByMember
        | Multicall::Works
        | Multicall::Faults
        | Multicall::FaultsByMember => CallResult::Returned(encode(&results)),
    }
}

/// Whether the node answers with a fault.
pub(super) fn gives_up(world: &World, call: &EthCall) -> bool {
    call.to == MULTICALL3
        && match world.multicall.get() {
            Multicall::Faults => true,
            Multicall::FaultsByMember => members(world, &call.data).contains(&false),
            Multicall::Works | Multicall::Absent | Multicall::Fails | Multicall::FailsByMember | Multicall::Short => {
                false
            }
        }
}

/// Which members go through.
fn members(world: &World, data: &[u8]) -> Vec<bool> {
    assert_eq!(data[..4], alloy_primitives::hex!("82ad56cb"));
    let data = &data[4..];
    let array = &data[place(data, 0)..];
    let count = place(array, 0);
    let mut changed = Changed::default();
    let mut results = Vec::new();
    for member in 0..count {
        let call = &array[32 + place(array, 32 + 32 * member)..];
        let to = Address::from_word(word_at(call, 0).into());
        assert_eq!(word_at(call, 32), U256::ONE, "a member that fails leaves the others alone");
        let bytes = &call[place(call, 64)..];
        let data = Bytes::copy_from_slice(&bytes[32..32 + place(bytes, 0)]);
        let call = EthCall { from: MULTICALL3, to, data, gas_max: None };
        results.push(token_call(world, &call, &mut changed) != CallResult::Reverted);
    }
    results
}

/// `(bool success, bytes returnData)[]` without data.
fn encode(results: &[bool]) -> Bytes {
    let mut words = vec![32, results.len()];
    words.extend((0..results.len()).map(|member| 32 * results.len() + 96 * member));
    words.extend(results.iter().flat_map(|success| [usize::from(*success), 64, 0]));
    words.into_iter().flat_map(|word| U256::from(word).to_be_bytes::<32>()).collect()
}

#[test]
fn whether_a_network_has_multicall3() {
    for (there, want) in [(Multicall::Works, Ok(true)), (Multicall::Absent, Ok(false)), (Multicall::Fails, Ok(false))] {
        let world = World::new();
        world.multicall.set(there);
        assert_eq!(now(has_multicall(&world)), want, "{there:?}");
        world.fail_after("calls", 0);
        assert_eq!(now(has_multicall(&world)), Err(NodeFault), "{there:?}: nobody can say");
    }
}
