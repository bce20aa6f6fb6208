use alloy_primitives::bytes;

use super::*;
use crate::genesis::ACCOUNTS;

const START_S: u64 = 1_800_000_000;

fn chain(mining: Mining) -> Chain {
    Chain::new(&Options { mining, ..Options::default() }, START_S)
}

/// One coin's millionth from an account to nobody, at a sequence and a bid of so many gwei.
fn gift(from: usize, sequence: Option<u64>, gwei: u128) -> UnsignedChainTx {
    let to = Some(Address::repeat_byte(0x77));
    let (gas_limit, bid) = (Some(50_000), Some(gwei * 1_000_000_000));
    let value = U256::from(1_000_000_000_000_u64);
    UnsignedChainTx {
        from: ACCOUNTS[from],
        to,
        value,
        gas_limit,
        sequence,
        fee_max: bid,
        tip_max: bid,
        ..Default::default()
    }
}

fn hashes(block: &Block) -> Vec<B256> {
    block.chain_txs.iter().map(|mined| mined.chain_tx.hash).collect()
}

#[test]
fn the_accounts_have_coins_and_the_contracts_code() {
    let chain = chain(Mining::AtOnce);
    for account in ACCOUNTS {
        assert_eq!(chain.latest().info(account).balance.to_string(), "10000000000000000000000");
    }
    assert_eq!(chain.latest().info(genesis::MULTICALL3).code.unwrap().len(), 3808);
    assert_eq!((chain.head().number, chain.head().time_s), (0, START_S));
}

#[test]
fn at_once_has_the_block_on_return() {
    let mut chain = chain(Mining::AtOnce);
    let hash = chain.send_unsigned(gift(0, None, 2), START_S + 1).unwrap();
    let (block, mined) = chain.mined(hash).unwrap();
    assert_eq!((block.number, block.parent, block.time_s), (1, chain.block(0).unwrap().hash, START_S + 1));
    assert_eq!((mined.receipt.gas_used, mined.receipt.gas_price, block.gas_used), (21_000, 2_000_000_000, 21_000));
    // The tip goes to the miner; the base fee is burnt.
    assert_eq!(chain.latest().info(Address::ZERO).balance, U256::from(21_000_u64 * 1_000_000_000));
    assert_eq!(chain.send_unsigned(gift(0, Some(0), 9), START_S), Err(SendRefusal::SequenceUsed { next: 1, given: 0 }));
}

#[test]
fn a_gap_holds_back_what_follows() {
    let mut chain = chain(Mining::AtOnce);
    let later = chain.send_unsigned(gift(0, Some(2), 2), START_S).unwrap();
    let next = chain.send_unsigned(gift(0, Some(1), 2), START_S).unwrap();
    assert_eq!((chain.head().number, chain.pending_sequence(ACCOUNTS[0]), chain.waiting_counts()), (0, 0, (0, 2)));
    assert_eq!(chain.waiting(later).unwrap().sequence, 2);
    let first = chain.send_unsigned(gift(0, None, 2), START_S).unwrap();
    assert_eq!(hashes(chain.head()), [first, next, later]);
    assert_eq!((chain.pending_sequence(ACCOUNTS[0]), chain.waiting_counts()), (3, (0, 0)));
}

#[test]
fn a_bid_at_the_same_sequence_needs_a_tenth_more() {
    let mut chain = chain(Mining::ByHand);
    let old = chain.send_unsigned(gift(0, Some(0), 10), START_S).unwrap();
    assert_eq!(chain.send_unsigned(gift(0, Some(0), 10), START_S), Err(SendRefusal::AlreadyKnown));
    let low_tip = UnsignedChainTx { tip_max: Some(10_000_000_000), ..gift(0, Some(0), 12) };
    assert_eq!(chain.send_unsigned(low_tip, START_S), Err(SendRefusal::Underpriced));
    let low_max =
        UnsignedChainTx { fee_max: Some(10_999_999_999), tip_max: Some(10_999_999_999), ..gift(0, Some(0), 0) };
    assert_eq!(chain.send_unsigned(low_max, START_S), Err(SendRefusal::Underpriced));
    let new = chain.send_unsigned(gift(0, Some(0), 11), START_S).unwrap();
    assert!(chain.waiting(old).is_none());
    chain.mine(START_S);
    assert_eq!(hashes(chain.head()), [new]);
}

#[test]
fn the_higher_bid_is_mined_first_and_the_earlier_of_equals() {
    let mut chain = chain(Mining::ByHand);
    let sent = [(0, 3), (1, 5), (2, 3), (3, 4)]
        .map(|(from, bid)| chain.send_unsigned(gift(from, None, bid), START_S).unwrap());
    chain.mine(START_S);
    assert_eq!(hashes(chain.head()), [sent[1], sent[3], sent[0], sent[2]]);
    let receipts = chain.head().chain_txs.iter().map(|mined| mined.receipt.gas_used_so_far);
    assert_eq!(receipts.collect::<Vec<_>>(), [21_000, 42_000, 63_000, 84_000]);
}

