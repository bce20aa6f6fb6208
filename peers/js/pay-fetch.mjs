// Pays one request with @x402/fetch, the current reference client. It also pays x402 version 1 servers.
import { x402Client } from "@x402/core/client";
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { wrapFetchWithPayment } from "@x402/fetch";
import { fromResponse, main } from "./client.mjs";

await main(async ({ url, method, body, headers, account, anyAsset }) => {
  const client = registerExactEvmScheme(new x402Client(), { signer: account });
  // By default the package pays only each chain's own USDC and at most one dollar.
  if (anyAsset) client.setSpendControls(false);
  return fromResponse(await wrapFetchWithPayment(fetch, client)(url, { method, body, headers }));
});
