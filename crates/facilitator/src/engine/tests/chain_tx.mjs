// The signed chain_txs of the lane's tests, made by viem alone. From peers/js:
//   node --input-type=module - '[[7,1000000000,1500000000]]' < ../../crates/facilitator/src/engine/tests/chain_tx.mjs
// Each row is sequence, base fee, tip; printed are the row, the hash, and the raw bytes.
import { encodeFunctionData, keccak256, parseAbi, parseSignature } from 'viem'
import { privateKeyToAccount as account } from 'viem/accounts'

const payer = account('0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80')
const lane = account('0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d')
const to = '0x036CbD53842c5426634e7929541eC2318f3dCF7e'
const domain = { name: 'USDC', version: '2', chainId: 84532, verifyingContract: to }
const fields = [['from', 'address'], ['to', 'address'], ['value', 'uint256'], ['validAfter', 'uint256'], ['validBefore', 'uint256'], ['nonce', 'bytes32']]
const types = { TransferWithAuthorization: fields.map(([name, type]) => ({ name, type })) }
const message = {
  from: payer.address,
  to: '0x209693Bc6afc0C5328bA36FaF03C514EF312287C',
  value: 10000n,
  validAfter: 0n,
  validBefore: 2000000000n,
  nonce: '0x' + '09'.repeat(32),
}
const signature = await payer.signTypedData({ domain, types, primaryType: 'TransferWithAuthorization', message })
const { v, r, s } = parseSignature(signature)
const abi = parseAbi(['function transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)'])
const data = encodeFunctionData({ abi, args: [...Object.values(message), Number(v), r, s] })
for (const [nonce, base, tip] of JSON.parse(process.argv[2])) {
  const fees = { maxPriorityFeePerGas: BigInt(tip), maxFeePerGas: 2n * BigInt(base) + BigInt(tip) }
  const raw = await lane.signTransaction({ type: 'eip1559', chainId: 84532, nonce, ...fees, gas: 200000n, to, value: 0n, data })
  console.log(nonce, base, tip, keccak256(raw), raw)
}
