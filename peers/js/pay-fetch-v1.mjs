// Pays one request with x402-fetch 1.2, the client of x402 version 1: it reads offers from the 402's body only and
// dies on an answer that has none there. It knows Base Sepolia by name; no other chain is set up here.
import { createWalletClient, custom } from "viem";
import { baseSepolia } from "viem/chains";
import { wrapFetchWithPayment } from "x402-fetch";
import { fromResponse, main } from "./client.mjs";

// Its own default is a tenth of that. The current clients stop at one dollar, so this one does too.
const ONE_DOLLAR_ATOMIC = 1_000_000n;

await main(async ({ url, method, body, headers, account, anyAsset }) => {
  const wallet = createWalletClient({
    account,
    chain: baseSepolia,
    // Signing needs no node. Should the package ever ask one, it must not reach a public one unnoticed.
    transport: custom({
      request: async (asked) => {
        throw new Error(`x402-fetch asked a node for ${asked.method}`);
      },
    }),
  });
  const cap = anyAsset ? 2n ** 128n : ONE_DOLLAR_ATOMIC;
  return fromResponse(await wrapFetchWithPayment(fetch, wallet, cap)(url, { method, body, headers }));
});