#[test]
fn what_a_node_refuses() {
    let mut chain = chain(Mining::ByHand);
    let cases = [
        (UnsignedChainTx { gas_limit: Some(BLOCK_GAS + 1), ..gift(0, None, 2) }, "exceeds block gas limit"),
        (
            UnsignedChainTx { gas_limit: Some(20_999), ..gift(0, None, 2) },
            "intrinsic gas too low: gas 20999, minimum needed 21000",
        ),
        (
            UnsignedChainTx { tip_max: Some(u128::MAX), ..gift(0, None, 2) },
            "max priority fee per gas higher than max fee per gas",
        ),
        (
            UnsignedChainTx { gas_price: Some(999_999_999), ..gift(0, None, 2) },
            "max fee per gas less than block base fee: maxFeePerGas: 999999999, baseFee: 1000000000",
        ),
        (
            UnsignedChainTx { value: U256::MAX, ..gift(0, None, 2) },
            "insufficient funds for gas * price + value: balance 10000000000000000000000",
        ),
        (
            UnsignedChainTx { from: Address::repeat_byte(9), ..gift(0, None, 2) },
            "insufficient funds for gas * price + value: balance 0",
        ),
        (gift(0, Some(u64::MAX), 2), "nonce has max value"),
        (UnsignedChainTx { to: None, data: vec![0; 49_153].into(), ..gift(0, None, 2) }, "max initcode size exceeded"),
    ];
    for (unsigned, words) in cases {
        assert_eq!(chain.send_unsigned(unsigned, START_S).unwrap_err().to_string(), words);
    }
    assert_eq!(chain.waiting_counts(), (0, 0));
}

#[test]
fn a_full_block_leaves_the_rest_for_the_next() {
    let mut chain = chain(Mining::ByHand);
    for from in 0..3 {
        chain.send_unsigned(UnsignedChainTx { gas_limit: Some(BLOCK_GAS), ..gift(from, None, 2) }, START_S).unwrap();
    }
    chain.mine(START_S);
    // What is used counts, not what was asked for: with 21,000 gone a whole block's limit does not fit.
    assert_eq!((chain.head().chain_txs.len(), chain.waiting_counts()), (1, (2, 0)));
    chain.set_mining(Mining::AtOnce, START_S);
    assert_eq!((chain.head().number, chain.waiting_counts()), (3, (0, 0)));
}

#[test]
fn one_that_cannot_pay_any_more_is_forgotten() {
    let mut chain = chain(Mining::ByHand);
    let rich = chain.latest().info(ACCOUNTS[0]).balance / U256::from(2);
    for sequence in 0..3 {
        chain.send_unsigned(UnsignedChainTx { value: rich, ..gift(0, Some(sequence), 2) }, START_S).unwrap();
    }
    chain.mine(START_S);
    // The first half went; the fees have eaten into the second.
    assert_eq!((chain.head().chain_txs.len(), chain.waiting_counts()), (1, (0, 1)));
}

#[test]
fn the_clock_never_goes_back_and_may_stand_still() {
    let mut chain = chain(Mining::ByHand);
    assert_eq!(chain.increase_time(100), 100);
    assert_eq!(chain.head().time_s, START_S);
    chain.mine(START_S + 1);
    chain.mine(START_S + 1);
    chain.mine(START_S - 50);
    let times: Vec<u64> = (0..=3).map(|number| chain.block(number).unwrap().time_s).collect();
    assert_eq!(times, [START_S, START_S + 101, START_S + 101, START_S + 101]);
}

#[test]
fn a_contract_is_made_and_reverts_are_mined() {
    let mut chain = chain(Mining::AtOnce);
    // Its runtime code is one REVERT of nothing: 60006000fd.
    let data = bytes!("6460006000fd6000526005601bf3");
    let made = chain.send_unsigned(
        UnsignedChainTx { to: None, gas_limit: None, value: U256::ZERO, data, ..gift(0, None, 2) },
        START_S,
    );
    let receipt = &chain.mined(made.unwrap()).unwrap().1.receipt;
    let created = receipt.created.unwrap();
    assert_eq!(created, ACCOUNTS[0].create(0));
    assert!(receipt.success);
    assert_eq!(chain.latest().info(created).code.unwrap().original_bytes(), bytes!("60006000fd"));

    let ran = chain.send_unsigned(UnsignedChainTx { to: Some(created), ..gift(0, None, 2) }, START_S).unwrap();
    let receipt = &chain.mined(ran).unwrap().1.receipt;
    assert!(!receipt.success && receipt.created.is_none() && receipt.logs.is_empty());
    assert_eq!(
        chain.ask(chain.latest(), None, Ask { to: Some(created), ..Ask::default() }),
        Asked::Reverted(Bytes::new())
    );
    // A contract may send: every account is open.
    chain.world_mut().set_balance(created, U256::from(10).pow(U256::from(18)));
    let sent = chain.send_unsigned(UnsignedChainTx { from: created, ..gift(0, None, 2) }, START_S).unwrap();
    assert!(chain.mined(sent).unwrap().1.receipt.success);
}

#[test]
fn an_estimate_suffices_and_one_less_does_not() {
    let chain = chain(Mining::AtOnce);
    let data = [bytes!("40c10f19").as_ref(), ACCOUNTS[1].into_word().as_slice(), &[1; 32]].concat();
    let ask = Ask { from: ACCOUNTS[0], to: Some(genesis::USDC), data: data.into(), ..Ask::default() };
    let gas = chain.estimate(chain.latest(), None, ask.clone()).unwrap();
    let with = |gas| chain.ask(chain.latest(), None, Ask { gas_limit: Some(gas), ..ask.clone() });
    assert!(matches!(with(gas), Asked::Returned { .. }));
    assert!(!matches!(with(gas - 1), Asked::Returned { .. }));
    let plain = Ask { to: Some(ACCOUNTS[1]), ..Ask::default() };
    assert_eq!(chain.estimate(chain.latest(), None, plain), Ok(21_000));
}

#[test]
fn the_same_start_and_calls_give_the_same_hashes() {
    let run = || {
        let mut chain = chain(Mining::AtOnce);
        genesis::mint(&mut chain, START_S + 5, ACCOUNTS[3], 7).unwrap();
        chain.mine(START_S + 9);
        chain.head().hash
    };
    assert_eq!(run(), run());
}
