//! What the chain holds when it starts, and short cuts to it.

use alloy_primitives::{Address, B256, Bytes, U256, address, bytes};
use revm::state::Bytecode;
use serde_json::Value;

use crate::chain::{Ask, Asked, Chain, UnsignedChainTx};
use crate::world::World;

/// The ten accounts of the mnemonic "test test test test test test test test test test test junk", whose keys everyone has.
pub const ACCOUNTS: [Address; 10] = [
    address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
    address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
    address!("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"),
    address!("0x90F79bf6EB2c4f870365E785982E1f101E93b906"),
    address!("0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"),
    address!("0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc"),
    address!("0x976EA74026E726554dB657fA54763abd0C3a0aa9"),
    address!("0x14dC79964da2C08b23698B3D3cc7Ca32193d9955"),
    address!("0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f"),
    address!("0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"),
];

/// USDC of Base Sepolia; here a stand-in that anyone may mint (`contracts/TestUsdc.sol`), whatever the chain's id.
pub const USDC: Address = address!("0x036CbD53842c5426634e7929541eC2318f3dCF7e");

/// Multicall3, where every public chain has it.
pub const MULTICALL3: Address = address!("0xcA11bde05977b3631167028862bE2a173976CA11");

/// Mints. It is none of [`ACCOUNTS`], whose sequences belong to those who test.
const ASSET_ADMIN: Address = address!("0x70cea0000000000000000000000000000000ad01");

/// 10 000 coins of 10^18 wei.
const NATIVE_BALANCE: U256 = U256::from_limbs([0x19e0_c9ba_b240_0000, 0x21e, 0, 0]);

const MINT: Bytes = bytes!("40c10f19");
const BALANCE_OF: Bytes = bytes!("70a08231");
const MINT_GAS: u64 = 200_000;

/// Fills an empty world.
pub(crate) fn plant(world: &mut World) {
    for account in ACCOUNTS {
        world.set_balance(account, NATIVE_BALANCE);
    }
    world.set_code(USDC, runtime(include_str!("../../../contracts/TestUsdc.json")));
    world.set_code(MULTICALL3, runtime(include_str!("../../../contracts/Multicall3.json")));
}

fn runtime(artifact: &str) -> Bytecode {
    let artifact: Value = serde_json::from_str(artifact).expect("the committed artifact is JSON");
    let code = artifact["deployedBytecode"].as_str().and_then(|code| code.parse().ok());
    Bytecode::new_legacy(code.expect("the committed artifact has runtime code"))
}

/// See [`crate::Devnet::mint`].
pub(crate) fn mint(chain: &mut Chain, now_s: u64, to: Address, amount_atomic: u128) -> Option<B256> {
    if chain.latest().info(ASSET_ADMIN).balance.is_zero() {
        chain.world_mut().set_balance(ASSET_ADMIN, NATIVE_BALANCE);
    }
    let data = [MINT.as_ref(), to.into_word().as_slice(), &U256::from(amount_atomic).to_be_bytes::<32>()].concat();
    let unsigned =
        UnsignedChainTx { gas_limit: Some(MINT_GAS), ..UnsignedChainTx::call(ASSET_ADMIN, USDC, data.into()) };
    let hash = chain.send_unsigned(unsigned, now_s).ok()?;
    if chain.mined(hash).is_none() {
        chain.mine(now_s);
    }
    chain.mined(hash).filter(|(_, mined)| mined.receipt.success).map(|_| hash)
}

/// See [`crate::Devnet::asset_balance`].
pub(crate) fn asset_balance(chain: &Chain, of: Address) -> Option<U256> {
    let data = [BALANCE_OF.as_ref(), of.into_word().as_slice()].concat();
    let ask = Ask { to: Some(USDC), data: data.into(), ..Ask::default() };
    match chain.ask(chain.latest(), None, ask) {
        Asked::Returned { output, .. } => U256::try_from_be_slice(&output).filter(|_| output.len() == 32),
        Asked::Reverted(_) | Asked::Failed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_one_that_payers_expect() {
        let usdc = protocol::AssetInfo::usdc(protocol::Network::BASE_SEPOLIA).unwrap();
        assert_eq!(usdc.asset.address.0, USDC);
    }

    #[test]
    fn ten_thousand_coins() {
        assert_eq!(NATIVE_BALANCE, U256::from(10_000) * U256::from(10).pow(U256::from(18)));
    }
}
