// The signed batches of the lane's tests, made by viem alone. From peers/js:
//   node --input-type=module - '[[7,2],[0,3]]' < ../../crates/facilitator/src/engine/tests/batch_tx.mjs
// Each row is sequence and how many members; printed are the row, the gas limit, and the hash.
import { encodeFunctionData, keccak256, parseAbi, parseSignature } from 'viem'
import { privateKeyToAccount as account } from 'viem/accounts'

const payer = account('0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80')
const lane = account('0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d')
const target = '0x036CbD53842c5426634e7929541eC2318f3dCF7e'
const domain = { name: 'USDC', version: '2', chainId: 84532, verifyingContract: target }
const fields = [['from', 'address'], ['to', 'address'], ['value', 'uint256'], ['validAfter', 'uint256'], ['validBefore', 'uint256'], ['nonce', 'bytes32']]
const types = { TransferWithAuthorization: fields.map(([name, type]) => ({ name, type })) }
const transfer = parseAbi(['function transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)'])
const multicall = parseAbi([
  'struct Call3 { address target; bool allowFailure; bytes callData; }',
  'struct Result { bool success; bytes returnData; }',
  'function aggregate3(Call3[] calls) payable returns (Result[] returnData)',
])

async function member(number) {
  const message = {
    from: payer.address,
    to: '0x209693Bc6afc0C5328bA36FaF03C514EF312287C',
    value: 10000n,
    validAfter: 0n,
    validBefore: 2000000000n,
    nonce: '0x' + (9 + number).toString(16).padStart(2, '0').repeat(32),
  }
  const signature = await payer.signTypedData({ domain, types, primaryType: 'TransferWithAuthorization', message })
  const { v, r, s } = parseSignature(signature)
  return { target, allowFailure: true, callData: encodeFunctionData({ abi: transfer, args: [...Object.values(message), Number(v), r, s] }) }
}

for (const [nonce, members] of JSON.parse(process.argv[2])) {
  const calls = await Promise.all([...Array(members).keys()].map(member))
  const data = encodeFunctionData({ abi: multicall, args: [calls] })
  const fees = { maxPriorityFeePerGas: 1500000000n, maxFeePerGas: 3500000000n }
  const gas = 200000n + 120000n * BigInt(members)
  const to = '0xcA11bde05977b3631167028862bE2a173976CA11'
  const raw = await lane.signTransaction({ type: 'eip1559', chainId: 84532, nonce, ...fees, gas, to, value: 0n, data })
  console.log(nonce, members, gas, keccak256(raw))
}
